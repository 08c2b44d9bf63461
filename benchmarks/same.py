"""Whether another checkout does the same: python -m benchmarks.same OTHER_CHECKOUT [-o FOLDER].

Both checkouts run the same command lines, each in its own process and with its own code, on a clip
that is rendered once. Whatever they write is compared byte for byte (pictures, films, records,
tables, ONNX files); model files and checkpoints by the bits of what they hold, because they and
manifests tell when they were made; and what they print, without times. Model files and engines of
the other checkout are opened by this one as well. The exit code says whether all is the same.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from nunif.files import make_folder

ROOT = Path(__file__).resolve().parents[1]
UNTOLD = (
    "updated_at",
    "seconds",
    "created",
    "sha256",
    "bytes",
    "time",
    "date",
)  # entries that say when, or of what bytes
TIMES = re.compile(
    r"\d+(\.\d+)?( ?(s|ms|fps|frames?/s|it/s)\b)|\d{2,4}-\d\d-\d\d[ T][\d:.+]*|\d+:\d\d(:\d\d)?"
)

SCENE = [
    "-m",
    "inpaint",
    "sample-video",
    "-o",
    "{film}",
    "--width",
    "320",
    "--height",
    "192",
    "--frames",
    "60",
]
GENERATE = ["create_training_data.py"]
TRAIN = [
    "train.py",
    "inpaint",
    "-i",
    "data",
    "--gpu",
    "-1",
    "--disable-tensorboard",
    "--num-workers",
    "0",
]
TRAIN += ["--max-epoch", "2", "--learning-rate-cycles", "1"]
SMALL = [
    "--arch",
    "memory_dstt_v1_tiny",
    "--tile-size",
    "64",
    "--num-samples",
    "48",
    "--batch-size",
    "1",
]
FAST = ["--arch", "fusion_v1", "--tile-size", "64", "--num-samples", "48"]
MODEL = "models/video/inpaint.memory_dstt_v1_tiny.pth"

# name: command line after python; the folders and files that are named in it are made in the
# scratch folder
COMMANDS: dict[str, list[str]] = {
    "records": [
        *GENERATE,
        "video_inpaint",
        "--dataset-dir",
        "{film}",
        "-o",
        "data/train",
        "--model-type",
        "MotionParallax",
        "--size",
        "128",
        "--seq",
        "16",
        "--skip-interval",
        "4",
        "--prefix",
        "a",
        "--gpu",
        "-1",
    ],
    ("records to judge"): [
        *GENERATE,
        "video_inpaint",
        "--dataset-dir",
        "{film}",
        "-o",
        "data/eval",
        "--model-type",
        "MotionParallax",
        "--size",
        "128",
        "--seq",
        "16",
        "--skip-first",
        "30",
        "--gpu",
        "-1",
    ],
    ("records without masks"): [
        *GENERATE,
        "frames",
        "--dataset-dir",
        "{film}",
        "-o",
        "frames/train",
        "--size",
        "96x128",
    ],
    ("records of pictures"): [
        *GENERATE,
        "inpaint",
        "--dataset-dir",
        "{film}",
        "-o",
        "pictures/train",
        "--size",
        "128",
    ],
    "contact sheet": ["-m", "inpaint", "contact-sheet", "-i", "data/train", "-o", "sheet.png"],
    "training": [
        *TRAIN,
        *SMALL,
        "--model-dir",
        "models/video",
        "--video",
        "--backward-step",
        "2",
        "--save-eval-step",
        "1",
    ],
    ("training on"): [
        *TRAIN,
        *SMALL,
        "--model-dir",
        "models/video",
        "--video",
        "--backward-step",
        "2",
        "--resume",
        "--max-epoch",
        "3",
    ],
    "fine-tuning": [
        *TRAIN,
        *SMALL,
        "--model-dir",
        "models/video",
        "--video",
        "--optimizer",
        "adamw_schedulefree",
        "--resume",
        "--reset-state",
        "--mask",
        "occlusion=1,object=1,strips=1",
    ],
    ("against a discriminator"): [
        *TRAIN,
        *FAST,
        "--model-dir",
        "models/gan",
        "--video",
        "--discriminator",
        "t_patch_gan",
        "--loss",
        "temporal_l1dct",
        "--ema-model",
        "--warmup-epoch",
        "1",
    ],
    "pictures": [
        *TRAIN,
        "--model-dir",
        "models/pictures",
        "--arch",
        "memory_dstt_v1_tiny",
        "--tile-size",
        "64",
        "--num-samples",
        "8",
        "--batch-size",
        "4",
        "--mask",
        "rectangle,strokes",
        "--skip-eval",
    ],
    "stages": [
        "train.py",
        "inpaint",
        "--curriculum",
        "{stages}",
        "--model-dir",
        "models/stages",
        "--video",
        "--gpu",
        "-1",
        "--disable-tensorboard",
        "--num-workers",
        "0",
    ],
    "a file's facts": ["-m", "inpaint", "checkpoint", MODEL],
    "another layout": ["-m", "inpaint", "checkpoint", MODEL, "-o", "converted.safetensors"],
    "apply": [
        "-m",
        "inpaint",
        "apply",
        "-i",
        "{film}",
        "--mask",
        "{mask}",
        "-o",
        "filled.mp4",
        "--model",
        MODEL,
        "--gpu",
        "-1",
    ],
    ("apply, a shot ahead"): [
        "-m",
        "inpaint",
        "apply",
        "-i",
        "{film}",
        "--mask",
        "{mask}",
        "-o",
        "filled",
        "--compare",
        "--look-ahead",
        "shot",
        "--model",
        "{released}",
        "--gpu",
        "-1",
    ],
    "stereo": [
        "-m",
        "inpaint",
        "stereo",
        "-i",
        "{film}",
        "-o",
        "stereo.mp4",
        "--model-type",
        "MotionParallax",
        "--view",
        "both",
        "--model",
        "{released}",
        "--gpu",
        "-1",
    ],
    "export": [
        "-m",
        "inpaint",
        "export",
        "-m",
        MODEL,
        "-o",
        "engines",
        "--size",
        "96x128",
        "--gpu",
        "-1",
    ],
    ("export of a fast one"): [
        "-m",
        "inpaint",
        "export",
        "-m",
        "{released}",
        "-o",
        "engines",
        "--size",
        "96x128",
        "--gpu",
        "-1",
        "--format",
        "onnx,torch-export",
    ],
    ("apply by ONNX"): [
        "-m",
        "inpaint",
        "apply",
        "-i",
        "{film}",
        "--mask",
        "{mask}",
        "-o",
        "by_onnx",
        "--gpu",
        "-1",
        "--model",
        "engines/memory_dstt_v1_tiny_96x128_fp32.onnx",
    ],
    ("scores on films"): [
        "-m",
        "inpaint",
        "evaluate",
        "-i",
        "{films}",
        "-m",
        "{released}",
        "-m",
        "zero-memory",
        "--size",
        "96x160",
        "--frames",
        "12",
        "--look-ahead",
        "0,8",
        "-o",
        "scores/films",
        "--gpu",
        "-1",
    ],
    ("scores on records"): [
        "-m",
        "inpaint",
        "evaluate",
        "-i",
        "data/eval",
        "-m",
        MODEL,
        "-m",
        "{released}",
        "-o",
        "scores/records",
        "--gpu",
        "-1",
    ],
    ("scores with masks"): [
        "-m",
        "inpaint",
        "evaluate",
        "-i",
        "{films}",
        "-m",
        "{released}",
        "--masks",
        "{masks}",
        "--baselines",
        "telea",
        "--size",
        "96x160",
        "--frames",
        "12",
        "-o",
        "scores/masks",
        "--gpu",
        "-1",
    ],
    "no such folder": [*TRAIN, "--model-dir", "models/none", "--video", "-i", "nowhere"],
    "a wrong loss": [*TRAIN, "--model-dir", "models/none", "--loss", "l3"],
    ("a model for another task"): [
        "-m",
        "inpaint",
        "apply",
        "-i",
        "{film}",
        "--mask",
        "{mask}",
        "-o",
        "x.mp4",
        "--model",
        "{film}",
    ],
}
TABLES = {
    "create_training_data.py": ["create_training_data.py"],
    "train.py": ["train.py"],
    "inpaint": ["-m", "inpaint"],
}
STAGES = """
stages:
  - name: alone
    data: data
    arch: memory_dstt_v1_tiny
    epochs: 1
    num_samples: 24
    tile_size: "64"
  - name: with memory
    data: data
    epochs: 1
    num_samples: 24
    tile_size: "64"
    learning_rate: 5e-5
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "other",
        type=Path,
        help="the checkout to compare with, such as a git worktree of an older commit",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("same"),
        help="folder for all that both of them write",
    )
    parser.add_argument(
        "--only",
        default="",
        help="only command lines with this in their names (what they need must be there)",
    )
    words = parser.parse_args()
    folder = words.output.resolve()
    inputs = make_inputs(folder / "inputs")
    places = {"other": words.other.resolve(), "this": ROOT}
    with ThreadPoolExecutor(2) as threads:
        printed = dict(
            zip(
                places,
                threads.map(
                    lambda who: run_all(places[who], folder / who, inputs, words.only), places
                ),
            )
        )
    rows = list(compare_printed(printed["other"], printed["this"])) + list(
        compare_files(folder / "other", folder / "this")
    )
    rows += list(open_files_of_the_other(folder, inputs))
    differing = [what for what, same in rows if not same]
    print(f"{len(rows) - len(differing)} of {len(rows)} are the same")
    for what in differing:
        print(f"another: {what}")
    return int(bool(differing))


