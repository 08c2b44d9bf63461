"""What is known of a clip from which people are removed, and how a removal is scored by it.

Axes: T frames, H W pixels. Pictures are (T, H, W, 3) uint8, holes and masks (T, H, W) bool; scores
of pictures pool squared errors over all frames of a clip, in grey levels.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from nunif.evaluation.report import Headline

RING_SHARE = 48  # of a frame's rows is the width of the ring around a person
FAR = 25  # grey levels: what differs more is seen
MAX_PSNR = 100.0  # dB, of a picture without any error


class Removal(NamedTuple):
    """What a method made of a clip.

    found: where it is sure of a person. hole: what it cut out. result: the clip with the hole
        filled; None where nothing is filled.
    """

    found: np.ndarray
    hole: np.ndarray
    result: np.ndarray | None


class Truth(Protocol):
    """headline: the score that methods are compared by. needs_fill: whether removals are to be
    filled."""

    headline: Headline
    needs_fill: bool

    def persons(self) -> np.ndarray:
        """(T, H, W) bool: who is to be removed."""
        ...

    def shown(self) -> np.ndarray:
        """(T, H, W, 3) uint8: what stands beside the methods as the truth."""
        ...

    def arrays(self) -> list[np.ndarray]:
        """All that scores follow from."""
        ...

    def score(self, frames: np.ndarray, removal: Removal) -> tuple[dict[str, float], list[float]]:
        """All scores of a removal, and the headline score frame by frame."""
        ...


@dataclass
class Errors:
    """Squared errors of some pixels of the frames of a clip."""

    total: float = 0.0
    count: int = 0

    def add(self, wrong: np.ndarray) -> float:
        """wrong: (N, 3), grey levels. Returns: PSNR of these alone."""
        now = Errors(float(np.square(wrong, dtype=np.float64).sum()), wrong.size)
        self.total, self.count = self.total + now.total, self.count + now.count
        return now.psnr

    @property
    def psnr(self) -> float:
        """In dB; NaN without any pixel."""
        if not self.count:
            return math.nan
        if not self.total:
            return MAX_PSNR
        return min(MAX_PSNR, 10 * math.log10(255**2 * self.count / self.total))


def share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def hole_scores(hole: np.ndarray, persons: np.ndarray) -> dict[str, float]:
    """How well holes cover persons: pooled over frames, and of the worst frame with a person."""
    covered = [float((h & p).sum()) for h, p in zip(hole, persons)]
    sizes = [float(p.sum()) for p in persons]
    recalls = [share(c, s) for c, s in zip(covered, sizes) if s]
    return {
        "recall": share(sum(recalls), len(recalls)),
        "recall_min": min(recalls, default=math.nan),
        "hole_area": share(float(hole[persons.any(axis=(1, 2))].sum()), sum(sizes)),
    }


def num_touched(frames: np.ndarray, removal: Removal) -> int:
    """Pixels that were changed outside of all holes."""
    assert removal.result is not None
    changed = (f != r for f, r in zip(frames, removal.result))
    return sum(int((c.any(axis=2) & ~h).sum()) for c, h in zip(changed, removal.hole))


def grown(mask: np.ndarray, radius: int) -> np.ndarray:
    """A mask (H, W) bool, larger by a disc."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc)) > 0


@dataclass(frozen=True)
class Scene:
    """Rendered people: alpha (T, H, W) uint8 and the scene without them, R, are known."""

    alpha: np.ndarray
    without: np.ndarray
    headline = Headline("inside", name="PSNR where the person was", unit="dB")
    needs_fill = True

    def persons(self) -> np.ndarray:
        return self.alpha > 127

    def shown(self) -> np.ndarray:
        return self.without

    def arrays(self) -> list[np.ndarray]:
        return [self.alpha, self.without]

    def score(self, frames: np.ndarray, removal: Removal) -> tuple[dict[str, float], list[float]]:
        """ring, inside, outside: Q = {A > 0} grown by H / 48 rows without {A > 1/2}; {A > 1/2}; all
        else. flicker: mean |change of the result - change of R| in grown Q."""
        assert removal.result is not None
        radius = round(frames.shape[1] / RING_SHARE)
        ring, inside, outside, curve = Errors(), Errors(), Errors(), []
        flicker, before = Errors(), None
        for alpha, truth, result in zip(self.alpha, self.without, removal.result):
            wrong = result.astype(np.float32) - truth
            near, within = grown(alpha > 0, radius), alpha > 127
            curve.append(inside.add(wrong[within]))
            ring.add(wrong[near & ~within])
            outside.add(wrong[~near])
            if before is not None:
                changes = np.abs(wrong - before)[near]
                flicker.total += float(changes.sum())
                flicker.count += changes.size
            before = wrong
        scores = {"ring": ring.psnr, "inside": inside.psnr, "outside": outside.psnr}
        scores |= {"flicker": share(flicker.total, flicker.count)}
        scores |= hole_scores(removal.hole, self.persons())
        return scores | {"touched": num_touched(frames, removal)}, curve


@dataclass(frozen=True)
class Masks:
    """People marked by others; what is behind them nobody knows."""

    marked: np.ndarray
    headline = Headline("recall", name="recall of the hole", digits=3)
    needs_fill = False

    def persons(self) -> np.ndarray:
        return self.marked

    def shown(self) -> np.ndarray:
        return np.repeat((self.marked * np.uint8(255))[..., None], 3, axis=3)

    def arrays(self) -> list[np.ndarray]:
        return [self.marked]

    def score(self, frames: np.ndarray, removal: Removal) -> tuple[dict[str, float], list[float]]:
        scores = hole_scores(removal.hole, self.marked)
        overlaps = [_overlap(f, m) for f, m in zip(removal.found, self.marked) if m.any()]
        scores |= {"iou": share(sum(overlaps), len(overlaps))}
        scores |= {"iou_min": min(overlaps, default=math.nan)}
        pairs = zip(removal.hole, self.marked)
        return scores, [share(float((h & m).sum()), float(m.sum())) for h, m in pairs]


def _overlap(found: np.ndarray, marked: np.ndarray) -> float:
    return share(float((found & marked).sum()), float((found | marked).sum()))
