"""How a person moves, as Wan-Animate is told of it: a skeleton on black, and the face by itself.

Tables, widths and the face's box are those of its own preparation (Wan2.2,
wan/modules/animate/preprocess: human_visualization.py, utils.py).

Axes: T frames, h w pixels; points are x, y, score.
"""

import json
import math
from colorsys import hsv_to_rgb
from pathlib import Path

import cv2
import numpy as np

from layers.runtime.film_fit import Fit
from nunif.errors import UserError

NUM_POINTS = 133  # of COCO-WholeBody
FACE_SIZE = 512
SEEN = 0.5  # from what score on a point is drawn
_FAR = 1e5  # pixels beyond which it doesn't matter where
_FACE_AREA = 1.3  # of the box, to that around the points

# 20 points of a body, each the mean of two: nose, neck, right and left arm, right and left leg,
# right and left eye, right and left ear, left and right toes
_BODY = (
    (0, 6, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 20),
    (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 18, 21),
)
_FACE, _LEFT_HAND, _RIGHT_HAND = slice(23, 91), slice(91, 112), slice(112, 133)
_LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11)),
    *((11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19)),
)
_COLOURS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
    *((200, 200, 0), (100, 100, 0)),
)
_LIMB_SHADE = 0.6
_BONES = [
    (0 if joint == 1 else 4 * finger + joint - 1, 4 * finger + joint)
    for finger in range(5)
    for joint in range(1, 5)
]
_FINGER_TIP = (0, 0, 255)


def read_points(path: Path, num_frames: int) -> np.ndarray:
    """The points of --pose in pixels of the film, (T, 133, 3) float.

    Raises:
        UserError: the file can't be read, or holds something else.
    """
    if not path.is_file():
        raise UserError(f"--pose {path} is no file: check the path")
    try:
        if path.suffix.lower() == ".json":
            points = np.array(json.loads(path.read_text(encoding="utf-8")), np.float64)
        else:
            loaded = np.load(path, allow_pickle=False)
            arrays = [loaded] if isinstance(loaded, np.ndarray) else [*dict(loaded).values()]
            (points,) = (np.asarray(array, np.float64) for array in arrays)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise UserError(
            f"--pose {path} can't be read ({error}): give one array of points as .npy or .npz, or "
            "as .json"
        ) from error
    wanted = (num_frames, NUM_POINTS, 3)
    if points.shape != wanted:
        raise UserError(
            f"--pose {path} holds an array of shape {points.shape}, and {wanted} is needed: of "
            f"each of the film's frames {NUM_POINTS} points x, y, score"
        )
    if not np.isfinite(points).all():
        raise UserError(
            f"--pose {path} holds numbers that are not finite: give such points score 0"
        )
    return points.clip(-_FAR, _FAR)


def laid(points: np.ndarray, fit: Fit) -> np.ndarray:
    """Points of the film's frame in pixels of what is exported, (..., 3)."""
    scale = np.divide(fit.scaled[::-1], fit.film[::-1])
    places = (points[..., :2] + 0.5) * scale - 0.5 - fit.crop[::-1]
    return np.concatenate([places, points[..., 2:]], axis=-1)


def draw_skeleton(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(133, 3) -> (h, w, 3) uint8."""
    picture = np.zeros((*size, 3), np.uint8)
    width = max(min(size) // 200 - 1, 1)
    body = (points[list(_BODY[0])] + points[list(_BODY[1])]) / 2
    for (first, second), colour in zip(_LIMBS, _COLOURS):
        if min(body[first, 2], body[second, 2]) >= SEEN:
            shade = [int(value * _LIMB_SHADE) for value in colour]
            _draw_limb(picture, body[first, :2], body[second, :2], width, shade)
    for point, colour in zip(body, _COLOURS):
        if point[2] >= SEEN:
            cv2.circle(picture, _pixel(point), width, colour, thickness=-1)
    for hand in (points[_LEFT_HAND], points[_RIGHT_HAND]):
        _draw_hand(picture, hand, max(width // 2, 1))
    return picture


def _draw_limb(
    picture: np.ndarray, first: np.ndarray, second: np.ndarray, width: int, colour: list[int]
) -> None:
    """A filled ellipse from one point to the other."""
    x, y = first - second
    axes = int(math.hypot(x, y) / 2), width
    middle = _pixel((first + second) / 2)
    outline = cv2.ellipse2Poly(middle, axes, int(math.degrees(math.atan2(y, x))), 0, 360, 1)
    cv2.fillConvexPoly(picture, np.asarray(outline), colour)


def _draw_hand(picture: np.ndarray, points: np.ndarray, width: int) -> None:
    for number, (first, second) in enumerate(_BONES):
        if min(points[first, 2], points[second, 2]) >= SEEN:
            hue = hsv_to_rgb(number / len(_BONES), 1, 1)
            colour = [255 * part for part in hue]
            cv2.line(picture, _pixel(points[first]), _pixel(points[second]), colour, width)
    for point in points:
        if point[2] >= SEEN:
            cv2.circle(picture, _pixel(point), width, _FINGER_TIP, thickness=-1)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def cut_face(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face in a frame (h, w, 3) as (512, 512, 3), whatever its aspect; black where there is
    none. points: (133, 3)."""
    height, width = frame.shape[:2]
    face = points[_FACE]
    (left, top), (right, bottom) = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    grow = math.sqrt(_FACE_AREA) - 1
    aside, below = grow / 2 * (right - left), grow / 4 * (bottom - top)
    columns = slice(int(max(left - aside, 0)), int(max(min(right + aside, width), 0)))
    rows = slice(int(max(top - 3 * below, 0)), int(max(min(bottom + below, height), 0)))
    crop = frame[rows, columns]
    if not crop.size or face[:, 2].max() <= 0:
        return np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8)
    return np.asarray(cv2.resize(crop, (FACE_SIZE, FACE_SIZE)))
