"""Shot boundaries: in a short run of frames, and along a whole film.

Axes: H W pixels, 3 = R G B.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Any, TypeVar

import numpy as np

# The detector compares a frame with this many frames before and after it.
CUT_MARGIN = 2

T = TypeVar("T")

_WIDTH = 256  # pixels; the decisions are those of the full size at a thirtieth of the cost


def find_cuts(frames: Sequence[np.ndarray], *, still_ends: bool = False) -> list[int]:
    """Where a new shot starts, by PySceneDetect's AdaptiveDetector with its default thresholds.

    Only positions with a full window can be reported: CUT_MARGIN <= i < len(frames) - CUT_MARGIN.
    To learn about every position of a clip (a cut at its first frame does it no harm), hand in
    CUT_MARGIN - 1 more frames before it and CUT_MARGIN after it. At i = CUT_MARGIN the window holds
    the run's first frame, which has nothing to differ from, so the bar is a quarter lower there;
    one more frame before avoids that. A run shorter than the window (5 frames) has no cuts.
    Dissolves and jump cuts within one framing are not found.

    Args:
        frames: (H, W, 3) uint8 RGB pictures of one size, consecutive, 16 to 40 of them.
        still_ends: as `mark_cuts`, which has every position but the first reported: the first and
            the last picture are taken to stand still beyond the run.

    Returns:
        Ascending indices i such that frames[i] is the first of a new shot.
    """
    starts_shot = _cut_detector()
    num_still = CUT_MARGIN if still_ends else 0
    first, last = list(frames[:1]), list(frames[-1:])
    run = chain(first * num_still, frames, last * num_still)
    places = (index for index, frame in enumerate(run) if starts_shot(frame))
    return [place - CUT_MARGIN - num_still for place in places]


def _itself(item: Any) -> np.ndarray:
    return item


def mark_cuts(
    frames: Iterable[T], picture: Callable[[T], np.ndarray] = _itself
) -> Iterator[tuple[T, bool]]:
    """Each item of a film with whether a new shot starts with it; never with the first. Holds
    CUT_MARGIN + 1 items.

    Decides as `find_cuts` does over the whole film, and at its ends as though the first and the
    last picture stood still, so that a cut is also found there.

    Args:
        frames: items of any kind, in order; taken CUT_MARGIN further than what is given out.
        picture: an item's picture, (H, W, 3) uint8 or uint16 RGB, all of one size.
    """
    starts_shot = _cut_detector()
    held: deque[T] = deque()
    rgb = None
    for item in frames:
        is_first, rgb = rgb is None, picture(item)
        for _ in range(CUT_MARGIN if is_first else 0):
            starts_shot(rgb)
        is_cut = starts_shot(rgb)  # tells about the item CUT_MARGIN before this one
        held.append(item)
        if len(held) > CUT_MARGIN:
            yield held.popleft(), is_cut
    for num_left in reversed(range(CUT_MARGIN)):
        if rgb is not None:
            is_cut = starts_shot(rgb)
            if len(held) > num_left:
                yield held.popleft(), is_cut


def _cut_detector() -> Callable[[np.ndarray], bool]:
    """A function to be given picture after picture: whether a new shot starts CUT_MARGIN pictures
    before this one."""
    import cv2
    from scenedetect import AdaptiveDetector, FrameTimecode

    # Any number of cuts may follow each other closely: each of them spoils a clip.
    detector = AdaptiveDetector(min_scene_len=1, window_width=CUT_MARGIN)
    numbers = count()
    fps = 24.0  # only a unit for counting frames; scenedetect refuses whole numbers

    def starts_shot(rgb: np.ndarray) -> bool:
        height, width = rgb.shape[:2]
        if width > _WIDTH:
            small_size = (_WIDTH, max(1, round(height * _WIDTH / width)))
            rgb = cv2.resize(rgb, small_size, interpolation=cv2.INTER_LINEAR)
        if rgb.dtype == np.uint16:
            rgb = (rgb >> 8).astype(np.uint8)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        return bool(detector.process_frame(FrameTimecode(next(numbers), fps), bgr))

    return starts_shot
