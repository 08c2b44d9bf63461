"""Read frames of a video by presentation time, forward only, decoding no more than needed.

The file is read twice. The first pass only demuxes: it gives every picture's time before anything
is decoded, and the selection of frames is a function of these times alone. The second pass follows
the requests: where a keyframe lies between the decoder and the frames wanted, the packets before it
are skipped; of the remaining ones, those from which no other picture is predicted are left out
(H.264). Neither changes a pixel of what comes out.

Words used below:
    packet   index of a coded picture in the file's order (the order of decoding)
    entry    of a packet: the keyframe packet from which decoding must start to get it right
    frame    index among the selected pictures, in order of presentation
"""

import hashlib
import logging
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from threading import Lock

import av
import numpy as np
from av.format import Flags
from av.stream import Disposition

from nunif.errors import UserError
from nunif.files import tell_if_dangling
from nunif.video import picture as pictures
from nunif.video.clock import has_free_clock, read_clock
from nunif.video.color import UNREAD_MATRICES, ColorTags, read_tags, to_rgb
from nunif.video.deinterlace import Deinterlacer, stated_first_field
from nunif.video.extras import list_extras
from nunif.video.mastering import Mastering, list_dynamic, read_mastering
from nunif.video.matroska import count_pictures
from nunif.video.orientation import Orientation, read_orientation, upright_format
from nunif.video.picture import Picture
from nunif.video.pixel_format import layout_of
from nunif.video.tone import ToneMap, to_8_bits, tone_map_of

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv".split()
)

# Frames may come this much closer together than max_fps says: 59.94 for 60, and time bases of a
# millisecond.
_RATE_TOLERANCE = Fraction(5, 100)
# A decoder may hold back this many pictures to put them in order (16 in H.264 and HEVC), and a few
# more by itself.
_MAX_REORDER = 32
# A file that ends so many seconds before its header says is taken as cut off.
DURATION_TOLERANCE = 0.5
# The demuxer takes the last packets before a join for damaged, as the count of what follows doesn't
# fit. Where the clock goes on (segments of a stream) only the keyframe marks the join; what is
# damaged there the decoder finds.
_MARKED_AT_JOIN = 3
# A file's own rate is believed if most pictures come about as fast: times of a millisecond round
# that much and more.
_RATE_DIFFERENCE = Fraction(1, 10)
# Pictures that are looked at when a file is opened.
_NUM_PROBED = 8
# `find_gaps`: the steps of an even film differ by less (of a step; seconds), but for this share of
# them.
_STEP_TOLERANCE, _TIME_TOLERANCE = 0.25, 0.0025
_MAX_UNEVEN = 0.1
# Their alpha is a second stream of pictures, which libav's own decoders leave out and these don't.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_PNG, _BEFORE_PIXELS = ("apng", "png"), 1 << 20  # bytes
# a number, though its stub says otherwise
_NO_TIMES: int = Flags.no_timestamps.value  # type: ignore[assignment]
# Demuxers that take text files for videos.
_NOT_VIDEO_FORMATS = frozenset({"tty", "ass", "srt", "webvtt", "lrc", "subviewer", "txt"})


class BrokenVideo(Exception):
    """A requested frame can't be decoded.

    Attributes:
        time: the frame's presentation time in seconds after the video's first picture.
    """

    def __init__(self, path: Path, time: float, reason: str | None = None) -> None:
        """reason: why, with what to do, where it isn't damage."""
        super().__init__(reason or f"{path} is damaged at {time:.2f} s: copy or download it again")
        self.time = time


class _WrongTimes(Exception):
    """A file's times aren't those of its pictures."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of its picture stream. All sizes are as displayed, turned upright."""

    path: Path
    width: int
    height: int
    orientation: Orientation  # of the decoded picture
    fps: float  # average over the whole file, before any selection; 0 for a single picture
    num_packets: int  # coded pictures in the file, before any selection
    codec: str
    pixel_format: str
    picture_format: str  # the planar one of an upright picture, see nunif.video.picture
    bit_depth: int  # of a sample
    color: ColorTags
    time_base: Fraction  # seconds; what a frame's pts counts
    rate: Fraction  # frames per second, as the file states it; where it varies, that of most frames
    sample_aspect_ratio: Fraction | None  # width to height of a pixel; None: not said
    has_sound: bool
    is_interlaced: bool  # in the beginning: pictures hold two fields, taken at two times
    extras: tuple[str, ...] = ()  # in words, what else there is: subtitles, chapters, ...
    mastering: Mastering = Mastering()
    dynamic: tuple[str, ...] = ()  # in words, what else the pictures bring along: Dolby Vision, ...

    @property
    def tone_map(self) -> ToneMap | None:
        """What brings the pictures to SDR BT.709; None: they are there, or don't say."""
        return tone_map_of(self.color)


