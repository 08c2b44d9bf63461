"""Matrix and range between coded pictures and RGB: the one place where they are chosen.

A picture that says which matrix and range it is in is converted with them. One that doesn't say is
taken for BT.601, limited range, at any size, which is swscale's rule and nunif's: training data and
inference both come through here, so they agree, and files made by nunif's generator fit as well.
What follows is libav's numbering (AVCOL_*).

Axes: H W pixels, 3 = R G B.
"""

from dataclasses import dataclass, replace

import av
import numpy as np
from av.video.reformatter import ColorRange

FULL = int(ColorRange.JPEG)
_RGB_MATRIX = 0  # AVCOL_SPC_RGB

# Shares of red and blue in the luma: ITU-T H.273, table 4. BT.601 for all others, as in swscale.
_RED_AND_BLUE = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_BT601 = (0.299, 0.114)
# Those in which luma and chroma aren't sums of R G B in this way, and those that swscale doesn't
# know.
UNREAD_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    12: "a matrix derived from the primaries",
    13: "constant luminance derived from the primaries",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-R",
    17: "YCgCo-R",
}


@dataclass(frozen=True)
class ColorTags:
    """What a stream says of its colours, in libav's numbers; as it stands here, it says nothing."""

    matrix: int = 2  # AVColorSpace
    range: int = 0  # AVColorRange
    primaries: int = 2  # AVColorPrimaries
    transfer: int = 2  # AVColorTransferCharacteristic


BT709 = ColorTags(matrix=1, range=int(ColorRange.MPEG), primaries=1, transfer=1)


def read_tags(frame: av.VideoFrame, codec_context: av.VideoCodecContext) -> ColorTags:
    """The tags of a decoded picture and of its stream."""
    full = frame.format.name.startswith("yuvj")
    return ColorTags(
        matrix=int(frame.colorspace),
        range=FULL if full else int(frame.color_range),
        primaries=int(codec_context.color_primaries),
        transfer=int(codec_context.color_trc),
    )


def write_tags(codec_context: av.VideoCodecContext, color: ColorTags) -> None:
    """Have an encoder tag its stream, so that no reader has to guess."""
    codec_context.colorspace = color.matrix
    codec_context.color_range = color.range
    codec_context.color_primaries = color.primaries
    codec_context.color_trc = color.transfer


def tag_frame(frame: av.VideoFrame, color: ColorTags) -> None:
    """Have a picture say what its stream does of primaries and transfer: some encoders (ProRes) ask
    it alone."""
    frame.color_primaries, frame.color_trc = color.primaries, color.transfer


def suited_tags(color: ColorTags, *, is_rgb: bool) -> ColorTags:
    """The tags after a picture's change to or from RGB, which has no matrix and the full range.

    Y'CbCr that was RGB is BT.709, limited range.
    """
    if is_rgb:
        return replace(color, matrix=_RGB_MATRIX, range=FULL)
    if color.matrix == _RGB_MATRIX:
        return replace(color, matrix=BT709.matrix, range=BT709.range)
    return color


def is_full_range(color: ColorTags, *, num_components: int, is_rgb: bool) -> bool:
    """Whether 0 is black and the greatest number white. Grey always is, tagged or not: swscale's
    rule."""
    return is_rgb or num_components == 1 or color.range == FULL


def code_of_rgb(color: ColorTags, *, bits: int, num_components: int, is_rgb: bool) -> np.ndarray:
    """(1 or 3, 4) affine map from 16-bit R G B to the code's components, scaled up to 16 bits by 2
    ** (16 - bits).

    Components are R G B, or Y Cb Cr, or Y alone. ITU-R BT.601 and BT.709; H.273, equations 8.3 ff.
    """
    top = 2**bits - 1
    if is_rgb:
        code = np.diag([float(top)] * 3)  # of R G B from 0 to 1
        offset = np.zeros(3)
    else:
        red, blue = _RED_AND_BLUE.get(color.matrix, _BT601)
        luma = np.array([red, 1 - red - blue, blue])
        cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
        cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
        unit = 2 ** (bits - 8)
        full = is_full_range(color, num_components=num_components, is_rgb=is_rgb)
        black, luma_span, chroma_span = (
            (0, top, top) if full else (16 * unit, 219 * unit, 224 * unit)
        )
        code = np.stack([luma * luma_span, cb * chroma_span, cr * chroma_span])[:num_components]
        offset = np.array([black, 128 * unit, 128 * unit], dtype=np.float64)[:num_components]
    return np.column_stack([code / 65535, offset]) * 2 ** (16 - bits)


def rgb_of_code(color: ColorTags, *, bits: int, num_components: int, is_rgb: bool) -> np.ndarray:
    """(3, 2 or 4) affine map back: the inverse of `code_of_rgb`; grey gives three equal
    components."""
    forth = code_of_rgb(color, bits=bits, num_components=num_components, is_rgb=is_rgb)
    if num_components == 1:
        scale = 1 / forth[0, :3].sum()
        return np.array([[scale, -scale * forth[0, 3]]] * 3)
    back = np.linalg.inv(forth[:, :3])
    return np.column_stack([back, -back @ forth[:, 3]])


def to_rgb(frame: av.VideoFrame, *, width: int, height: int) -> np.ndarray:
    """A decoded picture of any pixel format as 8-bit RGB.

    Args:
        frame: the picture as the decoder gave it (not rotated).
        width: width of the result; differs from the frame's only where a stream changes its size on
            the way.
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
        dst_color_range=FULL,
        threads=1,  # swscale 9 has a race between its threads
    )
    return np.ascontiguousarray(rgb.to_ndarray())
