"""Many records as one list, without an object for each: names, layouts and sizes lie in columns,
and a `Record` is made when it is asked for.

N: records; M: rows of a table, one for each record that its folder has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from nunif.records import (
    BadRecord,
    Layout,
    Plane,
    Record,
    common_size,
    layout_of,
    too_small,
)
from nunif.seed import derive_seed

INDEX_NAME = "index.parquet"
EXCLUDE_NAME = "exclude.txt"  # beside an index: names of records to leave out, one a line

Choices = Sequence[Sequence[Plane]]


class Table(Protocol):
    """The records of one folder, usable or not. folder: where they lie. layouts (M,) int32: which
    of some kinds each has. sizes (M, 2) int32: height and width of its pictures."""

    @property
    def folder(self) -> Path: ...

    @property
    def layouts(self) -> np.ndarray: ...

    @property
    def sizes(self) -> np.ndarray: ...

    def name(self, row: int) -> str: ...

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """`derive_seed` of the names of some rows, int64."""
        ...

    def record(self, row: int, layout: Layout) -> Record: ...


@dataclass(frozen=True)
class UnseenFiles:
    """The files of a record whose pictures were not looked at when it was listed: all their heads
    are when the first of them is read. See `nunif.records.Files`."""

    path: Path
    pictures: tuple[str, ...]
    looked: np.ndarray
    row: int

    def read(self, name: str, numbers: Sequence[str]) -> bytes:
        if not self.looked[self.row]:
            try:
                common_size(self.path, self.pictures)
            except ValueError as error:
                raise BadRecord(self.path, str(error)) from error
            self.looked[self.row] = True
        return (self.path / name).read_bytes()


@dataclass(frozen=True)
class FolderTable:
    """Records that are folders, each in `folder` under its name. looked (M,) bool: at which of them
    this process has looked; None where that was done before."""

    folder: Path
    names: Sequence[str]
    layouts: np.ndarray
    sizes: np.ndarray
    looked: np.ndarray | None = None

    def name(self, row: int) -> str:
        return self.names[row]

    def keys(self, rows: np.ndarray) -> np.ndarray:
        return np.array([derive_seed(self.names[row]) for row in rows.tolist()], np.int64)

    def record(self, row: int, layout: Layout) -> Record:
        height, width = self.sizes[row].tolist()
        path, files = self.folder / self.names[row], None
        if self.looked is not None:
            files = UnseenFiles(path, tuple(layout.pictures()), self.looked, row)
        return layout.record(path, (height, width), files)


@dataclass(frozen=True)
class Listing:
    """What a folder holds, whatever is looked for in it.

    files: the names that each of the table's layouts has. problems: rows that are known to be
        unusable, and why. lost (M,) bool: rows whose shards are missing, which `bad` tells of.
    """

    table: Table
    files: Sequence[Sequence[str]]
    problems: dict[int, str] = field(default_factory=dict)
    lost: np.ndarray | None = None
    bad: list[BadRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A table, and what its layouts mean to a reader; None for those that can't be used."""

    table: Table
    layouts: Sequence[Layout | None]

    def record(self, row: int) -> Record:
        layout = self.layouts[self.table.layouts[row]]
        assert layout is not None  # `usable`
        return self.table.record(row, layout)


