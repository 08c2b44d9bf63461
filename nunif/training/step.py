"""Learning from one window: several batches, one update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from nunif.device import autocast
from nunif.seed import seed_everything
from nunif.training.batches import Batch, to_device
from nunif.training.distributed import Group
from nunif.training.ema import Ema
from nunif.training.task import Task


@dataclass
class Window:
    """What the batches of one window gave, in one process or (`merge`) in all of them."""

    records: int = 0  # samples whose gradient is in the window
    skipped: int = 0  # samples drawn of which nothing was learned
    loss_sum: float = 0.0  # over those records
    part_sums: dict[str, float] = field(default_factory=dict)
    losses: list[tuple[int, int, float]] = field(
        default_factory=list
    )  # place in the epoch, sample, loss; by place
    bad: list[tuple[int, str, str]] = field(
        default_factory=list
    )  # unreadable samples: index, name, reason
    non_finite: list[list[int]] = field(
        default_factory=list
    )  # the samples of each batch that was dropped
    stop: bool = False  # somebody pressed Ctrl-C
    updated: bool = False
    with_gradient: list[bool] = field(default_factory=list)  # for each parameter
    opponent_learned: bool = False  # it has a gradient
    broken: str | None = None  # a weight that the update left not finite

    @staticmethod
    def merge(windows: Sequence["Window"]) -> "Window":
        """The window of all processes: sums, and lists in the order of the ranks."""
        whole = Window()
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
            whole.opponent_learned |= window.opponent_learned
        whole.losses.sort(key=lambda entry: entry[0])
        flags = [window.with_gradient for window in windows]
        whole.with_gradient = [any(column) for column in zip(*flags, strict=True)]
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
        A batch whose loss is not finite adds nothing.
        """
        window.bad += batch.bad
        window.skipped += len(batch.bad)
        num_records = len(batch.indices)
        if num_records == 0:
            return
        seed_everything(seed)
        kept = [
            (buffer, buffer.clone()) for network in self._networks for buffer in network.buffers()
        ]
        with autocast(self.device, self.dtype):
            output = task.train_step(self.model, to_device(batch.data, self.device))
        names = list(output.parts)
        values = _to_numbers([output.loss, *output.parts.values()], output.sample_losses)
        loss, parts, sample_losses = values[0], values[1 : len(names) + 1], values[len(names) + 1 :]
        share = num_records / nominal_records
        opponent_loss = output.opponent_loss
        finite = opponent_loss is None or math.isfinite(opponent_loss.item())
        if not finite or not all(math.isfinite(value) for value in (loss, *sample_losses)):
            for buffer, before in kept:  # layers that normalise have seen it
                buffer.copy_(before)
            window.non_finite.append(batch.indices)
            window.skipped += num_records
            return
        self.scaler.scale(output.loss.float() * share).backward()
        if opponent_loss is not None:
            self.scaler.scale(opponent_loss.float() * share).backward()
            window.opponent_learned = True
        window.records += num_records
        window.loss_sum += loss * num_records
        for name, value in zip(names, parts, strict=True):
            window.part_sums[name] = window.part_sums.get(name, 0.0) + value * num_records
        window.losses += [
            (place, index, loss) for index, loss in zip(batch.indices, sample_losses, strict=True)
        ]

    def update(self, window: Window, *, nominal_records: int) -> Window:
        """Make one update of the gradients gathered in all processes, and return what all their
        windows gave.

        The gradient is the mean over the records that are in it, however many the window was meant
        to hold. Without any, or when it or the opponent's is not finite, nothing is updated and
        `updated` stays false.
        """
        parameters = _parameters(self.optimizer)
        window.with_gradient = [parameter.grad is not None for parameter in parameters]
        whole = Window.merge(self.group.gather(window))
        optimizers = [self.optimizer] + (
            [self.opponent_optimizer] if self.opponent_optimizer is not None else []
        )
        if whole.records == 0:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            return whole
        # what a network counts and normalises by follows from the batches of its own process, which
        # others haven't seen
        self.group.copy_from_first(
            [buffer for network in self._networks for buffer in network.buffers()]
        )
        correction = nominal_records / whole.records
        norm = self._gather_gradients(self.optimizer, whole.with_gradient, correction)
        norms, learning = [norm], [self.optimizer]
        if whole.opponent_learned and self.opponent_optimizer is not None:
            every = [True] * len(_parameters(self.opponent_optimizer))
            norms.append(self._gather_gradients(self.opponent_optimizer, every, correction))
            learning.append(self.opponent_optimizer)
        if all(map(math.isfinite, _to_numbers(norms))):
            if self.clip_grad_norm is not None:
                clip_grads_with_norm_(parameters, self.clip_grad_norm, norm)
            for optimizer in learning:
                self.scaler.step(optimizer)
            whole.broken = self._broken_weight()
            if self.ema is not None and whole.broken is None:
                self.ema.update(self.model)
            whole.updated = True
        else:
            # fp16 looks for its scale by overflowing now and then: that is no fault, as long as
            # there is room below
            whole.drop(count=not self.scaler.is_enabled() or self.scaler.get_scale() < 1)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        return whole

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
        self, optimizer: Optimizer, with_gradient: list[bool], correction: float
    ) -> Tensor:
        """Add up the gradients of all processes, unscaled and times `correction`; returns their
        norm."""
        gradients: list[Tensor] = []
        for parameter, has_gradient in zip(_parameters(optimizer), with_gradient, strict=True):
            if has_gradient:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        self.group.add_up(gradients)
        self.scaler.unscale_(optimizer)
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
