"""Holes that are made up: rectangles, free-form strokes and moving objects, for training and for
examinations.

Every function draws the holes of one clip. With `still` the mask is the same in all frames,
otherwise it moves along a smooth path; None leaves that to the draw, evenly. Sizes count in the
first frame; a shape turns back before half of it has left the picture.

Axes: T frames, H W pixels. Source of the kinds and shares: the training masks of video inpainting
    since Chang et al.,
Free-form Video Inpainting with 3D Gated Convolution and Temporal PatchGAN (ICCV 2019); strokes as
brushed lines with random turns after Yu et al., Free-Form Image Inpainting with Gated Convolution
(ICCV 2019).
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch

from inpaint.occlusion import drop_specks, hidden, shift_in_pixels

Shape = Callable[..., np.ndarray]  # (num_frames, size, rng, *, still=None) -> (T, H, W) bool

RECTANGLE_AREA = STROKES_AREA = (0.05, 0.20)  # of the picture
OBJECT_AREA = (0.04, 0.12)
SPEED = 0.025  # largest, in sides of the picture per frame
VISIT = (0.08, 0.20, 0.80, 0.92)  # of the frames: when a visitor comes, stands, goes and is gone
SWAY, BREATH = 2.0, 0.02  # of one that stands, to each side: pixels at most, and share of its width
OUTLINE_POINTS = 24
THINGS = 3  # beside which strips stand
STRIPS_DIVERGENCE, STRIPS_CONVERGENCE = (3.0, 12.0), 0.5  # as iw3 counts
STRIPS_TRIES = 4
MIN_SPECK = 16  # pixels


def rectangles(
    num_frames: int, size: tuple[int, int], rng: np.random.Generator, *, still: bool | None = None
) -> np.ndarray:
    """One rectangle of 5 to 20 % of the picture, with sides of up to 1 to 3: (T, H, W) bool."""
    height, width = size
    while True:
        area, aspect = (
            rng.uniform(*RECTANGLE_AREA),
            math.exp(rng.uniform(-math.log(3), math.log(3))),
        )
        high, wide = (round(math.sqrt(area * height * width * x)) for x in (aspect, 1 / aspect))
        if high <= height and wide <= width and _share(high * wide, size, RECTANGLE_AREA):
            break
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    mask = np.zeros(size, np.uint8)
    mask[top : top + high, left : left + wide] = 1
    return _carry(mask, num_frames, rng, still)


def strokes(
    num_frames: int, size: tuple[int, int], rng: np.random.Generator, *, still: bool | None = None
) -> np.ndarray:
    """Brush strokes with random turns, together 5 to 20 % of the picture: (T, H, W) bool."""
    wanted = rng.uniform(*STROKES_AREA)
    while True:
        mask = np.zeros(size, np.uint8)
        while mask.mean() < wanted:
            before = mask.copy()
            _brush(mask, rng)
        # the stroke that led past the limit is left out where the rest is enough
        for candidate in (mask, before):
            if _share(int(candidate.sum()), size, STROKES_AREA):
                return _carry(candidate, num_frames, rng, still)


def moving_shape(
    num_frames: int, size: tuple[int, int], rng: np.random.Generator, *, still: bool | None = None
) -> np.ndarray:
    """A blob or a standing figure of 4 to 12 % of the picture that walks, turns back and breathes:
    (T, H, W) bool."""
    outline = _figure(rng) if rng.random() < 0.5 else _blob(rng)  # (P, 2), x and y around 0
    still = _decide(still, rng)
    unit = math.sqrt(size[0] * size[1])
    while True:
        points = outline * unit * math.sqrt(rng.uniform(*OBJECT_AREA) / _polygon_area(outline))
        # of its width and height
        half = np.minimum(np.abs(points).max(axis=0), np.array([size[1], size[0]]) / 2)
        sides = np.array([size[1], size[0]], float)
        # wholly inside where it fits
        start = half + rng.uniform(0, 1, 2) * np.maximum(sides - 2 * half, 0)
        # its middle keeps a good quarter of its width from the edges
        low, high = np.minimum(half * 0.6, sides / 2), np.maximum(sides - half * 0.6, sides / 2)
        path = _path(num_frames, start, low, high, size, rng)
        first = _draw(points + path[0], size)
        if _share(int(first.sum()), size, OBJECT_AREA):
            break
    if still:
        return np.repeat(first[None] > 0, num_frames, axis=0)
    pace, phase = rng.uniform(0.1, 0.4), rng.uniform(0, 2 * math.pi)
    masks = [first]
    for t in range(1, num_frames):
        # it never grows beyond a tenth, and starts as it was drawn
        stretch = 1 + 0.1 * (math.sin(phase + pace * t) - math.sin(phase)) * np.array([1.0, -0.5])
        masks.append(_draw(points * stretch + path[t], size))
    return np.stack(masks) > 0


def strips(
    num_frames: int, size: tuple[int, int], rng: np.random.Generator, *, still: bool | None = None
) -> np.ndarray:
    """What another eye can't see beside made-up things, as records of `occlusion` have it: (T, H,
    W) bool.

    In pictures so small that no strip comes about in some tries, the first thing itself is missing.
    """
    still = _decide(still, rng)
    for _ in range(STRIPS_TRIES):
        things = [moving_shape(num_frames, size, rng, still=still) for _ in range(THINGS)]
        near = torch.from_numpy(np.mean(things, axis=0, dtype=np.float32))
        divergence = rng.uniform(*STRIPS_DIVERGENCE)
        shift = shift_in_pixels(
            near, divergence=divergence, convergence=STRIPS_CONVERGENCE, width=size[1]
        )
        holes = drop_specks(hidden(shift).numpy(), min_area=MIN_SPECK)
        if holes.any():
            return holes
    return things[0]


def visiting_shape(num_frames: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A blob or a figure that comes in from the left or right, stands for most of the clip and
    leaves: (T, H, W) bool.

    Nothing is missing in the first and the last 8 % of the frames. From 20 to 80 % it stands wholly
    inside, 4 to 12 % of the picture, breathes a little and sways by at most two pixels. For clips
    of 24 frames or more.
    """
    outline = _figure(rng) if rng.random() < 0.5 else _blob(rng)  # (P, 2), x and y around 0
    sides = np.array([size[1], size[0]], float)
    times = (np.arange(num_frames) + 0.5) / num_frames
    standing = (times >= VISIT[1]) & (times <= VISIT[2])
    # it slows down to stand
    away = (
        np.interp(times, VISIT[:2], (1, 0)) ** 2,
        np.interp(times, VISIT[2:], (0, 1)) ** 2,
    )
    from_left = rng.random(2) < 0.5  # as it comes, as it goes
    pace, phase = rng.uniform(0.1, 0.4, 2), rng.uniform(0, 2 * math.pi, 2)
    breath, sway = np.sin(np.arange(num_frames)[:, None] * pace + phase).T  # (T,) each
    sway *= rng.uniform(0.5, 1) * SWAY
    room = ((sides - 1) / 2 - SWAY - 1) / (1 + BREATH)  # for half of its width and height
    while True:
        points = outline * math.sqrt(
            rng.uniform(*OBJECT_AREA) * sides.prod() / _polygon_area(outline)
        )
        squeeze = np.minimum(room / np.abs(points).max(axis=0), 1)
        # what is too wide is made taller, and the other way round
        points *= squeeze / squeeze[::-1]
        half = np.abs(points).max(axis=0)
        # where it stands
        middle = (sides - 1) / 2 + rng.uniform(-1, 1, 2) * np.maximum(room - half, 0)
        outside = half[0] * (1 + BREATH) + SWAY + 1
        x = middle[0] + sway
        for share, left in zip(away, from_left):
            x += share * ((-outside if left else sides[0] - 1 + outside) - middle[0])
        path = np.stack([x, np.full(num_frames, middle[1])], axis=1)
        stretch = 1 + BREATH * breath[:, None] * np.array([1.0, -0.5])
        masks = np.stack([_draw(points * s + place, size) for s, place in zip(stretch, path)]) > 0
        if all(_share(int(mask.sum()), size, OBJECT_AREA) for mask in masks[standing]):
            return masks


