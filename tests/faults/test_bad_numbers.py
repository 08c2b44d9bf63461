"""NaN and infinity anywhere in training: the update is left out everywhere, or the run stops and
says where."""

import copy
import math
import re
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from nunif.errors import UserError
from nunif.models import create_model, load_model, read_checkpoint, register_model
from nunif.training.batches import Batch
from nunif.training.distributed import Group
from nunif.training.start import create_engine
from nunif.training.step import Engine
from nunif.training.trainer import Started, train
from nunif.training.window import Window
from tests.nunif.test_training import (
    Toy,
    ToyTask,
    assert_same,
    make_options,
    press_ctrl_c,
    read_csv,
)
from tests.nunif.test_training_opponent import ContestTask, training_of, weights_of
from tests.watching import train_watched_by

pytestmark = pytest.mark.usefixtures("no_curves")

CPU = torch.device("cpu")
PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
CHECKPOINT = "toy.net.checkpoint.pth"


class Normed(Toy):
    """The toy with a layer that remembers what it saw."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.layers.insert(1, nn.BatchNorm1d(4))


register_model("toy.normed", Normed)


def gradient_of(loss: torch.Tensor, number: float) -> torch.Tensor:
    """The same loss, whose gradient is NaN or infinite."""
    loss = loss.clone()
    loss.register_hook(lambda gradient: gradient * number)
    return loss


@dataclass
class Spoiled(ContestTask):
    """The toy task with a second network, and a fault in the batches whose first sample is 9 or
    more."""

    where: str = "loss"
    number: float = math.nan
    faults: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.model = create_model("toy.normed")
        self.opponent.insert(1, nn.BatchNorm1d(2))

    def train_step(self, model, batch):
        bad = int(batch["index"][0]) >= 9
        self.faults += bad
        if bad and self.where == "data":
            batch["x"][0, 0] = self.number
        output = super().train_step(model, batch)
        if bad and self.where == "loss":
            output.loss = output.loss + self.number
        if bad and self.where == "loss of one sample":
            output.sample_losses[1] = self.number
        if bad and self.where == "loss of the opponent":
            output.opponent_loss = output.opponent_loss * self.number
        if bad and self.where == "gradient":
            output.loss = gradient_of(output.loss, self.number)
        if bad and self.where == "gradient of the opponent":
            output.opponent_loss = gradient_of(output.opponent_loss, self.number)
        return output


def engine_for(task, precision: str, **values) -> Engine:
    """The trainer's own, as on a GPU with that precision."""
    engine = create_engine(task, make_options("x", **values), Group(), CPU, 8)
    return to_precision(engine, precision, scale=64.0)


def to_precision(engine: Engine, precision: str, *, scale: float) -> Engine:
    engine.dtype = PRECISIONS[precision]
    engine.scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=precision == "fp16")
    engine.model.train()
    return engine


def batch_of(first: int) -> Batch:
    generator = torch.Generator().manual_seed(first)
    x = torch.randn(3, 3, generator=generator)
    indices = [first, first + 1, first + 2]
    return Batch({"x": x, "y": x.sum(1, keepdim=True), "index": torch.tensor(indices)}, indices)


def update(engine: Engine, task, *firsts: int) -> Window:
    """One update out of the batches that begin with these samples; the window is meant to hold
    two."""
    window = Window()
    for first in firsts:
        engine.learn(task, batch_of(first), window, place=first, seed=first, nominal_records=6)
    return engine.update(window, nominal_records=6)


def everything(engine: Engine) -> dict:
    """A copy of all that moves."""
    return copy.deepcopy(
        {
            "model": dict(engine.model.state_dict()),
            "opponent": dict(engine.opponent.state_dict()),
            "optimizers": [engine.optimizer.state_dict(), engine.opponent_optimizer.state_dict()],
            "ema": (engine.ema.num_updates, engine.ema.weights) if engine.ema else None,
        }
    )


def without_statistics(state: dict) -> dict:
    for name in ("model", "opponent"):
        state[name] = {
            key: value
            for key, value in state[name].items()
            if "running" not in key and "batches" not in key
        }
    return state


def assert_finite(value, where="") -> None:
    """No tensor and no number within it is NaN or infinite."""
    if isinstance(value, torch.Tensor):
        assert torch.isfinite(value).all(), where
    elif isinstance(value, dict):
        for key, inner in value.items():
            assert_finite(inner, f"{where}/{key}")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            assert_finite(inner, f"{where}/{number}")
    elif isinstance(value, float):
        assert math.isfinite(value), where