class Records(Sequence[Record]):
    """Records of one folder, or of several one behind another, some of them more than once."""

    def __init__(self, parts: Sequence[Part] = (), rows: np.ndarray | None = None) -> None:
        """rows (N,): which of the rows of all parts, counted through."""
        self._parts = tuple(parts)
        counts = [len(part.table.sizes) for part in self._parts]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if rows is None:
            rows = np.arange(self._starts[-1])
        # half the memory, in this process and on its way to each that loads
        self._rows = rows.astype(np.uint32 if self._starts[-1] < 1 << 32 else np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> "Records": ...

    def __getitem__(self, index: "int | slice") -> "Record | Records":
        if isinstance(index, slice):
            return Records(self._parts, self._rows[index])
        part, row = self._place(index)
        return self._parts[part].record(row)

    def name(self, index: int) -> str:
        """The name of a record: its folder's, or what that would be."""
        part, row = self._place(index)
        return self._parts[part].table.name(row)

    def keys(self) -> np.ndarray:
        """(N,) int64: `derive_seed` of the name of each."""
        keys = np.empty(len(self), np.int64)
        for number, part in enumerate(self._parts):
            of_part = self._part_of() == number
            keys[of_part] = part.table.keys(self._rows[of_part] - self._starts[number])
        return keys

    def where(self, test: Callable[[Record], object]) -> "Records":
        """Those that pass. The test is asked once for all records with files of the same names, and
        may look at nothing else of a record."""
        passed = np.zeros(self._starts[-1], bool)
        for start, part in zip(self._starts.tolist(), self._parts):
            verdicts = [
                layout is not None and bool(test(layout.record(part.table.folder, (0, 0))))
                for layout in part.layouts
            ]
            passed[start : start + len(part.table.sizes)] = np.array(verdicts)[part.table.layouts]
        return Records(self._parts, self._rows[passed[self._rows]])

    def times(self, count: int) -> "Records":
        """All of them so many times, one pass behind another."""
        return Records(self._parts, np.tile(self._rows, count))

    def copies(self) -> np.ndarray:
        """(N,) int64: how many of the same record stand before each."""
        # two parts may be the same folder
        first: dict[tuple[Path, int], int] = {}
        offsets = np.zeros(len(self._parts), np.int64)
        for number, (part, start) in enumerate(zip(self._parts, self._starts.tolist())):
            key = part.table.folder, len(part.table.sizes)
            offsets[number] = first.setdefault(key, start) - start
        rows = self._rows.astype(np.int64) + offsets[self._part_of()]
        order = np.argsort(rows, kind="stable")
        in_order = rows[order]
        begins = np.searchsorted(in_order, in_order)
        copies = np.empty(len(rows), np.int64)
        copies[order] = np.arange(len(rows)) - begins
        return copies

    def _part_of(self) -> np.ndarray:
        return np.searchsorted(self._starts, self._rows, side="right") - 1

    def _place(self, index: int) -> tuple[int, int]:
        row = int(self._rows[index])
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return part, row - int(self._starts[part])


def join(lists: Sequence[Records]) -> Records:
    """The records of all lists, one list behind another."""
    parts = [part for each in lists for part in each._parts]
    ends = np.cumsum([each._starts[-1] for each in lists])
    rows = [each._rows + (end - each._starts[-1]) for each, end in zip(lists, ends)]
    return Records(parts, np.concatenate(rows) if rows else None)


def usable(
    table: Table,
    files: Sequence[Sequence[str]],
    choices: Choices,
    *,
    min_frames: int,
    min_size: int | tuple[int, int],
    problems: Mapping[int, str],
    passed_over: np.ndarray | None = None,
) -> tuple[Records, list[BadRecord]]:
    """The rows of a table that can be used, and why the others can't.

    Args:
        files: the names that each of the table's layouts has. choices, min_frames: as of
            `layout_of`; min_size: of the pictures, in height and width.
        problems: what is known to be wrong with some rows. passed_over (M,): rows to say nothing
            of.
    """
    layouts, reasons = list[Layout | None](), dict[int, str]()
    for number, names in enumerate(files):
        layout = None
        try:
            layout = layout_of(frozenset(names), choices, min_frames=min_frames)
        except ValueError as error:
            reasons[number] = str(error)
        layouts.append(layout)
    good = np.ones(len(table.sizes), bool) if passed_over is None else ~passed_over
    lacking = np.isin(table.layouts, list(reasons))
    least = (min_size, min_size) if isinstance(min_size, int) else min_size
    small = (table.sizes < np.array(least)).any(axis=1)
    known = np.zeros(len(good), bool)
    known[list(problems)] = True
    bad = []
    for row in np.flatnonzero(good & (known | lacking | small)).tolist():
        reason = problems.get(row) or reasons.get(int(table.layouts[row]))
        height, width = table.sizes[row].tolist()
        reason = reason or too_small((height, width), min_size)
        bad.append(BadRecord(table.folder / table.name(row), reason))
    rows = np.flatnonzero(good & ~known & ~lacking & ~small)
    return Records([Part(table, layouts)], rows), bad


def exclude_names(text: str) -> list[str]:
    """The names that an exclude.txt lists."""
    return [line.strip() for line in text.splitlines() if line.strip()]
