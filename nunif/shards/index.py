"""The index of records: one row for each, as Parquet, and a copy of it that is mapped into memory.

The copy (Arrow's file format) is made once on a machine and shared by all its processes. Texts that
many rows have in common, names of shards and of a record's files, are numbers there.

M: rows.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nunif.errors import UserError, first_line
from nunif.files import whole_path
from nunif.shards.packages import need
from nunif.shards.recode import as_png, is_recoded
from nunif.shards.tar import BLOCK, is_unsafe, is_unsafe_file

logger = logging.getLogger(__name__)

VERSION = 2  # those without pictures as JPEG XL are written as 1, which older programs know
ROWS = 100_000  # of a row group
SHARDS, FOLDERS = "shards", "folders"  # what an index is of
_ABOUT = b"nunif_records"  # the entry of the metadata that makes a file ours
_PURPOSE = "the index of records"
_NEW = "write it anew: create_training_data.py index"


@dataclass(frozen=True)
class Row:
    """A record in an index. shard, offset, length, starts, crc: see `PackedRecord`; empty and 0 of
    a folder. planes: the letters of its pictures. problem: why it can't be used, if it can't."""

    record: str
    shard: str
    offset: int
    length: int
    files: tuple[str, ...]
    starts: tuple[int, ...]
    frames: int
    height: int
    width: int
    planes: str
    key: int
    crc32: int
    problem: str = ""


def schema(about: dict[str, Any]) -> Any:
    """The columns of index.parquet. about: its metadata."""
    pa = need("pyarrow", _PURPOSE)
    text, many = pa.string(), pa.list_(pa.uint32())
    columns = [("record", text), ("shard", text), ("offset", pa.int64()), ("length", pa.int64())]
    columns += [("files", text), ("starts", many), ("frames", pa.int32()), ("height", pa.int32())]
    columns += [("width", pa.int32()), ("planes", text), ("key", pa.int64())]
    columns += [("crc32", pa.uint32()), ("problem", text)]
    return pa.schema(columns, {_ABOUT: json.dumps({"version": 1, **about}).encode()})


def table_of(rows: Sequence[Row]) -> Any:
    """A pyarrow.Table of rows, without metadata of its own."""
    pa = need("pyarrow", _PURPOSE)
    columns = {name: [getattr(row, name) for row in rows] for name in schema({}).names}
    columns["files"] = ["/".join(files) for files in columns["files"]]
    return pa.table(columns, schema({}))


def write_index(path: Path, table: Any, **about: Any) -> None:
    """Write rows as index.parquet, in the order of their names, whole or not at all.

    about: `of`, what it is an index of; `names`, by which it is known whether it still is.
    """
    pa, pq = need("pyarrow", _PURPOSE), need("pyarrow.parquet", _PURPOSE)
    kinds = (names.split("/") for names in table.column("files").unique().to_pylist())
    if about["of"] == SHARDS and any(map(is_recoded, kinds)):
        about = {"version": VERSION, **about}
    table = table.sort_by([("record", "ascending")]).replace_schema_metadata(schema(about).metadata)
    texts = ["shard", "files", "planes", "problem"]
    with whole_path(path) as partial, pa.OSFile(os.fsencode(partial), "wb") as sink:
        pq.write_table(table, sink, row_group_size=ROWS, use_dictionary=texts, compression="zstd")


@contextmanager
def open_index(path: Path, named: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An index as a pyarrow.parquet.ParquetFile, and its metadata. named: what messages call it.

    It is neither mapped nor left to pyarrow to close, which both would keep it open for as long as
    pyarrow's own threads hold a part of it: Windows then removes no file.

    Raises:
        UserError: it is no index of ours, or a newer one.
    """
    pa, pq = need("pyarrow", _PURPOSE), need("pyarrow.parquet", _PURPOSE)
    lib = need("pyarrow.lib", _PURPOSE)
    with ExitStack() as stack:
        try:
            # its name as bytes: it may be no UTF-8
            source = stack.enter_context(pa.OSFile(os.fsencode(path), "rb"))
            file = pq.ParquetFile(source, read_dictionary=["shard", "files"])
        except (lib.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{named} can't be read ({first_line(error)}): {_NEW}") from error
        yield file, _about(file, named)


def _about(file: Any, named: str) -> dict[str, Any]:
    try:
        about = json.loads((file.metadata.metadata or {})[_ABOUT])
        version = int(about["version"])
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{named} is no index of records: {_NEW}") from error
    if version > VERSION:
        raise UserError(
            f"{named} is of version {version}, this program knows up to {VERSION}: update it, or "
            f"{_NEW}"
        )
    lacking = set(schema({}).names) - set(file.schema_arrow.names)
    if lacking:
        raise UserError(f"{named} lacks the column {min(lacking)}: {_NEW}")
    return about


def read_index(path: Path) -> tuple[Any, dict[str, Any]]:
    """All of an index as a pyarrow.Table with columns as `table_of`, and its metadata. Raises as
    `open_index`."""
    with open_index(path, str(path)) as (file, about):
        return file.read(columns=schema({}).names).cast(schema({})), about


# --- the copy -------------------------------------------------------------------------------------


def make_copy(source: Path, target: Path, named: str) -> None:
    """Write the copy of an index that `ArrowRows` reads.

    Raises:
        UserError: see `open_index`; or a row that can't be right.
    """
    pa, pc = need("pyarrow", _PURPOSE), need("pyarrow.compute", _PURPOSE)
    with open_index(source, named) as (file, about):
        common = file.read(columns=["shard", "files", "problem"]).unify_dictionaries()
        shards, files = (_texts(common.column(name)) for name in ("shard", "files"))
        bad = pc.indices_nonzero(pc.not_equal(common.column("problem"), "")).to_pylist()
        reasons = common.column("problem").take(bad).to_pylist() if bad else []
        about |= {"shards": shards, "files": files, "problems": dict(zip(bad, reasons))}
        _check_texts(shards, files, about, named)
        del common
        numbers = [("record", pa.string()), ("shard", pa.int32()), ("files", pa.int32())]
        numbers += [("offset", pa.int64()), ("length", pa.int64())]
        numbers += [("starts", pa.list_(pa.uint32())), ("height", pa.int32())]
        numbers += [("width", pa.int32()), ("key", pa.int64()), ("crc32", pa.uint32())]
        shape = pa.schema(numbers, {_ABOUT: json.dumps(about).encode()})
        counts = np.array([len(names.split("/")) for names in files] or [0])
        with (
            whole_path(target) as partial,
            # by its name the writer would keep it open
            pa.OSFile(os.fsencode(partial), "wb") as sink,
            pa.ipc.new_file(sink, shape) as writer,
        ):
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=shape.names).combine_chunks()
                rows = _numbered(rows, shape, {"shard": shards, "files": files})
                for batch in rows.to_batches():
                    _check_batch(batch, counts, about["of"] == SHARDS, named)
                    writer.write_batch(batch)
    pa.default_memory_pool().release_unused()  # this process goes on for days


