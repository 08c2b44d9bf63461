"""How a body moves: joint angles that swing, and forward kinematics.

Axes: T moments, P parts, V vertices of a part, 3 = x y z in metres. Angles are in radians, about x
(a limb that hangs down swings forward for negative ones), y (turning) and z.
"""

from dataclasses import dataclass, field

import numpy as np

from scene.people.body import FEET, HEAD, NUM_PARTS, NUMBERS, PARTS, joint_offsets, rest_vertices

SIDES = "left", "right"
KINDS = "walk", "in phase", "still"
KIND_SHARES = 0.6, 0.2, 0.2
MAX_SPEED = 1.5  # metres a second
X, Y, Z = range(3)


@dataclass
class Gait:
    """What swings: base + amplitude sin(2 pi frequency t + phase), each (P, 3) in radians.

    frequency: in Hz. heading: which way the body looks and goes, 0 = along +z. speed: in metres a
    second. place: (x, z) on the floor at t = 0.
    """

    kind: str
    frequency: float
    heading: float
    speed: float
    place: tuple[float, float] = (0.0, 0.0)
    base: np.ndarray = field(default_factory=lambda: np.zeros((NUM_PARTS, 3)))
    amplitude: np.ndarray = field(default_factory=lambda: np.zeros((NUM_PARTS, 3)))
    phase: np.ndarray = field(default_factory=lambda: np.zeros((NUM_PARTS, 3)))

    def swing(self, part: str, axis: int, base: float, amplitude: float, phase: float) -> None:
        """Let a joint swing; base and amplitude in degrees."""
        at = NUMBERS[part], axis
        self.base[at], self.amplitude[at] = np.radians(base), np.radians(amplitude)
        self.phase[at] = phase


@dataclass(frozen=True)
class Motion:
    """Bodies in motion, at T moments.

    rotations (T, P, 3, 3) and joints (T, P, 3) take a part's own frame to the world; vertices (T,
    P, V, 3).
    """

    rotations: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray


def draw_gait(rng: np.random.Generator, height: float) -> Gait:
    """A random way to move. height: of the person, in metres."""
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    gait = Gait(kind, float(rng.uniform(0.5, 2.0)), float(rng.uniform(0, 2 * np.pi)), 0.0)
    start = float(rng.uniform(0, 2 * np.pi))
    _draw_trunk(gait, rng, start)
    opposite = np.pi if kind == "walk" else 0.0
    if kind == "walk":
        hip, knee = rng.uniform(12, 35), rng.uniform(20, 50)
        arm, elbow = rng.uniform(5, 60) * hip / 35, rng.uniform(10, 60)
    elif kind == "in phase":
        hip, knee = rng.uniform(0, 8), rng.uniform(0, 20)
        arm, elbow = rng.uniform(10, 60), rng.uniform(10, 90)
    else:
        hip, knee, arm = rng.uniform(0, 3), rng.uniform(0, 4), rng.uniform(0, 6)
        elbow = rng.uniform(10, 90)
    lift = (0.0, 100.0) if kind == "in phase" else (-5.0, 10.0) if kind == "walk" else (-5.0, 45.0)
    for side, turn in zip(SIDES, (start, start + opposite)):
        sign = 1 if side == "left" else -1
        gait.swing(f"{side} thigh", X, -0.2 * hip, hip, turn)
        gait.swing(f"{side} thigh", Z, sign * float(rng.uniform(0, 5)), 0, 0)
        # bent most while the leg comes forward, a quarter of a step before it is in front
        gait.swing(f"{side} shank", X, 0.45 * knee, 0.65 * knee, turn - np.pi / 2)
        gait.swing(f"{side} foot", X, 0.1 * hip, 0.5 * hip, turn + 0.75 * np.pi)
        raised = float(rng.uniform(*lift))
        gait.swing(f"{side} upper arm", X, -raised, arm, turn + (0 if opposite == 0 else np.pi))
        gait.swing(f"{side} upper arm", Z, sign * float(rng.uniform(5, 14)), 0, 0)
        gait.swing(f"{side} forearm", X, -elbow, 0.3 * arm, turn + opposite - 0.4)
        gait.swing(f"{side} hand", X, float(rng.uniform(-15, 10)), 0, 0)
    if kind == "walk":
        # a stride is two steps, and a step as wide as the legs open
        stride = 4 * 0.53 * height * np.sin(np.radians(hip))
        gait.speed = float(min(MAX_SPEED, gait.frequency * stride * rng.uniform(0.8, 1.1)))
    return gait


