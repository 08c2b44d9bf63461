"""Losses as pure functions.

Axes: B batch, T frames, C colours, H W pixels. Pictures are in [-1, 1], holes 1 = missing.
Every function returns one number per sample, (B,).
"""

from torch import Tensor


def masked_l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference over the masked pixels; 0 where the mask is empty.

    prediction, target: (B, T, C, H, W). mask: (B, T, 1, H, W), weights in [0, 1].
    """
    difference = (prediction - target).abs() * mask
    area = mask.flatten(1).sum(1) * prediction.shape[2]
    return difference.flatten(1).sum(1) / area.clamp(min=1)


def hole_valid_l1(
    prediction: Tensor, target: Tensor, holes: Tensor, *, hole_weight: float = 1.0, valid_weight: float = 1.0
) -> Tensor:
    """The hole's and the seen part's mean absolute difference, each divided by its own area (DSTT, arXiv 2104.06637).

    A small hole so weighs as much as all the rest of the picture.
    """
    hole = masked_l1(prediction, target, holes)
    valid = masked_l1(prediction, target, 1 - holes)
    return hole_weight * hole + valid_weight * valid


def temporal_l1(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """How far the change from frame to frame is from the truth's change, where either frame has a hole.

    0 for a single frame. Unlike a penalty on change itself it lets things move.
    """
    change = prediction[:, 1:] - prediction[:, :-1]
    true_change = target[:, 1:] - target[:, :-1]
    either = holes[:, 1:].maximum(holes[:, :-1])
    return masked_l1(change, true_change, either)
