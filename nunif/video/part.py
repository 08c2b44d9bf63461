"""A part of a film, as a film of its own."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from nunif.errors import UserError
from nunif.video.film import Film
from nunif.video.packets import Span
from nunif.video.reader import Frame

logger = logging.getLogger(__name__)

_ROUNDING = 0.001  # seconds by which files round the times of their pictures


class PartOfFilm:
    """The frames of a film from `first` to before `stop`, on a clock that begins with the first of
    them. Nothing before the keyframe that leads to it is decoded, where the film allows that.

    Attributes:
        whole: the film.
        first, stop: frames of the whole.
        span: seconds of the file's own clock at which its first picture begins and its last ends;
            the former is None where that is the film's first.
        path, info: the whole film's.
        times, pts, durations: as of `VideoReader`, the first at 0; where it is the film's first,
            `pts` are the film's.
    """

    def __init__(self, whole: Film, *, first: int, stop: int) -> None:
        assert 0 <= first < stop <= len(whole), (first, stop, len(whole))
        self.whole, self.first, self.stop = whole, first, stop
        self.path, self.info = whole.path, whole.info
        # a film that only ends sooner keeps its clock, on which sound may come before pictures
        self._begin_pts = int(whole.pts[first]) if first else 0
        self._begin_time = float(whole.times[first])
        self.pts = whole.pts[first:stop] - self._begin_pts
        self.durations = whole.durations[first:stop]
        self.times = whole.times[first:stop] - self._begin_time
        end = int(self.pts[-1] + self.durations[-1]) + self._begin_pts
        time_base = self.info.time_base
        begin = self._begin_pts * time_base if first else None
        self.span: Span = (begin, end * time_base)
        self.ends_early = whole.ends_early and stop == len(whole)

    @property
    def broken_at(self) -> float | None:
        """As of `VideoReader`, in seconds of the whole film; what is damaged elsewhere in it does
        no harm."""
        at, times = self.whole.broken_at, self.whole.times
        is_behind = at is not None and self.stop < len(times) and at >= times[self.stop]
        if at is None or is_behind or at < self._begin_time:
            return float(times[-1]) if self.ends_early else None
        return at

    def __len__(self) -> int:
        return self.stop - self.first

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(0, len(self))

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """See `VideoReader.frames`."""
        return map(self._moved, self.whole.frames(self.first + start, self.first + stop))

    def read(self, start: int, stop: int) -> list[Frame]:
        """See `VideoReader.read`."""
        frames = self.whole.read(self.first + start, self.first + stop)
        return [self._moved(frame) for frame in frames]

    def forget(self, stop: int) -> None:
        """See `VideoReader.forget`."""
        self.whole.forget(self.first + stop)

    def _moved(self, frame: Frame) -> Frame:
        return replace(frame, pts=frame.pts - self._begin_pts, time=frame.time - self._begin_time)

    def __enter__(self) -> "PartOfFilm":
        return self

    def __exit__(self, *error: object) -> None:
        self.whole.__exit__(*error)


def place_in_whole(film: Film) -> tuple[Film, int, int]:
    """The whole film that a part is of, and which of its frames [first, stop) the part has."""
    if isinstance(film, PartOfFilm):
        return film.whole, film.first, film.stop
    return film, 0, len(film)


def part_of(film: Film, start: Fraction, end: Fraction | None) -> Film:
    """The pictures that begin from `start` on and before `end`, seconds after the film's first
    picture; the film itself where that is all of it.

    Args:
        end: None: that of the film. One behind it is taken for it, and a line says so.

    Raises:
        UserError: no picture of the film begins there.
    """
    if not start and end is None:
        return film
    times, path = film.times, film.path
    first = int(np.searchsorted(times, float(start) - _ROUNDING))
    if first == len(times):
        raise UserError(
            f"--start {float(start):g} s lies behind the last picture of {path}, which is at "
            f"{times[-1]:.2f} s: give an earlier time"
        )
    stop = len(times)
    if end is not None:
        stop = int(np.searchsorted(times, float(end) - _ROUNDING))
        length = float(times[-1] + int(film.durations[-1]) * film.info.time_base)
        if end > length + _ROUNDING:
            text = "--end %g s lies behind the end of %s, which is at %.2f s: it is taken to there"
            logger.warning(text, float(end), path, length)
    if stop <= first:
        raise UserError(
            f"{path} has no picture from --start {float(start):g} s to --end {float(end or 0):g} "
            f"s, the next is at {times[first]:.2f} s: give a later end"
        )
    return film if stop - first == len(times) else PartOfFilm(film, first=first, stop=stop)
