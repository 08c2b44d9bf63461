"""Write pictures and sound to a video file, whole or not at all.

Axes: H W pixels, 3 = R G B.
"""

import io
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.codec.context import Flags as CodecFlags
from av.format import Flags

from nunif.errors import OutputError, UserError
from nunif.files import describe_os_error, longer_name, partial_path
from nunif.video import picture as pictures
from nunif.video.color import BT709, FULL, ColorTags, read_tags, suited_tags, tag_frame, write_tags
from nunif.video.extras import tell_of_lost_tags
from nunif.video.mastering import Mastering, options_for
from nunif.video.picture import Picture, layout_of, nearest_format, planar_format
from nunif.video.sound import Sound

logger = logging.getLogger(__name__)

# What each container is filled with unless someone says otherwise: pictures, and sound that has to
# be coded anew.
_DEFAULT_CODECS = {
    ".avi": ("mpeg4", "libmp3lame", "ac3"),
    ".m4v": ("libx264", "aac"),
    ".mkv": ("libx264", "aac"),
    ".mov": ("libx264", "aac"),
    ".mp4": ("libx264", "aac"),
    ".mpg": ("mpeg2video", "mp2", "ac3"),
    ".ts": ("libx264", "aac"),
    ".webm": ("libvpx-vp9", "libopus"),
}
# Encoders with a constant quality, lower is better: (what it is unless someone says otherwise,
# other options).
_CRF_ENCODERS: dict[str, tuple[int, dict[str, str]]] = {
    "libaom-av1": (24, {"cpu-used": "6", "row-mt": "1"}),
    "libsvtav1": (24, {}),
    "libvpx-vp9": (24, {"deadline": "good", "cpu-used": "4", "row-mt": "1"}),
    "libx264": (18, {}),
    "libx264rgb": (18, {}),
    "libx265": (20, {"x265-params": "log-level=error"}),  # it prints past libav's log
}
# For the others that lose anything. Generous: the first generation is lossy already.
_BITS_PER_PIXEL = 0.2
# Apple's players open H.265 under this name only.
_CODEC_TAGS = {
    ("libx265", ".mp4"): "hvc1",
    ("libx265", ".m4v"): "hvc1",
    ("libx265", ".mov"): "hvc1",
}
# Times are multiples of 1 / rate for these encoders, and for containers that keep no times.
_FIXED_RATE_ENCODERS = frozenset({"mpeg1video", "mpeg2video"})
_FINEST_TIME = {"mpeg4": 65535}  # parts of a second
_LATE_SOUND, _LATE_PICTURE = (
    0.1,
    0.005,
)  # seconds; later sound is heard, and times are rounded by less
# Each picture has its own duration, or none has.
_WITH_DURATIONS, _WITHOUT_DURATIONS = frozenset({".mkv", ".webm"}), frozenset({".mpg", ".ts"})
# Of a ratio; what MPEG-2 and others with few bits for it round.
_ASPECT_TOLERANCE = 0.002
_SAYING_ADVICE = "the codec libx264 or the suffix .mp4 can"
_ADVICE = "choose another suffix, codec or pixel format"
_ALPHA_ADVICE = (
    "a .webm, a .mov with the codec prores_ks, an .mkv with the codec ffv1, or a folder of pictures"
)
# Their alpha is a second stream of pictures beside the first, and only Matroska has a place for it.
_ALPHA_ASIDE = frozenset({"libvpx", "libvpx-vp9"})
_MATROSKA = frozenset({".mkv", ".webm"})
_NO_MASTERING = Mastering()


