"""The sound of one file carried into another, piece by piece, as its pictures are written; its
subtitles with it.

A packet is copied as it is where the new container takes its codec. Else the sound is coded anew.
"""

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.audio.layout import AudioLayout

from nunif.errors import UserError
from nunif.video.clock import Clock, read_clock
from nunif.video.extras import add_extras, labels_of, tags_of
from nunif.video.reader import DURATION_TOLERANCE, open_input, open_video, stated_duration

logger = logging.getLogger(__name__)

_BIT_RATE = 96_000  # per channel, where sound is coded anew
_RUN_UP = Fraction(1, 10)  # seconds of sound before a film's beginning that a decoder may need
_ROUNDING = 0.005  # seconds by which times of sound are off
_OPUS_RATE = 48_000  # also what all containers and players take

# MPEG's containers swallow any codec, and what they don't know comes out as data.
_MPEG_TAKES = {
    "mpeg": frozenset("ac3 dts dvd_subtitle mp1 mp2 mp3".split()),
    "mpegts": frozenset("aac ac3 dts dvb_subtitle eac3 mp1 mp2 mp3 opus truehd".split()),
}
_NUM_TRIAL_PACKETS, _MOST_OFF = 20, 0.1  # seconds

# Layouts that an encoder may take, the usual ones of as many channels first.
_LAYOUTS = (
    "7.1", "7.1(wide)", "7.1(wide-side)", "octagonal",
    "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)",
    "5.1", "5.1(side)", "6.0", "6.0(front)", "hexagonal",
    "5.0", "5.0(side)", "4.1",
    "quad", "quad(side)", "4.0", "3.1",
    "3.0", "2.1", "3.0(back)", "stereo", "mono",
)  # fmt: skip
_TRIAL_SAMPLES = 1024

Mux = Callable[
    [av.AudioStream, av.AudioFrame | None], None
]  # code a frame (None: what is held back) and write the packets


class Sound:
    """All sound streams of a file, and with `extras` what else it holds. Use as a context manager.

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

        Raises:
            UserError: the file can't be read, or its sound not be coded.
        """
        self._path = path
        try:
            self._input = open_input(path)
        except av.FFmpegError as error:
            raise UserError(
                f"{path} can't be read for its sound ({error.strerror}): check the path"
            ) from error
        self._clock = _clock_of(path)
        self._tracks: dict[int, _Copied | _Coded] = {}
        for stream in self._input.streams.audio:
            if stream.codec_context is None:
                logger.warning("%s: a sound stream of an unknown kind is left out", path)
            elif _takes(path, container, stream) and not self._changes(stream):
                self._tracks[stream.index] = _Copied(path, stream, container)
            else:
                codec = stream.codec_context.name
                heard = _first_heard(path, stream)
                if heard is None:
                    logger.warning(
                        "%s: a sound stream (%s) can't be decoded and is left out", path, codec
                    )
                    continue
                encoder = max(encoders, key=partial(_num_kept, heard))
                logger.info("%s: the sound (%s) is coded anew as %s", path, codec, encoder)
                try:
                    self._tracks[stream.index] = _Coded(
                        path, stream, heard, container, encoder=encoder, mux=mux
                    )
                except (av.FFmpegError, ValueError) as error:
                    self.close()
                    raise UserError(
                        f"{path}: the sound ({codec}) can't be coded as {encoder} ({error}): "
                        "choose another suffix"
                    ) from error
        has_sound = bool(self._tracks)
        self.extras, self.tags = extras, tags_of(self._input.metadata)
        if extras:
            for other in add_extras(
                path, self._input, container, takes=partial(_takes, path, container)
            ):
                self._tracks[other.index] = _Copied(path, other, container)
        streams = [self._input.streams[index] for index in self._tracks]
        self.labels: list[tuple[str, dict[str, str]]] = [
            (each.type, labels_of(each)) for each in streams
        ]
        self._packets = self._demux()
        self.start: Fraction | None = None
        if has_sound:
            head: list[av.Packet] = []
            for packet in self._packets:
                head.append(packet)
                if packet.stream.type == "audio":
                    self.start = _time_of(packet)
                    break
            self._packets = chain(head, self._packets)
        self._next: av.Packet | None = next(self._packets, None)

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
            until is None or not _is_sound(self._next) or _time_of(self._next) < until
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
        clock = self._clock
        shifts = {stream.index: clock.shifts(stream.index) for stream in streams}
        first: dict[int, Fraction] = {}
        last: dict[int, Fraction] = {}
        reason = "it breaks off"
        try:
            for packet in self._input.demux(streams) if streams else ():
                if packet.size:
                    _move(packet, next(shifts[packet.stream.index]))
                    if _is_cut_off(packet):
                        continue
                    last[packet.stream.index] = _time_of(packet)
                    first.setdefault(packet.stream.index, _time_of(packet))
                    yield packet
        except av.FFmpegError as error:
            reason = error.strerror or reason
        for index, end in last.items():
            stream = self._input.streams[index]
            if stream.type != "audio":
                continue  # subtitles end when nobody speaks any more
            stated = stated_duration(stream) if clock.is_stated else None
            reached = (
                end - first[index] if stream.duration is not None else end
            )  # Matroska counts from 0
            if stated is not None and reached < stated - DURATION_TOLERANCE:
                text = "%s: the sound is damaged at %.2f s (%s); what follows is left out"
                logger.warning(text, self._path, float(end), reason)


