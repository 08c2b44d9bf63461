"""Learning from one window: several batches, one update, or one for each pass over them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
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
from nunif.training.window import Numbers, Told, Window


@dataclass
class Learned:
    """A batch whose gradient is added, and of which it is not known yet whether it is finite. The
    others: as they were given to `Engine.learn`."""

    batch: Batch
    place: int
    seed: int
    nominal_records: int
    told: list[Told] = field(default_factory=list)


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
    looks_late: bool | None = None  # at what batches gave; None: on a GPU

    def __post_init__(self) -> None:
        self._gradients = GradientSets(list(self.model.parameters()))
        opponents = [] if self.opponent is None else list(self.opponent.parameters())
        self._opponent_gradients = GradientSets(opponents)
        if self.looks_late is None:
            self.looks_late = self.device.type == "cuda"
        # the batches of a window that is not looked at yet, and what there was before them
        self._pending: list[Learned] = []
        self._task_before: tuple[Task, Traces] | None = None

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
        Where looking at numbers means waiting (`looks_late`), all batches of a window are looked at
        together, in `update`; only if one is not finite they are learned from again, one by one.
        """
        window.bad += batch.bad
        window.skipped += len(batch.bad)
        if not batch.indices:
            return
        if not self.looks_late:
            self._learn_and_look(task, Learned(batch, place, seed, nominal_records), window)
            return
        if self._task_before is None:
            self._task_before = task, self.remember(task)
        learned = Learned(batch, place, seed, nominal_records)
        seed_everything(seed)
        outputs, _ = self._outputs(task, batch.data)
        for output in outputs:
            learned.told.append(Told.of(output))
            self._add_gradient(output, len(batch.indices) / nominal_records)
            del output  # and with it what is left of its graph
        self._pending.append(learned)

    def _look_at_pending(self, window: Window) -> None:
        """Enter into the window what its batches gave; see `learn`."""
        pending, before = self._pending, self._task_before
        self._pending, self._task_before = [], None
        if before is None or window.cut:  # of which nothing is learned
            return
        task, traces = before
        numbers = iter(Told.read([told for learned in pending for told in learned.told]))
        totals: list[Numbers] = [
            reduce(add, [next(numbers) for _ in learned.told]) for learned in pending
        ]
        if all(total.is_finite for total in totals):
            for learned, total in zip(pending, totals, strict=True):
                window.enter(learned.batch, learned.place, total)
            return
        self._forget_gradients()
        self.go_back(task, traces)
        for learned in pending:
            self._learn_and_look(task, learned, window)

    def _learn_and_look(self, task: Task, learned: Learned, window: Window) -> None:
        """Add the gradient of a batch, if it is finite, and enter it into the window."""
        batch = learned.batch
        seed_everything(learned.seed)
        before = self.remember(task)
        share = len(batch.indices) / learned.nominal_records
        numbers = self._add_finite_gradients(task, batch.data, share)
        if numbers is not None:
            window.enter(batch, learned.place, numbers)
            return
        self.go_back(task, before)
        window.non_finite.append(batch.indices)
        window.skipped += len(batch.indices)

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

    def _add_finite_gradients(self, task: Task, data: Any, share: float) -> Numbers | None:
        """Add the gradient of each output of a train step, times `share`, before the next is made.
        The sum of what they say; None, and the gradients as before, when one is not finite."""
        outputs, are_several = self._outputs(task, data)
        copies = None  # the only output is looked at before its gradient is added
        if are_several:
            copies = self._gradients.copy(), self._opponent_gradients.copy()
        total: Numbers | None = None
        for output in outputs:
            (numbers,) = Told.read([Told.of(output)])
            if not numbers.is_finite:
                if copies is not None:
                    self._gradients.put_back(copies[0])
                    self._opponent_gradients.put_back(copies[1])
                return None
            self._add_gradient(output, share)
            total = numbers if total is None else total + numbers
            del output  # and with it what is left of its graph
        return total

    def _outputs(self, task: Task, data: Any) -> tuple[Iterator[TrainOutput], bool]:
        """What a train step gives, one after another; and whether it may be several.

        Raises:
            ValueError: it gives nothing; when that is found out.
        """
        data = task.unpack(to_device(data, self.device))
        with autocast(self.device, self.dtype):
            result = task.train_step(self.model, data)
        if isinstance(result, TrainOutput):
            return iter([result]), False
        return self._asked(result), True

    def _asked(self, outputs: Iterator[TrainOutput]) -> Iterator[TrainOutput]:
        num_outputs = 0
        while True:
            with autocast(self.device, self.dtype):  # a generator computes when it is asked
                output = next(outputs, None)
            if output is None:
                break
            num_outputs += 1
            yield output
            del output
        if num_outputs == 0:
            raise ValueError("the train step gave no output")

    def _add_gradient(self, output: TrainOutput, share: float) -> None:
        self._gradients.put_in_place(output.update)
        self.scaler.scale(output.loss.float() * share).backward()
        if output.opponent_loss is not None:
            self.scaler.scale(output.opponent_loss.float() * share).backward()

    def update(self, window: Window, *, nominal_records: int) -> Window:
        """Make one update of the gradients gathered in all processes, or one after another where
        outputs ask for several, and return what all their windows gave.

        The gradient is the mean over the records that are in it, however many the window was meant
        to hold. Without any, or when one or the opponent's is not finite, nothing is updated and
        `updated` stays false. Neither is anything when the window of any process was cut.
        """
        self._look_at_pending(window)
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
