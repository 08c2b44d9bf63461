"""Hair: thin strands that swing with the head. They give alpha its values between 0 and 1.

Axes: T moments, K strands, 8 points of a strand, 3 = x y z in metres.
"""

from dataclasses import dataclass

import numpy as np

from scene.people.body import HEAD, NUM_VERTICES
from scene.people.motion import Motion

NUM_POINTS = 8
STRANDS = 60, 200
LENGTHS = 0.05, 0.35  # shares of the height
WIDTHS = 0.4, 1.2  # pixels
SWING = 0.02  # seconds squared: how far the tips lag behind a head that speeds up
MAX_SWING = 0.5  # of the length


@dataclass(frozen=True)
class Hair:
    """Strands in the head's own frame.

    control: (3, K, 3), the points of quadratic Bezier curves. normals: (K, 3) of the head at the
    roots. widths: (K,) in pixels. shades: (K,), how light each is. length: of all, in metres.
    """

    control: np.ndarray
    normals: np.ndarray
    widths: np.ndarray
    shades: np.ndarray
    length: float


def draw_hair(rng: np.random.Generator, head: np.ndarray, height: float) -> Hair:
    """Random hair on a head (V, 3), in its own frame, of a person `height` metres tall."""
    count = int(rng.integers(STRANDS[0], STRANDS[1] + 1))
    length = float(rng.uniform(*LENGTHS)) * height
    top, bottom = head[:, 1].max(), head[:, 1].min()
    middle = np.array([0, (top + bottom) / 2, head[:, 2].mean()])
    radii = (head.max(axis=0) - head.min(axis=0)) / 2
    # an even spread over the upper half, without the face
    turn = rng.uniform(0, 2 * np.pi, count)
    up = rng.uniform(0.05, 1, count)
    up = np.where(np.sin(turn) > 0.2, np.maximum(up, 0.62), up)  # x = cos, the face is at +z
    flat = np.sqrt(1 - up**2)
    normal = np.stack([flat * np.cos(turn), up, flat * np.sin(turn)], axis=1)
    roots = middle + 0.97 * radii * normal
    out = np.stack([np.cos(turn), np.zeros(count), np.sin(turn)], axis=1)
    # combed away from the face, to its sides
    front = np.sin(turn) > -0.3
    out[front, 0] += 0.7 * np.sign(out[front, 0])
    out[front, 2] = -0.4 - 0.5 * np.abs(out[front, 2])
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    stray = rng.normal(0, 0.12, (count, 3))
    own = length * rng.uniform(0.6, 1, count)[:, None]
    reach = np.minimum(own, 0.6 * radii[1])
    down = np.array([0.0, -1.0, 0.0])
    knee = roots + reach * (0.45 * normal + 0.55 * out + stray)
    ends = knee + (own - 0.5 * reach) * (down + 0.15 * out + 0.5 * stray) * 0.85
    # none comes out under the chin
    inside = np.abs(ends[:, 0]) < 0.95 * radii[0]
    ends[inside, 2] = np.minimum(ends[inside, 2], middle[2] - 0.9 * radii[2])
    widths = rng.uniform(*WIDTHS) * rng.uniform(0.7, 1.3, count)
    return Hair(
        np.stack([roots, knee, ends]),
        normal,
        np.clip(widths, *WIDTHS),
        rng.uniform(0.75, 1.25, count),
        length,
    )


def move_hair(hair: Hair, motion: Motion, acceleration: np.ndarray) -> np.ndarray:
    """The strands in the world at the moments of a motion: (T, K, 8, 3).

    acceleration: of the head (T, 3) in metres per second squared.
    """
    s = np.linspace(0, 1, NUM_POINTS)
    weights = np.stack([(1 - s) ** 2, 2 * s * (1 - s), s**2])  # (3, 8)
    points = np.einsum("cp,cki->kpi", weights, hair.control)
    world = points @ motion.rotations[:, HEAD, None].swapaxes(-1, -2)
    world = world + motion.joints[:, HEAD, None, None]
    lag = -SWING * acceleration
    far = np.linalg.norm(lag, axis=1, keepdims=True)
    most = MAX_SWING * hair.length
    lag = lag * np.minimum(1, most / np.maximum(far, 1e-9))
    return world + (s**2)[:, None] * lag[:, None, None]


def head_of(vertices: np.ndarray) -> np.ndarray:
    """The head's vertices of all: (P, V, 3) or (P * V, 3) -> (V, 3)."""
    return vertices.reshape(-1, NUM_VERTICES, 3)[HEAD]


def ribbon_triangles(count: int) -> np.ndarray:
    """Numbers of the corners of the triangles of `count` ribbons of 8 x 2 points: (F, 3)."""
    point = np.arange(NUM_POINTS - 1) * 2
    one = np.concatenate(
        [np.stack([point, point + 1, point + 2], 1), np.stack([point + 1, point + 3, point + 2], 1)]
    )
    return (one + np.arange(count)[:, None, None] * (2 * NUM_POINTS)).reshape(-1, 3)


def widen(pixels: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Curves (K, 8, 2) to ribbons (K, 8, 2 sides, 2), in the unit of both, thinner at the tips."""
    way = np.gradient(pixels, axis=1)
    across = np.stack([-way[..., 1], way[..., 0]], axis=-1)
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    taper = np.linspace(1, 0.6, NUM_POINTS)
    half = 0.5 * widths[:, None, None] * taper[:, None] * across
    return np.stack([pixels - half, pixels + half], axis=2)