@dataclass(frozen=True)
class Frame:
    """One picture, upright."""

    # (H, W, 3) uint8, contiguous, SDR: HDR and wide colours are tone-mapped (nunif.video.tone). For
    # editing as the film has it, and uint16 from 0 to 65535 where a sample has over 8 bits
    rgb: np.ndarray
    pts: int  # in units of VideoInfo.time_base; the frame's number where the file has no times
    time: float  # seconds after the video's first picture
    duration: int  # in units of VideoInfo.time_base: to the next frame, or to the end of the film
    picture: Picture | None  # the coded numbers behind `rgb`, when reading for editing


def list_videos(path: Path) -> list[Path]:
    """The video files that a path stands for: a file for itself, a folder for the videos in it, by
    name.

    Raises:
        UserError: there is nothing at `path`, or no video in the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} doesn't exist: check the path")
    named = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".")
    )
    for file in named:
        tell_if_dangling(file)
    videos = [file for file in named if file.is_file()]
    if not videos:
        raise UserError(
            f"{path} holds no video: expected files ending in {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return videos


def content_hash(path: Path) -> str:
    """8 hex digits (BLAKE2b) of a file's content; its name and date don't matter.

    Raises:
        UserError: the file can't be read.
    """
    digest = hashlib.blake2b(digest_size=4)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error
    return digest.hexdigest()


def select_frames(pts: np.ndarray, *, time_base: Fraction, max_fps: float | None) -> np.ndarray:
    """Which pictures to keep so that no two are closer than 1 / max_fps, 5 % less at most. No
    duplicates.

    Args:
        pts: (N,) int64, ascending presentation times in units of `time_base`.
        time_base: seconds.
        max_fps: frames per second, above 0; None keeps all.

    Returns:
        (M,) int64 ascending positions in `pts`; M <= N.
    """
    min_step = 1
    if max_fps is not None:
        min_step = max(1, math.ceil((1 - _RATE_TOLERANCE) / (Fraction(max_fps) * time_base)))
    keep = []
    last = None
    for position, value in enumerate(pts.tolist()):
        if last is None or value - last >= min_step:
            keep.append(position)
            last = value
    return np.array(keep, dtype=np.int64)


def find_gaps(times: np.ndarray) -> list[int]:
    """Frames before which others are missing, or that stand at a wrong time.

    In a film whose frames come evenly, an uneven step is a loss: of a damaged file, or of the
    camera. Where frames come at any time (a screen that is recorded when it changes) nothing can be
    said, and none are found.

    Args:
        times: (M,) seconds, ascending.
    """
    if len(times) < 3:
        return []
    steps = np.diff(times)
    usual = np.median(steps)
    uneven = np.abs(steps - usual) > max(_STEP_TOLERANCE * usual, _TIME_TOLERANCE)
    if uneven.mean() > _MAX_UNEVEN:
        return []
    return [int(step) + 1 for step in np.flatnonzero(uneven)]


@dataclass(frozen=True)
class _Packets:
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


class VideoReader:
    """Frames of a video, chosen by presentation time, readable forward only. Use as a context
    manager.

    Damage is never papered over: a picture that fails to decode or is patched up by the decoder,
    and all that are predicted from it up to the next keyframe, raise BrokenVideo when asked for,
    and no neighbour takes their place. Damage that the decoder itself doesn't notice can't be
    distinguished from content.

    Attributes:
        info: what the file says of itself.
        deinterlaces: see __init__.
        times: (M,) float64 seconds after the video's first picture, of the selected frames,
            ascending.
        broken_at: the earliest time in seconds at which the file was found to be damaged or cut
            off; None so far.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_fps: float | None = None,
        for_editing: bool = False,
        deinterlace: bool = False,
    ) -> None:
        """Open a video, find the times of its frames and decode some of them.

        Args:
            path: a file.
            max_fps: keep at most so many frames per second (5 % more at most), above 0; None keeps
                all.
            for_editing: give the frames their `picture`, and `rgb` more than 8 bits where the
                source has more.
            deinterlace: make whole pictures of interlaced ones, as many as there are; every picture
                is decoded then.

        Raises:
            UserError: no such file, no picture can be got from it, or it is interlaced; the latter
                may be found out later.
        """
        self.path = path
        self.deinterlaces = deinterlace
        self.broken_at: float | None = None
        self._for_editing = for_editing
        self._lock = Lock()  # libav crashes where a file is closed that another thread reads
        self._container: av.container.InputContainer | None = None
        _check_file(path)
        self._packets, probed = _scan_and_probe(path, with_alpha=for_editing)
        self.info, self._decoded_size, self._first_field = probed
        if self.info.is_interlaced and not deinterlace:
            raise _is_interlaced(path)
        self._tone = None if for_editing else self.info.tone_map
        if self._tone is not None:
            logger.info(
                "%s is %s: its pictures are tone-mapped to SDR BT.709", path, self._tone.name
            )
        self._choose_frames(max_fps)

        self._start = 0  # no frame before this one is asked for any more
        self._ready: dict[int, Frame] = {}
        # came out of the decoder, not asked for yet, or not known yet to be sound
        self._decoded: dict[int, Frame] = {}
        self._may_skip = not (self._packets.numbered or deinterlace)
        # of the first picture, see `_check_kind`
        self._kind: tuple[str, Fraction | None, ColorTags] | None = None
        self._changed: set[str] = set()
        self._open()

    def _choose_frames(self, max_fps: float | None) -> None:
        """Choose the frames by their times, and note the damage that the first pass has found.

        Raises:
            UserError: no picture can be decoded.
        """
        packets = self._packets
        usable = np.flatnonzero(packets.is_shown & (packets.entry >= 0))
        if not len(usable):
            raise UserError(
                f"{self.path} holds no picture that can be decoded: copy or download it again"
            )
        # np.unique sorts by time and keeps the first of equal ones.
        pts, first_of_pts = np.unique(packets.pts[usable], return_index=True)
        kept = select_frames(pts, time_base=packets.time_base, max_fps=max_fps)
        self._pts = pts[kept]  # (M,)
        self._durations = np.diff(self._pts, append=packets.end)  # (M,)
        self._packet = usable[first_of_pts[kept]]  # (M,) frame -> packet
        # (P,) packet -> frame, -1: not selected
        self._frame = np.full(len(packets.pts), -1, dtype=np.int64)
        self._frame[self._packet] = np.arange(len(kept))
        self._origin = int(pts[0])
        self.times = np.array(
            [self._seconds(value) for value in self._pts.tolist()], dtype=np.float64
        )
        self._all_pts, self._all_packets = np.unique(packets.pts, return_index=True)
        self._damaged: list[int] = np.flatnonzero(packets.is_damaged).tolist()  # packets, ascending
        if self._damaged:
            self._note_broken(int(packets.pts[packets.is_damaged].min()))
        if packets.ends_early:
            self._note_broken(int(pts[-1]))

    @property
    def num_frames(self) -> int:
        """Selected frames in the whole video."""
        return len(self._pts)

    def __len__(self) -> int:
        return len(self._pts)

    def __iter__(self) -> Iterator[Frame]:
        """All selected frames, one at a time and kept no longer. Raises BrokenVideo as `read`
        does."""
        return (self.read(number, number + 1)[0] for number in range(len(self)))

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of all frames. Waits for a `read` in another thread."""
        with self._lock:
            if self._container is not None:
                self._container.close()
                self._container = None
            self._ready.clear()
            self._decoded.clear()

    def read(self, start: int, stop: int) -> list[Frame]:
        """The selected frames [start, stop). All of them stay in memory, and no more than a few
        others.

        Args:
            start: must not be less than in an earlier call; frames of earlier calls from here on
                cost nothing.
            stop: at most len(self).

        Raises:
            BrokenVideo: one of the frames can't be decoded; calls for later frames still work.
            ValueError: the frames lie before those of an earlier call, or the reader has been
                closed.
        """
        with self._lock:
            if self._container is None:
                raise ValueError(f"the reader of {self.path} has been closed")
            return self._read(start, stop)

    def forget(self, stop: int) -> None:
        """Let go of the frames before `stop`: no later call asks for them."""
        with self._lock:
            self._forget(stop)

    def _forget(self, stop: int) -> None:
        self._start = max(self._start, stop)
        for frames in (self._ready, self._decoded):
            for frame in [frame for frame in frames if frame < stop]:
                del frames[frame]

    def _read(self, start: int, stop: int) -> list[Frame]:
        if not self._start <= start <= stop <= len(self):
            bounds = f"[{self._start}, {len(self)}]"
            raise ValueError(
                f"frames [{start}, {stop}) don't lie in {bounds}: reading goes forward"
            )
        self._forget(start)

        self._decode(start, stop)
        if self._in_doubt or (self._missing(start, stop) and self._has_skipped):
            # A keyframe that wasn't one (a stream that refreshes piece by piece): from here on read
            # everything.
            self._may_skip = False
            self._open()
            self._decode(start, stop)

        for frame in range(start, stop):
            if frame in self._decoded and not self._is_spoilt(int(self._packet[frame])):
                self._ready[frame] = self._decoded.pop(frame)
        broken = [frame for frame in range(start, stop) if frame not in self._ready]
        if broken:
            self._note_broken(int(self._pts[broken[0]]))
            raise BrokenVideo(self.path, float(self.times[broken[0]]))
        return [self._ready[frame] for frame in range(start, stop)]

    def _open(self) -> None:
        """Start the second pass at the beginning of the file."""
        if self._container is not None:
            self._container.close()
        self._container, stream = open_video(self.path)
        self._decoder = _decoder_of(stream, with_alpha=self._for_editing)
        self._demuxer = _demux(self._container, stream)
        self._position = 0  # packet that comes next
        self._num_decoded = 0
        self._outstanding: set[int] = set()  # packets fed whose picture hasn't come out yet
        self._has_skipped = False
        self._entry = -1  # keyframe packet that decoding last started from after a skip
        # a damaged packet that nothing depends on went in, and leaves traces all the same
        self._is_dirty = False
        self._deinterlacer = Deinterlacer(self._first_field) if self.deinterlaces else None
        self._in_doubt = False  # that keyframe didn't come out whole
        self._at_end = False

    def _missing(self, start: int, stop: int) -> list[int]:
        """Frames of the request that may still come, or of which it isn't known yet whether they
        are sound."""
        return [
            frame
            for frame in range(start, stop)
            if frame not in self._ready
            and not self._is_spoilt(int(self._packet[frame]))
            and not (frame in self._decoded and self._is_settled(int(self._packet[frame])))
        ]

    def _is_settled(self, packet: int) -> bool:
        """Whether all pictures that damage may come from have come out: some do so later than this
        one."""
        entry = self._packets.entry[packet]
        return not any(entry <= other < packet for other in self._outstanding)

    def _decode(self, start: int, stop: int) -> None:
        """Feed the decoder until the frames are out or can't come any more."""
        missing = self._missing(start, stop)
        if not missing or (self._at_end and not self._is_dirty):
            return
        if self._is_dirty:
            self._open()
        packets = self._packets
        wanted_packets = self._packet[missing]
        last = int(wanted_packets.max()) + _MAX_REORDER
        entry = int(packets.entry[wanted_packets].min())
        if self._may_skip and entry > self._position:
            for _ in range(entry - self._position):
                next(self._demuxer, None)
            self._position = entry
            self._decoder.flush_buffers()
            self._outstanding.clear()
            self._has_skipped = True
            self._entry = entry
        while not (self._at_end or self._in_doubt) and self._missing(start, stop):
            if (self._num_decoded if packets.numbered else self._position) > last:
                break
            self._feed()
            if self._is_dirty:
                return self._decode(start, stop)

    def _feed(self) -> None:
        """Hand the decoder the next packet, or the news that there are no more."""
        packets, number = self._packets, self._position
        packet = next(self._demuxer, None)
        self._position += 1
        self._at_end = packet is None
        if packet is not None and not packets.numbered:
            if number >= len(packets.pts):
                return  # the file has grown since the first pass
            is_of_use = self._frame[number] >= self._start and number not in self._damaged
            if self._may_skip and not packets.is_reference[number] and not is_of_use:
                self._has_skipped = True
                return
            self._outstanding = {
                other for other in self._outstanding if other >= number - _MAX_REORDER
            } | {number}
            packet.pts = int(packets.pts[number])
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError:
            if packet is not None:
                # Where pictures are numbered, the next to come out is the earliest that can be hit.
                self._mark_damaged(
                    min(self._num_decoded, len(packets.pts) - 1) if packets.numbered else number
                )
            self._outstanding.discard(number)
            return
        for frame in frames:
            pts = int(packets.pts[0]) + self._num_decoded if packets.numbered else frame.pts
            self._num_decoded += 1
            if pts is not None:
                self._accept(pts, frame)
        if packet is None and self._deinterlacer is not None:
            self._keep(self._deinterlacer.flush())

    def _accept(self, pts: int, frame: av.VideoFrame) -> None:
        """Take in a picture from the decoder: keep it if it may be asked for. Raises as
        `_check_kind` does."""
        where = min(int(np.searchsorted(self._all_pts, pts)), len(self._all_pts) - 1)
        if self._all_pts[where] != pts:
            return
        packet = int(self._all_packets[where])
        self._outstanding.discard(packet)
        if frame.is_corrupt:
            self._in_doubt |= packet == self._entry
            if not self._in_doubt:
                self._mark_damaged(packet)
        if not frame.is_corrupt:
            self._check_kind(frame, self._seconds(pts))
        if self._deinterlacer is None:
            if not frame.is_corrupt:
                self._keep([(packet, frame)])
        elif frame.is_corrupt or self._is_spoilt(packet):
            # so that no good picture is made with rows of a bad one
            self._keep(self._deinterlacer.flush())
        else:
            self._keep(self._deinterlacer.push(frame, packet))

    def _check_kind(self, frame: av.VideoFrame, time: float) -> None:
        """
        Raises:
            UserError: the picture has another size than the first, or is interlaced, which that was
                not.
        """
        size = (frame.width, frame.height)
        if size != self._decoded_size:
            first, second = ("x".join(map(str, sides)) for sides in (self._decoded_size, size))
            raise UserError(
                f"{self.path} changes its size from {first} to {second} at {time:.2f} s: cut it "
                "there, "
                "each part is a film of its own"
            )
        if self._deinterlacer is None and frame.interlaced_frame:
            raise _is_interlaced(self.path, time)
        kind = (
            frame.format.name,
            self._decoder.sample_aspect_ratio,
            read_tags(frame, self._decoder),
        )
        for what, change in _changes(self._kind or kind, kind).items():
            if what not in self._changed:
                self._changed.add(what)
                text = (
                    "%s changes its %s at about %.1f s; all of it is taken as it begins: cut "
                    "it there if that matters"
                )
                logger.warning(text, self.path, change, time)
        self._kind = self._kind or kind

    def _keep(self, frames: Iterable[tuple[int, av.VideoFrame]]) -> None:
        """Of whole pictures and their packets, those that may be asked for."""
        for packet, frame in frames:
            index = int(self._frame[packet])
            if index >= self._start and index not in self._ready and index not in self._decoded:
                # at once: the decoder uses its buffers again
                self._decoded[index] = self._convert(index, frame)

    def _is_spoilt(self, packet: int) -> bool:
        """Whether damage lies on the way from the packet's keyframe to the packet."""
        if not self._damaged:
            return False
        first = bisect_left(self._damaged, self._packets.entry[packet])
        last = bisect_right(self._damaged, packet)
        damaged_packets = self._damaged[first:last]
        if not self._may_skip:  # then all packets are fed
            return bool(damaged_packets)
        return any(
            damaged == packet or self._packets.is_reference[damaged] for damaged in damaged_packets
        )

    def _convert(self, frame: int, decoded: av.VideoFrame) -> Frame:
        width, height = self._decoded_size
        picture = None
        if self._for_editing or self._tone is not None:
            picture = pictures.from_frame(
                decoded, color=self.info.color, width=width, height=height
            )
            picture = pictures.turn_upright(picture, self.info.orientation)
        if picture is not None and self.info.bit_depth > 8:
            rgb = pictures.to_rgb(picture)
        else:
            rgb = to_rgb(decoded, width=width, height=height)  # (H, W, 3) as coded
            rgb = self.info.orientation.apply(rgb)
        if self._tone is not None:
            rgb, picture = to_8_bits(self._tone.to_sdr(rgb)), None
        duration = int(self._durations[frame])
        return Frame(
            rgb=rgb,
            pts=int(self._pts[frame]),
            time=float(self.times[frame]),
            duration=duration,
            picture=picture,
        )

    def _seconds(self, pts: int) -> float:
        return float((pts - self._origin) * self._packets.time_base)

    def _mark_damaged(self, packet: int) -> None:
        if packet not in self._damaged:
            insort(self._damaged, packet)
            if self._may_skip and not self._packets.is_reference[packet]:
                # H.264 goes on from what it patched up. Start again without this packet, so that
                # the frames behind it are the same as for a reader that has no use for it.
                self._is_dirty = True
                for frame in [frame for frame in self._decoded if self._packet[frame] > packet]:
                    del self._decoded[frame]
        self._note_broken(int(self._packets.pts[packet]))

    def _note_broken(self, pts: int) -> None:
        time = max(0.0, self._seconds(pts))
        self.broken_at = time if self.broken_at is None else min(self.broken_at, time)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a video: name a file in it")
    if not path.exists():
        raise UserError(f"{path} doesn't exist: check the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")


