"""The trainer, driven by a toy task through every branch."""

import csv
import errno
import logging
import math
import os
import pickle
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nunif.errors import UserError
from nunif.models import (
    Model,
    create_model,
    load_model,
    read_checkpoint,
    register_model,
    save_model,
)
from nunif.training import messages, pace, start, trainer
from nunif.training.options import TrainerOptions
from nunif.training.task import BadSample, Draw, EvalOutput, Task, TrainOutput, stack
from nunif.training.trainer import EpochDone, train
from tests.watching import train_watched_by

pytestmark = pytest.mark.usefixtures("no_curves")

OPTIMIZERS = (
    "adamw",
    "adam",
    "sgd",
    "adamw_schedulefree",
    "radam_schedulefree",
    "sgd_schedulefree",
)


class Toy(Model):
    def __init__(self, width: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.layers(x)


class Line(Model):
    """y = w x, from w = 0: its gradients can be computed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, 1))

    def forward(self, x):
        return x @ self.w


register_model("toy.net", Toy)
register_model("toy.other", Toy)
register_model("toy.line", Line)


class Points:
    """Samples x (3,) with a little noise that follows from the draw, and y (1,)."""

    def __init__(self, size: int, bad: tuple[int, ...] = (), noise: float = 0.1) -> None:
        self.size, self.bad, self.noise = size, bad, noise

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, draw: Draw):
        if draw.index in self.bad:
            raise BadSample(f"point-{draw.index}", "its picture is torn")
        x = np.random.default_rng(draw.index).normal(size=3)
        noise = np.random.default_rng(draw.seed).normal(size=3) * self.noise
        return {
            "x": torch.tensor(x + noise).float(),
            "y": torch.tensor([x.sum()]).float(),
            "index": draw.index,
        }


class ToyTask(Task):
    def __init__(
        self, model: str = "toy.net", size: int = 10, bad: tuple[int, ...] = (), **kwargs
    ) -> None:
        torch.manual_seed(3)
        self.model = create_model(model, **kwargs)
        self.train_set, self.eval_set = Points(size, bad), Points(5)
        self.steps, self.seen = 0, []
        self.on_step = lambda step: None  # called with the number of each train step, from 1
        self.spoil = lambda step: 1.0  # what the loss is multiplied by
        self.eval_losses = None  # instead of the real ones

    def sample_name(self, index: int) -> str:
        return f"point-{index}"

    def train_step(self, model, batch):
        self.steps += 1
        self.seen += batch["index"].tolist()
        self.on_step(self.steps)
        errors = (model(batch["x"]) - batch["y"]).square().mean(dim=1) * self.spoil(
            self.steps
        )  # (B,)
        return TrainOutput(errors.mean(), errors.detach(), {"half": errors.mean() / 2})

    def eval_step(self, model, batch):
        if self.eval_losses:
            return EvalOutput({"loss": self.eval_losses.pop(0)})
        loss = (model(batch["x"]) - batch["y"]).square().mean().item()
        return EvalOutput(
            {"loss": loss, "psnr": -10 * math.log10(loss)},
            lambda: np.full((2, 3, 3), 200, np.uint8),
        )


class LinePoints(Points):
    """x = index + 1, y = 1."""

    def __getitem__(self, draw: Draw):
        return {
            "x": torch.tensor([draw.index + 1.0]),
            "y": torch.tensor([1.0]),
            "index": draw.index,
        }


def line_task(size: int) -> ToyTask:
    task = ToyTask("toy.line")
    task.train_set = LinePoints(size)
    task.eval_set = LinePoints(1)
    return task


def make_options(folder: Path, **values) -> TrainerOptions:
    defaults = dict(
        model_dir=folder,
        batch_size=2,
        backward_step=2,
        max_epoch=4,
        learning_rate=0.01,
        gpu=-1,
        num_workers=0,
        num_samples=7,
        disable_tensorboard=True,
    )
    return TrainerOptions(**{**defaults, **values})


def line_options(folder: Path, **values) -> TrainerOptions:
    """One epoch of plain gradient descent over all points, one a batch."""
    defaults = dict(
        optimizer="sgd",
        momentum=0.0,
        weight_decay=0.0,
        batch_size=1,
        num_samples=None,
        max_epoch=1,
        disable_hard_example=True,
    )
    return make_options(folder, **{**defaults, **values})


def read_csv(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "loss.csv").open()))


def without_seconds(folder: Path) -> list[dict[str, str]]:
    by_the_clock = ("seconds", "data_seconds", "records_per_second")
    return [
        {name: cell for name, cell in row.items() if name not in by_the_clock}
        for row in read_csv(folder)
    ]


def assert_same(a, b, where="") -> None:
    """Equal to the bit, through nested values."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert (
            a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
        ), where
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{number}")
    else:
        assert a == b or a != a, where


def assert_same_run(one: Path, other: Path, name: str = "toy.net") -> None:
    a, b = (read_checkpoint(folder / f"{name}.checkpoint.pth") for folder in (one, other))
    for content in (a, b):
        for entry in ("updated_at", "train_kwargs"):
            del content[entry]
    assert_same(a, b)
    a, b = (read_checkpoint(folder / f"{name}.pth") for folder in (one, other))
    assert_same(a["state_dict"], b["state_dict"])
    assert a["epoch"] == b["epoch"] and a["metrics"] == b["metrics"]
    assert without_seconds(one) == without_seconds(other)


