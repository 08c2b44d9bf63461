"""Write a film as a folder of pictures, whole or not at all."""

import logging
import shutil
from pathlib import Path

import numpy as np

from nunif import files
from nunif.errors import UserError
from nunif.files import explain_os_errors, longer_name, make_folder, partial_path
from nunif.image import encode_grey, encode_rgb, encode_rgba

logger = logging.getLogger(__name__)


class FolderWriter:
    """A folder of 000000.png, 000001.png, ... in the making. Use as a context manager.

    It appears under its name when the block ends well. When the block ends in an exception, Ctrl-C
    included, the pictures that are finished stay in NAME.unfinished, a folder left there before is
    replaced.

    Attributes:
        num_frames: pictures written so far.
        unfinished_path: where the pictures are after an exception; None: nowhere.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: something stands at `path` already, or the folder can't be made.
        """
        is_usable = path.is_dir() and path.name not in ("", "..") and not any(path.iterdir())
        if path.exists() and not is_usable:
            raise UserError(
                f"{path} is there already: choose another folder for the pictures, or delete it"
            )
        self.path, self.num_frames = path, 0
        self.unfinished_path: Path | None = None
        make_folder(path.parent)
        self._partial = partial_path(path)
        with explain_os_errors(path):
            shutil.rmtree(self._partial, ignore_errors=True)  # of a killed run that had our number
            self._partial.mkdir()

    def __enter__(self) -> "FolderWriter":
        return self

    def write(self, picture: np.ndarray) -> None:
        """Add a picture (H, W, 3), with alpha (H, W, 4), or grey (H, W), uint8 or uint16."""
        encode = {2: encode_grey, 3: encode_rgb, 4: encode_rgba}
        data = encode[picture.shape[2] if picture.ndim == 3 else 2](picture)
        with explain_os_errors(self.path):
            (self._partial / f"{self.num_frames:06d}.png").write_bytes(data)
        self.num_frames += 1

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is not None:
                # the last picture may be torn, by Ctrl-C or a full disk
                (self._partial / f"{self.num_frames:06d}.png").unlink(missing_ok=True)
                self._keep_what_there_is()
                return
            try:
                with explain_os_errors(self.path):
                    if self.path.exists():
                        self.path.rmdir()  # fails if somebody has put something in it
                    files.replace(self._partial, self.path)
            except (UserError, KeyboardInterrupt):
                self._keep_what_there_is()
                raise
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _keep_what_there_is(self) -> None:
        if not self.num_frames or not self._partial.exists():
            return
        unfinished = longer_name(self.path, suffix=".unfinished")
        try:
            with explain_os_errors(unfinished):
                if unfinished.exists():
                    shutil.rmtree(unfinished)
                files.replace(self._partial, unfinished)
        except UserError as error:
            logger.warning("%s", error)
            return
        self.unfinished_path = unfinished
        logger.warning("%s holds the %d frames that were finished", unfinished, self.num_frames)
