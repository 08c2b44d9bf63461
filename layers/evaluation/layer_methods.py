"""Taking rendered clips apart as `split` does, people given.

Axes: T frames, H W pixels.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from layers.evaluation.layer_truth import LayerTruth, TakenApart
from layers.evaluation.methods import Fill
from layers.runtime.apart import Ids
from layers.runtime.cutouts import CutFrame, Cutout
from layers.runtime.hole_size import HoleSize
from layers.runtime.occluders import WithDisparity, occluders_of
from layers.runtime.split import Parts, find_holes
from nunif.video.reader import Frame


@dataclass(frozen=True)
class Method:
    """made_of: all that its results follow from. apart: how clips are taken apart. fill: of the
    scene; None where it isn't filled. tells_parts: whether what it was taken apart into is scored
    too."""

    apart: "Apart"
    fill: Fill | None
    made_of: Any
    tells_parts: bool = False


@dataclass
class Apart:
    """A clip, taken apart once however many methods ask.

    mask_grows: pixels by which the masks of people are wider than they are, or narrower.
    hole_size: as of `split`.
    """

    mask_grows: int
    hole_size: HoleSize
    _last: tuple[int, TakenApart] | None = field(default=None, init=False)

    def __call__(self, frames: np.ndarray, truth: LayerTruth) -> TakenApart:
        if self._last is None or self._last[0] != id(frames):
            self._last = id(frames), self._take_apart(frames, truth)
        return self._last[1]

    def _take_apart(self, frames: np.ndarray, truth: LayerTruth) -> TakenApart:
        ids = Ids(lambda cut: cut.frame.rgb)
        cuts = list(ids(self._cut(frames, truth.alpha)))
        near = (WithDisparity(cut, one) for cut, one in zip(cuts, truth.disparity))
        begin = time.process_time()
        found = list(occluders_of(near))
        seconds = time.process_time() - begin
        parts = list(find_holes(iter(found), self.hole_size))
        return TakenApart(
            np.stack([_not_none(part.occluder) for part in parts]),
            np.stack([part.hole for part in parts]),
            np.stack([_ids_of(part) for part in parts]),
            1000 * seconds / len(parts),
        )

    def _cut(self, frames: np.ndarray, alphas: np.ndarray) -> Iterator[CutFrame]:
        square = np.ones((2 * abs(self.mask_grows) + 1,) * 2, np.uint8)
        change = cv2.dilate if self.mask_grows > 0 else cv2.erode
        for number, (rgb, alpha) in enumerate(zip(frames, alphas)):
            if self.mask_grows:
                alpha = np.asarray(change(alpha, square), np.uint8)
            frame = Frame(rgb=rgb, pts=number, time=0.0, duration=1, picture=None)
            yield CutFrame(frame, number == 0, [Cutout(alpha)])


def _not_none(alpha: np.ndarray | None) -> np.ndarray:
    assert alpha is not None
    return alpha


def _ids_of(part: Parts) -> np.ndarray:
    alphas = np.stack([person.alpha for person in part.cut.persons])
    return np.where(alphas.max(axis=0) > 127, alphas.argmax(axis=0) + 1, 0).astype(np.uint8)
