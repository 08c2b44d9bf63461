"""Whole pictures out of interlaced ones, whose odd and even rows were taken at two times and stand
woven like combs.

By libavfilter's bwdif: the rows of the earlier field stay, those between are made from the pictures
before and after.
"""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
import av.filter

_FILTER = "bwdif"
# Decoders that say of every picture whether it is interlaced; with others only the container knows.
_TELLING_DECODERS = frozenset(
    {"dvvideo", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "prores", "vc1", "wmv3"}
)
# AVFieldOrder: which field a stream's container says is shown first.
_FIRST_FIELDS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}


def stated_first_field(decoder: av.VideoCodecContext) -> str | None:
    """The field that is shown first, tff (top) or bff, where only the container says that a stream
    is interlaced."""
    # PyAV 17, the last one for Python 3.10, doesn't have it
    order = getattr(decoder, "field_order", 0)
    return None if decoder.name in _TELLING_DECODERS else _FIRST_FIELDS.get(int(order))


class Deinterlacer:
    """Pictures in, as many pictures out, later by one. They go in in the order in which they are
    shown."""

    def __init__(self, first_field: str | None) -> None:
        """
        Args:
            first_field: see `stated_first_field`; None where the pictures say what they are. Others
                pass as they are.
        """
        self._first_field = first_field
        self._graph: av.filter.Graph | None = None
        self._inside: deque[int] = deque()  # their marks
        self._count = 0

    def push(self, frame: av.VideoFrame, mark: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Take a picture in. Gives those that are ready, each with the mark it came with."""
        if self._graph is None:
            self._graph = self._create(frame)
        frame.pts, frame.time_base = self._count, Fraction(1)
        self._count += 1
        self._inside.append(mark)
        self._graph.push(frame)
        yield from self._pull(self._graph)

    def flush(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Gives what is inside. The next picture is the first of another film, as far as this one
        knows."""
        if self._graph is not None:
            graph, self._graph = self._graph, None
            graph.push(None)
            yield from self._pull(graph)

    def _pull(self, graph: av.filter.Graph) -> Iterator[tuple[int, av.VideoFrame]]:
        while self._inside:
            try:
                frame = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            yield self._inside.popleft(), frame

    def _create(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        steps = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
            )
        ]
        if self._first_field is not None:
            steps.append(graph.add("setfield", f"mode={self._first_field}"))
        steps.append(graph.add(_FILTER, "mode=send_frame:parity=auto:deint=interlaced"))
        steps.append(graph.add("buffersink"))
        for step, following in zip(steps, steps[1:]):
            step.link_to(following)
        graph.configure()
        return graph
