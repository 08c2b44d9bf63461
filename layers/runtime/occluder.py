"""What stands before a person and touches it in the picture, by its disparity.

A thing is before a person where it is nearer at the place where both meet. The floor is nearer than
the person too, below its feet; a plane's disparity is a linear function of the place, so one robust
fit takes it out.

Axes: h w pixels of the disparity. Lengths are in units of r, a pixel of a picture of 192 rows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
SQUARE = np.ones((3, 3), np.uint8)
FEWEST = 20  # pixels of a person that anything can be said of
TOUCH = 8  # r between them or less: they touch, though masks are off by some
LEAST_AREA = 0.0005  # of the picture: smaller things are none
NUM_TRIES, NUM_ROUNDS = 60, 3  # of the fit


@dataclass(frozen=True)
class OccluderRule:
    """Differences of disparity, 0 the farthest and 1 the nearest thing of a shot.

    ground: how far the floor may be from a plane. nearer: by how much a thing is nearer than the
        person, as a whole and where they meet. jump: what parts things. also: of pixels at the
        edge of what was found.
    """

    ground: float = 0.045
    nearer: float = 0.04
    jump: float = 0.08
    also: float = 0.02


class Found(NamedTuple):
    """(h, w) bool, no pixel of them the person's. before: what stands before somebody and touches
    them. near: the same, and whatever else is nearer than they are and no floor."""

    before: np.ndarray
    near: np.ndarray


def find_occluder(
    disparity: np.ndarray, person: np.ndarray, rule: OccluderRule = OccluderRule()
) -> Found:
    """
    Args:
        disparity: (h, w) float32 in [0, 1], 1 = near.
        person: (h, w) bool.
    """
    nothing = np.zeros_like(person)
    if person.sum() < FEWEST:
        return Found(nothing, nothing)
    r = max(1, round(min(person.shape) / 192))
    core = _erode(person, 2 * r)
    if core.sum() < FEWEST:
        core = person
    distance = float(np.median(disparity[core]))
    # a mask that is too wide, or a soft edge, has pixels of what is before the person
    inner_core = _erode(person, 4 * r)
    of_person = _nearest(disparity, inner_core if inner_core.sum() >= FEWEST else core)
    floor = find_floor(disparity, person, r, rule)
    off_floor = np.full_like(disparity, np.inf) if floor is None else np.abs(disparity - floor)
    near = (disparity > distance + rule.nearer) & ~person & (off_floor >= rule.ground)
    near = _in_one_piece(near, disparity, r, rule)
    least = LEAST_AREA * person.size
    contact = _dilate(person, TOUCH * r) & ~core
    least_contact = max(6.0, 0.02 * 4 * np.sqrt(person.sum()))
    found, things = nothing.copy(), nothing.copy()
    num, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    for number in range(1, num):
        thing = labels == number
        if thing.sum() < least:
            continue
        things |= thing
        meets = _dilate(thing, TOUCH * r) & contact
        if meets.sum() < least_contact:
            continue
        inner = _erode(thing, 1)
        of_thing = _nearest(disparity, inner if inner.any() else thing)
        if np.median((of_thing - of_person)[meets]) >= rule.nearer:
            found |= thing
    if not found.any():
        return Found(nothing, things)
    # the edges that were cut off, and the foot, which is as near as the floor; not the floor itself
    allowed = (disparity > distance + rule.also) & ~person
    allowed &= np.abs(disparity - _nearest(disparity, found)) <= off_floor
    for _ in range(4 * r):
        found = found | (_dilate(found, 1) & allowed)
    found = _without_specks(found, least)
    return Found(found, things | found)


def _in_one_piece(
    near: np.ndarray, disparity: np.ndarray, r: int, rule: OccluderRule
) -> np.ndarray:
    """What is near, cut where its disparity jumps and without what is thin; but a stick or a wire,
    thin as a whole, stays where nothing wider is beside it."""
    jumps = cv2.dilate(disparity, SQUARE) - cv2.erode(disparity, SQUARE)
    wide = _dilate(_erode(near & (jumps < rule.jump), r), r)
    # jumps among what is near, not to what is behind it
    inside = cv2.dilate(np.where(near, disparity, 0), SQUARE)
    inside = inside - cv2.erode(np.where(near, disparity, 1), SQUARE)
    thin = near & (inside < rule.jump) & ~_dilate(wide, 4 * r)
    return wide | thin


def find_floor(
    disparity: np.ndarray, person: np.ndarray, r: int, rule: OccluderRule = OccluderRule()
) -> np.ndarray | None:
    """(h, w): the disparity that the floor has or would have everywhere; None where no floor is
    seen.

    A plane through three pixels of the lower half is tried again and again (RANSAC, Fischler and
    Bolles 1981); the one on which most lie is fitted to them by least squares.
    """
    height, width = disparity.shape
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([columns / width, rows / height, np.ones_like(rows)], -1)  # (h, w, 3)
    seeds = (rows >= height // 2) & ~_dilate(person, 3 * r)
    x, d = places[seeds], disparity[seeds]
    if len(d) < FEWEST:
        return None
    rng = np.random.default_rng(0)
    best, most = None, 0.2 * len(d)
    for three in rng.integers(0, len(d), (NUM_TRIES, 3)):
        try:
            plane = np.linalg.solve(x[three], d[three])
        except np.linalg.LinAlgError:
            continue
        if plane[1] < 0.2 or abs(plane[0]) > plane[1] / 2:  # nearer downwards, and nearly level
            continue
        count = (np.abs(x @ plane - d) < rule.ground).sum()
        if count >= most:
            best, most = plane, count
    if best is None:
        return None
    for _ in range(NUM_ROUNDS):
        on_it = np.abs(x @ best - d) < rule.ground
        best = np.linalg.lstsq(x[on_it], d[on_it], rcond=None)[0]
    return (places @ best).astype(disparity.dtype)


def _nearest(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """At every place the value of the pixel of the mask that is nearest to it."""
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(labels.max()) + 1, values.dtype)
    by_label[labels[mask]] = values[mask]
    return by_label[labels]


def _without_specks(mask: np.ndarray, least: float) -> np.ndarray:
    num, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False
    return large[labels]


def _erode(mask: np.ndarray, by: int) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), CROSS, iterations=by) > 0


def _dilate(mask: np.ndarray, by: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), CROSS, iterations=by) > 0
