"""The mask of an object in a frame that it was followed to, corrected by what is pointed at there.

What was followed is kept but for what the click is about: a click on what is missing adds the
region around it, one on what is wrong takes it away, as far as it looks alike without an edge
between (the geodesic distance of Bai and Sapiro, A geodesic framework for fast interactive image
and video segmentation and matting, 2007) and what else is known of the object allows.

Axes: H W pixels, at the working size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from layers.prompts import BOX, NOT_POINT, POINT, Prompt
from layers.runtime.pointing import drawn, enlarge, find_objects, scaled, shrink

_FIRM = 6.0  # what a click says of its own pixels, as the logarithm of a probability's ratio
_LITTLE = 2.5  # the same, where nothing else is known
_FAR = 0.22  # how far it reaches where nothing changes, as a share of the object's height
_EDGE = 18.0  # of a colour's difference, which counts as much as the whole way
_DOUBT = 3.0  # beyond which other evidence isn't taken
_INSIDE = 0.5  # share of a click's pixels within a mask, from which on it says nothing new
_ELSEWHERE = 0.35  # of an object's usual size: what is at least as large, and apart, is all of it
_FEW, _MANY = 0.4, 1.5  # of an object's usual size
_UNLIKE = -0.8  # likeness of what isn't the object
_SWEEPS = 48
_SLIVER = np.ones((7, 7), np.uint8)  # larger than what is left over at edges
_OWN = 255  # stands for the number of the object that is looked for
_REST = 0.1  # of a mask, which stays when a thing in it is taken away
_LESS = 0.3  # likeness of a whole thing that is taken away

# prompts, and clicks on other things
Find = Callable[[Sequence[Prompt], Sequence[Prompt]], np.ndarray]


@dataclass(frozen=True)
class Followed:
    """What is known of an object in a frame before it is corrected there.

    mask: (H, W) bool, where it was followed to. evidence: (H, W) float32, as of
        `Follower.evidence`. likeness: (H, W) float32, as of `Follower.likeness`. usual_size: its
        pixels in other frames, 0 where none is known. others: (H, W) bool, where other objects
        were followed to.
    """

    mask: np.ndarray
    evidence: np.ndarray | None
    likeness: np.ndarray
    usual_size: float
    others: np.ndarray


def positive(prompts: Sequence[Prompt]) -> set[int]:
    """The numbers of the objects of which it is said where they are."""
    return {prompt.number or 1 for prompt in prompts if prompt.kind != NOT_POINT}


def correct_labels(frame: np.ndarray, prompts: Sequence[Prompt], labels: np.ndarray) -> np.ndarray:
    """What is marked in a frame once it is corrected there, for a preview at once.

    Args:
        frame: (H, W, 3) uint8, of any size.
        prompts: all of this frame.
        labels: (H, W) uint8, the numbers of the objects that were marked there before.
    Returns: (H, W) uint8.
    """
    size = (frame.shape[0], frame.shape[1])
    small = shrink(frame)
    height, width = small.shape[:2]
    before = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    masks = {number: before == number for number in np.unique(before).tolist() if number}
    nothing = np.zeros(before.shape, np.float32)
    known = {
        number: Followed(mask, None, nothing, float(mask.sum()), (before > 0) & ~mask)
        for number, mask in masks.items()
    }
    placed = scaled(prompts, size)
    result = before.copy()
    for number, mask in find_masks(
        small, placed, before, known, partial(find_objects, small)
    ).items():
        result[result == number] = 0
        result[mask] = number
    changed = enlarge(result, size)
    return np.where(enlarge(before, size) == changed, labels, changed)


def find_masks(
    frame: np.ndarray,
    prompts: Sequence[Prompt],
    labels: np.ndarray,
    known: Mapping[int, Followed],
    find: Callable[[Sequence[Prompt]], np.ndarray],
) -> dict[int, np.ndarray]:
    """Masks (H, W) bool, by number, of the objects of which something is said in a frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        labels: (H, W), the numbers of the objects that were followed there.
        known: the objects that were pointed at before; others are found by this frame alone.
        find: as `find_objects` for this frame.
    """
    new = positive(prompts) - known.keys()
    first = {n: _first(prompts, n) for n in sorted(new)}
    rest = [p for p in prompts if (p.number or 1) not in new]
    others = _others(labels, prompts, new)
    afresh = find([*first.values(), *rest, *others]) if new else np.zeros_like(labels)
    found = {number: afresh == number for number in first}
    known = dict(known)
    for number, prompt in first.items():
        if any((p.number or 1) == number and p != prompt for p in prompts):
            nothing = np.zeros(labels.shape, np.float32)
            held = (afresh > 0) & (afresh != number)
            known[number] = Followed(found[number], None, nothing, 0.0, held)
    for number in sorted({prompt.number or 1 for prompt in prompts} & known.keys()):
        own = [p for p in prompts if (p.number or 1) == number]
        if number in first and first[number].kind != BOX:
            own.remove(first[number])
        rest = [p for p in prompts if (p.number or 1) != number] + _others(
            labels, prompts, {number}
        )
        found[number] = corrected(frame, own, known[number], partial(_find_one, find, rest))
    return found


def _first(prompts: Sequence[Prompt], number: int) -> Prompt:
    """What tells an object, before other clicks in the frame correct it: a box, if there is one."""
    own = [p for p in prompts if (p.number or 1) == number and p.kind != NOT_POINT]
    return min(own, key=lambda prompt: prompt.kind != BOX)


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
    grown = held
    for seed in seeds:
        grown = grown | _around(frame, seed, known, sign=1)
    afresh = afresh & (~known.others | grown)
    is_apart = not (cv2.dilate(afresh.astype(np.uint8), np.ones((9, 9))) * mask).any()
    if is_apart and known.usual_size == 0:  # another part of it
        return mask | afresh
    if not mask.any() or (is_apart and afresh.sum() > _ELSEWHERE * known.usual_size):
        # it was lost, or something else was taken for it
        like = _connected((afresh & (known.likeness > _UNLIKE)) | held, seeds)
        return like if like.sum() > _ELSEWHERE * afresh.sum() else afresh | held
    if mask.sum() < _FEW * known.usual_size and afresh.sum() < _MANY * known.usual_size:
        grown = grown | _connected((afresh & (known.likeness > _UNLIKE)) | held, seeds)
    return mask | grown


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
    thin = kept & (cv2.morphologyEx(kept.astype(np.uint8), cv2.MORPH_OPEN, _SLIVER) == 0)
    kept &= ~(thin & (cv2.dilate(region.astype(np.uint8), _SLIVER) > 0))
    inside = cv2.distanceTransform(np.pad(kept, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    others = list(wanted)
    if not others and inside.max() > 2:
        y, x = np.unravel_index(int(inside.argmax()), inside.shape)
        others = [Prompt(POINT, ((float(x), float(y)),))]
    thing = find([replace(prompt, kind=POINT)], others)
    rest, lost = kept & ~thing, kept & thing
    if not lost.any() or rest.sum() < _REST * mask.sum():
        return kept
    less = known.likeness[rest].mean() - known.likeness[lost].mean()
    return rest if less > (_LESS if lost.sum() < rest.sum() else 2 * _LESS) else kept


def _around(frame: np.ndarray, seed: np.ndarray, known: Followed, *, sign: int) -> np.ndarray:
    """(H, W) bool: the region that a click is about. sign: 1 for what is the object, else -1."""
    apart = geodesic(frame, seed, _FAR * np.sqrt(4 * max(known.usual_size, known.mask.sum())))
    score = _FIRM * np.exp(-apart) - (_LITTLE if known.evidence is None else 1.0)
    if known.evidence is not None:
        score = score + 0.5 * sign * known.evidence.clip(-_DOUBT, _DOUBT)
    near = (score > 0) | seed
    if sign > 0 and (known.others & seed).sum() < _INSIDE * seed.sum():
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
    colours = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab = cv2.GaussianBlur(colours, (0, 0), 1.0)
    apart: np.ndarray = np.where(seed, 0, 100).astype(np.float32)
    steps: list[tuple[int, int, np.ndarray]] = []
    for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)):
        there = _moved(lab, y, x)
        edges = np.sqrt(((lab - there) ** 2).sum(axis=2)) / _EDGE
        steps.append((y, x, edges + float(np.hypot(y, x)) / reach))
    for _ in range(_SWEEPS):
        before = apart.copy()
        for y, x, cost in steps:
            np.minimum(apart, _moved(apart, y, x) + cost, out=apart)
            np.minimum(apart, _moved(apart + cost, -y, -x), out=apart)
        if np.array_equal(before, apart):
            break
    return apart


def _moved(picture: np.ndarray, y: int, x: int) -> np.ndarray:
    """The picture's pixels from y rows above and x columns before, the edge repeated."""
    rows = np.clip(np.arange(picture.shape[0]) - y, 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(picture.shape[1]) - x, 0, picture.shape[1] - 1)
    return picture[rows][:, columns]


