"""A picture memory: what stood in the hole before it became a hole, moved to where it is now.

The canvas keeps the last seen colour of every place of the picture. From frame to frame it follows the picture's motion,
which is measured on what is seen (pyramidal Lucas-Kanade: Lucas and Kanade 1981, Bouguet 2000) and continued into the
hole. There are no weights in it: what the network makes of the recalled picture is learned, the recalling is not.

Everything is continuous in its inputs (ramps instead of thresholds), so that engines that round otherwise give the same
picture, and computed in float32, in which alone positions are exact enough.

Axes: B batch, H W pixels. Pictures are in [-1, 1], motion in pixels (x, y).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.masks import mean_of_squares, smooth_fill
from inpaint.metrics import LUMA

# Chosen on eight real clips with a moving hole, by the error of the recalled picture in the hole.
LEVELS, FINEST = 5, 1  # the motion is measured from 1/32 down to 1/2 of the picture's size
ITERATIONS, LARGEST_STEP = 2, 1.5  # of a level; pixels of the level
SQUARE = 4  # motion is taken as equal in squares of five times so many pixels of the level
DAMPING = 1e-2  # towards no change, as a share of the square's contrast, and of this contrast:
FAINT = 1e-2
UNLIKE = 0.05  # a difference of luma that halves a pixel's say
ALMOST_UNKNOWN = 1e-3  # what is less known has no colour
MEMBRANE = 0.5  # how much of the difference around the hole is carried into it


@dataclass(frozen=True)
class Recalled:
    """What is known of a frame.

    canvas: (B, 4, H, W), how well each pixel is known, 0 to 1, behind the colours times that.
    picture: (B, 3, H, W), the frame, in the hole what is remembered, and a smooth fill where nothing is.
    doubt: (B, 1, H, W), how much memory and frame differ around the hole, carried into it; 0 where nothing is remembered.
    """

    canvas: Tensor
    picture: Tensor
    doubt: Tensor

    @property
    def known(self) -> Tensor:
        return self.canvas[:, 3:]


def recall(seen: Tensor, hole: Tensor, canvas: Tensor) -> Recalled:
    """Fill a frame's hole with what the canvas remembers, and bring the canvas up to date.

    Args:
        seen: (B, 3, H, W), the frame, 0 in the hole. hole: (B, 1, H, W), 1 = missing.
        canvas: of the frame before; all 0 where nothing is known, as at the start of a stream.
    """
    visible = 1 - hole
    motion = measure_motion(seen, visible, canvas[:, :3] / canvas[:, 3:].clamp(min=ALMOST_UNKNOWN), canvas[:, 3:])
    moved = warp(canvas, motion)
    colour = moved[:, :3] / moved[:, 3:].clamp(min=ALMOST_UNKNOWN)
    known = ramp(moved[:, 3:], 0.5, 1.0) * _inside(motion)
    # carried into the hole, the difference at its edge takes away changes of light and what the motion got wrong
    difference = seen - colour
    difference = torch.cat([difference, difference.abs().mean(1, keepdim=True)], dim=1)
    difference, seen_before = _halve(difference, visible * known)
    difference = _enlarge(smooth_fill(difference, 1 - ramp(seen_before, 0, 0.5)), hole)
    colour = (colour + MEMBRANE * difference[:, :3]).clamp(-1, 1)
    colour, known = torch.where(hole > 0, colour, seen), torch.where(hole > 0, known, visible)
    picture = torch.lerp(smooth_fill(colour, 1 - known), colour, known)
    return Recalled(torch.cat([colour * known, known], dim=1), picture, difference[:, 3:] * hole * known)


def measure_motion(frame: Tensor, visible: Tensor, canvas: Tensor, known: Tensor) -> Tensor:
    """Where each pixel of a frame stands in the canvas: frame(x) = canvas(x + motion(x)).

    Args: frame, canvas: (B, 3, H, W). visible, known: (B, 1, H, W), how much each of their pixels counts, 0 to 1.
    Returns: (B, 2, H, W). Where nothing is visible it is the continued motion around, where nothing is known 0.
    """
    weights = torch.tensor(LUMA, dtype=frame.dtype, device=frame.device).view(1, 3, 1, 1)
    luma = [(picture * weights).sum(1, keepdim=True) for picture in (frame, canvas)]
    levels = [(luma[0], visible, luma[1], known)]
    for _ in range(LEVELS):
        a, visible, b, known = levels[-1]
        levels.append((*_halve(a, visible), *_halve(b, known)))
    motion = torch.zeros_like(levels[-1][0]).repeat(1, 2, 1, 1)
    for level in range(LEVELS, FINEST - 1, -1):
        a, visible, b, known = levels[level]
        if level < LEVELS:
            motion = _enlarge(motion, a) * 2
        motion = _refine(motion, a, visible, b, known)
    motion = smooth_fill(motion, 1 - ramp(visible, 0.25, 0.75))
    return _enlarge(motion, frame) * 2**FINEST


def _refine(motion: Tensor, a: Tensor, visible: Tensor, b: Tensor, known: Tensor) -> Tensor:
    """Lucas-Kanade steps on one level: a, b (B, 1, h, w) and how much their pixels count."""
    visible, known = (ramp(-F.max_pool2d(-x, 3, 1, 1), 0.5, 1.0) for x in (visible, known))  # slopes need both sides
    a_x, a_y = _slopes(a)
    for _ in range(ITERATIONS):
        moved, counts = warp(torch.cat([b, known], 1), motion).split(1, dim=1)
        b_x, b_y = _slopes(moved)
        x, y, change = (a_x + b_x) / 2, (a_y + b_y) / 2, moved - a
        weight = ramp(counts, 0.5, 1.0) * visible * (UNLIKE**2 / (UNLIKE**2 + change.square()))
        one = torch.ones_like(x)
        sums = torch.cat([one, x, y, change, x * x, x * y, y * y, x * change, y * change], 1) * weight
        total, x, y, all_change, xx, xy, yy, x_change, y_change = _mean_around(sums).split(1, dim=1)
        # a change that is the same all around is one of light, not of place: covariances instead of sums
        x, y = x / total.clamp(min=1e-6), y / total.clamp(min=1e-6)
        x_change, y_change = x_change - x * all_change, y_change - y * all_change
        xx, xy, yy = xx - x * x * total, xy - x * y * total, yy - y * y * total
        damping = DAMPING * (xx + yy + FAINT)
        xx, yy = xx + damping, yy + damping
        step = torch.cat([xy * y_change - yy * x_change, xy * x_change - xx * y_change], 1) / (xx * yy - xy * xy)
        motion = motion + _enlarge(step.clamp(-LARGEST_STEP, LARGEST_STEP), motion)
    return motion


def warp(picture: Tensor, motion: Tensor) -> Tensor:
    """picture(x + motion(x)), bilinear, the border repeated: (B, C, H, W), (B, 2, H, W) -> (B, C, H, W)."""
    height, width = picture.shape[-2:]
    x, y = _positions(motion)
    grid = torch.stack([(x + 0.5) * (2 / width) - 1, (y + 0.5) * (2 / height) - 1], dim=-1)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """0 up to `low`, 1 from `high` on, straight between."""
    return ((x - low) / (high - low)).clamp(0, 1)


def pack(canvas: Tensor, cell: int, length: int) -> Tensor:
    """The canvas as (B, N, length) numbers, one row for each cell of `cell` pixels, zeros behind them."""
    rows = F.pixel_unshuffle(canvas, cell).flatten(2).transpose(1, 2)  # (B, N, 4 * cell * cell)
    return F.pad(rows, (0, length - rows.shape[2]))


def unpack(rows: Tensor, cell: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `pack`; grid: cells in height and width."""
    return F.pixel_shuffle(rows[:, :, : 4 * cell * cell].transpose(1, 2).unflatten(2, grid), cell)