def press_ctrl_c(at_step: int, number: int = signal.SIGINT):
    return lambda step: os.kill(os.getpid(), number) if step == at_step else None


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer runs after it."""


def kill(at_step: int):
    def on_step(step: int) -> None:
        if step == at_step:
            raise Killed

    return on_step


# --- windows --------------------------------------------------------------------------------------


def test_ten_records_with_backward_step_8_give_two_updates_and_the_second_is_the_mean_of_its_two(
    tmp_path,
):
    task = line_task(10)
    train(task, line_options(tmp_path, learning_rate=0.001, backward_step=8, skip_eval=True))
    assert sorted(task.seen) == list(range(10))
    x = np.array(task.seen, dtype=np.float64) + 1
    w = 0.0
    w -= 0.001 * np.mean(2 * (w * x[:8] - 1) * x[:8])
    w -= 0.001 * np.mean(2 * (w * x[8:] - 1) * x[8:])
    assert task.model.w.item() == pytest.approx(w, rel=1e-5)
    assert read_csv(tmp_path)[0]["updates"] == "2"


def test_fewer_records_than_the_step_still_learn(tmp_path):
    task = line_task(3)
    train(task, line_options(tmp_path, learning_rate=0.01, backward_step=8, skip_eval=True))
    # gradients at 0 are -2 x: -2, -4, -6, their mean -4
    assert task.model.w.item() == pytest.approx(0.04)
    assert read_csv(tmp_path)[0]["updates"] == "1"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(tmp_path, optimizer):
    task = ToyTask(dropout=0.0)
    options = make_options(
        tmp_path, optimizer=optimizer, max_epoch=12, num_samples=40, learning_rate=0.03
    )
    if optimizer.startswith("sgd"):
        options = make_options(
            tmp_path, optimizer=optimizer, max_epoch=12, num_samples=40, learning_rate=0.05
        )
    train(task, options)
    losses = [float(row["eval_loss"]) for row in read_csv(tmp_path)]
    assert min(losses) < 0.5 * losses[0]


def test_gradients_are_clipped_and_the_csv_has_the_rate_of_each_epoch(tmp_path):
    task = line_task(4)
    sizes = dict(batch_size=4, backward_step=1, max_epoch=2)
    train(task, line_options(tmp_path, clip_grad_norm=0.5, learning_rate=0.01, **sizes))
    assert task.model.w.item() == pytest.approx(0.01 * 0.5 + 1e-8 * 0.5)
    assert [row["learning_rate"] for row in read_csv(tmp_path)] == ["0.01", "1e-08"]


def test_warm_up_rises_update_by_update(tmp_path):
    task = line_task(4)
    rate = dict(learning_rate=0.01, warmup_epoch=1, clip_grad_norm=1e-3)
    train(task, line_options(tmp_path, backward_step=1, skip_eval=True, **rate))
    assert task.model.w.item() == pytest.approx(1e-5 * (1 / 4 + 2 / 4 + 3 / 4 + 1))


# --- resuming -------------------------------------------------------------------------------------

MODES = {
    "adamw": dict(learning_rate_cycles=2, warmup_epoch=1),
    "schedule-free": dict(optimizer="adamw_schedulefree", warmup_epoch=1),
    "ema": dict(ema_model=True, ema_decay=0.9),
    "sgd": dict(optimizer="sgd", disable_hard_example=True, clip_grad_norm=1.0),
    "radam": dict(optimizer="radam_schedulefree", eval_step=3),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a whole run, made once for each mode."""
    folders: dict[str, Path] = {}

    def get(mode: str) -> Path:
        if mode not in folders:
            folders[mode] = tmp_path_factory.mktemp("whole")
            train(ToyTask(), make_options(folders[mode], **MODES[mode]))
        return folders[mode]

    return get


@pytest.mark.parametrize("mode", MODES)
def test_interrupted_in_the_middle_and_resumed_equals_uninterrupted(tmp_path, uninterrupted, mode):
    task = ToyTask()
    # four steps an epoch, two windows: in the first batch of the second window of epoch 2
    task.on_step = press_ctrl_c(at_step=7)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path, **MODES[mode]))
    assert task.steps == 7, "the batch is finished, and no more"
    state = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["training"]["state"]
    assert (state["epochs_done"], state["epoch"]["position"]) == (1, 4)
    train(ToyTask(), make_options(tmp_path, resume=True, **MODES[mode]))
    assert_same_run(tmp_path, uninterrupted(mode))


