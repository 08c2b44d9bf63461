"""Where people are in pictures of any size, by the network that comes along.

The network sees squares of 256 pixels. A whole film frame squeezed into one loses small people, so
squares of the frame's short side go along its long side, overlap, and are averaged.

It finds people for holes and as a teacher; what it finds has soft, wide edges and is no matte.

Axes: T frames, C channels, H W pixels, N squares.
"""

import math
from functools import cache
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from matting.models.person_finder import SIDE, PersonFinder
from nunif.download import PRETRAINED
from nunif.errors import UserError
from nunif.models import load_model

RELEASED_FOLDER = Path(__file__).resolve().parents[2] / PRETRAINED
RELEASED = RELEASED_FOLDER / "person_finder_v1.pth"
LARGEST_STEP = 0.3  # from one square to the next, as a share of its side
AT_ONCE = 16  # squares


def check_released(path: Path) -> None:
    """
    Raises:
        UserError: a model file that comes along is missing.
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing: it comes with the project's folder, copy it from there"
        )


@cache
def load_finder(path: Path = RELEASED, device: torch.device | str = "cpu") -> PersonFinder:
    """The network, ready to run.

    Raises:
        UserError: the file is missing, or holds another model.
    """
    check_released(path)
    model, _ = load_model(path, device=device, expect="matting.person_finder")
    return cast(PersonFinder, model.to(memory_format=torch.channels_last))  # a quarter quicker


@torch.inference_mode()
def find_people(frames: Tensor, finder: PersonFinder | None = None) -> Tensor:
    """How probable it is that a person is seen, pixel by pixel.

    Args:
        frames: (T, 3, H, W), RGB in [0, 1].
        finder: `load_finder`'s, the released one by default, on the frames' device.

    Returns: (T, 1, H, W) float32 in [0, 1].
    """
    if finder is None:
        finder = load_finder(device=frames.device)
    height, width = frames.shape[-2:]
    axis, side = (2, width) if height > width else (3, height)
    bell = weights_of_square(side, axis, frames.device)
    found = torch.zeros(len(frames), 1, height, width, device=frames.device)
    weight = torch.zeros_like(found[:1])
    starts = places_of_squares(side, max(height, width))
    # all at once: a convolution of a single picture is left to a slower algorithm
    squares = torch.cat([frames.narrow(axis, start, side) for start in starts]).float()
    for start, people in zip(starts, _run(finder, squares).split(len(frames))):
        found.narrow(axis, start, side).add_(bell * people)
        weight.narrow(axis, start, side).add_(bell)
    return (found / weight).clamp(0, 1)


def _run(finder: PersonFinder, squares: Tensor) -> Tensor:
    """(N, 3, S, S) -> (N, 1, S, S), at the size that the network knows."""
    size = (squares.shape[-2], squares.shape[-1])
    parts = []
    for part in squares.split(AT_ONCE):
        small = _resized(part, (SIDE, SIDE))
        parts.append(finder(small.contiguous(memory_format=torch.channels_last)))
    return _resized(torch.cat(parts), size)


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, S, S) -> (N, C, size). What grows needs no antialias, which takes thrice the time."""
    return F.interpolate(
        pictures, size, mode="bilinear", align_corners=False, antialias=pictures.shape[-1] > size[1]
    )


def places_of_squares(short: int, long: int) -> list[int]:
    """Where squares of the short side start along the long one, in pixels: 4 of them at 16:9, 3 at
    4:3, 1 in a square."""
    rest = long - short
    num_steps = math.ceil(rest / (LARGEST_STEP * short))
    return [round(rest * step / num_steps) for step in range(num_steps)] + [rest]


def weights_of_square(side: int, axis: int, device: torch.device | str | None = None) -> Tensor:
    """What a square counts along its axis, 2 or 3, beside those that overlap it: Hann's window,
    above 0 everywhere. Of four axes, three of them 1."""
    places = (torch.arange(side, device=device) + 0.5) / side
    shape = [1, 1, 1, 1]
    shape[axis] = side
    return torch.sin(math.pi * places).square().reshape(shape)