MODES = {
    "ema": dict(ema_model=True, ema_decay=0.9),
    "schedule-free": dict(optimizer="adamw_schedulefree"),
    "sgd": dict(optimizer="sgd"),
}
LOSSES = ["data", "loss", "loss of one sample", "loss of the opponent"]
GRADIENTS = ["gradient", "gradient of the opponent"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", LOSSES)
def test_a_batch_with_a_bad_loss_might_as_well_not_have_been(where, number, precision, mode):
    """The same to the bit as without it: alone in its window, or beside good ones that were before
    or come behind."""
    states = []
    for windows in ([(0, 9), (9,), (9, 3), (3, 0)], [(0,), (3,), (3, 0)]):
        task = Spoiled(where=where, number=number)
        engine = engine_for(task, precision, **MODES[mode])
        results = [update(engine, task, *firsts) for firsts in windows]
        if task.faults:
            assert [whole.updated for whole in results] == [True, False, True, True]
            assert [whole.non_finite for whole in results] == [[[9, 10, 11]]] * 3 + [[]]
            assert [whole.skipped for whole in results] == [3, 3, 3, 0]
            assert {index for whole in results for _, index, _ in whole.losses} == {
                0,
                1,
                2,
                3,
                4,
                5,
            }
        states.append(everything(engine))
    assert_same(*states)
    assert_finite(states[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("where", GRADIENTS)
def test_a_bad_gradient_of_either_network_leaves_the_window_out_for_both(
    where, number, precision, mode
):
    task = Spoiled(where=where, number=number)
    engine = engine_for(task, precision, **MODES[mode])
    update(engine, task, 0, 3)
    before, scale = without_statistics(everything(engine)), engine.scaler.get_scale()
    for firsts in ((0, 9), (9, 0), (9,)):
        whole = update(engine, task, *firsts)
        assert not whole.updated and whole.losses == [] and whole.records == 0
        assert whole.skipped == 3 * len(firsts)
        # there is room below the scale
        assert len(whole.non_finite) == (0 if precision == "fp16" else len(firsts))
        assert_same(without_statistics(everything(engine)), before)
        assert all(
            p.grad is None
            for network in (engine.model, engine.opponent)
            for p in network.parameters()
        )
    assert engine.scaler.get_scale() == (scale / 8 if precision == "fp16" else scale)
    assert update(engine, task, 0, 3).updated
    assert_finite(everything(engine))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_that_an_update_breaks_reach_no_average_and_are_named(precision):
    task = Spoiled()
    engine = engine_for(task, precision, ema_model=True, optimizer="sgd", learning_rate=0.01)
    update(engine, task, 0, 3)
    average = copy.deepcopy(engine.ema.weights)
    engine.optimizer.param_groups[0]["lr"] = math.inf
    whole = update(engine, task, 0, 3)
    assert whole.broken == "layers.0.weight"
    assert_same(engine.ema.weights, average)
    engine = engine_for(Spoiled(), precision)
    engine.opponent_optimizer.param_groups[0]["lr"] = math.inf
    assert update(engine, task, 0, 3).broken == "0.weight"


# --- whole runs -----------------------------------------------------------------------------------


def train_in(precision: str):
    """`train` as on a GPU in that precision; fp16 begins with torch's own scale, which overflows at
    first."""

    def look(event):
        if isinstance(event, Started):
            to_precision(event.trainer.engine, precision, scale=2.0**16)

    return train_watched_by(look)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "where, mode",
    [
        ("loss", "ema"),
        ("loss of the opponent", "schedule-free"),
        ("gradient", "schedule-free"),
        ("gradient of the opponent", "ema"),
    ],
)
def test_a_run_with_faults_goes_on_and_all_that_it_keeps_is_finite(
    tmp_path, caplog, precision, mode, where
):
    def spoiled():
        # sample 9 of 10
        task = Spoiled(where=where, number=math.inf if where in GRADIENTS else math.nan)
        task.train_set.size = 12
        return task

    values = dict(max_epoch=3, num_samples=60, **MODES[mode])
    task = spoiled()
    task.on_step = press_ctrl_c(at_step=50)
    with pytest.raises(KeyboardInterrupt):
        train_in(precision)(task, make_options(tmp_path, **values))
    again = spoiled()
    train_in(precision)(again, make_options(tmp_path, resume=True, **values))
    assert task.faults and again.faults
    content = read_checkpoint(tmp_path / "toy.normed.checkpoint.pth")
    history = content["training"].pop("history")["losses"]
    assert not torch.isinf(history).any() and int(history.isfinite().sum()) > 20
    assert torch.equal(
        history.isnan().long().diff(dim=1).clamp(min=0), torch.zeros(12, 3, dtype=torch.int64)
    )
    assert_finite(content)
    updates = content["training"]["state"]["updates"]
    assert 20 < updates < 3 * 15
    rows = read_csv(tmp_path)
    assert (
        sum(int(row["updates"]) for row in rows) == updates
        and sum(int(row["skipped"]) for row in rows) > 0
    )
    assert_finite([float(row["eval_loss"]) for row in rows])
    assert_finite(dict(load_model(tmp_path / "toy.normed.pth")[0].state_dict()))
    if (
        precision != "fp16" or where not in GRADIENTS
    ):  # there an overflow is part of the search for a scale
        assert any(
            "samples: not finite, nothing learned from: point-" in message
            for message in caplog.messages
        )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_update_that_breaks_the_weights_stops_the_run_with_its_step_and_records(
    tmp_path, precision
):
    good, bad = tmp_path / "good", tmp_path / "bad"
    values = dict(optimizer="sgd", momentum=0.0, weight_decay=0.0, max_epoch=1, num_samples=60)
    train_in(precision)(ToyTask(dropout=0.0), make_options(good, **values))
    task = ToyTask(dropout=0.0)
    with pytest.raises(UserError) as caught:
        train_in(precision)(task, make_options(bad, learning_rate=3e38, **values))
    seen = sorted({f"point-{index}" for index in task.seen[-4:]})
    text = str(caught.value)
    first = (
        r"the weights are no longer finite \(layers\.\d\.weight\) after update 1 \(epoch 1, "
        r"(\d+) of 60 samples\), learned"
    )
    assert (found := re.match(first, text)) and int(found[1]) == len(task.seen), text
    assert (len(task.seen) > 4) == (precision == "fp16"), (
        "the first windows are left out while its scale comes down"
    )
    assert all(name in text for name in seen) and "--resume and a lower --learning-rate" in text
    content = read_checkpoint(bad / CHECKPOINT)
    assert (
        content["training"]["state"]["updates"] == 0
        and content["training"]["state"]["epochs_done"] == 0
    )
    assert_finite(dict(content["state_dict"]))
    assert not (bad / "toy.net.pth").exists()
    train_in(precision)(ToyTask(dropout=0.0), make_options(bad, resume=True, **values))
    assert_same(
        read_checkpoint(bad / CHECKPOINT)["state_dict"],
        read_checkpoint(good / CHECKPOINT)["state_dict"],
    )


def break_a_weight(task: ToyTask, number: float) -> None:
    task.model.layers[0].weight.data[0, 0] = number


@pytest.mark.parametrize("when", ["while training", "while evaluating"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_broken_weights_never_replace_a_checkpoint(tmp_path, number, when):
    """Whoever broke them, and although --ignore-nan forgives losses."""
    names = (CHECKPOINT, "toy.net.pth", "loss.csv")
    train(ToyTask(), make_options(tmp_path, max_epoch=2))
    before = [(tmp_path / name).read_bytes() for name in names]
    task = ToyTask()
    if when == "while training":
        task.on_step = lambda step: break_a_weight(task, number) if step == 2 else None
    else:
        real = task.eval_step
        task.eval_step = lambda model, batch: (break_a_weight(task, number), real(model, batch))[1]
    with pytest.raises(UserError, match="the last checkpoint"):
        train(task, make_options(tmp_path, max_epoch=4, resume=True, ignore_nan=True))
    assert [(tmp_path / name).read_bytes() for name in names] == before


def test_ctrl_c_saves_no_broken_weights(tmp_path):
    train(ToyTask(), make_options(tmp_path, max_epoch=2))
    before = (tmp_path / CHECKPOINT).read_bytes()
    task = ToyTask()
    interrupt = press_ctrl_c(at_step=3)
    task.on_step = lambda step: (
        break_a_weight(task, math.nan) if step == 3 else None,
        interrupt(step),
    )
    with pytest.raises(
        (UserError, KeyboardInterrupt),
        match=r"the weights are no longer finite \(layers.0.weight\)",
    ):
        train(task, make_options(tmp_path, max_epoch=4, resume=True))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_broken_optimizer_never_replaces_a_checkpoint(tmp_path):
    task, engines = ToyTask(), []

    def look(event):
        if isinstance(event, Started):
            engines.append(event.trainer.engine)

    def on_step(step: int) -> None:
        if step == 8:
            # weights stay as they are
            next(iter(engines[0].optimizer.state.values()))["exp_avg_sq"][0] = math.inf

    task.on_step = on_step
    with pytest.raises(
        UserError,
        match=r"no longer finite \(exp_avg_sq \d+ of the optimizer\), so nothing was saved",
    ):
        train_watched_by(look)(task, make_options(tmp_path))
    training = training_of(tmp_path)
    assert training["state"]["epochs_done"] == 1
    assert_finite(training["optimizer"])


def test_too_many_bad_batches_stop_the_run_with_the_last_ones_step_and_records(tmp_path):
    task = ToyTask()
    task.spoil = lambda step: math.nan if step % 2 else 1.0
    with pytest.raises(UserError) as caught:
        train(task, make_options(tmp_path, num_samples=120))
    # of step 41, the 21st bad one
    last = [f"point-{index}" for index in dict.fromkeys(task.seen[80:82])]
    expected = (
        "21 batches of epoch 1 and 21 of the run were not finite, the last after update 21 "
        "(epoch 1, 84 of 120 samples), of "
    )
    assert str(caught.value).startswith(expected + ", ".join(last) + ": "), caught.value


def test_weights_of_the_second_network_that_break_stop_the_run(tmp_path):
    task = ContestTask()
    train(task, make_options(tmp_path, max_epoch=1))
    before = (tmp_path / CHECKPOINT).read_bytes()
    task = ContestTask()

    def on_step(step: int) -> None:
        if step == 4:
            task.opponent[1].bias.data[0] = math.inf

    task.on_step = on_step
    task.spoil_opponent = lambda step: 0.0 if step == 4 else 1.0
    with pytest.raises(UserError, match="the last checkpoint"):
        train(task, make_options(tmp_path, max_epoch=2, resume=True))
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert_finite(weights_of(task.model))
