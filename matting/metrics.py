"""How good a matte is, by the measures that papers on matting report, as defined in the evaluation
of Robust Video Matting (arXiv 2108.11515) and Rhemann et al. (CVPR 2009).

Axes: T frames, H W pixels. Alpha is in [0, 1], float64 inside.
"""

import math

import cv2
import numpy as np

SIGMA = 1.4  # of the gradient's filter
STEP = 0.1  # between thresholds of connectivity
THRESHOLDS = 10
TOLERATED = 0.15  # how far below its own alpha a pixel may lose its connection

MATTE_SCORES = ("mad", "mse", "sad", "grad", "conn", "dtssd")


def mad(alpha: np.ndarray, truth: np.ndarray) -> float:
    """1000 x mean absolute difference; any equal shapes."""
    return 1e3 * float(np.abs(_double(alpha) - _double(truth)).mean())


def mse(alpha: np.ndarray, truth: np.ndarray) -> float:
    """1000 x mean squared difference; any equal shapes."""
    return 1e3 * float(np.square(_double(alpha) - _double(truth)).mean())


def sad(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Sum of absolute differences / 1000, of one frame."""
    return float(np.abs(_double(alpha) - _double(truth)).sum()) / 1e3


def gradient_error(alpha: np.ndarray, truth: np.ndarray, *, stretch: bool = True) -> float:
    """Sum of squared differences of the gradients' lengths / 1000, of one frame (H, W).

    stretch: both are spread over 0 to 1 first, as in the protocol for small pictures. That for
        large ones doesn't.
    """
    lengths = [_gradient(_stretched(x) if stretch else _double(x)) for x in (alpha, truth)]
    return float(np.square(lengths[0] - lengths[1]).sum()) / 1e3


def connectivity_error(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Sum of differences of how well pixels hold together with the largest area that both mattes
    agree on / 1000, of one frame (H, W)."""
    p, t = _double(alpha), _double(truth)
    levels = np.full(p.shape, -1.0)
    for number in range(1, THRESHOLDS + 1):
        agreed = _largest_area((p >= number / THRESHOLDS) & (t >= number / THRESHOLDS))
        levels[(levels == -1) & ~agreed] = (number - 1) / THRESHOLDS
    levels[levels == -1] = 1
    return float(np.abs(_connection(t, levels) - _connection(p, levels)).sum()) / 1e3


def flicker_error(alphas: np.ndarray, truths: np.ndarray) -> float:
    """dtSSD: 100 x root of the mean squared difference of what changes from frame to frame, mean
    over the frames (T, H, W) of a clip. The first frame has no change before it and counts as 0."""
    changes = np.diff(_double(alphas), axis=0) - np.diff(_double(truths), axis=0)
    per_frame = np.sqrt(np.square(changes).mean((1, 2)))
    return 1e2 * float(per_frame.sum()) / len(alphas)


def foreground_errors(
    foreground: np.ndarray, truth: np.ndarray, true_alpha: np.ndarray
) -> tuple[float, float]:
    """1000 x mean absolute and mean squared difference of colours (H, W, 3) in [0, 1], where there
    is any foreground; NaN where there is none."""
    visible = true_alpha > 0
    if not visible.any():
        return math.nan, math.nan
    difference = _double(foreground)[visible] - _double(truth)[visible]
    return 1e3 * float(np.abs(difference).mean()), 1e3 * float(np.square(difference).mean())


def overlap(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of what is more than half opaque, of one frame (H, W); NaN where
    neither has such."""
    found, true = alpha > 0.5, truth > 0.5
    union = int((found | true).sum())
    return int((found & true).sum()) / union if union else math.nan


def matte_scores(alphas: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    """All of MATTE_SCORES of a clip, (T, H, W): means over its frames."""
    pairs = list(zip(alphas, truths))
    by_frame = {
        "mad": mad,
        "mse": mse,
        "sad": sad,
        "grad": gradient_error,
        "conn": connectivity_error,
    }
    scores = {
        name: float(np.mean([score(a, b) for a, b in pairs])) for name, score in by_frame.items()
    }
    return scores | {"dtssd": flicker_error(alphas, truths)}


def _double(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64)


def _stretched(x: np.ndarray) -> np.ndarray:
    """Spread over 0 to 1; what is the same everywhere is 0."""
    x = _double(x)
    span = x.max() - x.min()
    return (x - x.min()) / span if span else np.zeros_like(x)


def _gradient(x: np.ndarray) -> np.ndarray:
    """The length of the gradient by a derivative of a Gaussian, its kernel divided by its norm."""
    half = math.ceil(SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * SIGMA * 0.01)))
    places = np.arange(-half, half + 1.0)
    bell = np.exp(-np.square(places) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    slope = -places * bell / SIGMA**2
    kernel = np.outer(bell, slope)
    kernel /= np.sqrt(np.square(kernel).sum())
    along_x, along_y = (
        cv2.filter2D(x, cv2.CV_64F, k[::-1, ::-1], borderType=cv2.BORDER_REPLICATE)
        for k in (kernel, kernel.T)
    )
    return np.hypot(along_x, along_y)


def _largest_area(mask: np.ndarray) -> np.ndarray:
    """The largest part of a mask (H, W) whose pixels touch by their sides."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    if count == 1:
        return np.zeros_like(mask)
    return labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def _connection(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """How well pixels hold together with the area, 1 = wholly, by the level where they leave it."""
    distance = x - levels
    return 1 - distance * (distance >= TOLERATED)
