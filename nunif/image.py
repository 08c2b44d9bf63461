"""Pictures as numpy arrays, to and from PNG files.

Axes: H W pixels, 3 = red green blue. Paths may hold any characters: files are read and written by
    Python, and only
coded by OpenCV.
"""

import io
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from zlib_ng import zlib_ng

from nunif.files import write_whole

_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_BINARY = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_BILEVEL, 1]

PICTURE_SUFFIXES = frozenset(".bmp .jpeg .jpg .png .tif .tiff .webp".split())
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# the filter type: a row is stored as its difference to the row above (PNG specification, 9.2)
_UP = 2
# of a JPEG: markers, but for those without a segment, and 0xFF as a number among coded pixels
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_END_OF_JPEG = b"\xff\xd9"
# zlib-ng's fastest with a search for repetitions. (ISA-L, faster still, now and then gave other
# bytes for the same picture: records have to be the same to the byte.)
_LEVEL = 2
MAX_PIXELS = 1 << 28  # a header that asks for more is left to OpenCV, which refuses
# of the header: bits, colour type, compression, filter method, interlace
_RGB8, _BILEVEL = (8, 2, 0, 0, 0), (1, 0, 0, 0, 0)
# channels of the layouts that JPEG XL holds as well
_PLAIN = {_RGB8: 3, (8, 6, 0, 0, 0): 4, (8, 0, 0, 0, 0): 1, (16, 0, 0, 0, 0): 1}
_BLOCK = 16  # rows


def encode_rgb(picture: np.ndarray) -> bytes:
    """A PNG of an (H, W, 3) uint8 or uint16 picture, lossless.

    The fixed filter "up" is as small as a filter chosen for every row, and faster to write and
    read; 8 bits are compressed by zlib-ng, smaller than by zlib's level 1 in half its time.
    """
    if picture.dtype != np.uint8:
        return _encode(picture[..., ::-1], _FAST)
    height, width = picture.shape[:2]
    if picture.strides[1] < 0:  # a mirrored view, which numpy would copy pixel by pixel
        picture = cv2.flip(picture[:, ::-1], 1)
    pixels = np.ascontiguousarray(picture).reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    header = _chunk(b"IHDR", struct.pack(">II5B", width, height, *_RGB8))
    return PNG_SIGNATURE + header + _chunk(b"IDAT", zlib_ng.compress(rows, _LEVEL)) + PNG_END


def encode_rgba(picture: np.ndarray) -> bytes:
    """A PNG of an (H, W, 4) uint8 or uint16 picture with alpha (0 = transparent, not
    premultiplied), lossless."""
    return _encode(picture[..., [2, 1, 0, 3]], _FAST)


def with_notes(png: bytes, *, profile: bytes | None = None, exif: bytes | None = None) -> bytes:
    """A PNG of `encode_rgb` or `encode_rgba` with a colour profile (ICC) and EXIF's block."""
    chunks = b""
    if profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if exif:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    start = len(PNG_SIGNATURE) + 25  # behind the header's chunk
    return png[:start] + chunks + png[start:]


def encode_grey(picture: np.ndarray) -> bytes:
    """A PNG of an (H, W) uint8 or uint16 picture, lossless."""
    return _encode(picture, _FAST)


