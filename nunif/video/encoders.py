"""Encoders of pictures: which one a file gets, what it takes, and with which quality."""

import logging
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags

from nunif.errors import UserError
from nunif.video.color import ColorTags, write_tags
from nunif.video.mastering import Mastering, options_for
from nunif.video.pixel_format import (
    PixelLayout,
    formats_by_nearness,
    layout_of,
    nearest_format,
    planar_format,
    without_alpha,
)

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
# ProRes 4444 has bits enough for all frequencies alike: a fifth less error for 2 % more bytes.
_FLAT_QUANTISER = {"prores_ks": {"quant_mat": "default"}}
# Their alpha is a second stream of pictures beside the first, and only Matroska has a place for it.
_ALPHA_ASIDE = frozenset({"libvpx", "libvpx-vp9"})
_MATROSKA = frozenset({".mkv", ".webm"})
_ADVICE = "choose another suffix, codec or pixel format"


@dataclass(frozen=True)
class Encoding:
    """How the pictures of a file are coded.

    Attributes:
        codec: libav's name of the encoder.
        pixel_format: what the encoder gets.
        options: of the encoder.
        keeps_alpha: whether transparency gets into the file.
        bit_rate: bits per second that were asked for; None: by the quality.
    """

    codec: str
    pixel_format: str
    options: dict[str, str]
    keeps_alpha: bool
    bit_rate: int | None = None


def choose_encoding(
    path: Path,
    *,
    codec: str | None,
    pixel_format: str | None,
    like: str,
    size: tuple[int, int],
    quality: int | None,
    mastering: Mastering,
    bit_rate: int | None = None,
) -> Encoding:
    """How to code the pictures of a film. A line names what of it can't be kept.

    Args:
        path: of the file, whose suffix is the container's.
        codec: libav's name of an encoder; None: the suffix's.
        pixel_format: what the encoder gets; None: the nearest to `like` that it takes.
        like: the film's own pixel format.
        size: (width, height), as encoders have it.
        quality: CRF, lower is better; None: the encoder's own.
        mastering: of the film.
        bit_rate: bits per second instead of a quality; None: by the quality.

    Raises:
        UserError: there is no such suffix, encoder or pixel format, or the encoder has no CRF.
    """
    usual_codec, *_ = default_codecs(path)
    codec = codec or usual_codec
    encoder = _find_encoder(codec, path)
    if codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # it prints past libav's log
    options = _quality_options(path, codec, quality)
    if bit_rate is not None:
        if quality is not None:
            raise UserError(f"{path}: give --quality {quality} or a bit rate, and not both")
        options.pop("crf", None)
    options = _with_mastering(options, mastering, codec, path)
    has_place = codec not in _ALPHA_ASIDE or path.suffix.lower() in _MATROSKA
    if pixel_format is None:
        wanted = like if has_place else without_alpha(like)
        chosen = _choose_pixel_format(encoder, wanted, size, options)
        if losses := _losses(like, chosen):
            others = [name for name in ("libx264", "libx265", "ffv1") if name != codec]
            text = "%s: the film's %s, which is what %s takes: %s or %s may keep more"
            names = ", ".join(others[:-1]), others[-1]
            logger.warning(text, path, " and ".join(losses), codec, *names)
    else:
        chosen = pixel_format
    has_alpha = _known_layout(chosen, path).alpha is not None
    if has_alpha:
        options |= _FLAT_QUANTISER.get(codec, {})
    return Encoding(codec, chosen, options, has_place and has_alpha, bit_rate)


def _with_mastering(
    options: dict[str, str], mastering: Mastering, codec: str, path: Path
) -> dict[str, str]:
    """An encoder's options with those that write the film's static metadata."""
    added, lost = options_for(mastering, codec, path.suffix)
    if lost:
        text = "%s: %s of the film can't be kept by %s in %s: choose the codec libx265 or libx264"
        logger.warning(text, path, ", ".join(lost), codec, path.suffix)
    return options | {
        name: f"{options[name]}:{value}" if name in options else value
        for name, value in added.items()
    }


