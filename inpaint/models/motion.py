"""Motion between pictures that have holes, measured on what is seen and continued into what is not.

Pyramidal Lucas-Kanade (Lucas and Kanade 1981, Bouguet 2000). Everything is computed in float32, in
which alone positions are exact enough.

Axes: B batch, H W pixels, h w half as many (H and W are even). Pictures are in [-1, 1]. A motion is
    (B, 2, h, w), x before
y, in pixels of the whole picture: what stands at x in one picture stands at x + motion(x) in the
    other.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scene.masks import mean_of_squares, smooth_fill
from scene.metrics import LUMA

# Chosen on eight real clips with a moving hole, by the error of the recalled picture in the hole.
LEVELS, FINEST = 5, 1  # the motion is measured from 1/32 down to 1/2 of the picture's size
ITERATIONS, LARGEST_STEP = 2, 1.5  # of a level; pixels of the level
SQUARE = 4  # motion is taken as equal in squares of five times so many pixels of the level
DAMPING = 1e-2  # towards no change, as a share of the square's contrast, and of this contrast:
FAINT = 1e-2
UNLIKE = 0.05  # a difference of luma that halves a pixel's say
# A square with so much contrast across its weaker direction is half believed where motion is
# continued from what is around. Chosen on eleven other clips of 48 frames, flat around it; without
# it, plain walls make up motion of their own.
PLAIN = 1e-2
MOST_GAIN = 1.5  # of contrast, between pictures in other light
NEARLY_ALL = 0.98  # where so much of a sampled pixel is known, all of it is; see `known_after`


class Level(NamedTuple):
    """One size of a picture. luma: (B, 1, ., .). share: how much of each pixel is seen; whole: the
    same, shrunk by one pixel, as slopes need both sides. slopes: of the luma across and down."""

    luma: Tensor
    share: Tensor
    whole: Tensor
    slopes: tuple[Tensor, Tensor]


Pyramid = list[Level]


def pyramid(picture: Tensor, seen: Tensor) -> Pyramid:
    """A picture (B, 3, H, W), and how much of each pixel is seen (B, 1, H, W), from 1/2 down to
    1/32 of its size."""
    weights = torch.tensor(LUMA, dtype=picture.dtype, device=picture.device).view(1, 3, 1, 1)
    luma, levels = (picture * weights).sum(1, keepdim=True), []
    for _ in range(FINEST, LEVELS + 1):
        luma, seen = halve(luma, seen)
        levels.append(
            Level(luma, seen, ramp(-F.max_pool2d(-seen, 3, 1, 1), 0.5, 1.0), _slopes(luma))
        )
    return levels


def measure_motion(frame: Pyramid, other: Pyramid, start: Tensor | None = None) -> Tensor:
    """Where each pixel of a frame stands in another picture.

    Args: start: (B, 2, h, w), where the search begins; None for no motion.
    Returns: (B, 2, h, w). What is not seen in the frame, and what is plain, has the motion of what
        is around it; where nothing is known of the other picture it is `start`.
    """
    coarsest = frame[-1].luma
    if start is None:
        motion = torch.zeros_like(coarsest).repeat(1, 2, 1, 1)
    else:
        motion, whole = start / 2**LEVELS, torch.ones_like(start[:, :1])
        for _ in range(LEVELS - FINEST):
            motion, whole = halve(motion, whole)
    for i in reversed(range(len(frame))):
        if i < len(frame) - 1:
            motion = enlarge(motion, frame[i].luma) * 2
        motion, sure = _refine(motion, frame[i], other[i])
    return (
        smooth_fill(motion, 1 - ramp(frame[0].share, 0.25, 0.75) * enlarge(sure, motion))
        * 2**FINEST
    )


def _refine(motion: Tensor, frame: Level, other: Level) -> tuple[Tensor, Tensor]:
    """Lucas-Kanade steps on one level. Returns the motion in its pixels, and how far to believe
    each square's, 0 to 1."""
    b = torch.cat([other.luma, other.whole], 1)
    for _ in range(ITERATIONS):
        moved, counts = warp(b, motion).split(1, dim=1)
        moved = in_its_light(moved, frame.luma, ramp(counts, 0.5, 1.0) * frame.whole)
        b_x, b_y = _slopes(moved)
        x, y, change = (frame.slopes[0] + b_x) / 2, (frame.slopes[1] + b_y) / 2, moved - frame.luma
        weight = ramp(counts, 0.5, 1.0) * frame.whole * (UNLIKE**2 / (UNLIKE**2 + change.square()))
        weighted_x, weighted_y, weighted_change = x * weight, y * weight, change * weight
        sums = torch.cat(
            [
                weight,
                weighted_x,
                weighted_y,
                weighted_change,
                weighted_x * x,
                weighted_x * y,
                weighted_y * y,
                weighted_x * change,
                weighted_y * change,
            ],
            1,
        )
        total, x, y, all_change, xx, xy, yy, x_change, y_change = _mean_around(sums).split(1, dim=1)
        # a change that is the same all around is one of light, not of place: covariances instead of
        # sums
        x, y = x / total.clamp(min=1e-6), y / total.clamp(min=1e-6)
        x_change, y_change = x_change - x * all_change, y_change - y * all_change
        xx, xy, yy = xx - x * x * total, xy - x * y * total, yy - y * y * total
        # at least half of the smaller eigenvalue
        weaker = (xx * yy - xy * xy).clamp(min=0) / (xx + yy + 1e-9)
        damping = DAMPING * (xx + yy + FAINT)
        xx, yy = xx + damping, yy + damping
        step = torch.cat([xy * y_change - yy * x_change, xy * x_change - xx * y_change], 1) / (
            xx * yy - xy * xy
        )
        motion = motion + enlarge(step.clamp(-LARGEST_STEP, LARGEST_STEP), motion)
    return motion, weaker / (weaker + PLAIN)


