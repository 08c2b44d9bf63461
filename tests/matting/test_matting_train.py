"""`train.py matting`: from records to a model, in one run and in stages."""

import csv
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from matting.commands import CREATE_TRAINING_DATA, TRAIN
from matting.models import MattingNetwork
from nunif import cli
from nunif.models import create_model, load_model, read_checkpoint, register_model
from tests.matting.recipe import shrink_recipe

pytestmark = pytest.mark.usefixtures("no_curves")

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
    for path in world.glob("*/*/*_[CA].png"):
        record = tmp_path / "labelled" / path.parts[-3] / f"real_{path.parts[-2]}"
        record.mkdir(parents=True, exist_ok=True)
        (record / path.name).write_bytes(path.read_bytes())
    frozen = ["--backbone-rate", 0, "--freeze-norms", "--labelled", tmp_path / "labelled"]
    code, _, lines = train(run, world, tmp_path, "--max-epoch", 1, "--recurrent", "ssm", *frozen)
    assert code == 0, lines
    before = read_checkpoint(tmp_path / f"{TINY}.checkpoint.pth")["state_dict"]
    code, _, lines = train(run, world, tmp_path, "--max-epoch", 2, "--resume", *frozen)
    assert code == 0, lines
    after = read_checkpoint(tmp_path / f"{TINY}.checkpoint.pth")["state_dict"]
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if name.startswith("encoder.")} <= same
    assert not after["encoder.backbone.bn1.running_mean"].any()  # as at its start
    assert any(name.startswith("decoder.") for name in before.keys() - same)
    with open(tmp_path / "loss.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name in ("alpha", "laplacian", "alpha_change", "foreground", "foreground_change"):
        assert float(rows[0][f"train_{name}"]) > 0
    for name in ("mad", "mse", "sad", "grad", "conn", "dtssd"):
        assert float(rows[0][f"eval_{name}"]) > 0
    model, _ = load_model(tmp_path / f"{TINY}.pth", expect="matting.")
    assert isinstance(model, MattingNetwork)
    assert model.kwargs["recurrent"] == "ssm"  # which a run that goes on needn't be told again
    picture = cv2.imread(str(next((tmp_path / "eval").glob("*.png"))))
    assert picture.shape[0] > 4 * 128


@pytest.mark.slow
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


# learning rates of the four stages (arXiv 2108.11515, section 4.2), by the beginnings of names
RATES = [
    {"encoder.": 1e-4, "pool.": 2e-4, "": 2e-4},
    {"encoder.": 5e-5, "pool.": 1e-4, "": 1e-4},
    {"encoder.": 1e-5, "pool.": 1e-5, "refiner.": 2e-4, "": 1e-5},
    {"encoder.": 1e-5, "pool.": 1e-5, "refiner.": 2e-4, "": 5e-5},
]


@pytest.mark.slow
def test_the_recipe_of_four_stages_in_one_command(run, world, tmp_path):
    code, _, lines = run(
        TRAIN, "matting", "-i", world, "--model-dir", tmp_path, "--arch", TINY, "--gpu", -1,
        "--num-workers", 0, "--curriculum", shrink_recipe(tmp_path),
    )  # fmt: skip
    assert code == 0, lines
    assert lines.count("where persons are is learned from the clips themselves") == 4
    for number, rates in enumerate(RATES, 1):
        training = read_checkpoint(tmp_path / f"stage{number}" / f"{TINY}.checkpoint.pth")[
            "training"
        ]
        wanted = Counter(
            next(rate for start, rate in rates.items() if name.startswith(start))
            for name, _ in create_model(TINY).named_parameters()
            if number > 2 or not name.startswith("refiner.")
        )
        found: Counter[float] = Counter()
        for group in training["optimizer"]["param_groups"]:
            found[round(group["lr"], 9)] += len(group["params"])
        assert found == wanted, number
        # two windows, and an update of each pass in them that uses the weights
        steps = {int(each["step"]) for each in training["optimizer"]["state"].values()}
        assert steps == ({2, 4} if number < 3 else {2, 4, 6})
    events = EventAccumulator(str(tmp_path / "stage4" / "runs")).Reload()
    parts = ["alpha", "laplacian", "alpha_change", "foreground", "foreground_change"]
    wanted_tags = [*parts, *(f"high_{part}" for part in parts), "person", "loss"]
    assert {f"train/{name}" for name in wanted_tags} <= set(events.Tags()["scalars"])
    assert events.Scalars("train/person")[0].value > 0
    (image,) = events.Images("eval/0")
    shown = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    on_disk = cv2.imread(str(tmp_path / "stage4" / "eval" / "0.png"))
    assert np.array_equal(shown, on_disk) and on_disk.std() > 10


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
