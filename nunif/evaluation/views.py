"""Pictures of a report: what every method made of a clip, coded so that a page stays small.

Axes: T frames, H W pixels, h w pixels of a part.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from nunif.image import decode, encode_rgb

CROP = (288, 320)  # (h, w) of the part that is shown at full size, at most
MARGIN = 24  # pixels around what the part is about
MIN_SIDE = 192  # of the part, if the frame is as large
WHOLE_WIDTH = 640  # of whole frames on a page; wider ones are scaled
CROP_QUALITY, WHOLE_QUALITY = 85, 65  # of WebP
LOOP_FRAMES = 12  # at most
LOOP_WIDTH = 224  # of loops, which are made narrower
LOOP_QUALITY = 35
LOOP_BYTES = 26_000  # about; where there is more to see they are made smaller
LOOP_DURATION = 100  # milliseconds of a frame: slow enough to see what flickers

Box = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class View:
    """What one method made of a clip: a frame of it, lossless as PNG, and a short loop as WebP."""

    still: bytes
    loop: bytes

    @property
    def picture(self) -> np.ndarray:
        """The frame, (H, W, 3) uint8."""
        return decode(self.still, cv2.IMREAD_COLOR_RGB)


@dataclass(frozen=True)
class Place:
    """Which frame of a clip is shown, and which part of it is shown at full size."""

    frame: int
    box: Box
    loop: Box  # the part that the loop shows


def place_around(marked: np.ndarray) -> Place:
    """Where to look at a clip whose pixels of interest are marked, (T, H, W) bool.

    The frame is the one with a mark that is nearest to the middle; the part is around its marks, or
    where most of them are.
    """
    frames = np.flatnonzero(marked.any(axis=(1, 2)))
    middle = len(marked) // 2
    frame = int(frames[np.abs(frames - middle).argmin()]) if len(frames) else middle
    around: np.ndarray = np.any(marked[loop_frames(len(marked), frame)], axis=0)
    return Place(frame, _box_around(marked[frame]), _box_around(around))


def loop_frames(num_frames: int, frame: int) -> slice:
    """The frames of the loop around a frame."""
    start = max(0, min(frame - LOOP_FRAMES // 2, num_frames - LOOP_FRAMES))
    return slice(start, start + LOOP_FRAMES)


def view_of(frames: np.ndarray, place: Place) -> View:
    """frames: (T, H, W, 3) uint8, all of the clip."""
    top, left, bottom, right = place.loop
    part = frames[loop_frames(len(frames), place.frame), top:bottom, left:right]
    return View(encode_rgb(frames[place.frame]), _loop(part))


def view_to_text(view: View) -> dict[str, str]:
    """A view as JSON can hold it; `view_from_text` reads it."""
    return {name: base64.b64encode(value).decode() for name, value in vars(view).items()}


def view_from_text(values: Mapping[str, Any]) -> View:
    return View(**{name: base64.b64decode(value) for name, value in values.items()})


def crop_webp(picture: np.ndarray, box: Box) -> bytes:
    """The part of an (H, W, 3) uint8 picture in a box, at full size."""
    top, left, bottom, right = box
    return _webp(picture[top:bottom, left:right], CROP_QUALITY)


def whole_webp(picture: np.ndarray) -> bytes:
    """The whole of an (H, W, 3) uint8 picture, narrower where it is wide."""
    return _webp(_narrower(picture, WHOLE_WIDTH), WHOLE_QUALITY)


def _webp(picture: np.ndarray, quality: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(content, "WEBP", quality=quality)
    return content.getvalue()


def _loop(frames: np.ndarray) -> bytes:
    """An endless animation of (T, h, w, 3) uint8 frames."""
    width = min(LOOP_WIDTH, frames.shape[2])
    content = _animation(frames, width)
    if len(content) > LOOP_BYTES:
        content = _animation(frames, max(1, int(width * (LOOP_BYTES / len(content)) ** 0.5)))
    return content


def _animation(frames: np.ndarray, width: int) -> bytes:
    first, *others = (Image.fromarray(_narrower(frame, width)) for frame in frames)
    content = io.BytesIO()
    first.save(
        content,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=LOOP_DURATION,
        loop=0,
        quality=LOOP_QUALITY,
        method=2,
    )
    return content.getvalue()


def _narrower(picture: np.ndarray, width: int) -> np.ndarray:
    height = round(picture.shape[0] * width / picture.shape[1])
    if picture.shape[1] <= width or not height:
        return np.ascontiguousarray(picture)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _box_around(marked: np.ndarray) -> Box:
    """A box of at most `CROP` around the marks of a frame, (H, W) bool, or where most of them
    are."""
    height, width = (min(sides) for sides in zip(CROP, marked.shape))
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        top, left = (marked.shape[0] - height) // 2, (marked.shape[1] - width) // 2
        return top, left, top + height, left + width
    top, bottom = _stretch(int(rows[0]), int(rows[-1]) + 1, marked.shape[0])
    left, right = _stretch(int(columns[0]), int(columns[-1]) + 1, marked.shape[1])
    height, width = min(height, bottom - top), min(width, right - left)
    # how many marks a box has whose upper left corner is here
    sums = cv2.integral(marked.astype(np.uint8))  # (H + 1, W + 1)
    below = sums[height:] - sums[:-height]
    counts = below[:, width:] - below[:, :-width]
    inside = counts[top : bottom - height + 1, left : right - width + 1]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    top, left = top + int(row), left + int(column)
    return top, left, top + height, left + width


def _stretch(first: int, last: int, length: int) -> tuple[int, int]:
    """[first, last) with a margin around it, or longer where that is short, within [0, length)."""
    missing = max(0, MIN_SIDE - (last - first) - 2 * MARGIN)
    first, last = first - MARGIN - missing // 2, last + MARGIN + (missing + 1) // 2
    shift = max(0, -first) - max(0, last - length)
    return max(0, first + shift), min(length, last + shift)
