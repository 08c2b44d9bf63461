"""Where people's heads are, and what that says of who is who where people touch.

Axes: H W pixels; points are (x, y).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from layers.runtime.appearance import Box, box_of
from matting.runtime.person_gate import SIDE, head_scores

LEAST = 0.5  # of a score
_APART = 0.07  # of a square's side: nearer ones are one head
_STEP = 0.5  # from one square to the next, as a share of its side
_ZOOMS = (1.1, 1.6)  # sides of squares around a box, to its longer one
_DOUBTFUL = 0.75  # of the score of one above it: what is less sure is something on a chest
_LEANS = 0.6  # how far a head is to the side of somebody's middle, to how far it is above
_TORSO = 0.45  # of the height of somebody, from the head down
_SIDE_BY_SIDE = 0.35  # two heads to the side of each other, to how far one is above the other


@dataclass(frozen=True)
class Head:
    x: float
    y: float
    score: float


def find_heads(frame: np.ndarray, box: Box) -> list[Head]:
    """The heads in a box of a frame (H, W, 3) uint8, the surest first."""
    height, width = frame.shape[:2]
    squares = list(_squares((height, width), box))
    pictures = np.stack([_cut(frame, *square) for square in squares])
    maps = head_scores(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255).numpy()
    found = []
    for (left, top, side), places in zip(squares, maps):
        step = side / places.shape[0]
        smooth = cv2.GaussianBlur(places, (0, 0), 0.7)
        highest = cv2.dilate(places, np.ones((3, 3), np.uint8))
        for row, column in zip(*np.nonzero((places >= LEAST) & (places == highest))):
            near = smooth[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            rows, columns = np.indices(near.shape)
            y = max(0, row - 1) + float((near * rows).sum() / near.sum()) + 0.5
            x = max(0, column - 1) + float((near * columns).sum() / near.sum()) + 0.5
            head = Head(left + x * step, top + y * step, float(places[row, column]))
            found.append((head, _APART * side))
    return _told_apart(found, box)


def _told_apart(found: Sequence[tuple[Head, float]], box: Box) -> list[Head]:
    heads: list[tuple[Head, float]] = []
    for head, reach in sorted(found, key=lambda one: -one[0].score):
        inside = box[0] <= head.x <= box[2] and box[1] <= head.y <= box[3]
        near = (np.hypot(head.x - h.x, head.y - h.y) < max(reach, r) for h, r in heads)
        on_body = (head.score < _DOUBTFUL * h.score and _is_below(head, h) for h, _ in heads)
        if inside and not any(near) and not any(on_body):
            heads.append((head, reach))
    return [head for head, _ in heads]


def _is_below(head: Head, other: Head) -> bool:
    return head.y > other.y and abs(head.x - other.x) < _LEANS * (head.y - other.y)


def _squares(size: tuple[int, int], box: Box) -> Iterator[tuple[int, int, int]]:
    """(left, top, side) of squares in which heads are looked for."""
    for zoom in _ZOOMS:
        side = max(32, round(zoom * max(box[2] - box[0], box[3] - box[1])))
        yield (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2, side
    side = min(size)
    count = 1 + int(np.ceil((max(size) - side) / (_STEP * side)))
    for start in np.linspace(0, max(size) - side, count).round().astype(int).tolist():
        yield (start, 0, side) if size[1] > size[0] else (0, start, side)


def _cut(frame: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """A square of a frame at the size that the network takes, black beyond the frame."""
    square = np.zeros((side, side, 3), np.uint8)
    rows = slice(max(0, top), min(frame.shape[0], top + side))
    columns = slice(max(0, left), min(frame.shape[1], left + side))
    inside = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    square[inside] = frame[rows, columns]
    how = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=how))


def parted(
    region: np.ndarray, seed: np.ndarray, heads: Sequence[Head]
) -> tuple[np.ndarray, np.ndarray]:
    """What is whose in a region of people, by their heads.

    Args:
        region: (H, W) bool.
        seed: (H, W) bool, what was pointed at of one of them.
    Returns: (H, W) bool each: the head and chest of the one who was pointed at, and of all others.
    """
    own, others = np.zeros(seed.shape, np.uint8), np.zeros(seed.shape, np.uint8)
    box = box_of(region)
    if box is None or not heads:
        return own > 0, others > 0
    count, _, _, middles = cv2.connectedComponentsWithStats(seed.astype(np.uint8))
    mine: set[Head] = set()
    for x, y in middles[1:count].tolist():
        above = [h for h in heads if abs(h.x - x) <= _LEANS * (y - h.y) + 0.05 * min(seed.shape)]
        near = min(above, key=lambda h: np.hypot(h.x - x, 0.35 * (h.y - y)), default=None)
        if near is not None:
            mine.add(near)
            cv2.line(own, _pixel(near.x, near.y), _pixel(x, y), 1, 1)
    for head in heads:
        if head in mine or any(_one_above_other(head, other) for other in mine):
            continue
        end = head.y + _TORSO * (box[3] - head.y)
        cv2.line(others, _pixel(head.x, head.y), _pixel(head.x, end), 1, 3)
    return own > 0, (others > 0) & ~(own > 0) & ~seed


def _one_above_other(head: Head, other: Head) -> bool:
    return abs(head.x - other.x) < _SIDE_BY_SIDE * abs(head.y - other.y)


def _pixel(x: float, y: float) -> tuple[int, int]:
    return round(x), round(y)
