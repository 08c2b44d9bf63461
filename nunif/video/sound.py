"""The sound of one file carried into another, piece by piece, as its pictures are written; its
subtitles with it.

A packet is copied as it is where the new container takes its codec. Else the sound is coded anew.
"""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np

from nunif.errors import UserError
from nunif.video.clock import Clock, read_clock
from nunif.video.demux import demux, open_input, open_video, stated_duration
from nunif.video.extras import add_extras, labels_of, tags_of, tags_of_file
from nunif.video.first_pass import DURATION_TOLERANCE
from nunif.video.packets import Span, cut_to, is_cut_off, is_sound, move, time_of
from nunif.video.sound_codecs import decoders_of_parts
from nunif.video.sound_layouts import num_kept
from nunif.video.sound_tracks import CodedTrack, CopiedTrack, Mux

logger = logging.getLogger(__name__)

# MPEG's containers swallow any codec, and what they don't know comes out as data.
_MPEG_TAKES = {
    "mpeg": frozenset("ac3 dts dvd_subtitle mp1 mp2 mp3".split()),
    "mpegts": frozenset("aac ac3 dts dvb_subtitle eac3 mp1 mp2 mp3 opus truehd".split()),
}
_NUM_TRIAL_PACKETS, _MOST_OFF = 20, 0.1  # seconds
_APART = 10  # seconds by which streams may lie apart in a file


class Sound:
    """All sound streams of a file, and with `extras` what else it holds.

    Attributes:
        start: of the first sound in seconds; None: there is none.
        tags: the file's.
        labels: kind, language and title of the new streams, in order.
    """

    def __init__(
        self,
        path: Path,
        container: av.container.OutputContainer,
        *,
        encoders: Sequence[str],
        mux: Mux,
        extras: bool = False,
        span: Span | None = None,
    ) -> None:
        """Open the file and add its sound streams to `container`.

        Args:
            path: a file with or without sound.
            container: the new file, before its header is written.
            encoders: libav's names of some for sound that can't be copied; the first of those that
                keep most channels is used.
            mux: encodes and writes.
            extras: carry over subtitles, chapters, tags and attachments too, see
                `nunif.video.extras`.
            span: the part that is carried over, on a clock that begins with it; None: all.

        Raises:
            UserError: the file can't be read, or its sound not be coded.
        """
        self._path, self._span = path, span
        try:
            self._input = open_input(path)
        except av.FFmpegError as error:
            raise UserError(
                f"{path} can't be read for its sound ({error.strerror}): check the path"
            ) from error
        self._clock = _clock_of(path)
        self._tracks: dict[int, CopiedTrack | CodedTrack] = {}
        takes = partial(_takes, path, container)
        for stream in self._input.streams.audio:
            if stream.codec_context is None:
                logger.warning("%s: a sound stream of an unknown kind is left out", path)
                continue
            decoders = self._decoders_of(stream)
            if takes(stream) and len(decoders) < 2 and not self._changes(stream):
                self._tracks[stream.index] = CopiedTrack(path, stream, container)
            else:
                self._code(stream, container, decoders=decoders, encoders=encoders, mux=mux)
        has_sound = bool(self._tracks)
        self.extras, self.tags = extras, tags_of(tags_of_file(self._input))
        if extras:
            for other in add_extras(path, self._input, container, takes=takes, span=span):
                self._tracks[other.index] = CopiedTrack(path, other, container)
        streams = [self._input.streams[index] for index in self._tracks]
        self.labels: list[tuple[str, dict[str, str]]] = [
            (each.type, labels_of(each)) for each in streams
        ]
        self._packets = self._demux()
        self.start: Fraction | None = self._find_start() if has_sound else None
        self._next: av.Packet | None = next(self._packets, None)

    def _code(
        self,
        stream: av.AudioStream,
        container: av.container.OutputContainer,
        *,
        decoders: Sequence[str],
        encoders: Sequence[str],
        mux: Mux,
    ) -> None:
        """Have a stream coded anew, or left out where it can't be decoded."""
        path, codec = self._path, ", ".join(decoders[1:] and decoders) or stream.codec_context.name
        kind = _kind_of(path, stream)
        if kind is None:
            logger.warning("%s: a sound stream (%s) can't be decoded and is left out", path, codec)
            return
        encoder = max(encoders, key=partial(num_kept, kind))
        logger.info("%s: the sound (%s) is coded anew as %s", path, codec, encoder)
        try:
            self._tracks[stream.index] = CodedTrack(
                path,
                stream,
                kind,
                container,
                encoder=encoder,
                mux=mux,
                changes_codec=len(decoders) > 1,
            )
        except (av.FFmpegError, ValueError) as error:
            self.close()
            raise UserError(
                f"{path}: the sound ({codec}) can't be coded as {encoder} ({error}): "
                "choose another suffix"
            ) from error

    def _find_start(self) -> Fraction | None:
        """Seconds of the first sound, which is only looked at; None where it can't be read."""
        head: list[av.Packet] = []
        start = None
        for packet in self._packets:
            head.append(packet)
            if is_sound(packet):
                start = time_of(packet)
                break
        self._packets = chain(head, self._packets)
        return start

    def _decoders_of(self, stream: av.AudioStream) -> list[str]:
        """Names of the decoders that a joined film's sound needs; empty where it is one film."""
        firsts = self._clock.firsts(stream.index)
        if len(firsts) < 2:
            return []
        with open_input(self._path) as container:
            packets = demux(container, container.streams[stream.index])
            return decoders_of_parts(packets, firsts)

    def _changes(self, stream: av.AudioStream) -> bool:
        """Whether the sound changes its rate or its channels where files were joined: a copy has
        one header for all."""
        if len(self._clock.firsts(stream.index)) < 2:
            return False
        kinds = set()
        with open_input(self._path) as container, suppress(av.FFmpegError):
            for frame in container.decode(container.streams[stream.index]):
                assert isinstance(frame, av.AudioFrame)
                kinds.add((frame.sample_rate, frame.layout.name))
        return len(kinds) > 1

    def advance(self, until: Fraction | None) -> None:
        """Write the sound that starts before a time in seconds, of the pictures' clock; None: to
        its end."""
        while self._next is not None and (
            until is None or not is_sound(self._next) or time_of(self._next) < until
        ):
            # Taken off first: an interruption costs no packet its turn twice.
            packet, self._next = self._next, None
            self._tracks[packet.stream.index].take(packet)
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Write what the encoders hold back; nothing comes after."""
        self._next = None
        for track in self._tracks.values():
            track.finish()
        self._tracks.clear()

    def close(self) -> None:
        self._input.close()

    def _demux(self) -> Iterator[av.Packet]:
        streams = [self._input.streams[index] for index in self._tracks]
        clock, span = self._clock, self._span
        shifts = {stream.index: clock.shifts(stream.index) for stream in streams}
        first: dict[int, Fraction] = {}
        last: dict[int, Fraction] = {}
        reason = "it breaks off"
        try:
            for packet in self._input.demux(streams) if streams else ():
                if packet.size:
                    move(packet, next(shifts[packet.stream.index]))
                    if is_cut_off(packet):
                        continue
                    last[packet.stream.index] = time_of(packet)
                    first.setdefault(packet.stream.index, time_of(packet))
                    if self._is_over(last):
                        return
                    if span is None or packet.stream.type == "video" or cut_to(packet, span):
                        yield packet
        except av.FFmpegError as error:
            reason = error.strerror or reason
        for index, end in last.items():
            stream = self._input.streams[index]
            if stream.type != "audio":
                continue  # subtitles end when nobody speaks any more
            stated = stated_duration(stream) if clock.is_stated else None
            # Matroska counts from 0
            reached = end - first[index] if stream.duration is not None else end
            if stated is not None and reached < stated - DURATION_TOLERANCE:
                text = "%s: the sound is damaged at %.2f s (%s); what follows is left out"
                logger.warning(text, self._path, float(end), reason)

    def _is_over(self, reached: dict[int, Fraction]) -> bool:
        """Whether the part is over for all sound. reached: seconds, by the stream's index."""
        sounds = [
            stream.index for stream in self._input.streams.audio if stream.index in self._tracks
        ]
        return (
            self._span is not None
            and bool(sounds)
            and all(reached.get(index, Fraction(0)) > self._span[1] + _APART for index in sounds)
        )


