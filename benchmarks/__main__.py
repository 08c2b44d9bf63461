"""Measure: python -m benchmarks NAME [NAME ...], or `all`; `make bench` is `all`. `gpu` is apart:
minutes on a GPU."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.report import section, write_report
from benchmarks.setting import Card, Setting
from benchmarks.timing import ROOT, machine
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import make_folder, write_json
from nunif.options import parse_size

NAMES = ("generator", "decode", "holes", "loader", "step", "frame", "start")
APART = ("gpu", "live", "operations")  # not of `all`
RESULTS = ROOT / "benchmarks" / "results"
# what runs in many threads or processes of its own
ONE_THREAD = (
    "generator",
    "decode",
    "holes",
    "loader",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="+",
        choices=[*NAMES, *APART, "all", "report"],
        help="what to measure; report: only the table",
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed repeats of every alternative")
    parser.add_argument(
        "--gpu",
        type=int,
        help="number of the GPU, -1 for the CPU (default: -1; for gpu the first, if there is one)",
    )
    parser.add_argument(
        "--models",
        default="",
        help="only these networks, separated by commas, such as memory_dstt_v1_small",
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile too; takes minutes to start"
    )
    parser.add_argument(
        "--peer",
        type=Path,
        help="a checkout of nagadomi/nunif, to be measured beside (needs torchvision)",
    )
    parser.add_argument(
        "--published", type=Path, help="a checkout of c1h1r1i1s1/Real-Time-Inpainting, likewise"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=RESULTS, help="folder for the JSON files"
    )
    _add_arguments_of_gpu(parser)
    words = parser.parse_args()
    make_folder(words.output)
    failed = False
    for name in (
        NAMES if "all" in words.names else [name for name in words.names if name != "report"]
    ):
        failed |= _measure(name, words)
    print(
        write_report(
            words.output, RESULTS.parent if words.output.resolve() == RESULTS else words.output
        )
    )
    return int(failed)


def _add_arguments_of_gpu(parser: argparse.ArgumentParser) -> None:
    card = Card()
    group = parser.add_argument_group("gpu")

    def add(flag: str, default: Any, about: str, *, kind: type = str) -> None:
        shown = "rendered scenes" if default is None else default
        group.add_argument(flag, type=kind, default=default, help=f"{about} (default: {shown})")

    add("--minutes", card.minutes, "for all of it", kind=float)
    add("--sizes", "360x640,720x1280", "height x width of streamed frames")
    add("--tile", card.tile, "sides of the clips of timed updates", kind=int)
    add("--data", None, "dataset folder of the training run, with train/", kind=Path)
    add("--films", None, "films or folders of pictures to judge it on", kind=Path)
    add("--batch", card.batch_size, "clips of an update of that run", kind=int)
    add("--film-size", "240x432", "height x width at which films are judged")
    add("--film-frames", card.film_frames, "of a film, at most", kind=int)


def _measure(name: str, words: argparse.Namespace) -> bool:
    """Run one benchmark and write what it finds, a benchmark of parts after each of them; whether
    something failed."""
    first = 0 if name in APART and torch.cuda.is_available() else -1
    device = create_device(first if words.gpu is None else words.gpu)
    _set_threads(
        1 if name in ONE_THREAD else int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    )
    where = (
        ["CPU"] * (name in APART)
        if device.type == "cpu"
        else [torch.cuda.get_device_name(device).replace(" ", "_")]
    )
    models = tuple(filter(None, words.models.split(",")))
    path = (
        words.output
        / f"{'-'.join([name, *where, *(['compiled'] if words.compile else []), *models])}.json"
    )
    card = Card(
        minutes=words.minutes,
        sizes=tuple(map(parse_size, words.sizes.split(","))),
        tile=words.tile,
        data=words.data,
        films=words.films,
        batch_size=words.batch,
        film_size=parse_size(words.film_size),
        film_frames=words.film_frames,
    )
    with tempfile.TemporaryDirectory() as scratch:
        setting = Setting(
            scratch=Path(scratch),
            output=words.output,
            rounds=words.rounds,
            device=device,
            models=models,
            compiled=words.compile,
            peer=words.peer,
            published=words.published,
            card=card,
        )
        about = machine(device)
        run: Callable[[Setting], dict[str, Any] | Iterator[dict[str, Any]]] = import_module(
            f"benchmarks.{name}"
        ).run
        found = run(setting)
        result: dict[str, Any] = {}
        for parts in [found] if isinstance(found, dict) else found:
            result = {"name": name, **about, **parts}
            write_json(path, result)
    if name in APART:
        print("\n".join(section(path.stem, result)))
    return bool(result.get("failed"))


def _set_threads(count: int) -> None:
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
