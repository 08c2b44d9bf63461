"""Write RGB frames to a video file, whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from nunif.errors import UserError
from nunif.files import PARTIAL_PREFIX, explain_os_errors
from nunif.video.color import from_rgb, tag_colors

# Pixel formats that halve the chroma, (horizontally, vertically).
_CHROMA_STEP = {"yuv420p": (2, 2), "yuv420p10le": (2, 2), "nv12": (2, 2), "yuv422p": (2, 1), "yuv422p10le": (2, 1)}


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: Fraction | float,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    crf: int | None = 18,
    gop: int | None = None,
) -> None:
    """Encode frames into a video that appears under its name only when it is finished. Tagged BT.709, limited range.

    Args:
        path: the file; its suffix chooses the container. An existing one is replaced.
        frames: (H, W, 3) uint8 RGB, all of one size; taken one at a time.
        fps: constant frame rate.
        codec: libav's name of an encoder.
        pixel_format: what the encoder gets; odd sizes need one with full chroma, such as yuv444p.
        crf: constant quality, lower is better; None for encoders that have no such setting (ffv1, mpeg4).
        gop: most frames from one keyframe to the next; None for the encoder's own choice.

    Raises:
        UserError: the container, codec or pixel format don't go together, the size doesn't suit the pixel format,
            there is no frame, or the disk refuses.
        ValueError: the frames aren't of one size.
    """
    partial = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    with explain_os_errors(path):
        try:
            rate = Fraction(fps).limit_denominator(100_000)
            _encode(path, partial, iter(frames), rate, codec, pixel_format, crf, gop)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _encode(
    path: Path,
    partial: Path,
    frames: Iterator[np.ndarray],
    fps: Fraction,
    codec: str,
    pixel_format: str,
    crf: int | None,
    gop: int | None,
) -> None:
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path} isn't written: there is no frame to put into it")
    height, width = first.shape[:2]
    step_x, step_y = _CHROMA_STEP.get(pixel_format, (1, 1))
    if width % step_x or height % step_y:
        raise UserError(f"{path}: {width}x{height} can't be {pixel_format}; choose yuv444p or an even size")

    with _explain_refusals(path, codec, pixel_format):
        container = av.open(f"file:{partial}", "w")
    with container:
        with _explain_refusals(path, codec, pixel_format):
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            tag_colors(stream.codec_context)
            if gop is not None:
                stream.codec_context.gop_size = gop
            options = {} if crf is None else {"crf": str(crf)}
            if codec == "libx265":
                options["x265-params"] = "log-level=error"  # it prints past libav's log
            stream.options = options
            stream.codec_context.open()
        index = 0
        while first is not None:
            if first.shape[:2] != (height, width):
                raise ValueError(f"frame {index} is {first.shape[1]}x{first.shape[0]}, the first was {width}x{height}")
            frame = from_rgb(first, pixel_format=pixel_format)
            frame.pts, frame.time_base = index, 1 / fps
            container.mux(stream.encode(frame))
            first = next(frames, None)
            index += 1
        container.mux(stream.encode(None))


@contextmanager
def _explain_refusals(path: Path, codec: str, pixel_format: str) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise  # the disk's refusals are explained by the caller
    except (av.FFmpegError, ValueError) as error:  # unknown codec, container or pixel format are ValueErrors
        raise UserError(
            f"{path} can't be written with codec {codec} and pixel format {pixel_format} ({error}): "
            f"choose another suffix, codec or pixel format"
        ) from error