def open_input(path: Path) -> av.container.InputContainer:
    """Open a file of pictures and sound. Titles and handlers that aren't UTF-8, which old programs
    write, are no error."""
    # the prefix keeps libav from reading a colon in a name as a protocol
    return av.open(f"file:{path}", metadata_errors="replace")


def open_video(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a file and find its picture stream; cover art isn't one. libav's log is silent unless
    someone sets it."""
    try:
        container = open_input(path)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise UserError(f"{path} can't be read: {error.strerror}") from error
        raise UserError(
            f"{path} isn't a video that can be read ({error.strerror}): "
            f"it may be of another kind, or cut off before its index was written"
        ) from error
    try:
        if container.format.name in _NOT_VIDEO_FORMATS:
            raise UserError(f"{path} isn't a video but a text file: name a video")
        streams = [
            s
            for s in container.streams.video
            if not Disposition(s.disposition) & Disposition.attached_pic
        ]
        if not streams:
            raise UserError(f"{path} has no picture stream, only sound or cover art: name a video")
        if streams[0].codec_context is None:
            raise UserError(
                f"{path} is coded in a way that this libav can't decode: convert it to H.264 first"
            )
        if streams[0].codec_context.name == "h264":
            # without it, macroblocks that a damaged picture lacks are patched up silently
            streams[0].codec_context.options = {"err_detect": "aggressive"}
        return container, streams[0]
    except BaseException:
        container.close()
        raise


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    container, stream = open_video(path)
    try:
        yield container, stream
    finally:
        container.close()


def _demux(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """Packets of a stream up to the file's end or to where it can't be read any further."""
    is_png = stream.codec_context.name in _PNG
    try:
        for packet in container.demux(stream):
            if packet.size:
                if is_png:
                    _hide_profile(packet)
                yield packet
    # PyAV raises the latter where a damaged transport stream names a new stream
    except (av.FFmpegError, IndexError):
        return


def _hide_profile(packet: av.Packet) -> bool:
    """Make the colour profile of a PNG one of its chunks that nobody knows. Returns whether there
    was one.

    PyAV 18 frees the profile's name a second time when a picture goes whose side data was looked
    at: the process ends.
    """
    head = bytes(memoryview(packet)[:_BEFORE_PIXELS])
    if b"iCCP" not in head[: head.find(b"IDAT")]:
        return False
    packet.update(bytes(packet).replace(b"iCCP", b"icCP", 1))
    return True


def _scan_and_probe(
    path: Path, *, with_alpha: bool
) -> tuple[_Packets, tuple[VideoInfo, tuple[int, int], str | None]]:
    """The first pass, and what `_probe` finds."""
    packets = _scan(path)
    try:
        return packets, _probe(path, packets, with_alpha=with_alpha)
    except _WrongTimes:
        logger.warning(
            "%s: its times aren't those of its pictures, which are taken to come at one rate", path
        )
        packets = _scan_by_decoding(path, begin=int(packets.pts.min()) * packets.time_base)
        return packets, _probe(path, packets, with_alpha=with_alpha)


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
    with _opened(path) as (container, stream):
        rows: list[_Row] = []
        is_reference = _reference_test(stream)
        is_hidden = _is_hidden_vp8 if stream.codec_context.name == "vp8" else lambda packet: False
        for packet in _demux(container, stream):
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
        duration = None if has_free_clock(container) else stated_duration(stream)
        return rows, _Stated(
            time_base=stream.time_base,
            rate=Fraction(stream.average_rate or stream.guessed_rate or 25),
            duration=duration,
            end=None if duration is None else _stated_end(container, stream),
            is_matroska=container.format.name.startswith("matroska"),
            is_reordered=container.format.name == "avi" and bool(stream.codec_context.has_b_frames),
        )


def _scan(path: Path) -> _Packets:
    """The first pass: demux the whole file."""
    rows, stated = _demux_all(path)
    times, is_key, reference, shown, damaged, durations = zip(*rows, strict=True)
    time_base = stated.time_base
    if None in times:
        return _scan_by_decoding(path)
    if stated.is_reordered:
        return _scan_by_decoding(path, begin=min(times) * time_base)
    with _opened(path) as (container, stream):
        clock, index = read_clock(container, stream), stream.index
    shifts = [round(shift / time_base) for shift in islice(clock.shifts(index), len(times))]
    pts = np.array(times, dtype=np.int64) + np.array(shifts, dtype=np.int64)
    if not _is_nearly_sorted(pts):
        return _scan_by_decoding(path)
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
    belongs = np.array(shown)
    ends_early, end = _find_end(path, pts, belongs, durations, stated)
    return _Packets(
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


def stated_duration(stream: av.stream.Stream) -> float | None:
    """Seconds the stream should last by the file's header (mp4) or tags (Matroska)."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    fields = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(field) for field in fields)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _is_nearly_sorted(pts: np.ndarray) -> bool:
    """Whether pictures are presented in about the order they are coded in; else the times start
    over somewhere."""
    rank = np.argsort(np.argsort(pts, kind="stable"), kind="stable")
    return bool(np.abs(rank - np.arange(len(pts))).max() <= _MAX_REORDER)


def _scan_by_decoding(path: Path, *, begin: Fraction = Fraction(0)) -> _Packets:
    """The first pass for files without usable times (raw streams, AVI): the pictures are counted as
    they come out.

    Args:
        begin: of the first picture, in seconds.
    """
    with _opened(path) as (container, stream):
        is_key, is_bad = [], []
        for frame in _decode_all(container, stream):
            is_key.append(bool(frame.key_frame))
            is_bad.append(frame.is_corrupt)
        # the container's is made up
        own = stream.codec_context.framerate if container.format.flags & _NO_TIMES else None
        rate = Fraction(own or stream.average_rate or stream.guessed_rate or 25)
    if not is_key:
        raise UserError(f"{path} can't be decoded, not a single picture: copy or download it again")
    count, first = len(is_key), round(begin * rate)
    pts = np.arange(first, first + count, dtype=np.int64)
    is_key[0] = True
    return _Packets(
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


def _decoder_of(stream: av.VideoStream, *, with_alpha: bool) -> av.VideoCodecContext:
    """A stream's decoder; `with_alpha`: one that gives the alpha too, where there is any."""
    decoder = stream.codec_context
    better = _ALPHA_DECODERS.get(decoder.name, "")
    marks = {key.lower(): value for key, value in stream.metadata.items()}
    if not with_alpha or marks.get("alpha_mode", "0") == "0" or better not in av.codecs_available:
        return decoder
    other = av.CodecContext.create(better, "r")
    assert isinstance(other, av.VideoCodecContext)
    other.extradata = decoder.extradata
    return other


def _decode_all(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    decoder: av.VideoCodecContext | None = None,
) -> Iterator[av.VideoFrame]:
    """All pictures in the decoder's order; packets that fail are passed over."""
    decoder = decoder or stream.codec_context
    for packet in chain(_demux(container, stream), [None]):  # None: give out what the decoder holds
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError:
            continue
        yield from frames


def _changes(before: tuple, after: tuple) -> dict[str, str]:
    """In words, where two kinds of picture differ, see `VideoReader._check_kind`."""
    (old_format, old_aspect, old_color), (new_format, new_aspect, new_color) = before, after
    found = {}
    if old_format != new_format:
        found["format"] = f"pixel format from {old_format} to {new_format}"
    elif old_color != new_color:
        found["color"] = "colours (matrix, range, primaries or transfer)"
    if (old_aspect or 1) != (new_aspect or 1):
        found["aspect"] = f"pixels' aspect from {old_aspect or 1} to {new_aspect or 1}"
    return found


def _is_interlaced(path: Path, time: float | None = None) -> UserError:
    where = "" if time is None else f" from {time:.2f} s on"
    return UserError(
        f"{path} is interlaced{where}, each picture is two woven into one: use --deinterlace, "
        "which makes whole ones of them"
    )


def _probe(
    path: Path, packets: _Packets, *, with_alpha: bool
) -> tuple[VideoInfo, tuple[int, int], str | None]:
    """Decode the first good pictures: what the stream says, the (width, height) as decoded, and
    `stated_first_field`."""
    with _opened(path) as (container, stream):
        frames = _first_pictures(path, container, stream, packets, with_alpha=with_alpha)
        frame = frames[0]
        first_field = stated_first_field(stream.codec_context)
        orientation = read_orientation(frame)
        if not orientation.is_exact:
            logger.warning(
                "%s asks to be turned by an odd angle; it is turned by %d degrees",
                path,
                orientation.degrees,
            )
        color = read_tags(frame, stream.codec_context)
        layout = layout_of(frame.format.name)
        if color.matrix in UNREAD_MATRICES and not (layout.is_rgb or layout.is_grey):
            raise UserError(
                f"{path} has colours in {UNREAD_MATRICES[color.matrix]}, which can't be read: "
                "convert it to BT.709 or BT.2020 "
                "first (ffmpeg -i FILM -vf zscale=matrix=bt709 ...)"
            )
        decoded_size = frame.width, frame.height
        width, height = decoded_size[::-1] if orientation.is_on_its_side else decoded_size
        aspect = stream.sample_aspect_ratio or None
        dynamic = list_dynamic(frame, stream)
        if stream.codec_context.name in _PNG and _has_profile(path):
            dynamic.append("an ICC profile")
        info = VideoInfo(
            path=path,
            width=width,
            height=height,
            orientation=orientation,
            fps=_average_rate(packets),
            num_packets=len(packets.pts),
            codec=stream.codec_context.name,
            pixel_format=frame.format.name,
            picture_format=upright_format(
                frame.format.name, orientation, width=frame.width, height=frame.height
            ),
            bit_depth=layout.bits,
            color=color,
            time_base=packets.time_base,
            rate=_usual_rate(packets, Fraction(stream.average_rate or stream.guessed_rate or 25)),
            sample_aspect_ratio=1 / aspect if aspect and orientation.is_on_its_side else aspect,
            has_sound=any(sound.codec_context is not None for sound in container.streams.audio),
            is_interlaced=first_field is not None or any(one.interlaced_frame for one in frames),
            extras=tuple(list_extras(container)),
            mastering=read_mastering(frame, stream),
            dynamic=tuple(dynamic),
        )
        return info, decoded_size, first_field


def _first_pictures(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    packets: _Packets,
    *,
    with_alpha: bool,
) -> list[av.VideoFrame]:
    """The good ones of the first pictures, or else the first good one.

    Raises:
        UserError: there is none.
        _WrongTimes: see `_check_times`.
    """
    decoded = _decode_all(container, stream, _decoder_of(stream, with_alpha=with_alpha))
    seen = list(islice(decoded, _NUM_PROBED))
    frames = [frame for frame in seen if not frame.is_corrupt]
    frames = frames or list(islice((frame for frame in decoded if not frame.is_corrupt), 1))
    if not frames:
        raise UserError(f"{path} can't be decoded, not a single picture: copy or download it again")
    if not packets.numbered:
        times = [frame.pts for frame in seen if frame.pts is not None]
        _check_times(times, packets, is_free=has_free_clock(container))
    return frames


def _average_rate(packets: _Packets) -> float:
    """Frames per second over the whole file; 0 for a single picture."""
    if len(packets.pts) < 2:
        return 0.0
    span = int(packets.pts.max() - packets.pts.min()) * packets.time_base
    return float((len(packets.pts) - 1) / span) if span else 0.0


def _has_profile(path: Path) -> bool:
    """Whether a PNG, or the first picture of a film of PNGs, has a colour profile."""
    with _opened(path) as (container, stream):
        return any(_hide_profile(packet) for packet in islice(container.demux(stream), 1))


def _check_times(times: list[int], packets: _Packets, *, is_free: bool) -> None:
    """
    Args:
        times: of the first pictures, as decoders give them out: in the order in which they are
            shown.
        is_free: the file's clock begins anywhere and may start over.
    Raises:
        _WrongTimes: they are out of order, as where packets have times of coding; or every
            second packet gave no picture, as where the two fields of a picture are packets of
            their own (H.264, PAFF).
    """
    usable = packets.pts[packets.is_shown & (packets.entry >= 0)]
    if not times or not len(usable):
        return
    shift = int(usable.min()) - times[0] if is_free else 0
    expected = np.count_nonzero((usable >= times[0] + shift) & (usable <= times[-1] + shift))
    is_unordered = not is_free and any(later <= earlier for earlier, later in zip(times, times[1:]))
    if is_unordered or expected > 1.5 * len(times):
        raise _WrongTimes


def _usual_rate(packets: _Packets, stated: Fraction) -> Fraction:
    """The rate that a file states, or that of most of its pictures where these come faster or
    slower than it says."""
    steps = np.diff(np.unique(packets.pts))
    if not len(steps):
        return stated
    usual = 1 / (int(np.median(steps)) * packets.time_base)
    return stated if abs(usual / stated - 1) < _RATE_DIFFERENCE else usual
