"""Motion between pictures that have holes, measured on what is seen and continued into what is not.

Pyramidal Lucas-Kanade (Lucas and Kanade 1981, Bouguet 2000). Everything is computed in float32, in
which alone positions are exact enough.

It is made of thousands of small operations, each of which costs a GPU the time to be told: what is
the same for a whole clip is worked out once (`Level`), planes that are treated alike lie in one
tensor, and pictures that are looked for at the same time are one batch.

Axes: B batch, H W pixels, h w half as many (H and W are even). Pictures are in [-1, 1]. A motion is
    (B, 2, h, w), x before y, in pixels of the whole picture: what stands at x in one picture stands
    at x + motion(x) in the other.
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


class Grid(NamedTuple):
    """The pixels of pictures of one size. centred: (h, w, 2), x before y, in pixels from the
    middle. base: the same as `grid_sample` counts, from -1 to 1; scale: (2,), from pixels to that.
    farthest: (2,), of the outermost pixels in `centred`."""

    centred: Tensor
    base: Tensor
    scale: Tensor
    farthest: Tensor


class Level(NamedTuple):
    """One size of a picture.

    source: (B, 2, ., .), what another picture's motion is measured to: luma, and 2 x - 1 of how far
        a pixel and all around it are seen, 0 to 1, as slopes need both sides.
    own: (B, 4, ., .), what its own motion is measured by: luma, how far pixel and surroundings are
        seen, and a quarter of the differences between the neighbours across and down.
    trusted: (B, 1, ., .), how far the motion is believed here, as pixels are seen or not.
    grid: its pixels. The last three are None of a picture that is only looked for.
    """

    source: Tensor
    own: Tensor | None = None
    trusted: Tensor | None = None
    grid: Grid | None = None

    def at(self, start: int, end: int) -> "Level":
        """Of some pictures of the batch alone what their own motion is measured by."""
        assert self.own is not None and self.trusted is not None
        own, trusted = self.own[start:end], self.trusted[start:end]
        return Level(self.source, own, trusted, self.grid)


Pyramid = list[Level]


def pyramid(picture: Tensor, seen: Tensor, *, only_looked_for: bool = False) -> Pyramid:
    """A picture (B, 3, H, W), and how much of each pixel is seen (B, 1, H, W), from 1/2 down to
    1/32 of its size."""
    red, green, blue = picture.split(1, dim=1)
    luma = (red * LUMA[0]).add(green, alpha=LUMA[1]).add(blue, alpha=LUMA[2])
    planes, levels = torch.cat([luma * seen, seen], 1), []
    for _ in range(FINEST, LEVELS + 1):
        planes = mean_of_squares(planes, 2)
        weighted, share = planes.split(1, dim=1)
        luma = weighted / share.clamp(min=1e-6)
        seen_around = -F.max_pool2d(-share, 3, 1, 1)
        whole = (seen_around * 2 - 1).clamp(0, 1)
        level = Level(torch.cat([luma, whole * 2 - 1], 1))
        if not only_looked_for:
            own = torch.cat([luma, whole, _differences(luma) * 0.25], 1)
            level = Level(level.source, own, ramp(share, 0.25, 0.75), grid_of(luma))
        levels.append(level)
    return levels


def measure_motion(frame: Pyramid, other: Pyramid, start: Tensor | None = None) -> Tensor:
    """Where each pixel of a frame stands in another picture.

    Args: start: (B, 2, h, w), where the search begins; None for no motion.
    Returns: (B, 2, h, w). What is not seen in the frame, and what is plain, has the motion of what
        is around it; where nothing is known of the other picture it is `start`.
    """
    if start is None:
        motion = torch.zeros_like(other[-1].source)
    else:
        # squares that reach past the picture's edge are of what lies in it
        planes = torch.cat([start / 2**LEVELS, torch.ones_like(start[:, :1])], 1)
        for _ in range(LEVELS - FINEST):
            planes = mean_of_squares(planes, 2)
        motion, whole = planes.split([2, 1], dim=1)
        motion = motion / whole.clamp(min=1e-6)
    for i in reversed(range(len(frame))):
        if i < len(frame) - 1:
            motion = enlarge(motion, frame[i].source) * 2
        motion, sums = _refine(motion, frame[i], other[i].source)
    sure, trusted = enlarge(_sure(*sums), motion), frame[0].trusted
    assert trusted is not None
    return smooth_fill(motion, 1 - trusted * sure) * 2**FINEST


def _refine(motion: Tensor, frame: Level, source: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Lucas-Kanade steps on one level. Returns the motion in its pixels, and of the last step's
    squares the covariances of their slopes: (B, 2, ., .) with themselves and (B, 1, ., .) across
    with down."""
    assert frame.own is not None and frame.grid is not None
    luma, whole, slopes = frame.own.split([1, 1, 2], dim=1)
    one = torch.ones_like(luma[:1, :, :1, :1])
    for _ in range(ITERATIONS):
        moved, counts = _sample(source, _places(motion, frame.grid)).split(1, dim=1)
        counts = counts.clamp(0, 1) * whole
        moved = in_its_light(moved, luma, counts)
        both, change = torch.add(slopes, _differences(moved), alpha=0.25), moved - luma
        weight = counts / torch.addcmul(one, change, change, value=UNLIKE**-2)
        weighted = both * weight
        planes = [
            weight,
            weighted,
            change * weight,
            weighted * both,
            weighted[:, :1] * both[:, 1:],
            weighted * change,
        ]
        sums = _mean_around(torch.cat(planes, 1)).split([1, 2, 1, 2, 1, 2], dim=1)
        total, first, all_change, squares, across, changes = sums
        # a change that is the same all around is one of light, not of place: covariances instead of
        # sums
        mean = first / total.clamp(min=1e-6)
        changes = torch.addcmul(changes, mean, all_change, value=-1)
        squares = torch.addcmul(squares, mean, first, value=-1)
        across = torch.addcmul(across, mean[:, :1], first[:, 1:], value=-1)
        contrast = squares.sum(1, keepdim=True)
        damped = torch.add(squares, contrast, alpha=DAMPING) + DAMPING * FAINT
        step = torch.addcmul(across * changes.flip(1), damped.flip(1), changes, value=-1)
        step = step / torch.addcmul(damped.prod(1, keepdim=True), across, across, value=-1)
        motion = motion + enlarge(step.clamp(-LARGEST_STEP, LARGEST_STEP), motion)
    return motion, (squares, across)