@pytest.mark.parametrize("mode", ["adamw", "schedule-free", "ema"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, uninterrupted, mode):
    for at_step in (
        2,
        7,
        4,
    ):  # in the first epoch, before any other checkpoint; in the middle of 2; at the end of 2
        task = ToyTask()
        task.on_step = kill(at_step)
        resume = (tmp_path / "toy.net.checkpoint.pth").exists()
        with pytest.raises(Killed):
            train(task, make_options(tmp_path, resume=resume, **MODES[mode]))
    train(ToyTask(), make_options(tmp_path, resume=True, **MODES[mode]))
    assert_same_run(tmp_path, uninterrupted(mode))


@pytest.mark.parametrize("mode", ["adamw", "schedule-free", "ema"])
def test_interrupted_in_the_evaluation_and_resumed_equals_uninterrupted(
    tmp_path, uninterrupted, mode
):
    task = ToyTask()
    # the last window of epoch 2: the epoch is trained, not yet evaluated
    task.on_step = press_ctrl_c(at_step=8)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path, **MODES[mode]))
    assert len(read_csv(tmp_path)) == 1
    task = ToyTask()
    real = task.eval_step
    task.eval_step = lambda model, batch: (
        os.kill(os.getpid(), signal.SIGTERM),
        real(model, batch),
    )[1]
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path, resume=True, **MODES[mode]))
    assert task.steps == 0
    assert len(read_csv(tmp_path)) == 1
    train(ToyTask(), make_options(tmp_path, resume=True, **MODES[mode]))
    assert_same_run(tmp_path, uninterrupted(mode))


@pytest.mark.parametrize(
    "at_step, said, position",
    [
        (1, "after this batch, the first, of which nobody knows how long it takes; what was", 0),
        (7, "after this batch, in about .+; what was learned up to the last whole update is", 4),
        (8, "after this batch, in about .+; what was learned up to the last whole update is", 7),
    ],
)
def test_a_signal_stops_after_the_batch_that_runs_and_says_so(
    tmp_path, caplog, at_step, said, position
):
    task = ToyTask()
    task.on_step = press_ctrl_c(at_step=at_step, number=signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path))
    (line,) = [line for line in caplog.messages if line.startswith("stopping ")]
    assert re.match(f"stopping {said}", line)
    assert line.endswith("is kept; another Ctrl-C stops at once, without a checkpoint")
    assert task.steps == at_step
    state = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["training"]["state"]
    assert state["epoch"]["position"] == position


def test_a_signal_while_samples_are_loaded_leaves_those_unlearned(tmp_path, uninterrupted):
    task, loaded = ToyTask(), []

    class Signalling(Points):
        def __getitem__(self, draw):
            loaded.append(draw)
            if len(loaded) == 13:  # of the seventh batch, which begins a window
                os.kill(os.getpid(), signal.SIGINT)
            return super().__getitem__(draw)

    task.train_set = Signalling(10)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path, **MODES["adamw"]))
    assert task.steps == 6
    train(ToyTask(), make_options(tmp_path, resume=True, **MODES["adamw"]))
    assert_same_run(tmp_path, uninterrupted("adamw"))


def test_a_signal_in_the_evaluation_says_what_becomes_of_it(tmp_path, caplog):
    task = ToyTask()
    task.eval_step = lambda model, batch: (
        os.kill(os.getpid(), signal.SIGTERM),
        EvalOutput({"loss": 1.0}),
    )[1]
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path))
    assert (
        "stopping after this batch of the evaluation, the first, of which nobody knows how long it "
        "takes; what was learned is kept, and --resume evaluates it again; another Ctrl-C stops at "
        "once, without a checkpoint"
    ) in caplog.messages
    assert task.steps == 4


def test_a_long_epoch_leaves_checkpoints_on_its_way(tmp_path, uninterrupted, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
    task = ToyTask()
    task.on_step = kill(7)
    with pytest.raises(Killed):
        train(task, make_options(tmp_path, **MODES["adamw"]))
    state = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["training"]["state"]
    assert (state["epochs_done"], state["epoch"]["position"]) == (1, 4)
    train(ToyTask(), make_options(tmp_path, resume=True, **MODES["adamw"]))
    assert_same_run(tmp_path, uninterrupted("adamw"))


def test_a_signal_while_the_last_epoch_is_written_is_not_forgotten(tmp_path, uninterrupted):
    """The run is done, but what called it (the next stage, an export) must not go on."""
    calm = uninterrupted("adamw")

    def look(event):
        if isinstance(event, EpochDone) and event.trainer.state.epochs_done == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train_watched_by(look)(ToyTask(), make_options(tmp_path, **MODES["adamw"]))
    assert_same_run(tmp_path, calm)


def test_a_second_ctrl_c_stops_at_once_and_the_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    task = ToyTask()
    task.on_step = lambda step: (
        [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)] if step == 1 else None
    )
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path))
    assert task.steps == 1
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert (
        read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["training"]["state"]["epoch"] is None
    )


@pytest.mark.parametrize("mode", ["adamw", "schedule-free"])
def test_worker_processes_change_nothing(tmp_path, uninterrupted, mode):
    train(ToyTask(), make_options(tmp_path, num_workers=2, **MODES[mode]))
    assert_same_run(tmp_path, uninterrupted(mode))


def test_spawned_workers_get_only_what_can_be_pickled(tmp_path, uninterrupted):
    method = torch.multiprocessing.get_start_method()
    torch.multiprocessing.set_start_method("spawn", force=True)
    try:
        train(ToyTask(), make_options(tmp_path, num_workers=1, skip_eval=True, max_epoch=2))
    finally:
        torch.multiprocessing.set_start_method(method, force=True)
    assert len(read_csv(tmp_path)) == 2


