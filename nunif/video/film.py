"""Films of either kind: video files, and folders of numbered pictures.

Axes: H W pixels.
"""

import hashlib
import logging
import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
from PIL import Image

from nunif.errors import UserError
from nunif.files import files_below
from nunif.image import PNG_SIGNATURE, is_torn_jpeg
from nunif.numbered import (
    check_alone,
    check_exists,
    is_picture,
    numbered_pictures,
    pictures_in,
    refuse_unread,
)
from nunif.parallel import ordered_map
from nunif.video import picture as pictures
from nunif.video.pixel_format import layout_of
from nunif.video.probe import VideoInfo
from nunif.video.reader import (
    VIDEO_SUFFIXES,
    BrokenVideo,
    Frame,
    VideoReader,
    content_hash,
    list_videos,
    select_frames,
)

logger = logging.getLogger(__name__)

DEFAULT_FPS = 24
_READERS = 4  # threads
_NTSC = {
    Fraction(n * 1000, 1001): {round(n * 1000 / 1001, digits) for digits in (2, 3)}
    for n in (24, 30, 48, 60, 120)
}
_COMPONENTS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # of a PNG, by its colour type


class Film(Protocol):
    """What is read of a film of either kind; see `VideoReader`."""

    path: Path
    info: VideoInfo
    times: np.ndarray
    pts: np.ndarray
    durations: np.ndarray
    ends_early: bool

    @property
    def broken_at(self) -> float | None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def frames(self, start: int, stop: int) -> Iterator[Frame]: ...

    def __enter__(self) -> "Film": ...

    def __exit__(self, *error: object) -> None: ...

    def read(self, start: int, stop: int) -> list[Frame]: ...

    def forget(self, stop: int) -> None: ...


class PictureFilm:
    """A folder of numbered pictures, read as `VideoReader` reads a video, but forward or backward.

    All frames come in the format of the picture that holds the most; one that can't be read, or is
    of another size, raises BrokenVideo when it is asked for.

    Attributes:
        info, times, pts, durations, ends_early, broken_at: as of `VideoReader`.
        numbers: of the selected pictures, ascending.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: Fraction = Fraction(DEFAULT_FPS),
        max_fps: float | None = None,
        for_editing: bool = False,
    ) -> None:
        """
        Args:
            path: the folder.
            fps: how many pictures make a second.
            max_fps, for_editing: as of `VideoReader`.

        Raises:
            UserError: no numbered pictures are there, a number is missing, or they can't be read.
        """
        self.path = path
        self.broken_at: float | None = None
        self.ends_early = False
        self._for_editing = for_editing
        found = numbered_pictures(path, name=str(path))
        files = list(found.values())
        self.info = replace(
            _info_of_first(sorted(files, key=_capacity, reverse=True)),
            path=path,
            fps=float(fps),
            num_packets=len(files),
            time_base=1 / fps,
            rate=fps,
        )
        self._size = (self.info.height, self.info.width)
        self.pts = select_frames(np.arange(len(files)), time_base=1 / fps, max_fps=max_fps)
        self.durations = np.diff(self.pts, append=len(files))
        self._files = [files[position] for position in self.pts]
        self.numbers = [list(found)[position] for position in self.pts]
        self.times = np.array([float(number / fps) for number in self.pts.tolist()])
        self._last_read: dict[int, Frame] = {}
        self._lock = Lock()

    @property
    def num_frames(self) -> int:
        """Selected frames in the whole film."""
        return len(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        """All frames, some of them read in threads before they are asked for. Raises BrokenVideo as
        `read` does."""
        return self.frames(0, len(self))

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """The frames [start, stop), as iterating gives all of them."""
        return ordered_map(
            self._frame, range(start, stop), workers=min(_READERS, os.cpu_count() or 1)
        )

    def __enter__(self) -> "PictureFilm":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all frames."""
        self._last_read = {}

    def forget(self, stop: int) -> None:
        """Let go of the frames before `stop`."""
        self._last_read = {
            number: frame for number, frame in self._last_read.items() if number >= stop
        }

    def read(self, start: int, stop: int) -> list[Frame]:
        """The selected frames [start, stop); those of the last call cost nothing.

        Raises:
            BrokenVideo: a picture can't be read or doesn't fit the others.
        """
        before = self._last_read
        self._last_read = {
            number: before[number] if number in before else self._frame(number)
            for number in range(start, stop)
        }
        return list(self._last_read.values())

    def _frame(self, number: int) -> Frame:
        file, time = self._files[number], float(self.times[number])
        pts, duration = int(self.pts[number]), int(self.durations[number])
        try:
            return replace(self._read_picture(file), pts=pts, time=time, duration=duration)
        except (BrokenVideo, UserError):
            reason = (
                "it is damaged, cut off or of a kind that isn't read: copy or download it "
                "again, or convert it"
            )
        except (OSError, ValueError) as error:
            reason = str(error)
        with self._lock:
            self.broken_at = time if self.broken_at is None else min(self.broken_at, time)
        raise BrokenVideo(file, time, f"{file} can't be used ({reason})")

    def _read_picture(self, file: Path) -> Frame:
        # of a torn one libav makes the rest grey
        if is_torn_jpeg(file.read_bytes()):
            raise ValueError("it is cut off: copy or download it again")
        with VideoReader(file, for_editing=self._for_editing) as reader:
            if unfit := _why_unfit(file, reader.info):
                raise ValueError(unfit)
            (frame,) = reader.read(0, 1)
        if frame.rgb.shape[:2] != self._size:
            sizes = [f"{width}x{height}" for height, width in (frame.rgb.shape[:2], self._size)]
            raise ValueError(f"it is {sizes[0]}, others are {sizes[1]}: make all of one size")
        wanted = self.info.picture_format
        if frame.picture is None or frame.picture.pixel_format == wanted:
            return frame
        old, new = layout_of(frame.picture.pixel_format), layout_of(wanted)
        is_coarser = not old.is_grey and (new.is_grey or math.prod(new.step) > math.prod(old.step))
        if is_coarser or old.bits > new.bits or (old.alpha is not None and new.alpha is None):
            raise ValueError(
                f"it holds more ({old.name}) than others do ({new.name}): save all in one format"
            )
        picture = pictures.convert(frame.picture, wanted)
        return replace(frame, picture=picture, rgb=pictures.to_rgb(picture))


