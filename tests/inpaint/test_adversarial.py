"""Training against a discriminator: its losses by hand, and a run of 50 steps that is stable, exact
and resumable."""

import csv
import math

import pytest
import torch
from torch import nn

from inpaint.adversarial import Adversary, adaptive_weight, hinge_loss
from inpaint.commands import TRAIN
from inpaint.dataset import TrainSet
from inpaint.losses import NamedLoss
from inpaint.models.discriminator import DISCRIMINATORS, TemporalPatchGAN
from inpaint.task import VideoInpaintTask
from nunif.record_list import Records
from nunif.training.trainer import WindowDone
from tests.models import lively_model
from tests.records import make_dataset
from tests.watching import train_stopped_after

pytestmark = pytest.mark.usefixtures("small_networks", "no_curves")
MODEL = "inpaint.memory_dstt_v1_tiny"


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setitem(DISCRIMINATORS, "t_patch_gan", lambda: TemporalPatchGAN(8))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), train=3, eval=1)


def words(data, model_dir, *more, updates=50, epochs=2):
    """Clips of 3 frames of 32x32, one an update."""
    base = ["inpaint", "-i", data, "--model-dir", model_dir, "--gpu", "-1"]
    sizes = "--video --arch memory_dstt_v1_tiny --tile-size 32 --clip-length 3 --backward-step 1"
    gan = "--discriminator t_patch_gan --generator-warmup-iteration 5 --learning-rate 1e-3"
    draws = f"--max-epoch {epochs} --num-samples {3 * updates // epochs}"
    return [*base, *sizes.split(), *gan.split(), *draws.split(), *more]


def training_of(model_dir):
    content = torch.load(model_dir / f"{MODEL}.checkpoint.pth", weights_only=True)
    return content["state_dict"], content["training"]


