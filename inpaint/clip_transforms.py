"""What is done to a clip on its way into training. Pure functions; every random draw comes from the
generator given.

Axes: T frames, C colours, H W pixels. All is done as iw3 does it (nagadomi/nunif,
iw3/training/inpaint/dataset_video.py, MIT).
"""

from itertools import product

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


def jitter_colour(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the time another contrast and brightness for each colour, or (one time of twenty of
    these) grey.

    frames: (T, 3, H, W) in [0, 1]. Returns the same.
    """
    if rng.random() < 0.5:
        return frames
    if rng.random() < 0.05:
        return frames.mean(dim=1, keepdim=True).expand_as(frames)
    scale = rng.uniform(0.7, 0.9, 3)
    bias = rng.uniform(0, 1 - scale)
    factor, offset = (torch.from_numpy(x).to(frames).view(1, 3, 1, 1) for x in (scale, bias))
    return frames * factor + offset


def change_brightness(
    frames: Tensor, factors: tuple[float, float], rng: np.random.Generator
) -> Tensor:
    """The whole clip times one factor drawn between the two. frames: (T, 3, H, W) in [0, 1].
    Returns the same."""
    return frames if factors == (1, 1) else (frames * rng.uniform(*factors)).clamp(max=1)
