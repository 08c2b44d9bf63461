"""Who is before whom among the people of a shot, by the depth.

Axes: H W pixels of the film, h w of the disparity.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from layers.runtime.occluder import CROSS, FEWEST

NEARER = 0.04  # by which the one behind has to be nearer to come to the front
LASTING = 5  # frames for which they have to be, one after the other
CORE = 2  # pixels of 192 rows between the edge of somebody and their core


@dataclass
class Order:
    """The order of the people of a film, the nearest first. It changes when somebody comes, and
    when one behind was nearer than one in front for some frames.

    changes: by shot, the frames of the film from which on an order holds.
    """

    changes: list[list[tuple[int, list[int]]]] = field(default_factory=list)
    _now: list[int] = field(default_factory=list)
    _nearer: dict[tuple[int, int], int] = field(default_factory=dict)  # in how many frames, so far

    def start_shot(self) -> None:
        self.changes.append([])
        self._now, self._nearer = [], {}

    def see(self, frame: int, alphas: Sequence[np.ndarray], disparity: np.ndarray) -> None:
        """
        Args:
            frame: its number in the film.
            alphas: (H, W) uint8 of the people. disparity: (h, w) float32, 1 = near.
        """
        levels = {}
        for person, alpha in enumerate(alphas):
            level = _level(alpha, disparity)
            if level is not None:
                levels[person] = level
        order = [*self._now]
        for person in levels:
            if person not in order:
                behind = (n for n, o in enumerate(order) if levels.get(o, 2.0) < levels[person])
                order.insert(next(behind, len(order)), person)
        for place, person in enumerate([*order]):
            for other in [*order][:place]:
                if person in levels and other in levels:
                    self._compare(order, other, person, levels)
        if order != self._now:
            self._now = order
            self.changes[-1].append((frame, [one + 1 for one in order]))

    def _compare(self, order: list[int], front: int, back: int, levels: dict[int, float]) -> None:
        """Bring `back` before `front` once it was nearer for long enough."""
        pair = front, back
        is_nearer = levels[back] > levels[front] + NEARER
        self._nearer[pair] = self._nearer.get(pair, 0) + 1 if is_nearer else 0
        if self._nearer[pair] >= LASTING and order.index(front) < order.index(back):
            order.remove(back)
            order.insert(order.index(front), back)
            self._nearer[pair] = 0


def _level(alpha: np.ndarray, disparity: np.ndarray) -> float | None:
    """The disparity of somebody's core; None where too little of them is seen."""
    size = disparity.shape[::-1]
    mask = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) > 127
    steps = CORE * max(1, round(min(disparity.shape) / 192))
    core = cv2.erode(mask.astype(np.uint8), CROSS, iterations=steps) > 0
    core = core if core.sum() >= FEWEST else mask
    return float(np.median(disparity[core])) if core.sum() >= FEWEST else None
