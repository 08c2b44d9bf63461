"""How well a code steers what is made of it: where the person is, in which colours, before what.

Axes: T frames, S S pixels, 3 = R G B. Pictures are (T, S, S, 3) float32 in [0, 1].
"""

import cv2
import numpy as np

from scene.people.body import NUMBERS
from scene.people.film import TRIANGLES

# what differs from the scene by more, in one of the colours, is the person: there the true films
# of 60 training clips of the world overlap most with their bodies (IoU .74)
DIFFERS = 0.15
NEAR = 3  # pixels around bodies that say nothing of the scene: hair, and blur
MIN_PIXELS = 12  # of a part, in all frames: fewer have no colour
GROUPS = {
    "head": ("head",),
    "trunk": ("abdomen", "chest"),
    "upper arms": ("left upper arm", "right upper arm"),
    "forearms": ("left forearm", "right forearm"),
    "thighs": ("pelvis", "left thigh", "right thigh"),
    "shanks": ("left shank", "right shank"),
}
_PER_PART = len(TRIANGLES) // len(NUMBERS)
# the group of every triangle, -1 for none
_GROUP_OF = np.full(len(TRIANGLES) + 1, -1)
for _number, _names in enumerate(GROUPS.values()):
    for _name in _names:
        _first = NUMBERS[_name] * _PER_PART
        _GROUP_OF[_first : _first + _PER_PART] = _number


def silhouette(film: np.ndarray, scene: np.ndarray, *, differs: float = DIFFERS) -> np.ndarray:
    """Where a film isn't its scene: (T, S, S) bool. Single pixels are noise and don't count."""
    difference = np.abs(film - scene).max(axis=-1)
    return np.stack([cv2.blur(frame, (3, 3)) > differs for frame in difference])


def overlap(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Intersection over union of two masks (T, S, S), of the pixels `where`; NaN if both are
    empty.

    >>> a = np.array([[[True, True, False, False]]])
    >>> b = np.array([[[False, True, True, False]]])
    >>> round(overlap(a, b, np.ones_like(a)), 3)
    0.333
    """
    union = ((one | other) & where).sum()
    return float((one & other & where).sum() / union) if union else float("nan")


def part_colours(film: np.ndarray, face: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The mean colour of each of `GROUPS` in the pixels `where`, (G, 3); NaN for those not seen.

    face: (T, S, S), the triangle of the body that each pixel shows, -1 for none.
    """
    group = np.where(where, _GROUP_OF[face], -1)
    colours = np.full((len(GROUPS), 3), np.nan)
    for number in range(len(GROUPS)):
        pixels = film[group == number]
        if len(pixels) >= MIN_PIXELS:
            colours[number] = pixels.mean(axis=0)
    return colours


def colour_error(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of colours (G, 3), of those that both have; NaN if there is none."""
    both = ~np.isnan(one + other)
    return float(np.abs(one - other)[both].mean()) if both.any() else float("nan")


def squared_error(film: np.ndarray, truth: np.ndarray, where: np.ndarray) -> tuple[float, int]:
    """Sum over the pixels `where` (T, S, S), and how many numbers it is of."""
    error = np.square(film[where] - truth[where], dtype=np.float64)
    return float(error.sum()), error.size


def psnr(total: float, count: int) -> float:
    """Of a sum of squared errors, in dB.

    >>> round(psnr(0.01 * 300, 300), 3)
    20.0
    """
    if not count:
        return float("nan")
    return float(-10 * np.log10(max(total / count, 1e-10)))


def grown(mask: np.ndarray, radius: int = NEAR) -> np.ndarray:
    """A mask (T, S, S) and what is near it."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.stack([cv2.dilate(frame.astype(np.uint8), kernel) > 0 for frame in mask])
