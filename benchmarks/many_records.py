"""What a training costs at its start that has many records: CPU seconds, and memory of a process's
own.

    python -m benchmarks.many_records -o FILE
    python -m benchmarks.many_records -o FILE --before CHECKOUT    # folders, with an older checkout

Records of 16 frames with masks (33 files) are made up in shards, rows alone in an index whose
shards are empty files of the right length, and folders whose files are links to one record's. Each
is listed in a process of its own that has imported all before. "first": no copy of the index is
there yet. Private memory is what no other process shares (smaps_rollup), over what it was before.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import ROOT, machine
from nunif.files import make_folder, write_json
from nunif.records import write_record
from nunif.seed import derive_seed
from nunif.shards.index import SHARDS, Row, table_of, write_index
from nunif.shards.packages import need
from nunif.shards.tar import ShardWriter, shard_size

FRAMES, SIDE = 16, 32
IN_A_SHARD = 3000
COMMON = """
import json, os, re, sys, time, resource
from pathlib import Path
import numpy as np
import inpaint.task
from inpaint.dataset import TrainSet, scan_records
from nunif.training.sampler import LossHistory, draw_order

def private():
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"Private_\\w+: +(\\d+)", text)) / 1024

def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

folder = Path(sys.argv[1])
"""
LIST = (
    COMMON
    + """
before, begin, clock = private(), cpu(), time.perf_counter()
more = {"quick": True} if sys.argv[2] == "now" else {}
found, bad = scan_records(folder, min_frames=12, min_size=32, **more)
assert not bad
middle = cpu()
listed = private()
if sys.argv[2] == "now":
    keys = found.keys()
else:
    keys = [record.path.name for record in found]
history = LossHistory(keys)
order = draw_order(1666, num_samples=len(found), weights=history.weights(), excluded=(), seed=1,
                   epoch=0)
print(json.dumps({"records": len(found), "cpu_s": cpu() - begin, "list_cpu_s": middle - begin,
    "seconds": time.perf_counter() - clock, "list_private_mb": listed - before,
    "private_mb": private() - before}))
"""
)
LOAD = (
    COMMON
    + """
import multiprocessing
from nunif.training.task import Draw

def load(train_set, count, answers):
    for index in np.linspace(0, len(train_set) - 1, count).astype(int).tolist():
        train_set[Draw(index, seed=index)]
    answers.put(private())

if __name__ == "__main__":
    found, _ = scan_records(folder, min_frames=12, min_size=32, quick=True)
    context = multiprocessing.get_context("spawn")
    answers, memory = context.Queue(), []
    for records in (found[:1], found):
        train_set = TrainSet(records, 12, (32, 32), {"occlusion": 1.0})
        process = context.Process(target=load, args=(train_set, 200, answers))
        process.start()
        memory.append(answers.get())
        process.join()
    print(json.dumps({"private_mb": memory[1] - memory[0]}))
