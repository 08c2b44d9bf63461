"""Every fenced block of the pages for people runs, on tiny data laid out as the pages name it.

A command line is run as it stands there, in this process, but for what the tables below say: words
that stand for a name of one's own are replaced, and options are added that make the work small.
What can't be run here is named, with the reason; a block in neither fails. As on Windows, no
command may rename or remove a file that it has open.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from character import commands as character
from inpaint.commands import CREATE_TRAINING_DATA, INPAINT, TRAIN
from layers import commands as layers
from matting import commands as matting
from nunif import cli
from nunif.models import create_model, save_model
from nunif.records import write_record
from nunif.shards import commands as shards
from scene.world import render_scene
from tests.open_files import refuse_open_files
from tests.records import make_dataset
from tests.videos import write_clip

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
    "pretrained_models/README.md",
    "benchmarks/README.md",
]
SHELLS = ("", "sh", "bash")  # words behind the fence of command lines
TABLES = {
    ("python", "create_training_data.py"): [
        *CREATE_TRAINING_DATA,
        *matting.CREATE_TRAINING_DATA,
        *layers.CREATE_TRAINING_DATA,
        *shards.CREATE_TRAINING_DATA,
    ],
    ("python", "train.py"): [*TRAIN, *matting.TRAIN, *character.TRAIN],
    ("python", "-m", "inpaint"): INPAINT,
    ("python", "-m", "matting"): matting.MATTING,
    ("python", "-m", "character"): character.CHARACTER,
    ("python", "-m", "layers"): layers.LAYERS,
}

# of a page, the beginning of a line: why it is not run
NOT_HERE = {
    "README.md": {
        "make demo": "fetches packages; its steps stand in tests/inpaint/test_demo.py, its words "
        "in tests/test_bootstrap.py",
        "make test": "would run these very tests",
    },
    "CONTRIBUTING.md": {"nunif '(mechanism)'": "a drawing of the rooms, no command"},
    "docs/cluster.md": {
        "apptainer": "needs Apptainer",
        "sbatch": "needs Slurm; tests/test_cluster_scripts.py",
        "srun": "needs Slurm; tests/nunif/test_place_in_run.py",
        "torchrun": "needs several GPUs; tests/nunif/test_training_processes.py",
    },
    "docs/removal.md": {
        "pip install": "fetches packages",
        "python -m layers live --camera": "needs a camera; tests/layers/test_live.py",
        "python -m layers live -i rtsp": "needs a camera; tests/layers/test_live.py",
        "python -m layers studio": "serves until Ctrl-C; tests/layers/test_studio.py",
    },
    "docs/character.md": {
        "pip install": "fetches packages",
        "python train.py character --preset sd15 --init": "needs published weights; "
        "tests/character/test_mimo_equal.py",
    },
    "docs/layers.md": {
        "python -m layers character": "needs a movement that was made for the film; "
        "tests/layers/test_character_film.py",
    },
    "docs/protocol.md": {"davis/": "names of files, no command"},
    "pretrained_models/README.md": {
        "python train.py matting": "needs photographs that are not here; "
        "tests/test_matte_pictures.py",
        "python -m matting checkpoint m": "goes on with what that has made",
    },
    "benchmarks/README.md": {
        "python -m benchmarks": "measures for minutes; tests/benchmarks runs it with tiny numbers",
    },
}

# beginning of a command line: the package that it needs, without which it is passed over
NEEDS = {
    "python create_training_data.py pack": "pyarrow",
    "python create_training_data.py unpack": "pyarrow",
    "python create_training_data.py index": "pyarrow",
    "python train.py inpaint -i data/v1_shards": "pyarrow",
    "python train.py character": "diffusers",
    "python -m character": "diffusers",
}

# words of a name of one's own: what is put there
PLACEHOLDERS = {
    "FILMS": "films",
    "CLIPS": "films",
    "MASK": "mask.png",
    "MASKS": "masks",
    "MODEL": "model.pth",
    "OTHER_MODEL": "other.pth",
    "FILE": "file.pth",
    "GENERATED": "exports/vace/video.mp4",
}
# what is made smaller or taken from elsewhere, everywhere in a line or block
REPLACED = [
    # weights of depth networks would have to be fetched
    (r"--model-type (Any|Distill)\w*( --resolution \d+)?", "--model-type MotionParallax"),
    # as large on the disk, and slow
    (r"memory_dstt_v1(?!_(tiny|small))", "memory_dstt_v1_tiny"),
    # an engine is only opened where there is a GPU, and an ONNX file takes long to make; both in
    # tests/inpaint/test_export.py
    (r"\bonnx,tensorrt\b", "torchscript"),
    (r"_fp16\.onnx\b", "_fp16.torchscript"),
    # the size in an exported file's name
    (r"_360x640_", "_32x48_"),
]
BRIEF = "--arch memory_dstt_v1_tiny --learning-rate-cycles 1 --num-workers 0 --gpu -1"
BRIEF += " --disable-tensorboard"
# beginning of a command line, the longest that fits: options that make it small, behind its own
SMALL = {
    "python create_training_data.py video_inpaint": "--seq 4 --size 64 --skip-interval 12 "
    "--divergence-level 3 --gpu -1",
    "python create_training_data.py frames": "--seq 5 --size 64x96",
    "python create_training_data.py inpaint": "--size 64",
    "python create_training_data.py world": "--num 2 --size 48x64 --seq 3 --people 1",
    "python create_training_data.py world -o data/characters": "--num 3 --size 48x64 --seq 3",
    "python create_training_data.py label_people": "--gpu -1",
    "python create_training_data.py layers": "--size 48 --look-ahead 0 --gpu -1",
    "python train.py matting": "--size 128 --clip-length 2 --max-epoch 1 --skip-eval"
    " --num-workers 0 --gpu -1 --disable-tensorboard",
    "python train.py matting -i data/world --model-dir models/matting --high-size": "--size 128"
    " --clip-length 2 --high-size 128 --high-ratio 0.5 --high-clip-length 1 --max-epoch 1"
    " --skip-eval --num-workers 0 --gpu -1 --disable-tensorboard",
    "python train.py character": "--size 32 --frames 2 --crops 1 --max-epoch 1 --skip-eval"
    " --num-workers 0 --gpu -1 --disable-tensorboard",
    "python train.py character --preset sd15 --dry-run": "",
    "python -m character evaluate": "--num 3 --steps 1 --gpu -1",
    "python -m matting convert": "--gpu -1 --end 0.1",
    "python -m matting evaluate": "--frames 2 --gpu -1",
    "python -m matting export": "--height 32 --width 48 --gpu -1",
    "python -m matting speed": "--archs mobileone_s0_small --size 32x48 --rounds 1 --gpu -1",
    "python train.py inpaint --curriculum": f"{BRIEF} --num-samples 24",
    "python train.py inpaint": f"{BRIEF} --num-samples 24 --clip-length 3 --tile-size 32"
    " --max-epoch 1",
    "python -m layers live": "--gpu -1 --seconds 0.5",
    "python -m layers export": "--size 32x48 --format torchscript --gpu -1",
    "python -m layers export-films": "",
    "python -m layers split": "--gpu -1 --end 0.1",
    "python -m layers remove": "--gpu -1 --end 0.1",
    "python -m layers evaluate": "--gpu -1 --frames 3 --look-ahead 0",
    "python -m inpaint apply": "--gpu -1",
    "python -m inpaint stereo": "--model-type MotionParallax --gpu -1",
    "python -m inpaint evaluate": "--size 48x64 --frames 3 --gpu -1",
    "python -m inpaint evaluate -i data/": "--tile-size 32 --gpu -1",  # records
    "python -m inpaint export": "--size 32x48 --gpu -1",
}
# of a file of stages: values that make it small, where it has such
SMALL_STAGES = {"epochs": 1, "tile_size": 32, "num_samples": 24}


@dataclass(frozen=True)
class Block:
    """A fenced block: its word behind the fence, its text, and where it stands."""

    language: str
    text: str
    where: str


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    fences = re.finditer(r"^```[ ]*(\S*)[^\n]*\n(.*?)^```[ ]*$", text, re.MULTILINE | re.DOTALL)
    return [
        Block(fence[1], fence[2], f"{page}:{text.count(chr(10), 0, fence.start()) + 1}")
        for fence in fences
    ]


def lines_of(block: Block) -> Iterator[str]:
    """The command lines of a block, whole and without remarks."""
    for line in block.text.replace("\\\n", " ").splitlines():
        # as a shell has it: a remark begins a word, `@#20` is none
        words = shlex.split(re.sub(r"(^|\s)#.*", "", line))
        if words:
            yield shlex.join(words)


# --- the data -------------------------------------------------------------------------------------

VIDEOS = ["video.mp4", "path/to/video.mp4", "shibuya.webm", "films/one.mp4"]
WITHOUT_MASKS = ["data/gta_im", "data/mit_indoor", "data/sun3d"]
PICTURES = {
    "FPS-5/2020-06-04-21-36-45": ".jpg",
    "holiday": ".png",
    "photos": ".png",
    "VideoMatte240K/train/fgr/0000": ".jpg",
    "VideoMatte240K/train/pha/0000": ".jpg",
    "backgrounds": ".jpg",
    "davis/JPEGImages/480p/bear": ".jpg",
    "davis/JPEGImages_432_240/bear": ".jpg",
}
MASKS = ["mask.png", "masks/one.png", "davis/test_masks/bear/"]  # the last: one of every picture
TRAINED = "models/video_inpaint_v1/inpaint.memory_dstt_v1_tiny.pth"  # what the pages go on with
MODELS = ["model.pth", "other.pth", "file.pth", TRAINED]


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_networks):
    """A folder with all that the pages name, tiny."""
    place = tmp_path_factory.mktemp("place")
    frames = [frame for frame, _ in render_scene(192, 108, 24)]
    # all draws follow from a film's bytes, which with x264 are others now and then
    film = write_clip(place / "film.mkv", frames, codec="ffv1", num_b_frames=0)
    for name in VIDEOS:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, place / name)
    for folder, suffix in PICTURES.items():
        (place / folder).mkdir(parents=True)
        for number, frame in enumerate(frames[:10]):
            cv2.imwrite(str(place / folder / f"{number:05d}{suffix}"), frame[..., ::-1])
    make_dataset(place / "data" / "video_inpaint_v1", train=2, eval=2, frames=12)
    for folder in WITHOUT_MASKS:
        for half in ("train", "eval"):
            clip = np.stack([cv2.resize(frame, (96, 64)) for frame in frames[:5]])
            write_record(place / folder / half / "g_frames_01234567_000000", {"C": clip}, {})
    small = SMALL["python create_training_data.py world"].split()
    world = ["world", "-o", str(place / "data" / "world" / "train"), "--prefix", "here", *small]
    assert cli.run(matting.CREATE_TRAINING_DATA, world) == 0
    people = {"C": clip, "A": np.full(clip.shape[:3], 255, np.uint8)}
    write_record(place / "data" / "people" / "p_people_01234567_000000", people, {})
    hole = np.pad(np.full((20, 30), 255, np.uint8), ((40, 48), (60, 102)))
    for name in MASKS:
        for number in range(10):
            path = place / (f"{name}{number:05d}.png" if name.endswith("/") else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), hole)
    torch.manual_seed(0)
    (place / TRAINED).parent.mkdir(parents=True)
    for name in MODELS:
        save_model(create_model("inpaint.memory_dstt_v1_tiny"), place / name)
    shutil.copytree(ROOT / "pretrained_models", place / "pretrained_models")
    return place


# --- running --------------------------------------------------------------------------------------


def replaced(text: str) -> str:
    """A line or block with what the tables put in the place of words."""
    for pattern, by in REPLACED:
        text = re.sub(pattern, by, text)
    names = "|".join(sorted(PLACEHOLDERS, key=len, reverse=True))
    return re.sub(rf"\b({names})\b", lambda word: PLACEHOLDERS[word[0]], text)


def run_line(run, line: str, *, more: str) -> None:
    """Run a command line of a page."""
    if any(line.startswith(start) and find_spec(NEEDS[start]) is None for start in NEEDS):
        return
    words = shlex.split(replaced(line))
    small = max((start for start in SMALL if line.startswith(start)), key=len, default="")
    for start, table in TABLES.items():
        if tuple(words[: len(start)]) == start:
            words = [*words[len(start) :], *shlex.split(f"{SMALL.get(small, '')} {more}")]
            code, _, lines = run(table, *words)
            assert code == 0, "\n".join([line, shlex.join(words), *lines[-3:]])
            return
    pytest.fail(f"{line}: it is no command of this project, and NOT_HERE does not name it")


def write_stages(block: Block) -> None:
    """A file of stages, small, under the name by which commands name it."""

    def shrunk(value):
        if isinstance(value, list):
            return [shrunk(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        return {key: SMALL_STAGES.get(key, shrunk(entry)) for key, entry in value.items()}

    stages = yaml.safe_load(block.text)
    assert "stages" in stages, f"{block.where}: YAML of another kind"
    Path("stages.yaml").write_text(yaml.safe_dump(shrunk(stages)), encoding="utf-8")


def inputs_of(block: Block) -> dict[str, object]:
    """What a Python block takes for given: tensors, or pictures for a stream of them."""
    if "InpaintStream" in block.text or "RemoveStream" in block.text:
        return {"frame": np.zeros((32, 48, 3), np.uint8), "hole": np.ones((32, 48), bool)}
    clip = [(torch.zeros(3, 32, 48), torch.ones(1, 32, 48))] * 2
    return {"torch": torch, "stream": clip}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(run, place, monkeypatch, page):
    monkeypatch.chdir(place)
    refuse_open_files(monkeypatch)
    blocks = blocks_of(page)
    for block in blocks:
        if block.language == "yaml":
            write_stages(block)
    names: dict[str, object] = {}
    last_training = ""
    for block in blocks:
        if block.language == "python":
            names |= inputs_of(block)
            exec(compile(replaced(block.text), block.where, "exec"), names)
        elif block.language in SHELLS:
            for line in lines_of(block):
                if line.startswith("python train.py"):
                    last_training = line
                if not line.startswith(tuple(NOT_HERE.get(page, ()))):
                    line = re.sub(r"^\.\.\.", last_training, line)
                    # what goes on needs an epoch more
                    run_line(run, line, more="--max-epoch 2" * line.endswith(" --resume"))
        else:
            assert block.language == "yaml", f"{block.where}: nothing here runs {block.language}"


@pytest.mark.parametrize("page", [page for page in NOT_HERE if page in PAGES])
def test_what_is_not_run_is_still_there(page):
    """A reason for a line that the page has no more can go."""
    shells = [block for block in blocks_of(page) if block.language in SHELLS]
    lines = [line for block in shells for line in lines_of(block)]
    for start in NOT_HERE[page]:
        assert any(line.startswith(start) for line in lines), start
