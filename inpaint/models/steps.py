"""One frame of a stream, as engines compute it: the contract of every back end and every export.

    masked_frames (1, 3, H, W) float32 in [-1, 1], the hole exactly 0     output (1, 3, H, W) float32, about in [-1, 1]
    memory (1, blocks, slots, tokens, hidden) float32                     new_memory, the same shape

A memory that is all zero is the start of a stream; afterwards `new_memory` of one call is `memory` of the next.
8-bit colours x scaled by x / 127.5 - 1 are never exactly 0, so the hole is read off the picture.
"""

import torch
from torch import Tensor, nn

from inpaint.models.memory_dstt import MemoryDSTT

INPUTS, OUTPUTS = ("masked_frames", "memory"), ("output", "new_memory")
NEARLY_ZERO = 1e-6  # what an exact 0 in a visible pixel becomes, far below a grey level


class StreamingStep(nn.Module):
    """(masked_frames, memory) -> (output, new_memory). float32 at the border, whatever type the model computes in."""

    def __init__(self, model: MemoryDSTT) -> None:
        super().__init__()
        self.model = model

    def forward(self, masked_frames: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        holes = (masked_frames == 0).all(dim=1, keepdim=True).to(masked_frames.dtype)
        started = memory.abs().amax(dim=(0, 1, 2, 3, 4)) > 0
        prediction, new_memory = self.model(masked_frames[:, None], holes[:, None], memory, started=started)
        return prediction[:, 0], new_memory


def mask_frame(frame: Tensor, hole: Tensor) -> Tensor:
    """A frame with its hole set to exactly 0, and no other pixel exactly 0.

    Args: frame (..., 3, H, W) in [-1, 1]; hole (..., 1, H, W), 1 or True = missing.
    """
    visible = torch.where(frame == 0, NEARLY_ZERO, frame)  # the mean of 127 and 128 is such a 0
    return torch.where(hole > 0, 0.0, visible)
