"""Bringing disparity maps to [0, 1]: a clip as a whole with pure functions, a film frame by frame
with a class.

Axes: T frames, h w pixels of the disparity map.
"""

import math

import torch
import torch.nn.functional as F

FIT_STEP = 8  # the affine fit reads every eighth pixel of a box-averaged map
FIT_ROUNDS = 10
# from one frame to the next; more is no jitter, and a chain of wild fits would run away
SCALE_BOUNDS = (
    0.5,
    2.0,
)
NETWORK_PERCENTILES = (0.005, 0.995)
FLOW_PERCENTILES = (0.02, 0.98)
QUANTILE_PIXELS = 1 << 20  # enough to tell a percentile; torch.quantile refuses more than 16M


def affine_chain(disparity: torch.Tensor) -> torch.Tensor:
    """Normalise a clip as a whole, after undoing each frame's own scale and offset.

    A depth network's output is known up to a scale and an offset that jitter from frame to frame.
    Frame t is fitted to the aligned frame t - 1 (iteratively reweighted least squares, so that what
    moves or enters has no say), then the whole clip is clipped to its 0.5th to 99.5th percentile.

    Args:
        disparity: (T, h, w) float, big = near, any scale.

    Returns:
        (T, h, w) float32 in [0, 1]; zeros for a constant clip.
    """
    disparity = disparity.float()
    small = _shrink(disparity)  # (T, pixels)
    clip, previous = torch.empty_like(disparity), small[0]
    clip[0] = disparity[0]
    for t in range(1, len(disparity)):
        scale, offset = fit_affine(small[t], previous)
        previous = small[t] * scale + offset
        torch.mul(disparity[t], scale, out=clip[t]).add_(offset)
    return _stretch(clip, *_percentiles(clip.flatten(), *NETWORK_PERCENTILES))


