"""What it costs to read a training sample of 12 x 256 x 256, by how its records lie: as folders, in
shards of PNG and in shards of JPEG XL; also with an older checkout.

    python -m benchmarks.samples -o FILE
    python -m benchmarks.samples -o FILE -i RECORDS --before CHECKOUT

Each alternative is a process of its own that reads the same samples, and they take turns. That all
of them read the same bits, as the network gets them, is checked. Without -i records are rendered.
JPEG XL needs the extra `jxl`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.inputs import write_records
from benchmarks.timing import ROOT, machine
from nunif.files import make_folder, write_json
from nunif.timing import spread

SAMPLES = 24  # of a turn
CODE = """
import hashlib, json, sys, time
from pathlib import Path
import cv2
import torch
from inpaint import dataset
from nunif.training.task import Draw

torch.set_num_threads(1)
cv2.setNumThreads(1)
records, _ = dataset.scan_records(Path(sys.argv[1]), min_frames=12, min_size=(256, 256))
kind = "occlusion" if records[0].has("M") else "strokes"
samples = dataset.TrainSet(records, 12, (256, 256), {kind: 1.0})
draws = [Draw(i % len(records), seed=i) for i in range(int(sys.argv[2]))]
digest, size = hashlib.sha256(), 0
for draw in draws:
    sample = samples[draw]
    size += sum(value.nbytes for value in sample.values() if hasattr(value, "nbytes"))
    sample = getattr(dataset, "unpack", dict)(sample)
    for name in ("frames", "holes"):
        digest.update(sample[name].contiguous().numpy().tobytes())
print(json.dumps({"digest": digest.hexdigest(), "mb": size / len(draws) / 1e6}), flush=True)
for _ in sys.stdin:
    begin = time.process_time()
    for draw in draws:
        samples[draw]
    print(json.dumps(1000 * (time.process_time() - begin) / len(draws)), flush=True)
"""


@dataclass(frozen=True)
class Alternative:
    """A reader of records in a process of its own. about: what it said of them at its start."""

    process: subprocess.Popen
    about: dict[str, Any]

    def turn(self) -> float:
        """CPU milliseconds of a sample."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return _answer(self.process)


@contextmanager
def start(folder: Path, checkout: Path) -> Iterator[Alternative]:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", CODE, str(folder), str(SAMPLES)]
    with subprocess.Popen(
        words,
        cwd=checkout,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield Alternative(process, _answer(process))


def _answer(process: subprocess.Popen) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    parser.add_argument("-i", "--records", type=Path, help="folder of records")
    parser.add_argument("--before", type=Path, help="an older checkout, which reads folders")
    parser.add_argument("--rounds", type=int, default=9, help="timed turns of each")
    parser.add_argument("--what", default="rendered", help="what the records are, for the file")
    words = parser.parse_args()
    make_folder(words.output.parent)
    about = machine(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        folder = words.records or write_records(Path(scratch) / "train", 8)
        rows = measure(folder, Path(scratch), words.before, words.rounds)
    write_json(words.output, {**about, "records": words.what, "rows": rows})
    for row in rows:
        print(json.dumps(row))


def measure(folder: Path, scratch: Path, before: Path | None, rounds: int) -> list[dict[str, Any]]:
    places = {"folders": folder}
    for codec in ("png", "jxl"):
        places[f"shards, {codec}"] = pack(folder, scratch / codec, codec)
    checkouts = dict.fromkeys(places, ROOT)
    if before is not None:
        places, checkouts = (
            {"folders, before": folder, **places},
            {"folders, before": before} | checkouts,
        )
    with ExitStack() as stack:
        readers = {
            name: stack.enter_context(start(place, checkouts[name]))
            for name, place in places.items()
        }
        assert len({reader.about["digest"] for reader in readers.values()}) == 1
        times: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(rounds):
            for name, reader in readers.items():
                times[name].append(reader.turn())
    first = next(iter(times))
    return [
        {
            "what": name,
            "cpu_ms": spread(times[name]),
            "of_the_first": spread([a / b for a, b in zip(times[name], times[first])]),
            "of_folders": spread([a / b for a, b in zip(times[name], times["folders"])]),
            "sample_mb": reader.about["mb"],
            "record_mb": size_of(places[name]) / num_records(folder) / 1e6,
        }
        for name, reader in readers.items()
    ]


def pack(folder: Path, output: Path, codec: str) -> Path:
    words = [sys.executable, str(ROOT / "create_training_data.py"), "pack", "--codec", codec]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*words, "-i", folder, "-o", output], check=True, cwd=ROOT, env=environment)
    return output


def size_of(folder: Path) -> int:
    """Bytes of the files below it, without an index."""
    files = (path for path in folder.rglob("*") if path.suffix != ".parquet")
    return sum(path.stat().st_size for path in files if path.name[0] != "." and path.is_file())


def num_records(folder: Path) -> int:
    return sum(path.is_dir() for path in folder.iterdir())


if __name__ == "__main__":
    main()
