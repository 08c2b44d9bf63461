"""Which part of a film's pictures is made anew around a person: a square that stands still for a
run of frames.

Axes: T frames, H W pixels, V vertices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from character.crop import Crop, crop_around
from character.runtime.pose import Movement

SMALLEST_SHARE = 0.5  # of a run's box that the box of each of its frames is, along the longer side
LARGER = (
    1.25  # how much larger than the largest of its boxes a run's may be where no square holds it
)


class Run(NamedTuple):
    """Frames first to last (with it), and the square around the person in them."""

    first: int
    last: int
    crop: Crop

    def __len__(self) -> int:
        return self.last + 1 - self.first


@dataclass
class _Places:
    """All places of a body in a run: box (left, top, right, bottom), and of the boxes of its frames
    the smallest longer side and the largest sides (across, down)."""

    box: np.ndarray
    smallest: float
    largest: np.ndarray

    @classmethod
    def of(cls, box: np.ndarray) -> "_Places":
        return cls(box, _longer(box), box[2:] - box[:2])

    def with_one(self, box: np.ndarray, shorter: int) -> "_Places | None":
        """With one more; None: it doesn't go with them. shorter: side of the picture, so large a
        square can be."""
        own = _Places.of(box)
        low, high = np.minimum(self.box[:2], box[:2]), np.maximum(self.box[2:], box[2:])
        joined = np.concatenate([low, high])
        smallest = min(self.smallest, own.smallest)
        largest = np.maximum(self.largest, own.largest)
        if smallest < SMALLEST_SHARE * _longer(joined):
            return None
        # what is too large for the square by itself gets no better by a run of its own
        if (high - low > np.maximum(shorter, LARGER * largest)).any():
            return None
        return _Places(joined, smallest, largest)


def find_runs(
    movement: Movement, shots: Sequence[tuple[int, int]], size: tuple[int, int]
) -> list[Run]:
    """The runs of a film in order; frames that show nothing of the body are in none.

    A run ends with its shot, where the body is seen no more, where it would be less than half as
    large as all its places together, and where these no longer fit into a square of the picture.

    Args:
        shots: the first and last frame of each. size: (H, W).
    """
    runs: list[Run] = []
    for first, last in shots:
        start, places = first, None
        for frame in range(first, last + 1):
            box = box_of(movement, frame, size)
            if places is not None and box is not None:
                if joined := places.with_one(box, min(size)):
                    places = joined
                    continue
            if places is not None:
                runs.append(_run(movement, start, frame - 1, size))
            start, places = frame, None if box is None else _Places.of(box)
        if places is not None:
            runs.append(_run(movement, start, last, size))
    return runs


def box_of(movement: Movement, frame: int, size: tuple[int, int]) -> np.ndarray | None:
    """What of the picture the body takes: left, top, right, bottom; None: nothing."""
    seen = movement.points[frame][movement.inverse[frame] > 0]
    if not len(seen):
        return None
    low, high = seen.min(axis=0), seen.max(axis=0)
    end = np.array(size[::-1])
    if (high <= 0).any() or (low >= end).any():
        return None
    return np.concatenate([np.clip(low, 0, end), np.clip(high, 0, end)])


def _longer(box: np.ndarray) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))


def _run(movement: Movement, first: int, last: int, size: tuple[int, int]) -> Run:
    part = slice(first, last + 1)
    crop = crop_around(movement.points[part], movement.inverse[part] > 0, size)
    return Run(first, last, crop)
