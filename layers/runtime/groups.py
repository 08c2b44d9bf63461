"""Groups of people in a mask of all of them, and what of a group may be one body.

Axes: h w pixels of a small picture.
"""

import cv2
import numpy as np

from layers.runtime.appearance import Box, box_of

LEAST_AREA = 0.001  # of the picture: what is smaller is nobody by itself
APART = 0.02  # of the picture's width: what is nearer to each other is one group
LOW = 0.5  # of the height of somebody: what comes off them above or below is no one else
BESIDE = 0.15  # of that height: so far a leg stands out
ABOVE = 0.5  # of the width of what came off


def groups_of(mask: np.ndarray) -> list[np.ndarray]:
    """The parts of a mask (h, w) bool that lie apart, the largest first, without small ones."""
    radius = max(1, round(APART * mask.shape[1] / 2))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    wide = cv2.dilate(mask.astype(np.uint8), disc)
    num, labels = cv2.connectedComponents(wide, connectivity=8)
    sizes = np.bincount(labels[mask], minlength=num)
    order = np.argsort(-sizes[1:], kind="stable") + 1
    return [
        (labels == number) & mask for number in order if sizes[number] >= LEAST_AREA * mask.size
    ]


def nearest_label(labels: np.ndarray) -> np.ndarray:
    """At every place the label of the pixel nearest to it that has one: (h, w) integers above 0; 0
    for none, which stays where there is no other."""
    has_none = labels == 0
    if has_none.all() or not has_none.any():
        return labels
    _, places = cv2.distanceTransformWithLabels(
        has_none.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_place = np.zeros(int(places.max()) + 1, labels.dtype)
    of_place[places[~has_none]] = labels[~has_none]
    return of_place[places]


def is_of_one_body(part: np.ndarray, largest: np.ndarray) -> bool:
    """Whether a part (h, w) bool that came off somebody is low and lies above, below or within the
    largest: somebody whose middle is hidden, and nobody else, who would be as tall."""
    return _is_low_beside(_box_of_some(part), _box_of_some(largest))


def fit_one_body(box: Box, other: Box) -> bool:
    """The same of two boxes, whichever is the lower one."""
    low, tall = sorted((box, other), key=lambda one: one[3] - one[1])
    return _is_low_beside(low, tall)


def _is_low_beside(low: Box, largest: Box) -> bool:
    (left, top, right, bottom), (left2, top2, right2, bottom2) = low, largest
    tall = max(bottom, bottom2) - min(top, top2)
    beside = BESIDE * tall
    common = min(right, right2 + beside) - max(left, left2 - beside)
    return bottom - top < LOW * tall and common >= ABOVE * (right - left)


def _box_of_some(mask: np.ndarray) -> Box:
    box = box_of(mask)
    assert box is not None
    return box
