"""How large the hole is that people and what is before them leave.

Axes: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from layers.options_split import DILATE, HOLE_THRESHOLD

REFERENCE_WIDTH = 432  # of a film: --dilate and --reach are told in its pixels


@dataclass(frozen=True)
class HoleSize:
    """As the options of `split` say it. reach: see `to_their_outlines`."""

    hole_threshold: float = HOLE_THRESHOLD
    dilate: int = DILATE
    reach: int = 0

    def of(self, alphas: Sequence[np.ndarray], more: int = 0) -> np.ndarray:
        """What alphas (H, W) uint8 cover by more than the threshold, grown; and by `more` than
        that: (H, W) bool."""
        seen = np.ones(alphas[0].shape, np.float32)
        for alpha in alphas:
            seen *= 1 - alpha.astype(np.float32) / 255
        hole = (1 - seen > self.hole_threshold).astype(np.uint8)
        if grown := max(self.dilate, more):
            radius = max(1, round(grown * hole.shape[1] / REFERENCE_WIDTH))
            square = np.ones((2 * radius + 1,) * 2, np.uint8)
            hole = np.asarray(cv2.dilate(hole, square), np.uint8)
        return hole > 0
