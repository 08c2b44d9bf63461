"""What the batches of one window gave."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nunif.training.batches import Batch
from nunif.training.task import TrainOutput


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

    def enter(self, batch: Batch, place: int, numbers: "Numbers") -> None:
        """What a batch gave whose gradient is in the window. place: where in the epoch it
        starts."""
        num_records = len(batch.indices)
        self.opponent_learned |= numbers.opponent_loss is not None
        self.records += num_records
        self.loss_sum += numbers.loss * num_records
        for name, value in numbers.parts.items():
            self.part_sums[name] = self.part_sums.get(name, 0.0) + value * num_records
        self.losses += [
            (place, index, loss)
            for index, loss in zip(batch.indices, numbers.sample_losses, strict=True)
        ]

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
class Told:
    """What an output of a train step says, still on its device."""

    scalars: list[Tensor]  # the loss, the parts, and the opponent's loss if there is one
    sample_losses: Tensor
    part_names: list[str]

    @staticmethod
    def of(output: TrainOutput) -> "Told":
        scalars = [output.loss, *output.parts.values()]
        if output.opponent_loss is not None:
            scalars.append(output.opponent_loss)
        scalars = [scalar.detach().float() for scalar in scalars]
        return Told(scalars, output.sample_losses.detach().float(), list(output.parts))

    @staticmethod
    def read(told: Sequence["Told"]) -> list[Numbers]:
        """As plain numbers, in one transfer: on a GPU, this is where a step waits for the
        device."""
        flat = [part for one in told for part in (torch.stack(one.scalars), one.sample_losses)]
        values = iter(torch.cat(flat).tolist() if flat else [])
        numbers = []
        for one in told:
            loss, *parts = (next(values) for _ in one.scalars)
            opponent_loss = parts.pop() if len(parts) > len(one.part_names) else None
            sample_losses = [next(values) for _ in range(len(one.sample_losses))]
            named = dict(zip(one.part_names, parts, strict=True))
            numbers.append(Numbers(loss, sample_losses, named, opponent_loss))
        return numbers
