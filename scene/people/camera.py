"""The camera: a pinhole that looks along -z, and what its hand does to the picture.

Axes: T moments, 3 = x y z in metres. Pictures have x to the right and y down, in pixels, the middle
of the first pixel at (.5, .5).
"""

from dataclasses import dataclass

import numpy as np

NEAREST = 0.3  # metres; what is nearer than that isn't drawn
FIELDS = 35, 70  # degrees, horizontal
DISTANCES = 2, 7  # metres
HEIGHTS = 0.8, 2.2  # metres
SHARES = 0.25, 1.2  # of the picture's height that a person takes
SHAKE = 2.0  # pixels, standard deviation
KINDS = "still", "moved", "shaken"
KIND_SHARES = 0.4, 0.3, 0.3


@dataclass(frozen=True)
class Camera:
    """A pinhole at (0, height, 0).

    size: (height, width) of the picture. focal: in pixels. pitch: in radians, up. kind: of what the
    hand does; shifts (T, 2) in pixels and zooms (T,) of the picture at the times of the frames,
    frame_times (T,) in seconds.
    """

    size: tuple[int, int]
    focal: float
    height: float
    distance: float  # of the first person
    pitch: float
    kind: str
    frame_times: np.ndarray
    shifts: np.ndarray
    zooms: np.ndarray

    def intrinsics(self, times: np.ndarray) -> np.ndarray:
        """Of the shaken camera at times in seconds, (T, 3, 3); the hand's way is straight from
        frame to frame."""
        shift = [np.interp(times, self.frame_times, self.shifts[:, i]) for i in range(2)]
        zoom = np.interp(times, self.frame_times, self.zooms)
        matrices = np.zeros((len(times), 3, 3))
        matrices[:, 0, 0] = matrices[:, 1, 1] = zoom * self.focal
        matrices[:, 0, 2] = self.size[1] / 2 + shift[0]
        matrices[:, 1, 2] = self.size[0] / 2 + shift[1]
        matrices[:, 2, 2] = 1
        return matrices

    def extrinsics(self) -> np.ndarray:
        """(3, 4): from the world to the camera's own axes, x right, y down and z ahead."""
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        rotation = np.array([[1, 0, 0], [0, -cos, -sin], [0, sin, -cos]])
        offset = rotation @ np.array([0, -self.height, 0])
        return np.concatenate([rotation, offset[:, None]], axis=1)

    def project(self, points: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (T, ..., 3) at times in seconds: their pixels (T, ..., 2) and inverse depths (T,
        ...), which are 0 for what is too near or behind."""
        world = self.extrinsics()
        own = points @ world[:, :3].T + world[:, 3]
        is_seen = own[..., 2] > NEAREST
        inverse = 1 / np.where(is_seen, own[..., 2], 1)
        matrices = self.intrinsics(times).reshape(len(times), *[1] * (points.ndim - 2), 3, 3)
        focal, middle = matrices[..., 0, 0, None], matrices[..., :2, 2]
        return own[..., :2] * inverse[..., None] * focal + middle, np.where(is_seen, inverse, 0)

    def plane_inverse_depth(self, plane: np.ndarray, time: float) -> np.ndarray:
        """What a plane is in the picture at a time: (H, W), 0 or less where it isn't seen.

        plane: (4,), a x + b y + c z = d in the world.
        """
        world = self.extrinsics()
        normal = world[:, :3] @ plane[:3]  # in the camera's axes
        offset = plane[3] + normal @ world[:, 3]
        ((fx, _, cx), (_, fy, cy), _) = self.intrinsics(np.array([time]))[0]
        x = (np.arange(self.size[1]) + 0.5 - cx) / fx
        y = (np.arange(self.size[0]) + 0.5 - cy) / fy
        return (normal[0] * x + normal[1] * y[:, None] + normal[2]) / offset


def draw_camera(
    rng: np.random.Generator, size: tuple[int, int], frame_times: np.ndarray, tall: float
) -> Camera:
    """A random camera before a person `tall` metres high."""
    focal = size[1] / 2 / np.tan(np.radians(rng.uniform(*FIELDS)) / 2)
    height = float(rng.uniform(*HEIGHTS))
    shares = focal * tall / (size[0] * np.array(DISTANCES[::-1]))
    low, high = max(SHARES[0], shares[0]), min(SHARES[1], shares[1])
    distance = float(np.clip(focal * tall / (size[0] * rng.uniform(low, high)), *DISTANCES))
    # the person's middle stands near the picture's, a little below
    row = size[0] * rng.uniform(0.45, 0.65)
    pitch = np.arctan2(tall / 2 - height, distance) - np.arctan2(size[0] / 2 - row, focal)
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    shifts, zooms = _draw_hand(rng, kind, size, frame_times)
    return Camera(
        size, float(focal), height, distance, float(pitch), kind, frame_times, shifts, zooms
    )


def _draw_hand(
    rng: np.random.Generator, kind: str, size: tuple[int, int], times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (T, 2) in pixels and zooms (T,)."""
    shifts, zooms = np.zeros((len(times), 2)), np.ones(len(times))
    middle = times - times.mean()
    if kind == "moved":
        # a second's way, in shares of the picture
        speed = rng.uniform(-0.1, 0.1, 2) * np.array([1, 0.5])
        shifts = middle[:, None] * speed * size[1]
        zooms = 1 + rng.uniform(-0.1, 0.1) * middle
    elif kind == "shaken":
        noise = rng.normal(size=(len(times) + 24, 2))
        smooth, own = np.zeros(2), []
        for step in noise:
            smooth = 0.85 * smooth + np.sqrt(1 - 0.85**2) * step
            own.append(smooth)
        shifts = SHAKE * np.array(own[24:])
    return shifts, zooms