def _clock_of(path: Path) -> Clock:
    """The clock that the pictures of a file are read with; its own where it has none."""
    try:
        container, stream = open_video(path)
    except UserError:
        return Clock()
    with container:
        return read_clock(container, stream)


def _move(packet: av.Packet, shift: Fraction) -> None:
    """Add to a packet's times."""
    ticks = round(shift / Fraction(packet.time_base))
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


def _time_of(packet: av.Packet) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if ticks is None else ticks * Fraction(packet.time_base)


def _is_cut_off(packet: av.Packet) -> bool:
    """Whether sound lies before the film's beginning by the file's own word (an edit list), and is
    no coder's run-up."""
    end = _time_of(packet) + (packet.duration or 0) * Fraction(packet.time_base)
    return packet.is_discard and _is_sound(packet) and end < -_RUN_UP


def _is_sound(packet: av.Packet) -> bool:
    return packet.stream.type == "audio"


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


def _first_heard(path: Path, stream: av.AudioStream) -> tuple[int, str] | None:
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
            pass
    return None


class _Copied:
    """A stream whose packets are passed on."""

    def __init__(
        self, path: Path, stream: av.stream.Stream, container: av.container.OutputContainer
    ) -> None:
        self._path, self._is_damaged = path, False
        self._left_out = Fraction(0)  # seconds
        self._container = container
        self._stream = container.add_stream_from_template(stream)
        _copy_labels(stream, self._stream)
        self._last: int | None = None

    def take(self, packet: av.Packet) -> None:
        if not _is_sound(packet):
            if packet.pts is None:
                packet.pts = 0  # cover art
            packet.dts = packet.pts
        elif packet.dts is None or (self._last is not None and packet.dts < self._last):
            # behind a damaged place, or in another file that was joined to this one; the container
            # would refuse it
            self._left_out += (packet.duration or 0) * Fraction(packet.time_base)
            return
        self._last = packet.dts
        packet.stream = self._stream
        try:
            self._container.mux(packet)
        except (av.ArgumentError, av.InvalidDataError) as error:  # others are the disk's
            if not self._is_damaged:
                logger.warning(
                    "%s: the sound is damaged (%s); the damaged places are left out",
                    self._path,
                    error.strerror,
                )
            self._is_damaged = True

    def finish(self) -> None:
        _tell_of_left_out(self._path, self._left_out)


class _Coded:
    """A sound stream that is decoded and coded anew."""

    def __init__(
        self,
        path: Path,
        stream: av.AudioStream,
        heard: tuple[int, str],
        container: av.container.OutputContainer,
        *,
        encoder: str,
        mux: Mux,
    ) -> None:
        self._decoder = stream.codec_context
        self._mux = mux
        rate, layout = _coded_as(encoder, heard)
        if (change := _describe_change(heard[1], layout, rate)) is not None:
            logger.warning(
                "%s: of the sound, %s: %s takes no other; .mkv keeps it", path, change, encoder
            )
        coded = container.add_stream(encoder, rate=rate)
        assert isinstance(coded, av.AudioStream)
        self._stream = coded
        _copy_labels(stream, self._stream)
        coder = self._coder = self._stream.codec_context
        coder.layout = layout
        coder.bit_rate = _BIT_RATE * coder.channels
        coder.time_base = Fraction(1, rate)
        coder.open()
        self._resampler, self._kind = self._create_resampler(), heard
        self._is_damaged = False
        self._path = path
        self._end: float | None = None  # seconds, of what was decoded last
        self._left_out = Fraction(0)  # seconds
        self._base: Fraction | None = None  # seconds, what times of decoded sound count
        self._next: int | None = None  # sample at which the next piece begins

    def _create_resampler(self) -> av.AudioResampler:
        coder = self._coder
        return av.AudioResampler(
            format=coder.format,
            layout=coder.layout,
            rate=coder.sample_rate,
            frame_size=coder.frame_size or None,
        )

    def _resample(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame | None]:
        kind = frame.sample_rate, frame.layout.name
        if kind != self._kind:  # in joined films
            yield from self._resampler.resample(None)
            self._resampler, self._kind = self._create_resampler(), kind
        yield from self._resampler.resample(frame)

    def take(self, packet: av.Packet | None) -> None:
        try:
            frames = self._decoder.decode(packet)
            resampled = [
                piece for frame in frames if self._follows(frame) for piece in self._resample(frame)
            ]
        except (av.FFmpegError, ValueError) as error:
            if not self._is_damaged:
                logger.warning(
                    "%s: the sound is damaged (%s); the damaged places are left out",
                    self._path,
                    error,
                )
            self._is_damaged = True
            return
        self._write(resampled)

    def _follows(self, frame: av.AudioFrame) -> bool:
        """Whether a frame comes after the last one, and not over it, as behind a damaged place or
        where files were joined."""
        if frame.time is None:  # what some decoders hold back to the end
            frame.time_base = self._base or Fraction(
                1, frame.sample_rate
            )  # the resampler knows one only
            frame.pts = round((self._end or 0) / frame.time_base)
        assert frame.time is not None
        self._base = self._base or frame.time_base
        if self._end is not None and frame.time < self._end - _ROUNDING:
            self._left_out += Fraction(frame.samples, frame.sample_rate)
            return False
        self._end = frame.time + frame.samples / frame.sample_rate
        return True

    def finish(self) -> None:
        self.take(None)
        self._write(self._resampler.resample(None))
        self._mux(self._stream, None)
        _tell_of_left_out(self._path, self._left_out)

    def _write(self, frames: Iterable[av.AudioFrame | None]) -> None:
        for frame in frames:
            if frame is not None:
                # times of decoders are rounded, and two that fall together are refused
                place = round((frame.time or 0) * frame.sample_rate)
                if self._next is not None and place < self._next + _ROUNDING * frame.sample_rate:
                    place = self._next
                self._next = place + frame.samples
                frame.pts, frame.time_base = place, Fraction(1, frame.sample_rate)
                self._mux(self._stream, frame)


