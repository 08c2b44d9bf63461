"""Masks of what is pointed at in a film: python -m layers mask.

Axes: H W pixels.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from layers.options_mask import MaskFilmOptions
from layers.prompts import NOT_POINT, Prompt
from layers.runtime.pointing import enlarge, scaled, shrink
from layers.runtime.shot import follow_shot
from nunif.errors import UserError
from nunif.files import check_not_source
from nunif.runtime.film import process_frames, read_ahead
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film, PictureFilm, open_film
from nunif.video.folder import FolderWriter

logger = logging.getLogger(__name__)

_ROUNDING = 0.001  # seconds by which files round the times of their pictures


def mask_film(options: MaskFilmOptions) -> None:
    """The command `mask`."""
    check_not_source(options.output, options.input)
    with open_film(options.input, fps=options.fps, deinterlace=options.deinterlace) as film:
        prompts = place_prompts(options.prompts(), film)
        size = (film.info.height, film.info.width)
        numbers = film.numbers if isinstance(film, PictureFilm) else range(len(film))
        found: Counter[int] = Counter()
        with FolderWriter(options.output) as folder, read_ahead(film, film) as frames:
            pictures = (frame.rgb for frame in frames)
            labels = follow_film(pictures, prompts, size=size, find_cuts=options.find_cuts)

            def write(item: tuple[np.ndarray, int]) -> None:
                mask, number = item
                folder.write_numbers(mask, number)
                found.update(np.unique(mask).tolist())

            process_frames(zip((mask for mask, _ in labels), numbers), film, write)
        parts = [
            f"object {number} in {found[number]}"
            for number in sorted({prompt.number or 0 for prompt in prompts})
        ]
        logger.info("%s: %d frames, %s", options.output, len(film), ", ".join(parts))


def place_prompts(prompts: Sequence[Prompt], film: Film) -> list[Prompt]:
    """The prompts with the numbers of their frames.

    Raises:
        UserError: one lies outside the picture, or its time behind the film's end; two say that a
            pixel belongs to different objects.
    """
    width, height = film.info.width, film.info.height
    placed = [replace(prompt, frame=_frame_of(prompt, film), time=None) for prompt in prompts]
    taken: dict[tuple[int, int, int], Prompt] = {}
    for prompt in placed:
        assert prompt.frame is not None
        for x, y in prompt.points:
            if not (x < width and y < height):
                raise UserError(
                    f"{prompt.text}: x {x:g}, y {y:g} is outside the picture: {film.path} is "
                    f"{width}x{height}, so x goes from 0 to {width - 1} and y to {height - 1}"
                )
            pixel = (prompt.frame, int(x), int(y))
            other = taken.setdefault(pixel, prompt)
            if _contradict(prompt, other):
                raise UserError(
                    f"{other.text} and {prompt.text} are one pixel of one frame: it can't be both"
                )
    return placed


def _contradict(prompt: Prompt, other: Prompt) -> bool:
    is_same = prompt.number == other.number
    says_not = (prompt.kind == NOT_POINT, other.kind == NOT_POINT)
    return says_not[0] != says_not[1] if is_same else not any(says_not)


def _frame_of(prompt: Prompt, film: Film) -> int:
    if prompt.frame is not None:
        if prompt.frame >= len(film):
            raise UserError(
                f"{prompt.text}: {film.path} has {len(film)} frames, numbered from 0: give one up "
                f"to #{len(film) - 1}"
            )
        return prompt.frame
    assert prompt.time is not None
    end = float(film.times[-1] + int(film.durations[-1]) * film.info.time_base)
    if prompt.time > end + _ROUNDING:
        raise UserError(
            f"{prompt.text}: the time lies behind the end of {film.path}, which is at {end:.2f} "
            "s: give an earlier one"
        )
    at = int(np.searchsorted(film.times, float(prompt.time) + _ROUNDING, side="right"))
    return max(0, at - 1)


def follow_film(
    pictures: Iterable[np.ndarray],
    prompts: Sequence[Prompt],
    *,
    size: tuple[int, int],
    find_cuts: bool = True,
) -> Iterator[tuple[np.ndarray, bool]]:
    """Where the objects are in every frame of a film; they end with the shot.

    Args:
        pictures: of the frames, in order, (H, W, 3) uint8 RGB.
        prompts: as of `place_prompts`.
        size: (H, W) of the frames.
    Yields: (H, W) uint8, the numbers of objects, 0 elsewhere; and whether a new shot starts with
        the frame, as it does with the first.
    """
    small = (shrink(picture) for picture in pictures)
    marked = mark_cuts(small) if find_cuts else ((picture, False) for picture in small)
    first = 0
    for shot in _shots(marked):
        own: dict[int, list[Prompt]] = {}
        for prompt in scaled(prompts, size):
            assert prompt.frame is not None
            if prompt.frame >= first:
                own.setdefault(prompt.frame - first, []).append(prompt)
        for number, labels in enumerate(follow_shot(shot, own)):
            first += 1
            yield enlarge(labels, size), number == 0


def _shots(marked: Iterator[tuple[np.ndarray, bool]]) -> Iterator[Iterator[np.ndarray]]:
    """The pictures shot by shot; each shot has to be gone through before the next."""
    ahead = next(marked, None)
    while ahead is not None:
        first, ahead = ahead[0], None

        def rest() -> Iterator[np.ndarray]:
            nonlocal ahead
            for picture, starts_shot in marked:
                if starts_shot:
                    ahead = (picture, True)
                    return
                yield picture

        yield chain([first], rest())