def open_film(
    path: Path,
    *,
    fps: str | None = None,
    max_fps: float | None = None,
    for_editing: bool = False,
    deinterlace: bool = False,
    is_still: bool = False,
) -> Film:
    """A video file, or a folder of numbered pictures. See `VideoReader` and `PictureFilm`.

    Args:
        fps: of a folder, as `parse_fps` takes it; None: 24.
        deinterlace: of a video; pictures don't say whether they are interlaced, and a folder of
            them is taken as it is.
        is_still: one picture of a numbered row is meant by itself.

    Raises:
        UserError: there is none; a rate for a video; or one picture of a numbered row, where the
            row must be meant.
    """
    if path.is_dir():
        if not pictures_in(path):
            refuse_unread(path, str(path))
            raise UserError(
                f"{path} is a folder without pictures: name a film in it, or a folder of numbered "
                "pictures"
            )
        if deinterlace:
            tell_of_pictures(path)
        if fps is None:
            logger.info("%s is taken as %d pictures per second: --fps chooses", path, DEFAULT_FPS)
        return PictureFilm(
            path,
            fps=parse_fps(str(DEFAULT_FPS) if fps is None else fps),
            max_fps=max_fps,
            for_editing=for_editing,
        )
    if fps is not None:
        raise UserError(
            f"--fps {fps} is for a folder of pictures, and {path} is none: leave it out"
        )
    check_exists(path, str(path))
    if not is_still:
        check_alone(path, str(path))
    if is_picture(path) and is_torn_jpeg(path.read_bytes()):
        raise UserError(f"{path} can't be used (it is cut off: copy or download it again)")
    reader = VideoReader(path, max_fps=max_fps, for_editing=for_editing, deinterlace=deinterlace)
    if is_picture(path) and (unfit := _why_unfit(path, reader.info)):
        reader.close()
        raise UserError(f"{path} can't be used ({unfit})")
    return reader


def tell_of_pictures(folder: Path) -> None:
    """Log that pictures aren't deinterlaced: they don't say whether they are interlaced."""
    logger.warning("--deinterlace is for videos: the pictures in %s are taken as they are", folder)


def parse_fps(text: str, flag: str = "--fps") -> Fraction:
    """ "24", "29.97" (which is 30000/1001) or "30000/1001" as frames per second.

    flag: the option's.

    Raises:
        UserError: no number, or one out of 0.01 to 1000.
    """
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not Fraction(1, 100) <= value <= 1000:
        raise UserError(
            f"{flag} {text} is no rate: give frames per second such as 24, 23.976 or 30000/1001"
        )
    exact = next((rate for rate, names in _NTSC.items() if float(value) in names), value)
    return exact.limit_denominator(100_000)


