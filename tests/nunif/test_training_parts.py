"""The parts of the trainer that can be looked at alone: options, rates, groups, sampler, averages,
windows, signals."""

import copy
import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nunif import device
from nunif.device import Speed
from nunif.errors import UserError
from nunif.options import check
from nunif.training import logs, messages, pace
from nunif.training.batches import map_tensors
from nunif.training.ema import Ema, evaluation_weights
from nunif.training.evaluation import write_picture
from nunif.training.logs import (
    earlier_rows,
    format_cell,
    log_file,
    make_curve,
    read_rows,
    write_rows,
)
from nunif.training.optim import (
    create_optimizer,
    learning_rates,
    load_optimizer_state,
    parameter_groups,
    set_learning_rate,
    warmup_factor,
)
from nunif.training.options import OPTIMIZERS, TrainerOptions
from nunif.training.rounds import moved_aside
from nunif.training.sampler import LossHistory, draw_order, hard_example_weights
from nunif.training.start import precision_of
from tests.nunif.test_training import ToyTask


def make_options(**values) -> TrainerOptions:
    return TrainerOptions(model_dir=Path("models/x"), **values)


# --- options --------------------------------------------------------------------------------------


def test_options_without_effect_are_named():
    cases = [
        (
            dict(optimizer="adamw_schedulefree", scheduler="step", learning_rate_cycles=3),
            ["--scheduler", "--learning-rate-cycles"],
        ),
        (
            dict(optimizer="sgd_schedulefree", learning_rate_cosine_min=1e-7),
            ["--learning-rate-cosine-min"],
        ),
        (
            dict(optimizer="adamw_schedulefree", ema_model=True, ema_decay=0.9),
            ["--ema-model", "--ema-decay"],
        ),
        (dict(optimizer="radam_schedulefree", warmup_epoch=2), ["--warmup-epoch"]),
        (dict(scheduler="step", learning_rate_cycles=2), ["--learning-rate-cycles"]),
        (
            dict(learning_rate_decay=0.5, learning_rate_decay_step=3),
            ["--learning-rate-decay", "--learning-rate-decay-step"],
        ),
        (dict(momentum=0.5, ema_decay=0.5), ["--ema-decay", "--momentum"]),
        (dict(optimizer="sgd", adam_beta1=0.5, momentum=0.5), ["--adam-beta1"]),
        (dict(gpu=-1, amp_float="bf16"), ["--amp-float"]),
        (dict(disable_amp=True, amp_float="bf16"), ["--amp-float"]),
        (dict(skip_eval=True, eval_step=2, save_eval_step=2), ["--eval-step", "--save-eval-step"]),
        (dict(resume=True, checkpoint_file=Path("a.pth")), ["--checkpoint-file"]),
        (dict(reset_state=True), ["--reset-state"]),
        (dict(optimizer="adamw_schedulefree", warmup_epoch=2, resume=True, reset_state=True), []),
        ({}, []),
    ]
    for values, flags in cases:
        sentences = make_options(**values).no_effect()
        assert [sentence.split()[0] for sentence in sentences] == flags, values
        assert all(
            " has no effect with" in sentence or " has no effect on" in sentence
            for sentence in sentences
        )


def test_a_task_may_declare_an_option_again_for_another_default():
    from nunif.options import option

    @dataclasses.dataclass(frozen=True)
    class Mine(TrainerOptions):
        eval_step: int = option(default=4, help="evaluate every N epochs")

    assert Mine(model_dir=Path("m"), skip_eval=True).no_effect() == []
    assert Mine(model_dir=Path("m"), skip_eval=True, eval_step=1).no_effect() == [
        "--eval-step has no effect with --skip-eval"
    ]


def test_options_that_contradict_each_other():
    with pytest.raises(
        UserError, match="--learning-rate-cosine-min 0.1 is above --learning-rate 0.01"
    ):
        check(make_options(learning_rate=0.01, learning_rate_cosine_min=0.1))
    with pytest.raises(
        UserError, match="--adam-beta1 0 does not work with --optimizer adamw_schedulefree"
    ):
        check(make_options(optimizer="adamw_schedulefree", adam_beta1=0))
    with pytest.raises(
        UserError,
        match="--optimizer lion is not known: choose one of adamw, adam, sgd, adamw_schedulefree",
    ):
        check(make_options(optimizer="lion"))