def test_a_finished_run_says_so_and_changes_nothing(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train(ToyTask(), make_options(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    task = ToyTask()
    result = train(task, make_options(tmp_path, resume=True))
    assert "all 4 epochs are done, nothing to do" in caplog.text
    assert task.steps == 0 and result.epochs_done == 4 and result.best_loss is not None
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_larger_max_epoch_spans_the_schedule_anew(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train(ToyTask(), make_options(tmp_path, max_epoch=2))
    train(
        ToyTask(), make_options(tmp_path, max_epoch=6, resume=True, learning_rate_cycles=1, seed=5)
    )
    assert "the schedule now spans 6 epochs (was 2)" in caplog.text
    assert "--seed is 5 from here on (was 71)" in caplog.text
    rates = [float(row["learning_rate"]) for row in read_csv(tmp_path)]
    assert [int(row["epoch"]) for row in read_csv(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert rates[2] == pytest.approx(0.01 * (1 + math.cos(math.pi * 2 / 5)) / 2, rel=1e-4)
    assert rates[5] == 1e-8


def test_nothing_to_resume_from(tmp_path):
    with pytest.raises(
        UserError, match=r"--resume: there is no .*toy\.net\.checkpoint\.pth to resume from"
    ):
        train(ToyTask(), make_options(tmp_path / "new", resume=True))
    assert not (tmp_path / "new").exists()


def test_another_optimizer_needs_reset_state(tmp_path):
    train(ToyTask(), make_options(tmp_path, max_epoch=1))
    with pytest.raises(
        UserError,
        match="--optimizer adamw, whose state does not fit --optimizer sgd: add --reset-state",
    ):
        train(ToyTask(), make_options(tmp_path, resume=True, optimizer="sgd"))


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    train(ToyTask(), make_options(tmp_path, max_epoch=1))
    (tmp_path / "toy.net.checkpoint.pth").rename(tmp_path / "toy.other.checkpoint.pth")
    for values in (dict(resume=True), dict(checkpoint_file=tmp_path / "toy.other.checkpoint.pth")):
        with pytest.raises(
            UserError, match="holds the model 'toy.net', but 'toy.other' is being trained"
        ):
            train(ToyTask("toy.other"), make_options(tmp_path, **values))


def test_weights_of_another_size_are_refused_and_nothing_is_moved(tmp_path):
    train(ToyTask(), make_options(tmp_path, max_epoch=1))
    for values in (dict(resume=True), dict(resume=True, reset_state=True)):
        with pytest.raises(UserError, match="does not fit toy.net: another shape"):
            train(ToyTask(width=5), make_options(tmp_path, **values))
    assert (tmp_path / "toy.net.checkpoint.pth").exists() and not list(tmp_path.glob("*.bk"))


def test_a_model_file_without_training_state_is_not_resumed(tmp_path):
    save_model(ToyTask().model, tmp_path / "toy.net.checkpoint.pth")
    with pytest.raises(
        UserError, match="no training state of this trainer to resume: add --reset-state"
    ):
        train(ToyTask(), make_options(tmp_path, resume=True))


def test_a_grown_training_set_keeps_the_history_of_its_samples(tmp_path, caplog):
    task = ToyTask(size=6)
    task.on_step = press_ctrl_c(at_step=6)  # the last of a window, which is whole then
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path))
    old = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["training"]["history"]["losses"]
    task = ToyTask(size=8)
    task.sample_name = lambda index: f"point-{index - 2}"
    task.on_step = press_ctrl_c(at_step=2)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path, resume=True))
    assert "the training set has changed since the checkpoint: 2 new, 0 gone" in caplog.text
    new = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["training"]["history"]["losses"]
    unseen = [index for index in range(6) if index + 2 not in task.seen]
    assert unseen and torch.equal(new[2:][unseen].nan_to_num(), old[unseen].nan_to_num())


# --- rounds ---------------------------------------------------------------------------------------


def test_reset_state_keeps_the_evaluation_weights_and_moves_the_rest_aside(tmp_path):
    train(ToyTask(), make_options(tmp_path, ema_model=True))
    weights = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["state_dict"]
    best, table = (tmp_path / "toy.net.pth").read_bytes(), (tmp_path / "loss.csv").read_bytes()
    task, start = ToyTask(), {}
    task.on_step = lambda step: (
        start.update({name: tensor.clone() for name, tensor in task.model.state_dict().items()})
        if step == 1
        else None
    )
    task.eval_losses = [50.0] * 99  # worse than before
    train(
        task,
        make_options(
            tmp_path, resume=True, reset_state=True, optimizer="adamw_schedulefree", max_epoch=2
        ),
    )
    assert_same(start, dict(weights))
    (kept_best,) = tmp_path.glob("toy.net.2*.pth.bk")
    (kept_table,) = tmp_path.glob("loss.2*.csv")
    assert len(list(tmp_path.glob("toy.net.checkpoint.2*.pth.bk"))) == 1
    assert kept_best.read_bytes() == best and kept_table.read_bytes() == table
    assert [row["epoch"] for row in read_csv(tmp_path)] == ["1", "2"]
    assert read_checkpoint(tmp_path / "toy.net.pth")["metrics"]["loss"] == 50.0


def new_round(folder: Path, losses: list[float], **values):
    """A round of an epoch for each of these evaluation losses, from the folder's weights on."""
    task = ToyTask()
    task.eval_losses = [loss for loss in losses for _ in range(3)]
    values = dict(resume=True, reset_state=True, max_epoch=len(losses)) | values
    return train(task, make_options(folder, **values))


def test_the_best_model_of_a_round_is_named_beside_that_of_the_rounds_before(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    new_round(tmp_path, [0.5, 0.25], resume=False, reset_state=False)
    assert [line for line in caplog.messages if "best model" in line] == [
        "  * best model updated",
        "  * best model updated",
    ]
    caplog.clear()
    new_round(tmp_path, [0.75, 0.5])
    (kept,) = (path.name for path in tmp_path.glob("toy.net.2*.pth.bk"))
    rival = f"0.25 in epoch 2 of round 1, kept as {kept}"
    assert [line for line in caplog.messages if "best model" in line] == [
        f"  * best model of this round updated; there is a better one: {rival}",
        f"  * best model of this round updated; there is a better one: {rival}",
        f"the best model is not of this round: {rival}",
    ]
    assert read_checkpoint(tmp_path / kept)["metrics"]["loss"] == 0.25
    caplog.clear()
    new_round(tmp_path, [0.375, 0.125])
    assert [line for line in caplog.messages if "best model" in line] == [
        f"  * best model of this round updated; there is a better one: {rival}",
        f"  * best model updated, and better than before this round: {rival}",
    ]


def test_losses_by_another_yardstick_are_not_compared(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    new_round(tmp_path, [0.25], resume=False, reset_state=False)
    monkeypatch.setattr(ToyTask, "yardstick", lambda task: "another loss")
    new_round(tmp_path, [0.75])
    assert [line for line in caplog.messages if "best model" in line] == [
        "  * best model updated",
        "  * best model updated",
    ]


def test_the_curve_shows_all_rounds_also_after_a_resumption_and_none_of_a_fresh_run(tmp_path):
    seen = []

    def look(event):
        if isinstance(event, EpochDone):
            journal = event.trainer.journal
            seen.append([[row["eval_loss"] for row in rows] for rows in journal.earlier])

    new_round(tmp_path, [0.5, 0.25], resume=False, reset_state=False)
    new_round(tmp_path, [0.75])
    for values in (dict(resume=True, reset_state=True), dict(resume=True), {}):
        task = ToyTask()
        task.eval_losses = [1.0] * 9
        max_epoch = 1 if values.get("reset_state") or not values else 2
        train_watched_by(look)(task, make_options(tmp_path, max_epoch=max_epoch, **values))
    assert seen == [[["0.5", "0.25"], ["0.75"]]] * 2 + [[]]


def test_a_reset_round_killed_in_its_first_epoch_resumes_exactly(tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    values = dict(reset_state=True, optimizer="adamw_schedulefree", max_epoch=2)
    for folder in folders:
        train(ToyTask(), make_options(folder, max_epoch=1))
    train(ToyTask(), make_options(folders[0], resume=True, **values))
    task = ToyTask()
    task.on_step = kill(2)
    with pytest.raises(Killed):
        train(task, make_options(folders[1], resume=True, **values))
    train(
        ToyTask(),
        make_options(folders[1], resume=True, optimizer="adamw_schedulefree", max_epoch=2),
    )
    assert_same_run(*folders)


def test_a_fresh_start_moves_an_earlier_run_aside(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train(ToyTask(), make_options(tmp_path, max_epoch=1))
    before = (tmp_path / "toy.net.checkpoint.pth").read_bytes()
    train(ToyTask(), make_options(tmp_path, max_epoch=1))
    (kept,) = tmp_path.glob("toy.net.checkpoint.2*.pth.bk")
    assert kept.read_bytes() == before
    assert f"toy.net.checkpoint.pth of an earlier run is kept as {kept.name}" in caplog.text


def test_checkpoint_file_gives_the_first_weights(tmp_path):
    torch.manual_seed(9)
    model = create_model("toy.net")
    save_model(model, tmp_path / "start.pth")
    task, start = ToyTask(), {}
    task.on_step = lambda step: start.setdefault("w", task.model.layers[0].weight.detach().clone())
    train(task, make_options(tmp_path / "run", checkpoint_file=tmp_path / "start.pth", max_epoch=1))
    assert torch.equal(start["w"], model.layers[0].weight)


# --- the model file -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        dict(optimizer="adamw_schedulefree"),
        dict(optimizer="sgd_schedulefree"),
        dict(ema_model=True),
        {},
    ],
)
def test_the_model_file_scores_as_it_was_evaluated(tmp_path, values):
    result = train(ToyTask(), make_options(tmp_path, num_samples=40, **values))
    model, content = load_model(result.model_path)
    task, batches = ToyTask(), ([0, 1], [2, 3], [4])
    noise = task.eval_set.noise
    assert noise > 0
    total = 0.0
    from nunif.seed import derive_seed

    with torch.no_grad():
        for batch in batches:
            samples = stack(
                [task.eval_set[Draw(index, derive_seed(71, "eval", index))] for index in batch]
            )
            total += task.eval_step(model, samples).metrics["loss"] * len(batch)
    assert total / 5 == content["metrics"]["loss"] == result.best_loss
    checkpoint = read_checkpoint(result.checkpoint_path)
    assert (checkpoint["training"]["weights"] is not None) == bool(values)


def test_only_a_better_loss_replaces_the_model_file(tmp_path):
    task = ToyTask()
    task.eval_losses = [0.5] * 3 + [0.3] * 3 + [math.nan] * 3 + [0.4] * 3
    result = train(task, make_options(tmp_path))
    assert (result.best_loss, result.best_epoch) == (pytest.approx(0.3), 2)
    assert read_checkpoint(tmp_path / "toy.net.pth")["epoch"] == 2
    assert [row["eval_loss"] for row in read_csv(tmp_path)] == ["0.5", "0.3", "", "0.4"]


def test_the_last_checkpoints_are_kept(tmp_path):
    """Also those of epochs to come, when the run has been set back; and none is removed when the
    option is left out."""

    def kept():
        paths = sorted(tmp_path.glob("*.epoch*.pth"))
        return {
            path.name[-8:-4]: read_checkpoint(path)["training"]["state"]["epochs_done"]
            for path in paths
        }

    train(ToyTask(), make_options(tmp_path, keep_checkpoints=2))
    assert kept() == {"0003": 3, "0004": 4}
    shutil.copyfile(
        tmp_path / "toy.net.checkpoint.epoch0003.pth", tmp_path / "toy.net.checkpoint.pth"
    )
    assert kept() == {"0003": 3, "0004": 4}, "writing into one file must not change another"
    train(ToyTask(), make_options(tmp_path, max_epoch=5, resume=True))
    assert kept() == {"0003": 3, "0004": 4}
    shutil.copy(tmp_path / "toy.net.checkpoint.epoch0003.pth", tmp_path / "toy.net.checkpoint.pth")
    task = ToyTask()
    task.on_step = press_ctrl_c(at_step=5)
    (tmp_path / "toy.net.checkpoint.epoch0009.pth").write_bytes(
        (tmp_path / "toy.net.checkpoint.epoch0004.pth").read_bytes()
    )
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path, max_epoch=5, resume=True, keep_checkpoints=1))
    assert kept() == {"0004": 4, "0009": 4}


def test_skip_eval_keeps_the_newest_and_save_epoch_keeps_all(tmp_path):
    task = ToyTask()
    task.eval_set = None
    train(task, make_options(tmp_path, skip_eval=True, save_epoch=True, max_epoch=3))
    assert read_checkpoint(tmp_path / "toy.net.pth")["epoch"] == 3
    assert [
        read_checkpoint(tmp_path / "epoch" / str(n) / "toy.net.pth")["epoch"] for n in (1, 2, 3)
    ] == [1, 2, 3]
    assert not (tmp_path / "eval").exists()


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_updates_nothing_and_reaches_no_sampler(tmp_path, caplog):
    task = ToyTask()
    task.spoil = lambda step: math.nan if step == 1 else math.inf if step in (3, 4) else 1.0
    train(task, make_options(tmp_path, max_epoch=2, ema_model=True))
    first, second = read_csv(tmp_path)
    # batch 1 (2 records) and the window of 3 and 4 (2 + 1)
    assert (first["updates"], first["skipped"]) == (
        "1",
        "5",
    )
    assert (second["updates"], second["skipped"]) == ("2", "0")
    assert math.isfinite(float(first["train_loss"]))
    assert f"not finite, nothing learned from: point-{task.seen[0]}" in caplog.text
    training = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")["training"]
    assert torch.isfinite(
        training["history"]["losses"][training["history"]["losses"].isfinite()]
    ).all()
    assert int(training["history"]["losses"].isfinite().sum()) == 2 + 7
    assert all(torch.isfinite(tensor).all() for tensor in training["weights"].values())
    assert training["state"]["non_finite"] == 3


def test_a_gradient_that_is_not_finite_drops_its_window(tmp_path):
    task = ToyTask(dropout=0.0)
    real = task.train_step

    def train_step(model, batch):
        output = real(model, batch)
        if task.steps == 1:
            zero = (output.loss - output.loss.detach()) * 1.0
            output.loss = output.loss + zero.abs().sqrt()  # 0, with a gradient of 0 * inf
        return output

    task.train_step = train_step
    train(task, make_options(tmp_path, max_epoch=1))
    assert read_csv(tmp_path)[0]["updates"] == "1" and read_csv(tmp_path)[0]["skipped"] == "4"
    assert all(torch.isfinite(parameter).all() for parameter in task.model.parameters())


def test_an_epoch_without_a_finite_loss_stops_and_the_checkpoint_is_unharmed(tmp_path):
    task = ToyTask()
    task.spoil = lambda step: math.nan if step > 4 else 1.0
    with pytest.raises(
        UserError, match="no batch of epoch 2 gave a finite loss: use a lower --learning-rate"
    ):
        train(task, make_options(tmp_path))
    content = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")
    assert content["training"]["state"]["epochs_done"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in content["state_dict"].values())


def test_too_many_losses_that_are_not_finite_stop_the_run_unless_ignored(tmp_path):
    task = ToyTask()
    task.spoil = lambda step: math.nan if step % 2 else 1.0
    with pytest.raises(UserError, match="21 batches of epoch 1 and 21 of the run were not finite"):
        train(task, make_options(tmp_path, num_samples=120))
    task = ToyTask()
    task.spoil = lambda step: math.nan
    train(task, make_options(tmp_path / "ignored", num_samples=60, max_epoch=1, ignore_nan=True))
    (row,) = read_csv(tmp_path / "ignored")
    assert (row["train_loss"], row["updates"], row["skipped"]) == ("", "0", "60")


def test_weights_that_are_not_finite_replace_no_file(tmp_path):
    task = ToyTask()

    def on_step(step: int) -> None:
        if step == 8:
            task.model.layers[0].bias.data[0] = math.inf  # an optimizer gone wild

    task.on_step = on_step
    with pytest.raises(UserError, match=r"the weights are no longer finite \(layers.0.bias\)"):
        train(task, make_options(tmp_path))
    content = read_checkpoint(tmp_path / "toy.net.checkpoint.pth")
    assert content["training"]["state"]["epochs_done"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in content["state_dict"].values())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_bad_samples_are_named_once_counted_and_left_out(tmp_path, caplog, num_workers):
    task = ToyTask(bad=(2, 7))
    train(task, make_options(tmp_path, num_samples=30, max_epoch=3, num_workers=num_workers))
    assert caplog.text.count("training sample point-2 is left out: its picture is torn") == 1
    assert caplog.text.count("training sample point-7 is left out") == 1
    assert not {2, 7} & set(task.seen)
    first, *others = read_csv(tmp_path)
    assert int(first["skipped"]) > 0 and [row["skipped"] for row in others] == ["0", "0"]


def test_a_run_with_bad_samples_resumes_exactly(tmp_path):
    values = dict(num_samples=20, max_epoch=3)
    train(ToyTask(bad=(2,)), make_options(tmp_path / "whole", **values))
    task = ToyTask(bad=(2,))
    task.on_step = press_ctrl_c(at_step=15)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path / "cut", **values))
    train(ToyTask(bad=(2,)), make_options(tmp_path / "cut", resume=True, **values))
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_too_many_bad_samples_stop_the_run(tmp_path):
    with pytest.raises(
        UserError, match=r"6 of 10 training samples can't be read: .*point-\d: its picture is torn"
    ):
        train(ToyTask(bad=(0, 1, 2, 3, 4, 5)), make_options(tmp_path, num_samples=60))


