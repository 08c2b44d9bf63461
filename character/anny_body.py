"""The body of Anny in the poses of ours: a skin with a face, hands and muscles, for real people's
silhouettes (Brégier et al., arXiv 2511.03589; the package anny is Apache-2.0, its data MakeHuman's,
CC0). It is painted with the codes of our skin: each of its triangles stands for one of ours.

Axes: T moments, P parts, B bones, V vertices, F triangles, 3 = x y z in metres: x the person's
left, y up, z ahead; what comes out is in the camera's, x right, y down, z ahead.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from character.body import pose_parts
from nunif.errors import UserError
from scene.people.body import NUM_PARTS, NUMBERS
from scene.people.film import TRIANGLES
from scene.people.motion import Gait, move_body

logger = logging.getLogger(__name__)

AT_ONCE = 16  # moments that are computed together
# its own axes are x the person's left, y back and z up: rows of ours
OURS = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
# the parts that bones belong to, by how their names begin
BONES = {
    "pelvis": ("root", "pelvis", "spine05"),
    "abdomen": ("spine04", "spine03"),
    "chest": ("spine02", "spine01", "clavicle", "shoulder01"),
    "neck": ("neck",),
    "head": ("head", "eye"),
    "upper arm": ("upperarm",),
    "forearm": ("lowerarm",),
    "hand": ("wrist", "finger", "metacarpal"),
    "thigh": ("upperleg",),
    "shank": ("lowerleg",),
    "foot": ("foot", "toe"),
}
SIDES = {"L": "left", "R": "right"}
# parts that hang straight down in our body at rest, and from which bone to which they go
HANGING = {
    "upper arm": ("upperarm01", "lowerarm01"),
    "forearm": ("lowerarm01", "wrist"),
    "hand": ("wrist", "finger3-1"),
    "thigh": ("upperleg01", "lowerleg01"),
    "shank": ("lowerleg01", "foot"),
}
DOWN = np.array([0.0, -1, 0])
HIPS = "upperleg01.L", "upperleg01.R"
USUAL = 0.5  # of each of the numbers from 0 to 1 that describe a body


class AnnyBody(NamedTuple):
    """model: anny's. parts: (B,), which of ours each bone belongs to. aligned: (P, 3, 3), what
    turns a part from this body's rest to that of ours. stands_for: (F,), the triangle of ours that
    each of its triangles is painted as."""

    model: Any
    parts: np.ndarray
    aligned: np.ndarray
    stands_for: np.ndarray

    @property
    def faces(self) -> np.ndarray:
        """(F, 3)."""
        return np.asarray(self.model.faces)


def open_anny() -> AnnyBody:
    """
    Raises:
        UserError: the package is not installed.
    """
    try:
        import anny
    except ImportError as error:
        raise UserError(
            f"the body of anny needs the package anny ({error}): pip install '.[anny]'"
        ) from error
    logger.info("building the body of anny: the first time it takes a minute and makes a cache")
    model = anny.Anny(pose_parameterization="world-orient").float().eval()
    labels = list(model.bone_labels)
    heads = _at_rest(model, USUAL)["rest_bone_heads"][0].double().numpy() @ OURS.T
    aligned = np.tile(np.eye(3), (NUM_PARTS, 1, 1))
    for name, ends in HANGING.items():
        for letter, side in SIDES.items():
            start, end = (heads[labels.index(f"{bone}.{letter}")] for bone in ends)
            aligned[NUMBERS[f"{side} {name}"]] = turn_between(end - start, DOWN)
    parts = np.array([part_of_bone(label) for label in labels])
    body = AnnyBody(model, parts, aligned, np.zeros(0, np.int64))
    return body._replace(stands_for=_painted_as(body))


def part_of_bone(label: str) -> int:
    """The number of the part that a bone of anny belongs to."""
    name, _, letter = label.partition(".")
    for part, starts in BONES.items():
        if name.startswith(starts):
            return NUMBERS[part] if part in NUMBERS else NUMBERS[f"{SIDES[letter]} {part}"]
    raise AssertionError(f"{label} is no bone of anny 0.6")


def pose_anny(
    body: AnnyBody, pose: np.ndarray, shape: np.ndarray, root: np.ndarray
) -> Iterator[np.ndarray]:
    """Where its skin is at each moment, (V, 3) float64; for the arguments see
    `character.body.pose_body`."""
    height, width = (float(length) for length in shape)
    weight = float(np.clip(width - USUAL, 0, 1))  # the usual one is that of a width of 1
    turned, joints = pose_parts(pose, shape, root)
    rest = _at_rest(body.model, weight)
    scale = height / _height(rest)
    own_axes = rest["rest_bone_poses"][0, :, :3, :3].double().numpy()
    of_bones = (turned @ body.aligned)[:, body.parts]  # (T, B, 3, 3)
    # from our axes to its own, and from how a bone lies at rest
    given = np.tile(np.eye(4), (*of_bones.shape[:2], 1, 1))
    given[..., :3, :3] = OURS.T @ of_bones @ OURS @ own_axes
    hips = [list(body.model.bone_labels).index(label) for label in HIPS]
    for start in range(0, len(given), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        with torch.no_grad():
            found = body.model(
                pose_parameters=torch.from_numpy(given[part]).float(),
                phenotype_kwargs=_phenotype(body.model, weight),
            )
        vertices = found["vertices"].double().numpy() @ OURS.T
        places = found["bone_poses"][:, hips, :3, 3].mean(dim=1).double().numpy() @ OURS.T
        yield from (vertices - places[:, None]) * scale + joints[part, :1]


def turn_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The shortest rotation (3, 3) that turns a direction (3,) into another: Rodrigues' formula.

    >>> turn_between(np.array([1.0, 0, 0]), np.array([0, 2.0, 0])).round(9).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    one, other = (direction / np.linalg.norm(direction) for direction in (one, other))
    x, y, z = np.cross(one, other)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + one @ other)


def _phenotype(model: Any, weight: float) -> dict[str, float]:
    return {name: USUAL for name in model.phenotype_labels} | {"weight": weight}


def _at_rest(model: Any, weight: float) -> dict[str, torch.Tensor]:
    pose = torch.eye(4).expand(1, model.bone_count, 4, 4)
    with torch.no_grad():
        return model(
            pose_parameters=pose,
            phenotype_kwargs=_phenotype(model, weight),
            pose_parameterization="local-ref",
        )


def _height(rest: dict[str, torch.Tensor]) -> float:
    up = rest["rest_vertices"][0, :, 2]
    return float(up.max() - up.min())


def _painted_as(body: AnnyBody) -> np.ndarray:
    """(F,): of the triangles of our body's part that one belongs to the nearest, in shares of the
    part's extent, when both bodies stand with hanging arms."""
    upright = (np.zeros((1, NUM_PARTS, 3)), np.array([1.7, 1.0]), np.zeros((1, 6)))
    (skin,) = pose_anny(body, *upright)
    ours = move_body(Gait("still", 1.0, 0.0, 0.0), 1.7, 1.0, np.zeros(1)).vertices.reshape(-1, 3)
    theirs, own = skin[body.faces].mean(axis=1), ours[TRIANGLES].mean(axis=1)
    weights, indices = (x.numpy() for x in _weights(body.model))
    main = np.take_along_axis(indices, weights.argmax(axis=1)[:, None], axis=1)[:, 0]  # (V,)
    part_of = body.parts[main[body.faces[:, 0]]]
    own_part = np.arange(len(TRIANGLES)) // (len(TRIANGLES) // NUM_PARTS)
    found = np.empty(len(body.faces), np.int64)
    for part in range(NUM_PARTS):
        here, there = np.nonzero(part_of == part)[0], np.nonzero(own_part == part)[0]
        one, other = (_in_shares(x) for x in (theirs[here], own[there]))
        apart = np.square(one[:, None] - other[None]).sum(axis=-1)
        found[here] = there[apart.argmin(axis=1)]
    return found


def _weights(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return model.vertex_bone_weights.cpu(), model.vertex_bone_indices.cpu()


def _in_shares(places: np.ndarray) -> np.ndarray:
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / (high - low)
