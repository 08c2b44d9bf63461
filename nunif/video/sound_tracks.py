"""Streams of sound on their way into another file: passed on as they are, or coded anew."""

import logging
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av

from nunif.video.extras import labels_of
from nunif.video.packets import is_sound
from nunif.video.sound_codecs import told_decoder
from nunif.video.sound_layouts import coded_as, describe_change

logger = logging.getLogger(__name__)

_FEW_SECONDS = 0.1  # of sound that is left out without a word
_BIT_RATE = 96_000  # per channel, where sound is coded anew
_ROUNDING = 0.005  # seconds by which times of sound are off
# Without the option libav puts the channels of 5.0 and 6.1 at each other's places (RFC 7845, 5.1.1)
_VORBIS_ORDER = {"libopus": {"mapping_family": "1"}}

# code a frame (None: what is held back) and write the packets
Mux = Callable[[av.AudioStream, av.AudioFrame | None], None]


class CopiedTrack:
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
        if not is_sound(packet):
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
        _warn_of_left_out(self._path, self._left_out)


class CodedTrack:
    """A sound stream that is decoded and coded anew."""

    def __init__(
        self,
        path: Path,
        stream: av.AudioStream,
        kind: tuple[int, str],
        container: av.container.OutputContainer,
        *,
        encoder: str,
        mux: Mux,
        changes_codec: bool = False,
    ) -> None:
        """
        Args:
            kind: rate and layout of its first sound.
            encoder: libav's name of it.
            changes_codec: whether parts of it are of different codecs, see `told_decoder`.
        """
        self._decoder, self._changes_codec = stream.codec_context, changes_codec
        self._mux = mux
        rate, layout = coded_as(encoder, kind)
        if (change := describe_change(kind[1], layout, rate)) is not None:
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
        coder.options = _VORBIS_ORDER.get(encoder, {}) if coder.channels > 2 else {}
        coder.open()
        self._resampler = self._create_resampler()
        # rate, layout and format of what it takes
        self._heard: tuple[int, str, str] | None = None
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
        kind = frame.sample_rate, frame.layout.name, frame.format.name
        if self._heard not in (None, kind):  # in joined films
            yield from self._resampler.resample(None)
            self._resampler = self._create_resampler()
        self._heard = kind
        yield from self._resampler.resample(frame)

    def take(self, packet: av.Packet | None) -> None:
        name = told_decoder(bytes(packet)) if packet is not None and self._changes_codec else None
        if name is not None and name != self._decoder.name:
            self._take(None)  # what the one before holds back
            decoder = av.CodecContext.create(name, "r")
            assert isinstance(decoder, av.AudioCodecContext)
            self._decoder = decoder
        self._take(packet)

    def _take(self, packet: av.Packet | None) -> None:
        try:
            resampled: list[av.AudioFrame | None] = []
            for frame in self._decoder.decode(packet):
                if self._follows(frame):
                    resampled += self._resample(frame)
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
            # the resampler knows one only
            frame.time_base = self._base or Fraction(1, frame.sample_rate)
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
        _warn_of_left_out(self._path, self._left_out)

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


def _warn_of_left_out(path: Path, seconds: Fraction) -> None:
    if seconds > _FEW_SECONDS:
        text = (
            "%s: %.2f s of sound are left out, whose times lie before those of other sound, as "
            "where files were joined"
        )
        logger.warning(text, path, float(seconds))


def _copy_labels(source: av.stream.Stream, target: av.stream.Stream) -> None:
    target.metadata.update(labels_of(source))
    # libav takes the number
    target.disposition = source.disposition.value  # type: ignore[assignment]
