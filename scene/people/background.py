"""What is behind people: a window of a film, a still that moves, and how far it all is.

Axes: T frames, H W pixels of the record.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from scene.people.camera import Camera

MAX_ZOOM = 1.4  # of the largest window that fits
MAX_STILL_ZOOM = 1.6


@dataclass(frozen=True)
class Window:
    """A part of a film's frames, in pixels of the film; mirrored or not."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def draw_window(
    rng: np.random.Generator, film_size: tuple[int, int], size: tuple[int, int]
) -> Window:
    """A window of the aspect of `size` at a random place, both (height, width)."""
    scale = min(film_size[0] / size[0], film_size[1] / size[1]) / rng.uniform(1, MAX_ZOOM)
    sides = (int(np.clip(round(size[i] * scale), 1, film_size[i])) for i in range(2))
    height, width = sides
    top = int(rng.integers(film_size[0] - height + 1))
    left = int(rng.integers(film_size[1] - width + 1))
    return Window(top, left, height, width, bool(rng.random() < 0.5))


def cut(frame: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """The window of a frame (.., .., 3) uint8 at the size (H, W)."""
    part = frame[window.top : window.top + window.height, window.left : window.left + window.width]
    how = cv2.INTER_AREA if size[0] < window.height else cv2.INTER_CUBIC
    picture = cv2.resize(part, size[::-1], interpolation=how)
    return np.ascontiguousarray(picture[:, ::-1]) if window.mirrored else picture


def move_still(
    rng: np.random.Generator, picture: np.ndarray, size: tuple[int, int], num_frames: int
) -> np.ndarray:
    """A slow way of a camera over a picture (.., .., 3) uint8: (T, H, W, 3)."""
    fit = min(picture.shape[0] / size[0], picture.shape[1] / size[1])
    if fit > 1:
        # first to what the widest view needs, so that no detail is lost or flickers
        way = MAX_STILL_ZOOM / fit
        if way < 1:
            picture = cv2.resize(picture, None, fx=way, fy=way, interpolation=cv2.INTER_AREA)
    room = np.array(picture.shape[1::-1], float)
    fit = min(room / np.array(size[::-1]))
    # a short part of a way from one view to another
    scales = fit / rng.uniform(1.1, MAX_STILL_ZOOM, 2)
    ends = rng.uniform(0, 1, (2, 2))
    share = min(1.0, num_frames / 120)
    frames = []
    for at in np.linspace(0, share, num_frames):
        scale = scales[0] + at * (scales[1] - scales[0])
        corner = (ends[0] + at * (ends[1] - ends[0])) * (room - scale * np.array(size[::-1]))
        matrix = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        frames.append(
            cv2.warpAffine(
                picture,
                matrix,
                size[::-1],
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )
    return np.stack(frames)


def room_depth(camera: Camera, wall: float, time: float) -> np.ndarray:
    """A floor and a wall `wall` metres from the camera, as inverse depth in 1/m: (H, W)."""
    floor = camera.plane_inverse_depth(np.array([0.0, 1.0, 0.0, 0.0]), time)
    behind = camera.plane_inverse_depth(np.array([0.0, 0.0, 1.0, -wall]), time)
    return np.maximum(floor, np.maximum(behind, 0.2 / wall))