def test_bad_evaluation_samples_are_skipped_unless_none_is_left(tmp_path, caplog):
    task = ToyTask()
    task.eval_set = Points(3, bad=(1,))
    train(task, make_options(tmp_path, max_epoch=1))
    assert "evaluation sample point-1 is skipped: its picture is torn" in caplog.text
    task = ToyTask()
    task.eval_set = Points(2, bad=(0, 1))
    with pytest.raises(UserError, match="no sample of the evaluation set can be read"):
        train(task, make_options(tmp_path, max_epoch=1))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_user_error_of_the_dataset_stays_one_line(tmp_path, num_workers):
    class Broken(Points):
        def __getitem__(self, draw):
            raise UserError("the disk is gone: bring it back")

    task = ToyTask()
    task.train_set = Broken(4)
    with pytest.raises(UserError, match="^the disk is gone: bring it back$"):
        train(task, make_options(tmp_path, num_workers=num_workers))


class Failing(Points):
    """Samples whose loading fails in a process for it, as `fail` does."""

    def __init__(self, fail) -> None:
        super().__init__(4)
        self.fail = fail

    def __getitem__(self, draw):
        self.fail()
        return super().__getitem__(draw)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with(error):
    def fail():
        raise error

    return fail


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    "fail, message",
    [
        (be_killed, r"^a loading process was ended, .*--num-workers 1, or 0 for none"),
        (
            fail_with(MemoryError()),
            r"^a loading process was ended, .*--num-workers 1, or 0 for none",
        ),
        (
            fail_with(OSError(errno.EMFILE, "Too many open files")),
            r"^too many files are open: .*\(--num-workers 0\)$",
        ),
        # what torch says of a /dev/shm that is full, in its three ways
        (
            fail_with(
                RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)")
            ),
            r"^the loading processes have too little shared memory .*--shm-size.*--num-workers 0",
        ),
        (
            fail_with(RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")),
            r"^the loading processes have too little shared memory .*--shm-size.*--num-workers 0",
        ),
        (
            fail_with(RuntimeError("received 0 items of ancdata")),
            r"^too many files are open: .*\(--num-workers 0\)$",
        ),
    ],
)
def test_what_loading_processes_lack_is_one_line(tmp_path, fail, message):
    task = ToyTask()
    task.train_set = Failing(fail)
    with pytest.raises(UserError, match=message):
        train(task, make_options(tmp_path, num_workers=1))


