"""Depth as pictures: written beside a stereo film, and read instead of being estimated.

What a picture holds is the disparity between the farthest (0, black) and the nearest (white, 65535
in 16 bits), normalised over the film as it is used, before the foreground is scaled and edges are
widened.

Axes: H W pixels of the film, h w pixels of a depth map.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from inpaint.occlusion import scale_foreground
from inpaint.options_run import StereoOptions
from inpaint.runtime.depth_stream import DepthFrame
from nunif.errors import UserError
from nunif.files import make_folder
from nunif.image import decode
from nunif.numbered import check_exists, is_picture, pictures_in, refuse_unread, row_in
from nunif.runtime.film import is_folder
from nunif.video.color import FULL, ColorTags
from nunif.video.film import Film, PictureFilm
from nunif.video.folder import FolderWriter
from nunif.video.part import PartOfFilm
from nunif.video.picture import Picture
from nunif.video.pixel_format import layout_of
from nunif.video.reader import BrokenVideo, Frame, VideoReader
from nunif.video.writer import VideoWriter

logger = logging.getLogger(__name__)

Depth = TypeVar("Depth", list[Path], range)

_TOP = 65535
_STEP_RADIUS = 8  # pixels over which a step of 8-bit depth becomes a slope
_MOST_COLOUR = 0.02  # of white, on average; more is no grey
_MOST_STRETCH = 1.1  # of a map's sides to the film's; estimators round theirs by less
_BISECTIONS = 40


def to_samples(disparity: Tensor) -> np.ndarray:
    """(h, w) in [0, 1] as (h, w) uint16."""
    return np.rint(disparity.numpy() * np.float32(_TOP)).astype(np.uint16)


def from_samples(samples: np.ndarray) -> Tensor:
    """(h, w) uint16 as (h, w) float32 in [0, 1]."""
    return torch.from_numpy(samples.astype(np.float32)) / _TOP


def smooth_steps(disparity: np.ndarray, step: float) -> np.ndarray:
    """Make slopes of the steps of coarse numbers, which would tear apart in another eye's view.

    Nothing moves by more than half a step, so it is still what was rounded to these numbers.

    Args:
        disparity: (h, w) float32. step: between two of its numbers.
    """
    side = 2 * _STEP_RADIUS + 1
    smooth = cv2.blur(disparity, (side, side))
    return np.clip(smooth, disparity - step / 2, disparity + step / 2).clip(0, 1)


@contextmanager
def open_depth_in(path: Path, film: Film) -> Iterator[Iterator[Tensor]]:
    """The disparity of every frame of a film, (h, w) float32 in [0, 1], 1 = near, as others or
    `DepthWriter` made it. Bright is near.

    Args:
        path: a folder of pictures, one per frame: of the same numbers where the film's pictures
            have numbers, else in order; or a video of as many frames. Of any size.
    Raises:
        UserError: there is none, or not one for every frame; while iterating, one can't be read or
            isn't grey.
    """
    name = f"--depth-in {path}"
    check_exists(path, name)
    if path.is_dir() or is_picture(path):
        files = _part(_files_for(path, film, name), film)
        first = _read_picture(files[0])  # what is wrong with all of them is better said now
        _tell_of_stretching(name, (first.shape[0], first.shape[1]), film)
        yield map(_read_picture, files)
        return
    refuse_unread(path, name)
    with VideoReader(path, for_editing=True) as reader:
        _check_count(name, "frames", len(reader), film)
        _tell_of_stretching(name, (reader.info.height, reader.info.width), film)
        places = _part(range(len(reader)), film)
        yield _maps_of(reader.frames(places.start, places.stop), name)


def _part(depths: Depth, film: Film) -> Depth:
    """Of the depth of a whole film that of the part of it that is asked for; where there is only
    that of the part, all of it."""
    if isinstance(film, PartOfFilm) and len(depths) == len(film.whole):
        return depths[film.first : film.stop]
    return depths


def _files_for(path: Path, film: Film, name: str) -> list[Path]:
    if not path.is_dir():
        _check_count(name, "picture", 1, film)
        return [path]
    if not pictures_in(path):
        refuse_unread(path, name)
        raise UserError(f"{name} is a folder without pictures: name one with a picture per frame")
    row = row_in(path)
    if row.numbers is None:
        raise UserError(f"--depth-in {row.problem}")
    whole = film.whole if isinstance(film, PartOfFilm) else film
    theirs = whole.numbers if isinstance(whole, PictureFilm) else []
    found = dict(zip(row.numbers, row.files))
    missing = [number for number in theirs if number not in found]
    if theirs and not missing:
        return [found[number] for number in theirs]
    is_of_part = isinstance(film, PartOfFilm) and len(found) == len(film)
    if len(missing) < len(theirs) and not is_of_part:
        raise UserError(
            f"{name} has no picture with the number {missing[0]}, which the film has: every frame "
            "needs one"
        )
    _check_count(name, "pictures", len(found), film)
    return list(row.files)


def _check_count(name: str, what: str, count: int, film: Film) -> None:
    whole = film.whole if isinstance(film, PartOfFilm) else film
    if count not in (len(film), len(whole)):
        raise UserError(
            f"{name} has {count} {what}, the film {len(whole)} frames: every frame needs one of "
            "its own"
        )


def _tell_of_stretching(name: str, size: tuple[int, int], film: Film) -> None:
    (height, width), info = size, film.info
    stretch = width * info.height / (height * info.width)
    if not 1 / _MOST_STRETCH < stretch < _MOST_STRETCH:
        logger.warning(
            "%s is %dx%d, the film %dx%d: it is stretched to the film's shape",
            name,
            width,
            height,
            info.width,
            info.height,
        )


def _read_picture(file: Path) -> Tensor:
    name = f"--depth-in {file}"
    try:
        picture = decode(file.read_bytes(), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError) as error:
        raise UserError(f"{name} can't be read ({error}): make it again") from error
    if picture.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{name} holds {picture.dtype} numbers: convert it to 8 or 16 bits")
    top = np.iinfo(picture.dtype).max
    if picture.ndim == 3:
        blue, green, red = (picture[..., c].astype(np.float32) for c in range(3))
        _check_grey(name, float(np.abs(blue - green).mean() + np.abs(red - green).mean()) / top)
        picture = picture[..., 1]
    return _disparity(picture, 0, top)


def _maps_of(frames: Iterator[Frame], name: str) -> Iterator[Tensor]:
    try:
        for frame in frames:
            assert frame.picture is not None
            yield _read_planes(frame.picture, name)
    except BrokenVideo as error:
        raise UserError(f"--depth-in {error}") from error


def _read_planes(picture: Picture, name: str) -> Tensor:
    """The luma of a coded picture, or its green."""
    layout = layout_of(picture.pixel_format)
    luma, *others = (picture.planes[plane] for plane in layout.planes)
    unit = 1 << (layout.bits - 8)
    if layout.is_rgb:
        red, luma, blue = luma, *others
        apart = [np.abs(luma.astype(np.float32) - other).mean() for other in (red, blue)]
        _check_grey(name, float(sum(apart)) / (255 * unit))
    elif not layout.is_grey:
        apart = [np.abs(chroma.astype(np.float32) - 128 * unit).mean() for chroma in others]
        _check_grey(name, float(sum(apart)) / (255 * unit))
    if layout.is_rgb or layout.is_grey or picture.color.range == FULL:
        return _disparity(luma, 0, (1 << layout.bits) - 1)
    return _disparity(luma, 16 * unit, 235 * unit)  # limited range: ITU-R BT.601, BT.709


def _check_grey(name: str, colour: float) -> None:
    if colour > _MOST_COLOUR:
        raise UserError(
            f"{name} is in colours: depth has to be grey, black what is farthest and white what is "
            "nearest"
        )


def _disparity(samples: np.ndarray, black: int, white: int) -> Tensor:
    if (black, white) == (0, _TOP):
        return from_samples(samples)
    values = ((samples.astype(np.float32) - black) / (white - black)).clip(0, 1)
    if white - black < 256:
        values = smooth_steps(values, 1 / (white - black))
    return torch.from_numpy(values)


def check_depth_out(path: Path) -> None:
    """
    Raises:
        UserError: neither a folder of pictures nor a film of 16 bits is meant.
    """
    if not is_folder(path) and path.suffix.lower() != ".mkv":
        raise UserError(
            f"--depth-out {path}: name a folder for 16-bit PNGs, or an .mkv; other films hold no "
            "16 bits"
        )


class DepthWriter:
    """The depth of a film in the making: a folder of 16-bit PNGs, or an .mkv of 16-bit grey (FFV1).

    Use as a context manager. It appears under its name when the block ends well; as with
    `FolderWriter` and `VideoWriter` an exception leaves what is finished as NAME.unfinished.

    Frames without depth are of one grey, and have no size: before the first map they wait for it.
    """

    def __init__(self, path: Path, film: Film) -> None:
        """
        Raises:
            UserError: neither is meant, or it can't be written.
        """
        self._path, self._film = path, film
        self._size: tuple[int, int] | None = None
        self._waiting: list[tuple[int, Frame]] = []
        self._writer: FolderWriter | VideoWriter | None = None
        if is_folder(path):
            self._writer = FolderWriter(path)
        else:
            check_depth_out(path)
            make_folder(path.parent)

    def __enter__(self) -> "DepthWriter":
        return self

    def write(self, samples: np.ndarray, frame: Frame, *, is_flat: bool) -> None:
        """Add the (h, w) uint16 map of a frame; is_flat: it is of one grey."""
        if is_flat and self._size is None:
            # what is seen on it isn't needed, and would fill the memory
            waiting = replace(frame, rgb=frame.rgb[:0], picture=None)
            self._waiting.append((int(samples.flat[0]), waiting))
            return
        if self._size is None:
            self._begin(samples.shape[:2])
        assert self._size is not None
        if is_flat:
            samples = np.full(self._size, samples.flat[0], np.uint16)
        self._put(samples, frame)

    def _begin(self, size: tuple[int, ...]) -> None:
        height, width = size
        self._size = (height, width)
        if self._writer is None:
            self._writer = VideoWriter(
                self._path,
                width=width,
                height=height,
                rate=self._film.info.rate,
                time_base=self._film.info.time_base,
                codec="ffv1",
                pixel_format="gray16le",
                color=ColorTags(range=FULL),
            )
        for value, frame in self._waiting:
            self._put(np.full(self._size, value, np.uint16), frame)
        self._waiting = []

    def _put(self, samples: np.ndarray, frame: Frame) -> None:
        if isinstance(self._writer, FolderWriter):
            self._writer.write(samples)
        elif self._writer is not None:
            grey = Picture((samples,), "gray16le", ColorTags(range=FULL))
            self._writer.write(grey, frame.pts, frame.duration)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None and self._size is None and self._waiting:
            self._begin((self._film.info.height, self._film.info.width))
        if self._writer is not None:
            self._writer.__exit__(kind, error, traceback)


Depths = Iterator[DepthFrame[Frame]]


@contextmanager
def open_depth_out(options: StereoOptions, film: Film) -> Iterator[Callable[[Depths], Depths]]:
    """What writes the depth of the frames that pass through it, where that is asked for."""
    if options.depth_out is None:
        yield iter
        return
    with DepthWriter(options.depth_out, film) as writer:
        screen = disparity_of_screen(options.convergence, options.foreground_scale)
        yield partial(record_depth, writer=writer, screen=screen)


def record_depth(depths: Depths, *, writer: DepthWriter, screen: float) -> Depths:
    """The same frames with the depth that is in the file, so that the file gives the same film.

    What has less than its full strength is drawn towards the screen. screen: its disparity.
    """
    for depth in depths:
        samples = to_samples(torch.lerp(torch.tensor(screen), depth.disparity, depth.strength))
        writer.write(samples, depth.item, is_flat=depth.rejected is not None)
        yield replace(depth, disparity=from_samples(samples), strength=1.0)


def disparity_of_screen(convergence: float, foreground_scale: float) -> float:
    """The disparity that lies on the screen once the foreground is scaled.

    >>> disparity_of_screen(0.5, 0.0)
    0.5
    >>> round(disparity_of_screen(0.7469, -2.0), 3)
    0.5
    """
    if not foreground_scale:
        return convergence
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        value = torch.tensor(middle, dtype=torch.float64)
        if float(scale_foreground(value, foreground_scale)) < convergence:
            low = middle
        else:
            high = middle
    return (low + high) / 2