def encode_numbers(numbers: np.ndarray) -> bytes:
    """A PNG of an (H, W) uint8 picture whose numbers are kept by a palette: the one of PASCAL VOC
    and DAVIS, in which a number's bits, three by three, are the highest ones left of red, green and
    blue."""
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (np.arange(256) >> bit & 1).astype(np.uint8) << (7 - bit // 3)
    image = Image.fromarray(numbers, "L")
    image.putpalette(palette.tobytes())
    data = io.BytesIO()
    image.save(data, "png", compress_level=1)
    return data.getvalue()


def encode_binary(mask: np.ndarray) -> bytes:
    """A one-bit PNG of an (H, W) bool mask; readers see 0 and 255."""
    return _encode(mask.astype(np.uint8) * 255, _BINARY)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 or uint16 picture, whole or not at all."""
    write_whole(path, encode_rgb(picture))


def read_rgb(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8.

    Raises:
        ValueError: the file is not a picture or is torn. OSError: it can't be read.
    """
    return decode(path.read_bytes(), cv2.IMREAD_COLOR_RGB)


def decode_rgb_part(data: bytes, rows: slice, columns: slice) -> tuple[np.ndarray, tuple[int, int]]:
    """A part of an image file's content, (h, w, 3) uint8, and the size (H, W) of the whole.

    Of PNGs as `encode_rgb` writes them no more is decompressed than the part needs; others are
    decoded whole and cut.
    Raises ValueError as `read_rgb` does.
    """
    packed = _packed_rows(data, _RGB8)
    if packed is not None:
        height, width, compressed = packed
        first, last, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        filters, lines = _filtered(compressed, last, 3 * width)
        if (filters == _UP).all():
            part = _summed(lines[:, 3 * left : 3 * right], min(first, last))
            return part.reshape(len(part), right - left, 3), (height, width)
    whole = decode(data, cv2.IMREAD_COLOR_RGB)
    return whole[rows, columns], (whole.shape[0], whole.shape[1])


def read_grey(path: Path) -> np.ndarray:
    """An image file as (H, W) uint8. Raises as `read_rgb` does."""
    return decode_grey(path.read_bytes())


def decode_grey(data: bytes) -> np.ndarray:
    """An image file's content as (H, W) uint8. Raises ValueError as `read_rgb` does."""
    return decode(data, cv2.IMREAD_GRAYSCALE)


def decode_binary(data: bytes) -> np.ndarray:
    """An image file's content as (H, W) bool: whether a pixel is anything but black. Quicker for
    what `encode_binary` writes. Raises ValueError as `read_rgb` does."""
    packed = _packed_rows(data, _BILEVEL)
    if packed is not None:
        height, width, compressed = packed
        filters, lines = _filtered(compressed, height, (width + 7) // 8)
        if not filters.any():
            return np.unpackbits(lines, axis=1, count=width).view(bool)
    return decode_grey(data) > 0


def decode_grey16(data: bytes) -> np.ndarray:
    """The content of an image file with one channel of 16 bits as (H, W) uint16, exactly as it is
    stored.

    Raises:
        ValueError: as `read_rgb` does, and for other pictures.
    """
    picture = decode(data, cv2.IMREAD_UNCHANGED)
    if picture.ndim != 2 or picture.dtype != np.uint16:
        channels = 1 if picture.ndim == 2 else picture.shape[2]
        raise ValueError(
            f"it has {channels} channels of {8 * picture.dtype.itemsize} bits, one of 16 is needed"
        )
    return picture


def decode_rgba(data: bytes) -> np.ndarray:
    """The content of an image file with three colours and alpha of 8 bits as (H, W, 4) uint8, not
    premultiplied.

    Raises:
        ValueError: as `read_rgb` does, and for other pictures.
    """
    picture = decode(data, cv2.IMREAD_UNCHANGED)
    if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.uint8:
        channels = 1 if picture.ndim == 2 else picture.shape[2]
        raise ValueError(
            f"it has {channels} channels of {8 * picture.dtype.itemsize} bits, four of 8 are needed"
        )
    return picture[..., [2, 1, 0, 3]]


def plain_pixels(data: bytes) -> np.ndarray | None:
    """The pixels of a PNG that holds nothing else: (H, W) uint8 or uint16, (H, W, 3) or (H, W, 4)
    uint8. None of any other file, and of one that is damaged in any place."""
    chunks = _chunks_of(data)
    kinds = [kind for kind, _ in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or {*kinds[1:-1]} != {b"IDAT"}:
        return None
    width, height, *layout = struct.unpack(">II5B", chunks[0][1])
    channels = _PLAIN.get(tuple(layout))
    if channels is None or not 0 < width * height <= MAX_PIXELS:
        return None
    compressed = b"".join(content for _, content in chunks[1:-1])
    length = width * channels * layout[0] // 8
    unpacker = zlib_ng.decompressobj()
    try:
        # one more than there may be, so that the end of all is seen
        lines = np.frombuffer(unpacker.decompress(compressed, height * (1 + length) + 1), np.uint8)
    except zlib_ng.error:  # type: ignore[misc]  # the stub has it as a value
        return None
    if len(lines) != height * (1 + length) or not unpacker.eof or lines[:: 1 + length].max() > 4:
        return None
    picture = decode(data, cv2.IMREAD_UNCHANGED)
    return picture if channels == 1 else picture[..., [2, 1, 0, 3][:channels]]


def _chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of the chunks of a PNG; none if it is damaged, or another file."""
    found, at = list[tuple[bytes, bytes]](), len(PNG_SIGNATURE)
    while data.startswith(PNG_SIGNATURE) and at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        checksum = data[end : end + 4]
        if checksum != struct.pack(">I", zlib_ng.crc32(memoryview(data)[at + 4 : end])):
            return []
        found.append((kind, data[at + 8 : end]))
        at = end + 4
    return found if at == len(data) else []


def decode(data: bytes, flags: int) -> np.ndarray:
    """The pixels of an image file's content, as OpenCV's `flags` ask for. Raises ValueError as
    `read_rgb` does."""
    # OpenCV fills the missing rows of a torn PNG and says nothing, so its end is looked at first
    if data.startswith(PNG_SIGNATURE) and not data.endswith(PNG_END):
        raise ValueError("truncated")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # a header that claims more pixels than OpenCV takes
        raise ValueError("not a picture of a usable size") from error
    if picture is None:
        raise ValueError("not a readable picture")
    return picture


def is_torn_jpeg(data: bytes) -> bool:
    """Whether a JPEG ends before its picture does, of which libav makes the rest grey; False of
    other files. What stands behind the picture, as phones put a film there, doesn't count."""
    if not data.startswith(b"\xff\xd8"):
        return False
    position = 2
    while (found := _SEGMENT.search(data, position)) is not None:
        if found[0] == _END_OF_JPEG:
            return False
        # its own two bytes and what it holds; behind the header of a scan come coded pixels
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return True


def png_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG, from its first and last bytes alone.

    Raises:
        ValueError: not a PNG, or its end is missing. OSError: it can't be read.
    """
    with open(path, "rb") as file:
        head = file.read(24)
        file.seek(0, 2)
        file.seek(-min(12, file.tell()), 2)
        tail = file.read(12)
    if not head.startswith(PNG_SIGNATURE) or len(head) < 24:
        raise ValueError("not a PNG picture")
    if tail != PNG_END:
        raise ValueError("truncated")
    return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")


def _encode(picture: np.ndarray, parameters: list[int]) -> bytes:
    done, data = cv2.imencode(".png", picture, parameters)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} can't be written as PNG")
    return data.tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib_ng.crc32(body))


def _packed_rows(data: bytes, layout: tuple[int, ...]) -> tuple[int, int, memoryview] | None:
    """Height, width and compressed rows of a PNG that is laid out as ours are, all of its rows in
    one chunk behind the header; None for any other file. layout: what the header says behind width
    and height.

    Raises:
        ValueError: it is one, and its checksum is wrong.
    """
    start = len(PNG_SIGNATURE) + 25  # behind the header's chunk
    if (
        not data.startswith(PNG_SIGNATURE)
        or not data.endswith(PNG_END)
        or len(data) < start + 12 + len(PNG_END)
    ):
        return None
    width, height, *found = struct.unpack_from(">II5B", data, len(PNG_SIGNATURE) + 8)
    length, kind = struct.unpack_from(">I4s", data, start)
    end = start + 8 + length
    if not 0 < width * height <= MAX_PIXELS:
        return None
    if tuple(found) != layout or kind != b"IDAT" or end + 4 + len(PNG_END) != len(data):
        return None
    content = memoryview(data)[start + 8 : end]
    if struct.unpack_from(">I", data, end)[0] != zlib_ng.crc32(memoryview(data)[start + 4 : end]):
        raise ValueError("damaged")
    return height, width, content


def _filtered(compressed: memoryview, height: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of a PNG as they are stored: their filters (height,) and bytes (height,
    length). Raises ValueError if there are fewer."""
    stride = 1 + length
    try:
        unpacked = zlib_ng.decompressobj().decompress(compressed, height * stride)
    except zlib_ng.error as error:  # type: ignore[misc]  # the stub has it as a value
        raise ValueError("damaged") from error
    lines = np.frombuffer(unpacked, np.uint8)
    if len(lines) != height * stride:
        raise ValueError("damaged")
    lines = lines.reshape(height, stride)
    return lines[:, 0], lines[:, 1:]


def _summed(lines: np.ndarray, first: int) -> np.ndarray:
    """The rows from `first` on, a copy, of (R, L) uint8 in which each is stored as its difference
    to the one above."""
    rows = lines[first:].copy()
    if not len(rows):
        return rows
    rows[0] = lines[: first + 1].sum(axis=0, dtype=np.uint8)
    # in all blocks of rows at once, then block by block: a call of numpy's costs more than a row
    for place in range(1, _BLOCK):
        later = rows[place::_BLOCK]
        np.add(later, rows[place - 1 :: _BLOCK][: len(later)], out=later)
    for start in range(_BLOCK, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        np.add(block, rows[start - 1], out=block)
    return rows