def _texts(column: Any) -> list[str]:
    """The texts of a column of dictionaries, which are unified."""
    return column.chunk(0).dictionary.to_pylist() if column.num_chunks else []


def _numbered(rows: Any, shape: Any, texts: dict[str, list[str]]) -> Any:
    """Rows with the place in a list for each text."""
    pa, pc = need("pyarrow", _PURPOSE), need("pyarrow.compute", _PURPOSE)
    columns = []
    for field in shape:
        column = rows.column(field.name)
        if field.name in texts:
            column = pc.index_in(column.cast(pa.string()), value_set=pa.array(texts[field.name]))
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=shape).combine_chunks()


def _check_texts(shards: list[str], files: list[str], about: dict[str, Any], named: str) -> None:
    is_packed = about["of"] == SHARDS
    unsafe = [name for name in shards if is_unsafe(name)] if is_packed else []
    for names in files:
        unsafe += [name for name in names.split("/") if is_unsafe_file(name) and names]
        pictures = Counter(map(as_png, names.split("/") if is_packed else ()))
        unsafe += [name for name, count in pictures.items() if count > 1]
    if unsafe:
        raise UserError(f"{named} names the file {unsafe[0]!r}, which can't be: {_NEW}")


def _check_batch(batch: Any, counts: np.ndarray, is_packed: bool, named: str) -> None:
    """Raises UserError: a name that leads elsewhere, or numbers that can't be."""
    pc = need("pyarrow.compute", _PURPOSE)
    names = batch.column("record")
    unsafe = pc.fill_null(pc.match_substring_regex(names, r"[/\\\x00]|^\.|^$"), True)
    unsafe = pc.indices_nonzero(unsafe)
    if len(unsafe):
        name = names[unsafe[0].as_py()].as_py()
        raise UserError(f"{named} names the record {name!r}, which can't be a folder's: {_NEW}")
    if not is_packed or not len(batch):
        return
    offsets, lengths = (batch.column(name).to_numpy() for name in ("offset", "length"))
    ends = batch.column("starts").offsets.to_numpy()
    starts = batch.column("starts").values.to_numpy()
    of_files = counts[batch.column("files").to_numpy()]
    right = (offsets >= 0) & (lengths > 0) & (offsets % BLOCK == 0) & (np.diff(ends) == of_files)
    if right.all():
        right &= np.minimum.reduceat(starts, ends[:-1]) >= BLOCK
        right &= np.maximum.reduceat(starts, ends[:-1]) <= lengths
    if not right.all():
        name = names[int(np.argmin(right))].as_py()
        raise UserError(f"{named} has wrong numbers for the record {name}: {_NEW}")


class ArrowRows:
    """The rows of such a copy, mapped into memory. Pickled, it is the name of its file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def _batches(self) -> list[Any]:
        pa = need("pyarrow", _PURPOSE)
        reader = pa.ipc.open_file(pa.memory_map(os.fsencode(self.path)))
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(len(batch) for batch in self._batches)])

    def about(self) -> dict[str, Any]:
        """The metadata, and the texts that numbers stand for: `shards`, `files`, `problems`."""
        pa = need("pyarrow", _PURPOSE)
        with pa.memory_map(os.fsencode(self.path)) as file:
            return json.loads(pa.ipc.open_file(file).schema.metadata[_ABOUT])

    def column(self, name: str) -> np.ndarray:
        """(M,) of a column of numbers."""
        parts = [batch.column(name).to_numpy() for batch in self._batches]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def value(self, name: str, row: int) -> Any:
        """What stands in a column: a number, a text, or (N,) of a list."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        value = self._batches[number].column(name)[row - int(self._starts[number])]
        return value.values.to_numpy() if name == "starts" else value.as_py()

    def texts(self, name: str) -> Iterator[str]:
        """All of a column of texts, one after another."""
        for batch in self._batches:
            yield from batch.column(name).to_pylist()
