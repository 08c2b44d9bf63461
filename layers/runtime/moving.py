"""What moves against the background: unlike what frames before and after show there, once they are
moved along with the camera.

Axes: H W pixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import cv2
import numpy as np

from layers.runtime.frame_store import FrameStore
from scene.flow import flow_to

REACH = 8  # frames before and after
_STEPS = (2, 4, 8)  # to both sides
_FIRST_STEPS = (1, 2, 4, 8)  # where there is one side only
_HALF, _SMALL = 0.5, 160  # of the size, at which the camera's motion is found; rows or columns
_APART = 3  # pixels of that size between those by which it is
_STILL = 0.35  # pixels; a camera that moves by less is taken to stand, as moving a picture blurs it
_WEIGHTS = np.array([[0.5, 1, 1]], np.float32)  # of lightness, which shadows change, and of hues
_LEAST_NOISE = 20.0  # of squared differences of 8-bit colours
_MOST = 1.5
_BYTE = 127  # steps of a byte from nothing to the most
_SQUARE = np.ones((3, 3), np.uint8)


class MovingIn:
    """`stands_out` in the kept frames of a shot, worked out once for each."""

    def __init__(self, frames: FrameStore, ahead: Sequence[np.ndarray], known: FrameStore) -> None:
        """ahead: the frames that follow the kept ones. known: empty."""
        self._frames, self._ahead, self._known = frames, ahead, known
        self._is_known = [False] * len(frames)
        for frame in frames:
            known.append(np.zeros(frame.shape[:2], np.uint8))

    def __getitem__(self, place: int) -> np.ndarray:
        """(H, W) float32."""
        if not self._is_known[place]:
            first = max(0, place - REACH)
            near = [
                self._frames[k] for k in range(first, min(place + REACH + 1, len(self._frames)))
            ]
            rest = max(0, place + REACH + 1 - len(self._frames))
            found = stands_out([*near, *self._ahead[:rest]], place - first)
            self._known[place] = np.rint((found + _MOST) * (_BYTE / _MOST)).astype(np.uint8)
            self._is_known[place] = True
        return self._known[place] * np.float32(_MOST / _BYTE) - np.float32(_MOST)


def moving_after(
    frames: FrameStore, rest: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames behind the kept ones of a shot, `REACH` of them taken ahead, with `stands_out`."""
    rest = iter(rest)
    first = max(0, len(frames) - REACH)
    near = deque(frames[place] for place in range(first, len(frames)))
    place = len(near)
    near.extend(islice(rest, REACH))
    while place < len(near):
        near.extend(islice(rest, 1))
        yield near[place], stands_out(near, place)
        if place == REACH:
            near.popleft()
        else:
            place += 1


def stands_out(frames: Sequence[np.ndarray], place: int) -> np.ndarray:
    """(H, W) float32 from -1.5 to 1.5: above 0 where something moves in the frame at a place.

    Where a thing was and will be, some frames are unlike it too, so it is the middle one that
    counts. frames: (H, W, 3) uint8 RGB each.
    """
    frame = frames[place]
    is_there = range(len(frames))
    near = [
        place + way * step for step in _STEPS for way in (-1, 1) if place + way * step in is_there
    ]
    if len(near) <= len(_STEPS):
        near = [place + way * step for step in _FIRST_STEPS for way in (-1, 1)]
        near = [other for other in near if other in is_there]
    if not near:
        return np.zeros(frame.shape[:2], np.float32)
    small, lab = _halved(frame), cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
    found = [_unlike(small, lab, frames[other]) for other in near]
    return np.median(found, axis=0).astype(np.float32)


def _halved(frame: np.ndarray) -> np.ndarray:
    """But for small ones, in which flow would see too little."""
    if min(frame.shape[:2]) < _SMALL:
        return frame
    return np.asarray(cv2.resize(frame, None, fx=_HALF, fy=_HALF, interpolation=cv2.INTER_AREA))


def _unlike(small: np.ndarray, lab: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(H, W) float32 from -1.5 to 1.5: how far a frame isn't as another shows the background; 0
    beyond its edges. small: the frame, halved, in RGB; lab: the same, whole, in Lab."""
    height, width = lab.shape[:2]
    turn = _camera_motion(small, _halved(other), width / small.shape[1])
    if turn is None:
        return np.zeros((height, width), np.float32)
    there = cv2.cvtColor(other, cv2.COLOR_RGB2LAB)
    seen: np.ndarray = np.full((height, width), 255, np.uint8)
    edges = [[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]
    corners = np.array(edges, np.float32)
    if np.abs(corners @ turn.T - corners[:, :2]).max() <= _STILL:
        gap = cv2.absdiff(lab, there)
    else:  # which is off by up to a pixel
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        there = cv2.warpAffine(there, turn, (width, height), flags=how)
        seen = cv2.warpAffine(seen, turn, (width, height), flags=how)
        gap = cv2.subtract(lab, cv2.dilate(there, _SQUARE))
        gap = gap + cv2.subtract(cv2.erode(there, _SQUARE), lab)
    whole = gap.astype(np.float32)
    apart = cv2.blur(cv2.transform(whole * whole, _WEIGHTS), (3, 3))
    sample = apart[::2, ::2][seen[::2, ::2] == 255]
    if len(sample) < 100:
        return np.zeros((height, width), np.float32)
    noise = max(3 * float(np.median(sample)), _LEAST_NOISE)
    ratio = np.log((apart + 1e-3) / (4 * noise)).clip(-_MOST, _MOST)
    return np.asarray(ratio * (seen == 255), np.float32)


def _camera_motion(small: np.ndarray, other: np.ndarray, scale: float) -> np.ndarray | None:
    """(2, 3), from pixels of a frame to those of another, which are `scale` times as large."""
    flow = flow_to(small, other)
    rows, columns = np.indices(flow.shape[:2])[:, ::_APART, ::_APART].reshape(2, -1)
    here = np.stack([columns, rows], 1).astype(np.float32) + 0.5
    turn, _ = cv2.estimateAffine2D(
        here * scale,
        (here + flow[rows, columns]) * scale,
        method=cv2.RANSAC,
        ransacReprojThreshold=1.0,
    )
    return turn
