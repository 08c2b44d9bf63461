"""Where the holes of a film come from: a video, a folder of numbered pictures, or one still
picture.

Axes: H W pixels of the film, upright.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.numbered import check_exists, is_picture, numbered_pictures, refuse_unread, row_of
from nunif.runtime.mask_pictures import MaskPicture, mask_of_frame, read_mask_picture
from nunif.runtime.mask_reading import MaskReading, sample_positions, understand
from nunif.video.film import Film, PictureFilm
from nunif.video.reader import BrokenVideo, VideoReader

logger = logging.getLogger(__name__)

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Paired:
    """The frames that masks are for. A video has times, a folder of pictures has numbers."""

    count: int
    times: np.ndarray | None = None
    fps: float = 0.0
    numbers: Sequence[int] | None = None

    @classmethod
    def with_film(cls, film: Film) -> "Paired":
        if isinstance(film, PictureFilm):
            return cls(len(film), numbers=film.numbers)
        return cls(len(film), times=film.times, fps=float(film.info.rate))


@contextmanager
def open_holes(
    path: Path,
    film: Film,
    *,
    invert: bool = False,
    dilate: int = 0,
    objects: tuple[int, ...] = (),
    large_holes: bool = False,
    deinterlace: bool = False,
) -> Iterator[Iterator[np.ndarray]]:
    """The hole of every frame of `film`, in order: (H, W) bool, True = missing.

    Args:
        path: a video as long as the film; a folder of pictures, one per frame, by number; or one
            picture for all frames. All of the film's size. How a picture says what is missing: see
            `nunif.runtime.mask_pictures`.
        invert: what they don't show is missing.
        dilate: pixels by which holes grow, up, down and to the sides (as often with a 3x3 cross, as
            the field does).
        objects: the numbers of the objects that are missing; none: all.
        large_holes: whether holes of nearly the whole picture are meant.
        deinterlace: of a video, as of `VideoReader`.

    Raises:
        UserError: nothing usable at `path`; fewer masks than frames, a gap in the numbers, another
            size or rate; nearly all is hole; while iterating, a picture that can't be read.
            BrokenVideo: while iterating, a damaged video.
    """

    def finish(hole: np.ndarray) -> np.ndarray:
        return cv2.dilate(hole.astype(np.uint8), _CROSS, iterations=dilate) > 0 if dilate else hole

    with open_masks(
        path,
        Paired.with_film(film),
        name=f"--mask {path}",
        size=(film.info.height, film.info.width),
        objects=objects,
        invert=invert,
        large_holes=large_holes,
        deinterlace=deinterlace,
    ) as holes:
        if is_picture(path):
            hole = finish(next(holes))
            if not hole.any():
                raise UserError(
                    f"--mask {path} marks nothing as missing: {hole_advice(invert=invert)}"
                )
            yield repeat(hole, len(film))
        else:
            yield map(finish, holes)


@contextmanager
def open_masks(
    path: Path,
    frames: Paired,
    *,
    name: str,
    size: tuple[int, int] | None = None,
    start: int = 0,
    stop: int | None = None,
    objects: tuple[int, ...] = (),
    invert: bool | None = False,
    large_holes: bool = False,
    deinterlace: bool = False,
) -> Iterator[Iterator[np.ndarray]]:
    """The masks of the frames [start, stop), as `open_holes` has them. One picture is repeated.

    Args:
        name: of the masks, for messages.
        size: (H, W) that all must have; None: any.
        invert: None where that can't be asked for.

    Raises: as `open_holes`.
    """
    stop = frames.count if stop is None else stop

    def understood(samples: Iterable[MaskPicture]) -> MaskReading:
        return understand(name, samples, objects=objects, invert=invert, large_holes=large_holes)

    check_exists(path, name)
    if path.is_dir() or is_picture(path):
        files = _paired_by_number(path, frames, name, start, stop) if path.is_dir() else [path]
        first = _read(files[0], name, size)  # what is wrong with all of them is better said now
        reading = understood(_readable(files, name, size))
        if path.is_dir():
            yield (reading.hole(_read(file, name, size)) for file in files)
        else:
            if (count := len(row_of(path))) > 1:
                logger.warning(
                    "%s is one picture of a row of %d: it is taken for all frames; name its "
                    "folder if not",
                    name,
                    count,
                )
            yield repeat(reading.hole(first), stop - start)
        return
    if path.suffix.lower() != ".gif":
        refuse_unread(path, name)
    with VideoReader(path, for_editing=True, deinterlace=deinterlace) as masks:
        info = masks.info
        if size not in (None, (info.height, info.width)):
            raise _wrong_size(name, (info.height, info.width), size)
        _check_times(masks, frames, name)
        _check_count(name, "frames", len(masks), stop, frames.count)
        with VideoReader(path, for_editing=True, deinterlace=deinterlace) as sampled:
            reading = understood(_decodable(sampled, start, stop))
        yield (
            reading.hole(mask_of_frame(masks.read(i, i + 1)[0], info)) for i in range(start, stop)
        )


def hole_advice(*, invert: bool) -> str:
    """For someone whose mask marks nothing: what would."""
    return (
        "black is missing with --invert-mask, leave it out"
        if invert
        else "white is missing, or use --invert-mask"
    )


def _read(file: Path, name: str, size: tuple[int, int] | None) -> MaskPicture:
    name = f"{name.partition(' ')[0]} {file}"
    try:
        mask = read_mask_picture(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{name} can't be read ({error}): make it again") from error
    if size not in (None, mask.size):
        raise _wrong_size(name, mask.size, size)
    return mask


def _wrong_size(name: str, size: tuple[int, int], wanted: tuple[int, int] | None) -> UserError:
    assert wanted is not None
    return UserError(
        f"{name} is {size[1]}x{size[0]}, the film {wanted[1]}x{wanted[0]}: scale it to the film"
    )


def _readable(files: list[Path], name: str, size: tuple[int, int] | None) -> Iterator[MaskPicture]:
    """Some of the masks; what is wrong with one that can't be read is said when its turn
    comes."""
    for position in sample_positions(len(files)):
        with suppress(UserError):
            yield _read(files[position], name, size)


def _decodable(masks: VideoReader, start: int, stop: int) -> Iterator[MaskPicture]:
    for position in sample_positions(stop - start):
        with suppress(BrokenVideo):
            yield mask_of_frame(masks.read(start + position, start + position + 1)[0], masks.info)


def _paired_by_number(folder: Path, frames: Paired, name: str, start: int, stop: int) -> list[Path]:
    """The masks of the frames [start, stop) from a folder.

    Where the film's pictures have numbers too, equal ones belong together. Otherwise masks may
    start at any number.
    """
    theirs = list(frames.numbers or [])
    # every fifth frame of a longer film
    is_stepping = len(theirs) > 2 and theirs[1] > theirs[0] + 1
    found = numbered_pictures(folder, name=name, even_steps=is_stepping)
    own = list(found)
    _check_count(name, "pictures", len(own), stop, frames.count)
    missing = [number for number in theirs if number not in found]
    # other numbers altogether, or counted from 1 and from 0
    is_other_row = len(missing) == len(theirs) or (
        len(own) == len(theirs) and {own[0], theirs[0]} == {0, 1}
    )
    if missing and is_other_row or not theirs:
        return [found[number] for number in own[start:stop]]
    if missing and (own[0] != theirs[0] or missing[0] in theirs[:stop]):
        raise UserError(
            f"{name} has no picture with the number {missing[0]}, which the film has: the film's "
            f"run from {theirs[0]} to "
            f"{theirs[-1]}, the masks' from {own[0]} to {own[-1]}; give both the same numbers"
        )
    return [found[number] for number in theirs[start:stop]]


def _check_count(name: str, what: str, num_masks: int, num_needed: int, num_frames: int) -> None:
    if num_masks < num_needed:
        raise UserError(
            f"{name} has {num_masks} {what}, the film {num_frames} frames: every frame needs one"
        )
    if num_masks > num_frames:
        logger.warning(
            "%s has %d %s, the film %d frames: the last ones are left out",
            name,
            num_masks,
            what,
            num_frames,
        )


def _check_times(masks: VideoReader, frames: Paired, name: str) -> None:
    """As many masks as frames belong together one by one, whatever their times: masks are often
    written at a round rate."""
    if len(masks) == frames.count or frames.times is None:
        return
    shared = min(len(masks), frames.count)
    largest = float(np.abs(masks.times[:shared] - frames.times[:shared]).max())
    rate = float(masks.info.rate)
    if shared > 1 and largest > 0.5 * np.median(np.diff(frames.times)):
        raise UserError(
            f"{name} has {len(masks)} frames at {rate:.5g} per second, the film {frames.count} at "
            f"{frames.fps:.5g}, "
            f"and their times part by {largest:.2f} s: give every frame of the film a mask of its "
            "own"
        )
