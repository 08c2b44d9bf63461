"""Motion parallax: relative nearness from optical flow, without any download.

What moves against the background counts as near. That is a cue, not depth: it tells moving objects
and things close to a moving camera from what lies behind them, and nothing else. `MotionParallax`
therefore refuses the clips on which the cue can't work (`ClipRejected`) and is only ever used when
asked for by name.

Axes: T frames, H W pixels of the source, h w pixels of the working size (448 on the long side).
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch

from scene.depth_models import ClipRejected
from scene.depth_normalize import smoothed_percentiles

LONG_SIDE = 448  # half the cost of 640, and masks of the same quality (measured on 33 clips)
SCALE = LONG_SIDE / 640  # lengths were found at 640 px

# Gate. The first three were found on 33 clips labelled by hand: there static scenes reached
# 0.04-0.6 px, all moving ones 1.8 px and more. A foreground that fills the picture is taken for the
# background, and leaves the border to the rest: on 45 windows of 19 clips, maps inverted in whole
# or in part had 0.07-0.447 there, good ones 0.418 (one, over bare asphalt) or 0.455 and more.
MIN_PARALLAX = 1.5 * SCALE  # px over the baseline, 98th percentile of the filtered residual
MIN_CONSISTENT = 0.60  # part of the pixels whose flow there and back returns to its start
MIN_INLIERS = 0.15  # part of the grid that follows the background's homography
MIN_BORDER_INLIERS = 0.45  # the same along the picture's border
BORDER = 0.12  # of the width and height

TARGET_MOTION = 8.0 * SCALE  # px over the baseline, 80th percentile; 4 to 16 work as well
MAX_BASELINE = 5  # frames
CONSISTENT_WITHIN = 1.0 * SCALE  # px there and back, plus a twentieth of the motion
INLIER_WITHIN = 1.5 * SCALE  # px from the homography
GRID_STEP = 12  # px
NOISE = 3.0  # grey levels: smaller photometric differences are no evidence
TEXTURE = 1.5  # grey levels per px: weaker gradients do not hold the flow
PRIOR = 0.01  # weight of "this is background" where nothing else is known
GUIDE_STEP = 4  # the guided filter's statistics are taken at a quarter of the size
GUIDE_RADIUS = 4  # px at that size
GUIDE_EPS = 1e-3  # of a guide in [0, 1]
EMA_KEEP = 0.5
EMA_NOISE = 12.0  # grey levels: what changed more along the motion is not the same thing
SHARPEN_ROUNDS = 2  # more makes the strips wider and the contours less exact


class MotionParallax:
    """Depth estimator that needs no weights. Deterministic, and safe to call from several threads
    at once."""

    name = "MotionParallax"
    runs_in_workers = True
    run_length = 24
    run_overlap = 8
    scale_jitters = False
    least_span = MIN_PARALLAX / MAX_BASELINE  # px per frame; accepted clips have 0.3 and more

    def __init__(
        self, normalize: Callable[[torch.Tensor], torch.Tensor] = smoothed_percentiles
    ) -> None:
        self._normalize = normalize

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """Disparity of a clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB of one shot, T >= 2.

        Returns:
            (T, h, w) float32 in [0, 1], 1 = near, background near 0. The long side has 448 px,
            whatever the frame's.

        Raises:
            ClipRejected: the clip has "too few frames", "motion not consistent", "no dominant
                background motion" or "too little motion".
        """
        return self._normalize(self.raw_disparity(frames))

    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        """The same in px per frame at the working size, not normalised: (T, h, w) float32, >= 0."""
        return torch.from_numpy(parallax(frames))


def parallax(frames: np.ndarray) -> np.ndarray:
    """Motion of a clip's pixels against its background.

    DIS optical flow to both sides in time; the background is the homography that most of it follows
    (RANSAC). The residual counts only where the homography fails to explain the picture and the
    flow does, weighted by forward- backward consistency and texture; it is filled and snapped to
    the picture's edges by a colour guided filter, smoothed along the motion, and sharpened so that
    silhouettes are steps.

    Args:
        frames: (T, H, W, 3) uint8 RGB.

    Returns:
        (T, h, w) float32, px per frame at the working size, >= 0.

    Raises:
        ClipRejected: see MotionParallax.
    """
    if len(frames) < 2:
        raise ClipRejected("too few frames")
    small = _shrink(frames)  # (T, h, w, 3)
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in small])  # (T, h, w)
    baseline = _choose_baseline(grey)
    forward, backward = _flows(grey, baseline)

    pairs = []  # (t, the frame it is compared to, flow, consistency, homography)
    gates = []  # (consistent part, inliers, inliers at the border)
    for there, back, step in ((forward, backward, baseline), (backward, forward, -baseline)):
        for t, flow in there.items():
            consistent = _consistency(flow, back[t + step])
            homography, *inliers = _background(flow, consistent)
            gates.append((float((consistent > 0.5).mean()), *inliers))
            pairs.append((t, t + step, flow, consistent, homography))
    consistent_part, inlier_part, border_part = np.median(gates, axis=0)
    if consistent_part < MIN_CONSISTENT:
        raise ClipRejected("motion not consistent")
    if inlier_part < MIN_INLIERS or border_part < MIN_BORDER_INLIERS:
        raise ClipRejected("no dominant background motion")

    total = np.zeros(grey.shape, np.float32)
    weight = np.zeros_like(total)
    for t, other, flow, consistent, homography in pairs:
        if homography is not None:
            total[t] += consistent * _moved(grey[t], grey[other], flow, homography)
            weight[t] += consistent
    texture = np.stack([_texture(frame) for frame in grey])
    filled = [
        _guided_fill(*parts) for parts in zip(total * texture, weight * texture, small, strict=True)
    ]
    values = np.maximum(np.stack(filled) / baseline, 0)
    values = _smooth_along_motion(values, grey, forward, backward, baseline)
    if np.percentile(values[:, ::2, ::2], 98) * baseline < MIN_PARALLAX:
        raise ClipRejected("too little motion")
    return np.stack([_sharpen(value) for value in values])


def _shrink(frames: np.ndarray) -> np.ndarray:
    """Frames at the working size: (T, H, W, 3) -> (T, h, w, 3)."""
    height, width = frames.shape[1:3]
    ratio = LONG_SIDE / max(height, width)
    size = (max(16, round(width * ratio)), max(16, round(height * ratio)))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where each pixel of `first` goes in `second`: (h, w, 2) px."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return method.calc(first, second, None)  # type: ignore[call-overload]  # its stub knows no None


def _choose_baseline(grey: np.ndarray) -> int:
    """Number of frames over which things move far enough; at most half the clip, so that every
    frame has a partner."""
    starts = np.unique(np.linspace(0, len(grey) - 2, 5).astype(int))
    motion = [
        np.percentile(np.linalg.norm(_flow(grey[t], grey[t + 1])[::4, ::4], axis=-1), 80)
        for t in starts
    ]
    wanted = TARGET_MOTION / max(float(np.median(motion)), 1e-3)
    return int(np.clip(round(wanted), 1, min(MAX_BASELINE, len(grey) // 2)))


def _flows(grey: np.ndarray, baseline: int) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Flow t -> t + baseline and t -> t - baseline, keyed by t, where both frames exist."""
    starts = range(len(grey) - baseline)
    forward = {t: _flow(grey[t], grey[t + baseline]) for t in starts}
    backward = {t + baseline: _flow(grey[t + baseline], grey[t]) for t in starts}
    return forward, backward


