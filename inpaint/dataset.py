"""Records as training and evaluation samples.

Axes: T frames, H W pixels. A sample is a dict of `frames` (T, 3, H, W) float32 in [-1, 1] and `holes` (T, 1, H, W)
float32, 1 = missing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inpaint.clip_transforms import MAX_LEFT, MAX_RIGHT, fixed_hard_tile, grow_holes, jitter_colour, random_hard_tile
from inpaint.records import BadRecord, Record, read_frames, read_holes
from nunif.training.task import BadSample, Draw

Sample = dict[str, Tensor]


@dataclass(frozen=True)
class _Clips:
    """Records of which clips of `clip_length` frames and `tile_size` pixels are cut."""

    records: list[Record]
    clip_length: int
    tile_size: int

    def __len__(self) -> int:
        return len(self.records)


class TrainSet(_Clips):
    """Random clips, tiles and colours out of records; everything random follows from the draw's seed."""

    def __getitem__(self, draw: Draw) -> Sample:
        record, rng = self.records[draw.index], np.random.default_rng(draw.seed)
        start = int(rng.integers(len(record) - self.clip_length + 1))
        numbers = record.numbers[start : start + self.clip_length]
        if rng.random() < 0.5:
            numbers = numbers[::-1]
        try:
            holes = read_holes(record, numbers)
            top, left = random_hard_tile(holes, self.tile_size, rng)
            rows = slice(top, top + self.tile_size)
            # what grows into the tile from beside it counts too
            first, last = max(0, left - MAX_RIGHT), left + self.tile_size + MAX_LEFT
            grown = grow_holes(torch.from_numpy(holes[:, rows, first:last]), rng)
            holes_tile = grown[:, :, left - first :][:, :, : self.tile_size]
            frames = read_frames(record, numbers, rows, slice(left, left + self.tile_size))
        except BadRecord as problem:
            raise BadSample(str(problem.record), problem.reason) from problem
        return _sample(jitter_colour(_to_unit(frames), rng), holes_tile)


class EvalSet(_Clips):
    """The middle of each record and its tile with the most hole, always the same."""

    def __getitem__(self, draw: Draw) -> Sample:
        return self.sample(draw.index)

    def sample(self, index: int) -> Sample:
        """The sample of a record. Raises BadSample if it can't be read."""
        record = self.records[index]
        start = (len(record) - self.clip_length) // 2
        numbers = record.numbers[start : start + self.clip_length]
        try:
            holes = read_holes(record, numbers)
            top, left = fixed_hard_tile(holes, self.tile_size)
            rows, columns = slice(top, top + self.tile_size), slice(left, left + self.tile_size)
            frames = read_frames(record, numbers, rows, columns)
        except BadRecord as problem:
            raise BadSample(str(problem.record), problem.reason) from problem
        return _sample(_to_unit(frames), torch.from_numpy(holes[:, rows, columns]))


def _to_unit(frames: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float32).div(255)


def _sample(frames: Tensor, holes: Tensor) -> Sample:
    return {"frames": (frames * 2 - 1).contiguous(), "holes": holes.unsqueeze(1).to(torch.float32)}
