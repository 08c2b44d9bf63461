"""What is known of one object that is followed.

Axes: H W pixels.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from layers.runtime.appearance import Box

_STRETCH = 0.12  # how far it reaches beyond its shape, as a share of its height
BODY = 0.25  # of a shape
_AGREED = 0.6  # of a corrected mask, within the shape that was expected
_MOVED = 0.3, 0.8  # shares of an object that move so, from which on that counts, and counts fully


@dataclass
class Thing:
    """What is known of one object. shape: (H, W) float32, with what is hidden of it."""

    first_looks: np.ndarray
    looks: np.ndarray
    first_parts: np.ndarray
    parts: np.ndarray
    shape: np.ndarray
    box: Box
    usual_size: float
    is_person: float  # how far the finder agrees
    moves: float | None = None  # how much of it moves against the background
    likeness: float = 0.5
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))
    is_lost: bool = False


def without(looks: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """A histogram without what was wrongly counted to it."""
    looks = (looks - wrong).clip(0)
    return looks / (looks.sum() + 1e-6)


def counts_moving(thing: Thing) -> float:
    """From 0 to 1: what it counts for a pixel of an object that it moves."""
    least, most = _MOVED
    return min(max(((thing.moves or 0) - least) / (most - least), 0), 1)


def agrees(mask: np.ndarray, body: np.ndarray) -> bool:
    """Whether a mask is of the body that was expected, of which some may be hidden."""
    return bool((mask & body).sum() > _AGREED * mask.sum())


def within_reach(thing: Thing) -> np.ndarray:
    """(H, W) bool: where an object can be, by its shape. What moves elsewhere is something else."""
    left, top, right, bottom = thing.box
    side = 2 * max(4, round(_STRETCH * max(right - left, bottom - top))) + 1
    body = (thing.shape > BODY).astype(np.uint8)
    return cv2.dilate(body, np.ones((side, side), np.uint8)) > 0
