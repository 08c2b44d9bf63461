"""A picture memory as rows of numbers, one row for each cell of the frame: the form in which it is
handed from call to call, and through engines.

Axes: B batch, N cells of a frame.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.models.candidates import PLANES
from inpaint.models.recall import Memory


def numbers_of_cell(cell: int, num_keys: int) -> int:
    """How many numbers of a memory fall to a square of `cell` pixels, an even number."""
    return PLANES * (1 + num_keys) * cell**2 + 3 * num_keys * (cell // 2) ** 2


def pack(memory: Memory, cell: int, length: int) -> Tensor:
    """The memory as (B, N, length) numbers, one row for each cell of `cell` pixels, zeros behind
    them."""
    pictures = torch.cat([memory.canvas, memory.keys.flatten(1, 2)], 1)
    parts = (
        F.pixel_unshuffle(pictures, cell),
        F.pixel_unshuffle(memory.places.flatten(1, 2), cell // 2),
    )
    rows = torch.cat(parts, 1).flatten(2).transpose(1, 2)  # (B, N, numbers of a cell)
    return F.pad(rows, (0, length - rows.shape[2]))


def unpack(rows: Tensor, cell: int, grid: tuple[int, int], num_keys: int) -> Memory:
    """The inverse of `pack`; grid: cells in height and width."""
    numbers = rows[:, :, : numbers_of_cell(cell, num_keys)].transpose(1, 2).unflatten(2, grid)
    pictures, places = numbers.split(
        [PLANES * (1 + num_keys) * cell**2, 3 * num_keys * (cell // 2) ** 2], dim=1
    )
    pictures, places = F.pixel_shuffle(pictures, cell), F.pixel_shuffle(places, cell // 2)
    canvas, keys = pictures.split([PLANES, PLANES * num_keys], dim=1)
    return Memory(canvas, keys.unflatten(1, (num_keys, PLANES)), places.unflatten(1, (num_keys, 3)))
