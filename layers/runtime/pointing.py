"""From what a person points at in one frame to the masks of the objects that are meant.

A click on somebody whom the person finder sees takes its region, cut from those of others; any
other is cut out by GrabCut (Rother et al., 2004) within the circle around the click, of several,
whose cut follows edges best.

Axes: H W pixels; pictures are (H, W, 3) uint8 RGB; points are (x, y).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch

from layers.prompts import BOX, NOT_POINT, STROKE, Prompt
from layers.runtime.appearance import Box, box_of, colour_bins, histogram
from layers.runtime.heads import find_heads, parted
from matting.runtime.person_finder import find_people

LONGEST = 480  # pixels of the longer side at which objects are found and followed
_SEED = 0.012  # radius of a click, as a share of the shorter side
_SURE, _UNSURE = 0.95, 0.05  # of the finder's probability
_UPRIGHT = 0.35  # what a pixel up or down counts beside one to the side: people stand
_HEAD = 0.08  # how far a head stands out, as a share of the height of a group of people
_ABREAST = 0.6  # width to height; a wider region is looked at for several people
_CIRCLES = (0.06, 0.1, 0.16, 0.26, 0.4)  # radii, as shares of the shorter side
_ROUNDS = 3  # of GrabCut
_ZOOMS = (1.1, 1.35)  # sides of the squares in which a person is looked at closer, to the person's
_LOOKS = 2
_OVERLOOKED = 0.54  # the side of a square around the click where nobody was seen, in shorter sides
_FEWEST = 30  # pixels of a person
_MOVING = 0.35  # evidence above which a pixel moves against the background
_SHARE_MOVING = 0.3  # of somebody's pixels that move so, from which on what moves along belongs
_CARRIED = 0.7  # how far it reaches, to the square root of somebody's area
_RIM = 3  # pixels around somebody, which move along and aren't carried
_SURELY, _ALSO = 1.0, 0.7  # evidence, colours counted, of something carried; of all of it
_SOMETHING = 0.06  # of somebody's area, which something carried has at least

FindPeople = Callable[[np.ndarray], np.ndarray]


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) at which a frame of that size is worked on."""
    scale = min(1.0, LONGEST / max(size))
    return max(8, round(size[0] * scale)), max(8, round(size[1] * scale))


def shrink(frame: np.ndarray) -> np.ndarray:
    """The frame at its working size."""
    size = working_size((frame.shape[0], frame.shape[1]))
    if frame.shape[:2] == size:
        return frame
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)


