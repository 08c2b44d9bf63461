"""The command `create_training_data.py index`: the index of a folder of shards or of records.

Of shards: what indices know of them, those of parts and an older one, is joined; shards that none
knows are read. Of records: their folders are looked into once, and training doesn't have to.
"""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nunif.errors import UserError
from nunif.files import locked
from nunif.image import PNG_SIGNATURE
from nunif.jxl import is_jxl, jxl_size
from nunif.record_list import INDEX_NAME
from nunif.record_scan import digest_of, holds_shards, is_shard, list_folders, record_names
from nunif.seed import derive_seed
from nunif.shards.index import FOLDERS, SHARDS, Row, read_index, table_of, write_index
from nunif.shards.options import IndexOptions
from nunif.shards.packages import need
from nunif.shards.recode import as_png
from nunif.shards.tar import PackedRecord, read_shard, shard_size

logger = logging.getLogger(__name__)

PART_SUFFIX = ".index.parquet"  # behind the first words of the shards that it is of
_PICTURE = re.compile(r"(\d{4,})_([A-Z])\.png")


def main(options: IndexOptions) -> None:
    """The command `index`.

    Raises:
        UserError: the folder is missing or empty, a shard is damaged, two records have one name.
    """
    need("pyarrow", "an index")
    folder = options.data_dir
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: give a folder of shards or of records")
    busy = f"another process is writing the index of {folder}"
    with locked(folder / ".lock-index", busy=busy):
        if holds_shards(folder):
            join(folder)
        else:
            _index_folders(folder)


def _index_folders(folder: Path) -> None:
    names = record_names(folder)
    if not names:
        raise UserError(f"{folder} holds neither shards nor records: give another folder")
    listing = list_folders(folder, names)
    rows, sizes = list[Row](), listing.table.sizes.tolist()
    for row, (name, layout) in enumerate(zip(names, listing.table.layouts.tolist())):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{folder / name}: an index holds UTF-8 alone: rename it") from error
        files, problem = listing.files[layout], listing.problems.get(row, "")
        rows.append(_row(name, files, sizes[row], problem=problem))
    write_index(folder / INDEX_NAME, table_of(rows), of=FOLDERS, names=digest_of(names))
    logger.info("%s: %d records", folder / INDEX_NAME, len(rows))


def join(folder: Path, new: Any = None) -> None:
    """Write the index of all shards in a folder. new: rows of shards that were just packed, as of
    `table_of`.

    Raises:
        UserError: see `main`.
    """
    pa, pc = need("pyarrow", "an index"), need("pyarrow.compute", "an index")
    shards = sorted(name for name in os.listdir(folder) if is_shard(name))
    known = [] if new is None else [new]
    for path in [folder / INDEX_NAME, *sorted(folder.glob(f"[!.]*{PART_SUFFIX}"))]:
        if path.exists():
            known.append(_rows_of_shards(path))
    parts, todo = [], set(shards)
    for table in known:
        lost = set(table.column("shard").unique().to_pylist()) - set(shards)
        for shard in sorted(lost):
            num_lost = pc.sum(pc.equal(table.column("shard"), shard)).as_py()
            text = "%s is missing: its %d records leave the index"
            logger.warning(text, folder / shard, num_lost)
        mine = _still_right(folder, table, todo)
        parts.append(table.filter(pc.is_in(table.column("shard"), pa.array(mine, pa.string()))))
        todo -= set(mine)
    for shard in sorted(todo):
        logger.info("%s is in no index: it is read", folder / shard)
        rows = [_row_of(shard, packed, files) for packed, files in read_shard(folder / shard)]
        parts.append(table_of(rows))
    rows = pa.concat_tables([part.cast(table_of([]).schema) for part in parts])
    _check_names(folder, rows)
    write_index(folder / INDEX_NAME, rows, of=SHARDS, names="")
    logger.info("%s: %d records in %d shards", folder / INDEX_NAME, len(rows), len(shards))


def _rows_of_shards(path: Path) -> Any:
    table, about = read_index(path)
    if about["of"] != SHARDS:
        raise UserError(f"{path} is an index of {about['of']}, not of shards: delete it")
    return table


def _still_right(folder: Path, table: Any, wanted: set[str]) -> list[str]:
    """The shards of an index, of those wanted, that are as long as it says."""
    ends = table.select(["shard"]).append_column("end", _ends(table))
    last = ends.group_by("shard").aggregate([("end", "max")])
    pairs = zip(last.column("shard").to_pylist(), last.column("end_max").to_pylist())
    return [
        shard
        for shard, end in pairs
        if shard in wanted and (folder / shard).stat().st_size == shard_size(end)
    ]


def _ends(table: Any) -> Any:
    pc = need("pyarrow.compute", "an index")
    return pc.add(table.column("offset"), table.column("length"))


def _check_names(folder: Path, rows: Any) -> None:
    """Raises UserError if two records have one name."""
    names = rows.column("record").to_pylist()
    if len(set(names)) == len(names):
        return
    seen = dict[str, str]()
    for name, shard in zip(names, rows.column("shard").to_pylist()):
        if name in seen:
            raise UserError(
                f"{folder}: the record {name} is in {seen[name]} and in {shard}: take one of them "
                "away"
            )
        seen[name] = shard


def _row_of(shard: str, packed: PackedRecord, files: dict[str, bytes]) -> Row:
    first = next((name for name in packed.files if _PICTURE.fullmatch(as_png(name))), None)
    size, problem = [0, 0], ""
    if first is not None and files[first].startswith(PNG_SIGNATURE) and len(files[first]) >= 24:
        size = [int.from_bytes(files[first][at : at + 4], "big") for at in (20, 16)]
    elif first is not None and as_png(first) != first and is_jxl(files[first]):
        size = list(jxl_size(files[first]))
    elif first is not None:
        problem = f"{first} can't be read (not a PNG picture)"
    return _row(packed.name, packed.files, size, shard=shard, packed=packed, problem=problem)


def _row(
    name: str,
    files: Sequence[str],
    size: list[int],
    *,
    shard: str = "",
    packed: PackedRecord | None = None,
    problem: str = "",
) -> Row:
    names = map(as_png, files) if packed else files
    matches = [match for match in map(_PICTURE.fullmatch, names) if match]
    return Row(
        record=name,
        shard=shard,
        offset=packed.offset if packed else 0,
        length=packed.length if packed else 0,
        files=tuple(files),
        starts=packed.starts if packed else (),
        frames=len({match[1] for match in matches}),
        height=size[0],
        width=size[1],
        planes="".join(sorted({match[2] for match in matches})),
        key=derive_seed(name),
        crc32=packed.crc if packed else 0,
        problem=problem,
    )
