"""What stands before the people of a film, frame by frame: by its disparity, held together over
time, with soft edges.

Axes: H W pixels of the film, h w of the disparity, 3 = R G B.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from layers.runtime.cutouts import CutFrame
from layers.runtime.occluder import LEAST_AREA, Found, find_occluder
from scene.flow import flow_to, pull

REACH = 2  # frames before and after that have a say
NEEDED = 3  # of the 2 x REACH + 1, in which a thing has to be seen
OVERLAP = 0.3  # of a thing's area, which is the same thing in another frame
EDGE = 3  # pixels of a picture of 192 rows: the band in which an edge is soft
SMOOTH = 1e-3  # eps of the guided filter


class WithDisparity(NamedTuple):
    """disparity: (h, w) float32 in [0, 1], 1 = near; None where it isn't needed."""

    cut: CutFrame
    disparity: np.ndarray | None


@dataclass(eq=False)
class Seen:
    """What was found in a frame. persons: (h, w) bool, where anybody is; nothing found is there."""

    item: WithDisparity
    found: Found
    persons: np.ndarray

    @cached_property
    def picture(self) -> np.ndarray:
        """(h, w, 3) uint8."""
        rgb = self.item.cut.frame.rgb
        rgb = rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
        return cv2.resize(rgb, self.persons.shape[::-1], interpolation=cv2.INTER_AREA)


class _Link:
    """Two successive frames and the motion from each to the other, looked for once."""

    def __init__(self, first: Seen, then: Seen) -> None:
        self._first, self._then = first, then

    @cached_property
    def ahead(self) -> np.ndarray:
        return flow_to(self._first.picture, self._then.picture)

    @cached_property
    def back(self) -> np.ndarray:
        return flow_to(self._then.picture, self._first.picture)


def occluders_of(frames: Iterator[WithDisparity]) -> Iterator[tuple[WithDisparity, np.ndarray]]:
    """Every frame with the alpha of what stands before its people, (H, W) uint8; `REACH` frames are
    taken ahead, never across shots."""
    window: list[Seen] = []  # of one shot
    links: list[_Link] = []  # between them
    place = 0  # in the window, of the next frame to be given out
    for item in frames:
        if item.cut.starts_shot:
            yield from _rest(window, links, place)
            window, links, place = [], [], 0
        window.append(_find(item))
        if len(window) > 1:
            links.append(_Link(*window[-2:]))
        if len(window) - place > REACH:
            yield _give(window, links, place)
            place += 1
        if place > REACH:
            window.pop(0)
            links.pop(0)
            place -= 1
    yield from _rest(window, links, place)


def _rest(
    window: Sequence[Seen], links: Sequence[_Link], place: int
) -> Iterator[tuple[WithDisparity, np.ndarray]]:
    for number in range(place, len(window)):
        first = max(0, number - REACH)
        yield _give(window[first:], links[first:], number - first)


def _give(
    window: Sequence[Seen], links: Sequence[_Link], place: int
) -> tuple[WithDisparity, np.ndarray]:
    item = window[place].item
    found = [seen.found for seen in window]
    mask = steady(_moved(found, links, place), place, [seen.persons for seen in window])
    return item, soften(mask, item.cut.frame.rgb)


def _moved(found: Sequence[Found], links: Sequence[_Link], place: int) -> list[Found]:
    """What was found in each frame, where it is in one of them: moved along the motion between
    them."""
    result = list(found)
    if not any(one.before.any() for one in found):
        return result
    for step in (1, -1):
        # from the frame that is asked for to those farther and farther away
        here, way = place, np.zeros((*found[place].before.shape, 2), np.float32)
        while 0 <= here + step < len(found):
            along = links[here].ahead if step == 1 else links[here - 1].back
            way = way + pull(along, way)
            here += step
            result[here] = Found(*(pull(x.astype(np.float32), way) > 0.5 for x in found[here]))
    return result


def _find(item: WithDisparity) -> Seen:
    """What stands before anybody in a frame."""
    assert item.disparity is not None
    disparity = item.disparity
    before, near, anybody = (np.zeros(disparity.shape, bool) for _ in range(3))
    masks = [
        cv2.resize(person.alpha, disparity.shape[::-1], interpolation=cv2.INTER_AREA) > 127
        for person in item.cut.persons
    ]
    for mask in masks:
        found = find_occluder(disparity, mask)
        before, near, anybody = before | found.before, near | found.near, anybody | mask
    # a person before another one is no thing
    return Seen(item, Found(before & ~anybody, near & ~anybody), anybody)


def steady(found: Sequence[Found], place: int, persons: Sequence[np.ndarray]) -> np.ndarray:
    """What stands before people in one of some successive frames, thing by thing: none that is
    seen in few of them, and one that does so before and after too.

    A thing needs not touch somebody in all of these frames, but it has to be there.

    Args:
        found: of each frame, at its place in the frame that is asked for.
        place: of that frame. persons: (h, w) bool, where somebody is in each frame; where nobody
            is nothing is found, and nothing follows from that.
    Returns: (h, w) bool.
    """
    here = found[place]
    result = np.zeros_like(here.before)
    needed = min(NEEDED, sum(bool(one.any()) for one in persons))
    for thing in _things(here.before):
        if sum(_is_in(thing, one.near) for one in found) >= needed:
            result |= thing
    earlier, later = (
        np.logical_or.reduce([np.zeros_like(here.before), *(one.before for one in others)])
        for others in (found[max(0, place - REACH) : place], found[place + 1 : place + 1 + REACH])
    )
    both = earlier & later & ~persons[place]
    for thing in _things(here.near & ~result):
        if _is_in(thing, both):
            result |= thing
    for thing in _things(both):
        if not _is_in(thing, here.near | result):
            result |= thing
    return result


def _things(mask: np.ndarray) -> Iterator[np.ndarray]:
    num, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for number in range(1, num):
        if stats[number, cv2.CC_STAT_AREA] >= LEAST_AREA * mask.size:
            yield labels == number


def _is_in(thing: np.ndarray, others: np.ndarray) -> bool:
    return bool((thing & others).sum() >= OVERLAP * thing.sum())


def soften(mask: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """A mask (h, w) bool at a picture's size, its edge soft as that of the picture: (H, W) uint8.

    In a band around the edge it is what a guided filter makes of it (He et al., "Guided Image
    Filtering", 2010), hard elsewhere. But half covered it is where the mask ends, whatever colours
    are alike: else edges flicker as what is behind them changes.

    rgb: (H, W, 3) uint8 or uint16.
    """
    height, width = rgb.shape[:2]
    if not mask.any():
        return np.zeros((height, width), np.uint8)
    large = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    radius = EDGE * max(1, round(min(height, width) / 192))
    guide = cv2.cvtColor(rgb.astype(np.float32) / np.iinfo(rgb.dtype).max, cv2.COLOR_RGB2GRAY)
    side = (2 * radius + 1,) * 2
    mean, target = cv2.blur(guide, side), cv2.blur(large, side)
    slope = (cv2.blur(guide * large, side) - mean * target) / (
        cv2.blur(guide * guide, side) - mean * mean + SMOOTH
    )
    soft = cv2.blur(slope, side) * guide + cv2.blur(target - slope * mean, side)
    hard = (large > 0.5).astype(np.uint8)
    held = np.where(hard > 0, np.maximum(soft, 128 / 255), np.minimum(soft, 127 / 255))
    square = np.ones(side, np.uint8)
    band = (cv2.dilate(hard, square) > 0) & (cv2.erode(hard, square) == 0)
    return np.rint(np.where(band, held, hard).clip(0, 1) * 255).astype(np.uint8)