SHAPES: dict[str, Shape] = {
    "rectangle": rectangles,
    "strokes": strokes,
    "object": moving_shape,
    "strips": strips,
}


def _share(pixels: int, size: tuple[int, int], limits: tuple[float, float]) -> bool:
    return limits[0] <= pixels / (size[0] * size[1]) <= limits[1]


def _decide(still: bool | None, rng: np.random.Generator) -> bool:
    # drawn in any case: what follows does not depend on the caller
    drawn = bool(rng.random() < 0.5)
    return drawn if still is None else still


def _carry(
    mask: np.ndarray, num_frames: int, rng: np.random.Generator, still: bool | None
) -> np.ndarray:
    """The mask in every frame, (T, H, W) bool, where it stands or shifted along a path of whole
    pixels."""
    if _decide(still, rng):
        return np.repeat(mask[None] > 0, num_frames, axis=0)
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    # so far that across each edge at most a quarter of the pixels leaves; the quarters may stand
    # anywhere, as of strokes
    quarter, three_quarters = np.quantile([columns, rows], [0.25, 0.75], axis=1)
    low, high = np.ceil(-quarter), np.floor([width - 1, height - 1] - three_quarters)
    path = _path(num_frames, np.zeros(2), low, high, (height, width), rng)
    masks = np.zeros((num_frames, height, width), bool)
    for t, (x, y) in enumerate(np.rint(path).astype(int)):
        moved_rows, moved_columns = rows + y, columns + x
        inside = (
            (moved_rows >= 0)
            & (moved_rows < height)
            & (moved_columns >= 0)
            & (moved_columns < width)
        )
        masks[t, moved_rows[inside], moved_columns[inside]] = True
    return masks


