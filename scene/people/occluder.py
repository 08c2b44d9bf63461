"""What stands before people: a polygon of noise, or of another picture.

Axes: H W pixels, 3 = R G B, 4 = R G B and coverage.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MOVING_SHARE, PICTURE_SHARE = 0.5, 0.5
CORNERS = 3, 9
MARGIN = 4  # pixels around the coverage that keep their colour


@dataclass(frozen=True)
class Occluder:
    """corners: (K, 2) x and y from the middle, in pixels. middle: (x, y) in the first frame and
    way: to the last one. softness: sigma of its edge in pixels. picture: (H, W, 3) uint8, fixed to
    it."""

    corners: np.ndarray
    middle: np.ndarray
    way: np.ndarray
    softness: float
    picture: np.ndarray


def draw_occluder(
    rng: np.random.Generator,
    size: tuple[int, int],
    other: Callable[[], np.ndarray | None],
) -> Occluder:
    """A random one. other: gives a picture (H, W, 3) uint8 that it may be cut out of."""
    height, width = size
    count = int(rng.integers(CORNERS[0], CORNERS[1] + 1))
    turns = np.sort(rng.uniform(0, 2 * np.pi, count))
    reach = rng.uniform(0.12, 0.4, count) * min(height, width)
    corners = reach[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    middle = rng.uniform(0.1, 0.9, 2) * np.array([width, height])
    moves = rng.random() < MOVING_SHARE
    way = rng.uniform(-0.4, 0.4, 2) * np.array([width, 0.5 * height]) * moves
    softness = float(rng.uniform(0.4, 3.0))
    colour, cells = rng.uniform(30, 225, 3), rng.normal(0, 25, (9, 16, 3))
    picture = other() if rng.random() < PICTURE_SHARE else None
    if picture is None:
        noise = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(np.rint(colour + noise), 0, 255).astype(np.uint8)
    return Occluder(corners, middle - way / 2, way, softness, picture)


def draw_over(occluder: Occluder, share: float) -> np.ndarray:
    """The occluder by itself when `share` (0 to 1) of its way is done: (H, W, 4) uint8, straight.

    Colours go on a little beyond its edge, and are 0 far from it.
    """
    height, width = occluder.picture.shape[:2]
    middle = occluder.middle + share * occluder.way
    bits = 6
    points = np.rint((occluder.corners + middle - 0.5) * (1 << bits)).astype(np.int32)
    coverage: np.ndarray = np.zeros((height, width), np.uint8)
    cv2.fillPoly(coverage, [points], 255, cv2.LINE_AA, bits)
    coverage = cv2.GaussianBlur(coverage, (0, 0), occluder.softness)
    shift = middle - np.array([width, height]) / 2
    picture = cv2.warpAffine(
        occluder.picture,
        np.array([[1, 0, shift[0]], [0, 1, shift[1]]]),
        (width, height),
        borderMode=cv2.BORDER_REFLECT,
    )
    near = cv2.dilate(coverage, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))
    picture[near == 0] = 0
    return np.dstack([picture, coverage])
