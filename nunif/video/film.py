"""Films of either kind: video files, and folders of numbered pictures.

Axes: H W pixels.
"""

import hashlib
import io
import logging
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import numpy as np

from nunif.errors import UserError
from nunif.image import PNG_SIGNATURE
from nunif.pictures import check_alone, check_exists, numbered_pictures, pictures_in, refuse_unread
from nunif.video import picture as pictures
from nunif.video.reader import BrokenVideo, Frame, VideoInfo, VideoReader, content_hash, list_videos, select_frames

logger = logging.getLogger(__name__)

DEFAULT_FPS = 24
_NTSC = {Fraction(n * 1000, 1001): {round(n * 1000 / 1001, digits) for digits in (2, 3)} for n in (24, 30, 48, 60, 120)}
_COMPONENTS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # of a PNG, by its colour type


class Film(Protocol):
    """What is read of a film of either kind; see `VideoReader`."""

    path: Path
    info: VideoInfo
    times: np.ndarray
    broken_at: float | None

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def __enter__(self) -> "Film": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def read(self, start: int, stop: int) -> list[Frame]: ...

    def forget(self, stop: int) -> None: ...


class PictureFilm:
    """A folder of numbered pictures, read as `VideoReader` reads a video, but forward or backward.

    All frames come in the format of the picture that holds the most; one that can't be read, or is of another size,
    raises BrokenVideo when it is asked for.

    Attributes:
        info, times, broken_at: as of `VideoReader`.
        numbers: of the selected pictures, ascending.
    """

    def __init__(
        self, path: Path, *, fps: Fraction = Fraction(DEFAULT_FPS), max_fps: float | None = None, for_editing: bool = False
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
        self._for_editing = for_editing
        found = numbered_pictures(path, name=str(path))
        files = list(found.values())
        with VideoReader(max(files, key=_capacity), for_editing=True) as reader:
            (first,) = reader.read(0, 1)
            self.info = replace(
                reader.info,
                path=path,
                fps=float(fps),
                num_packets=len(files),
                time_base=1 / fps,
                rate=fps,
            )
        assert first.picture is not None
        self._size = first.picture.size
        self._pts = select_frames(np.arange(len(files)), time_base=1 / fps, max_fps=max_fps)
        self._files = [files[position] for position in self._pts]
        self.numbers = [list(found)[position] for position in self._pts]
        self.times = np.array([float(number / fps) for number in self._pts.tolist()])
        self._held: dict[int, Frame] = {}

    @property
    def num_frames(self) -> int:
        """Selected frames in the whole film."""
        return len(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        return (self.read(number, number + 1)[0] for number in range(len(self)))

    def __enter__(self) -> "PictureFilm":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all frames."""
        self._held = {}

    def forget(self, stop: int) -> None:
        """Let go of the frames before `stop`."""
        self._held = {number: frame for number, frame in self._held.items() if number >= stop}

    def read(self, start: int, stop: int) -> list[Frame]:
        """The selected frames [start, stop); those of the last call cost nothing.

        Raises:
            BrokenVideo: a picture can't be read or doesn't fit the others.
        """
        held = self._held
        self._held = {number: held[number] if number in held else self._frame(number) for number in range(start, stop)}
        return list(self._held.values())

    def _frame(self, number: int) -> Frame:
        file, time = self._files[number], float(self.times[number])
        try:
            return self._decode(file, int(self._pts[number]), time)
        except (av.FFmpegError, OSError, ValueError, StopIteration) as error:
            self.broken_at = time if self.broken_at is None else min(self.broken_at, time)
            broken = BrokenVideo(file, time)
            reason = error.strerror if isinstance(error, OSError) else error
            broken.args = (f"{file} can't be used ({reason or 'no picture'})",)
            raise broken from error

    def _decode(self, file: Path, pts: int, time: float) -> Frame:
        info = self.info
        with av.open(io.BytesIO(file.read_bytes())) as container:  # a name with % in it would be a pattern
            stream = container.streams.video[0]
            if stream.codec_context.name == "mjpeg":
                stream.codec_context.options = {"err_detect": "explode"}  # else what is torn off is grey
            decoded = next(container.decode(stream))
        picture = pictures.from_frame(decoded, color=info.color, width=decoded.width, height=decoded.height)
        picture = pictures.rotate(picture, round(-decoded.rotation / 90) * 90 % 360)
        if picture.size != self._size:
            sizes = [f"{width}x{height}" for height, width in (picture.size, self._size)]
            raise ValueError(f"it is {sizes[0]}, others are {sizes[1]}")
        old, new = pictures.layout_of(picture.pixel_format), pictures.layout_of(info.picture_format)
        if old.bits > new.bits or (new.is_grey and not old.is_grey):
            raise ValueError(f"it holds more ({old.name}) than {new.name} of the others: save all in one format")
        picture = pictures.convert(picture, info.picture_format)
        rgb = pictures.to_rgb(picture)
        return Frame(rgb=rgb, pts=pts, time=time, picture=picture if self._for_editing else None)


def open_film(path: Path, *, fps: str | None = None, max_fps: float | None = None, for_editing: bool = False) -> Film:
    """A video file, or a folder of numbered pictures. See `VideoReader` and `PictureFilm`.

    Args:
        fps: of a folder, as `parse_fps` takes it; None: 24.

    Raises:
        UserError: there is none; a rate for a video; or one picture of a numbered row, where the row must be meant.
    """
    if path.is_dir():
        if fps is None:
            logger.info("%s is taken as %d pictures per second: --fps chooses", path, DEFAULT_FPS)
        return PictureFilm(
            path, fps=parse_fps(str(DEFAULT_FPS) if fps is None else fps), max_fps=max_fps, for_editing=for_editing
        )
    if fps is not None:
        raise UserError(f"--fps {fps} is for a folder of pictures, and {path} is none: leave it out")
    check_exists(path, str(path))
    check_alone(path, str(path))
    return VideoReader(path, max_fps=max_fps, for_editing=for_editing)


def parse_fps(text: str) -> Fraction:
    """ "24", "29.97" (which is 30000/1001) or "30000/1001" as frames per second.

    Raises:
        UserError: no number, or one out of 0.01 to 1000.
    """
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not Fraction(1, 100) <= value <= 1000:
        raise UserError(f"--fps {text} is no rate: give frames per second such as 24, 23.976 or 30000/1001")
    exact = next((rate for rate, names in _NTSC.items() if float(value) in names), value)
    return exact.limit_denominator(100_000)


def list_films(path: Path) -> list[Path]:
    """The films that a path stands for: itself, or those in a folder, by name: its videos, else its folders of pictures.

    Raises:
        UserError: there is nothing.
    """
    if not path.is_dir():
        return list_videos(path)
    try:
        return list_videos(path)
    except UserError as none:
        if pictures_in(path):
            return [path]
        folders = [p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith(".") and pictures_in(p)]
        if not folders:
            refuse_unread(path, str(path))
            raise UserError(f"{none}, or numbered pictures") from none
        return folders


def folder_hash(path: Path) -> str:
    """8 hex digits of the pictures of a folder in order, as `content_hash` of a file; names and dates don't matter.

    Raises:
        UserError: as `content_hash` and `numbered_pictures`.
    """
    digest = hashlib.blake2b(digest_size=4)
    for file in numbered_pictures(path, name=str(path)).values():
        digest.update(content_hash(file).encode())
    return digest.hexdigest()


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