def _grid(height: int, width: int) -> np.ndarray:
    """Pixel coordinates (h, w, 2), x before y."""
    return np.stack(
        np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)),
        axis=-1,
    )


def _sample(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Bilinear values of `image` at pixel coordinates `where` (h, w, 2)."""
    where = np.ascontiguousarray(where, dtype=np.float32)
    # its stub knows no map of pairs
    return cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def _consistency(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """1 where going there and back ends at the start, falling to 0; 0 outside the frame. (h, w)."""
    height, width = there.shape[:2]
    target = _grid(height, width) + there
    error = np.linalg.norm(there + _sample(back, target), axis=-1)
    allowed = CONSISTENT_WITHIN + 0.05 * np.linalg.norm(there, axis=-1)
    inside = ((target >= 0) & (target <= (width - 1, height - 1))).all(axis=-1)
    # 0.5 at the allowed error
    return (np.exp2(-np.square(error / allowed)) * inside).astype(np.float32)


def _background(flow: np.ndarray, consistent: np.ndarray) -> tuple[np.ndarray | None, float, float]:
    """The homography that most of the trusted flow follows, the part of the grid that does, and of
    its border."""
    height, width = consistent.shape
    step = GRID_STEP
    start = _grid(height, width)[step // 2 :: step, step // 2 :: step].reshape(-1, 2)
    move = flow[step // 2 :: step, step // 2 :: step].reshape(-1, 2)
    trusted = consistent[step // 2 :: step, step // 2 :: step].reshape(-1) > 0.5
    if trusted.sum() < 8:
        return None, 0.0, 0.0
    homography, inlier = cv2.findHomography(
        start[trusted],
        (start + move)[trusted],
        cv2.RANSAC,
        INLIER_WITHIN,
        maxIters=2000,
        confidence=0.999,
    )
    if homography is None:
        return None, 0.0, 0.0
    follows = np.zeros(len(start), bool)
    follows[trusted] = inlier[:, 0] > 0
    margin = BORDER * np.array([width, height])
    border = ((start < margin) | (start > (width, height) - margin)).any(axis=1)
    return homography, float(follows.mean()), float(follows[border].mean())


def _moved(
    grey: np.ndarray, other: np.ndarray, flow: np.ndarray, homography: np.ndarray
) -> np.ndarray:
    """Motion left over by the background, as far as the pictures bear it out: (h, w) px.

    Where the background's warp explains the other frame, or the flow doesn't, there is no evidence
    of motion; that is what keeps sky, walls and tables at 0, whose flow is anyone's guess.
    """
    grid = _grid(*grey.shape)
    followed = cv2.perspectiveTransform(grid, homography)

    def error(where: np.ndarray) -> np.ndarray:
        difference = _sample(other, where).astype(np.float32) - grey
        return cv2.GaussianBlur(np.square(difference), (0, 0), 1.5)

    by_background = error(followed)
    evidence = by_background / (by_background + error(grid + flow) + NOISE**2)
    return np.linalg.norm(grid + flow - followed, axis=-1) * evidence


def _texture(grey: np.ndarray) -> np.ndarray:
    """How well flow is held by the picture: small eigenvalue of the structure tensor, mapped to [0,
    1]. (h, w)."""
    weak = cv2.cornerMinEigenVal(
        cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32), blockSize=7, ksize=3
    )
    return weak / (weak + 4 * TEXTURE**2)  # cv2's scaling: an isotropic gradient g gives 4 g^2


def _guided_fill(total: np.ndarray, weight: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Weighted colour guided filter (He et al., fast variant), with the gaps filled from coarser
    scales.

    Args:
        total: (h, w), values times their weights.
        weight: (h, w), >= 0.
        guide: (h, w, 3) uint8.
    """
    height, width = weight.shape
    size = (max(4, width // GUIDE_STEP), max(4, height // GUIDE_STEP))

    def shrink(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def mean(image: np.ndarray) -> np.ndarray:
        side = 2 * GUIDE_RADIUS + 1
        return cv2.blur(image, (side, side), borderType=cv2.BORDER_REFLECT)

    full = cv2.medianBlur(guide, 5).astype(np.float32) / 255  # fine texture must not print through
    small, weight = shrink(full), shrink(weight) + PRIOR
    value = _fill(shrink(total), weight)
    norm = mean(weight)
    colour = mean(small * weight[..., None]) / norm[..., None]  # (h, w, 3)
    middle = mean(value * weight) / norm
    together = (
        mean(small * (value * weight)[..., None]) / norm[..., None] - colour * middle[..., None]
    )
    products = (small[..., :, None] * small[..., None, :] * weight[..., None, None]).reshape(
        *norm.shape, 9
    )
    products = np.concatenate([mean(products[..., i : i + 3]) for i in (0, 3, 6)], axis=-1).reshape(
        *norm.shape, 3, 3
    )
    spread = products / norm[..., None, None] - colour[..., :, None] * colour[..., None, :]
    slope = np.linalg.solve(spread + GUIDE_EPS * np.eye(3, dtype=np.float32), together[..., None])[
        ..., 0
    ]
    offset = middle - (slope * colour).sum(-1)
    slope, offset = (
        cv2.resize(mean(part), (width, height), interpolation=cv2.INTER_LINEAR)
        for part in (slope, offset)
    )
    return (slope * full).sum(-1) + offset


def _fill(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Push-pull: where weight is missing, the value of the next coarser scale. (h, w)."""
    if min(weight.shape) <= 2:
        return np.full_like(weight, total.sum() / (weight.sum() + 1e-6))
    coarse = _fill(cv2.pyrDown(total), cv2.pyrDown(weight))
    coarse = cv2.resize(coarse, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return (total + 0.02 * coarse) / (weight + 0.02)


def _smooth_along_motion(
    values: np.ndarray,
    grey: np.ndarray,
    forward: dict[int, np.ndarray],
    backward: dict[int, np.ndarray],
    baseline: int,
) -> np.ndarray:
    """Mean of two exponential averages along the motion, one from either end of the clip. (T, h,
    w)."""
    grid = _grid(*values.shape[1:])

    def step(t: int, direction: int) -> np.ndarray:
        """Motion from frame t to its neighbour, as the part of the motion over the baseline."""
        ahead, behind = (forward, backward) if direction > 0 else (backward, forward)
        return (ahead[t] if t in ahead else -behind[t]) / baseline

    def sweep(order: range, direction: int) -> np.ndarray:
        result = values.copy()
        for t in order:
            where = grid + step(t, direction)
            change = _sample(grey[t + direction], where).astype(np.float32) - grey[t]
            keep = EMA_KEEP * np.exp(-cv2.GaussianBlur(np.square(change / EMA_NOISE), (0, 0), 1.5))
            result[t] += keep * (_sample(result[t + direction], where) - result[t])
        return result

    return (sweep(range(1, len(values)), -1) + sweep(range(len(values) - 2, -1, -1), 1)) / 2


def _sharpen(value: np.ndarray) -> np.ndarray:
    """Toggle contrast: each pixel takes the nearer of its neighbourhood's extremes, so that slopes
    become steps."""
    kernel = np.ones((3, 3), np.uint8)
    value = cv2.medianBlur(value, 5)
    for _ in range(SHARPEN_ROUNDS):
        low, high = cv2.erode(value, kernel), cv2.dilate(value, kernel)
        value = np.where(value - low < high - value, low, high)
    return cv2.medianBlur(value, 5)
