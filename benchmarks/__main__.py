"""Measure: python -m benchmarks NAME [NAME ...], or `all`; `make bench` is `all`."""

import argparse
import os
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.report import write_report
from benchmarks.setting import Setting
from benchmarks.timing import ROOT, machine
from nunif.device import create_device
from nunif.files import make_folder, write_json

NAMES = ("generator", "decode", "holes", "loader", "step", "frame", "start")
ONE_THREAD = ("generator", "decode", "holes", "loader")  # what runs in many threads or processes of its own


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[*NAMES, "all", "report"], help="what to measure; report: only the table")
    parser.add_argument("--rounds", type=int, default=5, help="timed repeats of every alternative")
    parser.add_argument("--gpu", type=int, default=-1, help="number of the GPU, -1 for the CPU")
    parser.add_argument("--models", default="", help="only these networks, separated by commas, such as memory_dstt_v1_small")
    parser.add_argument("--compile", action="store_true", help="torch.compile too; takes minutes to start")
    parser.add_argument("--peer", type=Path, help="a checkout of nagadomi/nunif, to be measured beside (needs torchvision)")
    parser.add_argument("--published", type=Path, help="a checkout of c1h1r1i1s1/Real-Time-Inpainting, likewise")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON files")
    words = parser.parse_args()
    device = create_device(words.gpu)
    make_folder(words.output)
    for name in NAMES if "all" in words.names else [name for name in words.names if name != "report"]:
        _set_threads(1 if name in ONE_THREAD else os.cpu_count() or 1)
        with tempfile.TemporaryDirectory() as scratch:
            setting = Setting(
                scratch=Path(scratch), rounds=words.rounds, device=device, compiled=words.compile,
                models=tuple(filter(None, words.models.split(","))),
                peer=words.peer, published=words.published,
            )  # fmt: skip
            about = machine(device)
            run: Callable[[Setting], dict[str, Any]] = import_module(f"benchmarks.{name}").run
            result = {"name": name, **about, **run(setting)}
        where = [] if device.type == "cpu" else [torch.cuda.get_device_name(device).replace(" ", "_")]
        what = [name, *where, *(["compiled"] if words.compile else []), *setting.models]
        write_json(words.output / f"{'-'.join(what)}.json", result)
    print(write_report(words.output))


def _set_threads(count: int) -> None:
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


if __name__ == "__main__":
    main()
