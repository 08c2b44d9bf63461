"""Values cut off at the ends of their range, by which one can still learn."""

from typing import Any

import torch
from torch import Tensor


def to_range(x: Tensor) -> Tensor:
    """Values cut off at 0 and 1.

    Where gradients are computed, a value outside has that which brings it back. A clamp has none
    there, so that a network whose first steps make alpha negative everywhere never learns again.

    >>> x = torch.tensor([-1.0, 0.25, 2.0], requires_grad=True)
    >>> to_range(x).tolist()
    [0.0, 0.25, 1.0]
    >>> (to_range(x) - 0.5).abs().sum().backward()
    >>> x.grad.tolist()
    [-1.0, -1.0, 1.0]
    """
    return _ToRange.apply(x) if torch.is_grad_enabled() and x.requires_grad else x.clamp(0, 1)


class _ToRange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outward = ((x < 0) & (gradient > 0)) | ((x > 1) & (gradient < 0))
        return gradient.masked_fill(outward, 0)