def rows_of(model_dir):
    with open(model_dir / "loss.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_fifty_steps_are_stable_and_the_same_again(run, data, tmp_path):
    for name in ("first", "second"):
        assert run(TRAIN, *words(data, tmp_path / name))[0] == 0
    (weights, training), (again, training_again) = (
        training_of(tmp_path / name) for name in ("first", "second")
    )
    assert_equal(weights, again)
    assert_equal(training["opponent"], training_again["opponent"])
    assert training["task"]["iterations"] == 50
    rows = rows_of(tmp_path / "first")
    assert all(math.isfinite(value) for row in rows for value in row.values())
    # five of the first epoch's 25 batches have no adversarial part; undecided, the discriminator
    # loses 1
    assert 0 < rows[0]["train_discriminator"] <= 1.05 and 0.1 < rows[1]["train_discriminator"] < 1.2
    assert rows[1]["train_l1"] < 1.5 * rows[0]["train_l1"]
    assert rows[1]["skipped"] == 0 and rows[1]["updates"] == 25


@pytest.mark.slow
def test_resumed_equals_uninterrupted(run, data, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = dict(updates=16, epochs=2)
    assert run(TRAIN, *words(data, whole, **more))[0] == 0
    monkeypatch.setattr("inpaint.train.train", train_stopped_after(11, WindowDone))
    assert run(TRAIN, *words(data, parts, **more))[0] == 130
    assert training_of(parts)[1]["task"]["iterations"] < 16
    assert run(TRAIN, *words(data, parts, "--resume", **more))[0] == 0
    (weights, training), (other_weights, other) = training_of(whole), training_of(parts)
    assert_equal(weights, other_weights)
    assert_equal(training["opponent"], other["opponent"])
    for moments, others in zip(
        training["opponent_optimizer"]["state"].values(),
        other["opponent_optimizer"]["state"].values(),
    ):
        assert_equal(moments, others)


@pytest.mark.slow
def test_the_model_file_holds_no_discriminator_and_a_new_round_forgets_it(run, data, tmp_path):
    more = dict(updates=8, epochs=1)
    assert run(TRAIN, *words(data, tmp_path, **more))[0] == 0
    content = torch.load(tmp_path / f"{MODEL}.pth", weights_only=True)
    assert "training" not in content and not any(
        "layers.0.parametrizations" in name for name in content["state_dict"]
    )
    assert run(TRAIN, *words(data, tmp_path, "--resume", "--reset-state", **more))[0] == 0
    assert training_of(tmp_path)[1]["task"]["iterations"] == 8  # not 16


def test_without_a_discriminator_its_options_have_no_effect(run, data, tmp_path):
    base = [
        word
        for word in words(data, tmp_path, updates=2, epochs=1)
        if word not in ("--discriminator", "t_patch_gan")
    ]
    code, _, lines = run(TRAIN, *base)
    assert (
        code == 0 and "--generator-warmup-iteration has no effect without --discriminator" in lines
    )
    assert "opponent" not in training_of(tmp_path)[1]


def test_hinge_loss():
    zero = torch.zeros(1, 4)
    assert hinge_loss(zero, zero) == 1
    assert hinge_loss(zero + 2, zero - 2) == 0
    assert hinge_loss(zero - 1, zero + 1) == 2
    assert hinge_loss(zero + 2, zero) == 0.5


def test_adaptive_weight_makes_both_pull_equally_hard():
    layer = nn.Linear(3, 1, bias=False)
    output = layer(torch.tensor([[1.0, 2.0, 2.0]]))
    assert adaptive_weight(
        6 * output.sum(), 2 * output.sum(), layer.weight
    ).item() == pytest.approx(3)
    assert adaptive_weight(output.sum(), 0 * output.sum(), layer.weight).item() == 1e4


class Painter(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_image = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.to_image(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def test_warm_up_and_whose_gradient_goes_where():
    torch.manual_seed(0)
    painter, adversary = Painter(), Adversary(TemporalPatchGAN(4), weight=0.5, warmup=2)
    truth = torch.rand(1, 3, 3, 32, 32)

    def judge():
        filled = painter(truth)
        loss = (filled - truth).abs().mean()
        return loss, adversary.judge(painter, loss, filled, truth)

    assert judge()[1] is None and judge()[1] is None
    loss, verdict = judge()
    pulls = [
        torch.autograd.grad(x, painter.to_image.weight, retain_graph=True)[0].norm()
        for x in (loss, verdict[0])
    ]
    # the power iteration goes on in every call
    assert (pulls[1] / pulls[0]).item() == pytest.approx(0.5, rel=0.05)
    verdict[0].backward()
    assert all(p.grad is None for p in adversary.discriminator.parameters())
    painter.zero_grad()
    verdict[1].backward()
    assert painter.to_image.weight.grad is None or painter.to_image.weight.grad.abs().max() == 0
    assert all(p.grad is not None for p in adversary.discriminator.parameters())


def test_spectral_norm_is_one():
    torch.manual_seed(0)
    discriminator = TemporalPatchGAN(4)
    for _ in range(30):
        discriminator(torch.rand(1, 2, 3, 32, 32))
    for layer in discriminator.layers[:-1:2]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() == pytest.approx(
            1, rel=0.02
        )


def task_with(adversary):
    model = lively_model()
    return VideoInpaintTask(
        model, TrainSet(Records(), 3, (32, 32), {}), None, NamedLoss("l1"), adversary, clip_length=3
    )


def test_the_count_of_batches_is_the_task_s_own_state():
    adversary = Adversary(TemporalPatchGAN(4), weight=0.5, warmup=2, iterations=7)
    task = task_with(adversary)
    assert task.state_dict() == {"iterations": 7} and task_with(None).state_dict() == {}
    assert not any("iterations" in name for name in adversary.discriminator.state_dict())
    task.load_state_dict({"iterations": 9})
    assert adversary.iterations == 9
    task_with(None).load_state_dict({"iterations": 9})  # it has no use for it


def to_the_layout_of_before(path):
    """The count of batches among the discriminator's tensors."""
    content = torch.load(path, weights_only=True)
    count = content["training"].pop("task")["iterations"]
    tensors = content["training"]["opponent"]
    content["training"]["opponent"] = {"iterations": torch.tensor(count), **tensors}
    torch.save(content, path)
    return count


def test_a_checkpoint_with_the_count_in_its_old_place_resumes_exactly(
    run, data, tmp_path, monkeypatch
):
    """Left in the middle of an epoch, before the discriminator takes part."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = dict(updates=7, epochs=1)
    assert run(TRAIN, *words(data, whole, **more))[0] == 0
    monkeypatch.setattr("inpaint.train.train", train_stopped_after(2, WindowDone))
    assert run(TRAIN, *words(data, parts, **more))[0] == 130
    assert to_the_layout_of_before(parts / f"{MODEL}.checkpoint.pth") == 3
    code, _, lines = run(TRAIN, *words(data, parts, "--resume", **more))
    assert code == 0, lines
    (weights, training), (other_weights, other) = training_of(whole), training_of(parts)
    assert_equal(weights, other_weights)
    assert_equal(training["opponent"], other["opponent"])
    assert training["task"] == other["task"] == {"iterations": 7}
