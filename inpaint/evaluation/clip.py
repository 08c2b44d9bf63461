"""A clip with holes whose truth is known, filled by a method and scored: what the loop of
`nunif.evaluation.judging` goes over.

Axes: T frames, H W pixels. Pictures are (T, H, W, 3), as uint8 or as float32 in [-1, 1]; holes are
    (T, H, W) bool, True = missing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from inpaint.evaluation.pixels import as_uint8, fill_in
from inpaint.evaluation.scores import curve_of
from nunif.evaluation.finished import key_of
from nunif.evaluation.views import Place, place_around
from scene.masks import paint_holes

INPUT, TRUTH = "input", "truth"  # what is shown beside the methods

# Frames (T, H, W, 3) uint8 that are 0 in the holes, and the holes -> filled frames: uint8 as a film
# holds them, or float32 in [-1, 1] where what a network gives is to be scored as it is.
Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A way to fill holes. made_of: all that its pictures follow from, as JSON can hold it."""

    fill: Fill
    made_of: Any = None


@dataclass(frozen=True)
class Holes:
    """The holes of a clip, in a word what made them, and how what is put into them is scored.

    score: filled pictures -> scores, each under its name.
    """

    holes: np.ndarray
    made_of: str | None
    score: Callable[[np.ndarray], dict[str, float]]


@dataclass(frozen=True)
class Clip:
    """A clip and the way to its holes, which may take long to make.

    path: where it is from, for messages. number: its place among all, from 0.
    frames: the truth, uint8. family: the kind of its holes; None where there are no kinds.
    holes_of: makes the holes; raises BadClip where it can't. made_of: what they follow from beside
        the frames, as JSON can hold it.
    is_shown: whether it is among the pictures of the report.
    """

    name: str
    path: Any
    number: int
    frames: np.ndarray
    holes_of: Callable[[], Holes]
    family: str | None = None
    made_of: Any = None
    is_shown: bool = True

    @property
    def title(self) -> str:
        return f"{self.name}, {self.family}" if self.family else self.name

    def key(self, program: Any) -> str:
        return key_of(self.frames, self.family, self.made_of, program)

    def open(self) -> "HoleCase":
        return HoleCase(self)


@dataclass
class HoleCase:
    """A clip with its holes, which are made when they are asked for."""

    clip: Clip

    @cached_property
    def holes(self) -> Holes:
        return self.clip.holes_of()

    @property
    def made_of(self) -> str | None:
        return self.holes.made_of

    @cached_property
    def place(self) -> Place:
        return place_around(self.holes.holes)

    @cached_property
    def emptied(self) -> np.ndarray:
        return np.where(self.holes.holes[..., None], np.uint8(0), self.clip.frames)

    def shown(self) -> dict[str, np.ndarray]:
        frames = self.clip.frames
        return {INPUT: paint_holes(frames, self.holes.holes), TRUTH: frames}

    def run(self, method: Method) -> tuple[dict[str, Any], np.ndarray]:
        """Fill and score."""
        frames, holes = self.clip.frames, self.holes.holes
        emptied = self.emptied
        begin = time.perf_counter()
        output = method.fill(emptied, holes)
        seconds = time.perf_counter() - begin
        output = fill_in(output, frames, holes)
        pictures = as_uint8(output)
        result: dict[str, Any] = {
            "made_of": self.holes.made_of,
            "scores": self.holes.score(output),
            "fps": len(frames) / seconds,
            "frames": len(frames),
            "curve": curve_of(pictures, frames, holes),
        }
        return result, pictures
