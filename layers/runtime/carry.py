"""Who is seen in some frames and lost in those beside them, as finders lose heads that come in at
the edge of a film and feet that leave it: maps are carried over by optical flow.

A map says how surely a person is seen at each place, see `layers.runtime.holes`. All is done at
`ROWS` rows. Axes: h w pixels of a frame at that size.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from scene.flow import flow_to, is_visible, pull

ROWS = 144
REACH = 8  # frames over which a map is carried, one by one
ALIKE = 30  # grey levels by which what moved may look different, after a blur
BLUR = 5  # pixels
LOST = 0.6  # of a region: where its finder sees less of it, it has lost it
MOVES = 0.2  # of a region is not as it was `REACH` frames ago, nor as it will be
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


class _Pair:
    """Two frames, one after the other, with the motion from each to the other, looked for when it
    is needed first."""

    def __init__(self, first: _Seen, then: _Seen) -> None:
        self.first, self.then = first, then

    @cached_property
    def ahead(self) -> np.ndarray:
        return flow_to(self.first.picture, self.then.picture)

    @cached_property
    def back(self) -> np.ndarray:
        return flow_to(self.then.picture, self.first.picture)


class Carrying:
    """Takes the frames of a shot with their maps and gives the maps back, `REACH` frames later.

    surely: of 255, what the best place of a region comes to at least. least: from where on a place
        belongs to it.
    """

    def __init__(self, least: int, surely: int) -> None:
        self._least, self._surely = least, surely
        self._waiting: deque[_Seen] = deque()
        self._pairs: deque[_Pair] = deque(maxlen=REACH)  # of those that wait, one shorter
        self._before: deque[np.ndarray] = deque(maxlen=REACH)  # pictures, given out

    def add(self, picture: np.ndarray, found: np.ndarray) -> Iterator[np.ndarray]:
        """The next frame, (H, W, 3) uint8 or uint16 RGB, and its map."""
        if picture.dtype == np.uint16:
            picture = (picture >> 8).astype(np.uint8)
        size = max(1, round(picture.shape[1] * ROWS / picture.shape[0])), ROWS
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        own = cv2.resize(found, size, interpolation=cv2.INTER_AREA)
        seen = _Seen(small, own, found, np.zeros_like(own))
        if self._waiting:
            pair = _Pair(self._waiting[-1], seen)
            self._pairs.append(pair)
            self._carry(pair, back=False)
        self._waiting.append(seen)
        for pair in reversed(self._pairs):
            if not self._carry(pair, back=True):
                break
        if len(self._waiting) > REACH:
            yield self._give(self._waiting[-1].picture)

    def end(self) -> Iterator[np.ndarray]:
        """The maps that are left; the next frame starts a shot."""
        while self._waiting:
            yield self._give(self._waiting[-1].picture)
        self._before.clear()
        self._pairs.clear()

    def _give(self, later: np.ndarray) -> np.ndarray:
        """The first map that waits. later: the last picture that does."""
        seen = self._waiting.popleft()
        beside = [self._before[0]] if self._before else []
        beside += [later] if self._waiting else []
        self._before.append(seen.picture)
        if not seen.carried.any() or not beside:
            return seen.found
        # what is seen of a room that somebody hid before, or hides then, is as it was or will be
        changed = np.minimum.reduce([_difference(seen.picture, one) for one in beside])
        num, labels = cv2.connectedComponents((seen.carried > 0).astype(np.uint8), connectivity=8)
        areas, moving = (
            np.bincount(labels.ravel(), weights, num)
            for weights in (None, (changed > ALIKE / 2).ravel())
        )
        carried = seen.carried * (moving > MOVES * areas)[labels]
        size = seen.found.shape[1], seen.found.shape[0]
        return np.maximum(seen.found, cv2.resize(carried, size, interpolation=cv2.INTER_LINEAR))

    def _carry(self, pair: _Pair, *, back: bool) -> bool:
        """From one frame of a pair to the other. Returns whether anything new was."""
        source, to = (pair.then, pair.first) if back else (pair.first, pair.then)
        seen = np.maximum(source.own, source.carried)
        age = 0 if source.own.max() >= self._surely else source.age
        if age >= REACH or seen.max() < self._surely:
            return False
        flow, returns = (pair.ahead, pair.back) if back else (pair.back, pair.ahead)
        moved = pull(seen, flow)
        moved[_difference(pull(source.picture, flow), to.picture) > ALIKE] = 0
        moved = np.asarray(cv2.medianBlur(moved, BLUR))
        lost = self._lost(moved, to.own, is_visible(flow, returns))
        if not (lost > to.carried).any():
            return False
        to.carried = np.maximum(to.carried, lost)
        to.age = age + 1
        return True

    def _lost(self, moved: np.ndarray, own: np.ndarray, is_sure: np.ndarray) -> np.ndarray:
        """Of a map that was carried to a frame the regions that its finder has lost. is_sure: where
        the motion is."""
        num, labels, stats, _ = cv2.connectedComponentsWithStats(
            (moved >= self._surely).astype(np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA]
        seen, sure = (
            np.bincount(labels.ravel(), x.ravel(), num) for x in (own >= self._least, is_sure)
        )
        is_lost = (seen < LOST * areas) & (sure > SURE * areas) & (areas > LEAST * own.size)
        is_lost[0] = False
        return moved * is_lost[labels]


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(h, w), of two pictures without their grain."""
    pair = (cv2.blur(picture, (BLUR, BLUR)).astype(np.int16) for picture in (one, other))
    return np.abs(next(pair) - next(pair)).max(axis=2)
