"""Write a film as a folder of pictures, or of planes, or as a folder of several such, each whole or
not at all."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nunif import files
from nunif.errors import UserError
from nunif.files import (
    explain_os_errors,
    locked,
    longer_name,
    make_folder,
    partial_path,
    write_json,
)
from nunif.image import encode_grey, encode_numbers, encode_rgb, encode_rgba
from nunif.records import INFO_NAME, encode_plane, picture_name

logger = logging.getLogger(__name__)

Writer = TypeVar("Writer", bound="FolderWriter")


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
        _check_free(path, "the pictures")
        self.path, self.num_frames = path, 0
        self.unfinished_path: Path | None = None
        self._files: tuple[int, list[Path]] = (-1, [])  # of the last frame, and its number
        make_folder(path.parent)
        self._partial = partial_path(path)
        with explain_os_errors(path):
            shutil.rmtree(self._partial, ignore_errors=True)  # of a killed run that had our number
            self._partial.mkdir()

    def __enter__(self: Writer) -> Writer:
        return self

    def write(self, picture: np.ndarray) -> None:
        """Add a picture (H, W, 3), with alpha (H, W, 4), or grey (H, W), uint8 or uint16."""
        encode = {2: encode_grey, 3: encode_rgb, 4: encode_rgba}
        data = encode[picture.shape[2] if picture.ndim == 3 else 2](picture)
        self._write({f"{self.num_frames:06d}.png": data})

    def write_numbers(self, picture: np.ndarray, number: int | None = None) -> None:
        """Add a picture (H, W) uint8 of objects' numbers, in colours. number: that of the file, if
        it isn't the next."""
        name = f"{self.num_frames if number is None else number:06d}.png"
        self._write({name: encode_numbers(picture)})

    def _write(self, contents: Mapping[str, bytes]) -> None:
        """Add the files of a frame."""
        self._files = self.num_frames, [self._partial / name for name in contents]
        with explain_os_errors(self.path):
            for name, data in contents.items():
                (self._partial / name).write_bytes(data)
        self.num_frames += 1

    def _finish(self) -> None:
        """Add what stands beside the frames."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is not None:
                number, last = self._files
                # the last pictures may be torn, by Ctrl-C or a full disk
                for path in last * (number == self.num_frames):
                    path.unlink(missing_ok=True)
                self._keep_what_there_is()
                return
            try:
                self._finish()
                _give_name(self._partial, self.path)
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


class PlanesWriter(FolderWriter):
    """A folder of planes, 0000_A.png, 0000_F.png, 0001_A.png, ..., laid out as a record and written
    frame by frame, so that it may be as long as a film. See `FolderWriter`."""

    def __init__(self, path: Path, info: Mapping[str, Any]) -> None:
        """info: goes into record.json. Raises as `FolderWriter`."""
        super().__init__(path)
        self._info = dict(info)

    def write_planes(self, pictures: Mapping[str, np.ndarray]) -> None:
        """Add a frame's picture of each plane by its letter, as `nunif.records.Storage` has
        them."""
        number = f"{self.num_frames:04d}"
        self._write(
            {picture_name(number, letter): encode_plane(x) for letter, x in pictures.items()}
        )

    def _finish(self) -> None:
        write_json(self._partial / INFO_NAME, {**self._info, "frames": self.num_frames})


@contextmanager
def folder_of_outputs(path: Path) -> Iterator[Path]:
    """A folder for several outputs of one film, which has its name when the block ends well: until
    then they are written into NAME.unfinished, which stays when it doesn't. What a run before left
    there is replaced. Another process that makes the same is waited for.

    Raises:
        UserError: something stands at `path` already, or the folder can't be made.
    """
    _check_free(path, "what is made of the film")
    make_folder(path.parent)
    unfinished = longer_name(path, suffix=".unfinished")
    lock = longer_name(path, ".lock-", suffix="")
    with locked(lock, busy=f"another process is making {path}"):
        _check_free(path, "what is made of the film")
        with explain_os_errors(path):
            if unfinished.exists():
                shutil.rmtree(unfinished)
            unfinished.mkdir()
        try:
            yield unfinished
            _give_name(unfinished, path)
        finally:
            if unfinished.exists() and not any(unfinished.iterdir()):
                unfinished.rmdir()


def _check_free(path: Path, what: str) -> None:
    """Raises UserError where something stands at a folder's path."""
    is_usable = path.is_dir() and path.name not in ("", "..") and not any(path.iterdir())
    if path.exists() and not is_usable:
        raise UserError(f"{path} is there already: choose another folder for {what}, or delete it")


def _give_name(partial: Path, path: Path) -> None:
    with explain_os_errors(path):
        if path.exists():
            path.rmdir()  # fails if somebody has put something in it
        files.replace(partial, path)
