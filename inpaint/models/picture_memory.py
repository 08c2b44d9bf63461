"""The picture memory as a model of its own: nothing in it is learned.

What is recalled is weighed by hand (`inpaint.models.recall`). `inpaint.models.fusion` learns to
weigh.

Axes: B batch, T frames, N cells of a frame, H W pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from inpaint.models.candidates import Merged
from inpaint.models.memory_rows import numbers_of_cell, pack, unpack
from inpaint.models.recall import NUM_KEYS, Ahead, Memory, empty_memory
from inpaint.models.streaming import StreamingModel, prepare, recall_clip
from nunif.models.contract import num_cells
from nunif.models.registry import register_model

CELL = 8  # pixels of a cell of the memory


class Past(NamedTuple):
    """What a stream remembers."""

    pictures: Memory


class PictureMemory(StreamingModel):
    """Frames with holes in, frames without out, and the memory handed from call to call."""

    size_multiple = 2 * CELL

    def forward(
        self,
        frames: Tensor,
        holes: Tensor,
        memory: Tensor | None = None,
        *,
        started: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict whole frames; see `StreamingModel`. Memory: (B, 1, 1, N, size), without
        gradient."""
        height, width = frames.shape[-2:]
        x, mask = prepare(frames, holes, self.size_multiple)
        with torch.no_grad():
            pictures = self._unpack(x, memory, started)
            steps, pictures = recall_clip(x, mask, pictures, self.look_ahead(x, mask))
        prediction = torch.stack(
            [self.choose(step, hole) for step, hole in zip(steps, mask.unbind(1))], dim=1
        )
        return prediction[..., :height, :width], self._pack(pictures)

    @torch.no_grad()
    def remember(self, frames: Tensor, holes: Tensor, memory: Tensor | None = None) -> Tensor:
        x, mask = prepare(frames, holes, self.size_multiple)
        return self._pack(recall_clip(x, mask, self._unpack(x, memory))[1])

    def stream(  # type: ignore[override]
        self, frames: Tensor, holes: Tensor, past: Past | None, ahead: Ahead | None = None
    ) -> tuple[Tensor, Past]:
        """One frame of a stream, as `forward`; see `StreamingModel`."""
        height, width = frames.shape[-2:]
        x, mask = prepare(frames, holes, self.size_multiple)
        pictures = empty_memory(x[:, 0]) if past is None else past.pictures
        steps, pictures = recall_clip(x, mask, pictures, [ahead])
        return self.choose(steps[0], mask[:, 0])[:, None, :, :height, :width], Past(pictures)

    def look_ahead(self, x: Tensor, mask: Tensor) -> list[Ahead | None] | None:
        """What `forward` knows of frames to come; shapes as `recall_clip`."""
        return None

    def choose(self, step: Merged, hole: Tensor) -> Tensor:
        """The picture of a frame, (B, 3, H, W). hole: (B, 1, H, W)."""
        return step.picture

    def memory_shape(self, height: int, width: int) -> tuple[int, int, int, int, int]:
        """Shape of the memory of one stream of frames of that size in pixels."""
        cells = num_cells(height, width, self.size_multiple)
        return (1, 1, 1, cells, numbers_of_cell(CELL, NUM_KEYS))

    def _unpack(self, x: Tensor, memory: Tensor | None, started: Tensor | None = None) -> Memory:
        if memory is None:
            return empty_memory(x[:, 0])
        rows = memory[:, 0, 0]
        if started is not None:
            rows = rows * started.view(-1, 1, 1)
        return unpack(rows.to(x.dtype), CELL, (x.shape[-2] // CELL, x.shape[-1] // CELL), NUM_KEYS)

    def _pack(self, pictures: Memory) -> Tensor:
        return pack(pictures, CELL, numbers_of_cell(CELL, NUM_KEYS))[:, None, None]


def register() -> None:
    register_model("inpaint.picture_memory_v1", PictureMemory)