def _draw_trunk(gait: Gait, rng: np.random.Generator, start: float) -> None:
    lean, yaw = float(rng.uniform(0, 15)), float(rng.uniform(0, 20))
    nod, turn = rng.uniform(0, 10, 2)
    walking = gait.kind == "walk"
    lean = 0.5 * lean if walking else lean
    gait.swing("abdomen", X, 0.4 * lean, 0.1 * lean, 2 * start)
    gait.swing("chest", X, 0.4 * lean, 0.1 * lean, 2 * start)
    # the shoulders turn against the hips
    gait.swing("pelvis", Y, 0, 0.4 * yaw, start)
    gait.swing("abdomen", Y, 0, 0.7 * yaw, start + np.pi)
    gait.swing("chest", Y, 0, 0.7 * yaw, start + np.pi)
    gait.swing("neck", X, float(rng.uniform(-5, 10)) - 0.5 * lean, 0.3 * nod, start)
    gait.swing("head", Y, float(rng.uniform(-40, 40)), turn, float(rng.uniform(0, 2 * np.pi)))
    gait.swing("head", X, 0, 0.5 * nod, float(rng.uniform(0, 2 * np.pi)))


def joint_angles(gait: Gait, times: np.ndarray) -> np.ndarray:
    """(T, P, 3) radians at times in seconds. Knees and elbows never bend the wrong way."""
    turns = 2 * np.pi * gait.frequency * times[:, None, None] + gait.phase
    angles = gait.base + gait.amplitude * np.sin(turns)
    for side in SIDES:
        knee, elbow = NUMBERS[f"{side} shank"], NUMBERS[f"{side} forearm"]
        angles[:, knee, X] = np.clip(angles[:, knee, X], 0, np.radians(120))
        angles[:, elbow, X] = np.clip(angles[:, elbow, X], -np.radians(150), 0)
    angles[:, 0, Y] += gait.heading
    return angles


def rotation_of(angles: np.ndarray) -> np.ndarray:
    """Ry Rx Rz of angles (..., 3): (..., 3, 3)."""
    cos, sin = np.cos(angles), np.sin(angles)
    zero, one = np.zeros(angles.shape[:-1]), np.ones(angles.shape[:-1])

    def matrix(*values: np.ndarray) -> np.ndarray:
        return np.stack(values, axis=-1).reshape(*angles.shape[:-1], 3, 3)

    c, s = cos[..., X], sin[..., X]
    about_x = matrix(one, zero, zero, zero, c, -s, zero, s, c)
    c, s = cos[..., Y], sin[..., Y]
    about_y = matrix(c, zero, s, zero, one, zero, -s, zero, c)
    c, s = cos[..., Z], sin[..., Z]
    about_z = matrix(c, -s, zero, s, c, zero, zero, zero, one)
    return about_y @ about_x @ about_z


def place_joints(
    gait: Gait, height: float, width: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`Motion`'s rotations and joints at times in seconds, the hips at the height 0."""
    turned, offsets = rotation_of(joint_angles(gait, times)), joint_offsets(height, width)
    rotations = np.empty((len(times), NUM_PARTS, 3, 3))
    joints = np.empty((len(times), NUM_PARTS, 3))
    way = np.array([np.sin(gait.heading), 0, np.cos(gait.heading)])
    middle = np.array([gait.place[0], 0, gait.place[1]])
    for number, part in enumerate(PARTS):
        if part.parent < 0:
            rotations[:, number] = turned[:, number]
            joints[:, number] = middle + gait.speed * times[:, None] * way
        else:
            above = rotations[:, part.parent]
            rotations[:, number] = above @ turned[:, number]
            joints[:, number] = joints[:, part.parent] + above @ offsets[number]
    return rotations, joints


def move_body(gait: Gait, height: float, width: float, times: np.ndarray) -> Motion:
    """The body at times in seconds, the lowest point of its feet on the floor, y = 0.

    height: in metres; width: see `rest_vertices`.
    """
    rotations, joints = place_joints(gait, height, width, times)
    rest = rest_vertices(height, width)  # (P, V, 3)
    vertices = rest @ rotations.swapaxes(2, 3) + joints[:, :, None]  # (T, P, V, 3)
    floor = vertices[..., 1][:, list(FEET)].min(axis=(1, 2))  # (T,)
    joints[..., 1] -= floor[:, None]
    vertices[..., 1] -= floor[:, None, None]
    return Motion(rotations, joints, vertices)


def head_acceleration(gait: Gait, height: float, width: float, times: np.ndarray) -> np.ndarray:
    """Of the head over the hips' way, in metres per second squared: (T, 3)."""
    step = 1 / 60
    before, now, after = (
        place_joints(gait, height, width, times + offset)[1][:, HEAD] for offset in (-step, 0, step)
    )
    return (after - 2 * now + before) / step**2
