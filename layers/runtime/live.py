"""Nobody in front of the camera: python -m layers live.

newest frame -> who is in it (one thread) -> filled (another) -> shown, at once and in order

What is shown was looked through: until the finder has spoken for a frame, and where finder or
filler fail, the picture is black.

Axes: H W pixels, 3 = R G B.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from layers.options_live import STDOUT, VIRTUAL, WINDOW, LiveOptions, is_url
from layers.options_remove import parse_parts
from layers.runtime.live_output import Output, check_output, open_output
from layers.runtime.live_pace import Pace
from layers.runtime.live_source import Ending, Latest, Seen, open_source
from layers.runtime.stream import RemoveStream
from nunif.cli import END_SIGNALS
from nunif.errors import UserError, first_line
from nunif.files import check_not_source
from nunif.parallel import prefetch

logger = logging.getLogger(__name__)

MOST_FAILURES = 25  # frames in a row; whatever fails so often won't work again
FINDER, FILLER = "the finder", "the filler"


class TwoSteps(Protocol):
    """What `RemoveStream` is to the threads here."""

    def find(self, frame: np.ndarray) -> np.ndarray: ...

    def fill(self, frame: np.ndarray, hole: np.ndarray) -> np.ndarray: ...

    def reset_finder(self) -> None: ...

    def reset_filler(self) -> None: ...

    def check_size(self, height: int, width: int) -> None: ...


def main(options: LiveOptions) -> None:
    """The command `live`."""
    check_output(options.output)
    if options.input is not None and not is_url(options.input) and _is_file(options.output):
        check_not_source(Path(options.output), Path(options.input))
    stream = open_stream(options)
    ending = Ending(options.seconds)
    with ending_by_signals(ending), open_source(options, ending) as source:
        if options.gpu < 0 or not torch.cuda.is_available():
            share_cores()
        logger.info("%s: %s", source.name, stream.description)
        with Latest(source, ending) as latest:
            problem = show_live(
                stream, latest, ending, options.output, rate=source.rate, waits=source.waits
            )
        problem = problem or latest.problem
    if problem is not None:
        raise problem


def _is_file(output: str) -> bool:
    return output not in (WINDOW, VIRTUAL, STDOUT) and not is_url(output)


def open_stream(options: LiveOptions) -> RemoveStream:
    """What takes people out, as the options say."""
    return RemoveStream.open(
        options.model,
        matting=options.matting,
        gpu=options.gpu,
        max_width=options.max_width,
        gate=options.gate,
        keep=() if options.keep is None else parse_parts(options.keep),
        grow=options.grow,
        hold=options.hold,
        shadow=options.shadow,
        margin=options.margin,
        precision=options.precision,
    )


def share_cores() -> None:
    """Finder and filler compute side by side: each has half of the cores, or they would wait for
    each other at every layer."""
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))


@contextmanager
def ending_by_signals(ending: Ending) -> Iterator[None]:
    """Ctrl-C, and what a system sends to end a program, ends the stream, with its files whole; a
    second one ends the program."""

    def ask(number: int, _: object) -> None:
        if ending.is_due:
            raise KeyboardInterrupt
        ending.ask()

    numbers = [getattr(signal, name) for name in ("SIGINT", *END_SIGNALS) if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # where Python takes no signals
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- the steps, each in a thread of its own -------------------------------------------------------


@dataclass(frozen=True)
class Looked:
    """A frame that was looked through. hole: None where that failed, by `problem`. seconds: that
    it took."""

    seen: Seen
    frame: np.ndarray
    hole: np.ndarray | None
    seconds: float
    problem: Exception | None = None


@dataclass(frozen=True)
class Ready:
    """What may be shown: never a camera's frame that nobody looked through.

    picture: (H, W, 3) uint8; None for black, as `who` failed by `problem`.
    finder, filler: seconds that they took.
    """

    seen: Seen
    picture: np.ndarray | None
    finder: float
    filler: float
    who: str = ""
    problem: Exception | None = None


def look_through(frames: Iterable[Seen], stream: TwoSteps) -> Iterator[Looked]:
    """Find who is in each frame. A failure is told of, and the next frame starts anew."""
    size: tuple[int, ...] | None = None
    frame = np.zeros((0, 0, 3), np.uint8)
    for seen in frames:
        begin = time.perf_counter()
        hole, problem = None, None
        try:
            frame = seen.read()
            if frame.shape != size:  # as a stream's may change
                stream.check_size(*frame.shape[:2])
                stream.reset_finder()
                size = frame.shape
            hole = stream.find(frame)
        except Exception as error:
            problem, size = error, None
        yield Looked(seen, frame, hole, time.perf_counter() - begin, problem)


def fill_each(looked: Iterable[Looked], stream: TwoSteps) -> Iterator[Ready]:
    """Fill the hole of each frame. A failure is told of, and the next frame starts anew."""
    size: tuple[int, ...] | None = None
    for one in looked:
        if one.hole is None:
            yield Ready(one.seen, None, one.seconds, 0.0, FINDER, one.problem)
            continue
        begin = time.perf_counter()
        picture, problem = None, None
        try:
            if one.frame.shape != size:
                stream.reset_filler()
                size = one.frame.shape
            picture = stream.fill(one.frame, one.hole)
        except Exception as error:
            problem, size = error, None
        yield Ready(one.seen, picture, one.seconds, time.perf_counter() - begin, FILLER, problem)


def show_live(
    stream: TwoSteps,
    latest: Latest,
    ending: Ending,
    target: str,
    *,
    rate: float,
    waits: bool = False,
) -> Exception | None:
    """Show the frames until they end, somebody asks for it, or nothing works any more.

    Args:
        target: see `open_output`. rate: frames per second of the source, about.
        waits: whether the source waits, so that its first frame isn't stale after the warm-up.
    Returns: why they ended, where it is no end that was asked for; the files are whole then too.
    """
    frames = iter(latest)
    first = next(frames, None)
    if first is None:
        return latest.problem or UserError("no frame came: there is nothing to show")
    size = first.read().shape[:2]
    black = np.zeros((*size, 3), np.uint8)
    with open_output(target, size=size, rate=rate) as output:
        if not waits:
            output.show(black, first.time)
        warm_up(stream, size)
        latest.count_from_here()
        ending.start()
        looked = prefetch(look_through(chain([first] * waits, frames), stream))
        problem = _show_each(prefetch(fill_each(looked, stream)), output, black, latest, ending)
    if problem is None and latest.problem is None and not ending.is_due:
        logger.info("the pictures have ended")
    return problem


def warm_up(stream: TwoSteps, size: tuple[int, int]) -> None:
    """Let finder and filler take black frames: the first ones take them far longer.

    Raises:
        UserError: they can't work with frames of that size.
    """
    black, hole = np.zeros((*size, 3), np.uint8), np.zeros(size, bool)
    hole[: size[0] // 2] = True
    stream.check_size(*size)
    try:
        for _ in range(2):
            stream.find(black)
            stream.fill(black, hole)
        stream.reset_finder()
        stream.reset_filler()
    except UserError:
        raise
    except Exception as error:  # which the frames will meet too, and tell of
        logger.debug("while warming up: %s", error)


def _show_each(
    ready: Iterable[Ready], output: Output, black: np.ndarray, latest: Latest, ending: Ending
) -> Exception | None:
    pace, failures = Pace(), Failures()
    problem: Exception | None = None
    with Line() as line:
        for one in ready:
            if problem is not None:
                continue  # what was under way; it is not shown
            picture = black if one.picture is None else _of_size(one.picture, black)
            try:
                output.show(picture, one.seen.time)
            except UserError as error:
                problem = error
            pace.num_black += one.picture is None
            problem = problem or failures.note(one)
            pace.add(came=one.seen.came, finder=one.finder, filler=one.filler)
            if words := pace.line(latest.num_dropped):
                line.say(words)
            if problem is not None or not output.is_open:
                ending.ask()
    logger.info("%s", pace.summary(latest.num_dropped))
    return problem


def _of_size(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    if picture.shape == like.shape:
        return picture
    return np.asarray(cv2.resize(picture, like.shape[1::-1], interpolation=cv2.INTER_AREA))


class Failures:
    """Tells of the first of some failures in a row, and when there were too many."""

    def __init__(self) -> None:
        self._num_in_a_row = 0

    def note(self, ready: Ready) -> Exception | None:
        """Returns: what ends the stream; None: it goes on."""
        if ready.problem is None:
            self._num_in_a_row = 0
            return None
        self._num_in_a_row += 1
        if isinstance(ready.problem, UserError):
            return ready.problem
        reason = f"{type(ready.problem).__name__}: {first_line(ready.problem)}"
        if self._num_in_a_row == 1:
            logger.warning("%s failed (%s): the picture is black", ready.who, reason)
        if self._num_in_a_row < MOST_FAILURES:
            return None
        return UserError(
            f"{ready.who} failed at {MOST_FAILURES} frames in a row ({reason}): nothing was shown "
            "of them"
        )


class Line:
    """A line that is written anew every second on a terminal, and one after the other elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._is_open = False

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_open:
            print(file=sys.stderr)

    def say(self, words: str) -> None:
        if self._is_terminal:
            print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)
            self._is_open = True
        else:
            logger.info("%s", words)
