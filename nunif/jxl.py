"""JPEG XL without loss (ISO/IEC 18181): pictures in shards, smaller than as PNG and slower to read.

What is made here holds the pixels of a PNG and nothing else: a bare codestream, or one in a
container where there are 16 bits, as their level is written there. It takes the package
imagecodecs, of the extra `jxl`.

Axes: H W pixels, channels as of PNG: none for grey, red green blue, and alpha.
"""

from types import ModuleType

import numpy as np

from nunif.errors import UserError
from nunif.image import MAX_PIXELS, encode_grey, encode_rgb, encode_rgba, plain_pixels
from nunif.shards.packages import need

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"  # its first box (18181-2)
EFFORT = 1  # the quickest; more is slower to decode, too, and saves little or nothing
_CHANNELS = (3, 4)  # of pictures with an axis of them
# width to height, where the header says that instead of a width (18181-1, SizeHeader)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDE_BITS = (9, 13, 18, 30)


def need_jxl(purpose: str) -> ModuleType:
    """The package that codes them. Raises UserError if it is not installed, or can't do it."""
    codecs = need("imagecodecs", purpose, extra="jxl")
    if not codecs.JPEGXL.available:  # some are built with fewer codecs than PyPI's
        raise UserError(
            f"{purpose} needs JPEG XL, which the imagecodecs that is installed was built without: "
            "take that of pip install -e .[jxl]"
        )
    return codecs


def is_jxl(data: bytes) -> bool:
    """Whether a file's content may be one of these."""
    return data.startswith((CODESTREAM, CONTAINER))


def recode(png: bytes) -> bytes | None:
    """The pixels of a PNG; None where it isn't a plain one (see `plain_pixels`), or they would not
    come back as they are."""
    picture = plain_pixels(png)
    if picture is None:
        return None
    codecs = need_jxl("JPEG XL")
    data = bytes(codecs.jpegxl_encode(picture, lossless=True, effort=EFFORT, numthreads=1))
    return data if is_jxl(data) and _are_same(decode_jxl(data), picture) else None


def is_of_png(data: bytes, png: bytes) -> bool:
    """Whether a plain PNG has these pixels. Raises as `decode_jxl`."""
    picture = plain_pixels(png)
    return picture is not None and _are_same(decode_jxl(data), picture)


def png_of(data: bytes) -> bytes:
    """A PNG of the same pixels, as records are written. Raises as `decode_jxl`."""
    picture = decode_jxl(data)
    if picture.ndim == 2:
        return encode_grey(picture)
    return encode_rgb(picture) if picture.shape[2] == 3 else encode_rgba(picture)


def decode_jxl(data: bytes) -> np.ndarray:
    """(H, W), (H, W, 3) or (H, W, 4) uint8, or (H, W) uint16.

    Raises:
        ValueError: it is damaged, or none of these. UserError: imagecodecs is not installed.
    """
    height, width = jxl_size(data)
    if height * width > MAX_PIXELS:
        raise ValueError("not a picture of a usable size")
    codecs = need_jxl("JPEG XL")
    try:
        picture = codecs.jpegxl_decode(data, numthreads=1)
    except (RuntimeError, ValueError) as error:  # JpegxlError is the one, wrong calls the other
        raise ValueError("damaged") from error
    is_grey = picture.ndim == 2 and picture.dtype in (np.uint8, np.uint16)
    is_colour = picture.shape[2:] in [(n,) for n in _CHANNELS] and picture.dtype == np.uint8
    if picture.shape[:2] != (height, width) or not (is_grey or is_colour):
        raise ValueError("no picture of a kind that records hold")
    return picture


def jxl_size(data: bytes) -> tuple[int, int]:
    """Height and width, from the first bytes alone. Raises ValueError for any other file."""
    start = _codestream(data) + len(CODESTREAM)
    rest, at = int.from_bytes(data[start : start + 12], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return rest >> (at - count) & ((1 << count) - 1)

    def side() -> int:
        return 8 * (1 + take(5)) if is_small else 1 + take(_SIDE_BITS[take(2)])

    is_small = take(1)
    height, ratio = side(), take(3)
    if ratio == 0:
        return height, side()
    over, under = _RATIOS[ratio - 1]
    return height, height * over // under


def _codestream(data: bytes) -> int:
    """Where it begins. Raises ValueError if there is none."""
    at = 0
    while data.startswith(CONTAINER) and at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"jxlc":
            at += 8
            break
        if size < 8:  # the last one, or a large one
            break
        at += size
    if not data.startswith(CODESTREAM, at):
        raise ValueError("not a JPEG XL picture")
    return at


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)