def in_its_light(picture: Tensor, frame: Tensor, weight: Tensor) -> Tensor:
    """A picture as bright and as strong in contrast as a frame is, as a whole and where both are
    seen, channel by channel: a camera that adapts to who comes in would make up motion. (B, C, h,
    w) both, weight (B, 1, h, w)."""
    total = weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    means = [(x * weight).sum((2, 3), keepdim=True) / total for x in (picture, frame)]
    spreads = [
        ((x - mean).square() * weight).sum((2, 3), keepdim=True) / total + FAINT
        for x, mean in zip((picture, frame), means)
    ]
    gain = (spreads[1] / spreads[0]).sqrt().clamp(1 / MOST_GAIN, MOST_GAIN)
    return (picture - means[0]) * gain + means[1]


def follow(first: Tensor, then: Tensor) -> Tensor:
    """One motion after the other: first(x) + then(x + first(x)), all (B, ., h, w); of `then` the
    first two channels."""
    return first + warp(then[:, :2], first / 2**FINEST)


def turn_back(motion: Tensor, *, steps: int = 2) -> Tensor:
    """The motion of the other way, by fixed-point steps; right where the motion is smooth. (B, 2,
    h, w) both."""
    back = -motion
    for _ in range(steps):
        back = -warp(motion, back / 2**FINEST)
    return back


def warp(picture: Tensor, motion: Tensor) -> Tensor:
    """picture(x + motion(x)), bilinear, the border repeated: (B, C, H, W), (B, 2, H, W) -> (B, C,
    H, W)."""
    return _sample(picture, *_positions(motion))


def warp_inside(picture: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """`warp`, and (B, 1, H, W): 1 where the motion points into the picture, falling to 0 over the
    pixel outside it."""
    places = _positions(motion)
    return _sample(picture, *places), _within(*places)


def inside(motion: Tensor) -> Tensor:
    """The second of `warp_inside`."""
    return _within(*_positions(motion))


def _sample(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    grid = torch.stack([(x + 0.5) * (2 / width) - 1, (y + 0.5) * (2 / height) - 1], dim=-1)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _within(x: Tensor, y: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    outside = torch.maximum((-x).maximum(x - (width - 1)), (-y).maximum(y - (height - 1)))
    return 1 - outside.clamp(0, 1).unsqueeze(1)


def known_after(share: Tensor) -> Tensor:
    """How well a sampled pixel is known, whose neighbours are known by `share`.

    What is known stays known: near 1 the slope is 0, so that rounding is not handed on. (A ramp up
        to 1 doubles an error
    of 1e-7 at every frame: after 24 frames nothing was known any more.)
    """
    return ramp(share, 0.5, NEARLY_ALL)


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """0 up to `low`, 1 from `high` on, straight between."""
    return ((x - low) / (high - low)).clamp(0, 1)


def halve(picture: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean of 2x2 pixels, and the mean of their weights."""
    sums, weights = mean_of_squares(picture * weight, 2), mean_of_squares(weight, 2)
    return sums / weights.clamp(min=1e-6), weights


def enlarge(picture: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of `like`."""
    return F.interpolate(picture, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _positions(motion: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows that the motion points to, (B, H, W) each."""
    height, width = motion.shape[-2:]
    columns = torch.arange(width, dtype=motion.dtype, device=motion.device)
    rows = torch.arange(height, dtype=motion.dtype, device=motion.device)
    return motion[:, 0] + columns, motion[:, 1] + rows[:, None]


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along the rows and the columns."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across, along = padded[..., 1:-1, :], padded[..., :, 1:-1]
    return (across[..., 2:] - across[..., :-2]) / 2, (along[..., 2:, :] - along[..., :-2, :]) / 2


def _mean_around(x: Tensor) -> Tensor:
    """The mean over a square around each SQUARE-th pixel, (B, C, h, w) -> (B, C, h/SQUARE,
    w/SQUARE) rounded up."""
    return F.avg_pool2d(mean_of_squares(x, SQUARE), 5, 1, 2, count_include_pad=False)
