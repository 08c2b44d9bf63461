"""Pictures of named channels, to and from OpenEXR files of one part in scan lines.

What is written is ZIPS: each line compressed by itself, as compositing programs read it fastest.
The layout is that of "OpenEXR File Layout" and "Technical Introduction to OpenEXR" (openexr.com).

Axes: H W pixels.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from zlib_ng import zlib_ng

_MAGIC, _VERSION, _LONG_NAMES = 20000630, 2, 0x400
_LONGEST = 31  # bytes of a name, in files without long ones
_KINDS: dict[int, np.dtype[Any]] = {1: np.dtype("<f2"), 2: np.dtype("<f4")}  # HALF, FLOAT
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_LINES = {0: 1, 2: 1, 3: 16}  # of a chunk: not compressed, ZIPS, ZIP
_ZIPS = 2
_LEVEL = 4


def encode_exr(
    channels: Mapping[str, np.ndarray],
    *,
    aspect: float = 1.0,
    chromaticities: Sequence[tuple[float, float]] | None = None,
) -> bytes:
    """An OpenEXR file.

    Args:
        channels: (H, W) float16 or float32 by their names: "R", or "person.R" of a layer.
        aspect: width to height of a pixel.
        chromaticities: x and y of red, green, blue and white; None: BT.709's, as readers take it.
    """
    names = sorted(channels, key=str.encode)  # as readers expect them
    height, width = channels[names[0]].shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    listed = b"".join(
        _text(name) + struct.pack("<iB3xii", _NUMBERS[_kind(channels[name])], 0, 1, 1)
        for name in names
    )
    attributes = [
        ("channels", "chlist", listed + b"\0"),
        ("compression", "compression", bytes([_ZIPS])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", aspect)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]
    if chromaticities is not None:
        numbers = struct.pack("<8f", *(number for point in chromaticities for number in point))
        attributes.append(("chromaticities", "chromaticities", numbers))
    has_long = max(map(len, names)) > _LONGEST
    header = struct.pack("<2i", _MAGIC, _VERSION | has_long * _LONG_NAMES)
    for name, kind, value in attributes:
        header += _text(name) + _text(kind) + struct.pack("<i", len(value)) + value
    header += b"\0"
    rows = [np.ascontiguousarray(channels[name], _kind(channels[name])) for name in names]
    lines = np.concatenate([row.view(np.uint8) for row in rows], axis=1)  # (H, bytes)
    chunks = [_chunk(y, raw, mixed) for y, (raw, mixed) in enumerate(zip(lines, _mix(lines)))]
    starts = np.cumsum([len(header) + 8 * height, *map(len, chunks[:-1])], dtype="<u8")
    return b"".join([header, starts.tobytes(), *chunks])


def decode_exr(data: bytes) -> dict[str, np.ndarray]:
    """The channels of an OpenEXR file by their names, (H, W) float16 or float32 each.

    Raises:
        ValueError: it is no such file, damaged, or of another kind than what is described above;
            ZIP and none are read too.
    """
    try:
        return _decode(data)
    except (struct.error, IndexError, zlib.error, zlib_ng.error) as error:  # type: ignore[misc]
        raise ValueError("damaged or cut off") from error


def _decode(data: bytes) -> dict[str, np.ndarray]:
    magic, version = struct.unpack_from("<2i", data)
    if magic != _MAGIC:
        raise ValueError("not an OpenEXR picture")
    if version & ~_LONG_NAMES != _VERSION:
        raise ValueError("an OpenEXR file of tiles or several parts: save it as one of scan lines")
    attributes, position = _read_attributes(data, 8)
    compression = attributes["compression"][0]
    if compression not in _LINES:
        raise ValueError("an OpenEXR file that isn't compressed by ZIP: save it with ZIP")
    if attributes["dataWindow"] != attributes["displayWindow"]:
        raise ValueError("an OpenEXR file of a part of the picture: save the whole picture")
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    kinds = _read_channels(attributes["channels"])
    size = width * sum(kind.itemsize for kind in kinds.values())
    if min(width, height) < 1 or (height * size) >> 33:
        raise ValueError("damaged or cut off")
    lines = np.empty((height, size), np.uint8)
    number = -(-height // _LINES[compression])
    for start in struct.unpack_from(f"<{number}Q", data, position):
        y, length = struct.unpack_from("<2i", data, start)
        rows = lines[y - top : y - top + _LINES[compression]]
        content = data[start + 8 : start + 8 + length]
        is_packed = length < rows.size
        raw = np.frombuffer(zlib_ng.decompress(content) if is_packed else content, np.uint8)
        if len(raw) != rows.size or not len(rows):
            raise IndexError
        rows[:] = (_unmix(raw) if is_packed else raw).reshape(rows.shape)
    ends = np.cumsum([width * kind.itemsize for kind in kinds.values()])
    parts = zip(kinds.items(), np.split(lines, ends[:-1], axis=1))
    return {name: np.ascontiguousarray(part).view(kind) for (name, kind), part in parts}


def _read_attributes(data: bytes, position: int) -> tuple[dict[str, bytes], int]:
    """By name, and where they end."""
    found: dict[str, bytes] = {}
    while data[position]:
        name, position = _read_text(data, position)
        _, position = _read_text(data, position)
        (length,) = struct.unpack_from("<i", data, position)
        found[name] = data[position + 4 : position + 4 + length]
        position += 4 + length
    if not found.keys() >= {"channels", "compression", "dataWindow", "displayWindow"}:
        raise IndexError
    return found, position + 1


def _read_channels(listed: bytes) -> dict[str, np.dtype]:
    kinds: dict[str, np.dtype[Any]] = {}
    position = 0
    while listed[position]:
        name, position = _read_text(listed, position)
        number, _, *steps = struct.unpack_from("<iB3xii", listed, position)
        if number not in _KINDS or steps != [1, 1]:
            raise ValueError(f"an OpenEXR file whose channel {name} holds no float of each pixel")
        kinds[name] = _KINDS[number]
        position += 16
    if not kinds:
        raise IndexError
    return kinds


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _read_text(data: bytes, position: int) -> tuple[str, int]:
    end = data.find(b"\0", position)
    if end < 0:
        raise IndexError
    return data[position:end].decode("utf-8", "replace"), end + 1


def _kind(channel: np.ndarray) -> np.dtype:
    kind = channel.dtype.newbyteorder("<")
    assert kind in _NUMBERS and channel.ndim == 2
    return kind


def _mix(lines: np.ndarray) -> np.ndarray:
    """(H, bytes): of each line the even bytes, then the odd ones, as differences to the one before:
    they compress better."""
    mixed = np.concatenate([lines[:, 0::2], lines[:, 1::2]], axis=1)
    mixed[:, 1:] = mixed[:, 1:] - mixed[:, :-1] + np.uint8(128)
    return mixed


def _unmix(mixed: np.ndarray) -> np.ndarray:
    """The way back, of the (bytes,) of a chunk."""
    steps = mixed.copy()
    steps[1:] -= np.uint8(128)
    parts = np.cumsum(steps, dtype=np.uint8)
    raw = np.empty_like(parts)
    middle = -(-len(raw) // 2)
    raw[0::2] = parts[:middle]
    raw[1::2] = parts[middle:]
    return raw


def _chunk(y: int, raw: np.ndarray, mixed: np.ndarray) -> bytes:
    packed = zlib_ng.compress(mixed, _LEVEL)
    content = packed if len(packed) < len(raw) else raw.tobytes()
    return struct.pack("<2i", y, len(content)) + content
