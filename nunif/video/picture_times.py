"""When a film's pictures are shown: its own times, and how encoder and container count them."""

import logging
from fractions import Fraction
from pathlib import Path

logger = logging.getLogger(__name__)

# Times are multiples of 1 / rate for these encoders, and for containers that keep no times.
_FIXED_RATE_ENCODERS = frozenset({"mpeg1video", "mpeg2video"})
_FINEST_TIME = {"mpeg4": 65535}  # parts of a second
_MOST_OFF = 0.005  # seconds; times are rounded by less
_LONG = 0.1  # seconds beyond the usual
_WITHOUT_DURATIONS = frozenset({".mpg", ".ts"})  # they don't say how long a picture lasts


class PictureTimes:
    """The times of the pictures written so far.

    Attributes:
        time_base: seconds; what the film counts its times in.
        tick: seconds; what the encoder counts its times in.
        is_kept: whether the container keeps times; else it knows one rate only.
        last_pts: the last picture's time in units of `time_base`; None: there is none.
        last_tick: the same in units of `tick`, of the file.
        last_duration: how long it is shown, in seconds.
    """

    def __init__(self, codec: str, *, rate: Fraction, time_base: Fraction, is_kept: bool) -> None:
        """
        Args:
            codec: libav's name of the encoder.
            rate: frames per second, on average.
        """
        self.time_base, self.is_kept = time_base, is_kept
        self._codec, self._rate = codec, rate
        self._has_fixed_rate = codec in _FIXED_RATE_ENCODERS
        self.tick = self._choose_tick()
        self.last_pts: int | None = None
        self.last_tick: int | None = None
        self.last_duration = 1 / rate
        self._first_pts = 0
        self._origin = Fraction(0)  # what the file counts its seconds from
        self._most_off = Fraction(0)  # seconds by which a picture's time differs from the wanted

    def _choose_tick(self) -> Fraction:
        """The encoder's time base: the source's, where encoder and container can do that."""
        if self._has_fixed_rate or not self.is_kept:
            return 1 / self._rate
        finest = _FINEST_TIME.get(self._codec, self.time_base.denominator)
        if self.time_base.denominator > finest:
            return Fraction(1, self._rate.numerator * max(1, finest // self._rate.numerator))
        return self.time_base

    def start(self, pts: int) -> None:
        """Note the first picture's time. Where the container keeps none, the film begins there."""
        self._first_pts = pts
        if not self.is_kept:
            self._origin = pts * self.time_base

    def tick_of(self, pts: int) -> int:
        """Where the next picture stands, in ticks of the file: behind the one before it."""
        time = pts * self.time_base - self._origin
        tick = round(time / self.tick)
        tick = tick if self.last_tick is None else max(tick, self.last_tick + 1)
        self._most_off = max(self._most_off, abs(tick * self.tick - time))
        if self._has_fixed_rate and self.last_tick is not None and tick > self.last_tick + 1:
            # players needn't heed that a picture is left out
            self._most_off = max(self._most_off, self.tick)
        return tick

    def length_of(self, duration: int | None) -> Fraction:
        """Seconds of a duration in units of `time_base`; None: as long as others, on average."""
        return 1 / self._rate if duration is None else duration * self.time_base

    @property
    def end(self) -> Fraction:
        """When the last picture stops being shown, in seconds of the film's clock."""
        assert self.last_pts is not None
        return self.last_pts * self.time_base + self.last_duration

    @property
    def seconds(self) -> float:
        """From the first picture to the end of the last."""
        return float(self.end - self._first_pts * self.time_base)

    def warn_of_losses(self, path: Path) -> None:
        """Log what a finished file doesn't keep of the times."""
        if self._most_off > _MOST_OFF:
            logger.warning(
                "%s: pictures stand up to %.3f s beside their times, as %s with %s knows one rate "
                "only: choose .mp4 or .mkv",
                path,
                float(self._most_off),
                path.suffix,
                self._codec,
            )
        is_long = self.last_duration > 1 / self._rate + _LONG
        if path.suffix.lower() in _WITHOUT_DURATIONS and is_long:
            logger.warning(
                "%s: %s doesn't say how long a picture lasts; the last one will not stay for its "
                "%.2f s: choose .mp4 or .mkv",
                path,
                path.suffix,
                float(self.last_duration),
            )