def _path(
    num_frames: int,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Places (T, 2), x and y, of a walk whose direction turns slowly, and which turns back at `low`
    and `high` (x, y)."""
    sides = np.array([size[1], size[0]], float)
    heading, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 1) * SPEED
    places, sign = [start], np.ones(2)
    for _ in range(num_frames - 1):
        heading += rng.normal(0, 0.15)
        step = sign * speed * sides * np.array([math.cos(heading), math.sin(heading)])
        sign = np.where((places[-1] + step < low) | (places[-1] + step > high), -sign, sign)
        places.append(np.clip(places[-1] + step, low, high))
    return np.stack(places)


def _brush(mask: np.ndarray, rng: np.random.Generator) -> None:
    """One stroke onto the mask, in place."""
    height, width = mask.shape
    short = min(height, width)
    thickness = max(1, round(rng.uniform(0.03, 0.1) * short))
    point = rng.uniform(0, 1, 2) * [width, height]
    angle = rng.uniform(0, 2 * math.pi)
    for _ in range(int(rng.integers(1, 5))):
        angle += rng.normal(0, 0.8)
        end = point + rng.uniform(0.05, 0.2) * short * np.array([math.cos(angle), math.sin(angle)])
        end = np.clip(end, 0, [width - 1, height - 1])
        cv2.line(mask, tuple(map(int, point)), tuple(map(int, end)), 1, thickness)
        point = end


def _blob(rng: np.random.Generator) -> np.ndarray:
    """A smooth closed outline around 0, (P, 2)."""
    angles = np.linspace(0, 2 * math.pi, OUTLINE_POINTS, endpoint=False)
    radius = np.ones(OUTLINE_POINTS)
    for wave in (2, 3, 4):
        radius += rng.uniform(0, 0.25 / wave * 2) * np.sin(
            wave * angles + rng.uniform(0, 2 * math.pi)
        )
    aspect = math.exp(rng.uniform(-0.6, 0.6))
    return np.stack([radius * np.cos(angles) * aspect, radius * np.sin(angles) / aspect], axis=1)


def _figure(rng: np.random.Generator) -> np.ndarray:
    """Roughly a standing person, (P, 2): head, shoulders, legs."""
    lean = rng.uniform(-0.1, 0.1)
    right = np.array(
        [
            [0.0, -1.0],
            [0.14, -0.96],
            [0.17, -0.84],
            [0.1, -0.72],
            [0.3, -0.6],
            [0.36, -0.1],
            [0.28, 0.1],
            [0.3, 1.0],
            [0.1, 1.0],
        ]
    )
    right[4:6, 0] *= rng.uniform(0.9, 1.5)
    left = right[::-1] * [-1, 1]
    outline = np.concatenate([right, [[0.0, 0.35]], left[:-1]])
    outline[:, 0] += lean * outline[:, 1]
    return outline


def _polygon_area(points: np.ndarray) -> float:
    x, y = points.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def _draw(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The polygon filled, (H, W) uint8."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return mask
