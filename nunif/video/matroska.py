"""Look into a Matroska or WebM file: how many pictures it holds, without a demuxer that passes over
what is torn; and correct the size at which they are shown.

RFC 8794 (EBML) and RFC 9559 (Matroska). An element is its number, its size and its content.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

_HEADER, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_TRACKS, _TRACK, _TRACK_NUMBER, _TRACK_TYPE = 0x1654AE6B, 0xAE, 0xD7, 0x83
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_PARENTS = frozenset({_CLUSTER, _TRACKS, _TRACK, _BLOCK_GROUP})
_PICTURES = 1  # type of a track
_VIDEO, _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _CHECKSUM = 0xE0, 0x54B0, 0x54BA, 0xBF


def count_pictures(path: Path) -> int | None:
    """Coded pictures of the first picture track; None where the file isn't whole, or was never
    closed by its writer."""
    with open(path, "rb") as file:
        length = file.seek(0, 2)
        file.seek(0)
        try:
            number, size = _read_head(file)
            if number != _HEADER:
                return None
            file.seek(size, 1)
            number, size = _read_head(file)
            end = file.tell() + size
            if number != _SEGMENT or end > length:
                return None
            blocks: Counter[int] = Counter()
            tracks: list[list[int]] = []  # number and type, in the order in which they are found
            _look_through(file, end, blocks, tracks)
        except ValueError:
            return None
    return next((blocks[number] for number, kind in tracks if kind == _PICTURES), None)


def _look_through(file: BinaryIO, end: int, blocks: Counter[int], tracks: list[list[int]]) -> None:
    """Note the tracks, and the blocks of each, from here to `end`. Raises ValueError where an
    element reaches beyond."""
    while (position := file.tell()) < end:
        number, size = _read_head(file)
        following = file.tell() + size
        if following > end:
            raise ValueError(f"the element at {position} is torn")
        if number == _TRACK:
            tracks.append([0, 0])
        if number in _PARENTS:
            _look_through(file, following, blocks, tracks)
        elif number in (_SIMPLE_BLOCK, _BLOCK):
            blocks[_read_number(file, keep_mark=False)] += 1
        elif number in (_TRACK_NUMBER, _TRACK_TYPE) and tracks:
            tracks[-1][number == _TRACK_TYPE] = int.from_bytes(file.read(size), "big")
        file.seek(following)


def _read_head(file: BinaryIO) -> tuple[int, int]:
    """Number and size of the element that begins here."""
    return _read_number(file, keep_mark=True), _read_number(file, keep_mark=False)


def _read_number(file: BinaryIO, *, keep_mark: bool) -> int:
    """A number of 1 to 8 bytes: as many zeros as bytes follow, a one (the mark), the number. Raises
    ValueError."""
    first = file.read(1)
    if not first or not first[0]:
        raise ValueError("no number")
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    value = int.from_bytes(first + rest, "big")
    mark = 1 << 7 * (more + 1)
    if len(rest) < more or (not keep_mark and value == 2 * mark - 1):  # all ones: not known
        raise ValueError("no number")
    return value if keep_mark else value - mark


def set_display_size(path: Path, width: int, height: int) -> None:
    """Correct the size at which the first track's pictures are shown, where the file says one.

    Nothing moves: where a number is too large for its place, both become smaller, and their ratio,
    by which players go, stays.

    Args:
        path: a whole file. Who needs it whole or not at all works on a copy.
        width, height: of what is shown; of one eye's view, where there are two.
    Raises:
        ValueError: it is no such file.
    """
    with open(path, "r+b") as file:
        segment = next(_find(file, (0, file.seek(0, 2)), _SEGMENT), None)
        tracks = segment and next(_find(file, segment, _TRACKS), None)
        if not tracks:
            raise ValueError("no tracks")
        video = next(chain.from_iterable(_videos_of(file, tracks)), None)
        if video is None:
            raise ValueError("no track of pictures")
        places = [*_find(file, video, _DISPLAY_WIDTH), *_find(file, video, _DISPLAY_HEIGHT)]
        if len(places) != 2:
            return
        sides = [width, height]
        while any(side >> 8 * (stop - start) for side, (start, stop) in zip(sides, places)):
            sides = [side // 2 for side in sides]
        for side, (start, stop) in zip(sides, places):
            file.seek(start)
            file.write(side.to_bytes(stop - start, "big"))
        _renew_checksum(file, tracks)


Place = tuple[int, int]  # where the content of an element begins and ends


def _find(file: BinaryIO, parent: Place, wanted: int) -> Iterator[Place]:
    """The elements of a number in another one."""
    position, end = parent
    while position < end:
        file.seek(position)
        number, size = _read_head(file)
        start = file.tell()
        position = start + size
        if position > end:
            raise ValueError("an element is torn")
        if number == wanted:
            yield start, position


def _videos_of(file: BinaryIO, tracks: Place) -> Iterator[Iterator[Place]]:
    return (_find(file, track, _VIDEO) for track in _find(file, tracks, _TRACK))


def _renew_checksum(file: BinaryIO, parent: Place) -> None:
    """The CRC-32 that an element begins with, if it does, is that of all behind it (RFC 8794,
    11.3.1)."""
    for start, stop in _find(file, parent, _CHECKSUM):
        file.seek(stop)
        rest = file.read(parent[1] - stop)
        file.seek(start)
        file.write(zlib.crc32(rest).to_bytes(4, "little"))