def test_a_loading_process_that_ends_during_an_update_is_one_line(tmp_path):
    def told(step):  # torch's handler of SIGCHLD raises this wherever we are
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    task = ToyTask()
    task.on_step = told
    with pytest.raises(UserError, match="^a loading process was ended"):
        train(task, make_options(tmp_path))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_of_our_own_stay_what_they_are(tmp_path, num_workers):
    task = ToyTask()
    task.train_set = Failing(fail_with(KeyError("x")))
    with pytest.raises(KeyError):
        train(task, make_options(tmp_path, num_workers=num_workers))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_as_many_files_as_the_system_allows_may_be_open(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 256), before[1]))
        train(ToyTask(), make_options(tmp_path, num_workers=1, max_epoch=1))
        assert (
            resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(before[1], 65536) or before[1] < 0
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_empty_sets(tmp_path):
    task = ToyTask(size=0)
    with pytest.raises(UserError, match="the training set is empty"):
        train(task, make_options(tmp_path))
    task = ToyTask()
    task.eval_set = Points(0)
    with pytest.raises(UserError, match="the evaluation set is empty: .* add --skip-eval"):
        train(task, make_options(tmp_path))


def test_two_trainings_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "LOCK_SECONDS", 0.1)
    task = ToyTask()

    def on_step(step: int) -> None:
        if step == 1:
            with pytest.raises(UserError, match="another training is writing into"):
                train(ToyTask(), make_options(tmp_path))

    task.on_step = on_step
    train(task, make_options(tmp_path, max_epoch=1))
    assert task.steps == 4


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "taken").write_text("a note")
    with pytest.raises(UserError, match="can't be made a folder because a file stands in its way"):
        train(ToyTask(), make_options(tmp_path / "taken"))


