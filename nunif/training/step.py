"""Learning from one window: several batches, one update, or one for each pass over them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from nunif.device import autocast
from nunif.seed import seed_everything
from nunif.training.batches import Batch, to_device
from nunif.training.distributed import Group
from nunif.training.ema import Ema
from nunif.training.gradients import GradientSets
from nunif.training.task import Task, TrainOutput


@dataclass
class Window:
    """What the batches of one window gave, in one process or (`merge`) in all of them."""

    records: int = 0  # samples whose gradient is in the window
    skipped: int = 0  # samples drawn of which nothing was learned
    loss_sum: float = 0.0  # over those records
    part_sums: dict[str, float] = field(default_factory=dict)
    # place in the epoch, sample, loss; by place
    losses: list[tuple[int, int, float]] = field(default_factory=list)
    # unreadable samples: index, name, reason
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    # the samples of each batch that was dropped
    non_finite: list[list[int]] = field(default_factory=list)
    stop: bool = False  # somebody wants the run to stop here
    save: bool = False  # the first process wants a checkpoint here
    data_seconds: float = 0.0  # that it waited for its batches; of all: the one that waited longest
    cut: bool = False  # batches of it were left out for that: nothing of it is learned
    updated: bool = False
    # by the number of the update, for each parameter
    with_gradient: dict[int, list[bool]] = field(default_factory=dict)
    opponent_learned: bool = False  # it has a gradient
    broken: str | None = None  # a weight that the update left not finite
    task_state: dict[str, Any] = field(default_factory=dict)  # the task's own, in the first process

    @staticmethod
    def merge(windows: Sequence["Window"]) -> "Window":
        """The window of all processes: sums, and lists in the order of the ranks."""
        whole = Window(task_state=windows[0].task_state)
        for window in windows:
            whole.records += window.records
            whole.skipped += window.skipped
            whole.loss_sum += window.loss_sum
            for name, value in window.part_sums.items():
                whole.part_sums[name] = whole.part_sums.get(name, 0.0) + value
            whole.losses += window.losses
            whole.bad += window.bad
            whole.non_finite += window.non_finite
            whole.stop |= window.stop
            whole.save |= window.save
            whole.data_seconds = max(whole.data_seconds, window.data_seconds)
            whole.cut |= window.cut
            whole.opponent_learned |= window.opponent_learned
            for number, flags in window.with_gradient.items():
                others = whole.with_gradient.get(number, [False] * len(flags))
                whole.with_gradient[number] = [any(pair) for pair in zip(flags, others)]
        whole.losses.sort(key=lambda entry: entry[0])
        return whole

    def drop(self, *, count: bool) -> None:
        """Forget what was learned, because the update could not be made. count: the batches count
        as not finite."""
        if count:
            self.non_finite += [
                [index for at, index, _ in self.losses if at == place] for place in self.places
            ]
        self.skipped += self.records
        self.records, self.loss_sum, self.part_sums, self.losses = 0, 0.0, {}, []

    @property
    def places(self) -> list[int]:
        """Where in the epoch the batches start that were not dropped."""
        return list(dict.fromkeys(place for place, _, _ in self.losses))


@dataclass
class Numbers:
    """What an output of a train step says, as plain numbers. Those of several are added up."""

    loss: float
    sample_losses: list[float]  # (B,)
    parts: dict[str, float]
    opponent_loss: float | None

    @staticmethod
    def of(output: TrainOutput) -> "Numbers":
        values = _to_numbers([output.loss, *output.parts.values()], output.sample_losses)
        num_parts = len(output.parts)
        return Numbers(
            loss=values[0],
            sample_losses=values[1 + num_parts :],
            parts=dict(zip(output.parts, values[1 : 1 + num_parts], strict=True)),
            opponent_loss=None if output.opponent_loss is None else output.opponent_loss.item(),
        )

    @property
    def is_finite(self) -> bool:
        """Whether all losses are; the parts are for the logs alone."""
        return all(map(math.isfinite, (self.loss, self.opponent_loss or 0.0, *self.sample_losses)))

    def __add__(self, other: "Numbers") -> "Numbers":
        pairs = zip(self.sample_losses, other.sample_losses, strict=True)
        parts = dict(self.parts)
        for name, value in other.parts.items():
            parts[name] = parts.get(name, 0.0) + value
        opponent_losses = [
            loss for loss in (self.opponent_loss, other.opponent_loss) if loss is not None
        ]
        return Numbers(
            loss=self.loss + other.loss,
            sample_losses=[one + another for one, another in pairs],
            parts=parts,
            opponent_loss=sum(opponent_losses) if opponent_losses else None,
        )


@dataclass
class Traces:
    """What a train step changes beside gradients. buffers: those of the networks, and what was in
    them. task_state: the task's own."""

    buffers: list[tuple[Tensor, Tensor]]
    task_state: dict[str, Any]


