"""Coded pictures on their way to a file, the last of them held back until it is known how long it
lasts.

In mp4 the film lasts as long as the packet says that is coded last, and an encoder may hand it out
before it is known that no other follows.
"""

from collections import deque
from fractions import Fraction
from itertools import chain, repeat

import av

_WITH_DURATIONS = frozenset({".mkv", ".webm"})  # each picture has its own there


class PictureMuxer:
    """Encodes pictures and writes what comes out, but for the last of it."""

    def __init__(self, container: av.container.OutputContainer, stream: av.VideoStream) -> None:
        self._container, self._stream = container, stream
        self._coded: deque[av.Packet] = deque()  # pictures that are on their way to the file
        self._delay: int | None = None  # see `_delay_of`; of the first picture

    def encode(self, frame: av.VideoFrame | None) -> None:
        """Encode a picture (None: what the encoder holds back) and write all packets but the last.

        Raises:
            EOFError: None was given before.
        """
        # each in one go, see `_write`
        self._coded.extend(chain.from_iterable(map(self._stream.encode, [frame])))
        if self._delay is None and self._coded:
            self._delay = _delay_of(self._coded[0])
        self._write(len(self._coded) - 1)

    def write_last(self, *, start: Fraction, duration: Fraction, suffix: str) -> None:
        """Write the last packet. Nothing comes after it.

        Args:
            start: of the last picture, in seconds of the file.
            duration: of the last picture, in seconds.
            suffix: of the file, such as ".mp4".
        """
        for packet in self._coded:
            assert packet.pts is not None
            unit = Fraction(packet.time_base)
            rest = (start + duration) / unit - packet.pts
            if suffix.lower() in _WITH_DURATIONS:
                if packet.pts * unit == start:
                    packet.duration = max(1, round(rest))
            # all durations together are the film's, and they count from when a packet is decoded
            else:
                packet.duration = max(1, round(rest) + _delay_of(packet) - (self._delay or 0))
        self._write(len(self._coded))

    def clear(self) -> None:
        """Let go of what is not written."""
        self._coded.clear()

    def _write(self, count: int) -> None:
        # In one go: were the two calls Python's, Ctrl-C would strike between them and lose the
        # packets.
        packets = map(deque.popleft, repeat(self._coded, count))
        deque(map(self._container.mux, packets), maxlen=0)


def _delay_of(packet: av.Packet) -> int:
    """How much later than decoded a packet is shown, in units of its own."""
    return 0 if packet.pts is None or packet.dts is None else packet.pts - packet.dts
