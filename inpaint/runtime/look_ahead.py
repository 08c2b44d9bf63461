"""What a film tells in advance: the frames held back behind the one that is filled, and the key
pictures of its shot.

Axes: h w pixels of what is computed, padded to the model's multiple (even numbers).
"""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inpaint.models.blocks import pad_to_multiple
from inpaint.models.motion import Pyramid, measure_motion, pyramid
from inpaint.models.recall import Ahead, Memory, empty_memory, overlay_later, recall
from inpaint.models.steps import find_holes

OLDEST = 60_000.0  # frames
# pixels around a hole that are looked at, to see how well what is found fits there
SURROUNDINGS = 48


@dataclass(eq=False)
class _FrameAhead:
    """seen (1, 3, h, w), 0 in the hole; hole (1, 1, h, w); motion (1, 2, h/2, w/2) to the frame
    behind, once there is one, and the most pixels of it."""

    seen: Tensor
    hole: Tensor
    levels: Pyramid
    motion: Tensor | None = None
    farthest: int = 0


class LookAhead:
    """The frames from the one that is filled next to the last that is known; the first pushed is
    the first popped."""

    def __init__(self, multiple: int) -> None:
        """multiple: of the model, see `StreamingModel`."""
        self._multiple = multiple
        self._frames: deque[_FrameAhead] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @torch.inference_mode()
    def push(self, masked: Tensor) -> None:
        """masked: (1, 3, ., .) in [-1, 1], 0 in the hole. The motion to it is measured now, and
        once."""
        seen, hole = (pad_to_multiple(x, self._multiple) for x in (masked, find_holes(masked)))
        frame = _FrameAhead(seen, hole, pyramid(seen, 1 - hole))
        if self._frames:
            last = self._frames[-1]
            last.motion = measure_motion(last.levels, frame.levels)
            last.farthest = int(last.motion.abs().amax().ceil())
        self._frames.append(frame)

    @torch.inference_mode()
    def pop(self) -> Ahead:
        """Let the first frame go: what those behind it show of its hole."""
        first = self._frames.popleft()
        if not self._frames or not first.hole.any():
            return Ahead()
        # only around the hole, as far as things move: it is often a tenth of the picture
        region = self._region(first)
        half = tuple(slice(side.start // 2, side.stop // 2) for side in region)
        canvas = None
        for frame in reversed(self._frames):
            motion = None if frame.motion is None else frame.motion[..., half[0], half[1]]
            canvas = overlay_later(
                frame.seen[..., region[0], region[1]],
                frame.hole[..., region[0], region[1]],
                canvas,
                motion,
            )
        assert canvas is not None
        whole = canvas.new_zeros(1, canvas.shape[1], *first.hole.shape[-2:])
        whole[..., region[0], region[1]] = canvas
        return Ahead(whole, first.motion)

    def _region(self, first: _FrameAhead) -> tuple[slice, slice]:
        """Rows and columns around the hole, even numbers."""
        margin = (
            SURROUNDINGS
            + first.farthest
            + sum(frame.farthest for frame in self._frames if frame.motion is not None)
        )
        sides = []
        for axis in (0, 1):
            places = first.hole[0, 0].any(dim=1 - axis).nonzero()
            low, high = int(places.min()) - margin, int(places.max()) + 1 + margin
            sides.append(
                slice(max(0, low // 2 * 2), min(first.hole.shape[2 + axis], (high + 1) // 2 * 2))
            )
        return sides[0], sides[1]


@dataclass
class ShotKeys:
    """The key pictures of a shot, as they are at its end: from which frame on each is in use, and
    the file that holds it."""

    files: dict[int, Path] = field(default_factory=dict)

    def at(self, number: int, device: torch.device) -> Tensor | None:
        """The key (1, 5, h, w) that is taken into use before frame `number` of the shot; None to go
        on with the last."""
        return (
            torch.from_numpy(np.load(self.files[number])).float().to(device)
            if number in self.files
            else None
        )


@contextmanager
def look_through(
    frames: Iterable[tuple[Tensor, bool]], multiple: int
) -> Iterator[Iterator[ShotKeys]]:
    """Go through a film ahead of its filling, shot by shot, and keep the key pictures of each.

    They lie in files, so that the memory in use does not grow with a shot's length; a shot's go
    when the next is asked for. (1, 5, h, w) in half precision: 16 bytes a pixel and key.

    Args:
        frames: masked, as of `LookAhead.push`, and whether a shot starts with each. multiple: of
            the model.
    """
    with tempfile.TemporaryDirectory(prefix="keys-") as folder:
        yield _keys_of_shots(iter(frames), multiple, Path(folder))


@torch.inference_mode()
def _keys_of_shots(
    frames: Iterator[tuple[Tensor, bool]], multiple: int, folder: Path
) -> Iterator[ShotKeys]:
    memory: Memory | None = None
    keys, number, since = ShotKeys(), 0, 0

    def keep() -> None:
        """The key in use goes into its file, as it is now."""
        assert memory is not None
        keys.files[since] = folder / f"{since}.npy"
        # half an hour of frames is more than half precision holds, and infinitely old times a
        # weight of 0 is no number
        np.save(keys.files[since], memory.keys[:, 0].clamp(max=OLDEST).half().cpu().numpy())

    for masked, starts_shot in frames:
        seen, hole = (pad_to_multiple(x, multiple) for x in (masked, find_holes(masked)))
        if memory is None or starts_shot:
            if memory is not None:
                keep()
                yield keys
                for file in keys.files.values():
                    file.unlink()
            keys, number, since, memory = ShotKeys(), 0, 0, empty_memory(seen, num_keys=1)
        before = memory
        _, memory = recall(seen, hole, memory)
        number += 1
        if (
            not memory.places.any() and before.places.any()
        ):  # another key, in which the frame stands as it is
            memory, fresh = before._replace(canvas=memory.canvas), memory
            keep()
            memory, since = fresh, number
    if memory is not None:
        keep()
        yield keys
