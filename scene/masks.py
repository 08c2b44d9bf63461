"""Pure functions of hole masks.

Axes: `...` any leading axes, C channels, H W pixels. A hole mask has one channel: 1 is missing, 0
is seen.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nunif.compiler import leave_out

HOLE_COLOUR = (255, 0, 255)  # that no film has
# a pixel of the pyramid is seen if one in so many of its pixels is; less counts in part
ENOUGH = 64
FILL_LEVELS = 7  # halvings of the pyramid: holes up to about 2**7 pixels wide are bridged


@leave_out  # pyramids take torch's compiler many minutes, and little time by themselves
def smooth_fill(frames: Tensor, holes: Tensor) -> Tensor:
    """Fill the holes with a smooth continuation of their surroundings; what is seen stays as it is.

    Push-pull interpolation (Gortler et al., The Lumigraph, 1996): the seen pixels are averaged down
    a pyramid, and every level's gaps are filled from the next coarser one. Where nothing is seen at
    all the result is 0.

    Args:
        frames: (N, C, H, W), any range; what stands in the hole is not looked at.
        holes: (N, 1, H, W), 1 = missing, between 0 and 1 for what is seen in part.
    Returns: (N, C, H, W).

    >>> frames = torch.tensor([0.5, 9.0, 0.5, 0.5]).view(1, 1, 1, 4)
    >>> smooth_fill(frames, torch.tensor([0.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 4))
    tensor([[[[0.5000, 0.5000, 0.5000, 0.5000]]]])
    """
    weight = 1 - holes
    planes = torch.cat([frames * weight, weight], 1)
    levels = [planes]
    for _ in range(
        FILL_LEVELS
    ):  # also where a single pixel is left: a condition on sizes costs exports minutes
        planes = mean_of_squares(planes, 2)
        levels.append(planes)
    colour, weight = levels[-1].split([frames.shape[1], 1], dim=1)
    filled = colour / weight.clamp(min=1e-6)
    for planes in reversed(levels[:-1]):
        colour, weight = planes.split([frames.shape[1], 1], dim=1)
        coarse = F.interpolate(filled, size=weight.shape[-2:], mode="bilinear", align_corners=False)
        # a pixel that averages some seen ones is as good as seen: only true gaps take the coarse
        # value
        filled = torch.lerp(coarse, colour / weight.clamp(min=1e-6), (weight * ENOUGH).clamp(max=1))
    return filled


def mean_of_squares(x: Tensor, side: int) -> Tensor:
    """Means of squares of `side` pixels, sides rounded up: (N, C, H, W) -> (N, C, ceil(H / side),
    ceil(W / side)).

    What lies outside counts as 0, in weights as in what they weigh. Torch's own rounding up makes
    exports for any size reason about inequalities for minutes.

    >>> mean_of_squares(torch.tensor([[[[1.0, 3.0, 4.0], [5.0, 7.0, 4.0]]]]), 2)
    tensor([[[[4., 2.]]]])
    """
    height, width = x.shape[-2:]
    # where sizes are symbols, that condition too would have to be reasoned about
    is_known = isinstance(height, int) and isinstance(width, int)
    if not (is_known and height % side == 0 and width % side == 0):
        x = F.pad(x, (0, side - 1, 0, side - 1))
    return F.avg_pool2d(x, side)


def compose(frames: Tensor, holes: Tensor, prediction: Tensor) -> Tensor:
    """The prediction inside the hole, the untouched frame outside. All (..., C, H, W), holes (...,
    1, H, W).

    >>> frame, prediction = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[8.0, 9.0]]])
    >>> compose(frame, torch.tensor([[[0.0, 1.0]]]), prediction)
    tensor([[[1., 9.]]])
    """
    return torch.where(holes > 0, prediction, frames)


def dilate_sideways(holes: Tensor, *, left: int = 0, right: int = 0) -> Tensor:
    """Let a hole grow along its row by whole pixels to the left and to the right, not past the
    picture's edge.

    Args:
        holes: (..., H, W), 0 or 1 or bool.
        left, right: pixels, 0 or more.
    Returns: the same shape and type.

    >>> dilate_sideways(torch.tensor([[0, 0, 1, 0, 0]]), left=1, right=2)
    tensor([[0, 1, 1, 1, 1]])
    """
    width = holes.shape[-1]
    if holes.dtype == torch.bool and holes.device.type == "cpu":  # the same, many times faster
        window = np.ones((1, left + right + 1), np.uint8)
        rows = np.ascontiguousarray(holes.numpy()).view(np.uint8).reshape(-1, width)
        dilated = cv2.dilate(rows, window, anchor=(right, 0))
        return torch.from_numpy(dilated.view(bool).reshape(holes.shape))
    padded = F.pad(holes.to(torch.float32).reshape(-1, 1, width), (right, left))
    grown = F.max_pool1d(padded, left + right + 1, stride=1)
    return grown.reshape(holes.shape).to(holes.dtype)


def close_pinpricks(holes: Tensor, *, radius: int = 2) -> Tensor:
    """Morphological closing with a square of 2 * radius + 1 pixels; nothing that was hole is lost.

    Args: holes (T, H, W), 0 or 1 or bool. Returns: the same shape and type.

    >>> close_pinpricks(torch.tensor([[[1, 0, 1, 0, 0, 0]]]), radius=1)
    tensor([[[1, 1, 1, 0, 0, 0]]])
    """
    size = 2 * radius + 1
    if holes.dtype == torch.bool and holes.device.type == "cpu":  # the same, many times faster
        square = np.ones((size, size), np.uint8)
        masks = holes.numpy().view(np.uint8)
        closed = np.stack([cv2.erode(cv2.dilate(mask, square), square) | mask for mask in masks])
        return torch.from_numpy(closed.view(bool))
    x = holes.to(torch.float32).unsqueeze(1)
    x = F.max_pool2d(x, size, stride=1, padding=radius)
    x = -F.max_pool2d(-x, size, stride=1, padding=radius)
    return ((x.squeeze(1) > 0) | (holes > 0)).to(holes.dtype)


def paint_holes(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Mark the holes with a colour that no film has. frames: (T, H, W, 3), holes: (T, H, W)
    bool.

    >>> paint_holes(np.zeros((1, 1, 2, 3), np.uint8), np.array([[[False, True]]])).tolist()
    [[[[0, 0, 0], [255, 0, 255]]]]
    """
    painted = frames.copy()
    painted[holes] = HOLE_COLOUR
    return painted
