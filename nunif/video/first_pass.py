"""The first pass over a video, which only demuxes: when every picture is shown, and what has to be
decoded for it.

Words used below: see `nunif.video.reader`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.format import Flags

from nunif.errors import UserError
from nunif.video.clock import has_free_clock, read_clock
from nunif.video.demux import decode_all, demux, nothing_decodes, opened, stated_duration
from nunif.video.matroska import count_pictures

logger = logging.getLogger(__name__)

# A file that ends so many seconds before its header says is taken as cut off.
DURATION_TOLERANCE = 0.5
# The demuxer takes the last packets before a join for damaged, as the count of what follows doesn't
# fit. Where the clock goes on (segments of a stream) only the keyframe marks the join; what is
# damaged there the decoder finds.
_MARKED_AT_JOIN = 3
# Seconds at which a film of a kind that says what it means (Matroska, FLV) seldom begins: it was
# cut out of a live stream.
_LATE = 2.0
# a number, though its stub says otherwise
_NO_TIMES: int = Flags.no_timestamps.value  # type: ignore[assignment]
# A decoder may hold back this many pictures to put them in order (16 in H.264 and HEVC), and a few
# more by itself.
MAX_REORDER = 32


@dataclass(frozen=True)
class Packets:
    """What the first pass learns. P packets in the file's order."""

    pts: np.ndarray  # (P,) int64
    entry: np.ndarray  # (P,) int64, -1: no keyframe leads to it
    is_reference: np.ndarray  # (P,) bool, other pictures may be predicted from it
    # (P,) bool, belongs to the film (not cut off by an edit list, not a hidden picture)
    is_shown: np.ndarray
    is_damaged: np.ndarray  # (P,) bool, marked as such by the demuxer
    time_base: Fraction
    # the times are made up: pts is a count of the decoder's pictures, and only whole reading works
    numbered: bool
    ends_early: bool  # the file breaks off before its end
    end: int  # when the last picture stops being shown, in units of `time_base`


@dataclass(frozen=True)
class _Stated:
    """What a container says of its picture stream, besides the packets themselves."""

    time_base: Fraction
    rate: Fraction
    duration: float | None  # seconds; None: not said, or not to be believed
    end: Fraction | None  # seconds, see `_stated_end`
    is_matroska: bool
    # AVI counts pictures as they are coded, and libav takes these counts for times
    is_reordered: bool


# pts, keyframe, reference, shown, damaged, duration
_Row = tuple[int | None, bool, bool, bool, bool, int]


def _demux_all(path: Path) -> tuple[list[_Row], _Stated]:
    """The packets of a file's picture stream, and what the file says of it."""
    with opened(path) as (container, stream):
        rows: list[_Row] = []
        is_reference = _reference_test(stream)
        is_hidden = _is_hidden_vp8 if stream.codec_context.name == "vp8" else lambda packet: False
        for packet in demux(container, stream):
            is_shown = not (packet.is_discard or is_hidden(packet))
            rows.append(
                (
                    packet.pts,
                    packet.is_keyframe,
                    is_reference(packet),
                    is_shown,
                    packet.is_corrupt,
                    packet.duration or 0,
                )
            )
        if not rows:
            raise UserError(
                f"{path} holds no picture: it may have been cut off; copy or download it again"
            )
        assert stream.time_base is not None  # known once a packet was read
        duration = own = None if has_free_clock(container) else stated_duration(stream)
        if container.format.name == "flv" and container.duration and not _ends_with_tag(path):
            duration = container.duration / av.time_base  # of all its streams
        return rows, _Stated(
            time_base=stream.time_base,
            rate=Fraction(stream.average_rate or stream.guessed_rate or 25),
            duration=duration,
            end=None if own is None else _stated_end(container, stream),
            is_matroska=container.format.name.startswith("matroska"),
            is_reordered=container.format.name == "avi" and bool(stream.codec_context.has_b_frames),
        )


