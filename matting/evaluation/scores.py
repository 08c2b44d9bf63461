"""Scores of the mattes of a clip, as films hold them, and what they mean.

Axes: T frames, H W pixels. Alpha is (T, H, W) uint8, 255 = opaque; colours are (T, H, W, 3) uint8.
"""

import math
from collections.abc import Sequence

import numpy as np

from matting.metrics import foreground_errors, mad, matte_scores, overlap
from nunif.evaluation.report import Column, Headline

TITLE = "Matting scores"  # of reports
OF_MATTES = Headline("mad", name="MAD", higher_is_better=False)
OF_MASKS = Headline("iou", name="IoU", digits=3)
LOW = -math.inf
COLUMNS = {
    "mad": Column("1000 x mean absolute difference of alpha.", best=LOW, by_frame=True),
    "mse": Column("1000 x mean squared difference of alpha.", best=LOW, by_frame=True),
    "sad": Column(
        "Sum of absolute differences of alpha / 1000: it grows with the picture.",
        best=LOW,
        by_frame=True,
    ),
    "grad": Column(
        "Squared differences of alpha's gradients (Gaussian, sigma 1.4), summed / 1000; both are "
        "spread over 0 to 1 first, as in the protocol for small pictures.",
        best=LOW,
        by_frame=True,
    ),
    "conn": Column(
        "Differences of how well pixels hold together with the largest area that both mattes "
        "agree on, summed / 1000.",
        best=LOW,
        by_frame=True,
    ),
    "dtssd": Column(
        "100 x root of the mean squared difference of what changes from frame to frame: flicker.",
        best=LOW,
        by_frame=True,
    ),
    "iou": Column(
        "Intersection over union of what is more than half opaque, mean over frames that have any.",
        by_frame=True,
    ),
    "iou_min": Column("The same of the worst frame."),
    "fgr_mad": Column(
        "1000 x mean absolute difference of the foreground's colours where the true alpha is above "
        "0; of the all-zero matte: of the frame's colours.",
        best=LOW,
    ),
    "fgr_mse": Column("1000 x the same squared.", best=LOW),
    "fps": Column("Frames in a second, on the machine where this was made."),
}


def clip_scores(
    alpha: np.ndarray,
    foreground: np.ndarray,
    true_alpha: np.ndarray,
    true_foreground: np.ndarray | None,
) -> dict[str, float]:
    """All scores of a clip; those of the foreground where its truth is known. What has nothing to
    count is NaN."""
    p, t = _unit(alpha), _unit(true_alpha)
    shares = by_frame("iou", alpha, true_alpha)
    known = [share for share in shares if not math.isnan(share)]
    scores = matte_scores(p, t) | {"iou": _mean(shares), "iou_min": min(known, default=math.nan)}
    if true_foreground is None:
        return scores
    triples = zip(foreground, true_foreground, t)
    errors = [foreground_errors(_unit(f), _unit(g), a) for f, g, a in triples]
    absolute, squared = zip(*errors)
    return scores | {"fgr_mad": _mean(absolute), "fgr_mse": _mean(squared)}


def by_frame(name: str, alpha: np.ndarray, true_alpha: np.ndarray) -> list[float]:
    """The score "mad" or "iou" of every frame."""
    score = {"mad": mad, "iou": overlap}[name]
    return [score(_unit(p), _unit(t)) for p, t in zip(alpha, true_alpha)]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _unit(pictures: np.ndarray) -> np.ndarray:
    return pictures.astype(np.float64) / 255
