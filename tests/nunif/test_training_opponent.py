"""A second network that learns against the model: by its own optimizer, in every process, in the
checkpoint only."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from nunif.errors import UserError
from nunif.models import read_checkpoint
from nunif.training.task import TrainOutput
from nunif.training.trainer import train
from tests.nunif.test_training import ToyTask, make_options, press_ctrl_c, read_csv

pytestmark = pytest.mark.usefixtures("no_curves")

CHECKPOINT = "toy.net.checkpoint.pth"


class ContestTask(ToyTask):
    """The toy task, whose model also has to please a network that tells its answers from true
    ones."""

    def __init__(self, width: int = 2) -> None:
        super().__init__(dropout=0.0)
        self.opponent = nn.Sequential(nn.Linear(1, width), nn.Linear(width, 1))
        self.spoil_opponent = lambda step: 1.0  # what the opponent's loss is multiplied by

    def train_step(self, model, batch):
        output = super().train_step(model, batch)
        answers = model(batch["x"])
        self.opponent.requires_grad_(False)
        pull = -self.opponent(answers).mean()
        self.opponent.requires_grad_(True)
        gap = (
            self.opponent(answers.detach()) - self.opponent(batch["y"])
        ).mean() * self.spoil_opponent(self.steps)
        return TrainOutput(
            output.loss + 0.1 * pull, output.sample_losses, {"gap": gap}, opponent_loss=gap
        )


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def training_of(folder: Path) -> dict:
    return read_checkpoint(folder / CHECKPOINT)["training"]


def test_it_learns_by_its_own_optimizer_and_is_in_the_checkpoint_alone(tmp_path):
    task = ContestTask()
    before = weights_of(task.opponent)
    train(task, make_options(tmp_path, optimizer="sgd", weight_decay=0.1))
    training = training_of(tmp_path)
    assert not equal(before, task.opponent.state_dict()) and equal(
        training["opponent"], task.opponent.state_dict()
    )
    groups = training["opponent_optimizer"]["param_groups"]
    assert [(group["betas"], group["weight_decay"]) for group in groups] == [((0.0, 0.99), 0.0)] * 2
    assert "training" not in read_checkpoint(tmp_path / "toy.net.pth")
    assert "train_gap" in read_csv(tmp_path)[0]


def test_its_rate_follows_the_schedule_of_the_model(tmp_path):
    train(ContestTask(), make_options(tmp_path, optimizer="adam"))
    training = training_of(tmp_path)
    rates = [
        {group["lr"] for group in training[name]["param_groups"]}
        for name in ("optimizer", "opponent_optimizer")
    ]
    assert rates[0] == rates[1] and rates[0] != {0.01}


@pytest.mark.parametrize("spoiled", ["spoil", "spoil_opponent"])
def test_a_loss_of_either_that_is_not_finite_changes_neither(tmp_path, spoiled):
    task = ContestTask()
    model, opponent = weights_of(task.model), weights_of(task.opponent)
    setattr(task, spoiled, lambda step: math.nan if step <= 2 else 1.0)
    same = []
    task.on_step = lambda step: same.append(
        (equal(model, task.model.state_dict()), equal(opponent, task.opponent.state_dict()))
    )
    # windows of the steps 1-2, 3-4, 5
    train(task, make_options(tmp_path, max_epoch=1, num_samples=10))
    assert same == [(True, True)] * 4 + [(False, False)]
    assert training_of(tmp_path)["state"]["non_finite"] == 2


def test_a_gradient_of_it_that_is_not_finite_changes_neither(tmp_path):
    task = ContestTask()
    before = [weights_of(network) for network in (task.model, task.opponent)]
    task.opponent[0].weight.register_hook(lambda gradient: gradient * math.inf)
    train(task, make_options(tmp_path, max_epoch=1, ignore_nan=True))
    assert [
        equal(was, network.state_dict())
        for was, network in zip(before, (task.model, task.opponent))
    ] == [True, True]
    assert training_of(tmp_path)["state"]["non_finite"] == 4


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_schedulefree"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, optimizer):
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def normed() -> ContestTask:
        task = ContestTask()
        task.opponent.insert(1, nn.BatchNorm1d(2))
        return task

    train(normed(), make_options(whole, num_samples=8, optimizer=optimizer))
    cut = normed()
    cut.on_step = press_ctrl_c(at_step=7)  # in the middle of a window
    with pytest.raises(KeyboardInterrupt):
        train(cut, make_options(parts, num_samples=8, optimizer=optimizer))
    assert not equal(training_of(whole)["opponent"], training_of(parts)["opponent"])
    train(normed(), make_options(parts, num_samples=8, optimizer=optimizer, resume=True))
    a, b = (read_checkpoint(folder / CHECKPOINT) for folder in (whole, parts))
    assert equal(a["state_dict"], b["state_dict"]) and equal(
        a["training"]["opponent"], b["training"]["opponent"]
    )
    for index, moments in a["training"]["opponent_optimizer"]["state"].items():
        assert equal(moments, b["training"]["opponent_optimizer"]["state"][index])


def test_a_run_goes_on_without_it_or_with_a_fresh_one_and_says_so(tmp_path, caplog):
    train(ContestTask(), make_options(tmp_path, max_epoch=1))
    train(ToyTask(dropout=0.0), make_options(tmp_path, max_epoch=2, resume=True))
    assert "the network that the model trained against is left out from here on" in caplog.messages
    assert "opponent" not in training_of(tmp_path)
    train(ContestTask(), make_options(tmp_path, max_epoch=3, resume=True))
    assert (
        f"{tmp_path / CHECKPOINT} holds no network to train against: it starts fresh"
        in caplog.messages
    )


def test_one_of_another_shape_is_refused(tmp_path):
    train(ContestTask(), make_options(tmp_path, max_epoch=1))
    with pytest.raises(
        UserError,
        match="its network to train against does not fit .*--reset-state starts with a fresh one",
    ):
        train(ContestTask(width=3), make_options(tmp_path, max_epoch=2, resume=True))
