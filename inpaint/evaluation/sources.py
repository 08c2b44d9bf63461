"""Where clips with holes come from: films with made-up holes or with masks, and records.

Axes: T frames, H W pixels; holes are (T, H, W) bool, True = missing.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from inpaint.dataset import EvalSet, scan_records
from inpaint.evaluation.clip import Clip, Holes
from inpaint.evaluation.films import make_holes
from inpaint.evaluation.scores import Motion, Score, film_scores, never_seen, record_scores
from inpaint.options_evaluate import LONG
from inpaint.options_holes import OCCLUSION
from inpaint.options_train import FRAMES_PER_DRAW
from nunif.evaluation.finished import key_of
from nunif.evaluation.judging import evenly
from nunif.records import Record
from nunif.training.task import BadSample
from nunif.video.clips import BadClip, clip_name, read_clip, read_masks
from scene.flow import motion_of

logger = logging.getLogger(__name__)

LONG_ENOUGH = 120  # frames in which a memory can age
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))  # by which papers let masks grow
MASKS = "masks"  # the one family of holes that are given


class Hidden(NamedTuple):
    """What will be missing of a film: the kind, what it follows from beside the frames, as JSON can
    hold it, and how to make the holes and say in a word what made them."""

    family: str
    made_of: list[str | int]
    make: Callable[[], tuple[np.ndarray, str]]


class HoleSource(Protocol):
    """Gives the holes of films."""

    @property
    def families(self) -> tuple[str, ...]: ...

    def hidden(self, path: Path, frames: np.ndarray) -> Iterator[Hidden]:
        """Of each family once. frames: (T, H, W, 3) uint8 of the film `path`. Raises BadClip."""
        ...


@dataclass(frozen=True)
class MadeUpHoles:
    """Holes of these families that are made up, the same at every call."""

    families: tuple[str, ...]
    seed: int

    def hidden(self, path: Path, frames: np.ndarray) -> Iterator[Hidden]:
        if LONG in self.families and len(frames) < LONG_ENOUGH:
            logger.warning(
                "%s has %d frames: --holes long is meant for %d or more (--frames)",
                path,
                len(frames),
                LONG_ENOUGH,
            )
        name = clip_name(path)
        for family in self.families:

            def make(family: str = family) -> tuple[np.ndarray, str]:
                return make_holes(family, name, frames, seed=self.seed)

            yield Hidden(family, [family, name, self.seed], make)


@dataclass(frozen=True)
class GivenMasks:
    """Masks in a folder, by the films' names; see `read_masks`. dilate: how often they grow by a
    cross of 3x3 pixels."""

    folder: Path
    start: int
    objects: tuple[int, ...]
    large_holes: bool
    deinterlace: bool
    dilate: int = 0
    families: tuple[str, ...] = (MASKS,)

    def hidden(self, path: Path, frames: np.ndarray) -> Iterator[Hidden]:
        holes = read_masks(
            self.folder,
            path,
            start=self.start,
            num_frames=len(frames),
            size=(frames.shape[1], frames.shape[2]),
            objects=self.objects,
            large_holes=self.large_holes,
            deinterlace=self.deinterlace,
        )
        if self.dilate:
            grown = (cv2.dilate(h.astype(np.uint8), CROSS, iterations=self.dilate) for h in holes)
            holes = np.stack([hole > 0 for hole in grown])
        yield Hidden(MASKS, [key_of(holes)], lambda: (holes, MASKS))


@dataclass(frozen=True)
class _Film:
    """Frames with what is measured on them once for all kinds of holes."""

    frames: np.ndarray
    perceptual: dict[str, Score]

    @cached_property
    def motion(self) -> Motion:
        return motion_of(self.frames)

    @cached_property
    def motion_reversed(self) -> Motion:
        return motion_of(self.frames[::-1])

    def holes_of(self, hidden: Hidden) -> Holes:
        """Raises BadClip where there is nothing to fill."""
        holes, made_of = hidden.make()
        if not holes.any():
            raise BadClip(f"no {hidden.family} holes came about")
        unseen = never_seen(holes, self.motion, self.motion_reversed)

        def score(output: np.ndarray) -> dict[str, float]:
            return film_scores(
                output,
                truth=self.frames,
                holes=holes,
                motion=self.motion,
                unseen=unseen,
                thirds=hidden.family == LONG,
                perceptual=self.perceptual,
            )

        return Holes(holes, made_of, score)


def film_clips(
    paths: Sequence[Path],
    *,
    start: int,
    num_frames: int,
    size: tuple[int, int] | None,
    deinterlace: bool,
    hole_source: HoleSource,
    perceptual: dict[str, Score],
) -> Iterator[Clip]:
    """Every film with every family of holes. A film that can't be used is left out, and a line says
    why. Some, evenly spread, are shown.

    size: (H, W) to which films are scaled, None for their own. perceptual: more scores.
    """
    num_families = len(hole_source.families)
    shown = evenly(len(paths) * num_families)
    for i, path in enumerate(paths):
        try:
            frames = read_clip(
                path, start=start, num_frames=num_frames, size=size, deinterlace=deinterlace
            )
            film = _Film(frames, perceptual)
            for number, hidden in enumerate(hole_source.hidden(path, frames), i * num_families):

                def holes_of(film: _Film = film, hidden: Hidden = hidden) -> Holes:
                    return film.holes_of(hidden)

                yield Clip(
                    clip_name(path),
                    path,
                    number,
                    frames,
                    holes_of,
                    hidden.family,
                    hidden.made_of,
                    number in shown,
                )
        except BadClip as problem:
            logger.warning("left out: %s: %s", path, problem)


def usable_records(folder: Path, *, tile_size: tuple[int, int]) -> Sequence[Record]:
    """The records that are long and large enough; a line for each that isn't.

    Raises:
        UserError: there is none.
    """
    records, bad = scan_records(folder, min_frames=FRAMES_PER_DRAW, min_size=tile_size)
    for problem in bad:
        logger.warning("left out: %s", problem)
    return records


def record_clips(
    records: Sequence[Record], *, tile_size: tuple[int, int], perceptual: dict[str, Score]
) -> Iterator[Clip]:
    """Of every record what the trainer evaluates on: its middle and its hardest tile (H, W).

    A record that can't be read is left out, and a line says why. Some, evenly spread, are shown.
    perceptual: more scores.
    """
    samples = EvalSet(records, FRAMES_PER_DRAW, tile_size, {OCCLUSION: 1, "object": 1})
    shown = evenly(len(records))
    for i, record in enumerate(records):
        try:
            sample = samples.sample(i)
        except BadSample as problem:
            logger.warning("left out: %s", problem)
            continue
        frames, holes = sample["pictures"].numpy(), sample["holes"][:, 0].numpy()

        def holes_of(frames: np.ndarray = frames, holes: np.ndarray = holes) -> Holes:
            return _record_holes(frames, holes, perceptual)

        yield Clip(
            record.path.name,
            record.path,
            i,
            frames,
            holes_of,
            made_of=[key_of(holes)],
            is_shown=i in shown,
        )


def _record_holes(frames: np.ndarray, holes: np.ndarray, perceptual: dict[str, Score]) -> Holes:
    motion = motion_of(frames)
    unseen = never_seen(holes, motion, motion_of(frames[::-1]))

    def score(output: np.ndarray) -> dict[str, float]:
        return record_scores(
            output, truth=frames, holes=holes, motion=motion, unseen=unseen, perceptual=perceptual
        )

    return Holes(holes, None, score)
