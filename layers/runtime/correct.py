"""The mask of an object in a frame that it was followed to, corrected by what is pointed at there.

What was followed is kept but for what the click is about: a click on what is missing adds the
region around it, one on what is wrong takes it away, as far as it looks alike without an edge
between (the geodesic distance of Bai and Sapiro, A geodesic framework for fast interactive image
and video segmentation and matting, 2007) and what else is known of the object allows.

Axes: H W pixels, at the working size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from layers.prompts import BOX, NOT_POINT, POINT, Prompt
from layers.runtime.pointing import drawn

_FIRM = 6.0  # what a click says of its own pixels, as the logarithm of a probability's ratio
_FAR = 0.22  # how far it reaches where nothing changes, as a share of the object's height
_EDGE = 18.0  # of a colour's difference, which counts as much as the whole way
_DOUBT = 3.0  # beyond which other evidence isn't taken
_INSIDE = 0.5  # share of a click's pixels within a mask, from which on it says nothing new
_ELSEWHERE = 0.35  # of an object's usual size: what is at least as large, and apart, is all of it
_UNLIKE = -0.8  # likeness of what isn't the object
_SWEEPS = 48
_LESS = 0.3  # likeness of a whole thing that is taken away

Find = Callable[[Sequence[Prompt], Sequence[Prompt]], np.ndarray]


@dataclass(frozen=True)
class Followed:
    """What is known of an object in a frame before it is corrected there.

    mask: (H, W) bool, where it was followed to. evidence: (H, W) float32, as of
        `Follower.evidence`. likeness: (H, W) float32, as of `Follower.likeness`. usual_size: its
        pixels in other frames. others: (H, W) bool, where other objects were followed to.
    """

    mask: np.ndarray
    evidence: np.ndarray | None
    likeness: np.ndarray
    usual_size: float
    others: np.ndarray


def corrected(
    frame: np.ndarray, prompts: Sequence[Prompt], known: Followed, find: Find
) -> np.ndarray:
    """(H, W) bool: where an object is, of which something was pointed at.

    Args:
        frame: (H, W, 3) uint8 RGB.
        prompts: those of the object.
        find: prompts, and clicks on other things -> (H, W) bool, what is pointed at, by the looks
            of this frame alone.
    """
    if any(prompt.kind == BOX for prompt in prompts):
        return find(prompts, ())
    size = known.mask.shape
    wanted = [p for p in prompts if p.kind != NOT_POINT]
    seeds = [drawn(p, size) for p in wanted]
    mask = known.mask
    missing = [seed for seed in seeds if (mask & seed).sum() < _INSIDE * seed.sum()]
    if missing:
        mask = _with_missing(frame, mask, missing, known, find(prompts, ()))
    for prompt in prompts:
        if prompt.kind == NOT_POINT and (mask & drawn(prompt, size)).any():
            mask = _without(frame, mask, prompt, wanted, known, find)
    for seed in seeds:
        mask = mask | seed
    return mask


def _with_missing(
    frame: np.ndarray,
    mask: np.ndarray,
    seeds: Sequence[np.ndarray],
    known: Followed,
    afresh: np.ndarray,
) -> np.ndarray:
    held = np.logical_or.reduce(seeds)
    afresh = afresh & (~known.others | held)
    is_apart = not (cv2.dilate(afresh.astype(np.uint8), np.ones((9, 9))) * mask).any()
    if not mask.any() or (is_apart and afresh.sum() > _ELSEWHERE * known.usual_size):
        # it was lost, or something else was taken for it
        return _connected((afresh & (known.likeness > _UNLIKE)) | held, seeds)
    for seed in seeds:
        mask = mask | _around(frame, seed, known, sign=1)
    return mask


def _without(
    frame: np.ndarray,
    mask: np.ndarray,
    prompt: Prompt,
    wanted: Sequence[Prompt],
    known: Followed,
    find: Find,
) -> np.ndarray:
    """The mask without what a click in it is about: its part where that isn't joined to the rest,
    the region around, and the thing that is there where that is less like the object."""
    seed = drawn(prompt, mask.shape)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    kept = mask.copy()
    for part in np.unique(parts[seed & mask]).tolist():
        if stats[part, cv2.CC_STAT_AREA] < 0.5 * mask.sum():
            kept &= parts != part
    kept &= ~seed
    region = _around(frame, seed, known, sign=-1)
    kept &= ~region
    inside = cv2.distanceTransform(np.pad(kept, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    others = list(wanted)
    if not others and inside.max() > 2:
        y, x = np.unravel_index(int(inside.argmax()), inside.shape)
        others = [Prompt(POINT, ((float(x), float(y)),))]
    thing = find([replace(prompt, kind=POINT)], others)
    rest, lost = kept & ~thing, kept & thing
    if rest.sum() < lost.sum() or not lost.any():
        return kept
    is_unlike = known.likeness[lost].mean() < known.likeness[rest].mean() - _LESS
    return rest if is_unlike else kept


def _around(frame: np.ndarray, seed: np.ndarray, known: Followed, *, sign: int) -> np.ndarray:
    """(H, W) bool: the region that a click is about. sign: 1 for what is the object, else -1."""
    apart = geodesic(frame, seed, _FAR * np.sqrt(4 * max(known.usual_size, known.mask.sum())))
    score = _FIRM * np.exp(-apart) - 1.0
    if known.evidence is not None:
        score = score + 0.5 * sign * known.evidence.clip(-_DOUBT, _DOUBT)
    near = (score > 0) | seed
    if sign > 0:
        near &= ~known.others | seed
    return _connected(near, [seed])


def _connected(mask: np.ndarray, seeds: Sequence[np.ndarray]) -> np.ndarray:
    """The parts of a mask that hold a seed, small gaps in them closed."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(closed, connectivity=4)
    own = np.unique(parts[np.logical_or.reduce(seeds)])
    return np.isin(parts, own[own > 0])


def geodesic(frame: np.ndarray, seed: np.ndarray, reach: float) -> np.ndarray:
    """(H, W) float32: how far from a seed each pixel is, on the way that crosses least edges, in
    shares of `reach` pixels; 100 at most."""
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab = cv2.GaussianBlur(lab, (0, 0), 1.0)
    apart = np.where(seed, 0, 100).astype(np.float32)
    steps = []
    for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)):
        there = _moved(lab, y, x)
        gap = np.sqrt(((lab - there) ** 2).sum(axis=2))
        steps.append((y, x, np.hypot(y, x) / reach + gap / _EDGE))
    for _ in range(_SWEEPS):
        before = apart
        for y, x, cost in steps:
            apart = np.minimum(apart, _moved(apart, y, x) + cost)
            apart = np.minimum(apart, _moved(apart + cost, -y, -x))
        if np.array_equal(before, apart):
            break
    return apart


def _moved(picture: np.ndarray, y: int, x: int) -> np.ndarray:
    """The picture's pixels from y rows above and x columns before, the edge repeated."""
    rows = np.clip(np.arange(picture.shape[0]) - y, 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(picture.shape[1]) - x, 0, picture.shape[1] - 1)
    return picture[rows][:, columns]
