"""What a film says of the screen it was made on (HDR10) and where its chroma lies, from one file to
another."""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import av

from nunif.video.side_data import side_data_of

# AVMasteringDisplayMetadata: R G B white as x and y, least and most light; two flags
_DISPLAY = struct.Struct("22i")
_LIGHT = struct.Struct("2I")  # AVContentLightMetadata
# What can't be written by any encoder here, by the name of libav's side data.
_DYNAMIC = {
    "DOVI_METADATA": "Dolby Vision",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "AMBIENT_VIEWING_ENVIRONMENT": "its ambient viewing environment",
    "A53_CC": "closed captions in the pictures",
    "STEREO3D": "marks of stereo 3D",
    "SPHERICAL": "marks of a 360 degree film",
    "ICC_PROFILE": "an ICC profile",
}
# Matroska's ChromaSitingHorz and ChromaSitingVert: libav's names by where they say the chroma lies
_SITINGS = {(1, 2): "left", (2, 2): "center", (1, 1): "topleft", (2, 1): "top"}
_SITING = re.compile(rb"\x55\xb7\x81(.)\x55\xb8\x81(.)", re.DOTALL)
_DOLBY_VISION = re.compile(rb"dv[cvw]C")  # what that metadata is called in a Matroska header
_KEEP_CHROMA = frozenset({"libx264", "libx265", "libsvtav1", "libaom-av1"})
_KEEP_CHROMA_IN_MATROSKA = frozenset({"ffv1", "libvpx-vp9"})


@dataclass(frozen=True)
class Mastering:
    """Static metadata of a film; None: it says nothing.

    Attributes:
        display: x and y of red, green, blue and white, then the least and the most light in cd/m2.
        light: the lightest pixel and the lightest picture on average (MaxCLL, MaxFALL), in cd/m2.
        chroma_location: libav's name of where the chroma lies: left, topleft, ...
    """

    display: tuple[float, ...] | None = None
    light: tuple[int, int] | None = None
    chroma_location: str | None = None

    def __bool__(self) -> bool:
        return self != Mastering()


def read_mastering(frame: av.VideoFrame, stream: av.VideoStream) -> Mastering:
    """What a film's first picture and its stream say."""
    display: tuple[float, ...] | None = None
    light: tuple[int, int] | None = None
    for kind, data in side_data_of(frame).items():
        content = bytes(data)
        if kind == "MASTERING_DISPLAY_METADATA" and len(content) >= _DISPLAY.size:
            *numbers, has_primaries, has_light = _DISPLAY.unpack_from(content)
            if has_primaries and has_light:
                display = tuple(
                    above / (below or 1) for above, below in zip(numbers[::2], numbers[1::2])
                )
        elif kind == "CONTENT_LIGHT_LEVEL" and len(content) >= _LIGHT.size:
            most, mean = _LIGHT.unpack_from(content)
            light = (most, mean) if most or mean else None
    is_halved = frame.format.chroma_width(16) == frame.format.chroma_height(16) == 8
    siting = _SITING.search(_matroska_header(stream)) if is_halved else None
    return Mastering(
        display, light, None if siting is None else _SITINGS.get((siting[1][0], siting[2][0]))
    )


def list_dynamic(frame: av.VideoFrame, stream: av.VideoStream) -> list[str]:
    """In words, what a film's first picture and its stream bring along that is never carried
    over."""
    names = [_DYNAMIC.get(kind) for kind in side_data_of(frame)]
    names += ["Dolby Vision"] * bool(_DOLBY_VISION.search(_matroska_header(stream)))
    return list(dict.fromkeys(name for name in names if name))


def options_for(mastering: Mastering, codec: str, suffix: str) -> tuple[dict[str, str], list[str]]:
    """An encoder's options that write it, and in words what it can't.

    Args:
        mastering: of the film.
        codec: libav's name of the encoder.
        suffix: of the file, such as .mkv.
    """
    options: dict[str, str] = {}
    lost = []
    words = []
    if codec in _PARAMETERS:
        name, display, light = _PARAMETERS[codec]
        if mastering.display is not None:
            words.append(display(mastering.display))
        if mastering.light is not None:
            words.append(f"{light}={mastering.light[0]},{mastering.light[1]}")
        if words:
            options[name] = ":".join(words)
    elif mastering.display is not None or mastering.light is not None:
        lost.append("HDR10 metadata (mastering display, MaxCLL)")
    if mastering.chroma_location is not None:
        aside = codec in _KEEP_CHROMA_IN_MATROSKA and suffix.lower() in (".mkv", ".webm")
        if codec in _KEEP_CHROMA or aside:
            options["chroma_sample_location"] = mastering.chroma_location
        elif mastering.chroma_location != "left":  # where readers look for it
            lost.append(f"the place of the chroma ({mastering.chroma_location})")
    return options, lost


def _integers(name: str) -> Callable[[tuple[float, ...]], str]:
    """x264's and x265's way: in 0.00002 and in 0.0001 cd/m2."""

    def write(display: tuple[float, ...]) -> str:
        rx, ry, gx, gy, bx, by, wx, wy = (round(number * 50000) for number in display[:8])
        least, most = (round(number * 10000) for number in display[8:])
        return f"{name}=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({most},{least})"

    return write


def _decimals(display: tuple[float, ...]) -> str:
    """SVT-AV1's way."""
    rx, ry, gx, gy, bx, by, wx, wy, least, most = (f"{number:.5f}" for number in display)
    return f"mastering-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({most},{least})"


# by encoder: the option, how it writes the display, and its word for the light
_PARAMETERS: dict[str, tuple[str, Callable[[tuple[float, ...]], str], str]] = {
    "libsvtav1": ("svtav1-params", _decimals, "content-light"),
    "libx264": ("x264-params", _integers("mastering-display"), "cll"),
    "libx265": ("x265-params", _integers("master-display"), "max-cll"),
}


def _matroska_header(stream: av.VideoStream) -> bytes:
    """The header of a Matroska file with this stream: it tells what nothing else does. Empty where
    Matroska can't have it."""
    header = io.BytesIO()
    trial = av.open(header, "w", format="matroska")
    try:
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return b""
    finally:
        trial.close()
    return header.getvalue()
