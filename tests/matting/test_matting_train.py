"""`train.py matting`: from records to a model, in one run and in stages."""

import csv

import cv2
import pytest
import torch

from matting.commands import CREATE_TRAINING_DATA, TRAIN
from matting.models import MattingNetwork
from nunif import cli
from nunif.models import load_model, register_model

TINY = "matting.test_tiny"
STAGES = """
common: {size: 128, clip_length: 2, max_bad_share: 0.5}
stages:
  - {name: short, epochs: 1, backbone_rate: 0.0}
  - {name: refined, epochs: 1, downsample_ratio: 0.5, backbone_rate: 0.0, refiner_rate: 1.0}
"""


@pytest.fixture(scope="module", autouse=True)
def tiny():
    register_model(TINY, MattingNetwork, variant="mobilenetv3", widths=[4, 4, 4, 4], pooled=8)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for name, seed in (("train", 1), ("eval", 2)):
        words = ["world", "-o", folder / name, "--num", 2, "--size", "40x64", "--seq", 3]
        words += ["--seed", seed, "--people", 1, "--prefix", name]
        assert cli.run(CREATE_TRAINING_DATA, [str(word) for word in words]) == 0
    return folder


def train(run, world, out, *more):
    return run(
        TRAIN, "matting", "-i", world, "--model-dir", out, "--arch", TINY, "--size", 128,
        "--clip-length", 2, "--backward-step", 1, "--gpu", -1, *more,
    )  # fmt: skip


def test_it_trains_and_goes_on(run, world, tmp_path):
    code, _, lines = train(run, world, tmp_path, "--max-epoch", 1)
    assert code == 0, lines
    code, _, lines = train(run, world, tmp_path, "--max-epoch", 2, "--resume")
    assert code == 0, lines
    with open(tmp_path / "loss.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name in ("alpha", "laplacian", "alpha_change", "foreground", "foreground_change"):
        assert float(rows[0][f"train_{name}"]) > 0
    for name in ("mad", "mse", "sad", "grad", "conn", "dtssd"):
        assert float(rows[0][f"eval_{name}"]) > 0
    model, _ = load_model(tmp_path / f"{TINY}.pth", expect="matting.")
    assert isinstance(model, MattingNetwork)
    picture = cv2.imread(str(next((tmp_path / "eval").glob("*.png"))))
    assert picture.shape[0] > 4 * 128


def test_stages_and_what_they_leave_alone(run, world, tmp_path):
    (tmp_path / "stages.yaml").write_text(STAGES, encoding="utf-8")
    code, _, lines = run(
        TRAIN, "matting", "-i", world, "--model-dir", tmp_path / "m", "--arch", TINY,
        "--backward-step", 1, "--gpu", -1, "--curriculum", tmp_path / "stages.yaml",
    )  # fmt: skip
    assert code == 0, lines
    first, last = (
        load_model(tmp_path / "m" / f"stage{number}_final.pth")[0].state_dict() for number in (1, 2)
    )
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    weights = {name for name in changed if name.endswith((".weight", ".bias"))}
    assert any(name.startswith("refiner.factor") for name in weights)
    assert any(name.startswith("decoder.") for name in weights)
    # a rate of 0 changes nothing, and no one asks the head for persons
    assert not any(name.startswith(("encoder.", "person_head.")) for name in weights)


def test_records_without_a_truth_are_named(run, world, tmp_path):
    for path in (world / "train").iterdir():
        folder = tmp_path / "data" / "train" / path.name
        folder.mkdir(parents=True)
        for picture in path.glob("*_[CA].png"):
            (folder / picture.name).write_bytes(picture.read_bytes())
    code, _, lines = train(run, tmp_path / "data", tmp_path / "m", "--skip-eval")
    assert code == 1
    assert "it has no foregrounds and no backgrounds" in lines[-1]
    code, _, lines = train(run, tmp_path / "nothing", tmp_path / "m")
    assert code == 1
    assert lines[-1].endswith("nothing does not exist: give the folder that holds train/ and eval/")
