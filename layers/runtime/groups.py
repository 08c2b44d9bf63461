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
ON_TOP = 0.25  # of the height of who stands on somebody lies beside them at most
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
    boxes = _box_of_some(part), _box_of_some(largest)
    return _is_low(*boxes) and _is_beside(*boxes)


def fit_one_body(box: Box, other: Box) -> bool:
    """The same of two boxes, whichever is the lower one; they may be equally high where one stands
    on the other."""
    low, tall = sorted((box, other), key=lambda one: one[3] - one[1])
    common = min(low[3], tall[3]) - max(low[1], tall[1])
    is_above = common <= ON_TOP * (low[3] - low[1])
    return (is_above or _is_low(low, tall)) and _is_beside(low, tall)


def _is_low(low: Box, largest: Box) -> bool:
    return low[3] - low[1] < LOW * _both_heights(low, largest)


def _is_beside(low: Box, largest: Box) -> bool:
    beside = BESIDE * _both_heights(low, largest)
    common = min(low[2], largest[2] + beside) - max(low[0], largest[0] - beside)
    return common >= ABOVE * (low[2] - low[0])


def _both_heights(box: Box, other: Box) -> int:
    return max(box[3], other[3]) - min(box[1], other[1])


def _box_of_some(mask: np.ndarray) -> Box:
    box = box_of(mask)
    assert box is not None
    return box