@dataclass
class Engine:
    """What an update needs: the model and everything that changes along with it."""

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema | None
    group: Group
    device: torch.device
    dtype: torch.dtype | None  # of autocast; None is full precision
    clip_grad_norm: float | None
    opponent: nn.Module | None = None
    opponent_optimizer: Optimizer | None = None  # wherever there is an opponent

    def __post_init__(self) -> None:
        self._gradients = GradientSets(list(self.model.parameters()))
        opponents = [] if self.opponent is None else list(self.opponent.parameters())
        self._opponent_gradients = GradientSets(opponents)

    def learn(
        self,
        task: Task,
        batch: Batch,
        window: Window,
        *,
        place: int,
        seed: int,
        nominal_records: int,
    ) -> None:
        """Add the gradient of a batch, as a share of `nominal_records`, and what it gave to the
        window.

        place: where in the epoch the batch starts; seed: of all that the step draws.
        A batch whose loss is not finite adds nothing, and leaves no trace in networks and task.
        """
        window.bad += batch.bad
        window.skipped += len(batch.bad)
        num_records = len(batch.indices)
        if num_records == 0:
            return
        seed_everything(seed)
        before = self.remember(task)
        numbers = self._add_gradients(task, batch.data, num_records / nominal_records)
        if numbers is None:
            self.go_back(task, before)
            window.non_finite.append(batch.indices)
            window.skipped += num_records
            return
        window.opponent_learned |= numbers.opponent_loss is not None
        window.records += num_records
        window.loss_sum += numbers.loss * num_records
        for name, value in numbers.parts.items():
            window.part_sums[name] = window.part_sums.get(name, 0.0) + value * num_records
        window.losses += [
            (place, index, loss)
            for index, loss in zip(batch.indices, numbers.sample_losses, strict=True)
        ]

    def remember(self, task: Task) -> Traces:
        """What there is now of all that a train step changes."""
        buffers = [
            (buffer, buffer.clone()) for network in self._networks for buffer in network.buffers()
        ]
        return Traces(buffers, task.state_dict())

    def go_back(self, task: Task, before: Traces) -> None:
        """Leave no trace in networks and task of the train steps since; of updates there must be
        none."""
        for buffer, content in before.buffers:  # layers that normalise have seen the batch
            buffer.copy_(content)
        task.load_state_dict(before.task_state)

    def _add_gradients(self, task: Task, data: Any, share: float) -> Numbers | None:
        """Add the gradient of each output of a train step, times `share`, before the next is made.
        The sum of what they say; None, and the gradients as before, when one is not finite.

        Raises:
            ValueError: the step gives no output.
        """
        with autocast(self.device, self.dtype):
            result = task.train_step(self.model, to_device(data, self.device))
        if isinstance(result, TrainOutput):
            outputs: Iterator[TrainOutput] = iter([result])
            copies = None  # the only output is looked at before its gradient is added
        else:
            outputs = result
            copies = self._gradients.copy(), self._opponent_gradients.copy()
        del result
        total: Numbers | None = None
        while True:
            with autocast(self.device, self.dtype):  # a generator computes when it is asked
                output = next(outputs, None)
            if output is None:
                break
            numbers = Numbers.of(output)
            if not numbers.is_finite:
                if copies is not None:
                    self._gradients.put_back(copies[0])
                    self._opponent_gradients.put_back(copies[1])
                return None
            self._gradients.put_in_place(output.update)
            self.scaler.scale(output.loss.float() * share).backward()
            if output.opponent_loss is not None:
                self.scaler.scale(output.opponent_loss.float() * share).backward()
            total = numbers if total is None else total + numbers
            del output  # and with it what is left of its graph
        if total is None:
            raise ValueError("the train step gave no output")
        return total

    def update(self, window: Window, *, nominal_records: int) -> Window:
        """Make one update of the gradients gathered in all processes, or one after another where
        outputs ask for several, and return what all their windows gave.

        The gradient is the mean over the records that are in it, however many the window was meant
        to hold. Without any, or when one or the opponent's is not finite, nothing is updated and
        `updated` stays false. Neither is anything when the window of any process was cut.
        """
        for number in self._gradients.numbers:
            self._gradients.put_in_place(number)
            window.with_gradient[number] = [
                parameter.grad is not None for parameter in _parameters(self.optimizer)
            ]
        whole = Window.merge(self.group.gather(window))
        if whole.records == 0 or whole.cut:
            self._forget_gradients()
            return whole
        # what a network counts and normalises by follows from the batches of its own process, which
        # others haven't seen
        self.group.copy_from_first(
            [buffer for network in self._networks for buffer in network.buffers()]
        )
        correction = nominal_records / whole.records
        norms = self._gather_sets(whole.with_gradient, correction)
        opponent_norms, learning = [], [self.optimizer]
        if whole.opponent_learned and self.opponent_optimizer is not None:
            every = [True] * len(_parameters(self.opponent_optimizer))
            opponent_norms = [self._gather_gradients(self.opponent_optimizer, every, correction)]
            learning.append(self.opponent_optimizer)
        finite = list(map(math.isfinite, _to_numbers([*opponent_norms, *norms.values()])))
        new_scale = None
        if all(finite):
            self._step(norms, learning)
            whole.broken = self._broken_weight()
            if self.ema is not None and whole.broken is None:
                self.ema.update(self.model)
            whole.updated = True
        else:
            # fp16 looks for its scale by overflowing now and then: that is no fault, as long as
            # there is room below
            whole.drop(count=not self.scaler.is_enabled() or self.scaler.get_scale() < 1)
            if all(finite[: len(opponent_norms) + 1]):  # the scaler has seen no other
                new_scale = self.scaler.get_scale() * self.scaler.get_backoff_factor()
        self.scaler.update(new_scale)
        self._forget_gradients()
        return whole

    def _forget_gradients(self) -> None:
        self._gradients.clear()
        self._opponent_gradients.clear()

    def _step(self, norms: dict[int, Tensor], learning: list[Optimizer]) -> None:
        """Make the updates. norms: of their gradients. learning: the optimizers of the first."""
        for number, norm in norms.items():
            self._gradients.put_in_place(number)
            if self.clip_grad_norm is not None:
                clip_grads_with_norm_(_parameters(self.optimizer), self.clip_grad_norm, norm)
            if number == next(iter(norms)):
                for optimizer in learning:
                    self.scaler.step(optimizer)
            else:  # a scaler makes one step only
                self.optimizer.step()

    def _gather_sets(
        self, with_gradient: dict[int, list[bool]], correction: float
    ) -> dict[int, Tensor]:
        """The norm of the gradient of each update that has any, in their order; see
        `_gather_gradients`."""
        norms: dict[int, Tensor] = {}
        for number in sorted(with_gradient):
            if any(with_gradient[number]) or len(with_gradient) == 1:
                self._gradients.put_in_place(number)
                norms[number] = self._gather_gradients(
                    self.optimizer, with_gradient[number], correction, by_scaler=not norms
                )
        return norms

    @property
    def _networks(self) -> list[nn.Module]:
        return [self.model] if self.opponent is None else [self.model, self.opponent]

    def _broken_weight(self) -> str | None:
        """The name of a weight that is not finite, if there is one."""
        named = [pair for network in self._networks for pair in network.named_parameters()]
        if math.isfinite(get_total_norm([weight.detach() for _, weight in named]).item()):
            return None
        return next((name for name, weight in named if not torch.isfinite(weight).all()), None)

    def _gather_gradients(
        self,
        optimizer: Optimizer,
        with_gradient: list[bool],
        correction: float,
        *,
        by_scaler: bool = True,
    ) -> Tensor:
        """Add up the gradients of all processes, unscaled and times `correction`; returns their
        norm. by_scaler: the scaler does it, which it can once for each optimizer."""
        gradients: list[Tensor] = []
        for parameter, has_gradient in zip(_parameters(optimizer), with_gradient, strict=True):
            if has_gradient:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        self.group.add_up(gradients)
        if by_scaler:
            self.scaler.unscale_(optimizer)
        else:
            torch._foreach_mul_(gradients, 1 / self.scaler.get_scale())
        if correction != 1:
            torch._foreach_mul_(gradients, correction)
        return get_total_norm(gradients)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _to_numbers(scalars: list[Tensor], *vectors: Tensor) -> list[float]:
    """All values as floats, in one transfer: on a GPU, this is where a step waits for the
    device."""
    flat = [torch.stack([scalar.detach().float() for scalar in scalars])] + [
        vector.detach().float() for vector in vectors
    ]
    return torch.cat(flat).tolist()
