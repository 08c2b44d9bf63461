"""What all networks share that fill frame by frame: one frame and a memory in, the picture and the
memory out.

Axes: B batch, T frames in time order, H W pixels, N cells of a frame.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inpaint.models.blocks import pad_to_multiple
from inpaint.models.candidates import Merged, merged_of, tensors_of
from inpaint.models.motion import measure_motion, pyramid
from inpaint.models.recall import Ahead, Memory, overlay_later, recall_all
from nunif.compiler import leave_out
from nunif.models.registry import Model
from nunif.replay import Replayed


class StreamingModel(Model):
    """Frames with their holes in, whole frames out, and a memory handed from call to call.

    size_multiple: what height and width are padded to inside, by repeating the last row and column.
    forward: (frames (B, T, 3, H, W) in [-1, 1], holes (B, T, 1, H, W), memory or None) ->
        (prediction (B, T, 3, H, W), memory). A clip of T frames gives the same as T calls of one
        frame with the memory handed on. Any H and W; what stands in the holes is not looked at.
        `started`, a bool for each clip or one for all, is for graphs, where an input can't be None:
        False means the start of a stream whatever stands in `memory`.
    stream: one frame, remembering what is quickest to go on with, and with a look at frames to
        come; not for training.
    memory_shape: (1, rows, slots, N, size) of one stream of frames of a size in pixels.
    """

    clip_length = 12  # frames of a training clip
    any_clip_length = True
    streams = True

    @torch.no_grad()
    def remember(self, frames: Tensor, holes: Tensor, memory: Tensor | None = None) -> Tensor:
        """The memory after a clip whose pictures nobody needs; see `forward`."""
        return self(frames, holes, memory)[1]

    def stream(
        self, frames: Tensor, holes: Tensor, past: Any, ahead: Ahead | None = None
    ) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def memory_shape(self, height: int, width: int) -> tuple[int, int, int, int, int]:
        raise NotImplementedError


def prepare(frames: Tensor, holes: Tensor, multiple: int) -> tuple[Tensor, Tensor]:
    """(B, T, ., H, W) -> frames with 0 in the hole, and holes, padded to multiples of a number."""
    b, t = frames.shape[:2]
    seen = frames.flatten(0, 1) * (1 - holes.flatten(0, 1))
    x, mask = (
        pad_to_multiple(y, multiple).unflatten(0, (b, t)) for y in (seen, holes.flatten(0, 1))
    )
    return x, mask


@leave_out  # see `smooth_fill`
def recall_clip(
    seen: Tensor, holes: Tensor, memory: Memory, ahead: Sequence[Ahead | None] | None = None
) -> tuple[list[Merged], Memory]:
    """Go through a clip with a picture memory, on a GPU by playing what was recorded.

    Args: seen (B, T, 3, H, W), 0 in the hole; holes (B, T, 1, H, W); ahead: for each frame, see
        `recall`.
    """
    knows_future = ahead is not None and any(one is not None for one in ahead)
    if knows_future or not player.applies_to(seen):
        return recall_all(seen, holes, memory, ahead)
    played = player(seen, holes, *memory)
    num_parts = len(played) - len(memory)
    steps = [merged_of(parts) for parts in zip(*(x.unbind(0) for x in played[:num_parts]))]
    return steps, Memory(*played[num_parts:])


def recall_tensors(
    seen: Tensor, holes: Tensor, canvas: Tensor, keys: Tensor, places: Tensor
) -> tuple[Tensor, ...]:
    """`recall_clip` in tensors alone: `tensors_of` each step, of all steps one behind the other
    along a new first axis, and the memory."""
    steps, memory = recall_all(seen, holes, Memory(canvas, keys, places))
    return (*(torch.stack(parts) for parts in zip(*map(tensors_of, steps))), *memory)


player = Replayed(recall_tensors)


@leave_out
def ahead_of_clip(seen: Tensor, holes: Tensor) -> list[Ahead | None]:
    """What the frames behind each frame of a clip show of it; the last has none. Shapes as
    `recall_clip`."""
    frames, masks = seen.unbind(1), holes.unbind(1)
    levels = [pyramid(frame, 1 - hole) for frame, hole in zip(frames, masks)]
    found: list[Ahead | None] = [None]
    canvas = motion = None
    for t in reversed(range(1, len(frames))):
        canvas = overlay_later(frames[t], masks[t], canvas, motion)
        motion = measure_motion(levels[t - 1], levels[t])
        found.insert(0, Ahead(canvas, motion))
    return found


def over_clip(steps: list[Merged], name: str) -> Tensor:
    """One field of all frames, (B*T, C, H, W)."""
    return torch.stack([getattr(step, name) for step in steps], dim=1).flatten(0, 1)