# --- learning rates -------------------------------------------------------------------------------


def test_two_hundred_epochs_in_five_cycles():
    rates = learning_rates(200, scheduler="cosine", peak=1e-4, minimum=1e-8, cycles=5)
    assert len(rates) == 200
    assert [epoch + 1 for epoch, rate in enumerate(rates) if rate == 1e-4] == [1, 41, 81, 121, 161]
    assert [epoch + 1 for epoch, rate in enumerate(rates) if rate == 1e-8] == [
        40,
        80,
        120,
        160,
        200,
    ]
    for start in (0, 40, 80, 120, 160):
        assert rates[start : start + 40] == sorted(rates[start : start + 40], reverse=True)
    assert rates[13] == pytest.approx(7.5e-5, rel=1e-3)  # a third of the way: (1 + cos(pi / 3)) / 2


def test_short_runs_have_the_same_shape():
    peaks = {
        1: [1],
        2: [1],
        3: [1],
        4: [1, 3],
        5: [1, 3],
        6: [1, 3, 5],
        7: [1, 3, 6],
        8: [1, 3, 5, 7],
        9: [1, 3, 5, 8],
        10: [1, 3, 5, 7, 9],
        11: [1, 3, 5, 8, 10],
        12: [1, 3, 6, 8, 11],
        20: [1, 5, 9, 13, 17],
    }
    for epochs in range(1, 21):
        rates = learning_rates(epochs, scheduler="cosine", peak=1.0, minimum=0.01, cycles=5)
        assert len(rates) == epochs
        starts = [epoch + 1 for epoch, rate in enumerate(rates) if rate == 1.0]
        ends = [epoch + 1 for epoch, rate in enumerate(rates) if rate == 0.01]
        assert starts == peaks.get(epochs, starts)
        if epochs > 1:
            assert ends == [*(start - 1 for start in starts[1:]), epochs]
            assert len(starts) == min(5, epochs // 2)
    assert learning_rates(1, scheduler="cosine", peak=1.0, minimum=0.01, cycles=5) == [1.0]
    assert learning_rates(2, scheduler="cosine", peak=1.0, minimum=0.01, cycles=5) == [1.0, 0.01]


def test_step_and_constant_rates():
    assert learning_rates(5, scheduler="step", peak=1.0, decay=0.5, decay_step=2) == [
        1.0,
        1.0,
        0.5,
        0.5,
        0.25,
    ]
    assert learning_rates(3, scheduler=None, peak=0.1) == [0.1, 0.1, 0.1]


def test_warm_up():
    assert [warmup_factor(update, 4) for update in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert warmup_factor(0, 0) == 1.0


# --- optimizers and averages ----------------------------------------------------------------------


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))


def make_optimizer(
    name: str,
    model: nn.Module,
    learning_rate: float = 0.1,
    warmup_updates: int = 0,
    rate_factor=lambda name: 1.0,
    fused: bool = False,
):
    return create_optimizer(
        name,
        model,
        learning_rate=learning_rate,
        weight_decay=0.01,
        betas=(0.9, 0.999),
        momentum=0.9,
        warmup_updates=warmup_updates,
        rate_factor=rate_factor,
        fused=fused,
    )


def step(model: nn.Module, optimizer) -> None:
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_matrices_decay_and_biases_and_norms_do_not():
    model = make_model()
    decay, no_decay = parameter_groups(model, 0.3)
    assert decay["weight_decay"] == 0.3 and no_decay["weight_decay"] == 0.0
    assert [id(p) for p in decay["params"]] == [id(model[0].weight), id(model[2].weight)]
    assert [id(p) for p in no_decay["params"]] == [
        id(p) for p in (model[0].bias, model[1].bias, model[1].weight, model[2].bias)
    ]


