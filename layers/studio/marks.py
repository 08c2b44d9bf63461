"""What is marked in a frame, painted over it.

Axes: H W pixels, 3 = R G B. Labels are 0 for nothing and the number of an object, from 1.
"""

import cv2
import numpy as np

# by the object's number, from 1; style.css has the same
COLOURS = np.array(
    [
        (255, 77, 77),
        (51, 153, 255),
        (255, 190, 11),
        (46, 196, 120),
        (186, 104, 255),
        (255, 128, 40),
        (0, 196, 212),
        (255, 105, 180),
    ],
    np.uint8,
)
MOST_OBJECTS = len(COLOURS)
OPACITY = 0.5
_EDGE = np.ones((3, 3), np.uint8)


def painted(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A picture with its objects in their colours, and a line around each.

    rgb: (H, W, 3) uint8. labels: (h, w) uint8 of any size.
    """
    height, width = rgb.shape[:2]
    if labels.shape != (height, width):
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    marked = labels > 0
    if not marked.any():
        return rgb
    colours = COLOURS[(labels[marked].astype(int) - 1) % MOST_OBJECTS]  # (N, 3)
    out = rgb.copy()
    out[marked] = (rgb[marked] * (1 - OPACITY) + colours * OPACITY).astype(np.uint8)
    edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, _EDGE) > 0
    edge &= marked
    out[edge] = COLOURS[(labels[edge].astype(int) - 1) % MOST_OBJECTS]
    return out