# --- what is left to read -------------------------------------------------------------------------


def test_files_of_a_run(tmp_path, monkeypatch):
    monkeypatch.undo()
    train(
        ToyTask(),
        make_options(
            tmp_path, max_epoch=4, eval_step=3, save_eval_step=2, disable_tensorboard=False
        ),
    )
    lines = (tmp_path / "loss.csv").read_text().splitlines()
    assert (
        lines[0] == "epoch,learning_rate,train_loss,train_half,eval_loss,eval_psnr,"
        "data_seconds,records_per_second,updates,skipped,seconds"
    )
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert [line.split(",")[4] != "" for line in lines[1:]] == [False, False, True, True]
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == ["0.png", "2.png"]
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert list((tmp_path / "runs").glob("events.*"))
    log = (tmp_path / "train.log").read_text()
    assert "toy.net, 21 parameters, on cpu x 1 in fp32" in log
    assert (
        "10 samples to train on (7 draws per epoch, 2 updates), 5 to evaluate; 4 epochs, adamw, "
        "seed 71" in log
    )
    assert "* best model updated" in log


def test_one_line_says_how_long_it_will_take(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pace, "ESTIMATE_SECONDS", 0.0)
    monkeypatch.setattr(messages, "LONG_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    task = ToyTask()
    task.faster_on_cpu = lambda: "--less is faster"
    train(task, make_options(tmp_path, max_epoch=3), later_epochs=2.0)
    (line,) = [line for line in caplog.messages if line.startswith("at this pace")]
    assert re.fullmatch(
        "at this pace an epoch takes about .+, the 3 epochs to come .+, all stages to come .+, "
        "without evaluation; --less is faster",
        line,
    )
    left = [line for line in caplog.messages if line.startswith("  about ")]
    assert len(left) == 2
    assert re.fullmatch("  about .+ left, with the stages after it .+", left[0])


def test_the_rest_of_a_resumed_epoch_is_no_measure_of_the_others(tmp_path, caplog):
    task = ToyTask()
    task.on_step = press_ctrl_c(at_step=3)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(tmp_path))
    caplog.set_level(logging.INFO)
    train(ToyTask(), make_options(tmp_path, resume=True))
    kinds = [line.split()[0] for line in caplog.messages if line.startswith(("epoch", "  about"))]
    assert kinds == ["epoch", "epoch", "about", "epoch", "about", "epoch"]


def test_rows_after_the_checkpoint_are_dropped_on_resuming(tmp_path):
    train(ToyTask(), make_options(tmp_path, max_epoch=2))
    path = tmp_path / "loss.csv"
    path.write_text(path.read_text() + "3,0.1,0.1,0.1,0.1,0.1,2,0,0.1\n")
    train(ToyTask(), make_options(tmp_path, max_epoch=3, resume=True))
    assert [row["epoch"] for row in read_csv(tmp_path)] == ["1", "2", "3"]
    assert read_csv(tmp_path)[2]["train_loss"] != "0.1"


def test_options_without_effect_are_said(tmp_path, caplog):
    train(ToyTask(), make_options(tmp_path, max_epoch=1, momentum=0.5, amp_float="bf16"))
    assert "--momentum has no effect with --optimizer adamw" in caplog.text
    assert "--amp-float has no effect on the CPU" in caplog.text


def test_a_dataset_and_its_collate_can_be_pickled():
    task = ToyTask()
    assert pickle.loads(pickle.dumps((task.train_set, task.collate)))[1] is stack