def enlarge(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8 numbers -> (H, W), with edges that are smooth and not steps."""
    if labels.shape == size:
        return labels
    numbers = np.unique(labels)
    if len(numbers) == 1:
        return np.full(size, numbers[0], np.uint8)
    best = np.full(size, -1.0, np.float32)
    result = np.zeros(size, np.uint8)
    for number in numbers.tolist():
        share = cv2.resize((labels == number).astype(np.float32), size[::-1])
        result[share > best] = number
        best = np.maximum(best, share)
    return result


def people_in(frame: np.ndarray) -> np.ndarray:
    """(H, W) float32: how probable it is that a person is seen."""
    picture = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
    return find_people(picture / 255)[0, 0].numpy()


@dataclass(frozen=True)
class _Scene:
    """A frame, and what is known of it: see `find_objects`."""

    frame: np.ndarray
    people: np.ndarray
    moving: np.ndarray
    find_people: FindPeople


def mask_of_prompts(frame: np.ndarray, prompts: Sequence[Prompt]) -> np.ndarray:
    """What is pointed at in a frame: for a preview at once, and to be followed from there.

    Args:
        frame: (H, W, 3) uint8, of any size.
        prompts: all of this frame; one without a number is of object 1.
    Returns: (H, W) uint8, the number of an object, 0 elsewhere.
    """
    size = (frame.shape[0], frame.shape[1])
    return enlarge(find_objects(shrink(frame), scaled(prompts, size)), size)


def scaled(prompts: Sequence[Prompt], size: tuple[int, int]) -> list[Prompt]:
    """The prompts for a frame of the size (H, W) at its working size."""
    height, width = working_size(size)
    x, y = width / size[1], height / size[0]
    return [replace(p, points=tuple((a * x, b * y) for a, b in p.points)) for p in prompts]


def find_objects(
    frame: np.ndarray,
    prompts: Sequence[Prompt],
    people: np.ndarray | None = None,
    moving: np.ndarray | None = None,
    find_people: FindPeople = people_in,
) -> np.ndarray:
    """`mask_of_prompts` at the working size.

    Args:
        people: `find_people`'s of the frame, if it is at hand.
        moving: `stands_out`'s of the frame, if others are known before or after it.
        find_people: (H, W, 3) uint8 of any size -> (H, W), how probable it is that one is seen.
    """
    people = find_people(frame) if people is None else people
    moving = np.zeros(people.shape, np.float32) if moving is None else moving
    scene = _Scene(frame, people, moving, find_people)
    prompts = [replace(prompt, number=prompt.number or 1) for prompt in prompts]
    numbers = list(dict.fromkeys(p.number or 1 for p in prompts if p.kind != NOT_POINT))
    labels = np.zeros(frame.shape[:2], np.uint8)
    seeds = {number: np.zeros(labels.shape, bool) for number in numbers}
    for prompt in prompts:
        if prompt.kind not in (NOT_POINT, BOX):
            seeds[prompt.number or 1] |= drawn(prompt, labels.shape)
    for number in numbers:
        others = np.zeros(labels.shape, bool)
        for prompt in prompts:
            if prompt.kind == NOT_POINT and prompt.number == number:
                others |= drawn(prompt, labels.shape)
        for other, seed in seeds.items():
            others |= seed if other != number else False
        box = next((p for p in prompts if p.kind == BOX and p.number == number), None)
        mask = _cut_out(scene, seeds[number], others, box)
        labels[mask & (labels == 0)] = number
    for number, seed in seeds.items():
        labels[seed] = number
    return labels


def drawn(prompt: Prompt, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: the pixels of a click or a stroke."""
    picture = np.zeros(size, np.uint8)
    radius = max(1, round(_SEED * min(size)))
    places = np.array(prompt.points).round().astype(np.int32)
    if prompt.kind == STROKE and len(places) > 1:
        cv2.polylines(picture, [places.reshape(-1, 1, 2)], False, 1, 2 * radius + 1)
    else:
        for x, y in places.tolist():
            cv2.circle(picture, (x, y), radius, 1, -1)
    return picture > 0


def _cut_out(scene: _Scene, seed: np.ndarray, others: np.ndarray, box: Prompt | None) -> np.ndarray:
    """(H, W) bool: one object. others: what is known to be none of it. box: around it."""
    allowed = np.ones(seed.shape, bool)
    if box is not None:
        (left, top), (right, bottom) = box.points
        allowed[:] = False
        allowed[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
    people = scene.people * allowed
    is_person = (
        (people > 0.5).sum() > 0.2 * allowed.sum()
        if not seed.any()
        else (people[seed] > 0.5).mean() > 0.5
    )
    body = seed
    if is_person:
        if seed.any():
            region = _with_seed(people > 0.5, seed)
            around = box_of(region)
            heads = find_heads(scene.frame, around) if around else []
            own, far = parted(region, seed, heads)
            body, others = seed | own, others | far
        start = box_of(_person(people > 0.5, body, others))
    else:
        start = _square(seed) if seed.any() and box is None else None
    found = start and _look_closer(scene, start, body, others, allowed)
    if found:
        person, people = found
        reach = max(3, round(0.04 * np.sqrt(person.sum())))
        near = cv2.dilate(person.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
        near &= allowed & (_nearer(body, others, _UPRIGHT) if seed.any() else True)
        sure = seed | (person & (people > _SURE) & (_depth(person) > 2))
        mask = _grab(scene.frame, sure, person, near & (people > _UNSURE), others)
        return _with_carried(scene, mask, body, others, allowed)
    if box is not None:
        middle = allowed & (_depth(allowed) > 0.5 * _depth(allowed).max())
        return _grab(scene.frame, seed, middle | seed, allowed, others)
    return _best_circle(scene.frame, seed, others)


def _square(seed: np.ndarray) -> Box:
    """Around a seed, as large as somebody who was overlooked may be."""
    rows, columns = np.nonzero(seed)
    reach = round(_OVERLOOKED * min(seed.shape) / 2)
    x, y = int(columns.mean()), int(rows.mean())
    return x - reach, y - reach, x + reach, y + reach


def _look_closer(
    scene: _Scene, start: Box, seed: np.ndarray, others: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Who is in a box, found in squares around it: the finder sees edges better in them, and whom
    they show best. Returns: where, (H, W) bool, and how probable; None where nobody is."""
    box: Box | None = start
    person = people = np.zeros(seed.shape, np.float32)
    for _ in range(_LOOKS):
        if box is None:
            return None
        people = allowed * np.mean([closer(scene, box, zoom) for zoom in _ZOOMS], axis=0)
        person = _person(people > 0.5, seed, others)
        box = box_of(person)
    is_there = box is not None and (not seed.any() or (people[seed] > 0.5).mean() > 0.5)
    return (person, people) if is_there and person.sum() > _FEWEST else None


def closer(scene: _Scene, box: Box, zoom: float) -> np.ndarray:
    """(H, W) float32: how probable it is that somebody is seen, in a square around a box whose
    side is `zoom` times the box's longer one; 0 outside of it."""
    left, top, right, bottom = box
    side = max(16, round(zoom * max(right - left, bottom - top)))
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    height, width = scene.people.shape
    rows, columns = slice(max(0, y), min(height, y + side)), slice(max(0, x), min(width, x + side))
    result = np.zeros((height, width), np.float32)
    part = scene.frame[rows, columns]
    if part.size:
        above, before = rows.start - y, columns.start - x
        below, behind = side - above - part.shape[0], side - before - part.shape[1]
        edge = cv2.BORDER_REPLICATE
        square = cv2.copyMakeBorder(part, above, below, before, behind, edge)
        seen = scene.find_people(square)
        result[rows, columns] = seen[above : side - below, before : side - behind]
    return result


def _with_carried(
    scene: _Scene, mask: np.ndarray, body: np.ndarray, others: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """A person with what moves with them against the background, such as a bicycle: what sticks out
    of them, moves, and looks like what moves and not like what doesn't."""
    moves = scene.moving > _MOVING
    if not mask.any() or (moves & mask).sum() < _SHARE_MOVING * mask.sum():
        return mask
    away = _depth(~mask)
    near = (away <= _CARRIED * np.sqrt(mask.sum())) & allowed & ~others
    near &= _nearer(body, others, _UPRIGHT) & (mask | (scene.people < 0.5))  # not other people
    bins = colour_bins(cv2.cvtColor(scene.frame, cv2.COLOR_RGB2LAB))
    moving = (moves & mask) | (near & (scene.moving > 1.2))
    looks, around = (
        histogram(bins, part.astype(np.float32))
        for part in (moving, near & ~mask & (scene.moving < -0.7))
    )
    like = np.log((looks[bins] + 1e-4) / (around[bins] + 1e-4)).clip(-2, 2).astype(np.float32)
    score = scene.moving + cv2.blur(like, (3, 3))
    apart = near & (score > _SURELY) & (away > _RIM)
    count, _, stats, _ = cv2.connectedComponentsWithStats(apart.astype(np.uint8))
    if count < 2 or stats[1:, cv2.CC_STAT_AREA].max() < _SOMETHING * mask.sum():
        return mask
    return _with_seed(mask | (near & (score > _ALSO) & (scene.moving > 0)), mask)


def _person(likely: np.ndarray, seed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The part of where people are that belongs to the one pointed at."""
    if not seed.any():
        return likely
    _, parts = cv2.connectedComponents(likely.astype(np.uint8))
    own = np.unique(parts[seed & likely])
    region = np.isin(parts, own[own > 0])
    if (region & others).any():
        return region & _nearer(seed, others, _UPRIGHT)
    box = box_of(region)
    if box is None or (box[2] - box[0]) < _ABREAST * (box[3] - box[1]):
        return region
    left, right = _between_heads(region, box, seed)
    region[:, :left] = False
    region[:, right:] = False
    return region


def _between_heads(region: np.ndarray, box: Box, seed: np.ndarray) -> tuple[int, int]:
    """The columns from and to which the person reaches who was pointed at, of some who stand side
    by side: heads stand out above, and between two it is lower."""
    left, top, right, bottom = box
    outline = region[top:bottom, left:right].argmax(axis=0).astype(np.float32)
    outline[~region[top:bottom, left:right].any(axis=0)] = bottom - top
    prominent = _HEAD * (bottom - top)
    cuts, highest, lowest, rises = [], outline[0], outline[0], True
    valley = 0
    for column, height in enumerate(outline.tolist()):
        if rises:  # towards a head, which is at a smaller row
            highest = min(highest, height)
            if height > highest + prominent:
                rises, lowest, valley = False, height, column
        elif height > lowest:
            lowest, valley = height, column
        elif height < lowest - prominent:
            cuts.append(left + valley)
            rises, highest = True, height
    middle = int(np.median(np.nonzero(seed)[1]))
    return (
        max((cut for cut in cuts if cut <= middle), default=left),
        min((cut for cut in cuts if cut > middle), default=right),
    )


def _nearer(seed: np.ndarray, others: np.ndarray, upright: float = 1.0) -> np.ndarray:
    """(H, W) bool: where the one is nearer than the others. upright: what a row counts beside a
    column."""
    if not others.any():
        return np.ones(seed.shape, bool)
    size = (seed.shape[1], max(1, round(seed.shape[0] * upright)))
    apart = []
    for each in (seed, others):
        flat = cv2.resize(each.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
        apart.append(_depth(~flat))
    nearer = (apart[0] <= apart[1]).astype(np.uint8)
    return cv2.resize(nearer, seed.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _depth(mask: np.ndarray) -> np.ndarray:
    """How far inside a pixel lies."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


def _grab(
    frame: np.ndarray,
    sure: np.ndarray,
    likely: np.ndarray,
    possible: np.ndarray,
    never: np.ndarray,
) -> np.ndarray:
    """GrabCut from what is surely the object, likely it, possible, and never."""
    marks = np.full(frame.shape[:2], cv2.GC_BGD, np.uint8)
    marks[possible] = cv2.GC_PR_BGD
    marks[likely] = cv2.GC_PR_FGD
    marks[never] = cv2.GC_BGD
    marks[sure & ~never] = cv2.GC_FGD
    box = box_of(marks != cv2.GC_BGD)
    if box is None:
        return sure
    margin = max(8, (box[2] - box[0] + box[3] - box[1]) // 4)  # of what surrounds it
    rows = slice(max(0, box[1] - margin), box[3] + margin)
    columns = slice(max(0, box[0] - margin), box[2] + margin)
    part, own = np.ascontiguousarray(frame[rows, columns]), marks[rows, columns].copy()
    kinds = np.unique(own)
    if not np.isin(kinds, (cv2.GC_FGD, cv2.GC_PR_FGD)).any() or (kinds % 2 == 1).all():
        return likely | sure
    cv2.setRNGSeed(0)  # its clusters start at random
    models = [np.zeros((1, 65)) for _ in range(2)]
    whole = (0, 0, own.shape[1], own.shape[0])  # the marks say what is what
    cv2.grabCut(part, own, whole, models[0], models[1], _ROUNDS, cv2.GC_INIT_WITH_MASK)
    mask = np.zeros(marks.shape, bool)
    mask[rows, columns] = (own == cv2.GC_FGD) | (own == cv2.GC_PR_FGD)
    return _with_seed(mask, sure) if sure.any() else mask


def _with_seed(mask: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that hold some of the seed, small gaps in them closed."""
    closed = cv2.morphologyEx((mask | seed).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3)))
    _, parts = cv2.connectedComponents(closed)
    own = np.unique(parts[seed])
    return np.isin(parts, own[own > 0])


def _best_circle(frame: np.ndarray, seed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """An object of unknown size around a seed."""
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.float32)
    outside = cv2.distanceTransform((~seed).astype(np.uint8), cv2.DIST_L2, 5)
    nearer = _nearer(seed, others)
    grabbed = partial(_grab, frame, seed)
    best, highest = seed, -1.0
    for share in _CIRCLES:
        radius = share * min(seed.shape)
        circle = (outside <= radius) & nearer
        mask = grabbed((outside <= 0.6 * radius) & nearer, circle, others)
        score = _edge_score(lab, mask, circle)
        if score > highest:
            best, highest = mask, score
    return best


def _edge_score(lab: np.ndarray, mask: np.ndarray, circle: np.ndarray) -> float:
    """How well a mask's border lies on edges: the mean difference of colour across it, where the
    circle's own border counts as none."""
    small = np.ones((3, 3), np.uint8)
    inside = mask.astype(np.uint8)
    border = mask & (cv2.erode(inside, small, borderType=cv2.BORDER_REPLICATE) == 0)
    free = cv2.erode(circle.astype(np.uint8), small, borderType=cv2.BORDER_REPLICATE) > 0
    if border.sum() < 8:
        return 0.0
    weight = [cv2.blur(part.astype(np.float32), (7, 7)) for part in (mask, ~mask)]
    colours = [cv2.blur(lab * part[..., None].astype(np.float32), (7, 7)) for part in (mask, ~mask)]
    inner, outer = (c / np.maximum(w, 1e-3)[..., None] for c, w in zip(colours, weight))
    apart = np.sqrt(((inner - outer) ** 2).sum(axis=2))
    return float((apart * free)[border].mean())