def scan(path: Path) -> Packets:
    """The first pass: demux the whole file."""
    rows, stated = _demux_all(path)
    times, is_key, reference, shown, damaged, durations = zip(*rows, strict=True)
    time_base = stated.time_base
    if None in times:
        return scan_by_decoding(path)
    if stated.is_reordered:
        return scan_by_decoding(path, begin=min(times) * time_base)
    with opened(path) as (container, stream):
        clock, index = read_clock(container, stream), stream.index
        begins = (container.start_time or 0) / av.time_base if clock.is_stated else 0.0
    shifts = [round(shift / time_base) for shift in islice(clock.shifts(index), len(times))]
    pts = np.array(times, dtype=np.int64) + np.array(shifts, dtype=np.int64)
    if not _is_nearly_sorted(pts):
        return scan_by_decoding(path)
    is_damaged, parts = np.array(damaged), clock.firsts(index)
    if not clock.is_stated:
        for first in [*parts[1:], *np.flatnonzero(is_key).tolist()]:
            is_damaged[max(0, first - _MARKED_AT_JOIN) : first] = False
    if len(parts) > 1:
        found = ", ".join(
            f"{float((pts[first] - pts[0]) * time_base):.2f} s" for first in parts[1:]
        )
        logger.info(
            "%s: its clock starts over at %s; the parts are put one behind the other", path, found
        )
    if begins > _LATE:
        logger.warning(
            "%s: its clock begins at %.2f s, and so does that of what is made of it, which some "
            "players fill with nothing: ffmpeg -i OLD -c copy NEW makes a film that begins at 0",
            path,
            begins,
        )
    belongs = np.array(shown)
    ends_early, end = _find_end(path, pts, belongs, durations, stated)
    return Packets(
        pts=pts,
        entry=_entries(pts, np.array(is_key), parts),
        is_reference=np.array(reference),
        is_shown=belongs,
        is_damaged=is_damaged,
        time_base=time_base,
        numbered=False,
        ends_early=ends_early,
        end=end,
    )


def _find_end(
    path: Path, pts: np.ndarray, is_shown: np.ndarray, durations: Sequence[int], stated: _Stated
) -> tuple[bool, int]:
    """Whether a file breaks off before its end, and when its last picture stops being shown, in
    units of its time base.

    Args:
        pts: (P,) int64.
        is_shown: (P,) bool.
        durations: of the P packets, in the same units; 0: not said.
    """
    time_base = stated.time_base
    seconds = float((int(pts.max() - pts.min()) + durations[-1]) * time_base)
    ends_early = stated.duration is not None and seconds < stated.duration - DURATION_TOLERANCE
    if ends_early and stated.is_matroska and stated.end is not None:
        ends_early = count_pictures(path) != len(pts)  # else the last picture is meant to last
    last = int(np.argmax(np.where(is_shown, pts, pts.min())))
    end = int(pts[last]) + (durations[last] or max(1, round(1 / stated.rate / time_base)))
    if stated.end is not None and not ends_early and stated.end > pts[last] * time_base:
        end = round(stated.end / time_base)
    return ends_early, end


