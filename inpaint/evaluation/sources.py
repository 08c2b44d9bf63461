"""Where clips with holes come from: films with made-up holes or with masks, and records.

Axes: T frames, H W pixels; holes are (T, H, W) bool, True = missing.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from tqdm import tqdm

from inpaint.dataset import EvalSet, scan_records
from inpaint.evaluation.clip import Clip
from inpaint.evaluation.films import make_holes
from inpaint.evaluation.scores import Score, film_scores, never_seen, record_scores
from inpaint.options_evaluate import LONG
from inpaint.options_holes import OCCLUSION
from inpaint.options_train import FRAMES_PER_DRAW
from nunif.pictures import to_uint8
from nunif.records import Record
from nunif.training.task import BadSample
from nunif.video.clips import BadClip, clip_name, read_clip, read_masks
from scene.flow import motion_of

logger = logging.getLogger(__name__)

PICTURES = 12  # records that are shown
LONG_ENOUGH = 120  # frames in which a memory can age
MASKS = "masks"  # the one family of holes that are given


class Holes(NamedTuple):
    """Holes of a film, their kind, and in a word what made them."""

    family: str
    holes: np.ndarray
    made_of: str


class HoleSource(Protocol):
    """Gives the holes of films."""

    def holes_of(self, path: Path, frames: np.ndarray) -> Iterator[Holes]:
        """Of each family once. frames: (T, H, W, 3) uint8 of the film `path`. Raises BadClip."""
        ...


@dataclass(frozen=True)
class MadeUpHoles:
    """Holes of these families that are made up, the same at every call."""

    families: tuple[str, ...]
    seed: int

    def holes_of(self, path: Path, frames: np.ndarray) -> Iterator[Holes]:
        if LONG in self.families and len(frames) < LONG_ENOUGH:
            logger.warning(
                "%s has %d frames: --holes long is meant for %d or more (--frames)",
                path,
                len(frames),
                LONG_ENOUGH,
            )
        for family in self.families:
            yield Holes(family, *make_holes(family, clip_name(path), frames, seed=self.seed))


@dataclass(frozen=True)
class GivenMasks:
    """Masks in a folder, by the films' names; see `read_masks`."""

    folder: Path
    start: int
    objects: tuple[int, ...]
    large_holes: bool
    deinterlace: bool

    def holes_of(self, path: Path, frames: np.ndarray) -> Iterator[Holes]:
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
        yield Holes(MASKS, holes, MASKS)


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
    why.

    size: (H, W) to which films are scaled, None for their own. perceptual: more scores.
    """
    for path in tqdm(paths, unit="clip", desc="evaluate", disable=None):
        try:
            frames = read_clip(
                path, start=start, num_frames=num_frames, size=size, deinterlace=deinterlace
            )
            motion, motion_reversed = motion_of(frames), motion_of(frames[::-1])
            for family, holes, made_of in hole_source.holes_of(path, frames):
                if not holes.any():
                    logger.warning("left out: %s: no %s holes came about", path, family)
                    continue
                score = partial(
                    film_scores,
                    truth=frames,
                    holes=holes,
                    motion=motion,
                    unseen=never_seen(holes, motion, motion_reversed),
                    thirds=family == LONG,
                    perceptual=perceptual,
                )
                yield Clip(clip_name(path), frames, holes, score, family, made_of)
        except BadClip as problem:
            logger.warning("left out: %s: %s", path, problem)


def usable_records(folder: Path, *, tile_size: tuple[int, int]) -> list[Record]:
    """The records that are long and large enough; a line for each that isn't.

    Raises:
        UserError: there is none.
    """
    records, bad = scan_records(folder, min_frames=FRAMES_PER_DRAW, min_size=tile_size)
    for problem in bad:
        logger.warning("left out: %s", problem)
    return records


def record_clips(
    records: list[Record], *, tile_size: tuple[int, int], device: torch.device
) -> Iterator[Clip]:
    """Of every record what the trainer evaluates on: its middle and its hardest tile (H, W).

    A record that can't be read is left out, and a line says why. A dozen of them, evenly spread,
    are shown. device: where scores are computed.
    """
    samples = EvalSet(records, FRAMES_PER_DRAW, tile_size, {OCCLUSION: 1, "object": 1})
    count = min(PICTURES, len(records))
    shown = set(np.linspace(0, len(records) - 1, count).round().astype(int).tolist())
    for i in tqdm(range(len(records)), unit="clip", desc="evaluate", disable=None):
        try:
            sample = samples.sample(i)
        except BadSample as problem:
            logger.warning("left out: %s", problem)
            continue
        frames = to_uint8(sample["frames"].add(1).div(2))
        holes = (sample["holes"][:, 0] > 0).numpy()
        score = partial(record_scores, truth=frames, holes=holes, device=device)
        yield Clip(records[i].path.name, frames, holes, score, is_shown=i in shown)
