"""Optimizers by name, their parameter groups, and the learning rate as a pure function of the
epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from schedulefree import AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree
from torch import nn
from torch.optim import Optimizer

ScheduleFree = (AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree)

RATE_FACTOR = "rate_factor"  # in a group of parameters, where it is not 1

# what the command line and the task decide, as opposed to what an optimizer has learned; see
# `load_optimizer_state`
HYPERPARAMETERS = ("lr", "weight_decay", "betas", "momentum", "warmup_steps", RATE_FACTOR)
HOW = ("fused", "foreach")  # what a device decides: the way a step is computed


def same_rate(name: str) -> float:
    """Every parameter learns at the run's rate."""
    return 1.0


def parameter_groups(
    model: nn.Module, weight_decay: float, rate_factor: Callable[[str], float] = same_rate
) -> list[dict[str, Any]]:
    """The model's parameters in two groups, each sorted by name: matrices decay, biases and norms
    (1-d) do not. Two such groups for each factor on the rate, in the order of the names.

    rate_factor: what the rate of the parameter of a name is multiplied by.

    Raises:
        ValueError: a factor is below 0 or not finite.
    """
    named = sorted(
        (name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    )
    by_factor: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        factor = rate_factor(name)
        if not 0 <= factor < math.inf:
            raise ValueError(f"the factor on the rate of {name} is {factor}")
        by_factor.setdefault(factor, []).append(parameter)
    groups: list[dict[str, Any]] = []
    for factor, parameters in by_factor.items():
        more = {} if factor == 1 else {RATE_FACTOR: factor}
        decay = [parameter for parameter in parameters if parameter.ndim > 1]
        no_decay = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups.append({"params": decay, "weight_decay": weight_decay, **more})
        groups.append({"params": no_decay, "weight_decay": 0.0, **more})
    return [group for group in groups if group["params"]]


def create_optimizer(
    name: str,
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    momentum: float,
    warmup_updates: int,
    rate_factor: Callable[[str], float] = same_rate,
    fused: bool = False,
) -> Optimizer:
    """The optimizer `name` of `nunif.training.options.OPTIMIZERS`.

    rate_factor: see `parameter_groups`. fused: a step of Adam and SGD is one kernel.

    warmup_updates reaches only the Schedule-Free ones (Defazio et al. 2024, arXiv 2405.15682),
    which need to know about the warm-up because it weighs their average; RAdam rectifies its first
    steps instead.
    """
    groups = parameter_groups(model, weight_decay, rate_factor)
    lr, warm, how = learning_rate, warmup_updates, fused or None  # None: torch's own choice
    table: dict[str, Callable[[], Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=lr, betas=betas, fused=how),
        "adam": lambda: torch.optim.Adam(groups, lr=lr, betas=betas, fused=how),
        "sgd": lambda: torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=how),
        "adamw_schedulefree": lambda: AdamWScheduleFree(
            groups, lr=lr, betas=betas, warmup_steps=warm
        ),
        "radam_schedulefree": lambda: RAdamScheduleFree(groups, lr=lr, betas=betas),
        "sgd_schedulefree": lambda: SGDScheduleFree(
            groups, lr=lr, momentum=momentum, warmup_steps=warm
        ),
    }
    optimizer = table[name]()
    set_learning_rate(optimizer, learning_rate)
    if isinstance(optimizer, ScheduleFree):
        optimizer.train()
    return optimizer


def create_opponent_optimizer(
    opponent: nn.Module, learning_rate: float, *, fused: bool = False
) -> Optimizer:
    """Adam without momentum (betas 0 and 0.99), as discriminators are usually trained."""
    groups = parameter_groups(opponent, 0.0)
    return torch.optim.Adam(groups, lr=learning_rate, betas=(0.0, 0.99), fused=fused or None)


def load_optimizer_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Restore what the optimizer had learned; rate, decay and momentum stay as the command line has
    them now.

    Raises ValueError, and what torch raises, for a state that does not fit.
    """
    wanted = [
        {key: group[key] for key in HYPERPARAMETERS if key in group}
        for group in optimizer.param_groups
    ]
    # torch puts what a step needs where the way to compute it wants it: the way of now
    groups = [
        {**then, **{name: now[name] for name in HOW if name in now}}
        for then, now in zip(state["param_groups"], optimizer.param_groups)
    ]
    if len(groups) == len(state["param_groups"]):
        state = {**state, "param_groups": groups}
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(
                    f"{name} of the optimizer has the shape {tuple(value.shape)}, not "
                    f"{tuple(parameter.shape)}"
                )
    for group, values in zip(optimizer.param_groups, wanted, strict=True):
        if RATE_FACTOR not in values:
            group.pop(RATE_FACTOR, None)  # it had one then
        group.update(values)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the rate of every group: this one, times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(RATE_FACTOR, 1.0)


def cosine_rates(num_epochs: int, *, peak: float, minimum: float, cycles: int) -> list[float]:
    """Learning rates of `num_epochs` epochs: cosine falls, each from exactly the peak to exactly
    the minimum.

    A cycle needs two epochs to show both, so short runs get fewer cycles. A run of a single epoch
    gets the peak: at the minimum it would learn nothing.
    """
    cycles = max(1, min(cycles, num_epochs // 2))
    starts = [round(cycle * num_epochs / cycles) for cycle in range(cycles + 1)]
    rates = []
    for start, end in zip(starts[:-1], starts[1:], strict=True):
        last = end - start - 1
        for position in range(end - start):
            height = (1 + math.cos(math.pi * position / last)) / 2 if last else 1.0
            rates.append(peak * height + minimum * (1 - height))
    return rates


def step_rates(num_epochs: int, *, peak: float, decay: float, decay_step: int) -> list[float]:
    """Learning rates of `num_epochs` epochs: times `decay` after every `decay_step` epochs."""
    return [peak * decay ** (epoch // decay_step) for epoch in range(num_epochs)]


def learning_rates(
    num_epochs: int,
    *,
    scheduler: str | None,
    peak: float,
    minimum: float = 0.0,
    cycles: int = 1,
    decay: float = 1.0,
    decay_step: int = 1,
) -> list[float]:
    """The learning rate of each epoch. scheduler: "cosine", "step", or None for a constant rate."""
    table: dict[str | None, Callable[[], list[float]]] = {
        "cosine": lambda: cosine_rates(num_epochs, peak=peak, minimum=minimum, cycles=cycles),
        "step": lambda: step_rates(num_epochs, peak=peak, decay=decay, decay_step=decay_step),
        None: lambda: [peak] * num_epochs,
    }
    return table[scheduler]()


def warmup_factor(update: int, warmup_updates: int) -> float:
    """What the rate of the update number `update` (from 0, over the whole run) is multiplied by."""
    return min(1.0, (update + 1) / warmup_updates) if warmup_updates else 1.0


@dataclass(frozen=True)
class Schedule:
    """How much is learned when, and at which rate.

    epoch_rates: the learning rate of each epoch. num_draws: samples of an epoch. window_records:
        records of a full window, in all processes.
    """

    epoch_rates: list[float]
    num_draws: int
    window_records: int
    warmup_epochs: int  # over which the rate rises

    @property
    def updates_per_epoch(self) -> int:
        return math.ceil(self.num_draws / self.window_records)

    def rate(self, epochs_done: int, position: int) -> float:
        """The learning rate of the update whose window starts at a place in the next epoch."""
        update = epochs_done * self.updates_per_epoch + position // self.window_records
        warmup_updates = self.warmup_epochs * self.updates_per_epoch
        return self.epoch_rates[epochs_done] * warmup_factor(update, warmup_updates)
