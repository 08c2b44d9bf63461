"""The one function that lists the records of a data set: of folders, of folders with an index of
them, and of shards.

Training takes the quick way: names and one picture's head of each record. What else is wrong with
one shows when it is drawn. The other way looks at the heads of all pictures.
"""

import hashlib
import logging
import os
import re
from collections.abc import Collection, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from nunif.errors import UserError
from nunif.files import explain_os_errors, raise_if_short, tell_if_dangling
from nunif.image import png_size
from nunif.parallel import ordered_map
from nunif.places import address_of, local_path, may_be_folder, text_of
from nunif.record_list import (
    EXCLUDE_NAME,
    INDEX_NAME,
    Choices,
    FolderTable,
    Listing,
    Records,
    Table,
    exclude_names,
    usable,
)
from nunif.records import BadRecord, Plane, common_size, layout_of
from nunif.shards.options import CacheSettings

logger = logging.getLogger(__name__)

SHARD_SUFFIX = ".tar"
THREADS, AT_ONCE = 8, 64  # what a slow disk can be asked at a time, and records of one thread
_PICTURE = re.compile(r"(\d{4,})_[A-Z]\.png")


def scan_records(
    folder: Path,
    planes: Sequence[Plane],
    *,
    min_frames: int = 1,
    min_size: int | tuple[int, int] = 1,
    or_planes: Choices = (),
    quick: bool = False,
    cache: CacheSettings | None = None,
) -> tuple[Records, list[BadRecord]]:
    """All records in a folder, sorted by name, and those that can't be used; see `open_record`.

    Files and hidden folders are passed over. or_planes: others, for records that have no picture
    of the first of `planes`; each is opened for those of whose first one it has any.

    Args:
        folder: of folders or of shards, also an address of those. quick: look at one picture's
            head of each record alone; others that are torn show when they are read.

    Raises:
        UserError: the folder is missing, or holds no usable record.
    """
    folder, choices = local_path(folder), [planes, *or_planes]
    if not may_be_folder(folder):
        raise UserError(
            f"{folder} does not exist: make records there with create_training_data.py, or move "
            "some there"
        )
    listing, excluded = _list(folder, choices, quick, cache or CacheSettings())
    passed_over = _rows_of(excluded, listing.table, folder)
    if listing.lost is not None:
        passed_over = listing.lost if passed_over is None else listing.lost | passed_over
    found, bad = usable(
        listing.table,
        listing.files,
        choices,
        min_frames=min_frames,
        min_size=min_size,
        problems=listing.problems,
        passed_over=passed_over,
    )
    bad = [*listing.bad, *bad]
    if not found:
        num_bad = sum(problem.count for problem in bad)
        why = (
            f"none of its {num_bad} records can be used, the first: {bad[0]}"
            if bad
            else "it holds no records"
        )
        raise UserError(
            f"{text_of(folder)}: {why}; make records there with create_training_data.py, or move "
            "some there"
        )
    return found, bad


def _list(
    folder: Path, choices: Choices, quick: bool, cache: CacheSettings
) -> tuple[Listing, list[str]]:
    """What the folder holds, and the names that are to be left out of it."""
    if address_of(folder) is not None or holds_shards(folder):
        # what reads shards is needed by those alone who have some
        from nunif.shards.table import list_shards

        return list_shards(folder, cache)
    excluded = exclude_names(_read_exclude(folder))
    names = record_names(folder)
    if quick and (folder / INDEX_NAME).exists():
        from nunif.shards.table import list_indexed

        listing = list_indexed(folder, digest_of(names), cache)
        if listing is not None:
            return listing, excluded
    return list_folders(folder, names, None if quick else choices), excluded


