"""One window: what the engine makes of the outputs of a task's train steps."""

import math
import weakref

import pytest
import torch
from torch import nn

from nunif.training.batches import Batch
from nunif.training.distributed import Group
from nunif.training.step import Engine
from nunif.training.task import EvalOutput, Task, TrainOutput
from nunif.training.window import Told, Window


class Scaled(Task):
    """A task whose loss is a factor times the mean of the weights."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def train_step(self, model, batch):
        loss = model.weight.mean() * self.factor
        return TrainOutput(loss, loss.detach().expand(2))

    def eval_step(self, model, batch):
        return EvalOutput({"loss": 0.0})

    def sample_name(self, index):
        return str(index)


def make_engine(model: nn.Module, scaler: torch.amp.GradScaler) -> Engine:
    return Engine(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        scaler=scaler,
        ema=None,
        group=Group(),
        device=torch.device("cpu"),
        dtype=None,
        clip_grad_norm=None,
    )


@pytest.mark.parametrize("scale, counted", [(2.0**16, 0), (0.5, 1)])
def test_an_overflow_of_fp16_lowers_the_scale_and_is_a_fault_only_when_there_is_no_room_left(
    scale, counted
):
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    engine = make_engine(model, torch.amp.GradScaler("cpu", init_scale=scale))
    window = Window()
    engine.learn(Scaled(1.0), Batch(None, [4, 5]), window, place=0, seed=0, nominal_records=2)
    model.weight.grad.fill_(math.inf)
    whole = engine.update(window, nominal_records=2)
    assert not whole.updated and model.weight.item() == before and model.weight.grad is None
    assert (whole.records, whole.skipped, whole.losses, len(whole.non_finite)) == (
        0,
        2,
        [],
        counted,
    )
    assert engine.scaler.get_scale() == scale / 2


def test_a_scaled_gradient_is_the_gradient():
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    engine = make_engine(model, torch.amp.GradScaler("cpu", init_scale=1024.0))
    window = Window()
    engine.learn(Scaled(0.25), Batch(None, [4, 5]), window, place=0, seed=0, nominal_records=16)
    whole = engine.update(window, nominal_records=16)
    assert whole.updated and before - model.weight.item() == pytest.approx(0.25)


# --- several outputs of one step ---


class Saved:
    """A tensor that a graph holds for its backward pass."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Parts(Scaled):
    """The square of the weight times each factor in turn; remembers what it saw on the way: how
    many tensors graphs hold, and the gradient."""

    def __init__(self, *factors: float) -> None:
        self.factors, self.seen, self.count = factors, [], 0
        self.saved: weakref.WeakSet[Saved] = weakref.WeakSet()

    def save(self, tensor: torch.Tensor) -> Saved:
        saved = Saved(tensor)
        self.saved.add(saved)
        return saved

    def train_step(self, model, batch):
        self.count += 1
        for number, factor in enumerate(self.factors):
            gradient = None if model.weight.grad is None else model.weight.grad.item()
            self.seen.append((len(self.saved), gradient))
            with torch.autograd.graph.saved_tensors_hooks(self.save, lambda saved: saved.tensor):
                loss = model.weight.square().mean() * factor
            assert len(self.saved) > 0
            parts = {"both": loss.detach(), f"only {number}": loss.detach()}
            yield TrainOutput(loss, loss.detach().expand(len(batch)), parts)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def learn(task: Task, model: nn.Module, *, times: int = 1) -> tuple[Window, Engine]:
    engine = make_engine(model, torch.amp.GradScaler("cpu", enabled=False))
    window = Window()
    for place in range(times):
        batch = Batch([4, 5], [4, 5])
        engine.learn(task, batch, window, place=place, seed=0, nominal_records=4)
    return window, engine


def one_weight() -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(3.0)
    return model


def test_several_outputs_have_the_gradient_and_the_numbers_of_their_sum():
    model, whole = one_weight(), one_weight()
    window, _ = learn(Parts(0.25, 0.75), model)
    (whole.weight.square().mean() * (0.25 + 0.75) * 2 / 4).backward()
    assert model.weight.grad.item() == whole.weight.grad.item() == 3.0
    assert window.records == 2 and window.loss_sum == 2 * 9.0
    assert window.part_sums == {"both": 18.0, "only 0": 4.5, "only 1": 13.5}
    assert window.losses == [(0, 4, 9.0), (0, 5, 9.0)]


