"""The body: 17 tapered tubes of 9 rings of 12 vertices, and the joints that hold them together.

Lengths are shares of the body's height, after Drillis and Contini (Body Segment Parameters, 1966).

Axes: P parts, V vertices of a part, F triangles, 3 = x y z in metres. A person looks along +z, y is
up, and +x is the person's left. Every part has a frame of its own, in its joint.
"""

from dataclasses import dataclass

import numpy as np

NUM_RINGS, NUM_AROUND = 9, 12
NUM_VERTICES = NUM_RINGS * NUM_AROUND  # of a part

UP, DOWN, FORWARD = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Part:
    """A tube.

    parent: number of the part it hangs on; -1: none. joint: where, in the parent's frame.
    axis: of the tube. length: between its two joints. radii: half its width at the start, in the
    middle and at the end; flatness: its depth by its width. start: where the tube begins, in the
    part's own frame. is_round: an egg, for the head. All lengths are shares of the height.
    """

    name: str
    parent: int
    joint: tuple[float, float, float]
    axis: tuple[float, float, float]
    length: float
    radii: tuple[float, float, float]
    flatness: float = 1.0
    start: tuple[float, float, float] = (0.0, 0.0, 0.0)
    is_round: bool = False


def _side(name: str, sign: int, first: int) -> tuple[Part, ...]:
    """An arm and a leg; first: the number that its upper arm has."""
    x = 0.114 * sign
    return (
        Part(f"{name} upper arm", 2, (x, 0.086, 0), DOWN, 0.186, (0.037, 0.031, 0.024)),
        Part(f"{name} forearm", first, (0, -0.186, 0), DOWN, 0.146, (0.025, 0.023, 0.016)),
        Part(f"{name} hand", first + 1, (0, -0.146, 0), DOWN, 0.085, (0.015, 0.023, 0.015), 0.5),
        Part(f"{name} thigh", 0, (0.05 * sign, 0, 0), DOWN, 0.245, (0.052, 0.047, 0.033)),
        Part(f"{name} shank", first + 3, (0, -0.245, 0), DOWN, 0.246, (0.033, 0.034, 0.021)),
        Part(
            f"{name} foot", first + 4, (0, -0.246, 0), FORWARD, 0.104,
            (0.023, 0.027, 0.023), 0.8, (0.0, -0.019, -0.018),
        ),
    )  # fmt: skip


PARTS = (
    Part("pelvis", -1, (0, 0, 0), UP, 0.08, (0.083, 0.09, 0.083), 0.7),
    Part("abdomen", 0, (0, 0.08, 0), UP, 0.09, (0.083, 0.08, 0.086), 0.7),
    Part("chest", 1, (0, 0.09, 0), UP, 0.105, (0.085, 0.105, 0.09), 0.7),
    Part("neck", 2, (0, 0.118, 0), UP, 0.06, (0.04, 0.031, 0.031)),
    Part("head", 3, (0, 0.047, 0.005), UP, 0.135, (0.0, 0.048, 0.0), 1.2, is_round=True),
    *_side("left", 1, 5),
    *_side("right", -1, 11),
)
NUM_PARTS = len(PARTS)
NUMBERS = {part.name: number for number, part in enumerate(PARTS)}
HEAD = NUMBERS["head"]
FEET = NUMBERS["left foot"], NUMBERS["right foot"]


def rest_vertices(height: float, width: float) -> np.ndarray:
    """The vertices of all parts, each in its own frame: (P, V, 3), a ring after the other.

    height: of the person in metres; width: what all radii are multiplied by.
    """
    return np.stack([_tube(part, width) for part in PARTS]) * height


