"""A rendered clip to try things on: textured layers at several depths, a moving camera, moving
objects.

Axes: H W pixels of the picture, h w pixels of a layer's texture.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nunif.seed import generator_for

FPS = 30


@dataclass(frozen=True)
class Layer:
    """A flat cut-out. Its picture and opacity, where its middle is, and how it moves.

    disparity: 0 = infinitely far, 1 = near; the camera's way counts that much for it.
    position: of the middle, in widths and heights of the picture; speed: the same per second.
    """

    picture: np.ndarray  # (h, w, 3) float32, 0 to 255
    opacity: np.ndarray  # (h, w) float32, 0 to 1
    disparity: float
    position: tuple[float, float]
    speed: tuple[float, float] = (0.0, 0.0)
    bob: float = 0.0  # up and down, in heights


def render_scene(
    width: int, height: int, num_frames: int, *, seed: int = 71, walkers: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Render the clip. walkers: whether figures walk in it.

    Yields: the frame (H, W, 3) uint8 and its true disparity (H, W) float32 in [0, 1], 1 = near.
    """
    layers = make_layers(width, height, seed, walkers=walkers)
    for i in range(num_frames):
        yield render_frame(layers, (height, width), i / FPS)


def render_frame(
    layers: Sequence[Layer],
    size: tuple[int, int],
    t: float,
    *,
    parallax: float = 0.0,
    convergence: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """One picture and its disparity, as of `render_scene`.

    Args:
        size: (H, W). t: seconds. parallax: from another place beside: by so many widths of the
            picture what has a disparity of 1 more than `convergence` stands further to the right.
    """
    height, width = size
    camera = 0.03 * t + 0.01 * math.sin(0.9 * t), 0.004 * math.sin(1.3 * t)
    frame = np.zeros((height, width, 3), np.float32)
    disparity = np.zeros((height, width), np.float32)
    for layer in layers:
        x = layer.position[0] + layer.speed[0] * t - 3 * layer.disparity * camera[0]
        y = layer.position[1] + layer.speed[1] * t - 3 * layer.disparity * camera[1]
        x += parallax * (layer.disparity - convergence)
        y += layer.bob * abs(math.sin(3 * t))
        _paint(layer, (x * width, y * height), frame, disparity)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8), disparity


def _paint(
    layer: Layer, middle: tuple[float, float], frame: np.ndarray, disparity: np.ndarray
) -> None:
    """Lay a layer over the picture in place, its middle at (x, y) in fractions of a pixel too."""
    h, w = layer.opacity.shape
    x, y = middle[0] - w / 2, middle[1] - h / 2
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    right, bottom = (
        min(frame.shape[1], math.ceil(x + w) + 1),
        min(frame.shape[0], math.ceil(y + h) + 1),
    )
    if left >= right or top >= bottom:
        return
    part = slice(top, bottom), slice(left, right)
    to_part, size = (
        np.array([[1, 0, x - left], [0, 1, y - top]], np.float32),
        (right - left, bottom - top),
    )
    opacity = cv2.warpAffine(layer.opacity, to_part, size)
    picture = cv2.warpAffine(layer.picture, to_part, size, borderMode=cv2.BORDER_REFLECT)
    frame[part] += (picture - frame[part]) * opacity[..., None]
    disparity[part] += (layer.disparity - disparity[part]) * opacity


def make_layers(width: int, height: int, seed: int, *, walkers: bool = True) -> list[Layer]:
    """The scene, far layers first: sky and hills, houses, posts, and walkers if wanted."""
    rng = generator_for("sample-video", seed)
    wide = (height * 5 // 4, width * 2)
    layers = [Layer(_texture(rng, wide, detail=8), np.ones(wide, np.float32), 0.06, (0.75, 0.5))]
    house = (height // 2, width // 5)
    for i in range(9):
        windows = _windows(_texture(rng, house, detail=6), rng)
        layers.append(
            Layer(windows, _box(house), 0.28, (0.05 + 0.27 * i, 0.62 - 0.05 * rng.random()))
        )
    ground = (height // 3, width * 3)
    layers.append(
        Layer(_texture(rng, ground, detail=9), np.ones(ground, np.float32), 0.36, (1.0, 1.02))
    )
    for i in range(8):
        post = (int(height * 0.75), max(4, width // 28))
        layers.append(Layer(_texture(rng, post, detail=6), _box(post), 0.6, (0.15 + 0.42 * i, 0.6)))
    for i in range(6 if walkers else 0):
        walker = (int(height * 0.55), int(height * 0.2))
        direction = 1 if i % 2 else -1
        start = 0.2 + 0.35 * i, 0.66
        speed = direction * float(rng.uniform(0.03, 0.08)), 0.0
        layers.append(
            Layer(_texture(rng, walker, detail=6), _figure(walker), 0.82, start, speed, bob=0.008)
        )
    return layers


def _texture(rng: np.random.Generator, size: tuple[int, int], detail: int) -> np.ndarray:
    """Coloured noise of several scales around a random colour: (h, w, 3) float32."""
    height, width = size
    picture = np.broadcast_to(rng.uniform(60, 190, 3), (height, width, 3)).astype(np.float32)
    for octave in range(detail):
        cells = 2 ** (octave + 1)
        shape = (max(2, cells * height // max(size)), max(2, cells * width // max(size)), 3)
        noise = rng.normal(0, 30 * 0.85**octave, (*shape[:2], 1)) + rng.normal(
            0, 9 * 0.85**octave, shape
        )
        noise = noise.astype(np.float32)
        picture = picture + cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255)


def _windows(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay a grid of plain panes over a wall."""
    height, width = picture.shape[:2]
    step_y, step_x = max(2, height // 6), max(2, width // 5)
    for y in range(step_y // 3, height - step_y // 2, step_y):
        for x in range(step_x // 3, width - step_x // 2, step_x):
            picture[y : y + step_y // 2, x : x + step_x // 2] = rng.uniform(20, 235) + rng.uniform(
                -20, 20, 3
            )
    return picture


def _box(size: tuple[int, int]) -> np.ndarray:
    opacity = np.zeros(size, np.float32)
    opacity[1:-1, 1:-1] = 1
    return opacity


def _figure(size: tuple[int, int]) -> np.ndarray:
    """A standing figure: head, body, legs."""
    height, width = size
    canvas = np.zeros(size, np.uint8)
    cv2.circle(canvas, (width // 2, height // 8), height // 10, 255, -1, cv2.LINE_AA)
    cv2.ellipse(
        canvas,
        (width // 2, int(height * 0.42)),
        (width // 3, int(height * 0.25)),
        0,
        0,
        360,
        255,
        -1,
        cv2.LINE_AA,
    )
    for side in (-1, 1):
        foot = (width // 2 + side * width // 4, height - 2)
        cv2.line(
            canvas, (width // 2, int(height * 0.5)), foot, 255, max(2, width // 6), cv2.LINE_AA
        )
    return canvas.astype(np.float32) / 255
