"""Pictures as films hold them and as networks take them.

Axes: T frames, H W pixels. Pictures are (T, H, W, 3), as uint8 or as float32 in [-1, 1].
"""

import numpy as np
import torch
from torch import Tensor

from nunif.pictures import to_uint8


def fill_in(output: np.ndarray, frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """The output in the holes and the frames, uint8, around them, in the output's type."""
    if output.dtype != np.uint8:
        frames = signed(frames).permute(0, 2, 3, 1).numpy()
    return np.where(holes[..., None], output, frames)


def signed(pictures: np.ndarray) -> Tensor:
    """(T, 3, H, W) float32 in [-1, 1], as networks take pictures: the numbers of
    `inpaint.dataset`."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    if pictures.dtype == np.uint8:
        x = x.float().div(255).mul(2).sub(1)
    return x.contiguous()


def as_uint8(pictures: np.ndarray) -> np.ndarray:
    """As a film holds them, (T, H, W, 3) uint8."""
    if pictures.dtype == np.uint8:
        return pictures
    return to_uint8(signed(pictures).add(1).div(2))
