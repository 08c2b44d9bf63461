"""Where an object is in the next frame, as a whole and with what is hidden of it: found by what
tells its parts from all that is around, near where its motion leads.

Axes: H W pixels.
"""

import cv2
import numpy as np

from layers.runtime.appearance import PARTS, Box

_REACH = 0.18  # how far it is looked for around where it should be, as a share of its height
_SIGMA = 0.06  # how far off that usually is
_TRUST = 20.0  # what the mean evidence of an object's pixels counts
_MOST = 2.0  # evidence of one pixel
_ALIKE = 24.0  # times the usual difference of colours
_LEAST = 2e-3  # of a colour's share


def shift_of(
    shape: np.ndarray,
    box: Box,
    looks: np.ndarray,
    others: np.ndarray,
    bins: np.ndarray,
) -> tuple[int, int]:
    """By how much a shape fits better elsewhere.

    Args:
        shape: (H, W) float32 from 0 to 1, where it should be.
        box: around it.
        looks: of its parts, as of `part_histogram`.
        others: (1728,), what is around.
        bins: (H, W), the colours of the frame.
    Returns: (x, y) pixels.
    """
    height, width = bins.shape
    left, top, right, bottom = box
    size = max(right - left, bottom - top)
    reach = max(3, round(_REACH * size))
    inner = max(0, left), max(0, top), min(width, right), min(height, bottom)
    if inner[2] - inner[0] < 2 or inner[3] - inner[1] < 2:
        return 0, 0
    table = looks.reshape(PARTS * PARTS, -1)
    ratio = np.log((table + _LEAST) / (others + _LEAST)).clip(-_MOST, _MOST).astype(np.float32)
    padded = cv2.copyMakeBorder(
        bins.astype(np.float32), reach, reach, reach, reach, cv2.BORDER_REPLICATE
    ).astype(np.int32)
    score = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    rows = np.linspace(top, bottom, PARTS + 1).round().astype(int)
    columns = np.linspace(left, right, PARTS + 1).round().astype(int)
    total = 0.0
    for i in range(PARTS):
        for j in range(PARTS):
            r = slice(max(0, rows[i]), min(height, rows[i + 1]))
            c = slice(max(0, columns[j]), min(width, columns[j + 1]))
            weight = np.ascontiguousarray(shape[r, c], np.float32)
            if weight.size == 0 or weight.sum() < 4:
                continue
            around = (slice(r.start, r.stop + 2 * reach), slice(c.start, c.stop + 2 * reach))
            like = ratio[i * PARTS + j][padded[around]]
            score += cv2.matchTemplate(like, weight, cv2.TM_CCORR)
            total += float(weight.sum())
    if total < 20:
        return 0, 0
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    far = (steps[:, None] ** 2 + steps**2) / (2 * (1 + _SIGMA * size) ** 2)
    score = _TRUST * score / total - far
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return int(x) - reach, int(y) - reach


def alike(lab: np.ndarray, carried: np.ndarray) -> np.ndarray:
    """(H, W) float32 from 0 to 1: how far colours carried on by flow are those that are there. What
    comes out from behind something slowly, flow takes for the thing itself."""
    apart = lab.astype(np.float32) - carried
    apart = cv2.blur((apart * apart).sum(axis=2), (3, 3))
    usual = max(float(np.median(apart)), 4.0)
    return np.clip(1.5 - apart / (_ALIKE * usual), 0, 1)


def grown(turn: np.ndarray, rows: np.ndarray, columns: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The motion `turn` (2, 3) with how much larger some pixels' flow makes a thing around their
    middle."""
    step = max(1, len(rows) // 400)
    here = np.stack([columns, rows], 1)[::step].astype(np.float32)
    moved = here + there[rows, columns][::step]
    found, _ = cv2.estimateAffinePartial2D(
        here, moved, method=cv2.RANSAC, ransacReprojThreshold=2.0
    )
    if found is None:
        return turn
    scale = float(np.clip(np.hypot(found[0, 0], found[1, 0]), 0.98, 1.02))
    middle = here.mean(axis=0)
    grown = np.eye(2, 3, dtype=np.float32) * scale
    grown[:, 2] = turn[:, 2] + (1 - scale) * middle
    return grown


def without_strays(winners: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Without the parts of objects where none of them was to be."""
    for index in range(1, len(place)):
        mask = (winners == index).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        if count < 2:
            continue
        support = np.bincount(parts.ravel(), place[index].ravel(), count)
        sizes = stats[:, cv2.CC_STAT_AREA]
        strays = (sizes < 8) | (support < 0.1 * sizes)
        strays[0] = False
        winners[strays[parts]] = 0
    return winners
