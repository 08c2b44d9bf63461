"""What is computed at once, as engines do it: the contract of every back end and every export.

A streaming model computes frame by frame:

    masked_frames (1, 3, H, W) float32 in [-1, 1], the hole exactly 0
    memory        (1, blocks, slots, tokens, hidden) float32
    -> output     (1, 3, H, W) float32, about in [-1, 1]
       new_memory of the memory's shape

The memory is a state (`nunif.models.contract`): all zero it is the start of a stream; afterwards
`new_memory` of one call is `memory` of the next.

Other models compute windows of T frames, (1, T, 3, H, W) in and out, and there is no memory.

8-bit colours x scaled by x / 127.5 - 1 are never exactly 0, so the hole is read off the picture.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from inpaint.models.recall import Ahead
from inpaint.models.streaming import StreamingModel
from nunif.errors import UserError
from nunif.models import Model
from nunif.models.contract import CELLS, HEIGHT, NEW, WIDTH, Contract, Names

NEARLY_ZERO = 1e-6  # what an exact 0 in a visible pixel becomes, far below a grey level

FRAMES, MEMORY, OUTPUT = "masked_frames", "memory", "output"
STREAMING: Names = ((FRAMES, MEMORY), (OUTPUT, NEW + MEMORY))
WINDOWS: Names = ((FRAMES,), (OUTPUT,))
CONTRACTS = (STREAMING, WINDOWS)


class StreamingStep(nn.Module):
    """(masked_frames, memory) -> (output, new_memory). float32 at the border, whatever type the
    model computes in."""

    def __init__(self, model: StreamingModel) -> None:
        super().__init__()
        self.model = model
        self.multiple: int | None = model.size_multiple
        frame = (1, 3, HEIGHT, WIDTH)
        batch, rows, slots, _, length = model.memory_shape(1, 1)
        memory = (batch, rows, slots, CELLS, length)
        inputs, outputs = (dict(zip(names, (frame, memory))) for names in STREAMING)
        self.contract = Contract(inputs, outputs, self.multiple)

    def forward(self, masked_frames: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        started = memory.abs().amax(dim=(1, 2, 3, 4)) > 0  # (B,): each stream by itself
        holes = find_holes(masked_frames)
        prediction, new_memory = self.model(
            masked_frames[:, None], holes[:, None], memory, started=started
        )
        return prediction[:, 0], new_memory

    def stream(
        self, masked_frames: Tensor, past: Any, ahead: Ahead | None = None
    ) -> tuple[Tensor, Any]:
        """The same with a memory that torch can go on with in less time than with the contract's;
        None at the start.

        ahead: what is known of frames to come.
        """
        prediction, past = self.model.stream(
            masked_frames[:, None], find_holes(masked_frames)[:, None], past, ahead
        )
        return prediction[:, 0], past


class WindowStep(nn.Module):
    """masked_frames -> output, for a window of as many frames as the model's clips have. float32 at
    the border, as above."""

    multiple: int | None = None

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        frames = (1, model.clip_length, 3, HEIGHT, WIDTH)
        self.contract = Contract({FRAMES: frames}, {OUTPUT: frames})

    def forward(self, masked_frames: Tensor) -> Tensor:
        prediction, _ = self.model(masked_frames, find_holes(masked_frames))
        return prediction

    def stream(
        self, masked_frames: Tensor, past: None = None, ahead: None = None
    ) -> tuple[Tensor, None]:
        """The same; nothing is remembered, or known of frames to come."""
        return self(masked_frames), None


Step = StreamingStep | WindowStep


def make_step(model: Model) -> Step:
    """The step of a model.

    Raises:
        UserError: a model that takes no clips.
    """
    if model.streams:
        return StreamingStep(cast(StreamingModel, model))
    if model.clip_length == 1:
        raise UserError(f"{model.name} does not work on video: choose a model that does")
    return WindowStep(model)


def find_holes(masked_frames: Tensor) -> Tensor:
    """(..., 3, H, W) -> (..., 1, H, W) of the same type, 1 where all three channels are exactly
    0."""
    return (masked_frames == 0).all(dim=-3, keepdim=True).to(masked_frames.dtype)


def mask_frame(frame: Tensor, hole: Tensor) -> Tensor:
    """A frame with its hole set to exactly 0, and no other pixel exactly 0.

    Args: frame (..., 3, H, W) in [-1, 1]; hole (..., 1, H, W), 1 or True = missing.
    """
    visible = torch.where(frame == 0, NEARLY_ZERO, frame)  # the mean of 127 and 128 is such a 0
    return torch.where(hole > 0, 0.0, visible)