def _tell_of_left_out(path: Path, seconds: Fraction) -> None:
    if seconds > _MOST_OFF:
        text = (
            "%s: %.2f s of sound are left out, whose times lie before those of other sound, as "
            "where files were joined"
        )
        logger.warning(text, path, float(seconds))


def _coded_as(encoder: str, heard: tuple[int, str]) -> tuple[int, str]:
    """The rate and the layout nearest to those heard that an encoder takes."""
    rates = av.Codec(encoder, "w").audio_rates
    rate = heard[0] if not rates or heard[0] in rates else _OPUS_RATE
    return rate, _layout_for(encoder, heard[1], rate)


def _num_kept(heard: tuple[int, str], encoder: str) -> int:
    return AudioLayout(_coded_as(encoder, heard)[1]).nb_channels


def _layout_for(encoder: str, layout: str, rate: int) -> str:
    """The layout itself where the encoder takes it, else one of as many channels, else one of
    fewer."""
    wanted = AudioLayout(layout)
    num_channels = wanted.nb_channels
    names = {channel.name for channel in wanted.channels}
    known = [(name, AudioLayout(name)) for name in _LAYOUTS]
    as_many = [(name, other) for name, other in known if other.nb_channels == num_channels]
    as_many.sort(
        key=lambda item: -len(names & {channel.name for channel in item[1].channels})
    )  # keeps the order of equals
    fewer = [name for name, other in known if other.nb_channels < num_channels]
    for candidate in [layout, *(name for name, _ in as_many), *fewer]:
        if _opens(encoder, candidate, rate) and _silenced(layout, candidate, rate) != names:
            return candidate
    return "stereo"


def _opens(encoder: str, layout: str, rate: int) -> bool:
    trial = av.CodecContext.create(encoder, "w")
    formats = av.Codec(encoder, "w").audio_formats
    assert isinstance(trial, av.AudioCodecContext) and formats
    trial.sample_rate, trial.layout, trial.format = rate, layout, formats[0]
    trial.time_base = Fraction(1, rate)
    try:
        trial.open()
        return True
    except (av.FFmpegError, ValueError):
        return False


def _silenced(source: str, target: str, rate: int) -> set[str]:
    """Channels that aren't heard any more after a change of layout; found by trying, all of them
    where it can't be made."""
    channels = [channel.name for channel in AudioLayout(source).channels]
    lost: set[str] = set()
    for number, name in enumerate(channels):
        samples = np.zeros((_TRIAL_SAMPLES, len(channels)), np.float32)
        samples[:, number] = 0.5
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=source)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        try:
            heard = av.AudioResampler(format="flt", layout=target, rate=rate).resample(frame)
        except (av.FFmpegError, ValueError):
            return set(channels)
        if not any(piece.to_ndarray().any() for piece in heard):
            lost.add(name)
    return lost


def _describe_change(source: str, target: str, rate: int) -> str | None:
    """What is lost where sound gets another layout; None: nothing."""
    before, after = AudioLayout(source).nb_channels, AudioLayout(target).nb_channels
    lost = sorted(_silenced(source, target, rate))
    if before <= after and not lost:
        return None
    return f"{before} channels ({source}) become {after} ({target})" + (
        f", {' '.join(lost)} is lost" if lost else ""
    )


def _copy_labels(source: av.stream.Stream, target: av.stream.Stream) -> None:
    target.metadata.update(labels_of(source))
    # libav takes the number
    target.disposition = source.disposition.value  # type: ignore[assignment]
