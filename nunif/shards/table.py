"""Records in shards, and records of a folder with an index, as a table to choose from."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from zlib_ng import zlib_ng

from nunif.errors import OutputError, UserError
from nunif.files import locked, make_folder
from nunif.jxl import need_jxl
from nunif.places import address_of, text_of
from nunif.record_list import EXCLUDE_NAME, INDEX_NAME, Listing, UnseenFiles, exclude_names
from nunif.records import BadRecord, Layout, Record
from nunif.shards.index import FOLDERS, SHARDS, ArrowRows, make_copy
from nunif.shards.options import CacheSettings
from nunif.shards.recode import as_png, is_recoded
from nunif.shards.store import LocalStore, Store, open_store
from nunif.shards.tar import BLOCK, content_size, member_name

logger = logging.getLogger(__name__)

APP = "streaming-inpaint"
WORTH_A_PART = 2 / 3  # of a record: what is wanted is read alone where it is less


@dataclass(frozen=True)
class _Packed:
    """The files of a record in a shard; see `nunif.records.Files`."""

    table: "ShardTable"
    row: int

    def read(self, name: str, numbers: Sequence[str]) -> bytes:
        return self.table.read(self.row, name, numbers)


class ShardTable:
    """The rows of an index. store: where its shards are; None of an index of folders."""

    def __init__(
        self, folder: Path, rows: ArrowRows, store: Store | None, cache: CacheSettings
    ) -> None:
        self.folder, self._rows, self._store, self._cache = folder, rows, store, cache
        about = rows.about()
        self.shards: list[str] = about["shards"]
        # as they are called in the shards, and as they are asked for
        self._members: list[list[str]] = [names.split("/") for names in about["files"]]
        self.files = self._members
        if store is not None:
            self.files = [[as_png(name) for name in names] for names in self._members]
        self.layouts = _narrow(rows.column("files"))
        sides = [rows.column(name) for name in ("height", "width")]
        self.sizes = _narrow(np.stack(sides, axis=1))
        self._last: tuple[int, int, bytes] = (-1, 0, b"")
        self._looked = np.zeros(len(self.sizes) if store is None else 0, bool)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": (-1, 0, b"")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._rows.path.exists():  # on another machine, which makes a copy of its own
            of = FOLDERS if self._store is None else SHARDS
            store = self._store or LocalStore(self.folder)
            self._rows = _rows_of(self.folder, store, of, self._cache)
            if self._rows.about()["files"] != ["/".join(names) for names in self._members] or (
                len(self._rows.column("key")) != len(self.sizes)
            ):
                raise UserError(
                    f"{text_of(self.folder)}/{INDEX_NAME} is another one here than on the first "
                    "process's machine: copy it there"
                )

    def need_codecs(self) -> None:
        """Raises UserError if a package is missing that pictures of some records take."""
        if any(map(is_recoded, self._members)):
            need_jxl(f"reading the JPEG XL pictures of {text_of(self.folder)}")

    def name(self, row: int) -> str:
        return self._rows.value("record", row)

    def keys(self, rows: np.ndarray) -> np.ndarray:
        return self._rows.column("key")[rows]

    def record(self, row: int, layout: Layout) -> Record:
        height, width = self.sizes[row].tolist()
        path = self.folder / self.name(row)
        if self._store is not None:
            return layout.record(path, (height, width), _Packed(self, row))
        files = UnseenFiles(path, tuple(layout.pictures()), self._looked, row)
        return layout.record(path, (height, width), files)

    def shards_of_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """(M,) each: the shard of every row, as a place in `shards`, and the byte where it ends."""
        ends = self._rows.column("offset") + self._rows.column("length")
        return self._rows.column("shard"), ends

    def read(self, row: int, name: str, numbers: Sequence[str]) -> bytes:
        """A file of a record. numbers: frames that are read next, all in one go.

        Raises:
            OSError: the shard can't be read. ValueError: it is damaged, or another one.
        """
        files, starts = self._files_of(row), self._rows.value("starts", row)
        place = files.places.get(name)
        if place is None:
            raise ValueError("it is not in the shard")
        begin = int(starts[place])
        stop = self._begin_of(row, place + 1, starts)
        first, data = self._last[1:]
        if self._last[0] != row or first > begin - BLOCK or stop > first + len(data):
            first, data = self._fetch(row, files, starts, [place, *files.of_frames(numbers)])
            self._last = row, first, data
        try:
            head = data[begin - BLOCK - first : begin - first]
            size = content_size(head, member_name(self.name(row), files.members[place]))
            if begin + size > stop:
                raise ValueError("the index is not of this shard")
        except ValueError as error:
            raise ValueError(f"{self._shard(row)}: {error}") from error
        return data[begin - first : begin - first + size]

    def _fetch(
        self, row: int, files: "_Files", starts: np.ndarray, places: Sequence[int]
    ) -> tuple[int, bytes]:
        """The bytes of a record that hold some of its files, and where in it they begin: all of
        them, unless much is saved."""
        offset, length = (self._rows.value(name, row) for name in ("offset", "length"))
        first = int(starts[min(places)]) - BLOCK
        stop = self._begin_of(row, max(places) + 1, starts)
        # what is in PNG files has checksums, JPEG XL none but the record's
        is_part = stop - first < WORTH_A_PART * length and not is_recoded(files.members)
        if not is_part:
            first, stop = 0, length
        shard = self._shard(row)
        assert self._store is not None
        data = self._store.read(shard, offset + first, offset + stop)
        if not is_part and zlib_ng.crc32(data) != self._rows.value("crc32", row):
            raise ValueError(f"{shard} is damaged between bytes {offset} and {offset + length}")
        return first, data

    def _begin_of(self, row: int, place: int, starts: np.ndarray) -> int:
        """Where what belongs to a file begins; behind the last, where the record ends."""
        if place < len(starts):
            return int(starts[place]) - BLOCK
        return self._rows.value("length", row)

    def _shard(self, row: int) -> str:
        return self.shards[self._rows.value("shard", row)]

    def _files_of(self, row: int) -> "_Files":
        return self._known_files[self.layouts[row]]

    @cached_property
    def _known_files(self) -> "list[_Files]":
        return [
            _Files({name: i for i, name in enumerate(names)}, members)
            for names, members in zip(self.files, self._members)
        ]


@dataclass(frozen=True)
class _Files:
    """places: of a record's files, by the names by which they are asked for. members: their names
    in the shard."""

    places: dict[str, int]
    members: list[str]

    def of_frames(self, numbers: Sequence[str]) -> list[int]:
        """The places of all pictures of some frames."""
        wanted = set(numbers)
        return [at for name, at in self.places.items() if name.partition("_")[0] in wanted]


def _narrow(numbers: np.ndarray) -> np.ndarray:
    """The same in 16 bits each where they fit: a million rows go to every process."""
    return numbers.astype(np.uint16) if numbers.max(initial=0) < 1 << 16 else numbers


def list_shards(folder: Path, cache: CacheSettings) -> tuple[Listing, list[str]]:
    """The records in shards, and the names that are to be left out.

    Raises:
        UserError: there is no index, or it can't be right, or the shards can't be reached.
    """
    store = open_store(folder, cache)
    rows = _rows_of(folder, store, SHARDS, cache)
    table = ShardTable(folder, rows, store, cache)
    table.need_codecs()
    sizes = store.sizes()
    lost, bad = _lost(table, sizes)
    problems = {int(row): text for row, text in rows.about()["problems"].items()}
    excluded = list[str]()
    if sizes is None or EXCLUDE_NAME in sizes:
        excluded = exclude_names(_read_text(store, EXCLUDE_NAME))
    return Listing(table, table.files, problems, lost, bad), excluded


def _lost(table: ShardTable, sizes: dict[str, int] | None) -> tuple[np.ndarray, list[BadRecord]]:
    """The rows whose shards are missing or too short, and a line for each such shard."""
    shards, ends = table.shards_of_rows()
    lost, bad = np.zeros(len(ends), bool), []
    for number, shard in enumerate(table.shards if sizes is not None else ()):
        assert sizes is not None
        size = sizes.get(shard, 0)
        rows = np.flatnonzero((shards == number) & (ends > (size if size >= 0 else 1 << 62)))
        if not len(rows):
            continue
        lost[rows] = True
        reason = f"it ends at byte {size}, before {len(rows)} of its records do"
        if shard not in sizes:
            reason = f"this shard is missing, and with it {len(rows)} records"
        bad.append(BadRecord(table.folder / shard, reason, len(rows)))
    return lost, bad


def list_indexed(folder: Path, names: str, cache: CacheSettings) -> Listing | None:
    """The records of a folder by its index; None where that is not the folder's any more. names:
    the digest of those that it should hold."""
    path = folder / INDEX_NAME
    try:
        rows = _rows_of(folder, LocalStore(folder), FOLDERS, cache)
    except OutputError:
        raise
    except UserError as error:
        logger.warning("%s is not used: %s", path, error)
        return None
    if rows.about()["names"] != names:
        logger.info(
            "%s is not used, its list of records is another: run create_training_data.py index %s",
            path,
            folder,
        )
        return None
    logger.info("records by %s", path)
    table = ShardTable(folder, rows, None, cache)
    problems = {int(row): text for row, text in rows.about()["problems"].items()}
    return Listing(table, table.files, problems)


def _rows_of(folder: Path, store: Store, of: str, cache: CacheSettings) -> ArrowRows:
    """The mapped copy of an index, made where there is none yet."""
    place, named = text_of(folder), f"{text_of(folder)}/{INDEX_NAME}"
    stamp = store.stamp(INDEX_NAME)
    if stamp is None:
        missing = f"{place} holds no {INDEX_NAME}"
        if address_of(folder) is not None:
            raise UserError(f"{missing}: give a folder of shards, which create_training_data.py "
                            "pack makes, with train/ and eval/")  # fmt: skip
        raise UserError(f"{missing}: run create_training_data.py index {place}")
    where = place if address_of(folder) else os.path.realpath(folder)
    words = [hashlib.sha256(os.fsencode(word)).hexdigest()[:16] for word in (where, stamp)]
    copies = _copies_folder(cache)
    copy = copies / f"{words[0]}-{words[1]}.arrow"
    if not copy.exists():
        busy = f"another process is reading {named}"
        with locked(copies / f".lock-{words[0]}", busy=busy):
            if not copy.exists():
                _make_copy(store, copy, named)
            for old in copies.glob(f"{words[0]}-*.arrow"):
                if old != copy:
                    old.unlink(missing_ok=True)
    rows = ArrowRows(copy)
    if rows.about()["of"] != of:
        raise UserError(f"{named} is an index of {rows.about()['of']}, not of {of}: write it anew: "
                        "create_training_data.py index")  # fmt: skip
    return rows


def _make_copy(store: Store, copy: Path, named: str) -> None:
    if isinstance(store, LocalStore):
        make_copy(store.folder / INDEX_NAME, copy, named)
        return
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".partial-") as folder:
        path = Path(folder) / INDEX_NAME
        store.copy(INDEX_NAME, path)
        make_copy(path, copy, named)


def _copies_folder(cache: CacheSettings) -> Path:
    """Where copies of indices are: where copies are wanted, else in the user's cache folder, else
    among temporary files."""
    if cache.folder is not None:
        return make_folder(cache.folder)
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    try:
        return make_folder((Path(base) if base else Path.home() / ".cache") / APP)
    except (UserError, RuntimeError):  # there is no home
        user = os.getuid() if hasattr(os, "getuid") else ""
        return make_folder(Path(tempfile.gettempdir()) / f"{APP}-{user}")


def _read_text(store: Store, name: str) -> str:
    if store.stamp(name) is None:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        store.copy(name, path)
        return path.read_text(encoding="utf-8", errors="surrogateescape")
