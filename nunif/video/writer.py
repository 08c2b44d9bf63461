"""Write pictures and sound to a video file, whole or not at all.

Axes: H W pixels, 3 = R G B.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.format import Flags

from nunif.errors import OutputError, UserError
from nunif.files import check_not_source, describe_os_error, longer_name, partial_path, replace
from nunif.video import picture as pictures
from nunif.video.color import BT709, ColorTags, tag_frame
from nunif.video.encoders import add_stream, choose_encoding, default_codecs, describe_refusal
from nunif.video.extras import warn_of_lost_tags
from nunif.video.last_picture import PictureMuxer
from nunif.video.mastering import Mastering
from nunif.video.packets import Span
from nunif.video.picture import Picture
from nunif.video.picture_times import PictureTimes
from nunif.video.pixel_format import planar_format
from nunif.video.signalling import find_tags
from nunif.video.sound import Sound
from nunif.video.stereo_metadata import StereoMark, mark_file, mark_stream

logger = logging.getLogger(__name__)

_LATE_SOUND = 0.1  # seconds; later sound is heard
_ALPHA_ADVICE = (
    "a .webm, a .mov with the codec prores_ks, an .mkv with the codec ffv1, or a folder of pictures"
)
_NO_MASTERING = Mastering()
# a number, though its stub says otherwise
_VARIABLE_RATE: int = Flags.variable_fps.value  # type: ignore[assignment]


class VideoWriter:
    """A video file in the making. Use as a context manager.

    The file appears under its name when the block ends well. When the block ends in an exception,
    Ctrl-C included, what has been written becomes a playable file NAME.unfinished.SUFFIX, with the
    sound up to there; where there is none, or the disk is full, nothing stays.

    Pictures and sound keep their times, on one clock. MPEG-TS and MPEG-PS start a little later than
    the source; Matroska and WebM round to milliseconds; AVI and MPEG-1/2 know constant frame rates
    only, and AVI no late start. The last picture lasts as long as it should, but in MPEG-TS and
    MPEG-PS.

    Args:
        path: the file; its suffix chooses the container. An existing one is replaced.
        width: of all pictures.
        height: of all pictures.
        rate: frames per second, on average; the encoder plans with it.
        time_base: seconds; what `write` counts times in.
        codec: libav's name of an encoder; None: the suffix's.
        pixel_format: what the encoder gets; None: the nearest to `like_pixel_format` that it takes.
        quality: CRF, lower is better; None: the encoder's, only encoders with a CRF take another.
        color: the tags of the file, and matrix and range for RGB pictures.
        like_pixel_format: the source's.
        sample_aspect_ratio: width to height of a pixel; None isn't written.
        sound_from: a file whose sound to carry over, on the clock of `write`; None for a silent
            film.
        extras: carry over its subtitles, chapters, tags and attachments too; a line names what
            can't be.
        span: the part of that file which is carried over; None: all.
        mastering: HDR10's static metadata and the place of the chroma; a line names what can't be
            written.
        stereo: how both eyes stand in the pictures; None: they show one.
        metadata: of the file, such as its title.
        gop: most frames from one keyframe to the next; None for the encoder's own choice.
        bit_rate: bits per second instead of a quality.
        keep_unfinished: whether an exception leaves NAME.unfinished.SUFFIX.

    Attributes:
        codec: libav's name of the encoder.
        pixel_format: what the encoder gets.
        num_frames: pictures written so far.
        unfinished_path: where the pictures are after an exception; None: nowhere.
    """

    _sound: Sound | None = None

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
        span: Span | None = None,
        mastering: Mastering = _NO_MASTERING,
        stereo: StereoMark | None = None,
        metadata: Mapping[str, str] | None = None,
        gop: int | None = None,
        bit_rate: int | None = None,
        keep_unfinished: bool = True,
    ) -> None:
        """Open the encoder, the sound and the file.

        Raises:
            UserError: `path` is the source or can't be written, or suffix, codec, pixel format,
                quality and size don't go together.
        """
        self.path, self.num_frames = path, 0
        self.unfinished_path: Path | None = None
        self._partial = partial_path(path)
        self._size, self._aspect, self._stereo = (width, height), sample_aspect_ratio, stereo
        self._keep_unfinished = keep_unfinished
        self._is_lost = False  # the file can't be brought to a good end any more
        self._container: av.container.OutputContainer | None = None
        self._muxer: PictureMuxer | None = None
        _check_target(path, sound_from)
        self._encoding = choose_encoding(
            path,
            codec=codec,
            pixel_format=pixel_format,
            like=like_pixel_format,
            size=self._size,
            quality=quality,
            mastering=mastering,
            bit_rate=bit_rate,
        )
        self._warns_of_alpha = not self._encoding.keeps_alpha
        try:
            container = self._open_file(metadata or {})
            self._open_pictures(container, color, rate, time_base, gop=gop)
            if sound_from is not None:
                self._sound = self._sound_of(sound_from)(container, extras=extras, span=span)
            with self._explained():
                container.start_encoding()
        except BaseException:
            self._clear_away()
            raise

    @property
    def codec(self) -> str:
        return self._encoding.codec

    @property
    def pixel_format(self) -> str:
        return self._encoding.pixel_format

    def _open_file(self, metadata: Mapping[str, str]) -> av.container.OutputContainer:
        # Sound may start before 0 (an encoder's run-up). These would rather shift everything, and
        # needn't.
        is_shifty = self.path.suffix.lower() in (".avi", ".mkv", ".webm")
        shift = {"avoid_negative_ts": "disabled"} if is_shifty else {}
        with self._explained():
            container = av.open(f"file:{self._partial}", "w", container_options=shift)
            self._container = container
            container.metadata.update(metadata)
            return container

    def _open_pictures(
        self,
        container: av.container.OutputContainer,
        color: ColorTags,
        rate: Fraction,
        time_base: Fraction,
        *,
        gop: int | None,
    ) -> None:
        """Open the encoder with the tags that it and the container can write."""
        is_kept = bool(container.format.flags & _VARIABLE_RATE)
        self._times = PictureTimes(self.codec, rate=rate, time_base=time_base, is_kept=is_kept)
        add_pictures = partial(
            add_stream,
            path=self.path,
            encoding=self._encoding,
            size=self._size,
            rate=rate,
            tick=self._times.tick,
            aspect=self._aspect,
            gop=gop,
        )
        with self._explained():
            self.color = find_tags(
                self.path,
                self._encoding,
                add_pictures,
                container=container.format.name,
                color=color,
                aspect=self._aspect or Fraction(1),
            )
            stream = add_pictures(container, self.color)
            if self._stereo is not None:
                mark_stream(stream, self._stereo, self.path)
            self._muxer = PictureMuxer(container, stream)

    def _sound_of(self, source: Path) -> Callable[..., Sound]:
        return partial(Sound, source, encoders=default_codecs(self.path)[1:], mux=self._mux)

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
        times = self._times
        if times.last_pts is not None and pts <= times.last_pts:
            raise ValueError(
                f"frame {self.num_frames} has the time {pts}, the one before it {times.last_pts}"
            )
        if not isinstance(picture, Picture):
            planar = planar_format(self.pixel_format)
            picture = pictures.from_rgb(picture, pixel_format=planar, color=self.color)
        elif self._warns_of_alpha and pictures.is_see_through(picture):
            self._warns_of_alpha = False  # said once
            self._warn_of_alpha()
        picture = pictures.with_range(picture, self.color.range or BT709.range)
        frame = pictures.to_frame(picture, pixel_format=self.pixel_format)
        tag_frame(frame, self.color)
        if not self.num_frames:
            self._start(pts)
        tick, length = times.tick_of(pts), times.length_of(duration)
        frame.pts, frame.time_base = tick, times.tick
        frame.duration = max(1, round(length / times.tick))
        # Counted first: Ctrl-C comes up when the encoder has taken the picture.
        times.last_pts, times.last_tick, times.last_duration = pts, tick, length
        self.num_frames += 1
        with self._explained():
            assert self._muxer is not None
            self._muxer.encode(frame)
            if self._sound is not None:
                self._sound.advance(pts * times.time_base)

    def _warn_of_alpha(self) -> None:
        text = (
            "%s: the film is transparent in places, which %s (%s) in %s can't hold: the alpha "
            "is left out; to keep it write %s"
        )
        logger.warning(
            text, self.path, self.codec, self.pixel_format, self.path.suffix, _ALPHA_ADVICE
        )

    def _start(self, pts: int) -> None:
        """Note the first picture's time; a line says where that keeps the sound from its own."""
        self._times.start(pts)
        start = pts * self._times.time_base
        sound_start = None if self._sound is None else self._sound.start
        if self._times.is_kept or sound_start is None:
            return
        if abs(late := sound_start - start) > _LATE_SOUND:
            text = "%s: %s can't start sound and pictures apart; the sound will be %.2f s off"
            logger.warning(text, self.path, self.path.suffix, abs(late))

    def _mux(self, stream: av.VideoStream | av.AudioStream, frame: Any) -> None:
        """Encode a frame (None: what is held back) and write what comes out."""
        assert self._container is not None
        # In one go: were the two calls Python's, Ctrl-C would strike between them and lose the
        # packets.
        deque(map(self._container.mux, map(stream.encode, [frame])), maxlen=0)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is not None:
                self._keep_what_there_is()
            elif not self.num_frames:
                raise _no_frames(self.path)
            else:
                try:
                    self._finish_under_its_name()
                except KeyboardInterrupt:
                    self._keep_what_there_is()
                    raise
        finally:
            self._clear_away()

    def _finish_under_its_name(self) -> None:
        sound = self._sound
        self._finish(sound_until=None)
        if sound is not None and sound.extras:
            warn_of_lost_tags(self.path, sound.tags, sound.labels, written=self._partial)
        with self._explained():
            replace(self._partial, self.path)

    def _keep_what_there_is(self) -> None:
        if (
            not self._keep_unfinished
            or not self.num_frames
            or self._is_lost
            or not self._partial.exists()
        ):
            return
        unfinished = longer_name(self.path, after=".unfinished")
        try:
            self._finish(sound_until=self._times.end)
            with self._explained():
                replace(self._partial, unfinished)
        except UserError as error:
            logger.warning("%s", error)
            return
        self.unfinished_path = unfinished
        logger.warning(
            "%s holds the %d frames (%.1f s) that were finished",
            unfinished,
            self.num_frames,
            self._times.seconds,
        )

    def _finish(self, *, sound_until: Fraction | None) -> None:
        """Write what the encoders hold back, the rest of the sound and the end of the file. Can be
        called twice."""
        assert self._container is not None and self._muxer is not None
        times = self._times
        assert times.last_tick is not None
        with self._explained():
            with suppress(EOFError):  # the second time
                self._muxer.encode(None)
            self._muxer.write_last(
                start=times.last_tick * times.tick,
                duration=times.last_duration,
                suffix=self.path.suffix,
            )
            times.warn_of_losses(self.path)
            if self._sound is not None:
                self._sound.advance(sound_until)
                self._sound.finish()
            self._container.close()
            if self._stereo is not None:
                mark = self._stereo
                mark_file(self._partial, mark, path=self.path, size=self._size, aspect=self._aspect)

    def _clear_away(self) -> None:
        """Let go of everything and remove the file if it still has its provisional name."""
        sound, container = self._sound, self._container
        if self._muxer is not None:
            self._muxer.clear()
        # encoders are large, and in a circle with this object
        self._sound = self._container = self._muxer = None
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
            refusal = describe_refusal(self.path, self._encoding, self._size, error)
            raise UserError(refusal) from error


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


def _no_frames(path: Path) -> UserError:
    return UserError(f"{path} isn't written: there is no frame to put into it")


def _check_target(path: Path, source: Path | None) -> None:
    if path.is_dir():
        raise UserError(f"{path} can't be written: it is a folder; name a file in it")
    if source is not None:
        check_not_source(path, source)