def _sure(squares: Tensor, across: Tensor) -> Tensor:
    """How far to believe each square's motion, 0 to 1, by the covariances of its slopes."""
    # at least half of the smaller eigenvalue
    weaker = torch.addcmul(squares.prod(1, keepdim=True), across, across, value=-1).clamp(min=0)
    weaker = weaker / (squares.sum(1, keepdim=True) + 1e-9)
    return weaker / (weaker + PLAIN)


def in_its_light(picture: Tensor, frame: Tensor, weight: Tensor) -> Tensor:
    """A picture as bright and as strong in contrast as a frame is, as a whole and where both are
    seen, channel by channel: a camera that adapts to who comes in would make up motion. (B, C, h,
    w) both, weight (B, 1, h, w)."""
    channels = [picture.shape[1], frame.shape[1]]
    both, total = torch.cat([picture, frame], 1), weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    means = (both * weight).sum((2, 3), keepdim=True) / total
    centred = both - means
    spreads = (centred.square() * weight).sum((2, 3), keepdim=True) / total + FAINT
    (spread, wanted_spread), (_, wanted) = (x.split(channels, dim=1) for x in (spreads, means))
    gain = (wanted_spread / spread).sqrt().clamp(1 / MOST_GAIN, MOST_GAIN)
    return torch.addcmul(wanted, centred[:, : channels[0]], gain)


