"""The command `create_training_data.py pack`: records into shards.

The same records give the same shards. A shard appears under its name when it is whole, the index
last. Records that are in the index already are not packed again, so that a second run adds what is
new, or finishes what was interrupted.
"""

import glob
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nunif.errors import UserError
from nunif.files import locked, make_folder, raise_if_short, remove_partials, whole_file
from nunif.jxl import need_jxl
from nunif.record_list import INDEX_NAME
from nunif.record_scan import holds_shards, in_order, is_shard, record_names
from nunif.records import Plane, Storage, common_size, layout_of
from nunif.seed import derive_seed
from nunif.shards.index import SHARDS, Row, read_index, table_of, write_index
from nunif.shards.make_index import PART_SUFFIX, join
from nunif.shards.options import PackOptions, parse_bytes
from nunif.shards.packages import need
from nunif.shards.recode import JXL, as_png, is_recoded, is_same_file, recoded
from nunif.shards.tar import PackedRecord, ShardWriter, packed_size, read_shard, shard_size

logger = logging.getLogger(__name__)

LARGEST = 1 << 32  # bytes of a record: places in it are counted in 32 bits
_LETTER = re.compile(r"\d{4,}_([A-Z])\.png")


@dataclass(frozen=True)
class Found:
    """A record that can be packed. sizes: of its files, in the order in which they are packed.
    frames, size (H, W) and letters: of its pictures."""

    name: str
    sizes: dict[str, int]
    frames: int
    size: tuple[int, int]
    letters: str

    @property
    def num_bytes(self) -> int:
        """Bytes of a shard that it takes."""
        return packed_size(self.name, self.sizes)


def main(options: PackOptions) -> None:
    """The command `pack`.

    Raises:
        UserError: there are no records, another run's shards stand there, or the disk is full.
    """
    need("pyarrow", "packing")
    if options.codec == JXL:
        need_jxl("--codec jxl")
    if not options.data_dir.is_dir():
        raise UserError(f"{options.data_dir} does not exist: give a folder of records")
    if holds_shards(options.data_dir):
        raise UserError(f"{options.data_dir} holds shards already: give a folder of records")
    make_folder(options.output)
    stem = options.name or Path(os.path.abspath(options.output)).name
    names = record_names(options.data_dir)
    if options.shard is not None:
        stem = f"{stem}-{options.share.number}"
        names = [name for name in names if options.share.has_record(derive_seed(name))]
    busy = f"another process is packing {stem} into {options.output}"
    with locked(options.output / f".lock-{stem}", busy=busy):
        remove_partials(options.output, f"*-{glob.escape(stem)}-*.tar")
        packed, kept, bad = _pack(options, stem, names)
    logger.info("%d records: packed %d, kept %d, left out %d", len(names), packed, kept, bad)
    if options.shard is not None:
        logger.info(
            "when all parts are packed, join them: create_training_data.py index %s", options.output
        )


def _pack(options: PackOptions, stem: str, names: Sequence[str]) -> tuple[int, int, int]:
    """Pack what isn't packed yet. Returns how many records were packed, were there already, and
    can't be used."""
    part = options.output / f"{stem}{PART_SUFFIX}"
    index = options.output / INDEX_NAME
    own = part if options.shard is not None else index
    before = _known(own) | (_known(index) if own != index else {})
    found, num_bad = list[Found](), 0
    for name in names:
        try:
            found.append(look_through(options.data_dir / name))
        except ValueError as error:
            logger.warning("left out: %s: %s", options.data_dir / name, error)
            num_bad += 1
    if not found and (num_bad or options.shard is None):
        why = f"none of its {num_bad} records can be packed, the reasons are above"
        raise UserError(f"{options.data_dir}: {why if num_bad else 'it holds no records'}")
    todo = [record for record in found if record.name not in before]
    for record in found:
        if record.name in before:
            _check_same(record, before[record.name], options)
    plan = list(share_out(todo, parse_bytes("--shard-bytes", options.shard_bytes)))
    known = {shard for shard, *_ in before.values()}
    first = _next_number(options, stem, known)
    rows = list[Row]()
    with tqdm(total=len(todo), unit="record", desc=stem, disable=None, dynamic_ncols=True) as bar:
        for number, records in enumerate(plan, first):
            path = options.output / f"{stem}-{number:06d}.tar"
            rows += _write_shard(path, records, options, bar.update)
    if rows or not own.exists():
        _write_own(own, rows, options.output)
    if options.delete:
        known |= {row.shard for row in rows}
        _delete(options, found, sorted(known))
    return len(todo), len(found) - len(todo), num_bad