def _clock_of(path: Path) -> Clock:
    """The clock that the pictures of a file are read with; its own where it has none."""
    try:
        container, stream = open_video(path)
    except UserError:
        return Clock()
    with container:
        return read_clock(container, stream)


def _takes(path: Path, container: av.container.OutputContainer, stream: av.stream.Stream) -> bool:
    """Whether a container like this one can be written with the stream's packets: one with the
    first of them is, as a trial.

    AVI keeps no times. Whether those it makes up are right depends on codec and source, so it is
    read again.
    """
    kind = container.format.name
    name = stream.codec_context.codec.canonical_name
    if name not in _MPEG_TAKES.get(kind, {name}) or (kind == "mp4" and name.startswith("pcm_")):
        return False  # PCM in MP4 is young: programs of before 2023 play noise
    file = io.BytesIO()
    times = []
    try:
        with av.open(file, "w", format=kind) as trial, open_input(path) as source:
            new = trial.add_stream_from_template(stream)
            trial.start_encoding()
            for packet in islice(
                source.demux(source.streams[stream.index]),
                _NUM_TRIAL_PACKETS * (stream.type == "audio"),
            ):
                if packet.size and packet.dts is not None:
                    times.append(float(packet.dts * packet.time_base))
                    packet.stream = new
                    trial.mux(packet)
        if kind != "avi":
            return True
        file.seek(0)
        with av.open(file) as trial:
            read = [
                float(packet.dts * packet.time_base)
                for packet in trial.demux(audio=0)
                if packet.size
            ]
        return len(read) == len(times) and bool(
            np.abs(np.diff(read) - np.diff(times)).sum() < _MOST_OFF
        )
    except (av.FFmpegError, ValueError, IndexError):
        return False


def _kind_of(path: Path, stream: av.AudioStream) -> tuple[int, str] | None:
    """Rate and layout of a sound stream. One that begins late in the file (joined ones) tells them
    once it is decoded."""
    coder = stream.codec_context
    if coder.sample_rate and coder.channels:
        return coder.sample_rate, coder.layout.name
    with open_input(path) as container:
        try:
            for frame in container.decode(container.streams[stream.index]):
                assert isinstance(frame, av.AudioFrame)
                return frame.sample_rate, frame.layout.name
        except av.FFmpegError:
            return None  # damaged before its first sample: the caller tells of it
    return None
