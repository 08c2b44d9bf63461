"""A clip with holes whose truth is known, filled by every method and scored: one loop for films and
for records.

Axes: T frames, H W pixels. Pictures are (T, H, W, 3), as uint8 or as float32 in [-1, 1]; holes are
    (T, H, W) bool, True = missing.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from inpaint.evaluation.pixels import as_uint8, fill_in
from inpaint.evaluation.scores import curve_of
from nunif.evaluation.finished import Finished, key_of
from nunif.evaluation.report import Exhibit, Report
from nunif.evaluation.views import (
    Place,
    View,
    place_around,
    view_from_text,
    view_of,
    view_to_text,
)
from nunif.video.clips import BadClip
from scene.masks import paint_holes

logger = logging.getLogger(__name__)

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


def judge(
    clips: Iterable[Clip],
    *,
    num_clips: int,
    methods: Mapping[str, Method],
    report: Report,
    program: Any = None,
    finished: Finished | None = None,
) -> Iterator[None]:
    """Fill every clip by every method and add scores and pictures to the report, which is yielded
    to after each clip.

    What is finished is not done again; a clip that can't be used is left out, and a line says why.

    Args:
        num_clips: how many there are at most, for the bar, of which every method is a step.
        program: what scores follow from beside clips and methods, as JSON can hold it.
        finished: where results are kept; None for nowhere.
    """
    finished = finished or Finished(None)
    total = num_clips * len(methods)
    with tqdm(total=total, unit="method", desc="evaluate", disable=None) as bar:
        for clip in clips:
            bar.update(clip.number * len(methods) - bar.n)
            try:
                work = _Work(clip, program, finished)
                for result in work.results(methods, bar):
                    report.add(clip=clip.name, family=clip.family, **result)
                if clip.is_shown:
                    report.exhibits.append(work.exhibit(methods))
                yield
            except BadClip as problem:
                logger.warning("left out: %s: %s", clip.path, problem)
        bar.update(total - bar.n)


@dataclass
class _Work:
    """What is done with one clip."""

    clip: Clip
    program: Any
    finished: Finished
    views: dict[str, View] = field(default_factory=dict)

    def results(self, methods: Mapping[str, Method], bar: tqdm) -> Iterator[dict[str, Any]]:
        """What `Report.add` takes of every method."""
        for name, method in methods.items():
            bar.set_postfix_str(f"{self.clip.title}: {name}")
            key = self._key(method.made_of)
            result = self.finished.get(key)
            if result is None or self.clip.is_shown and "view" not in result:
                result = self._run(method)
                self.finished.put(key, result)
            view = result.pop("view", None)
            if self.clip.is_shown:
                self.views[name] = view_from_text(view)
            yield {"method": name, **result}
            bar.update()

    def exhibit(self, methods: Iterable[str]) -> Exhibit:
        """The pictures of all methods, and of what was missing."""
        key = self._key("what is missing")
        stored = self.finished.get(key)
        if stored is None:
            frames, holes = self.clip.frames, self.holes.holes
            shown = {INPUT: paint_holes(frames, holes), TRUTH: frames}
            stored = {
                "made_of": self.holes.made_of,
                "place": [self.place.frame, self.place.box, self.place.loop],
                "views": {n: view_to_text(view_of(x, self.place)) for n, x in shown.items()},
            }
            self.finished.put(key, stored)
        frame, box, loop = stored["place"]
        views = {name: view_from_text(view) for name, view in stored["views"].items()}
        in_order = {INPUT: views[INPUT], **self.views, TRUTH: views[TRUTH]}
        is_told = stored["made_of"] not in (None, self.clip.family)
        made_of = f" ({stored['made_of']})" if is_told else ""
        place = Place(frame, tuple(box), tuple(loop))
        title = self.clip.title + made_of
        return Exhibit(title, self.clip.name, self.clip.family or "", place, in_order)

    @cached_property
    def holes(self) -> Holes:
        return self.clip.holes_of()

    @cached_property
    def place(self) -> Place:
        return place_around(self.holes.holes)

    @cached_property
    def emptied(self) -> np.ndarray:
        return np.where(self.holes.holes[..., None], np.uint8(0), self.clip.frames)

    @cached_property
    def _clip_key(self) -> str:
        clip = self.clip
        return key_of(clip.frames, clip.family, clip.made_of, self.program)

    def _key(self, made_of: Any) -> str:
        return key_of(self._clip_key, made_of)

    def _run(self, method: Method) -> dict[str, Any]:
        """Fill and score."""
        frames, holes = self.clip.frames, self.holes.holes
        emptied = self.emptied
        begin = time.perf_counter()
        output = method.fill(emptied, holes)
        seconds = time.perf_counter() - begin
        output = fill_in(output, frames, holes)
        result: dict[str, Any] = {
            "made_of": self.holes.made_of,
            "scores": self.holes.score(output),
            "fps": len(frames) / seconds,
            "frames": len(frames),
            "curve": curve_of(as_uint8(output), frames, holes),
        }
        if self.clip.is_shown:
            result["view"] = view_to_text(view_of(as_uint8(output), self.place))
        return result