def _tube(part: Part, width: float) -> np.ndarray:
    """(V, 3) in shares of the height. The ends are rounded off beyond the joints, so that a bent
    joint shows no notch."""
    first, middle, last = np.array(part.radii) * width
    if part.is_round:
        angles = np.pi * (np.arange(NUM_RINGS) + 0.35) / (NUM_RINGS - 0.3)
        along = part.length * (0.5 - 0.5 * np.cos(angles))
        radii = middle * np.sin(angles) ** 0.8
    else:
        inner = np.linspace(0, 1, NUM_RINGS - 4)
        # the parabola through the three radii
        inner_radii = (
            first * (1 - inner) * (1 - 2 * inner)
            + middle * 4 * inner * (1 - inner)
            + last * inner * (2 * inner - 1)
        )
        deep = min(1.0, part.flatness)
        caps = np.array([0.9, 0.6]) * deep, np.array([0.44, 0.8])  # how far out, how wide
        along = np.concatenate(
            [-first * caps[0], part.length * inner, part.length + last * caps[0][::-1]]
        )
        radii = np.concatenate([first * caps[1], inner_radii, last * caps[1][::-1]])
    turn = 2 * np.pi * np.arange(NUM_AROUND) / NUM_AROUND
    axis, across = np.array(part.axis), np.array([1.0, 0.0, 0.0])
    deep_way = np.cross(axis, across) * part.flatness
    ring = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * deep_way  # (around, 3)
    rings = along[:, None, None] * axis + radii[:, None, None] * ring  # (rings, around, 3)
    return rings.reshape(NUM_VERTICES, 3) + np.array(part.start)


def joint_offsets(height: float, width: float) -> np.ndarray:
    """Where the joint of every part is in its parent's frame, in metres: (P, 3). Shoulders and hips
    are as wide as the trunk."""
    return np.array([part.joint for part in PARTS]) * (width, 1, 1) * height


def make_triangles() -> tuple[np.ndarray, np.ndarray]:
    """The triangles of a whole body, whose vertices are numbered part after part.

    Returns: numbers of the corners (F, 3), counterclockwise from outside, and for every corner
        (F, 3, 2) how far round the tube and how far along it lies, both from 0 to 1.
    """
    rings, around = np.mgrid[0 : NUM_RINGS - 1, 0:NUM_AROUND].reshape(2, -1)
    corners = [(0, 0), (0, 1), (1, 1), (1, 0)]  # ring and place of the four of a patch
    patch = np.stack([_number(rings + ring, around + place) for ring, place in corners], axis=1)
    where = np.stack([_place(rings + ring, around + place) for ring, place in corners], axis=1)
    sides = [[0, 1, 2], [0, 2, 3]]
    triangles = [patch[:, side] for side in sides]
    places = [where[:, side] for side in sides]
    fan = np.stack([np.zeros(NUM_AROUND - 2, int), *_successive(NUM_AROUND - 2)], axis=1)
    for ring, order in ((0, [0, 2, 1]), (NUM_RINGS - 1, [0, 1, 2])):
        triangles.append(_number(ring, fan[:, order]))
        places.append(_place(np.full(fan.shape, ring), fan[:, order]))
    one, one_places = np.concatenate(triangles), np.concatenate(places)
    all_parts = [one + number * NUM_VERTICES for number in range(NUM_PARTS)]
    return np.concatenate(all_parts), np.tile(one_places, (NUM_PARTS, 1, 1))


def _successive(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, count + 1), np.arange(2, count + 2)


def _number(ring: np.ndarray | int, place: np.ndarray) -> np.ndarray:
    return ring * NUM_AROUND + place % NUM_AROUND


def _place(ring: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.stack([place / NUM_AROUND, ring / (NUM_RINGS - 1)], axis=-1)


def rest_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Outward normals of `rest_vertices`, the mean of those of the triangles around: (P, V, 3)."""
    flat = vertices.reshape(-1, 3)
    corner = flat[triangles]  # (F, 3 corners, 3)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])  # (F, 3)
    sums = np.zeros_like(flat)
    for side in range(3):
        np.add.at(sums, triangles[:, side], normal)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.maximum(lengths, 1e-12)).reshape(vertices.shape)
