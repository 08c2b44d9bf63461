"""What the trainer asks of a task. The trainer owns time, precision and files; the task owns the
meaning.

B: samples of a batch; H, W: pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from nunif.models import Model


@dataclass(frozen=True)
class Draw:
    """One draw of a sample. Everything random about the sample follows from `seed`."""

    index: int
    seed: int


class BadSample(Exception):
    """Raised by a dataset for a sample that can't be read. The trainer names it once and goes on
    without it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Samples(Protocol):
    """A dataset. With worker processes it is pickled, so it holds paths rather than open files."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> Any:
        """The sample of a draw. Raises BadSample when it can't be read."""
        ...


@dataclass
class TrainOutput:
    """What one training batch gave.

    loss: scalar, the mean over the batch, differentiable. sample_losses: (B,), what tells hard
        samples from easy
    ones. parts: scalars for the logs, each a mean over the batch. opponent_loss: scalar, what the
    opponent makes small; its gradient reaches the opponent alone, and that of `loss` the model
    alone.
    """

    loss: Tensor
    sample_losses: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    opponent_loss: Tensor | None = None


@dataclass
class EvalOutput:
    """What one evaluation batch gave.

    metrics: means over the batch; "loss" is among them and chooses the best model (lower is
        better). Another metric may
    be NaN where it has no meaning, and is then left out of the mean.
    preview: makes a picture, uint8 (H, W, 3) RGB; called only when it is wanted.
    """

    metrics: dict[str, float]
    preview: Callable[[], np.ndarray] | None = None


class Task(Protocol):
    """A model, its samples, and what one step means.

    `collate` makes a batch (tensors in dicts, lists, tuples) of a list of samples. It runs in the
    worker processes, so it is a plain function or a static method; `stack` serves most. The trainer
    moves the model and every batch to the device; whatever else the task computes with (a loss
    network) it moves itself, to where the batch is. Steps run under the trainer's autocast and
    seeds, evaluation without gradients and with the model in evaluation mode.

    A task may have an `opponent`, a second network that learns against the model, by an optimizer
    of its own and at the same rate (`opponent_of`). It is in the checkpoint, not in the model file.
    """

    # properties: an attribute of a narrower type will do
    @property
    def model(self) -> Model: ...

    @property
    def train_set(self) -> Samples: ...

    @property
    def eval_set(self) -> Samples | None: ...  # None only with --skip-eval

    @property
    def collate(self) -> Callable[[list[Any]], Any]: ...

    def train_step(self, model: torch.nn.Module, batch: Any) -> TrainOutput: ...

    def eval_step(self, model: torch.nn.Module, batch: Any) -> EvalOutput: ...

    def sample_name(self, index: int) -> str:
        """The name of a training sample, for messages and to know it again in a training set that
        has grown."""
        ...


def opponent_of(task: Task) -> torch.nn.Module | None:
    """The network that learns against the task's model, if there is one."""
    return getattr(task, "opponent", None)


def stack(samples: Sequence[Any]) -> Any:
    """Stack the tensors and numbers of equally built samples along a new first axis."""
    return default_collate(list(samples))