def follow(first: Tensor, then: Tensor, grid: Grid) -> Tensor:
    """One motion after the other: first(x) + then(x + first(x)), all (B, ., h, w); of `then` the
    first two channels. grid: of h x w."""
    return first + _sample(then[:, :2], _places(first, grid, share=0.5**FINEST))


def turn_back(motion: Tensor, grid: Grid, *, steps: int = 2) -> Tensor:
    """The motion of the other way, by fixed-point steps; right where the motion is smooth. (B, 2,
    h, w) both. grid: of h x w."""
    ahead = motion
    for _ in range(steps):
        ahead = _sample(motion, _places(ahead, grid, share=-(0.5**FINEST)))
    return -ahead


def warp(picture: Tensor, motion: Tensor) -> Tensor:
    """picture(x + motion(x)), bilinear, the border repeated: (B, C, H, W), (B, 2, H, W) -> (B, C,
    H, W)."""
    return _sample(picture, _places(motion, grid_of(motion)))


def warp_inside(picture: Tensor, motion: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """`warp`, and (B, 1, H, W): 1 where the motion points into the picture, falling to 0 over the
    pixel outside it. grid: of H x W."""
    centred = motion.permute(0, 2, 3, 1) + grid.centred
    return _sample(picture, centred * grid.scale), _within(centred, grid)


def inside(motion: Tensor, grid: Grid) -> Tensor:
    """The second of `warp_inside`."""
    return _within(motion.permute(0, 2, 3, 1) + grid.centred, grid)


def grid_of(like: Tensor) -> Grid:
    """The pixels of pictures of that height and width, (., ., h, w)."""
    height, width = like.shape[-2:]
    lines, middles = [], []
    for side in (width, height):
        line = torch.arange(side, dtype=like.dtype, device=like.device)
        middle = line[-1:] / 2
        lines.append(line - middle)
        middles.append(middle)
    rows = lines[1][:, None].expand(height, width)
    centred = torch.stack([lines[0].expand(height, width), rows], dim=-1)
    farthest = torch.cat(middles)
    scale = 1 / (farthest + 0.5)
    return Grid(centred, centred * scale, scale, farthest)


def _places(motion: Tensor, grid: Grid, *, share: float = 1.0) -> Tensor:
    """Where a share of the motion points to, as `grid_sample` counts: (B, 2, h, w) -> (B, h, w,
    2)."""
    return torch.addcmul(grid.base, motion.permute(0, 2, 3, 1), grid.scale, value=share)


def _sample(picture: Tensor, places: Tensor) -> Tensor:
    return F.grid_sample(
        picture, places, mode="bilinear", padding_mode="border", align_corners=False
    )


def _within(centred: Tensor, grid: Grid) -> Tensor:
    """(B, h, w, 2) pixels from the middle -> (B, 1, h, w)."""
    outside = (centred.abs() - grid.farthest).amax(-1)
    return 1 - outside.clamp(0, 1).unsqueeze(1)


def known_after(share: Tensor) -> Tensor:
    """How well a sampled pixel is known, whose neighbours are known by `share`.

    What is known stays known: near 1 the slope is 0, so that rounding is not handed on. (A ramp up
    to 1 doubles an error of 1e-7 at every frame: after 24 frames nothing was known any more.)
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


def _differences(x: Tensor) -> Tensor:
    """Between a pixel's neighbours across, and between those up and down: (B, 1, h, w) -> (B, 2, h,
    w)."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across, along = padded[..., 1:-1, :], padded[..., :, 1:-1]
    return torch.cat(
        [across[..., 2:] - across[..., :-2], along[..., 2:, :] - along[..., :-2, :]], 1
    )


def _mean_around(x: Tensor) -> Tensor:
    """The mean over a square around each SQUARE-th pixel, (B, C, h, w) -> (B, C, h/SQUARE,
    w/SQUARE) rounded up."""
    return F.avg_pool2d(mean_of_squares(x, SQUARE), 5, 1, 2, count_include_pad=False)
