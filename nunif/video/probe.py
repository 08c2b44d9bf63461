"""What a video says of its pictures, in its header and in the first of them."""

import logging
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from nunif.errors import UserError
from nunif.numbered import is_picture
from nunif.video.clock import has_free_clock
from nunif.video.color import UNREAD_MATRICES, ColorTags, read_tags
from nunif.video.deinterlace import stated_first_field
from nunif.video.demux import PNG, decode_all, decoder_of, has_profile, nothing_decodes, opened
from nunif.video.extras import list_extras
from nunif.video.first_pass import Packets, scan, scan_by_decoding
from nunif.video.mastering import Mastering, list_dynamic, read_mastering
from nunif.video.orientation import (
    Orientation,
    read_orientation,
    tagged_orientation,
    upright_format,
)
from nunif.video.pixel_format import layout_of
from nunif.video.tone import ToneMap, tone_map_of

logger = logging.getLogger(__name__)

# A file's own rate is believed if most pictures come about as fast: times of a millisecond round
# that much and more.
_RATE_DIFFERENCE = Fraction(1, 10)
ICC_PROFILE = "an ICC profile"  # in `VideoInfo.dynamic`
# Pictures that are looked at when a file is opened.
_NUM_PROBED = 8


class WrongTimes(Exception):
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


def scan_and_probe(
    path: Path, *, with_alpha: bool
) -> tuple[Packets, tuple[VideoInfo, tuple[int, int], str | None]]:
    """The first pass, and what the first pictures say: `VideoInfo`, the (width, height) as decoded,
    and `stated_first_field`.

    Raises:
        UserError: no picture can be decoded, or its colours not be read.
    """
    packets = scan(path)
    try:
        return packets, _probe(path, packets, with_alpha=with_alpha)
    except WrongTimes:
        logger.warning(
            "%s: its times aren't those of its pictures, which are taken to come at one rate", path
        )
        packets = scan_by_decoding(path, begin=int(packets.pts.min()) * packets.time_base)
        return packets, _probe(path, packets, with_alpha=with_alpha)


def _probe(
    path: Path, packets: Packets, *, with_alpha: bool
) -> tuple[VideoInfo, tuple[int, int], str | None]:
    """Decode the first good pictures: what the stream says, the (width, height) as decoded, and
    `stated_first_field`."""
    with opened(path) as (container, stream):
        frames = _first_pictures(path, container, stream, packets, with_alpha=with_alpha)
        frame = frames[0]
        first_field = stated_first_field(stream.codec_context)
        orientation = read_orientation(frame)
        if orientation.is_upright and is_picture(path):
            orientation = tagged_orientation(path)
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
        if stream.codec_context.name in PNG and has_profile(path):
            dynamic.append(ICC_PROFILE)
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
    packets: Packets,
    *,
    with_alpha: bool,
) -> list[av.VideoFrame]:
    """The good ones of the first pictures, or else the first good one.

    Raises:
        UserError: there is none.
        WrongTimes: see `_check_times`.
    """
    decoded = decode_all(container, stream, decoder_of(stream, with_alpha=with_alpha))
    seen = list(islice(decoded, _NUM_PROBED))
    frames = [frame for frame in seen if not frame.is_corrupt]
    frames = frames or list(islice((frame for frame in decoded if not frame.is_corrupt), 1))
    if not frames:
        raise nothing_decodes(path, stream.codec_context.name)
    if not packets.numbered:
        times = [frame.pts for frame in seen if frame.pts is not None]
        _check_times(times, packets, is_free=has_free_clock(container))
    return frames


def _check_times(times: list[int], packets: Packets, *, is_free: bool) -> None:
    """
    Args:
        times: of the first pictures, as decoders give them out: in the order in which they are
            shown.
        is_free: the file's clock begins anywhere and may start over.
    Raises:
        WrongTimes: they are out of order, as where packets have times of coding; or every
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
        raise WrongTimes


def _average_rate(packets: Packets) -> float:
    """Frames per second over the whole file; 0 for a single picture."""
    if len(packets.pts) < 2:
        return 0.0
    span = int(packets.pts.max() - packets.pts.min()) * packets.time_base
    return float((len(packets.pts) - 1) / span) if span else 0.0


def _usual_rate(packets: Packets, stated: Fraction) -> Fraction:
    """The rate that a file states, or that of most of its pictures where these come faster or
    slower than it says."""
    steps = np.diff(np.unique(packets.pts))
    if not len(steps):
        return stated
    usual = 1 / (int(np.median(steps)) * packets.time_base)
    return stated if abs(usual / stated - 1) < _RATE_DIFFERENCE else usual


def interlaced_error(path: Path, time: float | None = None) -> UserError:
    """The error for an interlaced film. time: seconds from which on it is; None: from the start."""
    where = "" if time is None else f" from {time:.2f} s on"
    return UserError(
        f"{path} is interlaced{where}, each picture is two woven into one: use --deinterlace, "
        "which makes whole ones of them"
    )
