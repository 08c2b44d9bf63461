"""What the other eye cannot see.

Axes: `...` any leading axes, H W pixels, h w pixels of a disparity map.
"""

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# iw3's foreground mappings (nagadomi/nunif iw3/mapper.py, MIT): bias and scale of a softplus over
# [0, 1] or its inverse
_SOFTPLUS = {"mul_1": (0.343, 12.0), "mul_2": (0.515, 12.0), "mul_3": (0.687, 12.0)}
_INVERSE_SOFTPLUS = {
    "inv_mul_1": (-0.002102, 7.8788),
    "inv_mul_2": (-0.0003, 6.2626),
    "inv_mul_3": (-0.0001, 3.4343),
}
MAPPINGS = ("none", *_SOFTPLUS, *_INVERSE_SOFTPLUS)
# iw3's --foreground-scale, from -3 to 3 (RELATIVE_MUL_MAPPER there)
_FOREGROUND_SCALES = (*reversed(_INVERSE_SOFTPLUS), "none", *_SOFTPLUS)
ROWS_AT_ONCE = 64


def hidden(shift: Tensor) -> Tensor:
    """The pixels that the source view cannot see.

    Pixel x of a row lies at u(x) = x + shift(x) in the source view. It is hidden exactly when a
    pixel to its left already reaches as far to the right: that one then has the larger shift, so it
    is nearer. The strip stands to the right of the foreground, as wide as the difference of the two
    shifts. Pixels that leave the picture are not hidden.

    Args:
        shift: (..., H, W) float32, pixels towards the right, larger = nearer.
    Returns: (..., H, W) bool.

    >>> hidden(torch.tensor([[0.0, 2.0, 0.0, 0.0, 0.0]]))
    tensor([[False, False,  True,  True, False]])
    """
    result = torch.zeros(shift.shape, dtype=torch.bool, device=shift.device)
    width = shift.shape[-1]
    for rows, found in _blocks(shift.reshape(-1, width), result.view(-1, width)):
        _find_hidden(rows, found)
    return result


def _find_hidden(shift: Tensor, result: Tensor) -> None:
    """`hidden` of some rows, (R, W), into (R, W) bool that holds False."""
    reached = torch.arange(shift.shape[-1], dtype=torch.float32, device=shift.device) + shift
    before = torch.cummax(reached, dim=-1).values[:, :-1]
    torch.le(reached[:, 1:], before, out=result[:, 1:])


