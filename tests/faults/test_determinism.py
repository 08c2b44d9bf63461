"""From a film to a trained model by real processes: `--seed` alone decides, not workers, and not
the order of a hash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nunif.models import read_checkpoint
from nunif.video.writer import write_video
from scene.world import render_scene
from tests.nunif.test_training import assert_same, without_seconds

ROOT = Path(__file__).resolve().parents[2]
# one process of tests, so that what both compare with is made once
pytestmark = pytest.mark.xdist_group("determinism")
MODEL = "inpaint.memory_dstt_v1_tiny"

# Both commands as their scripts call them, in one process: most of the time goes into imports.
SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from inpaint.commands import CREATE_TRAINING_DATA, TRAIN
from nunif import cli
from tests.models import small_networks

film, folder, seed, workers = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
train, held_back = folder / "data" / "train", folder / "data" / "eval"
words = ["video_inpaint", "-i", film, "-o", train, "--prefix", "d", "--seq", 4, "--size", 64]
words += ["--skip-interval", 0]
words += ["--divergence-level", 3, "--model-type", "MotionParallax"]
words += ["--max-workers", workers, "--seed", seed]
assert cli.run(CREATE_TRAINING_DATA, [str(word) for word in words]) == 0
records = [path for path in train.iterdir() if path.is_dir()]
records = sorted(path for path in records if not path.name.startswith("."))
held_back.mkdir()
for record in records[-2:]:
    record.rename(held_back / record.name)
words = ["inpaint", "-i", folder / "data", "--model-dir", folder / "model", "--video"]
words += ["--arch", "memory_dstt_v1_tiny"]
words += ["--tile-size", 48, "--num-samples", 24, "--max-epoch", 2, "--backward-step", 2]
words += ["--clip-length", 4]
words += ["--save-eval-step", 1, "--gpu", -1]
words += ["--mask", "occlusion=1,object=1,strokes=1", "--disable-tensorboard"]
words += ["--num-workers", workers, "--seed", seed]
with small_networks():
    assert cli.run(TRAIN, [str(word) for word in words]) == 0
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    film = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(film, (frame for frame, _ in render_scene(192, 108, 28)), fps=30)
    return film


@pytest.fixture(scope="module")
def make(film, tmp_path_factory):
    """A function that makes records and trains on them; the folder of both."""
    folder = tmp_path_factory.mktemp("runs")

    def make(name: str, *, seed: int, workers: int, hash_seed: int) -> Path:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(hash_seed),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        command = [
            sys.executable,
            "-c",
            SCRIPT,
            str(film),
            str(folder / name),
            str(seed),
            str(workers),
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return folder / name

    return make


@pytest.fixture(scope="module")
def one(make):
    return make("one", seed=5, workers=1, hash_seed=1)


def files_of(folder: Path, pattern: str) -> dict[str, bytes]:
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
    assert found, f"{folder / pattern} matches nothing"
    return found


def training_of(folder: Path) -> dict:
    content = read_checkpoint(folder / "model" / f"{MODEL}.checkpoint.pth")
    return {
        key: value for key, value in content.items() if key not in ("updated_at", "train_kwargs")
    }


@pytest.mark.slow
def test_one_worker_and_eight_give_the_same_records_weights_and_previews(make, one):
    eight = make("eight", seed=5, workers=8, hash_seed=2)
    records = files_of(one, "data/*/d_*/*")
    # 4 frames, 4 holes and a note; some clips have no holes
    assert len(records) >= 4 * 9 and len(records) % 9 == 0
    assert records == files_of(eight, "data/*/d_*/*")
    assert len(files_of(one, "model/eval/*.png")) >= 2
    assert files_of(one, "model/eval/*.png") == files_of(eight, "model/eval/*.png")
    assert_same(training_of(one), training_of(eight))
    best = [read_checkpoint(folder / "model" / f"{MODEL}.pth") for folder in (one, eight)]
    assert_same(best[0]["state_dict"], best[1]["state_dict"])
    assert best[0]["metrics"] == best[1]["metrics"]
    assert without_seconds(one / "model") == without_seconds(eight / "model")


@pytest.mark.slow
def test_another_seed_gives_others(film, one, tmp_path, monkeypatch):
    other = tmp_path / "other"
    monkeypatch.setattr(sys, "argv", ["", str(film), str(other), "6", "1"])
    exec(compile(SCRIPT, "script", "exec"), {})  # in this process, which is quicker
    for pattern in ("data/*/d_*/*_M.png", "data/*/d_*/*_C.png", "model/eval/*.png"):
        assert files_of(one, pattern) != files_of(other, pattern)
    weights, others = (training_of(folder)["state_dict"] for folder in (one, other))
    assert not any(
        torch.equal(weights[name], others[name])
        for name in weights
        if name.endswith("to_image.weight")
    )
