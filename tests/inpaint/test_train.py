"""The command `train.py inpaint`, from records to a model file, as a user runs it."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from inpaint.commands import INPAINT, TRAIN
from inpaint.dataset import EvalSet, TrainSet, scan_records
from inpaint.losses import NamedLoss
from inpaint.task import VideoInpaintTask
from nunif.models import create_model, load_model, save_model
from nunif.record_list import Records
from nunif.training.trainer import EpochDone
from tests.models import less_to_trace, lively_model
from tests.records import make_dataset, make_records
from tests.watching import train_stopped_after

pytestmark = pytest.mark.usefixtures("small_networks", "no_curves")
MODEL = "inpaint.memory_dstt_v1_tiny"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), train=3, eval=2)


def words(data, model_dir, *more, length=4):
    """Every record once an epoch. length: of a clip, in frames; None, the 12 that are the default,
    to be left to the command."""
    base = ["inpaint", "-i", data, "--model-dir", model_dir, "--gpu", "-1"]
    base += ["--num-samples", 3 * (length or 12)]
    base += [] if length is None else ["--clip-length", length]
    sizes = "--video --arch memory_dstt_v1_tiny --tile-size 32"
    return [*base, *sizes.split(), *"--backward-step 2 --save-eval-step 1".split(), *more]


def state_of(model_dir):
    content = torch.load(model_dir / f"{MODEL}.checkpoint.pth", weights_only=True)
    return content["state_dict"], content["training"]


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def rows_of(model_dir):
    with open(model_dir / "loss.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_activation_checkpointing_changes_no_bit(run, data, tmp_path):
    for name, more in (("plain", ()), ("saving", ("--activation-checkpointing",))):
        assert (
            run(TRAIN, *words(data, tmp_path / name, "--max-epoch", "1", "--skip-eval", *more))[0]
            == 0
        )
    weights, _ = state_of(tmp_path / "plain")
    assert equal(weights, state_of(tmp_path / "saving")[0])


def test_a_run_leaves_what_the_readme_promises(run, data, tmp_path, monkeypatch):
    monkeypatch.undo()
    code, _, lines = run(TRAIN, *words(data, tmp_path, "--max-epoch", "2"))
    assert code == 0
    assert (tmp_path / "loss.png").exists() and (tmp_path / "train.log").exists()
    assert sorted(p.name for p in (tmp_path / "eval").iterdir()) == ["0.png", "1.png"]
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_loss", "eval_loss", "eval_hole_psnr", "eval_hole_ssim"} <= rows[0].keys()
    assert [row["updates"] for row in rows] == ["2", "2"]  # three records by twos: two and one
    assert [float(row["learning_rate"]) for row in rows] == [1e-4, 1e-8]
    model, metadata = load_model(tmp_path / f"{MODEL}.pth")
    assert metadata["name"] == MODEL and metadata["metrics"]["loss"] == pytest.approx(
        min(float(row["eval_loss"]) for row in rows)
    )


@pytest.mark.parametrize(
    "more",
    [
        ["--learning-rate-cycles", "2"],
        ["--optimizer", "adamw_schedulefree"],
        ["--clip-length", "3", "--stream-length", "8", "--num-samples", "9"],
    ],
    ids=["cycles", "schedulefree", "streams"],
)
@pytest.mark.slow
def test_resumed_equals_uninterrupted(run, data, tmp_path, more, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(TRAIN, *words(data, whole, "--max-epoch", "4", *more))[0] == 0
    # stopped after two of four epochs: the options say four from the start, the process ends early
    monkeypatch.setattr("inpaint.train.train", train_stopped_after(2, EpochDone))
    assert run(TRAIN, *words(data, parts, "--max-epoch", "4", *more))[0] == 130
    assert len(rows_of(parts)) == 2
    assert run(TRAIN, *words(data, parts, "--max-epoch", "4", *more, "--resume"))[0] == 0
    (weights, training), (other_weights, other_training) = state_of(whole), state_of(parts)
    assert equal(weights, other_weights)
    assert equal(training["optimizer"], other_training["optimizer"])
    drop = [{k: v for k, v in row.items() if "second" not in k} for row in rows_of(whole)]
    assert drop == [{k: v for k, v in row.items() if "second" not in k} for row in rows_of(parts)]


@pytest.mark.slow
def test_reset_state_keeps_the_weights_and_restarts_the_rest(run, data, tmp_path):
    run(TRAIN, *words(data, tmp_path, "--max-epoch", "2", "--learning-rate", "1e-2"))
    before, _ = state_of(tmp_path)
    more = [
        "--optimizer",
        "adamw_schedulefree",
        "--max-epoch",
        "1",
        "--learning-rate",
        "0",
        "--resume",
        "--reset-state",
    ]
    code, _, lines = run(TRAIN, *words(data, tmp_path, *more))
    assert code == 0, lines
    after, _ = state_of(tmp_path)
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert [row["epoch"] for row in rows_of(tmp_path)] == ["1"]
    assert len(list(tmp_path.glob("*.pth.bk"))) == 2 and len(list(tmp_path.glob("loss.*.csv"))) == 1


@pytest.mark.slow
def test_a_schedule_free_model_scores_the_same_when_loaded(run, data, tmp_path):
    more = ["--optimizer", "adamw_schedulefree", "--learning-rate", "1e-2", "--max-epoch", "2"]
    # of 12 frames each, as `evaluate` takes them
    assert run(TRAIN, *words(data, tmp_path, *more, length=None))[0] == 0
    _, metadata = load_model(tmp_path / f"{MODEL}.pth")
    out = tmp_path / "scores"
    code, table, _ = run(
        INPAINT,
        *["evaluate", "-i", data / "eval", "-m", tmp_path / f"{MODEL}.pth", "-o", out],
        *["--tile-size", "32", "--gpu", "-1"],
    )
    assert code == 0
    with open(out / "scores.csv", newline="") as file:
        scores = [row for row in csv.DictReader(file) if row["method"] == MODEL]
    for name in ("hole_psnr", "hole_ssim", "psnr"):
        assert np.mean([float(row[name]) for row in scores]) == pytest.approx(
            metadata["metrics"][name], abs=1e-5
        )
    assert "telea" in table and "surround-mean" in table and "zero-memory" in table
    assert (out / "clips.png").exists() and (out / "scores.json").exists()


@pytest.mark.slow
def test_checkpoint_file_names_the_arch(run, data, tmp_path):
    torch.manual_seed(9)
    model = create_model(MODEL)
    save_model(model, tmp_path / "start.pth")
    arguments = [
        w for w in words(data, tmp_path / "m") if w not in ("--arch", "memory_dstt_v1_tiny")
    ]
    code, _, lines = run(
        TRAIN,
        *arguments,
        "--checkpoint-file",
        tmp_path / "start.pth",
        "--max-epoch",
        "1",
        "--learning-rate",
        "0",
        "--learning-rate-cosine-min",
        "0",
    )
    assert code == 0, lines
    assert equal(dict(model.state_dict()), dict(state_of(tmp_path / "m")[0]))


@pytest.mark.slow
def test_learning_rate_zero_and_no_effect_are_said(run, data, tmp_path):
    code, _, lines = run(
        TRAIN, *words(data, tmp_path, "--max-epoch", "1", "--momentum", "0.5", "--reset-state")
    )
    assert code == 0
    assert any(line.startswith("--momentum has no effect with --optimizer adamw") for line in lines)
    assert any(line.startswith("--reset-state has no effect without --resume") for line in lines)


@pytest.mark.slow
def test_bad_records_are_named_and_left_out(run, data, tmp_path):
    bad = tmp_path / "data"
    shutil.copytree(data, bad)
    make_records(bad / "train", 1, seed=90, frames=8)
    broken = sorted((bad / "train").iterdir())[0]
    (broken / "0003_M.png").unlink()
    code, _, lines = run(TRAIN, *words(bad, tmp_path / "m", "--max-epoch", "1", length=None))
    assert code == 0
    assert any("0003_M.png is missing" in line for line in lines)
    assert any("8 frames, 12 are needed" in line for line in lines)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--resume"], "checkpoint.pth"),
        (["--arch", "memory_dstt_v9"], "unknown model 'inpaint.memory_dstt_v9': known are"),
        (["--checkpoint-file", "nowhere.pth"], "nowhere.pth does not exist"),
        (["--tile-size", "128"], "pictures of 64x64, at least 128x128 are needed"),
        (["--optimizer", "lion"], "--optimizer lion is not known: choose one of adamw"),
        (
            ["--stream-length", "4", "--clip-length", "8"],
            "--stream-length 4 is less than the 8 frames of a training clip: give more",
        ),
        (
            ["--stream-length", "11"],
            "--stream-length 11 is less than the 12 frames of a training clip: give more",
        ),
        (["--stream-length", "0"], "--stream-length 0 is out of bounds: give a number at least 1"),
        (["--stream-length", "15"], "14 frames, 15 are needed"),
        (
            ["--brightness", "1.2,0.3"],
            "--brightness 1.2,0.3: give two factors in order, above 0 and up to 4, such as "
            "0.25,1.15",
        ),
        (["--brightness", "dark"], "--brightness dark: give two factors"),
        (
            ["--arch", "picture_memory_v1"],
            "inpaint.picture_memory_v1 has nothing to train: choose another --arch",
        ),
        (
            ["--stream-length", "14", "--arch", "light_video_inpaint_v1"],
            "--stream-length 14: inpaint.light_video_inpaint_v1 has no memory to fill: leave it "
            "out, or choose another --arch",
        ),
    ],
)
def test_what_cannot_work_is_one_line(run, data, tmp_path, more, message):
    code, _, lines = run(TRAIN, *words(data, tmp_path / "m", *more, length=None))
    assert code == 1
    assert lines[-1].startswith("error: ") and message in lines[-1]


@pytest.mark.slow
def test_datasets_that_cannot_work(run, data, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(data / "train", half / "train")
    for folder, message in (
        (tmp_path / "none", "none does not exist"),
        (half, "eval does not exist"),
    ):
        code, _, lines = run(TRAIN, *words(folder, tmp_path / "m"))
        assert code == 1 and message in lines[-1]
    (half / "eval").mkdir()
    code, _, lines = run(TRAIN, *words(half, tmp_path / "m"))
    assert code == 1 and "eval: it holds no records" in lines[-1]
    assert run(TRAIN, *words(half, tmp_path / "m2", "--skip-eval", "--max-epoch", "1"))[0] == 0


def test_single_pictures_without_video(run, data, tmp_path):
    more = ["--num-samples", "8", "--batch-size", "4", "--max-epoch", "1", "--backward-step", "1"]
    code, _, lines = run(
        TRAIN, *[word for word in words(data, tmp_path, *more, length=None) if word != "--video"]
    )
    assert code == 0
    assert any("8 draws per epoch, 2 updates" in line for line in lines)
    assert rows_of(tmp_path)[0]["train_temporal"] == "0"


@pytest.mark.parametrize(
    "more, message",
    [
        (
            ["--clip-length", "5"],
            "--clip-length 5 is for --video: add it, single pictures have no length",
        ),
        (
            ["--stream-length", "5"],
            "--stream-length 5 is for --video: add it, single pictures have no length",
        ),
        (
            ["--mask", "circle=1"],
            "--mask circle=1: 'circle' is not known: choose from occlusion, rectangle, strokes, "
            "object, strips",
        ),
        (["--mask", "object=x"], "--mask object=x: 'x' is no number: write object=1"),
        (["--mask", "object=0"], "--mask object=0: weights are 0 or more, and not all 0"),
        (
            ["--tile-size", "30x64"],
            "--tile-size 30x64 is no size: write one number, or height x width such as 360x640, "
            "from 32 on",
        ),
        (
            ["--arch", "light_video_inpaint_v1"],
            "inpaint.light_video_inpaint_v1 takes clips of 12 frames only, not single pictures",
        ),
    ],
)
def test_what_does_not_go(run, data, tmp_path, more, message):
    code, _, lines = run(
        TRAIN, "inpaint", "-i", data, "--model-dir", tmp_path, "--gpu", "-1", *more
    )
    assert code == 1 and lines[-1].startswith(f"error: {message}")


def test_only_the_end_of_a_stream_is_learned_from():
    """Its memory is filled by the frames before, from which no gradient comes; by hand the same, to
    rounding."""
    model = lively_model().train()
    generator = torch.Generator().manual_seed(1)
    frames = (torch.rand(2, 1, 3, 24, 48, generator=generator) * 2 - 1).repeat(1, 7, 1, 1, 1)
    holes = torch.zeros(2, 7, 1, 24, 48)
    holes[:, 2:, :, 6:18, 10:30] = 1
    loss = NamedLoss("temporal_l1")
    task = VideoInpaintTask(model, TrainSet(Records(), 7, (24, 48), {}), None, loss, clip_length=3)
    output = task.train_step(model, {"frames": frames, "holes": holes})
    found = gradients(model, output.loss)
    memory = None
    with torch.no_grad():
        for t in range(4):
            _, memory = model(frames[:, t : t + 1], holes[:, t : t + 1], memory)
    prediction, _ = model(frames[:, 4:], holes[:, 4:], memory)
    expected, _ = loss(prediction, frames[:, 4:], holes[:, 4:])
    torch.testing.assert_close(output.sample_losses, expected.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found, gradients(model, expected.mean()), atol=1e-4, rtol=1e-3)
    cold, _ = loss(model(frames[:, 4:], holes[:, 4:])[0], frames[:, 4:], holes[:, 4:])
    assert (cold - expected).abs().min() > 0.01
    model.eval()
    result = task.eval_step(model, {"frames": frames, "holes": holes})
    assert result.metrics["loss"] == pytest.approx(expected.mean().item(), abs=1e-5)


def test_something_faster_is_proposed_where_nothing_is_learned_yet():
    def advice(name, **more):
        model, loss = create_model(f"inpaint.{name}"), NamedLoss("l1")
        task = VideoInpaintTask(
            model, TrainSet(Records(), 3, (8, 8), {}), None, loss, clip_length=3, **more
        )
        return task.faster_on_cpu()

    assert advice("memory_dstt_v1_small") == (
        "--arch memory_dstt_v1_tiny is about 4 times as fast on a CPU"
    )
    assert advice("memory_dstt_v1_small", is_fresh=False) is None
    assert advice("memory_dstt_v1_tiny") is None and advice("fusion_v1") is None


def test_losses_are_compared_only_where_they_measure_the_same(data):
    model = create_model(MODEL)
    records, _ = scan_records(data / "eval")

    def yardstick(loss="l1", clip_length=3, of=records, cut=(4, (32, 32), {"object": 1.0})):
        task = VideoInpaintTask(
            model,
            TrainSet(Records(), *cut),
            EvalSet(of, *cut),
            NamedLoss(loss),
            clip_length=clip_length,
        )
        return task.yardstick()

    assert yardstick() == yardstick(of=records[::-1])
    others = [
        yardstick(loss="l1dct"),
        yardstick(clip_length=4),
        yardstick(of=records[:1]),
        yardstick(cut=(5, (32, 32), {"object": 1.0})),
        yardstick(cut=(4, (32, 48), {"object": 1.0})),
        yardstick(cut=(4, (32, 32), {"object": 1.0, "strokes": 1.0})),
    ]
    assert len({yardstick(), *others}) == 7


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_long_streams_are_trained_at_the_cost_of_short_clips(run, data, tmp_path):
    more = ["--clip-length", "2", "--stream-length", "9", "--num-samples", "12", "--max-epoch", "1"]
    code, _, lines = run(TRAIN, *words(data, tmp_path, *more))
    assert code == 0, lines
    assert any("6 draws per epoch, 3 updates" in line for line in lines)
    kept = torch.load(tmp_path / f"{MODEL}.checkpoint.pth", weights_only=True)["train_kwargs"]
    assert (kept["clip_length"], kept["stream_length"]) == (2, 9)


@pytest.mark.slow
def test_other_clips_and_tiles(run, data, tmp_path):
    more = [
        "--clip-length",
        "3",
        "--tile-size",
        "32x48",
        "--batch-size",
        "2",
        "--num-samples",
        "36",
        "--mask",
        "object,strokes=2",
        "--max-epoch",
        "1",
    ]
    code, _, lines = run(TRAIN, *words(data, tmp_path, *more))
    assert code == 0 and any("12 draws per epoch, 3 updates" in line for line in lines)
    assert {path.stat().st_size > 0 for path in (tmp_path / "eval").iterdir()} == {True}


@pytest.mark.slow
def test_records_without_masks_need_made_up_holes(run, data, tmp_path):
    for name in ("train", "eval"):
        shutil.copytree(data / name, tmp_path / "data" / name)
        for mask in (tmp_path / "data" / name).glob("*/*_M.png"):
            mask.unlink()
    code, _, lines = run(TRAIN, *words(tmp_path / "data", tmp_path / "m"))
    assert code == 1 and lines[-1].endswith(
        "none of its 3 records can be used, they have no masks, and --mask makes none up: "
        "add --mask rectangle,strokes,object,strips"
    )
    code, _, lines = run(
        TRAIN,
        *words(tmp_path / "data", tmp_path / "m", "--mask", "occlusion,object", "--max-epoch", "1"),
    )
    assert code == 0


@pytest.mark.slow
def test_records_without_a_hole_spoil_no_score(run, data, tmp_path):
    mixed = tmp_path / "data"
    shutil.copytree(data, mixed)
    make_records(mixed / "eval", 1, seed=70, empty=True)
    assert run(TRAIN, *words(mixed, tmp_path / "m", "--max-epoch", "1"))[0] == 0
    assert 10 < float(rows_of(tmp_path / "m")[0]["eval_hole_psnr"]) < 40
    arguments = [
        "evaluate",
        "-i",
        mixed / "eval",
        "-m",
        tmp_path / "m" / f"{MODEL}.pth",
        "--tile-size",
        "32",
        "--gpu",
        "-1",
    ]
    code, table, _ = run(INPAINT, *arguments)
    assert code == 0 and "of 2" in table and "nan" not in table


def test_contact_sheet(run, data, tmp_path):
    code, _, lines = run(
        INPAINT, "contact-sheet", "-i", data / "train", "-o", tmp_path / "sheet.png"
    )
    assert code == 0 and (tmp_path / "sheet.png").stat().st_size > 10_000
    code, _, lines = run(
        INPAINT, "contact-sheet", "-i", data / "train", "-o", tmp_path / "sheet.jpg"
    )
    assert code == 1 and "must end in .png" in lines[-1]


@pytest.mark.slow
def test_export_at_the_end_of_a_run(run, data, tmp_path, monkeypatch):
    """In the format that takes the least time; what each of them holds stands in test_export.py."""
    less_to_trace(monkeypatch)
    more = ("--max-epoch", "1", "--export", "torchscript")
    code, _, lines = run(TRAIN, *words(data, tmp_path, *more))
    assert code == 0, lines
    (entry,) = json.loads((tmp_path / "export" / "manifest.json").read_text())["files"].values()
    assert (
        entry["inputs"]["masked_frames"]["shape"] == [1, 3, 360, 640]
        and entry["source"]["file"] == f"{MODEL}.pth"
    )
    assert entry["parity"]["largest_difference"] < 1e-3


def test_an_export_that_can_not_be_is_said_before_training(run, data, tmp_path, monkeypatch):
    assert run(TRAIN, *words(data, tmp_path / "a", "--export", "coreml"))[0] == 1
    monkeypatch.setattr("nunif.runtime.tensorrt.PACKAGES", ("tensorrt_that_nobody_has",))
    code, _, lines = run(TRAIN, *words(data, tmp_path / "b", "--export", "onnx,tensorrt"))
    assert code == 1 and any("TensorRT is not installed" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_round_goes_on_with_the_model_of_the_folder(run, data, tmp_path):
    """As in the README: first with --checkpoint-file, then --resume --reset-state, and no --arch in
    either."""
    model = create_model(MODEL)
    save_model(model, tmp_path / "released.pth")
    base = [
        word
        for word in words(data, tmp_path / "m", "--max-epoch", "1")
        if word not in ("--arch", "memory_dstt_v1_tiny")
    ]
    base += ["--optimizer", "adamw_schedulefree"]
    assert run(TRAIN, *base, "--checkpoint-file", tmp_path / "released.pth")[0] == 0
    code, _, lines = run(TRAIN, *base, "--resume", "--reset-state")
    assert code == 0, lines
    assert any(f"tiny, {model.num_parameters:,} parameters" in line for line in lines)