def fit_affine(source: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """Scale and offset that take `source` to `target`, both (pixels,), found with Cauchy weights.

    The scale stays within SCALE_BOUNDS; a flat source gets scale 1.
    """
    # least squares would lean towards what enters
    scale, offset = (
        1.0,
        float((target - source).median()),
    )
    for _ in range(FIT_ROUNDS):
        error = (source * scale + offset - target).abs()
        width = 1.4826 * error.median() + 1e-6 * target.abs().max() + 1e-12
        weight = 1 / (1 + (error / width).square())
        total = weight.sum()
        source_mean, target_mean = (weight * source).sum() / total, (weight * target).sum() / total
        spread = (weight * (source - source_mean).square()).sum() / total
        together = (weight * (source - source_mean) * (target - target_mean)).sum() / total
        if spread > 1e-12:
            scale = float((together / spread).clamp(*SCALE_BOUNDS))
        offset = float(target_mean - scale * source_mean)
    return scale, offset


def fit_affine_both_ways(source: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """As `fit_affine`, with the middle of the fits there and back.

    Noise in what is fitted makes a least-squares scale too small (regression dilution). Over one
    clip that is nothing, in a chain of thousands of fits it adds up; the fit back is too small by
    as much.
    """
    there, _ = fit_affine(source, target)
    back, _ = fit_affine(target, source)
    scale = math.sqrt(there / back)
    return scale, float((target - scale * source).median())


class MovingNormalizer:
    """Normalise a film's disparity frame by frame, looking only back; memory and time per frame are
    constant.

    A frame's low and high percentile are averaged with those of the `window` frames up to it, and
    the averages become 0 and 1. At the start of a shot the first frame stands for those before it,
    so one frame never has more than its share in the bounds and what enters the picture squeezes
    the rest slowly.

    Where scale and offset jitter from frame to frame, each frame is first fitted to the one before
    (see `affine_chain`). The fits chain up, so their errors would too; the space that they lead to
    is therefore moved onto the window's bounds with every frame, and what a shot looked like longer
    ago than the window has no say.
    """

    def __init__(self, *, window: int, scale_jitters: bool, least_span: float = 0.0) -> None:
        """window: frames, 1 or more. The others are as with `scene.depth.DepthEstimator`."""
        self._window = window
        self._scale_jitters = scale_jitters
        self._least_span = least_span
        self._percentiles = NETWORK_PERCENTILES if scale_jitters else FLOW_PERCENTILES
        self.reset()

    def reset(self) -> None:
        """Forget all frames: a new shot starts."""
        self._scale, self._offset = 1.0, 0.0  # from the last frame's raw values to its result
        # (window, 2) float64, of each frame, in the space of the results
        self._bounds: torch.Tensor | None = None
        # (pixels,) float64, the last result, small and not clipped
        self._previous: torch.Tensor | None = None

    def __call__(self, disparity: torch.Tensor) -> torch.Tensor:
        """(h, w) float, big = near -> (h, w) float32 in [0, 1]; zeros for a constant map, which
        leaves no trace."""
        disparity = disparity.float()
        low, high = _percentiles(disparity.flatten(), *self._percentiles)
        if not _usable(low, high):
            return torch.zeros_like(disparity)
        small = _shrink(disparity[None])[0]  # (pixels,)
        scale, offset = self._scale, self._offset
        if self._scale_jitters and self._previous is not None:
            more_scale, more_offset = fit_affine_both_ways(small * scale + offset, self._previous)
            scale, offset = scale * more_scale, offset * more_scale + more_offset
        bounds = (
            torch.stack([low, torch.maximum(high, low + self._least_span)]).double() * scale
            + offset
        )  # (2,)
        earlier = bounds.expand(self._window, 2) if self._bounds is None else self._bounds
        window = torch.cat([earlier[1:], bounds[None]])  # (window, 2)
        floor, ceiling = window.mean(0).tolist()
        span = ceiling - floor
        self._scale, self._offset = scale / span, (offset - floor) / span
        self._bounds = (window - floor) / span
        self._previous = small * self._scale + self._offset
        return (disparity * self._scale + self._offset).clamp(0, 1)


def per_frame_minmax(disparity: torch.Tensor) -> torch.Tensor:
    """Each frame's minimum to 0 and maximum to 1, as iw3's generator does. (T, h, w) -> (T, h, w)
    in [0, 1]."""
    disparity = disparity.float()
    flat = disparity.flatten(1)
    return _stretch(disparity, flat.amin(1)[:, None, None], flat.amax(1)[:, None, None])


def smoothed_percentiles(disparity: torch.Tensor) -> torch.Tensor:
    """Each frame's 2nd percentile to 0 and 98th to 1, both smoothed over time.

    For disparity whose scale follows the speed of what moves; the best of the compared ways for
    flow.

    Args:
        disparity: (T, h, w) float, big = near.

    Returns:
        (T, h, w) float32 in [0, 1]; zeros for a constant clip.
    """
    disparity = disparity.float()
    bounds = torch.stack(
        [torch.stack(_percentiles(frame.flatten(), *FLOW_PERCENTILES)) for frame in disparity]
    )  # (T, 2)
    kernel = bounds.new_tensor([1.0, 2.0, 3.0, 2.0, 1.0])
    padded = F.pad(bounds.T[:, None], (2, 2))  # (2, 1, T + 4)
    inside = F.pad(torch.ones_like(bounds.T[:1, None]), (2, 2))
    smooth = F.conv1d(padded, kernel[None, None]) / F.conv1d(
        inside, kernel[None, None]
    )  # (2, 1, T)
    return _stretch(disparity, smooth[0, 0][:, None, None], smooth[1, 0][:, None, None])


def _shrink(disparity: torch.Tensor) -> torch.Tensor:
    """What a fit looks at: (T, h, w) -> (T, pixels) float64."""
    height, width = (max(1, side // FIT_STEP) for side in disparity.shape[1:])
    return F.adaptive_avg_pool2d(disparity[:, None], (height, width)).flatten(1).double()


def _percentiles(
    values: torch.Tensor, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two quantiles of a flat tensor, from a regular sample of it where it is large."""
    sample = values[:: max(1, len(values) // QUANTILE_PIXELS)]
    found = torch.quantile(sample, sample.new_tensor([low, high]))
    return found[0], found[1]


def _stretch(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Take low to 0 and high to 1 and clip; zeros where the two are the same but for rounding.

    values: (T, h, w). low, high: of all frames, or (T, 1, 1).
    """
    result = torch.zeros_like(values)
    lows, highs = (bound.expand(len(values), 1, 1) for bound in (low, high))
    for frame, stretched, floor, ceiling in zip(values, result, lows, highs, strict=True):
        if _usable(
            floor, ceiling
        ):  # frame by frame, in its place: large tensors are fetched from the system anew
            torch.sub(frame, floor, out=stretched).div_(ceiling - floor).clamp_(0, 1)
    return result


def _usable(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Whether two bounds differ by more than rounding."""
    return high - low > 1e-5 * torch.maximum(high.abs(), low.abs())
