"""How a person is to move, out of a file: where the skin is in the pictures of a film.

Axes: T frames, V vertices, 2 = x y in pixels.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from character.anny_body import AnnyBody, open_anny, pose_anny
from character.body import pose_body
from character.surface import NEAREST, project
from nunif.errors import UserError
from scene.people.body import NUM_PARTS, NUM_VERTICES
from scene.people.film import TRIANGLES

OF_WORLD = ("vertices", "intrinsics", "extrinsics")
OF_BODY = ("pose", "shape", "root", "f", "c")


class Movement(NamedTuple):
    """points: (T, V, 2). inverse: (T, V), the inverse depth in 1/m, 0 for what isn't before the
    camera. faces: (F, 3). stands_for: (F,), the triangles of our body that another one's are
    painted as; None: it is ours."""

    points: np.ndarray
    inverse: np.ndarray
    faces: np.ndarray = TRIANGLES
    stands_for: np.ndarray | None = None


def read_movement(path: Path, body: str = "world") -> Movement:
    """A .npz file of pixels of the film: either the pose.npz of a record of the world, whose first
    person counts, or the arrays of `character.body.pose_body` (pose, shape, root) with the
    camera's focal length f, one or (T,), and its middle c, (2,) or (T, 2), in pixels.

    body: whose skin these arrays move: "world", that of the world's people, or "anny".

    Raises:
        UserError: it can't be read, lacks an array, or one is of another shape; the body isn't
            installed.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {
                name: archive[name] for name in archive.files if name in (*OF_WORLD, *OF_BODY)
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise UserError(
            f"--pose {path} can't be read as .npz ({error}): name a pose.npz of a record, or one "
            f"with {', '.join(OF_BODY)}"
        ) from error
    try:
        movement = _movement_of(path, arrays, body)
    except ValueError as error:  # numpy's, of arrays of different lengths
        raise UserError(
            f"--pose {path}: its arrays don't fit each other ({error}): make it again"
        ) from error
    if not np.isfinite(movement.points).all():
        raise UserError(f"--pose {path} holds numbers that are not finite: make it again")
    return movement


def _movement_of(path: Path, arrays: dict[str, np.ndarray], body: str) -> Movement:
    if {*OF_WORLD} <= {*arrays} and body != "world":
        raise UserError(
            f"--pose {path} holds the skin of the world's people, which --body {body} has no use "
            f"for: give one with {', '.join(OF_BODY)}"
        )
    if {*OF_WORLD} <= {*arrays}:
        skin = (NUM_PARTS * NUM_VERTICES, 3)
        _check(path, arrays, {"vertices": skin, "intrinsics": (3, 3), "extrinsics": (3, 4)})
        if arrays["vertices"].ndim != 4 or not arrays["vertices"].shape[1]:
            raise UserError(f"--pose {path} has nobody in it: name one with a person")
        return Movement(*project(arrays, 0))
    if {*OF_BODY} <= {*arrays}:
        _check(path, arrays, {"pose": (NUM_PARTS, 3), "root": (6,), "shape": (2,)})
        return _of_body(arrays, open_anny() if body == "anny" else None)
    raise UserError(
        f"--pose {path} holds {', '.join(arrays) or 'nothing that is known'}: it needs "
        f"{', '.join(OF_WORLD)}, as records of the world, or {', '.join(OF_BODY)}"
    )


def _check(path: Path, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    for name, ends in shapes.items():
        if arrays[name].shape[-len(ends) :] != ends:
            raise UserError(
                f"--pose {path}: {name} is of the shape {arrays[name].shape}, which should end in "
                f"{ends}"
            )


def _of_body(arrays: dict[str, np.ndarray], anny: AnnyBody | None) -> Movement:
    pose, shape, root = (arrays[name].astype(np.float64) for name in ("pose", "shape", "root"))
    focal = np.broadcast_to(arrays["f"].astype(np.float64), (len(pose),))
    middle = np.broadcast_to(arrays["c"].astype(np.float64), (len(pose), 2))
    skins: Iterable[np.ndarray] = pose_body(pose, shape, root)[0]
    if anny is not None:
        skins = pose_anny(anny, pose, shape, root)
    points, inverses = [], []
    for vertices, f, c in zip(skins, focal, middle, strict=True):
        depth = vertices[:, 2]
        is_seen = depth > NEAREST
        inverse = np.where(is_seen, 1 / np.where(is_seen, depth, 1), 0)
        points.append((vertices[:, :2] * inverse[:, None] * f + c).astype(np.float32))
        inverses.append(inverse.astype(np.float32))
    movement = Movement(np.stack(points), np.stack(inverses))
    if anny is None:
        return movement
    return movement._replace(faces=anny.faces, stands_for=anny.stands_for)
