"""Coded pictures on their way to a file, the last of them held back until it is known how long it
lasts.

An encoder may hand a packet out before it is known that no other follows. In mp4 the film lasts, by
its track, as long as all packets do from the first one's decoding on, and by its edit list until
the last one shown ends: both are to be the same.
"""

from collections import deque
from fractions import Fraction
from itertools import chain, repeat

import av

_WITH_DURATIONS = frozenset({".mkv", ".webm"})  # each picture has its own there
_TIMED_BY_DECODING = frozenset({"mp4", "mov"})  # libav's names of containers


class PictureMuxer:
    """Encodes pictures and writes what comes out, but for the last one shown and what is coded
    behind it."""

    def __init__(self, container: av.container.OutputContainer, stream: av.VideoStream) -> None:
        self._container, self._stream = container, stream
        self._coded: deque[av.Packet] = deque()  # pictures that are on their way to the file
        self._delay: int | None = None  # see `_delay_of`; of the first picture
        self._written = -(1 << 62)  # when the last packet written is decoded

    def encode(self, frame: av.VideoFrame | None) -> None:
        """Encode a picture (None: what the encoder holds back) and write all packets before the one
        that is shown last.

        Raises:
            EOFError: None was given before.
        """
        # each in one go, see `_write`
        self._coded.extend(chain.from_iterable(map(self._stream.encode, [frame])))
        if self._delay is None and self._coded:
            self._delay = _delay_of(self._coded[0])
        shown = [packet.pts or 0 for packet in self._coded]
        self._write(shown.index(max(shown)) if shown else 0)

    def write_last(self, *, start: Fraction, duration: Fraction, suffix: str) -> None:
        """Write the last packets. Nothing comes after them.

        Args:
            start: of the last picture, in seconds of the file.
            duration: of the last picture, in seconds.
            suffix: of the file, such as ".mp4".
        """
        for packet in self._coded:
            assert packet.pts is not None
            if packet.pts * Fraction(packet.time_base) == start:
                packet.duration = max(1, round(duration / Fraction(packet.time_base)))
        if self._coded and suffix.lower() not in _WITH_DURATIONS:
            self._end_with(self._coded[-1], start + duration)
        self._write(len(self._coded))

    def _end_with(self, packet: av.Packet, end: Fraction) -> None:
        """Have all durations together be the film's, by that of the packet that is coded last: they
        count from when a packet is decoded. end: of the film, in seconds."""
        assert packet.pts is not None
        unit, usual = Fraction(packet.time_base), self._delay or 0
        if self._container.format.name in _TIMED_BY_DECODING and packet.dts is not None:
            # as early before it is shown as the first one, or it would last too long or too short
            is_last = packet.pts == max(other.pts or 0 for other in self._coded)
            if is_last or _delay_of(packet) > usual:
                packet.dts = max(self._dts_before_last() + 1, packet.pts - usual)
        packet.duration = max(1, round(end / unit) - packet.pts + _delay_of(packet) - usual)

    def _dts_before_last(self) -> int:
        """When the last packet but one is decoded, in units of its own."""
        return (self._coded[-2].dts or 0) if len(self._coded) > 1 else self._written

    def clear(self) -> None:
        """Let go of what is not written."""
        self._coded.clear()

    def _write(self, count: int) -> None:
        # In one go: were the two calls Python's, Ctrl-C would strike between them and lose the
        # packets.
        if count > 0:
            self._written = self._coded[count - 1].dts or 0
        packets = map(deque.popleft, repeat(self._coded, count))
        deque(map(self._container.mux, packets), maxlen=0)


def _delay_of(packet: av.Packet) -> int:
    """How much later than decoded a packet is shown, in units of its own."""
    return 0 if packet.pts is None or packet.dts is None else packet.pts - packet.dts
