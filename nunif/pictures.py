"""Pictures for people to look at.

Axes: T frames, H W pixels; pictures are (H, W, 3) uint8 RGB.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from nunif.files import plain_text

GAP = 4


def to_uint8(frames: Tensor) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] -> (T, H, W, 3) uint8, rounded."""
    return frames.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def tile(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of equally sized pictures in one, with a thin gap between them."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = np.full(
        (len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 32, np.uint8
    )
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            top, left = y * (height + GAP), x * (width + GAP)
            sheet[top : top + height, left : left + width] = picture
    return sheet


def label(picture: np.ndarray, text: str) -> np.ndarray:
    """A copy of the picture with a line of text in its upper left corner."""
    picture = picture.copy()  # OpenCV draws in place
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            picture,
            plain_text(text),
            (6, 16),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.42,
            colour,
            thickness,
            cv2.LINE_AA,
        )
    return picture
