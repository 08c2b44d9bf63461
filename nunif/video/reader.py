"""Read frames of a video by presentation time, forward only, decoding no more than needed.

The file is read twice. The first pass (`nunif.video.first_pass`) only demuxes: it gives every
picture's time before anything is decoded, and the selection of frames is a function of these times
alone. The second pass follows the requests: where a keyframe lies between the decoder and the
frames wanted, the packets before it are skipped; of the remaining ones, those from which no other
picture is predicted are left out (H.264). Neither changes a pixel of what comes out.

Words used below:
    packet   index of a coded picture in the file's order (the order of decoding)
    entry    of a packet: the keyframe packet from which decoding must start to get it right
    frame    index among the selected pictures, in order of presentation
"""

import hashlib
import logging
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Lock

import av
import numpy as np

from nunif.errors import UserError
from nunif.files import tell_if_dangling
from nunif.video import picture as pictures
from nunif.video.color import ColorTags, read_tags, to_rgb
from nunif.video.deinterlace import Deinterlacer
from nunif.video.demux import check_file, decoder_of, demux, open_video
from nunif.video.first_pass import MAX_REORDER
from nunif.video.picture import Picture
from nunif.video.probe import interlaced_error, scan_and_probe
from nunif.video.tone import to_8_bits

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv".split()
)

# Frames may come this much closer together than max_fps says: 59.94 for 60, and time bases of a
# millisecond.
_RATE_TOLERANCE = Fraction(5, 100)
# `find_gaps`: the steps of an even film differ by less (of a step; seconds), but for this share of
# them.
_STEP_TOLERANCE, _TIME_TOLERANCE = 0.25, 0.0025
_MAX_UNEVEN = 0.1


class BrokenVideo(Exception):
    """A requested frame can't be decoded.

    Attributes:
        time: the frame's presentation time in seconds after the video's first picture.
    """

    def __init__(self, path: Path, time: float, reason: str | None = None) -> None:
        """reason: why, with what to do, where it isn't damage."""
        super().__init__(reason or f"{path} is damaged at {time:.2f} s: copy or download it again")
        self.time = time


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
        pts, durations: (M,) int64, of the selected frames, as of `Frame`.
        ends_early: the file breaks off before its end.
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
        check_file(path)
        self._packets, probed = scan_and_probe(path, with_alpha=for_editing)
        self.ends_early = self._packets.ends_early
        self.info, self._decoded_size, self._first_field = probed
        if self.info.is_interlaced and not deinterlace:
            raise interlaced_error(path)
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
        self.pts = pts[kept]  # (M,)
        self.durations = np.diff(self.pts, append=packets.end)  # (M,)
        self._packet = usable[first_of_pts[kept]]  # (M,) frame -> packet
        # (P,) packet -> frame, -1: not selected
        self._frame = np.full(len(packets.pts), -1, dtype=np.int64)
        self._frame[self._packet] = np.arange(len(kept))
        self._origin = int(pts[0])
        self.times = np.array(
            [self._seconds(value) for value in self.pts.tolist()], dtype=np.float64
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
        return len(self.pts)

    def __len__(self) -> int:
        return len(self.pts)

    def __iter__(self) -> Iterator[Frame]:
        """All selected frames, one at a time and kept no longer. Raises BrokenVideo as `read`
        does."""
        return self.frames(0, len(self))

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """The selected frames [start, stop), as iterating gives all of them."""
        return (self.read(number, number + 1)[0] for number in range(start, stop))

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

    def rewind(self) -> None:
        """Let earlier frames be asked for again. What the first pass found stays known."""
        with self._lock:
            if self._container is None:
                raise ValueError(f"the reader of {self.path} has been closed")
            self._start = 0
            self._ready.clear()
            self._decoded.clear()
            self._open()

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
            self._note_broken(int(self.pts[broken[0]]))
            raise BrokenVideo(self.path, float(self.times[broken[0]]))
        return [self._ready[frame] for frame in range(start, stop)]

    def _open(self) -> None:
        """Start the second pass at the beginning of the file."""
        if self._container is not None:
            self._container.close()
        self._container, stream = open_video(self.path)
        self._decoder = decoder_of(stream, with_alpha=self._for_editing)
        self._demuxer = demux(self._container, stream)
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
        last = int(wanted_packets.max()) + MAX_REORDER
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
                other for other in self._outstanding if other >= number - MAX_REORDER
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
            raise interlaced_error(self.path, time)
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
        duration = int(self.durations[frame])
        return Frame(
            rgb=rgb,
            pts=int(self.pts[frame]),
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