class VideoWriter:
    """A video file in the making. Use as a context manager.

    The file appears under its name when the block ends well. When the block ends in an exception,
    Ctrl-C included, what has been written becomes a playable file NAME.unfinished.SUFFIX, with the
    sound up to there; where there is none, or the disk is full, nothing stays.

    Pictures and sound keep their times, on one clock. MPEG-TS and MPEG-PS start a little later than
    the source; Matroska and WebM round to milliseconds; AVI and MPEG-1/2 know constant frame rates
    only, and AVI no late start. The last picture lasts as long as it should, but in MPEG-TS and
    MPEG-PS.

    Attributes:
        codec: libav's name of the encoder.
        pixel_format: what the encoder gets.
        num_frames: pictures written so far.
        unfinished_path: where the pictures are after an exception; None: nowhere.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        rate: Fraction,
        time_base: Fraction,
        codec: str | None = None,
        pixel_format: str | None = None,
        quality: int | None = None,
        color: ColorTags = BT709,
        like_pixel_format: str = "yuv420p",
        sample_aspect_ratio: Fraction | None = None,
        sound_from: Path | None = None,
        extras: bool = False,
        mastering: Mastering = _NO_MASTERING,
        metadata: Mapping[str, str] | None = None,
        gop: int | None = None,
        keep_unfinished: bool = True,
    ) -> None:
        """Open the encoder, the sound and the file.

        Args:
            path: the file; its suffix chooses the container. An existing one is replaced.
            width: of all pictures.
            height: of all pictures.
            rate: frames per second, on average; the encoder plans with it.
            time_base: seconds; what `write` counts times in.
            codec: libav's name of an encoder; None: the suffix's.
            pixel_format: what the encoder gets; None: the nearest to `like_pixel_format` that it
                takes.
            quality: CRF, lower is better; None: the encoder's, only encoders with a CRF take
                another.
            color: the tags of the file, and matrix and range for RGB pictures.
            like_pixel_format: the source's.
            sample_aspect_ratio: width to height of a pixel; None isn't written.
            sound_from: a file whose sound to carry over, on the clock of `write`; None for a silent
                film.
            mastering: HDR10's static metadata and the place of the chroma; a line names what can't
                be written.
            extras: carry over its subtitles, chapters, tags and attachments too; a line names what
                can't be.
            metadata: of the file, such as its title.
            gop: most frames from one keyframe to the next; None for the encoder's own choice.
            keep_unfinished: whether an exception leaves NAME.unfinished.SUFFIX.

        Raises:
            UserError: `path` is the source or can't be written, or suffix, codec, pixel format,
                quality and size don't go together.
        """
        self.path = path
        self.num_frames = 0
        self.unfinished_path: Path | None = None
        self._partial = partial_path(path)
        self._size = (width, height)
        self._rate, self._time_base = rate, time_base
        self._keep_unfinished = keep_unfinished
        self._is_lost = False  # the file can't be brought to a good end any more
        self._first_pts = 0
        self._origin = Fraction(0)  # what the file counts its seconds from
        self._last_pts: int | None = None
        self._last_tick: int | None = None
        self._last_duration = 1 / rate  # seconds
        self._most_off = Fraction(
            0
        )  # seconds by which a picture's time differs from what was asked for
        self._delay: int | None = None  # see `_delay_of`; of the first picture
        self._coded: deque[av.Packet] = deque()  # pictures that are on their way to the file
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._sound: Sound | None = None

        _check_target(path, sound_from)
        default_codec, *sound_encoders = _default_codecs(path)
        self.codec = codec or default_codec
        encoder = _find_encoder(self.codec, path)
        if self.codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # it prints past libav's log
        self._keeps_alpha = self.codec not in _ALPHA_ASIDE or path.suffix.lower() in _MATROSKA
        options = _quality_options(path, self.codec, quality)
        noted, lost = options_for(mastering, self.codec, path.suffix)
        options |= {
            name: f"{options[name]}:{value}" if name in options else value
            for name, value in noted.items()
        }
        if lost:
            text = (
                "%s: %s of the film can't be kept by %s in %s: choose the codec libx265 or libx264"
            )
            logger.warning(text, path, ", ".join(lost), self.codec, path.suffix)
        like = like_pixel_format if self._keeps_alpha else pictures.without_alpha(like_pixel_format)
        self.pixel_format = pixel_format or _choose_pixel_format(encoder, like, self._size, options)
        self._keeps_alpha &= _known_layout(self.pixel_format, path).alpha is not None
        if pixel_format is None and (losses := _losses(like_pixel_format, self.pixel_format)):
            text = (
                "%s: the film's %s, which is what %s takes: libx264, libx265 or ffv1 may keep more"
            )
            logger.warning(text, path, " and ".join(losses), self.codec)
        layout = _known_layout(self.pixel_format, path)
        self.color = suited_tags(color, is_rgb=layout.is_rgb)
        if layout.is_grey:
            self.color = replace(self.color, range=FULL)  # as it is; decoders may make Y'CbCr of it
        try:
            with self._explained():
                # Sound may start before 0 (an encoder's run-up). These would rather shift
                # everything, and needn't.
                is_shifty = path.suffix.lower() in (".avi", ".mkv", ".webm")
                shift = {"avoid_negative_ts": "disabled"} if is_shifty else {}
                self._container = av.open(f"file:{self._partial}", "w", container_options=shift)
                self._container.metadata.update(metadata or {})
                set_up = partial(
                    self._add_pictures, aspect=sample_aspect_ratio, gop=gop, options=options
                )
                self._try_to_say(
                    set_up, sample_aspect_ratio, is_coded=not (layout.is_rgb or layout.is_grey)
                )
                self._stream = set_up(self._container)
            if sound_from is not None:
                self._sound = Sound(
                    sound_from,
                    self._container,
                    encoders=sound_encoders,
                    mux=self._mux,
                    extras=extras,
                )
            with self._explained():
                self._container.start_encoding()
        except BaseException:
            self._clear_away()
            raise

    def _add_pictures(
        self,
        container: av.container.OutputContainer,
        *,
        aspect: Fraction | None,
        gop: int | None,
        options: dict[str, str],
    ) -> av.VideoStream:
        """Open the encoder."""
        stream = container.add_stream(self.codec, rate=self._rate)
        assert isinstance(stream, av.VideoStream)
        coder = stream.codec_context
        coder.width, coder.height = self._size
        coder.pix_fmt = self.pixel_format
        coder.time_base = self._tick = self._choose_tick()
        write_tags(coder, self.color)
        if aspect is not None:
            coder.sample_aspect_ratio = aspect
        coder.flags |= CodecFlags.frame_duration
        if gop is not None:
            coder.gop_size = gop
        if self.codec not in _CRF_ENCODERS:
            coder.bit_rate = round(_BITS_PER_PIXEL * self._size[0] * self._size[1] * self._rate)
        if tag := _CODEC_TAGS.get((self.codec, self.path.suffix.lower())):
            coder.codec_tag = tag
        coder.options = options
        coder.open()
        return stream

    def _try_to_say(
        self,
        set_up: Callable[[av.container.OutputContainer], av.VideoStream],
        aspect: Fraction | None,
        *,
        is_coded: bool,
    ) -> None:
        """Find out what encoder and container can't say of colours and pixels: a file of one black
        picture is written and read.

        Where they know one range only the film will be in that. What else is lost is told.

        Args:
            is_coded: the pictures are Y'CbCr, of which matrix and range are to be said.
        """
        assert self._container is not None
        aspect = aspect or Fraction(1)
        if self.color == ColorTags() and aspect == 1 and not self.pixel_format.startswith("yuvj"):
            return
        read = _read_back(self._container.format.name, set_up, self.color)
        if read is None:
            return  # the film itself will meet the reason, and tell it
        said, said_aspect = read
        is_full, will_be_full = self.color.range == FULL, said.range == FULL
        if is_coded and is_full != will_be_full:
            self.color = replace(self.color, range=said.range if will_be_full else BT709.range)
        lost = [
            f"{name} {value}"
            for name in ("matrix", "primaries", "transfer")[not is_coded :]
            if (value := getattr(self.color, name)) not in (ColorTags().matrix, getattr(said, name))
        ]
        where = f"{self.codec} in {self.path.suffix}"
        if lost:
            text = (
                "%s: %s can't say what the film's colours are (%s, in the numbers of H.273), "
                "players will guess: %s"
            )
            logger.warning(text, self.path, where, ", ".join(lost), _SAYING_ADVICE)
        if abs(said_aspect / aspect - 1) > _ASPECT_TOLERANCE:
            text = "%s: the aspect of the film's pixels, %s, becomes %s, as %s can't say it: %s"
            logger.warning(
                text, self.path, as_ratio(aspect), as_ratio(said_aspect), where, _SAYING_ADVICE
            )

    def _choose_tick(self) -> Fraction:
        """The encoder's time base: the source's, where encoder and container can do that."""
        if self.codec in _FIXED_RATE_ENCODERS or not self._keeps_times:
            return 1 / self._rate
        finest = _FINEST_TIME.get(self.codec, self._time_base.denominator)
        if self._time_base.denominator > finest:
            return Fraction(1, self._rate.numerator * max(1, finest // self._rate.numerator))
        return self._time_base

    @property
    def _keeps_times(self) -> bool:
        assert self._container is not None
        variable: Any = Flags.variable_fps.value  # a number, though its stub says otherwise
        return bool(self._container.format.flags & variable)

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, picture: Picture | np.ndarray, pts: int, duration: int | None = None) -> None:
        """Add a picture, and the sound up to it.

        Args:
            picture: in any planar format, or (H, W, 3) RGB, uint8 or uint16.
            pts: its time in units of `time_base`, later than the one before.
            duration: how long it is shown if it is the last, in the same units; None: as long as
                others, on average.

        Raises:
            UserError: the disk is full or refuses otherwise.
            ValueError: the picture isn't of the film's size, or its time doesn't come after the
                last.
        """
        height, width = picture.size if isinstance(picture, Picture) else picture.shape[:2]
        if (width, height) != self._size:
            first = "x".join(map(str, self._size))
            raise ValueError(f"frame {self.num_frames} is {width}x{height}, the first was {first}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(
                f"frame {self.num_frames} has the time {pts}, the one before it {self._last_pts}"
            )
        if not isinstance(picture, Picture):
            planar = planar_format(self.pixel_format)
            picture = pictures.from_rgb(picture, pixel_format=planar, color=self.color)
        elif not self._keeps_alpha and pictures.is_see_through(picture):
            self._tell_of_alpha()
        picture = pictures.with_range(picture, self.color.range or BT709.range)
        frame = pictures.to_frame(picture, pixel_format=self.pixel_format)
        tag_frame(frame, self.color)
        if not self.num_frames:
            self._start(pts)
        time = pts * self._time_base - self._origin
        tick = round(time / self._tick)
        tick = tick if self._last_tick is None else max(tick, self._last_tick + 1)
        self._most_off = max(self._most_off, abs(tick * self._tick - time))
        if (
            self.codec in _FIXED_RATE_ENCODERS
            and self._last_tick is not None
            and tick > self._last_tick + 1
        ):
            self._most_off = max(
                self._most_off, self._tick
            )  # players needn't heed that a picture is left out
        length = 1 / self._rate if duration is None else duration * self._time_base
        frame.pts, frame.time_base, frame.duration = (
            tick,
            self._tick,
            max(1, round(length / self._tick)),
        )
        # Counted first: Ctrl-C comes up when the encoder has taken the picture.
        self._last_pts, self._last_tick = pts, tick
        self._last_duration = length
        self.num_frames += 1
        with self._explained():
            assert self._stream is not None
            self._mux_pictures(frame)
            if self._sound is not None:
                self._sound.advance(pts * self._time_base)

    def _tell_of_alpha(self) -> None:
        text = (
            "%s: the film is transparent in places, which %s (%s) in %s can't hold: the alpha "
            "is left out; to keep it write %s"
        )
        logger.warning(
            text, self.path, self.codec, self.pixel_format, self.path.suffix, _ALPHA_ADVICE
        )
        self._keeps_alpha = True  # said once

    def _start(self, pts: int) -> None:
        """Take note of the first picture's time. Where the container keeps none, it is where the
        film begins."""
        self._first_pts = pts
        start = pts * self._time_base
        if self._keeps_times:
            return
        self._origin = start
        sound_start = None if self._sound is None else self._sound.start
        if sound_start is not None and abs(late := sound_start - start) > _LATE_SOUND:
            text = "%s: %s can't start sound and pictures apart; the sound will be %.2f s off"
            logger.warning(text, self.path, self.path.suffix, abs(late))

    def _mux_pictures(self, frame: av.VideoFrame | None) -> None:
        """Encode a picture (None: what is held back) and write what comes out, but for the last of
        it.

        In mp4 the film lasts as long as the packet says that is coded last, and an encoder may hand
        it out before it is known that no other follows.
        """
        assert self._container is not None and self._stream is not None
        # each in one go, see below
        self._coded.extend(chain.from_iterable(map(self._stream.encode, [frame])))
        if self._delay is None and self._coded:
            self._delay = _delay_of(self._coded[0])
        deque(
            map(self._container.mux, map(deque.popleft, repeat(self._coded, len(self._coded) - 1))),
            maxlen=0,
        )

    def _mux_last_picture(self) -> None:
        assert self._container is not None and self._last_tick is not None
        start = self._last_tick * self._tick
        for packet in self._coded:
            assert packet.pts is not None
            unit = Fraction(packet.time_base)
            rest = (start + self._last_duration) / unit - packet.pts
            if self.path.suffix.lower() in _WITH_DURATIONS:
                packet.duration = (
                    max(1, round(rest)) if packet.pts * unit == start else packet.duration
                )
            # all durations together are the film's, and they count from when a packet is decoded
            else:
                packet.duration = max(1, round(rest) + _delay_of(packet) - (self._delay or 0))
        deque(
            map(self._container.mux, map(deque.popleft, repeat(self._coded, len(self._coded)))),
            maxlen=0,
        )
        if self._most_off > _LATE_PICTURE:
            logger.warning(
                "%s: pictures stand up to %.3f s beside their times, as %s with %s knows one rate "
                ""
                "only: choose .mp4 or .mkv",
                self.path,
                float(self._most_off),
                self.path.suffix,
                self.codec,
            )
        if (
            self.path.suffix.lower() in _WITHOUT_DURATIONS
            and self._last_duration > 1 / self._rate + _LATE_SOUND
        ):
            logger.warning(
                "%s: %s doesn't say how long a picture lasts; the last one will not stay for its "
                ""
                "%.2f s: choose .mp4 or .mkv",
                self.path,
                self.path.suffix,
                float(self._last_duration),
            )

    def _mux(self, stream: av.VideoStream | av.AudioStream, frame: Any) -> None:
        """Encode a frame (None: what is held back) and write what comes out."""
        assert self._container is not None
        # In one go: were the two calls Python's, Ctrl-C would strike between them and lose the
        # packets.
        deque(map(self._container.mux, map(stream.encode, [frame])), maxlen=0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._keep_what_there_is()
            elif not self.num_frames:
                raise _no_frames(self.path)
            else:
                sound = self._sound
                try:
                    self._finish(sound_until=None)
                    if sound is not None and sound.extras:
                        tell_of_lost_tags(
                            self.path, sound.tags, sound.labels, written=self._partial
                        )
                    with self._explained():
                        os.replace(self._partial, self.path)
                except KeyboardInterrupt:
                    self._keep_what_there_is()
                    raise
        finally:
            self._clear_away()

    def _keep_what_there_is(self) -> None:
        if (
            not self._keep_unfinished
            or not self.num_frames
            or self._is_lost
            or not self._partial.exists()
        ):
            return
        assert self._last_pts is not None
        end = self._last_pts * self._time_base + self._last_duration
        unfinished = longer_name(self.path, after=".unfinished")
        try:
            self._finish(sound_until=end)
            with self._explained():
                os.replace(self._partial, unfinished)
        except UserError as error:
            logger.warning("%s", error)
            return
        self.unfinished_path = unfinished
        seconds = float(end - self._first_pts * self._time_base)
        logger.warning(
            "%s holds the %d frames (%.1f s) that were finished",
            unfinished,
            self.num_frames,
            seconds,
        )

    def _finish(self, *, sound_until: Fraction | None) -> None:
        """Write what the encoders hold back, the rest of the sound and the end of the file. Can be
        gone through twice."""
        assert self._container is not None and self._stream is not None
        with self._explained():
            with suppress(EOFError):  # the second time
                self._mux_pictures(None)
            self._mux_last_picture()
            if self._sound is not None:
                self._sound.advance(sound_until)
                self._sound.finish()
            self._container.close()

    def _clear_away(self) -> None:
        """Let go of everything and remove the file if it still has its provisional name."""
        sound, container = self._sound, self._container
        self._coded.clear()
        # encoders are large, and in a circle with this object
        self._sound = self._container = self._stream = None
        try:
            if sound is not None:
                sound.close()
            if container is not None:
                with suppress(av.FFmpegError):
                    container.close()
        finally:
            self._partial.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the refusals of the disk and of libav into a UserError; the file is lost then."""
        try:
            yield
        except OSError as error:
            self._is_lost = True
            raise OutputError(describe_os_error(error, self.path, keeps=False)) from error
        except (av.FFmpegError, ValueError) as error:
            self._is_lost = True
            raise UserError(self._describe(error)) from error

    def _describe(self, error: Exception) -> str:
        (width, height), layout = self._size, layout_of(self.pixel_format)
        encoder, options = av.Codec(self.codec, "w"), _quality_options(self.path, self.codec, None)
        known = _formats_of(encoder)
        usable = [name for name in known if _opens(encoder, name, self._size, options)]
        if usable and (width % layout.step[1] or height % layout.step[0]):
            better = nearest_format(self.pixel_format, usable)
            return (
                f"{self.path}: {width}x{height} can't be {self.pixel_format}; choose {better} "
                "or an even size"
            )
        takes = " ".join(usable) or ("nothing of that size" if known else "any format")
        return (
            f"{self.path} can't be written with codec {self.codec} and pixel format "
            f"{self.pixel_format} "
            f"at {width}x{height} ({error}; the codec takes {takes}): {_ADVICE}"
        )


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: Fraction | float,
    codec: str | None = "libx264",
    pixel_format: str | None = "yuv420p",
    crf: int | None = 18,
    gop: int | None = None,
) -> None:
    """Encode frames into a video that appears under its name only when it is finished. Tagged
    BT.709, limited range.

    Args:
        path: the file; its suffix chooses the container. An existing one is replaced.
        frames: (H, W, 3) uint8 RGB, all of one size; taken one at a time.
        fps: constant frame rate.
        codec: libav's name of an encoder.
        pixel_format: what the encoder gets; odd sizes need one with full chroma, such as yuv444p.
        crf: constant quality, lower is better; None for encoders that have no such setting (ffv1,
            mpeg4).
        gop: most frames from one keyframe to the next; None for the encoder's own choice.

    Raises:
        UserError: as VideoWriter, and where there is no frame.
        ValueError: the frames aren't of one size.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise _no_frames(path)
    rate = Fraction(fps).limit_denominator(100_000)
    with VideoWriter(
        path,
        width=first.shape[1],
        height=first.shape[0],
        rate=rate,
        time_base=1 / rate,
        codec=codec,
        pixel_format=pixel_format,
        quality=crf,
        gop=gop,
        keep_unfinished=False,
    ) as writer:
        writer.write(first, 0)
        for number, frame in enumerate(frames, start=1):
            writer.write(frame, number)


def _read_back(
    container: str,
    set_up: Callable[[av.container.OutputContainer], av.VideoStream],
    color: ColorTags,
) -> tuple[ColorTags, Fraction] | None:
    """What a file of one black picture says of its colours and of its pixels' aspect; None: it
    can't be made."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=container) as trial:
            stream = set_up(trial)
            coder = stream.codec_context
            assert coder.pix_fmt is not None
            black = np.zeros((coder.height, coder.width, 3), np.uint8)
            picture = pictures.from_rgb(
                black, pixel_format=planar_format(coder.pix_fmt), color=color
            )
            frame = pictures.to_frame(picture, pixel_format=coder.pix_fmt)
            tag_frame(frame, color)
            frame.pts, frame.time_base = 0, coder.time_base
            for item in (frame, None):
                trial.mux(stream.encode(item))
        file.seek(0)
        with av.open(file) as trial:
            stream = trial.streams.video[0]
            return read_tags(
                next(trial.decode(stream)), stream.codec_context
            ), stream.sample_aspect_ratio or Fraction(1)
    except (av.FFmpegError, ValueError, StopIteration, IndexError):
        return None


