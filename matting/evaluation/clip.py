"""A clip whose mattes are known, matted by a method and scored: what the loop of
`nunif.evaluation.judging` goes over.

Axes: T frames, H W pixels. Colours are (T, H, W, 3) uint8, alpha is (T, H, W) uint8, 255 = opaque.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from matting.evaluation.scores import OF_MATTES, by_frame, clip_scores
from nunif.evaluation.finished import key_of
from nunif.evaluation.report import Headline
from nunif.evaluation.views import Place, place_around

INPUT, TRUTH = "input", "truth"  # what is shown beside the methods

Mattes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # frames -> alpha, foreground


@dataclass(frozen=True)
class Method:
    """A way to matte. made_of: all that its mattes follow from, as JSON can hold it. is_timed:
    whether it has work to do."""

    mattes: Mattes
    made_of: Any = None
    is_timed: bool = True


@dataclass(frozen=True)
class Clip:
    """A clip with its truth.

    path: where it is from, for messages. number: its place among all, from 0. alpha, foreground:
        the truth; None where colours aren't known. headline: the score by which all clips are
        compared. is_shown: whether it is among the pictures of the report.
    """

    name: str
    path: Any
    number: int
    frames: np.ndarray
    alpha: np.ndarray
    foreground: np.ndarray | None = None
    headline: Headline = OF_MATTES
    is_shown: bool = True
    family: str | None = None

    @property
    def title(self) -> str:
        return self.name

    def key(self, program: Any) -> str:
        truth = (self.frames, self.alpha, self.foreground)
        return key_of(*truth, self.headline.score, program)

    def open(self) -> "MatteCase":
        return MatteCase(self)


@dataclass
class MatteCase:
    """A clip, ready for methods."""

    clip: Clip
    made_of: str | None = None

    @cached_property
    def place(self) -> Place:
        """At the edges, if they are soft."""
        alpha = self.clip.alpha
        soft = (alpha > 0) & (alpha < 255)
        return place_around(soft if soft.any() else alpha > 0)

    def shown(self) -> dict[str, np.ndarray]:
        return {INPUT: self.clip.frames, TRUTH: _grey(self.clip.alpha)}

    def run(self, method: Method) -> tuple[dict[str, Any], np.ndarray]:
        """Matte and score."""
        clip = self.clip
        begin = time.perf_counter()
        alpha, foreground = method.mattes(clip.frames)
        seconds = time.perf_counter() - begin
        result: dict[str, Any] = {
            "scores": clip_scores(alpha, foreground, clip.alpha, clip.foreground),
            "fps": len(alpha) / seconds if method.is_timed else math.nan,
            "frames": len(alpha),
            "curve": by_frame(clip.headline.score, alpha, clip.alpha),
        }
        return result, _grey(alpha)


def _grey(alpha: np.ndarray) -> np.ndarray:
    return np.repeat(alpha[..., None], 3, 3)
