"""What a film tells in advance: the frames held back behind the one that is filled, and the key pictures of its shot.

Axes: h w pixels of what is computed, padded to the model's multiple.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inpaint.models.blocks import pad_to_multiple
from inpaint.models.motion import Pyramid, measure_motion, pyramid
from inpaint.models.recall import Ahead, empty_memory, overlay_later, recall
from inpaint.models.steps import find_holes


@dataclass(eq=False)
class _Held:
    """seen (1, 3, h, w), 0 in the hole; hole (1, 1, h, w); motion (1, 2, h/2, w/2) to the frame behind, once there is one."""

    seen: Tensor
    hole: Tensor
    levels: Pyramid
    motion: Tensor | None = None


class LookAhead:
    """The frames that follow the one that is filled next; as many are held as are pushed before one is popped."""

    def __init__(self, multiple: int) -> None:
        """multiple: of the model, see `StreamingModel`."""
        self._multiple = multiple
        self._held: deque[_Held] = deque()

    def __len__(self) -> int:
        return len(self._held)

    @torch.inference_mode()
    def push(self, masked: Tensor) -> None:
        """masked: (1, 3, h, w) in [-1, 1], 0 in the hole; the motion to it is measured now, and once."""
        seen, hole = (pad_to_multiple(x, self._multiple) for x in (masked, find_holes(masked)))
        frame = _Held(seen, hole, pyramid(seen, 1 - hole))
        if self._held:
            self._held[-1].motion = measure_motion(self._held[-1].levels, frame.levels)
        self._held.append(frame)

    @torch.inference_mode()
    def pop(self) -> tuple[Tensor, Tensor] | None:
        """Let the first frame go: what those behind it show, as a canvas, and its motion to it; None for the last one."""
        first, canvas, motion = self._held.popleft(), None, None
        if not self._held:
            return None
        for frame in reversed(self._held):
            canvas = overlay_later(frame.seen, frame.hole, canvas, motion if canvas is not None else None)
            motion = self._motion_to(frame)
        assert canvas is not None and first.motion is not None
        return canvas, first.motion

    def _motion_to(self, frame: _Held) -> Tensor | None:
        place = self._held.index(frame)
        return self._held[place - 1].motion if place else None


@dataclass(frozen=True)
class ShotKeys:
    """The key pictures of a shot: the frame from which on each is in use, and the file that holds it."""

    starts: tuple[int, ...]
    files: tuple[Path, ...]

    def at(self, number: int, device: torch.device) -> Tensor | None:
        """The key (1, 5, h, w) that is taken into use before frame `number` of the shot; None to go on with the last."""
        if number not in self.starts:
            return None
        return torch.load(self.files[self.starts.index(number)], weights_only=True).to(device, torch.float32)
