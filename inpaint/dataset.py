"""Records as training and evaluation samples.

A sample is small, as it goes from process to process and to the device; there `unpack` makes of it
what is computed with.

Axes: T frames, H W pixels. A sample is a dict of `pictures` (T, H, W, 3) uint8, `holes` (T, 1, H,
W) bool, 1 = missing, and, to learn from, `colours`, as which the pictures are seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inpaint.clip_transforms import (
    MAX_LEFT,
    MAX_RIGHT,
    Colours,
    change_colours,
    draw_colours,
    fixed_hard_tile,
    grow_holes,
    random_hard_tile,
)
from inpaint.hole_shapes import SHAPES
from inpaint.options_holes import OCCLUSION
from nunif import record_scan
from nunif.places import text_of
from nunif.record_list import Records
from nunif.records import BadRecord, Record, read_plane
from nunif.seed import generator_for
from nunif.shards.options import CacheSettings
from nunif.training.task import BadSample, Draw
from scene.planes import COLOUR, HOLE

Sample = dict[str, Any]
PLANES = (COLOUR, HOLE)  # what inpainting looks at of a record


def scan_records(
    folder: Path,
    *,
    min_frames: int = 1,
    min_size: int | tuple[int, int] = 1,
    quick: bool = False,
    cache: CacheSettings | None = None,
) -> tuple[Records, list[BadRecord]]:
    """As `nunif.record_scan.scan_records`, for frames and holes."""
    return record_scan.scan_records(
        folder, PLANES, min_frames=min_frames, min_size=min_size, quick=quick, cache=cache
    )


@dataclass(frozen=True)
class _Clips:
    """Records of which clips of `clip_length` frames and `tile_size` (H, W) pixels are cut.

    masks: how often each kind of holes is taken: "occlusion" is the record's own, the others are
        made up (`inpaint.hole_shapes.SHAPES`). Every record can have one of them: see `kinds_for`.
    """

    records: Sequence[Record]
    clip_length: int
    tile_size: tuple[int, int]
    masks: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class TrainSet(_Clips):
    """Random clips, tiles, holes and colours out of records; everything random follows from the
    draw's seed.

    brightness: the factors between which each clip's is drawn.
    """

    brightness: tuple[float, float] = (1.0, 1.0)

    def __getitem__(self, draw: Draw) -> Sample:
        record, rng = self.records[draw.index], np.random.default_rng(draw.seed)
        start = int(rng.integers(len(record) - self.clip_length + 1))
        numbers = record.numbers[start : start + self.clip_length]
        if rng.random() < 0.5:
            numbers = numbers[::-1]
        kinds = kinds_for(record, self.masks)
        kind = next(iter(kinds)) if len(kinds) == 1 else rng.choice(list(kinds), p=_shares(kinds))
        try:
            if kind == OCCLUSION:
                tile, holes = self._recorded_holes(record, numbers, rng)
            else:
                tile = _random_tile(record.size, self.tile_size, rng)
                holes = torch.from_numpy(SHAPES[kind](self.clip_length, self.tile_size, rng))
            frames = read_plane(record, COLOUR.letter, numbers, *tile)
        except BadRecord as problem:
            raise BadSample(text_of(problem.record), problem.reason) from problem
        return _sample(frames, holes) | {"colours": draw_colours(rng, self.brightness)}

    def _recorded_holes(
        self, record: Record, numbers: tuple[str, ...], rng: np.random.Generator
    ) -> tuple[tuple[slice, slice], Tensor]:
        """A hard tile (rows, columns) and its holes (T, h, w), which may have grown."""
        holes = read_plane(record, HOLE.letter, numbers)
        top, left = random_hard_tile(holes, self.tile_size, rng)
        height, width = self.tile_size
        rows = slice(top, top + height)
        # what grows into the tile from beside it counts too
        first, last = max(0, left - MAX_RIGHT), left + width + MAX_LEFT
        grown = grow_holes(torch.from_numpy(holes[:, rows, first:last]), rng)
        return (rows, slice(left, left + width)), grown[:, :, left - first :][:, :, :width]


class EvalSet(_Clips):
    """The middle of each record and its tile with the most hole, always the same; made-up holes
    follow from its name."""

    def __getitem__(self, draw: Draw) -> Sample:
        return self.sample(draw.index)

    def sample(self, index: int) -> Sample:
        """The sample of a record. Raises BadSample if it can't be read."""
        record, (height, width) = self.records[index], self.tile_size
        start = (len(record) - self.clip_length) // 2
        numbers = record.numbers[start : start + self.clip_length]
        kinds = kinds_for(record, self.masks)
        try:
            if OCCLUSION in kinds:
                holes = read_plane(record, HOLE.letter, numbers)
                top, left = fixed_hard_tile(holes, self.tile_size)
                holes = holes[:, top : top + height, left : left + width]
            else:
                rng = generator_for("eval-holes", record.path.name)
                kind = str(rng.choice(list(kinds), p=_shares(kinds)))
                holes = SHAPES[kind](self.clip_length, self.tile_size, rng)
                top, left = (record.size[0] - height) // 2, (record.size[1] - width) // 2
            rows, columns = slice(top, top + height), slice(left, left + width)
            frames = read_plane(record, COLOUR.letter, numbers, rows, columns)
        except BadRecord as problem:
            raise BadSample(text_of(problem.record), problem.reason) from problem
        return _sample(frames, torch.from_numpy(holes))


def kinds_for(record: Record, masks: Mapping[str, float]) -> dict[str, float]:
    """The kinds of holes that a record can have, with their weights; empty if it has no masks and
    none are made up."""
    return {
        kind: weight
        for kind, weight in masks.items()
        if weight > 0 and (record.has(HOLE.letter) or kind != OCCLUSION)
    }


def _shares(kinds: dict[str, float]) -> np.ndarray:
    weights = np.array(list(kinds.values()))
    return weights / weights.sum()


def _random_tile(
    size: tuple[int, int], tile: tuple[int, int], rng: np.random.Generator
) -> tuple[slice, slice]:
    """Rows and columns of any tile in a picture of that size, evenly."""
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(size, tile))
    return slice(top, top + tile[0]), slice(left, left + tile[1])


def _sample(frames: np.ndarray, holes: Tensor) -> Sample:
    return {"pictures": torch.from_numpy(frames), "holes": holes.unsqueeze(1)}


def unpack(samples: Sample) -> dict[str, Tensor]:
    """What is computed with, of a sample or of a batch (B first): `frames` (..., T, 3, H, W)
    float32 in [-1, 1] and `holes` (..., T, 1, H, W) float32."""
    pictures = samples["pictures"].movedim(-1, -3)
    frames = pictures.to(torch.float32, memory_format=torch.contiguous_format).div(255)
    colours: Colours | None = samples.get("colours")
    if colours is not None:
        frames = change_colours(frames, colours)
    return {"frames": frames * 2 - 1, "holes": samples["holes"].to(torch.float32)}
