"""Where the square around a person is cut out of a clip, the same in all its frames.

Axes: T frames, H W pixels, V vertices, 2 = x y in pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

ROOM = 1.15, 1.9  # the square's side as a share of the body's longer one
USUAL_ROOM = 1.5
LEAST = 0.25  # of the frame's shorter side


@dataclass(frozen=True)
class Crop:
    """A square part of the frames, in pixels; it lies within them."""

    top: int
    left: int
    side: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.side)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.side)

    def scaled(self, pictures: np.ndarray, size: int) -> np.ndarray:
        """The part of pictures (T, H, W, ...) uint8 at another size: (T, size, size, ...)."""
        how = cv2.INTER_AREA if size < self.side else cv2.INTER_LINEAR
        parts = pictures[:, self.rows, self.columns]
        return np.stack([cv2.resize(part, (size, size), interpolation=how) for part in parts])

    def moved(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (..., 2) of the frames as those of the part at that size."""
        return (points - np.array([self.left, self.top])) * (size / self.side)


def draw_crop(
    rng: np.random.Generator, points: np.ndarray, is_seen: np.ndarray, size: tuple[int, int]
) -> Crop:
    """A square that holds the body, somewhere in it.

    Args:
        points: (T, V, 2). is_seen: (T, V) bool, before the camera. size: (H, W) of the frames.
    """
    room, across, down = rng.uniform(*ROOM), rng.random(), rng.random()
    return crop_around(points, is_seen, size, room=room, across=across, down=down)


def crop_around(
    points: np.ndarray,
    is_seen: np.ndarray,
    size: tuple[int, int],
    *,
    room: float = USUAL_ROOM,
    across: float = 0.5,
    down: float = 0.5,
) -> Crop:
    """A square that holds the body.

    Args:
        points, is_seen, size: see `draw_crop`. room: its side as a share of the body's longer one.
        across, down: where the body is in it, from 0 to 1.
    """
    height, width = size
    shorter = min(height, width)
    x, y = (np.clip(points[is_seen][:, axis], 0, side) for axis, side in ((0, width), (1, height)))
    if not len(x):
        x, y = np.array([0, width]), np.array([0, height])
    body = x.min(), x.max(), y.min(), y.max()
    longer = max(body[1] - body[0], body[3] - body[2])
    side = int(np.clip(round(room * longer), np.ceil(LEAST * shorter), shorter))
    left = _place(body[0], body[1], side, width, across)
    top = _place(body[2], body[3], side, height, down)
    return Crop(top, left, side)


def _place(low: float, high: float, side: int, length: int, share: float) -> int:
    """Where a part of `side` pixels begins that holds low to high as far as it can: of all such
    places the one that is so far along (0 to 1)."""
    first, last = sorted((high - side, low))
    return int(np.clip(round(first + share * (last - first)), 0, length - side))