def as_ratio(aspect: Fraction) -> str:
    """4:3."""
    return f"{aspect.numerator}:{aspect.denominator}"


def _delay_of(packet: av.Packet) -> int:
    """How much later than decoded a packet is shown, in units of its own."""
    return 0 if packet.pts is None or packet.dts is None else packet.pts - packet.dts


def _no_frames(path: Path) -> UserError:
    return UserError(f"{path} isn't written: there is no frame to put into it")


def _default_codecs(path: Path) -> tuple[str, ...]:
    try:
        return _DEFAULT_CODECS[path.suffix.lower()]
    except KeyError:
        known = " ".join(_DEFAULT_CODECS)
        raise UserError(
            f"{path} can't be written: '{path.suffix}' is none of the suffixes {known}; {_ADVICE}"
        ) from None


def _check_target(path: Path, source: Path | None) -> None:
    if path.is_dir():
        raise UserError(f"{path} can't be written: it is a folder; name a file in it")
    if source is None:
        return
    is_same = (
        path.samefile(source)
        if path.exists() and source.exists()
        else os.path.realpath(path) == os.path.realpath(source)
    )
    if is_same:
        raise UserError(f"{path} can't be written: it is the source {source}; choose another name")


def _find_encoder(codec: str, path: Path) -> av.Codec:
    try:
        encoder = av.Codec(codec, "w")
    except ValueError:
        encoder = None
    if encoder is None or encoder.type != "video":
        known = " ".join(name for name in sorted(_CRF_ENCODERS) if name in av.codecs_available)
        raise UserError(
            f"{path} can't be written: codec {codec} is no encoder of pictures that this libav "
            "has; "
            f"choose one of {known} ffv1 prores_ks mpeg4"
        )
    return encoder