def _write_own(path: Path, rows: list[Row], folder: Path) -> None:
    """The index of what was packed: of all shards, or of this part."""
    if path.name == INDEX_NAME:
        join(folder, table_of(rows))
        return
    pa = need("pyarrow", "packing")
    earlier = [read_index(path)[0]] if path.exists() else []
    write_index(path, pa.concat_tables([*earlier, table_of(rows)]), of=SHARDS, names="")


def _known(path: Path) -> dict[str, tuple[str, int, str]]:
    """Of the records in an index by their names: shard, bytes, and their files."""
    if not path.exists():
        return {}
    columns = (read_index(path)[0].column(c) for c in ("record", "shard", "length", "files"))
    names, shards, lengths, files = (column.to_pylist() for column in columns)
    return dict(zip(names, zip(shards, lengths, files)))


def _check_same(record: Found, packed: tuple[str, int, str], options: PackOptions) -> None:
    """Raises UserError if a record of that name was packed which has other files. What they hold
    isn't looked at, nor, of pictures as JPEG XL, how large they are."""
    shard, length, files = packed
    names = files.split("/")
    same = list(record.sizes) == [as_png(name) for name in names]
    if not same or not (is_recoded(names) or record.num_bytes == length):
        raise UserError(
            f"{options.data_dir / record.name} is not what {options.output / shard} holds under "
            "that name: choose another -o, or another name for the record"
        )


def look_through(path: Path) -> Found:
    """What a record's folder holds.

    Raises:
        ValueError: why it can't be packed: a missing or torn picture, pictures of different sizes,
            a folder in it, a name that no tar of ours can hold.
    """
    sizes = {}
    try:
        path.name.encode()
        with os.scandir(path) as entries:
            files = {entry.name: entry for entry in entries}
        for name in in_order(files):
            name.encode()
            if not files[name].is_file():
                raise ValueError(f"{name} is no file, a record holds nothing else")
            if as_png(name) != name:
                raise ValueError(f"{name} would be taken for a picture in a shard: rename it")
            sizes[name] = files[name].stat().st_size
    except UnicodeEncodeError:
        raise ValueError("its name, or a file's in it, is no UTF-8") from None
    except OSError as error:
        raise_if_short(error, path)
        raise ValueError(f"it can't be read ({error.strerror})") from error
    matches = (_LETTER.fullmatch(name) for name in sizes)
    letters = "".join(sorted({match[1] for match in matches if match}))
    if not letters:
        raise ValueError("it holds no pictures")
    # what the letters mean is not looked at
    planes = [Plane(letter, Storage.RGB8, f"pictures {letter}") for letter in letters]
    layout = layout_of(sizes, [planes])
    found = Found(
        path.name, sizes, len(layout.numbers), common_size(path, layout.pictures()), letters
    )
    if found.num_bytes >= LARGEST:
        raise ValueError("it has more than 4 GiB")
    return found


def share_out(records: Sequence[Found], shard_bytes: int) -> Iterator[list[Found]]:
    """The records of one shard after another: as many as fit, in their order, at least one."""
    shard, total = list[Found](), 0
    for record in records:
        if shard and shard_size(total + record.num_bytes) > shard_bytes:
            yield shard
            shard, total = [], 0
        shard.append(record)
        total += record.num_bytes
    if shard:
        yield shard


