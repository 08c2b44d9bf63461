"""The tar files of records: USTAR, uncompressed, in WebDataset's layout.

A record's files are members one behind another, `RECORD.0000_C.png, RECORD.0000_M.png, ...,
RECORD.record.json`: what stands before the first dot says which belong together. Nothing in them
tells of the machine or the time that they were written.
"""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zlib_ng import zlib_ng

from nunif.errors import UserError, first_line
from nunif.files import raise_if_short

BLOCK = 512
RECORD_BLOCKS = 20 * BLOCK  # a tar file is so long, or a multiple of it
_USTAR = b"ustar"


def quoted(record: str) -> str:
    """A record's name without dots: those are %2E, and % is %25."""
    return record.replace("%", "%25").replace(".", "%2E")


def unquoted(stem: str) -> str:
    """The record's name of what `quoted` made of it."""
    return stem.replace("%2E", ".").replace("%25", "%")


def member_name(record: str, file: str) -> str:
    return f"{quoted(record)}.{file}"


def padded(size: int, block: int = BLOCK) -> int:
    return -(-size // block) * block


def header(name: str, size: int) -> bytes:
    """What stands before a member's content: a block, and two more where the name is too long for
    it."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except UnicodeEncodeError:
        raise
    except ValueError:  # more than 100 bytes
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def content_size(block: bytes, name: str) -> int:
    """How long a member's content is, by the block before it.

    Raises:
        ValueError: the block is no header of a member of that name.
    """
    stored = name.encode()
    is_name = block[:100].rstrip(b"\0") == stored[:100] or len(stored) > 100
    if len(block) < BLOCK or not block[257:].startswith(_USTAR) or not is_name:
        raise ValueError("the index is not of this shard")
    try:
        return int(block[124:136].rstrip(b"\0 "), 8)
    except ValueError:
        raise ValueError("the index is not of this shard") from None


@dataclass(frozen=True)
class PackedRecord:
    """Where a record lies in a shard. starts: of its files' contents, from `offset`. crc: of the
    bytes from `offset` on, `length` of them."""

    name: str
    offset: int
    length: int
    files: tuple[str, ...]
    starts: tuple[int, ...]
    crc: int


class ShardWriter:
    """Writes records into one shard, an open file; `close` ends it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file, 0

    def add(self, name: str, files: dict[str, bytes]) -> PackedRecord:
        """Write a record's files in their order."""
        parts, starts, length = list[bytes](), list[int](), 0
        for file, content in files.items():
            head = header(member_name(name, file), len(content))
            starts.append(length + len(head))
            parts += [head, content, bytes(padded(len(content)) - len(content))]
            length = starts[-1] + padded(len(content))
        crc = 0
        for part in parts:
            self._file.write(part)
            crc = zlib_ng.crc32(part, crc)
        packed = PackedRecord(name, self.size, length, tuple(files), tuple(starts), crc)
        self.size += length
        return packed

    def close(self) -> None:
        self._file.write(bytes(shard_size(self.size) - self.size))


def packed_size(name: str, sizes: dict[str, int]) -> int:
    """Bytes of a shard that a record takes whose files are so large."""
    heads = sum(len(header(member_name(name, file), size)) for file, size in sizes.items())
    return heads + sum(padded(size) for size in sizes.values())


def shard_size(num_bytes: int) -> int:
    """The size of a shard whose records take so many bytes."""
    return padded(num_bytes + 2 * BLOCK, RECORD_BLOCKS)


def read_shard(path: Path) -> Iterator[tuple[PackedRecord, dict[str, bytes]]]:
    """The records of a shard with the contents of their files, in its order. Nothing is extracted.

    Raises:
        UserError: it is no tar, damaged or torn, or has members that none of ours has: links,
            devices, folders, two of one name, names with slashes.
    """
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            yield from _records_of(tar, path)
    except tarfile.TarError as error:
        raise UserError(
            f"{path} is no tar or damaged ({first_line(error)}): pack its records again, or take "
            "it away and run create_training_data.py index"
        ) from error
    except OSError as error:
        raise_if_short(error, path)
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error


def _records_of(
    tar: tarfile.TarFile, path: Path
) -> Iterator[tuple[PackedRecord, dict[str, bytes]]]:
    done, name, start = set[str](), "", 0
    files, starts = dict[str, bytes](), list[int]()
    for member in tar:
        record, file = _split(member, path)
        if record != name:
            if name:
                yield _packed(path, name, start, files, starts), files
            if record in done:
                raise UserError(f"{path}: the files of {record} are in two places: pack it again")
            done.add(record)
            name, start, files, starts = record, member.offset, {}, []
        if file in files:
            raise UserError(f"{path}: two members are called {member.name}: pack it again")
        content = tar.extractfile(member)
        assert content is not None  # a regular file
        files[file] = content.read()
        if len(files[file]) != member.size:
            raise tarfile.ReadError("it ends in the middle of a member")
        starts.append(member.offset_data - start)
    if name:
        yield _packed(path, name, start, files, starts), files


def _packed(
    path: Path, name: str, start: int, files: dict[str, bytes], starts: list[int]
) -> PackedRecord:
    last = list(files.values())[-1]
    length = starts[-1] + padded(len(last))
    with open(path, "rb") as shard:
        shard.seek(start)
        content = shard.read(length)
    if len(content) != length:
        raise tarfile.ReadError("it ends in the middle of a member")
    return PackedRecord(name, start, length, tuple(files), tuple(starts), zlib.crc32(content))


def _split(member: tarfile.TarInfo, path: Path) -> tuple[str, str]:
    """The record and the file of a member. Raises UserError if it can be none of ours."""
    record, dot, file = member.name.partition(".")
    what = ""
    if not member.isreg():
        what = "is no file"
    elif is_unsafe(unquoted(record)) or not dot or is_unsafe_file(file):
        what = "has no name of a record's file"
    if what:
        raise UserError(f"{path}: its member {member.name!r} {what}: shards hold files RECORD.FILE")
    return unquoted(record), file


def is_unsafe(record: str) -> bool:
    """Whether a record of that name would lie elsewhere than in the folder that it is made in, or
    be hidden."""
    return is_unsafe_file(record) or record.startswith(".")


def is_unsafe_file(name: str) -> bool:
    """Whether a file of that name would lie elsewhere than in its folder."""
    return name in ("", ".", "..") or not {"/", "\\", "\0"}.isdisjoint(name)