def _find_one(
    find: Callable[[Sequence[Prompt]], np.ndarray],
    rest: Sequence[Prompt],
    prompts: Sequence[Prompt],
    others: Sequence[Prompt],
) -> np.ndarray:
    """(H, W) bool: what is pointed at. rest, others: what is said of other objects."""
    own = [replace(prompt, number=_OWN) for prompt in prompts]
    places = [p for p in (*rest, *others) if p.kind not in (BOX, NOT_POINT)]
    not_own = [replace(prompt, kind=NOT_POINT, number=_OWN) for prompt in places]
    return find([*own, *not_own]) == _OWN


def _others(labels: np.ndarray, prompts: Sequence[Prompt], numbers: set[int]) -> list[Prompt]:
    """A click on each of the other objects, where it was followed to: what is pointed at is told
    from them, as if all had been pointed at. Not where that is just what is pointed at."""
    reach = 0.05 * max(labels.shape)
    clicks = []
    for number in np.unique(labels).tolist():
        if number and number not in numbers:
            rows, columns = np.nonzero(labels == number)
            middle = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
            x, y = float(columns[middle.argmin()]), float(rows[middle.argmin()])
            given = [point for prompt in prompts for point in prompt.points]
            if all(abs(x - a) + abs(y - b) > reach for a, b in given):
                clicks.append(Prompt(POINT, ((x, y),), number=number))
    return clicks