def _next_number(options: PackOptions, stem: str, known: set[str]) -> int:
    """The number of the first shard to be written: behind those that an index knows.

    Raises:
        UserError: there are shards that are in no index, and neither this run's nor of its parts.
    """
    folder, pattern = options.output, re.compile(rf"{re.escape(stem)}-(\d{{6,}})\.tar")
    numbers = [int(match[1]) for match in map(pattern.fullmatch, known) if match]
    whole = re.escape(stem.rpartition("-")[0] if options.shard is not None else stem)
    ours = re.compile(rf"{whole}-{'[0-9]+-' if options.shard is not None else ''}\d{{6,}}\.tar")
    shards = sorted(name for name in os.listdir(folder) if is_shard(name))
    strange = [name for name in shards if name not in known and not ours.fullmatch(name)]
    if strange and not known:
        raise UserError(
            f"{folder} holds shards of another run, {strange[0]} first: choose another -o, or to "
            f"add to them run create_training_data.py index {folder} first"
        )
    return max(numbers, default=-1) + 1


def _write_shard(
    path: Path, records: Sequence[Found], options: PackOptions, done: Callable[[int], object]
) -> list[Row]:
    """Write one shard, or take over the one that an interrupted run of the same records left."""
    if path.exists():
        packed = _same_shard(path, records, options.data_dir)
        done(len(records))
    else:
        packed = []
        with whole_file(path) as file:
            writer = ShardWriter(file)
            for record in records:
                folder = options.data_dir / record.name
                files = {name: (folder / name).read_bytes() for name in record.sizes}
                if options.codec == JXL:
                    files = recoded(files)
                packed.append(writer.add(record.name, files))
                done(1)
            writer.close()
    return [_row(path.name, record, place) for record, place in zip(records, packed, strict=True)]


def _same_shard(path: Path, records: Sequence[Found], source: Path) -> list[PackedRecord]:
    """Where the records are in a shard that stands already. Raises UserError if it isn't theirs."""
    packed, same = [], True
    for (place, contents), record in zip(read_shard(path), [*records, None]):
        same &= record is not None and place.name == record.name and _fits(contents, record, source)
        packed.append(place)
    if not same or len(packed) != len(records):
        raise UserError(
            f"{path} holds other records than these, and is in no index: choose another -o, or "
            f"run create_training_data.py index {path.parent} first, to add to its shards"
        )
    return packed


def _fits(contents: Mapping[str, bytes], record: Found, source: Path) -> bool:
    """Whether files in a shard are a record's: by their sizes, or their pixels as JPEG XL."""
    return [as_png(name) for name in contents] == list(record.sizes) and all(
        is_same_file(name, content, source / record.name)
        if as_png(name) != name
        else len(content) == record.sizes[name]
        for name, content in contents.items()
    )


def _row(shard: str, record: Found, packed: PackedRecord) -> Row:
    return Row(
        record=record.name,
        shard=shard,
        offset=packed.offset,
        length=packed.length,
        files=packed.files,
        starts=packed.starts,
        frames=record.frames,
        height=record.size[0],
        width=record.size[1],
        planes=record.letters,
        key=derive_seed(record.name),
        crc32=packed.crc,
    )


def _delete(options: PackOptions, found: Sequence[Found], shards: Sequence[str]) -> None:
    """Delete the folders of records whose very bytes are in the shards; of pictures as JPEG XL
    whose pixels are."""
    left = {record.name: record for record in found}
    num_deleted = 0
    for shard in shards:
        for place, contents in read_shard(options.output / shard):
            record = left.pop(place.name, None)
            if record is None:
                continue
            folder = options.data_dir / place.name
            same = [as_png(name) for name in contents] == list(record.sizes)
            if same and all(is_same_file(*file, folder) for file in contents.items()):
                shutil.rmtree(folder)
                num_deleted += 1
            else:
                logger.warning("%s is kept: it has changed since it was packed", folder)
    logger.info("deleted %d folders in %s", num_deleted, options.data_dir)
