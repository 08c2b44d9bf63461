"""Whether another checkout does the same: python -m benchmarks.same OTHER_CHECKOUT [-o FOLDER].

Both checkouts run the same command lines, each in its own process and with its own code, on a clip
that is rendered once. Whatever they write is compared byte for byte (pictures, films, records,
tables, ONNX files); model files and checkpoints by the bits of what they hold, because they and
manifests tell when they were made; and what they print, without times. Model files and engines of
the other checkout are opened by this one as well.
What the other checkout wrote into FOLDER before is taken as it is. The exit code says whether all
is the same.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import torch

from nunif.files import make_folder

ROOT = Path(__file__).resolve().parents[1]
# entries that say when, how fast, or of which bytes
UNTOLD = ("updated_at", "seconds", "sha256", "bytes", "fps", "exported_at")
TIMES = re.compile(
    r"\d+(\.\d+)?( ?(s|ms|fps|frames?/s|it/s)\b)|\d{2,4}-\d\d-\d\d[ T][\d:.,+]*|\d+:\d\d(:\d\d)?"
)

SCENE = "-m inpaint sample-video -o {film} --width 320 --height 192 --frames 60"
ROUND = "train.py inpaint -i data --gpu -1 --disable-tensorboard --num-workers 0"
ROUND += " --learning-rate-cycles 1 --tile-size 64 --num-samples 48"
CLIPS = f"{ROUND} --arch memory_dstt_v1_tiny --video --batch-size 1 --backward-step 2"
VIDEO = "models/video"
MODEL = f"{VIDEO}/inpaint.memory_dstt_v1_tiny.pth"
FILL = "-m inpaint apply -i {film} --mask {mask} --gpu -1"
JUDGE = "-m inpaint evaluate --gpu -1"

# name: what stands behind `python`; what it writes lies in the folder where it runs
COMMANDS = {
    "records": "create_training_data.py video_inpaint --dataset-dir {film} -o data/train --prefix a"
    " --model-type MotionParallax --size 128 --seq 16 --skip-interval 4 --gpu -1",
    "records to judge": "create_training_data.py video_inpaint --dataset-dir {film} -o data/eval"
    " --model-type MotionParallax --size 128 --seq 16 --skip-first 30 --divergence-level 2"
    " --gpu -1",
    "frames": "create_training_data.py frames --dataset-dir {film} -o frames --size 96x128",
    "pictures": "create_training_data.py inpaint --dataset-dir {film} -o pictures --size 128",
    "contact sheet": "-m inpaint contact-sheet -i data/train -o sheet.png",
    "training": f"{CLIPS} --model-dir {VIDEO} --max-epoch 2 --save-eval-step 1",
    "going on": f"{CLIPS} --model-dir {VIDEO} --max-epoch 3 --resume",
    "fine-tuning": f"{CLIPS} --model-dir {VIDEO} --max-epoch 2 --resume --reset-state"
    " --optimizer adamw_schedulefree --mask occlusion=1,object=1,strips=1",
    "a discriminator": f"{ROUND} --arch fusion_v1 --video --model-dir models/gan --max-epoch 2"
    " --discriminator t_patch_gan --generator-warmup-iteration 4 --loss temporal_l1dct"
    " --ema-model --warmup-epoch 1",
    "single pictures": f"{ROUND} --arch memory_dstt_v1_tiny --model-dir models/pictures"
    " --max-epoch 1 --batch-size 4 --mask rectangle,strokes --skip-eval",
    "stages": "train.py inpaint --curriculum {stages} --model-dir models/stages --video --gpu -1"
    " --disable-tensorboard --num-workers 0 --learning-rate-cycles 1",
    "facts of a file": f"-m inpaint checkpoint {MODEL}",
    "another layout": f"-m inpaint checkpoint {MODEL} -o converted.safetensors",
    "apply": f"{FILL} -o filled.mkv --codec ffv1 --model {MODEL}",
    "apply, a shot ahead": f"{FILL} -o filled --compare --look-ahead shot --model {{released}}",
    "stereo": "-m inpaint stereo -i {film} -o stereo.mkv --codec ffv1 --view both"
    " --model-type MotionParallax --model {released} --gpu -1",
    "export": f"-m inpaint export -m {MODEL} -o engines --size 192x320 --gpu -1",
    "export twice": "-m inpaint export -m {released} -o engines --size 192x320 --gpu -1"
    " --format onnx,torch-export",
    "apply by ONNX": f"{FILL} -o by_onnx --model engines/memory_dstt_v1_tiny_192x320_fp32.onnx",
    "scores on films": f"{JUDGE} -i {{films}} -m {{released}} -m zero-memory --size 96x160"
    " --frames 12 --look-ahead 0,8 -o scores/films",
    "scores on records": f"{JUDGE} -i data/eval -m {MODEL} -o scores/records",
    "scores with masks": f"{JUDGE} -i {{films}} -m {{released}} --masks {{masks}} --size 96x160"
    " --baselines telea --frames 12 -o scores/masks",
    "no such folder": f"{CLIPS} --model-dir models/none -i nowhere",
    "a wrong loss": f"{CLIPS} --model-dir models/none --loss l3",
    "another kind of file": f"{FILL} -o x.mp4 --model {{film}}",
}
TABLES = {
    "create_training_data": "create_training_data.py",
    "train": "train.py",
    "inpaint": "-m inpaint",
}
STAGES = """
arch: memory_dstt_v1_tiny
stages:
  - name: short clips
    data: data
    clip_length: 4
    epochs: 1
    num_samples: 24
    tile_size: 64
  - name: long ones
    data: data
    epochs: 1
    num_samples: 24
    tile_size: 64
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
    words = parser.parse_args()
    folder = words.output.resolve()
    inputs = make_inputs(folder / "inputs")
    places = {"other": words.other.resolve(), "this": ROOT}
    with ThreadPoolExecutor(2) as threads:
        printed = dict(
            zip(
                places,
                threads.map(lambda who: run_all(places[who], folder / who, inputs), places),
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
        python(ROOT, folder, words_of(SCENE, paths))
        for number, hole in enumerate(moving_shape(60, (192, 320), np.random.default_rng(1))):
            save_png(
                paths["mask"] / f"{number:04}.png",
                np.repeat(np.uint8(hole)[..., None] * 255, 3, axis=2),
            )
        paths["stages"].write_text(STAGES, encoding="utf-8")
    return {name: str(path) for name, path in paths.items()}


def words_of(line: str, paths: dict[str, Any]) -> list[str]:
    return [word.format(**paths) for word in shlex.split(line)]


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


def run_all(checkout: Path, folder: Path, inputs: dict[str, str]) -> dict[str, str]:
    """What every command line printed, without times, by its name."""
    if (folder / "printed.json").exists() and checkout != ROOT:
        return json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    printed = {}
    for name, line in COMMANDS.items():
        done = python(checkout, folder, words_of(line, inputs))
        lines = [text for text in done.stderr.split("\n") if "\r" not in text and "%|" not in text]
        text = "\n".join([str(done.returncode), done.stdout, *lines])
        printed[name] = TIMES.sub("TIME", text)
        print(f"{folder.name}: {name} ({done.returncode})", file=sys.stderr, flush=True)
    for name, line in TABLES.items():
        words = words_of(line, inputs)
        top = python(checkout, folder, [*words, "-h"]).stdout
        for command in re.findall(r"^    ([a-z_-]+)(?: |$)", top, re.M):
            printed[f"{name} {command} -h"] = python(
                checkout, folder, [*words, command, "-h"]
            ).stdout
        printed[f"{name} -h"] = top
    (folder / "printed.json").write_text(json.dumps(printed, indent=1), encoding="utf-8")
    return printed


def compare_printed(before: dict[str, str], after: dict[str, str]) -> Iterator[tuple[str, bool]]:
    for name in sorted(before.keys() | after.keys()):
        one, two = (timeless(printed.get(name, "missing")) for printed in (before, after))
        if name.endswith("-h"):  # whose options may stand in another order
            one, two = (" ".join(sorted(text.split())) for text in (one, two))
        yield f"what is printed by {name}", one == two


def compare_files(before: Path, after: Path) -> Iterator[tuple[str, bool]]:
    """Every file that one of them wrote, and whether the other wrote the same."""
    one, two = files_below(before), files_below(after)
    for name in sorted(one.keys() | two.keys()):
        both = name in one and name in two
        yield name, both and content(one[name]) == content(two[name])


def files_below(folder: Path) -> dict[str, Path]:
    """Paths by names that don't tell when they were made."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {
        re.sub(r"\.\d{14}\.", ".TIME.", str(path.relative_to(folder))): path
        for path in paths
        if path.name != "printed.json" and ".lock" not in path.name
    }


def content(path: Path) -> str:
    """What is compared of a file: a digest of its bytes, or of what it holds besides when and
    how fast it was made."""
    read = READERS.get(path.suffix)
    return digest(path.read_bytes()) if read is None else repr(read(path))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def timeless(text: str) -> str:
    """Without times, dates, sizes and digests of files that tell them, and frames per second (the
    last column of scores)."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", TIMES.sub("TIME", text))
    text = re.sub(r"\d+\.\d MB|[\d,]+ bytes", "SIZE", text)
    text = re.sub(r"\.\d{14}\.", ".TIME.", text)  # in names of files that are kept
    text = re.sub(r"(?m) +\d+\.\d{3}$", " FPS", text)
    return re.sub(" +", " ", text)  # columns are as wide as their numbers


def told(value: Any) -> Any:
    """Nested values with digests in place of tensors and without what says when or how fast."""
    if isinstance(value, torch.Tensor):
        data = value.contiguous().view(-1).view(torch.uint8) if value.numel() else value
        return str(value.dtype), tuple(value.shape), digest(data.numpy().tobytes())
    if isinstance(value, dict):
        kept = {str(key): entry for key, entry in value.items() if str(key) not in UNTOLD}
        return {key: told(entry) for key, entry in kept.items()}
    if isinstance(value, list | tuple):
        return [told(entry) for entry in value]
    return value


def read_model(path: Path) -> Any:
    return told(torch.load(path, map_location="cpu", weights_only=True))


def read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return told(load_file(path))


def read_json(path: Path) -> Any:
    return told(json.loads(path.read_text(encoding="utf-8")))


def read_csv(path: Path) -> Any:
    with open(path, newline="", encoding="utf-8") as file:
        return told(list(csv.DictReader(file)))


def read_page(path: Path) -> str:
    """The text without pictures, and without numbers, which stand in the CSV beside it."""
    text = re.sub(r"base64,[^\"]+", "", path.read_text(encoding="utf-8"))
    return re.sub(r"[\d.,]+", "#", re.sub(" +", " ", text))


def read_text(path: Path) -> str:
    return timeless(path.read_text(encoding="utf-8", errors="replace"))


def read_film(path: Path) -> list[Any]:
    """All packets: a file's header draws an id."""
    with av.open(str(path)) as film:
        return [(p.stream_index, p.pts, p.dts, digest(bytes(p))) for p in film.demux()]


def read_onnx(path: Path) -> str:
    """The graph and its weights without the lines of source code that it came from."""
    import onnx

    model = onnx.load(path)
    for part in [model.graph, *model.functions]:
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
    return digest(model.SerializeToString(deterministic=True))


def read_program(path: Path) -> Any:
    program = torch.export.load(str(path))
    return program.graph_module.code, told(dict(program.state_dict))


READERS: dict[str, Callable[[Path], Any]] = {
    ".bk": read_model,
    ".csv": read_csv,
    ".html": read_page,
    ".json": read_json,
    ".log": read_text,
    ".md": read_text,
    ".mkv": read_film,
    ".onnx": read_onnx,
    ".pt2": read_program,
    ".pth": read_model,
    ".safetensors": read_safetensors,
}


def open_files_of_the_other(folder: Path, inputs: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """Model files, checkpoints, records and engines that the other one wrote, in the hands of this
    one."""
    other, mine = folder / "other", folder / "opened"
    shutil.rmtree(mine, ignore_errors=True)
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
