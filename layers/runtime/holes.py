"""From where people were found to the holes that take them out of the picture.

A map says how surely a person is seen at each place: (h, w) uint8, 255 = surely, of any size. A
hole is (H, W) bool of the film's size, True = missing.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from inpaint.runtime.options import REFERENCE_ROWS
from layers.options_remove import PARTS


@dataclass(frozen=True)
class HoleRule:
    """How a hole is cut.

    least: of 255, from where on a place belongs to it. surely: what the best place of a region
        comes to at least, or the region is none. grow, down: pixels of a film of 240 rows, all
        around and downwards. hold: frames that a place stays hole. keep: parts of the picture
        (left, middle, right) in which people stay.
    """

    least: int
    surely: int
    grow: float
    down: float = 0.0
    hold: int = 0
    keep: Sequence[str] = ()


def drop_regions(found: np.ndarray, rule: HoleRule) -> np.ndarray:
    """A map without regions that nowhere are surely a person, and without people who stay."""
    num, labels, _, centres = cv2.connectedComponentsWithStats(
        (found >= rule.least).astype(np.uint8), connectivity=8
    )
    stays = np.zeros(num, bool)
    sure = np.unique(labels[found >= rule.surely])
    for region in sure[sure > 0].tolist():
        part = PARTS[min(2, int(3 * centres[region][0] / found.shape[1]))]
        stays[region] = part not in rule.keep
    return found * stays[labels]


def cut_hole(found: np.ndarray, size: tuple[int, int], rule: HoleRule) -> np.ndarray:
    """The hole of one frame. found: a map. size: (H, W) of the film."""
    if not found.any():
        return np.zeros(size, bool)
    found = drop_regions(found, rule)
    if found.shape != size:
        found = np.asarray(cv2.resize(found, size[::-1], interpolation=cv2.INTER_LINEAR))
    hole = (found >= rule.least).astype(np.uint8)
    scale = size[0] / REFERENCE_ROWS
    if radius := round(rule.grow * scale):
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        hole = np.asarray(cv2.dilate(hole, disc), np.uint8)
    if down := round(rule.down * scale):
        # anchored at its lower end, the kernel reaches up for what comes down
        column = np.ones((down + 1, 1), np.uint8)
        hole = np.asarray(cv2.dilate(hole, column, anchor=(0, down)), np.uint8)
    return hole > 0


def hold_holes(holes: Iterable[tuple[np.ndarray, bool]], hold: int) -> Iterator[np.ndarray]:
    """Of every frame of a film all that is hole at most `hold` frames before or after it in its
    shot.

    Args:
        holes: the hole of each frame, and whether a new shot starts with it; taken `hold` frames
            ahead.
    """
    window: deque[np.ndarray] = deque()  # of one shot, from `hold` frames before the next one
    place = 0  # in the window, of the next frame to be given out
    for hole, starts_shot in holes:
        if starts_shot:
            yield from _held(window, place, hold)
            window.clear()
            place = 0
        window.append(hole)
        if len(window) - place > hold:
            yield np.logical_or.reduce(window)
            place += 1
        if place > hold:
            window.popleft()
            place -= 1
    yield from _held(window, place, hold)


def _held(window: Sequence[np.ndarray], place: int, hold: int) -> Iterator[np.ndarray]:
    """The frames from `place` on to the end of a shot."""
    holes = list(window)
    for number in range(place, len(holes)):
        yield np.logical_or.reduce(holes[max(0, number - hold) :])


class LiveHoles:
    """The same frame by frame, with no frame taken ahead: a place stays hole for some frames."""

    def __init__(self, rule: HoleRule) -> None:
        self._rule = rule
        self._before: deque[np.ndarray] = deque(maxlen=rule.hold + 1)

    def reset(self) -> None:
        """Forget what was hole: the next frame starts a stream, as at a cut."""
        self._before.clear()

    def __call__(self, found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """found: the map of the next frame. size: (H, W) of the film."""
        self._before.append(cut_hole(found, size, self._rule))
        return np.logical_or.reduce(self._before)
