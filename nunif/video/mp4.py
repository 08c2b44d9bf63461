"""Put boxes into the description of the pictures of a finished MP4 or QuickTime file.

ISO/IEC 14496-12 (the ISO base media file format): a file is a row of boxes, each its size, its kind
and its content, which may be boxes again. All numbers are big-endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# What a VisualSampleEntry has before its boxes: 8 bytes of a SampleEntry and 70 of its own (12.1.3)
_ENTRY_FIELDS = 78
_STSD_FIELDS = 8  # of a sample description: version, flags and the number of entries
# The boxes of a VisualSampleEntry that say how its pictures are coded: they come first
_CODING = frozenset({b"avcC", b"hvcC", b"vpcC", b"av1C", b"esds", b"glbl", b"d263", b"dvcC"})
_HANDLER = slice(8, 12)  # of a handler box: what a track holds


@dataclass(frozen=True)
class _Box:
    kind: bytes
    content: bytes

    def __bytes__(self) -> bytes:
        return box(self.kind, self.content)


def box(kind: bytes, *contents: bytes) -> bytes:
    """A box of some content."""
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind: bytes, *contents: bytes) -> bytes:
    """A box with a version and flags, all 0."""
    return box(kind, bytes(4), *contents)


def add_to_pictures(path: Path, added: bytes) -> None:
    """Put boxes into the description of the first track of pictures, behind how they are coded.

    Only the movie box is written anew. Where other boxes come after it the old one becomes free
    space and the new one goes to the end, so that nothing that is pointed to moves.

    Args:
        path: a whole file. Who needs it whole or not at all works on a copy.
        added: the boxes.
    Raises:
        ValueError: it is no such file, or has no track of pictures.
    """
    with open(path, "r+b") as file:
        end = file.seek(0, 2)
        places = dict(_top_boxes(file, end))
        if b"moov" not in places:
            raise ValueError("no movie box")
        start, length = places[b"moov"]
        file.seek(start)
        (movie,) = _boxes(file.read(length))
        new = bytes(_Box(movie.kind, _edit_movie(movie.content, added)))
        if start + length < end:
            file.seek(start + 4)
            file.write(b"free")
            start = end
        file.seek(start)
        file.write(new)


def _top_boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """The kind of each box of a file, where it begins and how long it is."""
    start = 0
    while start + 8 <= end:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        elif length == 0:
            length = end - start
        if length < 8 or start + length > end:
            raise ValueError(f"the box at {start} is torn")
        yield kind, (start, length)
        start += length


def _boxes(data: bytes) -> list[_Box]:
    """The boxes in some content. QuickTime may end it with four zeros, which are none."""
    found, start = [], 0
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        if length < 8 or start + length > len(data):
            raise ValueError(f"a box {kind!r} is torn")
        found.append(_Box(kind, data[start + 8 : start + length]))
        start += length
    return found


def _edit_movie(content: bytes, added: bytes) -> bytes:
    inside = _boxes(content)
    kinds = [found.kind == b"trak" and _holds_pictures(found) for found in inside]
    if True not in kinds:
        raise ValueError("no track of pictures")
    place = kinds.index(True)
    path = (b"mdia", b"minf", b"stbl", b"stsd")
    inside[place] = _Box(b"trak", _edit(inside[place].content, path, added))
    return b"".join(map(bytes, inside))


def _holds_pictures(track: _Box) -> bool:
    media = next((found for found in _boxes(track.content) if found.kind == b"mdia"), None)
    handlers = [] if media is None else [b for b in _boxes(media.content) if b.kind == b"hdlr"]
    return any(handler.content[_HANDLER] == b"vide" for handler in handlers)


def _edit(content: bytes, path: tuple[bytes, ...], added: bytes) -> bytes:
    """Boxes with those down a path of kinds changed."""
    if not path:
        return _edit_description(content, added)
    return b"".join(
        bytes(_Box(found.kind, _edit(found.content, path[1:], added)))
        if found.kind == path[0]
        else bytes(found)
        for found in _boxes(content)
    )


def _edit_description(content: bytes, added: bytes) -> bytes:
    """A sample description with boxes put into its first entry."""
    fields, (entry, *others) = content[:_STSD_FIELDS], _boxes(content[_STSD_FIELDS:])
    boxes = entry.content[_ENTRY_FIELDS:]
    inside = _boxes(boxes)
    if any(found.kind == added[4:8] for found in inside):
        return content  # it was interrupted, and says so already
    coding = [i for i, found in enumerate(inside) if found.kind in _CODING]
    before = inside[: coding[-1] + 1] if coding else []
    place = _ENTRY_FIELDS + sum(len(bytes(found)) for found in before)
    entry = _Box(entry.kind, entry.content[:place] + added + entry.content[place:])
    return b"".join([fields, *map(bytes, [entry, *others])])
