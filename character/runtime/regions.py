"""Which part of a film's pictures is made anew around a person: a square that stands still for a
run of frames.

Axes: T frames, H W pixels, V vertices.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from character.crop import USUAL_ROOM, Crop, crop_around
from character.runtime.pose import Movement

SMALLEST_SHARE = 0.5  # of a run's box that the box of each of its frames is, along the longer side


class Run(NamedTuple):
    """Frames first to last (with it), and the square around the person in them."""

    first: int
    last: int
    crop: Crop

    def __len__(self) -> int:
        return self.last + 1 - self.first


def find_runs(
    movement: Movement, shots: Sequence[tuple[int, int]], size: tuple[int, int]
) -> list[Run]:
    """The runs of a film in order; frames that show nothing of the body are in none.

    A run ends with its shot, where the body is seen no more, where it would be less than half as
    large as all its places together, and where these no longer fit into the picture's height.

    Args:
        shots: the first and last frame of each. size: (H, W).
    """
    runs = []
    for first, last in shots:
        start: int | None = None
        box = np.zeros(4)
        smallest = 0.0
        for frame in range(first, last + 1):
            own = box_of(movement, frame, size)
            if start is not None and own is not None:
                joined = np.concatenate(
                    [np.minimum(box[:2], own[:2]), np.maximum(box[2:], own[2:])]
                )
                least = min(smallest, _longer(own))
                fits = _longer(joined) <= max(least, min(size) / USUAL_ROOM)
                if fits and least >= SMALLEST_SHARE * _longer(joined):
                    box, smallest = joined, least
                    continue
            if start is not None:
                runs.append(_run(movement, start, frame - 1, size))
            start = None if own is None else frame
            if own is not None:
                box, smallest = own, _longer(own)
        if start is not None:
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