def test_one_graph_at_a_time_its_gradient_added_before_the_next_is_made():
    task = Parts(0.25, 0.5, 0.25)
    learn(task, one_weight())
    assert task.seen == [(0, None), (0, 0.75), (0, 2.25)]


def test_a_batch_whose_second_output_is_not_finite_leaves_no_trace():
    model = one_weight()
    task = Parts(1.0)
    window, engine = learn(task, model)
    before = model.weight.grad.clone()
    task.factors = (0.5, math.nan, 0.5)
    engine.learn(task, Batch([6], [6]), window, place=2, seed=0, nominal_records=4)
    assert torch.equal(model.weight.grad, before) and task.count == 1 and len(task.seen) == 3
    assert (window.records, window.skipped, window.non_finite) == (2, 1, [[6]])
    window, engine = learn(task, fresh := one_weight())
    assert fresh.weight.grad is None and window.records == 0


def test_opponents_losses_add_up_too():
    outputs = [
        TrainOutput(torch.tensor(1.0), torch.ones(2), opponent_loss=loss)
        for loss in (None, torch.tensor(2.0), torch.tensor(3.0))
    ]
    numbers = Told.read([Told.of(output) for output in outputs])
    assert numbers[0].opponent_loss is None
    assert (numbers[0] + numbers[1] + numbers[2]).opponent_loss == 5.0


def test_a_step_that_gives_nothing_is_a_fault_of_the_task():
    with pytest.raises(ValueError, match="the train step gave no output"):
        learn(Parts(), one_weight())


# --- numbers that are looked at late, as on a GPU ---


class Counting(nn.Linear):
    """A weight, and a buffer that counts the batches it has seen."""

    def __init__(self) -> None:
        super().__init__(1, 1, bias=False)
        self.register_buffer("seen", torch.zeros(()))
        self.weight.data.fill_(3.0)


class Noisy(Scaled):
    """The weight times a random number and a factor, by the number of the batch; once or twice."""

    def __init__(self, *factors: float, several: bool) -> None:
        self.factors, self.several, self.count = factors, several, 0

    def output(self, model, factor):
        loss = model.weight.mean() * torch.rand(()) * factor
        return TrainOutput(loss, loss.detach().expand(2), {"part": loss.detach() * 2})

    def train_step(self, model, batch):
        self.count += 1
        model.seen += 1
        factor = self.factors[batch]
        if not self.several:
            return self.output(model, factor)
        return (self.output(model, each) for each in (1.0, factor))

    def unpack(self, batch):
        return int(batch)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


@pytest.mark.parametrize("factors", [(1.0, 2.0, 3.0), (1.0, math.nan, 3.0), (math.inf,) * 3])
@pytest.mark.parametrize("several", [False, True])
def test_numbers_looked_at_late_give_the_same_to_the_bit(factors, several, monkeypatch):
    results, transfers, to_list = [], [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: transfers.append(x) or to_list(x))
    for looks_late in (False, True):
        model, task, window = Counting(), Noisy(*factors, several=several), Window()
        engine = make_engine(model, torch.amp.GradScaler("cpu", enabled=False))
        engine.looks_late = looks_late
        for place in range(3):
            batch = Batch(torch.tensor(place), [2 * place, 2 * place + 1])
            engine.learn(task, batch, window, place=place, seed=place, nominal_records=6)
        transfers_before = len(transfers)
        if looks_late:
            assert transfers_before == 0, "nothing is waited for in the window"
        whole = engine.update(window, nominal_records=6)
        results.append((whole, model.state_dict(), task.count))
        transfers.clear()
    (whole, state, count), (late, late_state, late_count) = results
    assert whole == late and count == late_count
    assert all(torch.equal(state[name], late_state[name]) for name in state)
    assert whole.updated == any(map(math.isfinite, factors))


def test_of_a_window_that_is_cut_nothing_is_looked_at():
    model, window = Counting(), Window(cut=True)
    engine = make_engine(model, torch.amp.GradScaler("cpu", enabled=False))
    engine.looks_late = True
    task = Noisy(math.nan, several=False)
    engine.learn(task, Batch(torch.tensor(0), [0, 1]), window, place=0, seed=0, nominal_records=4)
    whole = engine.update(window, nominal_records=4)
    assert not whole.updated and whole.records == 0 and model.weight.grad is None


