"""Where the holes of a film come from: a video, a folder of numbered pictures, or one still picture.

Axes: H W pixels of the film, upright.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise, repeat
from pathlib import Path

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.image import PICTURE_SUFFIXES, read_mask
from nunif.video.reader import VideoReader

logger = logging.getLogger(__name__)

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@contextmanager
def open_holes(path: Path, film: VideoReader, *, invert: bool = False, dilate: int = 0) -> Iterator[Iterator[np.ndarray]]:
    """The hole of every frame of `film`, in order: (H, W) bool, True = missing. Bright is missing.

    Args:
        path: a video as long as the film and of its rate; a folder of pictures, one per frame, ordered by the last
            number in their names; or one picture for all frames. All of the film's size.
        invert: dark is missing.
        dilate: pixels by which holes grow, up, down and to the sides (as often with a 3x3 cross, as the field does).

    Raises:
        UserError: nothing usable at `path`; fewer masks than frames, a gap in the numbers, another size or rate; while
            iterating, a picture that can't be read. BrokenVideo: while iterating, a damaged video.
    """
    size = (film.info.height, film.info.width)

    def finish(mask: np.ndarray) -> np.ndarray:
        hole = ~mask if invert else mask
        return cv2.dilate(hole.astype(np.uint8), _CROSS, iterations=dilate) > 0 if dilate else hole

    if not path.exists():
        raise UserError(f"--mask {path} doesn't exist: check the path")
    if path.is_dir():
        files = _numbered(path, len(film))
        _read(files[0], size)  # what is wrong with all of them is better said now
        yield (finish(_read(file, size)) for file in files)
    elif path.suffix.lower() in PICTURE_SUFFIXES:
        hole = finish(_read(path, size))
        if not hole.any():
            raise UserError(f"--mask {path} marks nothing as missing: {hole_advice(invert=invert)}")
        yield repeat(hole, len(film))
    else:
        with VideoReader(path, deinterlace=film.deinterlaces) as masks:
            _check_video(masks, film)
            yield (finish(masks.read(i, i + 1)[0].rgb.max(axis=2) > 127) for i in range(len(film)))


def hole_advice(*, invert: bool) -> str:
    """For someone whose mask marks nothing: what would."""
    return "black is missing with --invert-mask, leave it out" if invert else "white is missing, or use --invert-mask"


def _read(path: Path, size: tuple[int, int]) -> np.ndarray:
    try:
        mask = read_mask(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--mask {path} can't be read ({error}): make it again") from error
    if mask.shape != size:
        raise UserError(f"--mask {path} is {mask.shape[1]}x{mask.shape[0]}, the film {size[1]}x{size[0]}: scale it to the film")
    return mask


def _numbered(folder: Path, num_frames: int) -> list[Path]:
    """The first `num_frames` pictures of a folder by number; they may start at any number."""
    found: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        digits = re.findall(r"\d+", file.stem)
        if file.suffix.lower() not in PICTURE_SUFFIXES or file.name.startswith(".") or not digits:
            continue
        number = int(digits[-1])
        if number in found:
            raise UserError(f"--mask {folder}: {found[number].name} and {file.name} have one number: remove one of them")
        found[number] = file
    if not found:
        raise UserError(f"--mask {folder} holds no numbered picture: expected one per frame, such as 00000.png, 00001.png")
    numbers = sorted(found)
    num_missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if num_missing:
        first = next(low + 1 for low, high in pairwise(numbers) if high > low + 1)
        more = f" and {num_missing - 1} more" if num_missing > 1 else ""
        raise UserError(f"--mask {folder}: there is no picture with the number {first}{more}: every frame needs one")
    _check_count(f"--mask {folder}", "pictures", len(found), num_frames)
    return [found[number] for number in numbers[:num_frames]]


def _check_count(name: str, what: str, num_masks: int, num_frames: int) -> None:
    if num_masks < num_frames:
        raise UserError(f"{name} has {num_masks} {what}, the film {num_frames} frames: every frame needs one")
    if num_masks > num_frames:
        logger.warning("%s has %d %s, the film %d frames: the last ones are left out", name, num_masks, what, num_frames)


def _check_video(masks: VideoReader, film: VideoReader) -> None:
    name, info, other = f"--mask {masks.path}", film.info, masks.info
    if (other.width, other.height) != (info.width, info.height):
        raise UserError(f"{name} is {other.width}x{other.height}, the film {info.width}x{info.height}: scale it to the film")
    shared = min(len(masks), len(film))
    apart = np.abs(masks.times[:shared] - film.times[:shared]).max()
    if shared > 1 and apart > 0.5 * np.median(np.diff(film.times)):
        raise UserError(
            f"{name} has {other.fps:.5g} frames per second, the film {info.fps:.5g}, and their times part by {apart:.2f} s: "
            "give every frame of the film a mask of its own"
        )
    _check_count(name, "frames", len(masks), len(film))
