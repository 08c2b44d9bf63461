"""How fast a run goes, by the clock."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TypeVar

Item = TypeVar("Item")

RECENT = 8  # batches by which the running one is judged
ESTIMATE_SECONDS = 10.0  # of batches behind the first, which warms up


class Work(Enum):
    """What a run does."""

    LEARNING = "learning"
    EVALUATING = "evaluating"
    OTHER = "other"


class Pace:
    """The seconds of batches: those before the running one, and on average.

    saving: seconds of the last checkpoint, 0 before there was one.
    """

    def __init__(self) -> None:
        self.work = Work.OTHER
        self.saving = 0.0
        self._began = 0.0
        self._recent: dict[Work, deque[float]] = {work: deque(maxlen=RECENT) for work in Work}
        self._learned: list[float] = []  # of the batches behind the first
        self.is_told = False  # how long the run takes

    def begin(self, work: Work) -> None:
        """From now on, batches of this kind run."""
        self.work, self._began = work, time.monotonic()

    def end_batch(self) -> None:
        """A batch is through, and the next begins."""
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        recent = self._recent[self.work]
        if self.work is Work.LEARNING and recent:
            if not self._learned:
                recent.clear()  # the first one waited for loading processes and compilers
            self._learned.append(seconds)
        recent.append(seconds)

    def left(self) -> float | None:
        """Seconds until the running batch is through and saved, at most, by the longest of the
        last ones; None where none is through yet."""
        recent = self._recent[self.work]
        if not recent:
            return None
        return max(0.0, max(recent) - (time.monotonic() - self._began)) + self.saving

    def estimate(self) -> float | None:
        """Seconds of a batch that is learned from, on average: once, as soon as enough of them are
        measured, unless the run's length was told in another way; else None."""
        total = sum(self._learned)
        if self.is_told or not self._learned or total < ESTIMATE_SECONDS:
            return None
        self.is_told = True
        return total / len(self._learned)


def timed(items: Iterable[Item]) -> Iterator[tuple[Item, float]]:
    """Each item, and the seconds that it was waited for."""
    iterator, end = iter(items), object()
    while True:
        began = time.monotonic()
        item = next(iterator, end)
        if item is end:
            return
        yield item, time.monotonic() - began  # type: ignore[misc]