def _positions(motion: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows that the motion points to, (B, H, W) each."""
    height, width = motion.shape[-2:]
    columns = torch.arange(width, dtype=motion.dtype, device=motion.device)
    rows = torch.arange(height, dtype=motion.dtype, device=motion.device)
    return motion[:, 0] + columns, motion[:, 1] + rows[:, None]


def _inside(motion: Tensor) -> Tensor:
    """(B, 1, H, W): 1 where the motion points into the picture, falling to 0 over the pixel outside it."""
    height, width = motion.shape[-2:]
    x, y = _positions(motion)
    outside = torch.maximum((-x).maximum(x - (width - 1)), (-y).maximum(y - (height - 1)))
    return 1 - outside.clamp(0, 1).unsqueeze(1)


def _halve(picture: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean of 2x2 pixels, and the mean of their weights."""
    sums, weights = mean_of_squares(picture * weight, 2), mean_of_squares(weight, 2)
    return sums / weights.clamp(min=1e-6), weights


def _enlarge(motion: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(motion, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along the rows and the columns."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across, along = padded[..., 1:-1, :], padded[..., :, 1:-1]
    return (across[..., 2:] - across[..., :-2]) / 2, (along[..., 2:, :] - along[..., :-2, :]) / 2


def _mean_around(x: Tensor) -> Tensor:
    """The mean over a square around each SQUARE-th pixel, (B, C, h, w) -> (B, C, h/SQUARE, w/SQUARE) rounded up."""
    return F.avg_pool2d(mean_of_squares(x, SQUARE), 5, 1, 2, count_include_pad=False)
