"""The loop of an evaluation: every clip through every method, with scores, pictures and results
that are kept; what clips and scores are is the task's.

Axes: T frames, H W pixels.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from nunif.errors import UserError
from nunif.evaluation.finished import Finished, key_of
from nunif.evaluation.page import write_report
from nunif.evaluation.report import Exhibit, Report
from nunif.evaluation.views import Place, View, view_from_text, view_of, view_to_text
from nunif.files import make_folder
from nunif.video.clips import BadClip

logger = logging.getLogger(__name__)

FINISHED = "finished"  # the folder of results that are not made again
PICTURES = 12  # clips that are shown: with ten methods a page of them has some 8 MB


class Method(Protocol):
    """What is judged. made_of: all that its results follow from, as JSON can hold it."""

    @property
    def made_of(self) -> Any: ...


AnyMethod = TypeVar("AnyMethod", bound=Method)
Used = TypeVar("Used", bound=Method, contravariant=True)


class Case(Protocol[Used]):
    """A clip with its truth, ready for methods. What takes long to make is made when it is asked
    for: where all results are kept nobody asks.

    made_of: in a word, what this variant of the clip was made of; None where there is none.
    place: where to look at it.
    """

    @property
    def made_of(self) -> str | None: ...

    @property
    def place(self) -> Place: ...

    def shown(self) -> dict[str, np.ndarray]:
        """What is shown beside the methods, by name, (T, H, W, 3) uint8; the first stands before
        them."""
        ...

    def run(self, method: Used) -> tuple[dict[str, Any], np.ndarray]:
        """What `Report.add` takes of a method beside names, and what is shown of it, (T, H, W, 3)
        uint8. Raises BadClip."""
        ...


class Clip(Protocol[Used]):
    """What a case can be made of.

    path: where it is from, for messages. number: its place among all, from 0. family: its kind;
    None where there are no kinds. title: for people. is_shown: whether it is among the pictures of
    the report. key: of all that results follow from beside the program and the methods.
    """

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Any: ...

    @property
    def number(self) -> int: ...

    @property
    def family(self) -> str | None: ...

    @property
    def title(self) -> str: ...

    @property
    def is_shown(self) -> bool: ...

    def key(self, program: Any) -> str: ...

    def open(self) -> Case[Used]: ...


def evaluate(
    clips: Iterable[Clip[AnyMethod]],
    *,
    num_clips: int,
    methods: Mapping[str, AnyMethod],
    report: Report,
    program: Any,
    folder: Path | None,
    nothing: str,
) -> None:
    """`judge`, and write the report into a folder, if there is one, and its tables to standard
    output.

    Scores are written as they come; what is finished stays finished when the command is run again.

    Args:
        nothing: the error where no clip could be used.
    Raises:
        UserError: that one; or the folder can't be written.
    """
    if folder is not None:
        make_folder(folder)
    finished = Finished(None if folder is None else folder / FINISHED)
    judged = judge(
        clips,
        num_clips=num_clips,
        methods=methods,
        report=report,
        program=program,
        finished=finished,
    )
    until = 0.0
    try:
        for _ in judged:
            begin = time.monotonic()
            if folder is not None and begin >= until:
                report.write_scores(folder)
                # of many clips it takes long: a tenth of the time may go into it
                until = time.monotonic() + 10 * (time.monotonic() - begin)
    except KeyboardInterrupt:
        if folder is not None:
            logger.info("what is finished is kept in %s: the same command goes on", folder)
        raise
    if not report.rows:
        raise UserError(nothing)
    finished.tell()
    if folder is not None:
        write_report(report, folder)
        logger.info("report.html, scores.csv, scores.json and clips.png are in %s", folder)
    print(report.text())


def judge(
    clips: Iterable[Clip[AnyMethod]],
    *,
    num_clips: int,
    methods: Mapping[str, AnyMethod],
    report: Report,
    program: Any = None,
    finished: Finished | None = None,
) -> Iterator[None]:
    """Put every clip through every method and add scores and pictures to the report, which is
    yielded to after each clip.

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


def evenly(count: int) -> set[int]:
    """The numbers of `PICTURES` of so many clips, or of all."""
    return set(np.linspace(0, count - 1, min(PICTURES, count)).round().astype(int).tolist())


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
                result, pictures = self._case.run(method)
                if self.clip.is_shown:
                    result["view"] = view_to_text(view_of(pictures, self._case.place))
                self.finished.put(key, result)
            view = result.pop("view", None)
            if self.clip.is_shown:
                self.views[name] = view_from_text(view)
            yield {"method": name, **result}
            bar.update()

    def exhibit(self, methods: Iterable[str]) -> Exhibit:
        """The pictures of all methods, and those beside them."""
        key = self._key("what stands beside them")
        stored = self.finished.get(key)
        if stored is None:
            place, shown = self._case.place, self._case.shown()
            stored = {
                "made_of": self._case.made_of,
                "place": [place.frame, place.box, place.loop],
                "views": {name: view_to_text(view_of(x, place)) for name, x in shown.items()},
            }
            self.finished.put(key, stored)
        frame, box, loop = stored["place"]
        (first, view), *others = (
            (name, view_from_text(text)) for name, text in stored["views"].items()
        )
        in_order = {first: view, **self.views, **dict(others)}
        is_told = stored["made_of"] not in (None, self.clip.family)
        made_of = f" ({stored['made_of']})" if is_told else ""
        title = self.clip.title + made_of
        place = Place(frame, tuple(box), tuple(loop))
        return Exhibit(title, self.clip.name, self.clip.family or "", place, in_order)

    @cached_property
    def _case(self) -> Case:
        return self.clip.open()

    @cached_property
    def _clip_key(self) -> str:
        return self.clip.key(self.program)

    def _key(self, made_of: Any) -> str:
        return key_of(self._clip_key, made_of)
