"""Where the holes of a film come from: a video, a folder of numbered pictures, or one still
picture.

Axes: H W pixels of the film, upright.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.numbered import check_exists, is_picture, numbered_pictures, refuse_unread, row_of
from nunif.runtime import mask_reading
from nunif.runtime.mask_pictures import MaskPicture, mask_of_frame, read_mask_picture
from nunif.runtime.mask_reading import MaskReading, sample_positions, understand
from nunif.video.film import Film, PictureFilm
from nunif.video.part import place_in_whole
from nunif.video.reader import BrokenVideo, VideoReader

logger = logging.getLogger(__name__)

_ASPECT_TOLERANCE = 0.03
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Paired:
    """The frames that masks are for. A video has times, a folder of pictures has numbers.

    size: (H, W) of the frames. pixel_aspect: width to height of their pixels. called: what messages
        call them.
    """

    count: int
    size: tuple[int, int]
    times: np.ndarray | None = None
    fps: float = 0.0
    numbers: Sequence[int] | None = None
    pixel_aspect: Fraction = Fraction(1)
    called: str = "film"

    @classmethod
    def with_film(cls, film: Film, *, called: str = "film") -> "Paired":
        info = film.info
        return cls(
            len(film),
            (info.height, info.width),
            times=None if isinstance(film, PictureFilm) else film.times,
            fps=float(info.rate),
            numbers=film.numbers if isinstance(film, PictureFilm) else None,
            pixel_aspect=info.sample_aspect_ratio or Fraction(1),
            called=called,
        )


class _Fit:
    """How the masks of a source come to lie on the frames that they are for. A line says so once
    where they are of another size."""

    def __init__(self, name: str, frames: Paired, to: tuple[int, int], *, soft: bool) -> None:
        """to: (H, W) of the holes. soft: they are mattes."""
        self._name, self._frames, self._to, self._soft = name, frames, to, soft
        self._is_told = False
        self._first: tuple[int, int] | None = None  # size of the first mask, and mostly of all

    def check(self, size: tuple[int, int], name: str) -> None:
        """
        Args:
            size: (H, W) of a mask.
            name: what messages call it alone.

        Raises:
            UserError: it has another aspect than the frames, as they are stored or shown.
        """
        wanted, frames = self._frames.size, self._frames
        self._first = self._first or size
        if size == wanted:
            return
        (height, width), called = wanted, frames.called
        name = self._name if size == self._first else name
        both = f"{name} is {size[1]}x{size[0]}, the {called} {width}x{height}"
        shown = (height, round(width * frames.pixel_aspect))
        if not (_has_aspect(size, wanted) or _has_aspect(size, shown)):
            is_turned = _has_aspect(size[::-1], wanted)
            turned = f"; it lies on its side, and the {called} stands as players show it"
            raise UserError(
                f"{both}: make masks of the {called}'s size, or of another with its aspect"
                + turned * is_turned
            )
        if not self._is_told:
            self._is_told = True
            how = "" if self._soft else ", each pixel to the nearest"
            logger.info("%s: it is scaled to that%s", both, how)

    def lay(self, hole: np.ndarray) -> np.ndarray:
        """A hole (H, W) bool, scaled by the nearest pixel, so that nothing comes about that no mask
        says; a matte (H, W) uint8 that isn't black and white as pictures are."""
        if hole.shape == self._to:
            return hole
        if self._soft and ((hole > 0) & (hole < 255)).any():
            shrinks = hole.shape[0] > self._to[0]
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            return cv2.resize(hole, self._to[::-1], interpolation=interpolation)
        # the nearest by the pixels' middles, as Pillow has it; INTER_NEAREST takes one further left
        how = cv2.INTER_NEAREST_EXACT
        laid = cv2.resize(hole.astype(np.uint8), self._to[::-1], interpolation=how)
        return laid if self._soft else laid > 0


