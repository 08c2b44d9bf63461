"""Holes that are made up for clips that are filled to judge it.

Axes: T frames, H W pixels. Frames are (T, H, W, 3) uint8, holes (T, H, W) bool, True = missing.
"""

import logging

import numpy as np
import torch

from inpaint.hole_shapes import moving_shape, strokes, visiting_shape
from inpaint.occlusion import drop_specks, hidden, shift_in_pixels, shift_of_view
from inpaint.options_evaluate import LONG
from nunif.seed import generator_for
from scene.depth import create_estimator
from scene.depth_models import MOTION_PARALLAX, ClipRejected

logger = logging.getLogger(__name__)

DIVERGENCE, CONVERGENCE = 5.0, 0.5  # of the occlusion strips, as iw3 counts
CUTOUTS = 3  # things that strips stand beside where a clip's own depth can't be had
MIN_STRIPS = 0.005  # of the picture; with less there is too little to score
MIN_SPECK = 16  # pixels


def make_holes(family: str, name: str, frames: np.ndarray, *, seed: int) -> tuple[np.ndarray, str]:
    """The holes of a family in a clip, the same at every call, and in a word what made them.

    family: static (strokes that stand), moving (an object that walks), long (one that comes, stands
        for most of the clip
    and goes) or occlusion (strips that another eye can't see).
    """
    rng = generator_for("evaluate", family, name, seed)
    num_frames, size = len(frames), (frames.shape[1], frames.shape[2])
    if family == "static":
        return strokes(num_frames, size, rng, still=True), "strokes"
    if family == "moving":
        return moving_shape(num_frames, size, rng, still=False), "object"
    if family == LONG:
        return visiting_shape(num_frames, size, rng), "object"
    holes = _strips_of_parallax(frames)
    if holes is not None and holes.mean() >= MIN_STRIPS:
        return holes, MOTION_PARALLAX
    things = (
        sum(
            moving_shape(num_frames, size, rng, still=False).astype(np.float32)
            for _ in range(CUTOUTS)
        )
        / CUTOUTS
    )
    shift = shift_in_pixels(
        torch.from_numpy(things), divergence=2 * DIVERGENCE, convergence=CONVERGENCE, width=size[1]
    )
    return _strips(shift), "cut-outs"


def _strips_of_parallax(frames: np.ndarray) -> np.ndarray | None:
    """What another eye can't see by the clip's own motion parallax; None where it has none."""
    size = (frames.shape[1], frames.shape[2])
    try:
        disparity = create_estimator(MOTION_PARALLAX)(frames)
    except ClipRejected:
        return None
    shifts = [
        shift_of_view(d, size=size, divergence=DIVERGENCE, convergence=CONVERGENCE)
        for d in disparity
    ]
    return _strips(torch.stack(shifts))


def _strips(shift: torch.Tensor) -> np.ndarray:
    return drop_specks(hidden(shift).numpy(), min_area=MIN_SPECK)
