"""What a file can say of its pictures' colours and of its pixels' aspect, found by a trial."""

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from nunif.video import picture as pictures
from nunif.video.color import BT709, FULL, ColorTags, read_tags, suited_tags, tag_frame
from nunif.video.encoders import Encoding
from nunif.video.pixel_format import layout_of, planar_format

logger = logging.getLogger(__name__)

# Of a ratio; what MPEG-2 and others with few bits for it round.
_ASPECT_TOLERANCE = 0.002
_ADVICE = "the codec libx264 or the suffix .mp4 can"

AddPictures = Callable[[av.container.OutputContainer, ColorTags], av.VideoStream]


def find_tags(
    path: Path,
    encoding: Encoding,
    add_pictures: AddPictures,
    *,
    container: str,
    color: ColorTags,
    aspect: Fraction,
) -> ColorTags:
    """The tags that a film gets which is to have those in `color`.

    A file of one black picture is written and read. Where encoder and container know one range only
    the film will be in that. A line names what else is lost.

    Args:
        path: of the film.
        add_pictures: adds the stream of pictures, with these tags, to a container.
        container: libav's name of it.
        color: of the film.
        aspect: of the film's pixels, width to height.
    """
    layout = layout_of(encoding.pixel_format)
    color = suited_tags(color, is_rgb=layout.is_rgb)
    if layout.is_grey:
        color = replace(color, range=FULL)  # as it is; decoders may make Y'CbCr of it
    if color == ColorTags() and aspect == 1 and not encoding.pixel_format.startswith("yuvj"):
        return color
    read = _read_back(container, add_pictures, color)
    if read is None:
        return color  # the film itself will fail for the same reason, and say so
    said, said_aspect = read
    # pictures in Y'CbCr, of which matrix and range are to be said
    is_coded = not (layout.is_rgb or layout.is_grey)
    is_full, will_be_full = color.range == FULL, said.range == FULL
    if is_coded and is_full != will_be_full:
        color = replace(color, range=said.range if will_be_full else BT709.range)
    lost = [
        f"{name} {value}"
        for name in ("matrix", "primaries", "transfer")[not is_coded :]
        if (value := getattr(color, name)) not in (ColorTags().matrix, getattr(said, name))
    ]
    where = f"{encoding.codec} in {path.suffix}"
    if lost:
        text = (
            "%s: %s can't say what the film's colours are (%s, in the numbers of H.273), "
            "players will guess: %s"
        )
        logger.warning(text, path, where, ", ".join(lost), _ADVICE)
    if abs(said_aspect / aspect - 1) > _ASPECT_TOLERANCE:
        text = "%s: the aspect of the film's pixels, %s, becomes %s, as %s can't say it: %s"
        logger.warning(text, path, as_ratio(aspect), as_ratio(said_aspect), where, _ADVICE)
    return color


def as_ratio(aspect: Fraction) -> str:
    """4:3."""
    return f"{aspect.numerator}:{aspect.denominator}"


def _read_back(
    container: str,
    add_pictures: AddPictures,
    color: ColorTags,
) -> tuple[ColorTags, Fraction] | None:
    """What a file of one black picture says of its colours and of its pixels' aspect; None: it
    can't be made."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=container) as trial:
            stream = add_pictures(trial, color)
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
            tags = read_tags(next(trial.decode(stream)), stream.codec_context)
            return tags, stream.sample_aspect_ratio or Fraction(1)
    except (av.FFmpegError, ValueError, StopIteration, IndexError):
        return None