def _stated_end(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Seconds, on the stream's own clock, at which its last picture ends by the file's header (mp4)
    or tags (Matroska)."""
    if stream.duration is not None and stream.time_base is not None:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    stated = stated_duration(stream)
    if (
        stated is None
        or container.duration is None
        or stated > container.duration / av.time_base + DURATION_TOLERANCE
    ):
        return None  # a tag that was left over from another file
    return Fraction(stated)


def _ends_with_tag(path: Path) -> bool:
    """Whether an FLV file ends with a whole tag: its size stands once more behind it (Adobe Flash
    Video File Format Specification 10.1, annex E.3)."""
    header, trailer = 11, 4
    with path.open("rb") as file:
        file.seek(-trailer, 2)
        size = int.from_bytes(file.read(trailer), "big")
        if not header <= size <= file.tell() - trailer:
            return False
        file.seek(-trailer - size, 2)
        tag = file.read(header)
    return size == header + int.from_bytes(tag[1:4], "big")


def _is_nearly_sorted(pts: np.ndarray) -> bool:
    """Whether pictures are presented in about the order they are coded in; else the times start
    over somewhere."""
    rank = np.argsort(np.argsort(pts, kind="stable"), kind="stable")
    return bool(np.abs(rank - np.arange(len(pts))).max() <= MAX_REORDER)


def scan_by_decoding(path: Path, *, begin: Fraction = Fraction(0)) -> Packets:
    """The first pass for files without usable times (raw streams, AVI): the pictures are counted as
    they come out.

    Args:
        begin: of the first picture, in seconds.
    """
    with opened(path) as (container, stream):
        is_key, is_bad = [], []
        for frame in decode_all(container, stream):
            is_key.append(bool(frame.key_frame))
            is_bad.append(frame.is_corrupt)
        # the container's is made up
        own = stream.codec_context.framerate if container.format.flags & _NO_TIMES else None
        rate = Fraction(own or stream.average_rate or stream.guessed_rate or 25)
        codec = stream.codec_context.name
    if not is_key:
        raise nothing_decodes(path, codec)
    count, first = len(is_key), round(begin * rate)
    pts = np.arange(first, first + count, dtype=np.int64)
    is_key[0] = True
    return Packets(
        pts=pts,
        entry=_entries(pts, np.array(is_key)),
        is_reference=np.ones(count, dtype=bool),
        is_shown=np.ones(count, dtype=bool),
        is_damaged=np.array(is_bad),
        time_base=1 / Fraction(rate),
        numbered=True,
        ends_early=False,
        end=first + count,
    )


def _entries(pts: np.ndarray, is_key: np.ndarray, parts: Sequence[int] = (0,)) -> np.ndarray:
    """(P,) int64: the keyframe packet from which each packet can be decoded, -1 where none comes
    before it.

    Usually the last keyframe. A picture coded after it but shown before it (open GOP) needs the one
    before that.

    Args:
        parts: packets with which parts of a joined film begin; no picture is predicted from those
            of an earlier part.
    """
    keys = np.flatnonzero(is_key)
    if not len(keys):
        # nothing is marked: it can only be read from the start
        return np.zeros(len(pts), dtype=np.int64)
    packets = np.arange(len(pts))
    last = np.searchsorted(keys, packets, side="right") - 1  # (P,) position in keys
    last -= (last >= 0) & (pts[keys[np.maximum(last, 0)]] > pts)
    entry = np.where(last >= 0, keys[np.maximum(last, 0)], -1)
    # (P,) the packet that begins its part
    begun = np.array(parts)[np.searchsorted(parts, packets, side="right") - 1]
    return np.where(entry >= begun, entry, -1)


def _reference_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """A function that tells whether other pictures may be predicted from a packet; True when in
    doubt.

    Only H.264 says so reliably: in HEVC the mark holds within a temporal layer only.
    """
    if stream.codec_context.name != "h264":
        return lambda packet: True
    extradata = stream.codec_context.extradata or b""
    length_size = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0

    def is_reference(packet: av.Packet) -> bool:
        headers = [
            header for header in _nal_headers(bytes(packet), length_size) if 1 <= header & 31 <= 5
        ]
        return not headers or any(header & 0x60 for header in headers)  # nal_ref_idc of the slices

    return is_reference


def _nal_headers(data: bytes, length_size: int) -> Iterator[int]:
    """First bytes of the NAL units in an H.264 packet; length_size 0: separated by start codes."""
    position = 0
    if length_size:
        while position + length_size < len(data):
            yield data[position + length_size]
            position += length_size + int.from_bytes(data[position : position + length_size], "big")
        return
    while 0 <= (position := data.find(b"\0\0\1", position)) < len(data) - 3:
        position += 3
        yield data[position]


def _is_hidden_vp8(packet: av.Packet) -> bool:
    """VP8 keeps pictures that are only predicted from in packets of their own; the fourth bit says
    so."""
    return not bytes(packet)[0] & 0x10
