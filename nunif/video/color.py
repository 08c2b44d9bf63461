"""From decoded pictures to RGB and back: the one place where matrix and range are chosen.

Axes: H W pixels, 3 = R G B.
"""

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

# Full range on the RGB side; swscale takes 0 for "not tagged".
_RGB_RANGE = int(ColorRange.JPEG)


def to_rgb(frame: av.VideoFrame, *, width: int, height: int) -> np.ndarray:
    """A decoded picture of any pixel format as 8-bit RGB.

    A picture that says which matrix and range it is in is converted with them. One that doesn't say is taken for
    BT.601 at any size, which is swscale's rule and nunif's: training data and inference both come through here, so
    they agree, and files made by nunif's generator fit as well.

    Args:
        frame: the picture as the decoder gave it (not rotated).
        width: width of the result; differs from the frame's only where a stream changes its size on the way.
        height: height of the result.

    Returns:
        (H, W, 3) uint8, contiguous.
    """
    rgb = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=int(frame.colorspace),
        src_color_range=int(frame.color_range),
        dst_color_range=_RGB_RANGE,
    )
    return np.ascontiguousarray(rgb.to_ndarray())


def from_rgb(rgb: np.ndarray, *, pixel_format: str) -> av.VideoFrame:
    """8-bit RGB as a picture for an encoder: BT.709, limited range (`tag_colors` says so in the file).

    Args:
        rgb: (H, W, 3) uint8.
        pixel_format: libav's name, such as yuv420p or yuv444p10le.
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    return frame.reformat(
        format=pixel_format,
        src_color_range=_RGB_RANGE,
        dst_colorspace=int(Colorspace.ITU709),
        dst_color_range=int(ColorRange.MPEG),
    )


def tag_colors(codec_context: av.VideoCodecContext) -> None:
    """Write into the stream what `from_rgb` makes, so that no reader has to guess: BT.709, limited range."""
    codec_context.colorspace = codec_context.color_primaries = codec_context.color_trc = 1  # AVCOL_*_BT709
    codec_context.color_range = int(ColorRange.MPEG)
