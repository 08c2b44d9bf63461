"""Where persons are, as samples to learn segmentation from: clips, and stills that have nothing to
do with each other. Steps and ranges are those of Robust Video Matting (Lin et al., arXiv
2108.11515, supplement).

A record is frames and their alpha; a person is where alpha is above one half, so masks do as well.

Axes: T frames, S S pixels. A sample is a dict: `frames` (T, 3, S, S) and `mask` (T, 1, S, S) of
float32 in [0, 1], 1 = person; `still`, whether the frames are stills.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from matting.augment import affine, change_colours, grey, sample, to_unit
from nunif import record_scan
from nunif.places import address_of, local_path, text_of
from nunif.record_list import Records
from nunif.records import BadRecord, Record, read_plane
from nunif.shards.options import CacheSettings
from nunif.training.task import BadSample
from scene.planes import ALPHA, COLOUR

logger = logging.getLogger(__name__)

PLANES = (COLOUR, ALPHA)
TRIES = 5  # records that can't be read, one after another, until a sample is given up


@dataclass(frozen=True)
class Ranges:
    """How far pictures are changed.

    degrees, shift (of a side), shear (degrees): either way. least_area: of the part that is cut
        out. aspect: its least and greatest ratio of sides. colour: how far brightness, contrast
        and saturation are from 1. hue: in turns. grey: how often without colour.
    """

    degrees: float
    shift: float
    shear: float
    least_area: float
    aspect: tuple[float, float]
    colour: float
    hue: float
    grey: float


OF_STILLS = Ranges(20, 0.1, 10, 0.5, (0.7, 1.3), 0.1, 0.1, 0.0)
OF_CLIPS = Ranges(0, 0.0, 0, 0.8, (0.9, 1.1), 0.3, 0.15, 0.05)


@dataclass(frozen=True)
class PersonSet:
    """Draws samples of `clip_length` frames of `size` x `size` pixels.

    clips: records of so many frames at least, in their order. stills: the others. Where there are
    none of a kind, the other stands in: frames of clips are stills too, and without clips there
    are stills alone.
    """

    clips: Sequence[Record]
    stills: Sequence[Record]
    clip_length: int
    size: int

    def draw(self, rng: np.random.Generator, *, still: bool) -> dict[str, Tensor]:
        """A clip, or as many stills. What can't be read is told of, and another is drawn.

        Raises:
            BadSample: several in a row can't be read.
        """
        still = still or not self.clips
        if still:
            found = self.stills or self.clips
            parts = [self._draw_from(found, 1, OF_STILLS, rng) for _ in range(self.clip_length)]
            frames, mask = (torch.cat(both) for both in zip(*parts))
        else:
            frames, mask = self._draw_from(self.clips, self.clip_length, OF_CLIPS, rng)
        return {"frames": frames, "mask": mask, "still": torch.tensor(still)}

    def _draw_from(
        self, found: Sequence[Record], num_frames: int, ranges: Ranges, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        for _ in range(TRIES):
            record = found[int(rng.integers(len(found)))]
            start = int(rng.integers(len(record) - num_frames + 1))
            numbers = record.numbers[start : start + num_frames]
            try:
                frames = to_unit(read_plane(record, COLOUR.letter, numbers))
                mask = to_unit(read_plane(record, ALPHA.letter, numbers))
            except BadRecord as problem:
                logger.warning("persons of %s are passed over", problem)
                bad = problem
                continue
            return change(frames, mask, self.size, ranges, rng)
        raise BadSample(text_of(bad.record), bad.reason)


def change(
    frames: Tensor, mask: Tensor, size: int, ranges: Ranges, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Frames (T, 3, H, W) and masks (T, 1, H, W) as they are learned from, (T, ., size, size), all
    frames in the same way."""
    matrices = np.broadcast_to(draw_part(ranges, rng), (len(frames), 3, 3))
    # where a picture ends it is mirrored, and so are its persons
    frames = sample(frames, matrices, size, extend=True)
    mask = (sample(mask, matrices, size, extend=True) > 0.5).to(mask.dtype)
    factors = np.empty(4)
    factors[:3] = rng.uniform(1 - ranges.colour, 1 + ranges.colour, 3)
    factors[3] = rng.uniform(-ranges.hue, ranges.hue)
    frames = change_colours(frames, np.broadcast_to(factors, (len(frames), 4)).copy())
    if rng.random() < ranges.grey:
        frames = grey(frames).contiguous()
    return frames, mask


def draw_part(ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
    """(3, 3), see `affine`: a part of the picture, turned, and mirrored half the time."""
    x, y = rng.uniform(-ranges.shift, ranges.shift, 2)
    turned = affine(
        rng.uniform(-ranges.degrees, ranges.degrees),
        (x, y),
        1.0,
        rng.uniform(-ranges.shear, ranges.shear),
    )
    area = rng.uniform(ranges.least_area, 1)
    aspect = np.exp(rng.uniform(*np.log(ranges.aspect)))
    sides = np.sqrt([area * aspect, area / aspect]).clip(max=1)
    part = np.diag([*sides, 1.0])
    part[:2, 2] = rng.uniform(-1, 1, 2) * (1 - sides)
    mirror = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0, 1.0])
    return turned @ part @ mirror


def scan_persons(
    folder: Path, *, clip_length: int, size: int, cache: CacheSettings | None = None
) -> tuple[PersonSet, list[BadRecord]]:
    """The records of a folder, or of train/ in it, and those that can't be used.

    Raises:
        UserError: there is no such folder, or no record in it.
    """
    if address_of(folder) is not None or (local_path(folder) / "train").is_dir():
        folder = folder / "train"
    marked, bad = scan_marked(folder, cache=cache)
    clips = marked.where(lambda record: len(record) >= clip_length)
    stills = marked.where(lambda record: len(record) < clip_length)
    return PersonSet(clips, stills, clip_length, size), bad


def scan_marked(
    folder: Path, *, cache: CacheSettings | None = None
) -> tuple[Records, list[BadRecord]]:
    """The records of frames and their alpha in a folder, and those that can't be used.

    Raises:
        UserError: there is no such folder, or no record in it.
    """
    found, bad = record_scan.scan_records(folder, PLANES, quick=True, cache=cache)
    for record in found.where(lambda record: not record.has(ALPHA.letter)):
        bad.append(BadRecord(record.path, f"it has no {ALPHA.name}"))
    return found.where(lambda record: record.has(ALPHA.letter)), bad