def _blocks(*pictures: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """On a CPU a few rows of each at a time: what is worked on then stays in its cache. Elsewhere
    all at once."""
    at_once = ROWS_AT_ONCE if pictures[0].device.type == "cpu" else max(1, len(pictures[0]))
    return zip(*(picture.split(at_once) for picture in pictures), strict=True)


def find_hidden_in_both_views(disparity: Tensor, result: Tensor, **view: Any) -> None:
    """What the other eye misses in a frame as it is, and in its mirror image.

    Args:
        disparity, view: as of `shift_of_view`.
        result: (2, H, W) bool that holds False; the mirrored one becomes as it is seen in the
            mirror.

    >>> disparity = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    >>> result = torch.zeros(2, 1, 5, dtype=torch.bool)
    >>> view = dict(size=(1, 5), divergence=40.0, convergence=0.0)  # 1 pixel
    >>> find_hidden_in_both_views(disparity, result, **view)
    >>> result[0], result[1].flip(-1)
    (tensor([[False, False, False,  True, False]]), tensor([[False,  True, False, False, False]]))
    """
    shift = shift_of_view(disparity, **view)
    for rows, found, mirrored in _blocks(shift, *result):
        _find_hidden(rows, found)
        _find_hidden(rows.flip(-1), mirrored)


def drop_specks(holes: np.ndarray, *, min_area: int) -> np.ndarray:
    """Take away the connected holes (8 neighbours) of fewer than `min_area` pixels. (T, H, W) bool,
    as is the result.

    They come from grain in the disparity, not from edges of objects.

    >>> drop_specks(np.array([[[True, False, True, True]]]), min_area=2).tolist()
    [[[False, False, True, True]]]
    """
    result = np.empty_like(holes)
    for hole, kept in zip(holes, result):
        # BBDT: on one thread three times as fast as the default
        found = cv2.connectedComponentsWithStatsWithAlgorithm(
            hole.astype(np.uint8), 8, cv2.CV_32S, cv2.CCL_BBDT
        )
        _, parts, stats, _ = found
        large = stats[:, cv2.CC_STAT_AREA] >= min_area
        large[0] = False  # what is no hole
        # nothing to clip: it only spares the check of every number
        np.take(large, parts, out=kept, mode="clip")
    return result


def shift_in_pixels(
    disparity: Tensor, *, divergence: float, convergence: float, width: int
) -> Tensor:
    """iw3's shift of one eye: `divergence` per cent of the width between both eyes for a disparity
    of 1.

    Args:
        disparity: in [0, 1], 1 = near. divergence: in per cent of `width`. convergence: in [0, 1],
            the disparity of the screen, which does not move. width: pixels of the whole picture.

    >>> disparity = torch.tensor([0.0, 0.5, 1.0])
    >>> shift_in_pixels(disparity, divergence=2.0, convergence=0.5, width=400)
    tensor([-2.,  0.,  2.])
    """
    return (disparity - convergence) * (divergence * 0.5 * 0.01 * width)


def shift_of_view(
    disparity: Tensor,
    *,
    size: tuple[int, int],
    divergence: float,
    convergence: float,
    mapping: str = "none",
    edge_dilation: int = 0,
) -> Tensor:
    """The shift of one eye at the size of the picture, from one frame's disparity at the size that
    it was found at.

    Args:
        disparity: (h, w) in [0, 1], 1 = near.
        size: (H, W) of the picture.
        divergence, convergence: see `shift_in_pixels`.
        mapping: see `map_foreground`.
        edge_dilation: pixels of the disparity by which what is near is widened first, over its own
            soft edge.
    Returns: (H, W) float32, pixels, larger = nearer.

    >>> shift_of_view(torch.tensor([[0.0, 1.0]]), size=(1, 4), divergence=50.0, convergence=0.0)
    tensor([[0.0000, 0.2500, 0.7500, 1.0000]])
    """
    near = disparity[None, None]  # (1, 1, h, w)
    if edge_dilation:
        near = _widen(near, edge_dilation)
    near = map_foreground(near, mapping)
    near = F.interpolate(near, size=size, mode="bilinear", align_corners=False)[0, 0]  # (H, W)
    for (rows,) in _blocks(near):
        rows.copy_(
            shift_in_pixels(rows, divergence=divergence, convergence=convergence, width=size[1])
        )
    return near


def _widen(disparity: Tensor, radius: int) -> Tensor:
    """The largest value in a square of 2 * radius + 1 pixels around each. (1, 1, h, w) float32."""
    side = 2 * radius + 1
    if disparity.device.type == "cpu":  # the same, 50 times faster
        return torch.from_numpy(
            cv2.dilate(disparity[0, 0].numpy(), np.ones((side, side), np.uint8))
        )[None, None]
    return F.max_pool2d(disparity, side, stride=1, padding=radius)


def map_foreground(disparity: Tensor, mapping: str) -> Tensor:
    """Bend disparity in [0, 1] so that the foreground stands out more (`mul_*`) or less
    (`inv_mul_*`).

    >>> map_foreground(torch.tensor([0.0, 0.5, 1.0]), "inv_mul_2")
    tensor([0.0000, 0.7469, 1.0000])
    >>> map_foreground(torch.tensor([0.0, 0.5, 1.0]), "none")
    tensor([0.0000, 0.5000, 1.0000])
    """
    if mapping in _SOFTPLUS:
        bias, scale = _SOFTPLUS[mapping]
        low, high = (math.log1p(math.exp((x - bias) * scale)) for x in (0, 1))
        return (torch.log1p(torch.exp((disparity - bias) * scale)) - low) / (high - low)
    if mapping in _INVERSE_SOFTPLUS:
        bias, scale = _INVERSE_SOFTPLUS[mapping]
        low, high = (math.log(max(math.expm1((x - bias) * scale), 1e-6)) for x in (0, 1))
        return (torch.log(torch.expm1((disparity - bias) * scale).clamp(min=1e-6)) - low) / (
            high - low
        )
    return disparity


def scale_foreground(disparity: Tensor, scale: float) -> Tensor:
    """iw3's --foreground-scale: `map_foreground` by a number from -3 to 3, 0 changes nothing.

    What lies between two whole numbers is mixed of their mappings.

    >>> [round(scale_foreground(torch.tensor(0.5), scale).item(), 3) for scale in (-2, -1.5, -1)]
    [0.747, 0.708, 0.67]
    >>> [round(scale_foreground(torch.tensor(0.5), scale).item(), 3) for scale in (0, 0.5, 1)]
    [0.5, 0.378, 0.255]
    """
    if not scale:
        return disparity
    low = math.floor(scale)
    names = [_FOREGROUND_SCALES[level + 3] for level in (low, math.ceil(scale))]
    first, second = (map_foreground(disparity, name) for name in names)
    return torch.lerp(first, second, scale - low)
