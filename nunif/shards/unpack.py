"""The command `create_training_data.py unpack`: the records in shards as folders again."""

import logging
import os
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from nunif.errors import UserError
from nunif.failures import Failures
from nunif.files import locked, make_folder, write_whole_folder
from nunif.jxl import need_jxl
from nunif.record_list import EXCLUDE_NAME, INDEX_NAME, exclude_names
from nunif.record_scan import is_shard
from nunif.shards.index import read_index
from nunif.shards.options import UnpackOptions
from nunif.shards.recode import is_recoded, restored
from nunif.shards.tar import PackedRecord, read_shard

logger = logging.getLogger(__name__)


def main(options: UnpackOptions) -> None:
    """The command `unpack`.

    Raises:
        UserError: there are no shards, some are damaged, or the disk is full.
    """
    folder, output = options.data_dir, options.output
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: give a folder of shards")
    shards = sorted(name for name in os.listdir(folder) if is_shard(name))
    if not shards:
        raise UserError(f"{folder} holds no shards: give the folder of their .tar files")
    make_folder(output)
    index, exclude = folder / INDEX_NAME, folder / EXCLUDE_NAME
    checks = _checks(index) if index.exists() else {}
    excluded = set(exclude_names(exclude.read_text(encoding="utf-8")) if exclude.exists() else ())
    counts: Counter[str] = Counter()
    failures = Failures(
        len(shards) + 1
    )  # so that the only one doesn't keep the rest from being told
    with locked(output / ".lock-unpack", busy=f"another process is unpacking into {output}"):
        for shard in tqdm(shards, unit="shard", disable=None, dynamic_ncols=True):
            with failures.log(shard):
                for packed, files in read_shard(folder / shard):
                    place = (shard, packed.offset, packed.crc)
                    if packed.name in excluded:
                        counts["left out"] += 1
                    elif checks and checks.get(packed.name) != place:
                        counts["damaged"] += 1
                        logger.error(
                            "error: %s in %s is not what the index knows: it is damaged, or the "
                            "index is of other shards",
                            packed.name,
                            folder / shard,
                        )
                    else:
                        counts[_make(output, packed, files, folder / shard)] += 1
    logger.info(
        "%d shards: made %d, kept %d, left out %d, damaged %d",
        len(shards), counts["made"], counts["kept"], counts["left out"], counts["damaged"],
    )  # fmt: skip
    if failures.count or counts["damaged"]:
        raise UserError(f"{folder}: not all of its records could be unpacked, see above")


def _checks(index: Path) -> dict[str, tuple[str, int, int]]:
    """Shard, offset and checksum of every record. Raises UserError if what it takes to read their
    pictures is not installed."""
    table, _ = read_index(index)
    if any(is_recoded(names.split("/")) for names in table.column("files").unique().to_pylist()):
        need_jxl(f"reading the JPEG XL pictures of {index.parent}")
    names, *columns = (
        table.column(name).to_pylist() for name in ("record", "shard", "offset", "crc32")
    )
    return dict(zip(names, zip(*columns)))


def _make(output: Path, packed: PackedRecord, files: dict[str, bytes], shard: Path) -> str:
    path = output / packed.name
    if path.exists():
        return "kept"
    try:
        files = restored(files)
    except ValueError as error:
        logger.error("error: %s in %s can't be read (%s)", packed.name, shard, error)
        return "damaged"

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)

    write_whole_folder(path, fill)
    return "made"