def _has_aspect(size: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Whether the aspects of two sizes (H, W) are the same, but for a pixel's rounding or a few
    percent: 854x480 of 1920x1080, or 1920x1088."""
    apart = abs(size[0] * wanted[1] - size[1] * wanted[0])
    return apart <= max(wanted[0] + wanted[1], _ASPECT_TOLERANCE * size[1] * wanted[0])


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
    again: bool = False,
) -> Iterator[Iterator[np.ndarray]]:
    """The hole of every frame of `film`, in order: (H, W) bool, True = missing.

    Args:
        path: a video as long as the film; a folder of pictures, one per frame, by number; or one
            picture for all frames. Of the film's size, or of another with its aspect, from which
            they are scaled. Of a part of a film, those of the whole are taken. How a picture says
            what is missing: see `nunif.runtime.mask_pictures`.
        invert: what they don't show is missing.
        dilate: pixels by which holes grow, up, down and to the sides (as often with a 3x3 cross, as
            the field does).
        objects: the numbers of the objects that are missing; none: all.
        large_holes: whether holes of nearly the whole picture are meant.
        deinterlace: of a video, as of `VideoReader`.
        again: what is to be said of the masks has been said.

    Raises:
        UserError: nothing usable at `path`; fewer masks than frames, a gap in the numbers, another
            aspect or rate; nearly all is hole; while iterating, a picture that can't be read.
            BrokenVideo: while iterating, a damaged video.
    """
    finish = partial(_grow, by=dilate)
    whole, first, stop = place_in_whole(film)
    masks = open_masks(
        path,
        Paired.with_film(whole),
        name=f"--mask {path}",
        size=(film.info.height, film.info.width),
        start=first,
        stop=stop,
        objects=objects,
        invert=invert,
        large_holes=large_holes,
        deinterlace=deinterlace,
    )
    with ExitStack() as stack:
        with _silence() if again else nullcontext():
            holes = stack.enter_context(masks)
        if is_picture(path):
            hole = finish(next(holes))
            if not hole.any():
                raise UserError(
                    f"--mask {path} marks nothing as missing: {hole_advice(invert=invert)}"
                )
            yield repeat(hole, len(film))
        else:
            yield map(finish, holes)


def _grow(hole: np.ndarray, *, by: int) -> np.ndarray:
    return cv2.dilate(hole.astype(np.uint8), _CROSS, iterations=by) > 0 if by else hole


@contextmanager
def _silence() -> Iterator[None]:
    """Log nothing of masks."""
    loggers = (logger, mask_reading.logger)
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each in loggers:
            each.setLevel(logging.NOTSET)


@contextmanager
def open_masks(
    path: Path,
    frames: Paired,
    *,
    name: str,
    size: tuple[int, int],
    start: int,
    stop: int,
    objects: tuple[int, ...] = (),
    invert: bool | None = False,
    large_holes: bool = False,
    deinterlace: bool = False,
    soft: bool = False,
) -> Iterator[Iterator[np.ndarray]]:
    """The masks of the frames [start, stop), as `open_holes` has them. One picture is repeated.

    Args:
        name: of the masks, for messages.
        size: (H, W) to which holes are scaled.
        invert: None where that can't be asked for.
        soft: they are mattes: (H, W) uint8, 255 = wholly marked.

    Raises: as `open_holes`.
    """
    fit = _Fit(name, frames, size, soft=soft)

    def understood(samples: Iterable[MaskPicture]) -> MaskReading:
        return understand(
            name, samples, objects=objects, invert=invert, large_holes=large_holes, soft=soft
        )

    check_exists(path, name)
    if path.is_dir() or is_picture(path):
        files = _paired_by_number(path, frames, name, start, stop) if path.is_dir() else [path]
        first = _read(files[0], name, fit)  # what is wrong with all of them is better said now
        reading = understood(_readable(files, name, fit))
        if path.is_dir():
            yield (fit.lay(reading.take(_read(file, name, fit))) for file in files)
        else:
            if frames.count > 1 and (count := len(row_of(path))) > 1:
                logger.warning(
                    "%s is one picture of a row of %d: it is taken for all frames; name its "
                    "folder if not",
                    name,
                    count,
                )
            yield repeat(fit.lay(reading.take(first)), stop - start)
        return
    if path.suffix.lower() != ".gif":
        refuse_unread(path, name)
    with VideoReader(path, for_editing=True, deinterlace=deinterlace) as masks:
        info = masks.info
        fit.check((info.height, info.width), name)
        _check_times(masks, frames, name)
        _check_count(name, "frames", len(masks), stop, frames.count)
        with VideoReader(path, for_editing=True, deinterlace=deinterlace) as sampled:
            reading = understood(_decodable(sampled, start, stop))
        yield (
            fit.lay(reading.take(mask_of_frame(frame, info))) for frame in masks.frames(start, stop)
        )


def hole_advice(*, invert: bool) -> str:
    """For someone whose mask marks nothing: what would."""
    return (
        "black is missing with --invert-mask, leave it out"
        if invert
        else "white is missing, or use --invert-mask"
    )


def _read(file: Path, name: str, fit: _Fit) -> MaskPicture:
    name = f"{name.partition(' ')[0]} {file}"
    try:
        mask = read_mask_picture(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{name} can't be read ({error}): make it again") from error
    fit.check(mask.size, name)
    return mask


def _readable(files: list[Path], name: str, fit: _Fit) -> Iterator[MaskPicture]:
    """Some of the masks; what is wrong with one that can't be used is said when its turn
    comes."""
    for position in sample_positions(len(files)):
        with suppress(UserError):
            yield _read(files[position], name, fit)


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
