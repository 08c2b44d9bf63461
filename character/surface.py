"""The body in the picture: which triangle of it each pixel shows, and where on it.

Axes: T frames, H W pixels, V vertices, F triangles, 2 = x y in pixels, the middle of the first one
at (.5, .5), 3 = x y z in metres, or the corners of a triangle.
"""

from collections.abc import Mapping

import numpy as np

from scene.people.film import TRIANGLES
from scene.people.motion import move_body
from scene.people.portrait import portrait_camera, portrait_gait
from scene.people.raster import rasterize

USUAL_HEIGHT = 1.7  # metres
NEAREST = 0.05  # metres; what is nearer isn't seen


def project(pose: Mapping[str, np.ndarray], person: int) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of one of the people of a pose.npz: their pixels (T, V, 2) and inverse depths
    (T, V) in 1/m, 0 for what isn't before the camera."""
    world, inside = pose["extrinsics"].astype(np.float64), pose["intrinsics"].astype(np.float64)
    own = pose["vertices"][:, person].astype(np.float64) @ world[:, :3].T + world[:, 3]
    is_seen = own[..., 2] > NEAREST
    inverse = np.where(is_seen, 1 / np.where(is_seen, own[..., 2], 1), 0)
    focal = np.diagonal(inside, axis1=1, axis2=2)[:, None, :2]  # (T, 1, 2)
    return own[..., :2] * inverse[..., None] * focal + inside[:, None, :2, 2], inverse


def draw_surface(
    points: np.ndarray, inverse: np.ndarray, faces: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of a body at one moment.

    Args:
        points: (V, 2). inverse: (V,), the inverse depth, 0 for what isn't seen. faces: (F, 3).
    Returns:
        face (H, W) int64, the triangle's number, -1 for none; bary (H, W, 3) float32, the share of
        each of its corners, right in perspective.
    """
    face = np.full(size, -1, np.int64)
    bary = np.zeros((*size, 3), np.float32)
    numbers = np.flatnonzero(inverse[faces].min(axis=1) > 0)
    if not len(numbers):
        return face, bary
    corners, depths = points[faces[numbers]], inverse[faces[numbers]]
    seen = rasterize(corners, depths, size, nearest=1 / NEAREST)
    at = seen.triangles
    face[seen.rows, seen.columns] = numbers[at]
    bary[seen.rows, seen.columns] = _shares(
        corners[at], depths[at], seen.columns + 0.5, seen.rows + 0.5
    )
    return face, bary


def _shares(corners: np.ndarray, depths: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(S, 3) of places (S,) in triangles (S, 3, 2) whose corners have inverse depths (S, 3)."""
    spans = corners - np.stack([x, y], axis=-1)[:, None]  # (S, 3, 2)
    after, last = spans[:, [1, 2, 0]], spans[:, [2, 0, 1]]
    flat = after[..., 0] * last[..., 1] - after[..., 1] * last[..., 0]  # of the picture's plane
    total = flat.sum(axis=1, keepdims=True)
    # corners were rounded to a sixteenth of a pixel: at an edge a share may be a little below 0
    flat = np.clip(flat / np.where(total == 0, 1, total), 0, None)
    deep = flat * depths
    whole = deep.sum(axis=1, keepdims=True)
    return np.where(whole > 0, deep / np.where(whole > 0, whole, 1), 1 / 3).astype(np.float32)


def portrait_surface(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The body of somebody of usual height and width in a portrait of a record of the world, see
    `draw_surface`; size: (H, W) = (size, size)."""
    camera = portrait_camera(USUAL_HEIGHT, size)
    times = camera.frame_times
    vertices = move_body(portrait_gait(), USUAL_HEIGHT, 1.0, times).vertices
    pose = {
        "vertices": vertices.reshape(1, 1, -1, 3),
        "intrinsics": camera.intrinsics(times),
        "extrinsics": camera.extrinsics(),
    }
    points, inverse = project(pose, 0)
    return draw_surface(points[0], inverse[0], TRIANGLES, (size, size))