def test_what_a_task_keeps_follows_the_first_process():
    windows = [Window(task_state={"count": 3}), Window(task_state={"count": 2})]
    assert Window.merge(windows).task_state == {"count": 3}


# --- several updates of one window ---


class Pair(nn.Module):
    """Two weights of which each pass uses one, and a third that both use."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.left, self.right = (nn.Parameter(torch.full((1,), 3.0)) for _ in range(3))


class Passes(Scaled):
    """A pass with the left weight, and an update later one with the right."""

    def __init__(self, *factors: float) -> None:
        self.factors = factors

    def train_step(self, model, batch):
        for number, (factor, own) in enumerate(zip(self.factors, (model.left, model.right))):
            loss = (model.both * own).mean() * factor
            yield TrainOutput(loss, loss.detach().expand(len(batch)), update=number)


def learn_pair(*factors: float, scale: float | None = None, times: int = 1):
    model = Pair()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    engine = make_engine(model, scaler)
    engine.optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.1)
    window = Window()
    for place in range(times):
        batch = Batch([4, 5], [4, 5])
        task = Passes(*factors)
        engine.learn(task, batch, window, place=place, seed=0, nominal_records=2 * times)
    return model, engine, engine.update(window, nominal_records=2 * times)


def by_hand(*passes: str) -> Pair:
    """What AdamW makes of the gradients of these passes at the first weights, one after another."""
    model = Pair()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.1)
    for name in passes:
        optimizer.zero_grad(set_to_none=True)
        model.both.grad = torch.full((1,), 3.0)
        getattr(model, name).grad = torch.full((1,), 3.0)
        optimizer.step()
    return model


@pytest.mark.parametrize("scale", [None, 1024.0])
@pytest.mark.parametrize("times", [1, 2])
def test_each_update_of_a_window_moves_only_what_has_a_gradient_in_it(scale, times):
    model, engine, window = learn_pair(1.0, 1.0, scale=scale, times=times)
    wanted = by_hand("left", "right")
    for name, weight in model.named_parameters():
        assert torch.equal(weight, wanted.get_parameter(name)), name
    assert window.updated and window.records == 2 * times
    assert all(weight.grad is None for weight in model.parameters())
    # neither decay nor moments of the other update
    assert [engine.optimizer.state[x]["step"].item() for x in model.parameters()] == [2, 1, 1]
    one_pass, engine, _ = learn_pair(1.0, scale=scale, times=times)
    assert one_pass.right.item() == 3.0 and one_pass.right not in engine.optimizer.state


def test_no_update_is_made_when_one_of_them_is_not_finite():
    model, engine, window = learn_pair(1.0, 1.0, scale=2.0**127)  # 9 times that is too much
    assert [weight.item() for weight in model.parameters()] == [3.0, 3.0, 3.0]
    assert not window.updated and window.skipped == 2
    model = Pair()
    engine = make_engine(model, torch.amp.GradScaler("cpu", init_scale=4.0))
    window = Window()
    batch = Batch([4, 5], [4, 5])
    engine.learn(Passes(1.0, 1.0), batch, window, place=0, seed=0, nominal_records=2)
    model.right.grad.fill_(math.inf)  # in the second alone, which the scaler doesn't see
    assert not engine.update(window, nominal_records=2).updated
    assert model.left.item() == 3.0 and engine.scaler.get_scale() == 2.0


def test_a_bad_pass_takes_back_the_updates_that_the_batch_had_begun():
    model, engine, _ = learn_pair(1.0, 1.0)
    window = Window()
    batches = [(1.0, 1.0), (1.0, math.nan)]
    for place, factors in enumerate(batches):
        batch = Batch([4, 5], [4, 5])
        engine.learn(Passes(*factors), batch, window, place=place, seed=0, nominal_records=2)
    assert len(window.non_finite) == 1 and window.records == 2
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    assert model.left.grad.item() == before["both"].item()
    assert model.right.grad is None
    assert engine.update(window, nominal_records=2).updated