def _known_layout(pixel_format: str, path: Path) -> pictures.PixelLayout:
    try:
        return layout_of(pixel_format)
    except ValueError:
        raise UserError(
            f"{path} can't be written: there is no pixel format {pixel_format}; "
            f"choose yuv420p, yuv420p10le, yuv444p or leave it out"
        ) from None


def _formats_of(encoder: av.Codec) -> list[str]:
    return [video_format.name for video_format in encoder.video_formats or []]


def _choose_pixel_format(
    encoder: av.Codec, like: str, size: tuple[int, int], options: dict[str, str]
) -> str:
    """The nearest format that the encoder opens with at this size: some of those it names it never
    does."""
    like = planar_format(like)
    known = pictures.formats_by_nearness(like, _formats_of(encoder) or [like])
    return next((name for name in known if _opens(encoder, name, size, options)), known[0])


def _losses(film: str, written: str) -> list[str]:
    """In words, what a film's pixel format has and the written one lacks; alpha is told of when
    there is some."""
    old, new = layout_of(planar_format(film)), layout_of(written)
    losses = [f"{old.bits} bits become {new.bits}"] if new.bits < old.bits else []
    (down, right), (new_down, new_right) = (
        (1, 1) if layout.is_rgb else layout.step for layout in (old, new)
    )
    if not old.is_grey and (new_down > down or new_right > right):
        losses.append(f"chroma of {down}x{right} pixels becomes one of {new_down}x{new_right}")
    return losses


def _opens(
    encoder: av.Codec, pixel_format: str, size: tuple[int, int], options: dict[str, str]
) -> bool:
    """Whether an encoder takes such pictures of (width, height); some take odd sizes."""
    trial = av.CodecContext.create(encoder, "w")
    assert isinstance(trial, av.VideoCodecContext)
    trial.width, trial.height = size
    trial.pix_fmt, trial.time_base = pixel_format, Fraction(1, 25)
    trial.options = {
        name: value.replace("log-level=error", "log-level=none") for name, value in options.items()
    }
    try:
        trial.open()
        return True
    except (av.FFmpegError, ValueError):
        return False


def _quality_options(path: Path, codec: str, quality: int | None) -> dict[str, str]:
    if codec in _CRF_ENCODERS:
        default, options = _CRF_ENCODERS[codec]
        return {"crf": str(default if quality is None else quality)} | options
    if quality is not None:
        raise UserError(
            f"{path} can't be written with quality {quality}: codec {codec} has no such setting; "
            f"leave it out or choose one of {' '.join(sorted(_CRF_ENCODERS))}"
        )
    return {}
