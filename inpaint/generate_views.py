"""What is drawn for each clip of a video, and the clip as it is cropped: scaled, perhaps turned.

Axes: T frames, H W pixels of the video, H' W' pixels of the view.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from inpaint.generate_plan import RecordPlan
from inpaint.occlusion import MAPPINGS
from nunif.seed import generator_for

VIEW_SIZES = {720: 1 / 3, 1080: 2 / 3}  # short side of the picture that is cropped, and how often
# iw3: by level, the usual values, the smallest and the largest, in per cent of the width
DIVERGENCES = {
    1: ((2.0, 2.5, 3.0, 4.0), 0.0, 5.0),
    2: ((4.0, 5.0, 6.0), 3.0, 8.0),
    3: ((7.0, 8.0, 9.0), 6.0, 11.0),
}


@dataclass(frozen=True)
class Draws:
    """The random choices for one clip, as iw3's published generator draws them."""

    view_size: int
    angle: float | None  # degrees; None = not rotated
    enlargement: int  # cv2 interpolation where pixels are rotated or made more
    divergence: tuple[float, float]  # uniform in [0, 1]: see `pick_divergence`
    convergence: float
    mapping: str
    edge_dilation: int  # pixels of the disparity


def draw_clip(plan: RecordPlan, clip: int) -> Draws:
    """The random choices for a clip (distributions: nagadomi/nunif, iw3/training/inpaint, MIT)."""
    rng = generator_for("clip", plan.options.seed, plan.file_hash, clip)
    sizes = [size for size in VIEW_SIZES if size >= plan.options.size]
    weights = np.array([VIEW_SIZES[size] for size in sizes])
    resolution = plan.options.resolution
    dilations = (
        [0] * 6 + [1, 1, 1, 2, 3, 4] if resolution and resolution >= 512 else [0] * 3 + [1, 1, 2]
    )
    return Draws(
        view_size=int(rng.choice(sizes, p=weights / weights.sum())),
        angle=float(rng.uniform(-45, 45)) if rng.random() < 0.5 else None,
        enlargement=int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR])),
        divergence=(float(rng.random()), float(rng.random())),
        convergence=float(rng.choice([0.0, 0.5, 1.0]) if rng.random() < 0.7 else rng.random()),
        mapping="none" if rng.random() < 0.7 else str(rng.choice(MAPPINGS[1:])),
        edge_dilation=int(rng.choice(dilations)),
    )


def pick_divergence(level: int, width: int, draws: tuple[float, float]) -> float:
    """iw3's divergence in per cent of the width: seven times of ten a usual value, else any up to
    32 pixels' worth.

    level: 1 = 0 to 5, 2 = 3 to 8, 3 = 6 to 11. width: of the picture in pixels. draws: two uniform
        numbers in [0, 1).
    """
    usual, low, high = DIVERGENCES[level]
    if draws[0] < 0.7:
        return usual[int(draws[1] * len(usual))]
    high = min(32 / (width * 0.5) * 100, high)
    low = min(low, high - 0.1) if low else 0.0
    return low + draws[1] * (high - low)


def render_view(frames: Iterable[np.ndarray], draws: Draws, *, count: int) -> np.ndarray:
    """Scale `count` frames to the drawn short side; a drawn rotation takes the square in the middle
    that stays inside.

    Args: frames of (H, W, 3) uint8, taken one by one. Returns: (T, H', W', 3) uint8.
    """
    view = np.empty((0, 0, 0, 3), np.uint8)
    for t, frame in enumerate(frames):
        if t == 0:
            view = np.empty((count, *_view_size(frame, draws), 3), np.uint8)
        _render_frame(frame, draws, view[t])
    return view


def _view_size(frame: np.ndarray, draws: Draws) -> tuple[int, int]:
    """Height and width of a frame in `render_view`."""
    if draws.angle is not None:
        return draws.view_size, draws.view_size
    height, width = frame.shape[:2]
    scale = draws.view_size / min(height, width)
    return max(draws.view_size, int(height * scale)), max(draws.view_size, int(width * scale))


def _render_frame(frame: np.ndarray, draws: Draws, result: np.ndarray) -> None:
    """One frame of `render_view`, into (H', W', 3) uint8."""
    height, width = frame.shape[:2]
    size = draws.view_size
    if draws.angle is None:
        scale = size / min(height, width)
        if scale == 1:
            result[:] = frame
        else:
            way = cv2.INTER_AREA if scale < 1 else draws.enlargement
            cv2.resize(frame, result.shape[1::-1], result, interpolation=way)
        return
    # the square of side short/sqrt(2) turns freely inside the frame; it becomes size x size
    scale = size / (min(height, width) / 2**0.5)
    if scale < 1:
        frame = cv2.resize(
            frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
        )
        (height, width), scale = frame.shape[:2], 1.0
    matrix: np.ndarray = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), draws.angle, scale
    )
    matrix[:, 2] += (size - 1) / 2 - np.array([(width - 1) / 2, (height - 1) / 2])
    cv2.warpAffine(
        frame,
        matrix,
        (size, size),
        result,
        flags=draws.enlargement,
        borderMode=cv2.BORDER_REPLICATE,
    )


def is_enlarged(height: int, width: int) -> bool:
    """Whether a video of that size is scaled up for some of its views."""
    return min(height, width) < max(VIEW_SIZES)
