"""What stands before the people of a film, frame by frame: by its disparity, held together over
time, with soft edges.

Axes: H W pixels of the film, h w of the disparity, 3 = R G B.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from layers.runtime.cutouts import CutFrame
from layers.runtime.occluder import find_occluder
from scene.flow import flow_to, pull

REACH = 2  # frames before and after that have a say
NEEDED = 3  # of the 2 x REACH + 1, in which a thing has to be found
OVERLAP = 0.3  # of a thing's area, which is the same thing in another frame
EDGE = 4  # pixels of a picture of 192 rows: the band in which an edge is soft
SMOOTH = 1e-4  # eps of the guided filter


class WithDisparity(NamedTuple):
    """disparity: (h, w) float32 in [0, 1], 1 = near; None where it isn't needed."""

    cut: CutFrame
    disparity: np.ndarray | None


class _Seen(NamedTuple):
    item: WithDisparity
    found: np.ndarray  # (h, w) bool

    def picture(self) -> np.ndarray:
        """(h, w, 3) uint8."""
        rgb = self.item.cut.frame.rgb
        rgb = rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
        return cv2.resize(rgb, self.found.shape[::-1], interpolation=cv2.INTER_AREA)


def occluders_of(frames: Iterator[WithDisparity]) -> Iterator[tuple[WithDisparity, np.ndarray]]:
    """Every frame with the alpha of what stands before its people, (H, W) uint8; `REACH` frames are
    taken ahead, never across shots."""
    window: list[_Seen] = []  # of one shot
    place = 0  # in the window, of the next frame to be given out
    for item in frames:
        if item.cut.starts_shot:
            yield from _rest(window, place)
            window, place = [], 0
        window.append(_Seen(item, _find(item)))
        if len(window) - place > REACH:
            yield _give(window, place)
            place += 1
        if place > REACH:
            window.pop(0)
            place -= 1
    yield from _rest(window, place)


def _rest(window: Sequence[_Seen], place: int) -> Iterator[tuple[WithDisparity, np.ndarray]]:
    for number in range(place, len(window)):
        yield _give(window[max(0, number - REACH) :], min(number, REACH))


def _give(window: Sequence[_Seen], place: int) -> tuple[WithDisparity, np.ndarray]:
    item = window[place].item
    return item, soften(steady(_moved(window, place), place), item.cut.frame.rgb)


def _moved(window: Sequence[_Seen], place: int) -> list[np.ndarray]:
    """What was found in each frame, where it is in one of them: moved along the motion between
    them."""
    result = [seen.found for seen in window]
    if not any(found.any() for found in result[:place] + result[place + 1 :]):
        return result
    pictures = [seen.picture() for seen in window]
    for step in (1, -1):
        # from the frame that is asked for to those farther and farther away
        here, way = place, np.zeros((*result[place].shape, 2), np.float32)
        while 0 <= here + step < len(window):
            flow = flow_to(pictures[here], pictures[here + step])
            way = way + pull(flow, way)
            here += step
            result[here] = pull(result[here].astype(np.float32), way) > 0.5
    return result


def _find(item: WithDisparity) -> np.ndarray:
    """What stands before anybody in a frame, (h, w) bool."""
    assert item.disparity is not None
    disparity, persons = item.disparity, item.cut.persons
    found = np.zeros(disparity.shape, bool)
    masks = [
        cv2.resize(person.alpha, disparity.shape[::-1], interpolation=cv2.INTER_AREA) > 127
        for person in persons
    ]
    for mask in masks:
        found |= find_occluder(disparity, mask)
    for mask in masks:  # a person before another one is no thing
        found &= ~mask
    return found


def steady(found: Sequence[np.ndarray], place: int) -> np.ndarray:
    """What was found in one of some successive frames, without what is in few of them, and with
    what is there before and after.

    Args:
        found: (h, w) bool of each frame. place: of the frame that is asked for.
    """
    here = found[place]
    num, labels = cv2.connectedComponents(here.astype(np.uint8), connectivity=8)
    result = np.zeros_like(here)
    for number in range(1, num):
        thing = labels == number
        area = thing.sum()
        times = sum((thing & other).sum() >= OVERLAP * area for other in found)
        if times >= min(NEEDED, len(found)):
            result |= thing
    before, after = (
        np.logical_or.reduce([np.zeros_like(here), *others])
        for others in (found[max(0, place - REACH) : place], found[place + 1 : place + 1 + REACH])
    )
    return result | before & after


def soften(mask: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """A mask (h, w) bool at a picture's size, its edge along that of the picture: (H, W) uint8.

    In a band around the edge it is what a guided filter makes of it (He et al., "Guided Image
    Filtering", 2010), hard elsewhere. rgb: (H, W, 3) uint8 or uint16.
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
    square = np.ones(side, np.uint8)
    band = (cv2.dilate(hard, square) > 0) & (cv2.erode(hard, square) == 0)
    return np.rint(np.where(band, soft, hard).clip(0, 1) * 255).astype(np.uint8)