def add_stream(
    container: av.container.OutputContainer,
    color: ColorTags,
    *,
    path: Path,
    encoding: Encoding,
    size: tuple[int, int],
    rate: Fraction,
    tick: Fraction,
    aspect: Fraction | None,
    gop: int | None,
) -> av.VideoStream:
    """Add a stream of pictures to a container and open its encoder.

    Args:
        color: the tags of the stream.
        path: of the film, whose suffix is the container's.
        size: (width, height), as encoders have it.
        rate: frames per second, on average.
        tick: seconds; what the encoder counts times in.
        aspect: width to height of a pixel; None isn't written.
        gop: most frames from one keyframe to the next; None for the encoder's own choice.
    """
    stream = container.add_stream(encoding.codec, rate=rate)
    assert isinstance(stream, av.VideoStream)
    coder = stream.codec_context
    coder.width, coder.height = size
    coder.pix_fmt = encoding.pixel_format
    coder.time_base = tick
    write_tags(coder, color)
    if aspect is not None:
        coder.sample_aspect_ratio = aspect
    coder.flags |= Flags.frame_duration
    if gop is not None:
        coder.gop_size = gop
    if encoding.bit_rate is not None:
        coder.bit_rate = encoding.bit_rate
    elif encoding.codec not in _CRF_ENCODERS:
        coder.bit_rate = round(_BITS_PER_PIXEL * size[0] * size[1] * rate)
    if tag := _CODEC_TAGS.get((encoding.codec, path.suffix.lower())):
        coder.codec_tag = tag
    coder.options = encoding.options
    coder.open()
    return stream


def describe_refusal(
    path: Path, encoding: Encoding, size: tuple[int, int], error: Exception
) -> str:
    """One line for what libav refused to write.

    size: (width, height) of the pictures. error: libav's.
    """
    (width, height), layout = size, layout_of(encoding.pixel_format)
    encoder, options = av.Codec(encoding.codec, "w"), _quality_options(path, encoding.codec, None)
    known = _formats_of(encoder)
    usable = [name for name in known if _opens(encoder, name, size, options)]
    if usable and (width % layout.step[1] or height % layout.step[0]):
        better = nearest_format(encoding.pixel_format, usable)
        return (
            f"{path}: {width}x{height} can't be {encoding.pixel_format}; choose {better} "
            "or an even size"
        )
    takes = " ".join(usable) or ("nothing of that size" if known else "any format")
    return (
        f"{path} can't be written with codec {encoding.codec} and pixel format "
        f"{encoding.pixel_format} "
        f"at {width}x{height} ({error}; the codec takes {takes}): {_ADVICE}"
    )


def can_write(suffix: str) -> bool:
    """Whether files of a suffix such as ".mp4" can be written."""
    return suffix.lower() in _DEFAULT_CODECS


def default_codecs(path: Path) -> tuple[str, ...]:
    """The encoder of pictures for a file's suffix, then those of sound.

    Raises:
        UserError: no file of this suffix can be written.
    """
    try:
        return _DEFAULT_CODECS[path.suffix.lower()]
    except KeyError:
        known = " ".join(_DEFAULT_CODECS)
        raise UserError(
            f"{path} can't be written: '{path.suffix}' is none of the suffixes {known}; {_ADVICE}"
        ) from None


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


def _known_layout(pixel_format: str, path: Path) -> PixelLayout:
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
    known = formats_by_nearness(like, _formats_of(encoder) or [like])
    return next((name for name in known if _opens(encoder, name, size, options)), known[0])


def _losses(film: str, written: str) -> list[str]:
    """In words, what a film's pixel format has and the written one lacks. Alpha is left out: the
    writer logs its loss once there is some."""
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