def test_what_the_command_line_says_outlives_a_loaded_state():
    model = make_model()
    old = make_optimizer("adamw", model, learning_rate=0.1)
    step(model, old)
    new = make_optimizer("adamw", model, learning_rate=0.002)
    load_optimizer_state(new, old.state_dict())
    assert [group["lr"] for group in new.param_groups] == [0.002, 0.002]
    assert torch.equal(
        new.state_dict()["state"][0]["exp_avg"], old.state_dict()["state"][0]["exp_avg"]
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_state_goes_on_however_its_steps_were_computed(name, fused):
    """As on a GPU, where a step is one kernel, and as elsewhere."""
    model = make_model()
    old, new = (make_optimizer(name, model, fused=how) for how in (not fused, fused))
    step(model, old)
    load_optimizer_state(new, copy.deepcopy(old.state_dict()))
    assert [bool(group["fused"]) for group in new.param_groups] == [fused, fused]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    found = []
    for optimizer in (old, new):
        for parameter, content in zip(model.parameters(), before, strict=True):
            parameter.data.copy_(content)
        step(model, optimizer)
        found.append([parameter.detach().clone() for parameter in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_what_makes_a_gpu_quicker():
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    half = Speed.of(gpu, torch.bfloat16, same_shapes=True)
    assert half == Speed(fused=True, channels_last=True, trials=True, tf32=True)
    # who asks for full precision gets it
    assert Speed.of(gpu, None, same_shapes=False) == Speed(fused=True)
    assert Speed.of(cpu, None, same_shapes=True) == Speed()
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    try:
        half.apply()
        assert torch.backends.cudnn.benchmark and torch.get_float32_matmul_precision() == "high"
        Speed().apply()
        assert torch.get_float32_matmul_precision() == "high", "somebody else's choice"
        Speed.of(gpu, None, same_shapes=False).apply()
        assert not torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(precision)


def test_half_precision_by_the_gpu_and_by_how_a_run_began(monkeypatch):
    gpu, options = torch.device("cuda", 0), make_options()
    scaled, unscaled = {"scaler": {"scale": 1024.0}}, {"scaler": {}}
    for capability, best in ((7, torch.float16), (8, torch.bfloat16), (9, torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: (c, 0))
        assert precision_of(options, gpu) == precision_of(options, gpu, unscaled) == best
        assert precision_of(options, gpu, scaled) == torch.float16
    asked = dataclasses.replace(options, amp_float="fp16")
    assert precision_of(asked, gpu) == precision_of(asked, gpu, unscaled) == torch.float16
    assert precision_of(dataclasses.replace(options, disable_amp=True), gpu) is None
    assert precision_of(options, torch.device("cpu")) is None


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name.endswith("schedulefree")])
def test_schedule_free_weights_come_back_to_the_bit(name):
    model = make_model()
    optimizer = make_optimizer(name, model)
    for _ in range(7):
        step(model, optimizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with evaluation_weights(model, optimizer, None):
        changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        x = [parameter.detach().clone() for parameter in model.parameters()]
    assert any(changed)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    state = optimizer.state_dict()["state"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    order = [
        next(i for i, p in enumerate(model.parameters()) if p is parameter)
        for parameter in parameters
    ]
    for number, place in enumerate(order):  # y = (1 - beta) z + beta x
        expected = 0.1 * state[number]["z"] + 0.9 * x[place]
        assert torch.allclose(before[place], expected, atol=1e-6)
    step(model, optimizer)  # and it is in training mode again


def test_weights_come_back_even_when_the_evaluation_fails():
    model = make_model()
    optimizer = make_optimizer("adamw_schedulefree", model)
    step(model, optimizer)
    step(model, optimizer)
    before = model[0].weight.detach().clone()
    with pytest.raises(ZeroDivisionError), evaluation_weights(model, optimizer, None):
        assert not torch.equal(before, model[0].weight)
        raise ZeroDivisionError
    assert torch.equal(before, model[0].weight)


def test_ema_by_hand():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    ema = Ema(model, decay=0.15)
    model.weight.data.fill_(2.0)
    ema.update(model)  # decay 1 / 10
    assert ema.weights["weight"].item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    model.weight.data.fill_(3.0)
    ema.update(model)  # decay min(0.15, 2 / 11)
    assert ema.weights["weight"].item() == pytest.approx(0.15 * 1.9 + 0.85 * 3)
    optimizer = torch.optim.SGD(model.parameters())
    with evaluation_weights(model, optimizer, ema):
        assert model.weight.item() == pytest.approx(2.835)
    assert model.weight.item() == 3.0


def test_groups_of_another_rate_stand_behind_each_other_and_the_default_is_one():
    model = make_model()
    assert [set(group) for group in parameter_groups(model, 0.3)] == [
        {"params", "weight_decay"}
    ] * 2
    groups = parameter_groups(model, 0.3, lambda name: 0.1 if name.startswith("0.") else 1.0)
    facts = [(group.get("rate_factor"), group["weight_decay"]) for group in groups]
    assert facts == [(0.1, 0.3), (0.1, 0.0), (None, 0.3), (None, 0.0)]
    assert [len(group["params"]) for group in groups] == [1, 1, 1, 3]
    with pytest.raises(ValueError, match="the factor on the rate of 0.bias is -1"):
        parameter_groups(model, 0.3, lambda name: -1.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_learns_at_the_rate_times_its_factor(name):
    def factor_of(name: str) -> float:
        return 0.5 if name.startswith("2.") else 1.0

    optimizer = make_optimizer(name, make_model(), learning_rate=0.1, rate_factor=factor_of)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1, 0.05, 0.05]
    set_learning_rate(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01, 0.005, 0.005]


def test_factors_are_as_the_task_has_them_now():
    def optimizer_with(factor: float):
        return make_optimizer("adamw", make_model(), 0.1, rate_factor=lambda name: factor)

    for then, now, rate in ((0.1, 1.0, 0.1), (1.0, 0.1, 0.01), (0.5, 0.1, 0.01)):
        optimizer = optimizer_with(now)
        load_optimizer_state(optimizer, optimizer_with(then).state_dict())
        assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(rate)] * 2
        set_learning_rate(optimizer, 0.1)
        assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(rate)] * 2


# --- sampler --------------------------------------------------------------------------------------


def test_hard_example_weights_by_hand():
    losses = np.full((7, 4), np.nan)
    losses[:6, -1] = [1, 2, 3, 4, 5, 9]  # mean 4, standard deviation sqrt(40 / 5) = 2.828
    z = (np.array([1, 2, 3, 4, 5]) - 4) / math.sqrt(8)
    expected = np.minimum((z + 2) / 4 * 4 + 1, 4) / 4
    np.testing.assert_allclose(hard_example_weights(losses), [*expected, 1.0, 1.0], rtol=1e-5)
    losses[:, :] = 1.0
    np.testing.assert_allclose(hard_example_weights(losses), [0.75] * 7)


def test_hard_examples_need_four_seen_samples():
    losses = np.full((5, 4), np.nan)
    losses[:3, -1] = [1, 2, 30]
    assert hard_example_weights(losses).tolist() == [1.0] * 5


def test_only_the_last_four_losses_count():
    history = LossHistory(["a", "b", "c", "d"])
    history.record([0, 0, 0, 0, 0, 0], [100.0, 100.0, 1.0, 2.0, 3.0, 4.0])
    assert history.losses[0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert np.isnan(history.losses[1:]).all()


def test_a_history_moves_with_the_names():
    old = LossHistory(["a", "b", "c"])
    old.record([0, 1, 2], [1.0, 2.0, 3.0])
    new = LossHistory(["c", "x", "a"])
    assert new.load_state_dict(old.state_dict()).tolist() == [2, -1, 0]
    assert new.losses[:, -1].tolist()[0::2] == [3.0, 1.0] and np.isnan(new.losses[1]).all()


def test_orders():
    values = dict(num_samples=5, excluded=(), seed=1)
    order = draw_order(12, weights=None, epoch=1, **values)
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4] and len(set(order[10:])) == 2
    assert draw_order(12, weights=None, epoch=1, **values).tolist() == order.tolist()
    assert draw_order(12, weights=None, epoch=2, **values).tolist() != order.tolist()
    assert set(draw_order(50, weights=None, num_samples=5, excluded=(1, 3), seed=1, epoch=1)) == {
        0,
        2,
        4,
    }
    weighted = draw_order(5000, weights=np.array([1, 0.25, 0.25, 0.25, 0.25]), epoch=1, **values)
    assert (weighted == 0).mean() == pytest.approx(0.5, abs=0.03)
    assert not (
        draw_order(500, weights=np.ones(5), num_samples=5, excluded=(0,), seed=1, epoch=1) == 0
    ).any()


# --- small things ---------------------------------------------------------------------------------


def test_tensors_are_found_in_nested_batches():
    @dataclasses.dataclass
    class Pair:
        a: torch.Tensor
        b: int

    one = torch.ones(1)
    result = map_tensors({"x": [one, (one, "text")], "y": Pair(one, 3)}, lambda tensor: tensor + 1)
    assert (
        result["x"][0].item() == 2 and result["x"][1][0].item() == 2 and result["x"][1][1] == "text"
    )
    assert result["y"].a.item() == 2 and result["y"].b == 3


def test_the_loss_table(tmp_path):
    path = tmp_path / "loss.csv"
    rows = [
        {
            "epoch": "1",
            "learning_rate": "0.1",
            "train_loss": "3",
            "updates": "2",
            "skipped": "0",
            "seconds": "1.5",
        },
        {
            "epoch": "2",
            "learning_rate": "0.1",
            "train_loss": "2",
            "eval_loss": "1",
            "data_seconds": "0.2",
            "records_per_second": "8",
            "updates": "2",
            "skipped": "0",
            "seconds": "1",
        },
    ]
    write_rows(path, rows)  # the first is of a version that did not tell all
    assert path.read_text() == (
        "epoch,learning_rate,train_loss,eval_loss,data_seconds,records_per_second,updates,skipped,"
        "seconds\n1,0.1,3,,,,2,0,1.5\n2,0.1,2,1,0.2,8,2,0,1\n"
    )
    assert [row["epoch"] for row in read_rows(path, up_to_epoch=1)] == ["1"]
    assert read_rows(tmp_path / "none.csv", up_to_epoch=9) == []
    path.write_text("something else\n1\n")
    with pytest.raises(UserError, match="is not a loss table of this trainer: move it away"):
        read_rows(path, up_to_epoch=9)
    assert [format_cell(value) for value in (None, math.nan, 3, 1e-8, 0.1 + 0.2)] == [
        "",
        "",
        "3",
        "1e-08",
        "0.3",
    ]


def test_the_log_file_is_appended_to_and_levels_come_back(tmp_path):
    logger = logging.getLogger("nunif.training.x")
    level = logging.getLogger("nunif.training").level
    for text in ("one", "two"):
        with log_file(tmp_path / "train.log", quiet=False):
            logger.info(text)
    logger.info("three")
    with log_file(tmp_path / "other.log", quiet=True):
        logger.info("four")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["one", "two"] and not (
        tmp_path / "other.log"
    ).exists()
    assert logging.getLogger("nunif.training").level == level


def test_previews_are_whole_pictures(tmp_path):
    from PIL import Image

    picture = np.zeros((2, 3, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / "eval" / "0.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "eval" / "0.png")), picture)
    assert [path.name for path in (tmp_path / "eval").iterdir()] == ["0.png"]


# --- time -----------------------------------------------------------------------------------------


class Clock:
    """Stands for `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_what_is_left_of_a_batch_follows_from_the_longest_of_the_last_ones(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    run = pace.Pace()
    run.begin(pace.Work.LEARNING)
    assert run.left() is None and run.estimate() is None
    for seconds in (500.0, 20.0, 40.0):  # the first waited for a compiler
        clock.now += seconds
        run.end_batch()
    clock.now += 5.0
    assert run.left() == 35.0
    assert messages.stopping(run) == (
        "stopping after this batch, in about 35 s; what was learned up to the last whole update is "
        "kept"
    )
    clock.now += 100.0  # longer than any before
    assert run.left() == 0.0
    run.saving = 3.0
    assert run.left() == 3.0
    run.begin(pace.Work.EVALUATING)
    assert run.left() is None
    run.begin(pace.Work.OTHER)
    assert messages.stopping(run) == "stopping when this is written; what was learned is kept"
    assert [run.estimate(), run.estimate()] == [30.0, None]  # once


def test_how_long_it_will_take_in_words(caplog):
    caplog.set_level(logging.INFO)
    task = ToyTask()
    task.faster_on_cpu = lambda: "--small is quicker"

    def tell(**values):
        defaults = dict(per_epoch=8000.0, epochs_left=199.5, later_epochs=0.0, on_cpu=True)
        messages.tell_pace(task, make_options(), **{**defaults, **values})
        return caplog.messages[-1]

    assert tell() == (
        "at this pace an epoch takes about 2 h 13 min, the 200 epochs to come 18 days, without "
        "evaluation; --small is quicker"
    )
    assert tell(on_cpu=False).endswith("18 days, without evaluation")
    assert tell(per_epoch=30.0, epochs_left=2.0, later_epochs=100.0, on_cpu=False) == (
        "at this pace an epoch takes about 30.0 s, the 2 epochs to come 1 min, all stages to come "
        "51 min, without evaluation"
    )
    assert tell(per_epoch=30.0, epochs_left=1.0) == (
        "at this pace an epoch takes about 30.0 s, without evaluation"
    )


# --- rounds ---------------------------------------------------------------------------------------


def test_the_curve_of_all_rounds_goes_on_and_marks_each():
    rounds = [
        [{"epoch": "1", "train_loss": "3"}, {"epoch": "2", "train_loss": "2"}],
        [{"epoch": "1", "train_loss": "2.5", "eval_loss": "1"}],
    ]
    losses, rate = make_curve(rounds).axes
    drawn = [list(line.get_xdata()) for line in losses.lines]
    assert [1, 2] in drawn and [3] in drawn and [0.5, 0.5] in drawn and [2.5, 2.5] in drawn
    assert [text.get_text() for text in losses.texts] == ["round 1", "round 2"]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == [
        "train_loss",
        "eval_loss",
    ]
    assert len(make_curve(rounds[:1]).axes[0].texts) == 0


def test_the_curve_is_drawn_up_to_the_last_epoch_and_not_twice(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(logs, "draw_curve", lambda path, rounds: drawn.append(len(rounds[-1])))
    for epochs in (1, 3):  # those after the first come sooner than it is drawn again
        journal = logs.Journal(tmp_path, [], tensorboard=False, first_epoch=1)
        for number in range(epochs):
            journal.add({"epoch": number + 1, "train_loss": 0.5})
        journal.close()
    logs.Journal(tmp_path, [{"epoch": "1"}], tensorboard=False, first_epoch=2).close()
    assert drawn == [1, 1, 3, 1]


def test_tables_of_rounds_are_found_behind_one_that_is_gone(tmp_path):
    for name, epochs in (("20260101000000", 3), ("20260103000000", 2), ("20260103000000-2", 4)):
        rows = [{"epoch": str(number)} for number in range(1, epochs + 1)]
        write_rows(tmp_path / f"loss.{name}.csv", rows)
    write_rows(tmp_path / "loss.csv", [{"epoch": "1"}])
    paths = moved_aside(tmp_path / "loss.csv")
    assert [path.name for path in paths] == [
        "loss.20260103000000-2.csv",
        "loss.20260103000000.csv",
        "loss.20260101000000.csv",
    ]
    assert [len(rows) for rows in earlier_rows(paths, [3, 9, 2, 4])] == [3, 0, 2, 4]


def test_that_there_is_no_gpu_is_said_once(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device.tell_no_gpu.cache_clear()
    assert [device.create_device(gpu).type for gpu in (-1, 0, 0)] == ["cpu"] * 3
    assert caplog.messages == ["no GPU found: computing on the CPU"]
