"""How quick a live stream is: frames per second, and how long they take."""

import time
from dataclasses import dataclass, field

import numpy as np

BIN = 0.25  # ms: to which times are told over a whole stream, of which none is kept
LONGEST = 5_000.0  # ms; longer times count as it
PARTS = ("latency", "finder", "filler")


class Spread:
    """Times of any number of frames, in memory that doesn't grow."""

    def __init__(self) -> None:
        self._counts = np.zeros(int(LONGEST / BIN) + 1, np.int64)

    def add(self, milliseconds: float) -> None:
        self._counts[int(min(max(milliseconds, 0), LONGEST) / BIN)] += 1

    def percentile(self, share: float) -> float:
        """Milliseconds that a share (0 to 1) of the frames took at most; 0 where there are none.

        >>> spread = Spread()
        >>> for milliseconds in (10, 20, 30, 1000):
        ...     spread.add(milliseconds)
        >>> spread.percentile(0.5), spread.percentile(0.95)
        (20.25, 1000.25)
        """
        total = int(self._counts.sum())
        if not total:
            return 0.0
        place = np.searchsorted(np.cumsum(self._counts), share * total)
        return float((place + 1) * BIN)


@dataclass
class Span:
    """What is known of some time. begin: as time.monotonic tells."""

    begin: float
    num_frames: int = 0
    spreads: dict[str, Spread] = field(default_factory=lambda: {name: Spread() for name in PARTS})

    def add(self, times: dict[str, float]) -> None:
        self.num_frames += 1
        for name, milliseconds in times.items():
            self.spreads[name].add(milliseconds)

    def words(self, now: float) -> str:
        """Such as "24.9 frames/s, latency 61/85 ms, finder 25/30, filler 33/41"."""
        rate = self.num_frames / max(now - self.begin, 1e-6)
        both = {
            name: f"{spread.percentile(0.5):.0f}/{spread.percentile(0.95):.0f}"
            for name, spread in self.spreads.items()
        }
        return (
            f"{rate:.1f} frames/s, latency {both['latency']} ms, finder {both['finder']}, filler "
            f"{both['filler']}"
        )


class Pace:
    """Counts frames, and tells every second and at the end how quick they are."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._whole, self._second = Span(self._begin), Span(self._begin)
        self.num_black = 0

    def add(self, *, came: float, finder: float, filler: float) -> None:
        """A frame that is shown now. came: when it came, as time.monotonic tells; finder, filler:
        seconds that they took for it."""
        times = {
            "latency": 1000 * (time.monotonic() - came),
            "finder": 1000 * finder,
            "filler": 1000 * filler,
        }
        self._whole.add(times)
        self._second.add(times)

    def line(self, num_dropped: int) -> str | None:
        """How the last second was (half of the frames took at most the first number, 95 % the
        second); None before it is over."""
        now = time.monotonic()
        if now - self._second.begin < 1:
            return None
        words = f"{now - self._begin:6.0f} s: {self._second.words(now)}; {num_dropped} dropped"
        self._second = Span(now)
        return words

    def summary(self, num_dropped: int) -> str:
        now = time.monotonic()
        black = f", {self.num_black} shown black" if self.num_black else ""
        return (
            f"{self._whole.num_frames} frames in {now - self._begin:.1f} s: "
            f"{self._whole.words(now)} (of half of the frames/of 95 %); {num_dropped} dropped"
            f"{black}"
        )