def check_bad_share(folder: Path, num_found: int, bad: Sequence[BadRecord], most: float) -> None:
    """
    Raises:
        UserError: of the records of a folder more than the share `most` can't be used, or all.
    """
    num_bad = sum(problem.count for problem in bad)
    if num_bad > most * (num_found + num_bad) or not num_found:
        first = ", ".join(f"{problem.record.name}: {problem.reason}" for problem in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        listed = f" ({first}{more})" if bad else ""
        raise UserError(
            f"{text_of(folder)}: {num_bad} of {num_found + num_bad} records can't be used: mend or "
            f"remove them, or allow more with --max-bad-share{listed}"
        )


def holds_shards(folder: Path) -> bool:
    """Whether a folder has shards rather than records."""
    with explain_os_errors(folder), os.scandir(folder) as entries:
        return any(is_shard(entry.name) and entry.is_file() for entry in entries)


def is_shard(name: str) -> bool:
    return name.endswith(SHARD_SUFFIX) and not name.startswith(".")


def record_names(folder: Path) -> list[str]:
    """The names of the folders in it that are records, in the order of their paths."""
    names = []
    with explain_os_errors(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                names.append(entry.name)
            else:
                tell_if_dangling(Path(entry.path))
    # as paths of this system are ordered
    return [path.name for path in sorted(Path(name) for name in names)]


def digest_of(names: Sequence[str]) -> str:
    """By which an index knows whether it is still that of these names."""
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return f"{len(names)}-{hashlib.blake2b(text, digest_size=16).hexdigest()}"


def list_folders(folder: Path, names: Sequence[str], choices: Choices | None = None) -> Listing:
    """Look into every record's folder, in threads. choices: look at the heads of all pictures of
    these planes; without them at that of the first picture."""
    sizes, ids = np.zeros((len(names), 2), np.int32), np.zeros(len(names), np.int32)
    known, problems = dict[tuple[str, ...], int](), dict[int, str]()
    todo = iter(names)
    chunks = iter(lambda: list(islice(todo, AT_ONCE)), [])
    results = ordered_map(
        lambda chunk: [look_at(folder / name, choices) for name in chunk], chunks, workers=THREADS
    )
    for row, (files, size, problem) in enumerate(chain.from_iterable(results)):
        ids[row] = known.setdefault(files, len(known))
        sizes[row] = size
        if problem:
            problems[row] = problem
    looked = np.zeros(len(names), bool) if choices is None else None
    return Listing(FolderTable(folder, names, ids, sizes, looked), list(known), problems)


def look_at(
    path: Path, choices: Choices | None = None
) -> tuple[tuple[str, ...], tuple[int, int], str]:
    """The names of a record's files, the size of its pictures, and what is wrong with it, empty if
    nothing is. choices: as of `list_folders`."""
    try:
        files = tuple(in_order(os.listdir(path)))
    except OSError as error:
        raise_if_short(error, path)
        return (), (0, 0), f"it can't be read ({error.strerror})"
    try:
        if choices is not None:
            return files, common_size(path, layout_of(frozenset(files), choices).pictures()), ""
        if not files or not _PICTURE.fullmatch(files[0]):
            return files, (0, 0), ""  # what is looked for tells what is missing
        return files, png_size(path / files[0]), ""
    except (OSError, ValueError) as error:
        raise_if_short(error, path)
        reason = str(error) if choices is not None else f"{files[0]} can't be read ({error})"
        return files, (0, 0), reason


def in_order(names: Collection[str]) -> list[str]:
    """The names of a record's files: its pictures frame by frame, then what else there is."""

    def place(name: str) -> tuple[bool, int, str]:
        match = _PICTURE.fullmatch(name)
        return match is None, int(match[1]) if match else 0, name

    return sorted(names, key=place)


def _read_exclude(folder: Path) -> str:
    try:
        return (folder / EXCLUDE_NAME).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _rows_of(excluded: Sequence[str], table: Table, folder: Path) -> np.ndarray | None:
    """(M,) bool: the rows of records that are to be left out."""
    if not excluded:
        return None
    wanted, rows = set(excluded), np.zeros(len(table.sizes), bool)
    for row in range(len(rows)):
        rows[row] = table.name(row) in wanted
    where = f"{text_of(folder)}: {EXCLUDE_NAME}"
    logger.info("%s leaves out %d records", where, rows.sum())
    unknown = len(wanted) - int(rows.sum())
    if unknown:
        there = {table.name(row) for row in np.flatnonzero(rows).tolist()}
        first = min(wanted - there)
        logger.warning("%s names %d records that are not there, %s first", where, unknown, first)
    return rows