"""
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    parser.add_argument("--records", type=int, default=100_000, help="in shards: 40 kB each")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of an index alone")
    parser.add_argument("--folders", type=int, default=10_000, help="of records")
    parser.add_argument("--before", type=Path, help="an older checkout, for folders")
    parser.add_argument("--scratch", type=Path, help="folder for all that (default: a temporary)")
    words = parser.parse_args()
    make_folder(words.output.parent)
    about = machine(torch.device("cpu"))
    with tempfile.TemporaryDirectory(dir=words.scratch) as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        rows = []
        for row in measure(Path(scratch), words):
            rows.append(row)
            print(json.dumps(row), flush=True)
            write_json(words.output, {**about, "rows": rows})


def measure(scratch: Path, words: argparse.Namespace) -> Iterator[dict[str, Any]]:
    record = scratch / "one"
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8) // 64 * 64
    write_record(record, {"C": clip, "M": clip[..., 0] > 100}, {"source": "made up"})
    folders = link_folders(scratch / "folders", record, words.folders)
    if words.before is not None:
        yield {"what": "folders, before", **child(LIST, folders, "before", words.before)}
    yield {"what": "folders", **child(LIST, folders, "now")}
    run_command("index", folders)
    for time in ("first", "again"):
        yield {"what": f"folders with an index, {time}", **child(LIST, folders, "now")}
    shutil.rmtree(folders)
    for what, folder in (
        (f"{words.records} records in shards", shards(scratch / "shards", record, words.records)),
        (f"an index of {words.rows} rows", lone_index(scratch / "index", record, words.rows)),
    ):
        for time in ("first", "again"):
            yield {"what": f"{what}, {time}", **child(LIST, folder, "now")}
        size = (folder / "index.parquet").stat().st_size
        yield {"what": f"{what}: the index", "megabytes": size / 1e6}
        if what.endswith("shards"):
            yield {"what": f"{what}: a loading process", **child(LOAD, folder, "now")}


def child(code: str, folder: Path, which: str, checkout: Path = ROOT) -> dict[str, Any]:
    """What a piece of code prints about a folder, in a process of its own."""
    script = folder.parent / "child.py"  # processes that are spawned import it
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(script), str(folder), which]
    done = subprocess.run(
        words, cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_command(name: str, folder: Path) -> None:
    words = [sys.executable, str(ROOT / "create_training_data.py"), name, str(folder)]
    subprocess.run(words, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def link_folders(folder: Path, record: Path, count: int) -> Path:
    """Folders of records, all files of which are links to one record's."""
    files = sorted(record.iterdir())
    for number in range(count):
        place = folder / name_of(number)
        place.mkdir(parents=True)
        for file in files:
            os.link(file, place / file.name)
    return folder


def name_of(number: int) -> str:
    return f"film_Any_V2_S_{number // 100:08x}_{number % 100:06d}"


def rows_of(record: Path, count: int) -> Iterator[tuple[str, list[Row]]]:
    """Rows of the same record over and over, shard by shard."""
    files = {path.name: path.read_bytes() for path in sorted(record.iterdir())}
    with open(os.devnull, "wb") as nothing:
        one = ShardWriter(nothing).add(name_of(0), files)
    for first in range(0, count, IN_A_SHARD):
        shard, rows = f"made-up-{first // IN_A_SHARD:06d}.tar", list[Row]()
        for number in range(first, min(count, first + IN_A_SHARD)):
            name, offset = name_of(number), (number - first) * one.length
            place = (shard, offset, one.length, one.files, one.starts)
            rows.append(Row(name, *place, FRAMES, SIDE, SIDE, "CM", derive_seed(name), one.crc))
        yield shard, rows


def lone_index(folder: Path, record: Path, count: int) -> Path:
    """An index, and empty shards as long as it says."""
    folder.mkdir()
    pa, tables = need("pyarrow", "this"), []
    for shard, rows in rows_of(record, count):
        tables.append(table_of(rows))
        with open(folder / shard, "wb") as file:
            file.truncate(shard_size(rows[-1].offset + rows[-1].length))
    write_index(folder / "index.parquet", pa.concat_tables(tables), of=SHARDS, names="")
    return folder


def shards(folder: Path, record: Path, count: int) -> Path:
    """Shards of one record over and over, under other names."""
    folder.mkdir()
    pa, tables = need("pyarrow", "this"), []
    files = {path.name: path.read_bytes() for path in sorted(record.iterdir())}
    for shard, rows in rows_of(record, count):
        with open(folder / shard, "wb") as file:
            writer = ShardWriter(file)
            packed = [writer.add(row.record, files) for row in rows]
            writer.close()
        own = [Row(**{**vars(row), "crc32": place.crc}) for row, place in zip(rows, packed)]
        tables.append(table_of(own))
    write_index(folder / "index.parquet", pa.concat_tables(tables), of=SHARDS, names="")
    return folder


if __name__ == "__main__":
    main()
