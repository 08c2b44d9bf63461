"""Who is seen in some frames and lost in those beside them, as finders lose heads that come in at
the edge of a film and feet that leave it: maps are carried over by optical flow.

A map says how surely a person is seen at each place, see `layers.runtime.holes`. All is done at
`ROWS` rows. Axes: h w pixels of a frame at that size.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from scene.flow import flow_to, is_visible, pull

ROWS = 144
REACH = 8  # frames over which a map is carried, one by one
ALIKE = 30  # grey levels by which what moved may look different, after a blur
BLUR = 5  # pixels
LOST = 0.6  # of a region: where its finder sees less of it, it has lost it
MOVES = 0.2  # of a region changes: a finder that loses what stands still may be right
SURE = 0.3  # of a region: its motion and that back agree; hair without texture finds some place
LEAST = 0.001  # of a picture: smaller regions are nobody


@dataclass
class _Seen:
    """A frame that waits. picture: (h, w, 3) uint8. own: the finder's map, as large. found: the
    same as it was given. carried: (h, w) uint8. age: over how many frames it was carried."""

    picture: np.ndarray
    own: np.ndarray
    found: np.ndarray
    carried: np.ndarray
    age: int = 0


class Carrying:
    """Takes the frames of a shot with their maps and gives the maps back, `REACH` frames later.

    surely: of 255, what the best place of a region comes to at least. least: from where on a place
        belongs to it.
    """

    def __init__(self, least: int, surely: int) -> None:
        self._least, self._surely = least, surely
        self._waiting: deque[_Seen] = deque()

    def add(self, picture: np.ndarray, found: np.ndarray) -> Iterator[np.ndarray]:
        """The next frame, (H, W, 3) uint8 or uint16 RGB, and its map."""
        if picture.dtype == np.uint16:
            picture = (picture >> 8).astype(np.uint8)
        size = max(1, round(picture.shape[1] * ROWS / picture.shape[0])), ROWS
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        own = cv2.resize(found, size, interpolation=cv2.INTER_AREA)
        self._waiting.append(_Seen(small, own, found, np.zeros_like(own)))
        if len(self._waiting) > 1:
            self._carry(self._waiting[-2], self._waiting[-1])
            for number in range(len(self._waiting) - 2, -1, -1):
                if not self._carry(self._waiting[number + 1], self._waiting[number]):
                    break
        if len(self._waiting) > REACH:
            yield _joined(self._waiting.popleft())

    def end(self) -> Iterator[np.ndarray]:
        """The maps that are left; the next frame starts a shot."""
        while self._waiting:
            yield _joined(self._waiting.popleft())

    def _carry(self, source: _Seen, to: _Seen) -> bool:
        """Whether anything new was."""
        seen = np.maximum(source.own, source.carried)
        age = 0 if source.own.max() >= self._surely else source.age
        if age >= REACH or seen.max() < self._surely:
            return False
        flow, back = flow_to(to.picture, source.picture), flow_to(source.picture, to.picture)
        moved = pull(seen, flow)
        moved[_difference(pull(source.picture, flow), to.picture) > ALIKE] = 0
        moved = np.asarray(cv2.medianBlur(moved, BLUR))
        changed = _difference(source.picture, to.picture) > ALIKE / 2
        lost = self._lost(moved, to.own, changed, is_visible(flow, back))
        if not (lost > to.carried).any():
            return False
        to.carried = np.maximum(to.carried, lost)
        to.age = age + 1
        return True

    def _lost(
        self, moved: np.ndarray, own: np.ndarray, changed: np.ndarray, is_sure: np.ndarray
    ) -> np.ndarray:
        """Of a map that was carried to a frame the regions that its finder has lost. changed: what
        isn't as it was at its place. is_sure: where the motion is."""
        num, labels, stats, _ = cv2.connectedComponentsWithStats(
            (moved >= self._surely).astype(np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA]
        seen, moving, sure = (
            np.bincount(labels.ravel(), x.ravel(), num)
            for x in (own >= self._least, changed, is_sure)
        )
        is_lost = (seen < LOST * areas) & (moving > MOVES * areas) & (sure > SURE * areas)
        is_lost &= areas > LEAST * own.size
        is_lost[0] = False
        return moved * is_lost[labels]


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(h, w), of two pictures without their grain."""
    pair = (cv2.blur(picture, (BLUR, BLUR)).astype(np.int16) for picture in (one, other))
    return np.abs(next(pair) - next(pair)).max(axis=2)


def _joined(seen: _Seen) -> np.ndarray:
    if not seen.carried.any():
        return seen.found
    size = seen.found.shape[1], seen.found.shape[0]
    return np.maximum(seen.found, cv2.resize(seen.carried, size, interpolation=cv2.INTER_LINEAR))