def list_films(path: Path) -> list[Path]:
    """The films that a path stands for: itself, or those in a folder, by name: its videos, else its
    folders of pictures.

    Videos further below are not taken, and a line says so.

    Raises:
        UserError: there is nothing.
    """
    if not path.is_dir():
        return list_videos(path)
    with telling_of_videos_below(path, str(path)):
        return _films_in(path)


@contextmanager
def telling_of_videos_below(path: Path, name: str) -> Iterator[None]:
    """Log which folders below `path` hold videos, as only what lies in it is taken by the block.

    name: what messages call the folder.

    Raises:
        UserError: the block's, with those folders where there are any.
    """
    folders = sorted(
        {
            file.parent
            for file in files_below(path, quiet=True)
            if file.suffix.lower() in VIDEO_SUFFIXES
        }
        - {path}
    )
    names = ", ".join(folder.relative_to(path).as_posix() for folder in folders[:5])
    below = names + (f" and {len(folders) - 5} more" if len(folders) > 5 else "")
    try:
        yield
    except UserError as error:
        if below:
            raise UserError(
                f"{name} holds no film itself, but there are videos in {below}: name one of these "
                "folders"
            ) from error
        raise
    if below:
        logger.warning("%s: the videos in %s are not taken: name these folders", name, below)


def _films_in(path: Path) -> list[Path]:
    if pictures_in(path) and not _has_videos(path):
        return [path]
    folders = [
        p
        for p in sorted(path.iterdir())
        if p.is_dir() and not p.name.startswith(".") and pictures_in(p)
    ]
    if not folders:
        refuse_unread(path, str(path))
    if not folders or _has_videos(path):
        videos = list_videos(path)
        if folders:
            logger.warning(
                "%s holds videos, which are taken; its %d folders of pictures are not: name them",
                path,
                len(folders),
            )
        return videos
    return folders


def _has_videos(path: Path) -> bool:
    return any(
        file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".")
        for file in path.iterdir()
    )


def film_hash(path: Path) -> str:
    """8 hex digits of a film of either kind, by which its records are named. Raises as
    `content_hash` and `folder_hash`."""
    return folder_hash(path) if path.is_dir() else content_hash(path)


def folder_hash(path: Path) -> str:
    """8 hex digits of the pictures of a folder in order, as `content_hash` of a file; names and
    dates don't matter.

    Raises:
        UserError: as `content_hash` and `numbered_pictures`.
    """
    digest = hashlib.blake2b(digest_size=4)
    for file in numbered_pictures(path, name=str(path)).values():
        digest.update(content_hash(file).encode())
    return digest.hexdigest()


def _info_of_first(files: list[Path]) -> VideoInfo:
    """What the first of some pictures that can be read says of itself. Raises UserError where none
    can."""
    problem = None
    for file in files:
        try:
            with VideoReader(file, for_editing=True) as reader:
                if unfit := _why_unfit(file, reader.info):
                    raise UserError(f"{file} can't be used ({unfit})")
                return reader.info
        except UserError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _why_unfit(file: Path, info: VideoInfo) -> str:
    """Why a picture that libav decodes isn't what is meant; nothing where it is."""
    if re.search("f(16|32)", info.pixel_format):
        return "its numbers are floating-point: convert to 16 bits, which end at white"
    if file.suffix.lower() in (".tif", ".tiff"):
        with suppress(OSError, ValueError, SyntaxError), Image.open(file) as image:
            if getattr(image, "n_frames", 1) > 1:
                return (
                    "it holds several pictures, of which one would be read: make them a row of "
                    "files"
                )
            if "jpeg" in str(image.info.get("compression", "")):
                return (
                    "it is a TIFF packed as JPEG, whose colours libav gets wrong: save it with "
                    "LZW or without compression"
                )
    return ""


def _capacity(file: Path) -> int:
    """Bits of a pixel, of a PNG that says so in its first bytes; 0 for others."""
    try:
        with open(file, "rb") as opened:
            head = opened.read(26)
    except OSError:
        return 0
    if len(head) < 26 or not head.startswith(PNG_SIGNATURE):
        return 0
    depth, kind = struct.unpack(">BB", head[24:26])
    return (8 if kind == 3 else depth) * _COMPONENTS.get(kind, 0)