def make_inputs(folder: Path) -> dict[str, str]:
    """The film, its masks, stages and the released model: path by the word that stands in the
    command lines."""
    import numpy as np

    from inpaint.hole_shapes import moving_shape
    from nunif.image import save_png

    paths = {
        "film": folder / "films" / "scene.mp4",
        "films": folder / "films",
        "masks": folder / "masks",
        "mask": folder / "masks" / "scene",
        "stages": folder / "stages.yaml",
        "released": ROOT / "pretrained_models" / "picture_memory_v1.pth",
    }
    if not paths["stages"].exists():
        make_folder(paths["film"].parent)
        make_folder(paths["mask"])
        python(ROOT, folder, [word.format(**paths) for word in SCENE])
        for number, hole in enumerate(moving_shape(60, (192, 320), np.random.default_rng(1))):
            save_png(
                paths["mask"] / f"{number:04}.png",
                np.repeat(np.uint8(hole)[..., None] * 255, 3, axis=2),
            )
        paths["stages"].write_text(STAGES, encoding="utf-8")
    return {name: str(path) for name, path in paths.items()}


def python(checkout: Path, folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A command line of a checkout, run in a folder, with two threads at most."""
    words = [str(checkout / words[0]) if words[0].endswith(".py") else words[0], *words[1:]]
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def run_all(checkout: Path, folder: Path, inputs: dict[str, str], only: str) -> dict[str, str]:
    """What every command line printed, without times, by its name."""
    make_folder(folder)
    printed = {}
    for name, words in COMMANDS.items():
        if only in name:
            done = python(checkout, folder, [word.format(**inputs) for word in words])
            lines = [
                line for line in done.stderr.split("\n") if "\r" not in line and "%|" not in line
            ]
            printed[name] = TIMES.sub(
                "TIME", f"{done.returncode}\n{done.stdout}\n" + "\n".join(lines)
            )
            print(f"{folder.name}: {name} ({done.returncode})", file=sys.stderr, flush=True)
    for name, words in TABLES.items():
        top = python(checkout, folder, [*words, "-h"]).stdout
        for command in re.findall(r"^    ([a-z_-]+) ", top, re.M):
            printed[f"{name} {command} -h"] = python(
                checkout, folder, [*words, command, "-h"]
            ).stdout
        printed[f"{name} -h"] = top
    (folder / "printed.json").write_text(json.dumps(printed, indent=1), encoding="utf-8")
    return printed


def compare_printed(before: dict[str, str], after: dict[str, str]) -> Iterator[tuple[str, bool]]:
    for name in sorted(before.keys() | after.keys()):
        yield f"what is printed by {name}", before.get(name) == after.get(name)


def compare_files(before: Path, after: Path) -> Iterator[tuple[str, bool]]:
    """Every file that one of them wrote, and whether the other wrote the same."""
    names = {
        path.relative_to(folder) for folder in (before, after) for path in folder.rglob("*")
        if path.is_file() and path.name != "printed.json" and ".lock" not in path.name
    }  # fmt: skip
    for name in sorted(names):
        one, two = before / name, after / name
        yield str(name), one.is_file() and two.is_file() and content(one) == content(two)


def content(path: Path) -> Any:
    """What is compared of a file: a digest of its bytes, or of what it holds besides the time of
    its making."""
    if path.suffix in (".pth", ".ckpt", ".pt"):
        return told(torch.load(path, map_location="cpu", weights_only=True))
    if path.suffix == ".json":
        return told(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix in (".csv", ".md", ".html", ".txt", ".log"):
        return TIMES.sub("TIME", path.read_text(encoding="utf-8", errors="replace"))
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return told(load_file(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(value: Any) -> Any:
    """Nested values with digests in place of tensors and without what says when."""
    if isinstance(value, torch.Tensor):
        return (
            str(value.dtype),
            tuple(value.shape),
            hashlib.sha256(value.contiguous().view(-1).numpy().tobytes()).hexdigest(),
        )
    if isinstance(value, dict):
        return {
            str(key): told(entry)
            for key, entry in value.items()
            if not any(word in str(key) for word in UNTOLD)
        }
    if isinstance(value, list | tuple):
        return [told(entry) for entry in value]
    return value


def open_files_of_the_other(folder: Path, inputs: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """Model files, checkpoints, records and engines that the other one wrote, in the hands of this
    one."""
    other, mine = folder / "other", folder / "opened"
    make_folder(mine)
    for path in sorted([*other.rglob("*.pth"), *other.rglob("*.safetensors")]):
        done = python(ROOT, mine, ["-m", "inpaint", "checkpoint", str(path)])
        yield f"opening {path.relative_to(other)}", done.returncode == 0
    for path in sorted(other.rglob("*.onnx")):
        words = [
            "apply",
            "-i",
            inputs["film"],
            "--mask",
            inputs["mask"],
            "-o",
            path.stem,
            "--model",
            str(path),
            "--gpu",
            "-1",
        ]
        yield (
            f"running {path.relative_to(other)}",
            python(ROOT, mine, ["-m", "inpaint", *words]).returncode == 0,
        )
    words = ["contact-sheet", "-i", str(other / "data" / "train"), "-o", "sheet.png"]
    yield "opening its records", python(ROOT, mine, ["-m", "inpaint", *words]).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
