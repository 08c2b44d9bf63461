"""What is done to a clip on its way into training. Pure functions; every random draw comes from the
generator given.

Axes: T frames, C colours, H W pixels. All is done as iw3 does it (nagadomi/nunif,
iw3/training/inpaint/dataset_video.py, MIT).
"""

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scene.masks import dilate_sideways

CROP_TRIES = 4
MAX_RIGHT, MAX_LEFT = 20, 4  # pixels by which a hole may grow


def random_hard_tile(
    holes: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Top and left of the tile with the most hole among four random ones. holes: (T, H, W) bool;
    size: (h, w)."""
    rooms = [whole - part + 1 for whole, part in zip(holes.shape[1:], size)]
    tries = [(int(rng.integers(rooms[0])), int(rng.integers(rooms[1]))) for _ in range(CROP_TRIES)]
    return _hardest(holes, size, tries)


def fixed_hard_tile(holes: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Top and left of the tile with the most hole on a grid of a quarter of its sides. holes: (T,
    H, W) bool."""
    rows, columns = (
        range(0, whole - part + 1, max(1, part // 4)) for whole, part in zip(holes.shape[1:], size)
    )
    return _hardest(holes, size, list(product(rows, columns)))


def _hardest(
    holes: np.ndarray, size: tuple[int, int], tries: list[tuple[int, int]]
) -> tuple[int, int]:
    height, width = size
    return max(
        tries,
        key=lambda at: int(
            np.count_nonzero(holes[:, at[0] : at[0] + height, at[1] : at[1] + width])
        ),
    )


def grow_holes(holes: Tensor, rng: np.random.Generator) -> Tensor:
    """Let the holes grow away from their object (right, half of the time) and into it (left, a
    quarter of it).

    holes: (T, H, W). Returns the same shape and type.
    """
    right = int(rng.integers(1, MAX_RIGHT + 1)) if rng.random() < 0.5 else 0
    left = int(rng.integers(1, MAX_LEFT + 1)) if rng.random() < 0.25 else 0
    return dilate_sideways(holes, left=left, right=right) if left or right else holes


class Colours(NamedTuple):
    """How the colours of a clip are changed: grey or not, then times a factor and plus an offset of
    each channel, then times a brightness and cut off at 1. A batch has a first axis before these.

    is_grey: (), bool. factor, offset: (3,). brightness: ().
    """

    is_grey: Tensor
    factor: Tensor
    offset: Tensor
    brightness: Tensor


def draw_colours(rng: np.random.Generator, brightness: tuple[float, float] = (1, 1)) -> Colours:
    """Half of the time another contrast and brightness for each colour, or (one time of twenty of
    these) grey; and a factor drawn between the two of `brightness`."""
    is_grey, factor, offset = False, np.ones(3), np.zeros(3)
    if rng.random() >= 0.5:
        is_grey = rng.random() < 0.05
        if not is_grey:
            factor = rng.uniform(0.7, 0.9, 3)
            offset = rng.uniform(0, 1 - factor)
    return Colours(
        torch.tensor(is_grey),
        torch.from_numpy(factor).to(torch.float32),
        torch.from_numpy(offset).to(torch.float32),
        torch.tensor(1.0 if brightness == (1, 1) else rng.uniform(*brightness)),
    )


def change_colours(frames: Tensor, colours: Colours) -> Tensor:
    """Clips (..., T, 3, H, W) in [0, 1], with other colours; a clip's are in `colours` at the same
    place. Where nothing is to be changed, not a bit is."""
    places = colours.is_grey.shape
    grey = frames.mean(dim=-3, keepdim=True).expand_as(frames)
    frames = torch.where(colours.is_grey.view(*places, 1, 1, 1, 1), grey, frames)
    factor, offset = (x.view(*places, 1, 3, 1, 1) for x in colours[1:3])
    frames = frames * factor + offset
    return (frames * colours.brightness.view(*places, 1, 1, 1, 1)).clamp(max=1)
