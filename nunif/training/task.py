"""What the trainer asks of a task. The trainer owns time, precision and files; the task owns the
meaning.

B: samples of a batch; H, W: pixels.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from nunif.models import Model
from nunif.seed import derive_seed


@dataclass(frozen=True)
class Draw:
    """One draw of a sample. Everything random about the sample follows from `seed`. window: which
    one of the run it is for, from 0; all samples of a window have the same."""

    index: int
    seed: int
    window: int = 0


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
    """What one training batch gave, or a part of it.

    loss: scalar, the mean over the batch, differentiable. sample_losses: (B,), what tells hard
        samples from easy ones. parts: scalars for the logs, each a mean over the batch.
    opponent_loss: scalar, what the opponent makes small; its gradient reaches the opponent alone,
        and that of `loss` the model alone.

    update: which update of the window its gradient goes into. They are made one after another, the
        optimizer's state going from one to the next; a parameter that has no gradient in one stays
        as it is there. All gradients are those at the weights that the window began with.

    A train step that gives several has them added up, all four by the same rule: the batch's loss
    is the sum of their losses, and so is the gradient of those of one update. For a mean over n
    parts each of them gives its share, a loss that is divided by n.
    """

    loss: Tensor
    sample_losses: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    opponent_loss: Tensor | None = None
    update: int = 0


@dataclass
class EvalOutput:
    """What one evaluation batch gave.

    metrics: means over the batch; "loss" is among them and chooses the best model (lower is
        better). Another metric may be NaN where it has no meaning, and is then left out of the
        mean.
    preview: makes a picture, uint8 (H, W, 3) RGB; called only when it is wanted.
    """

    metrics: dict[str, float]
    preview: Callable[[], np.ndarray] | None = None


def stack(samples: Sequence[Any]) -> Any:
    """Stack the tensors and numbers of equally built samples along a new first axis."""
    return default_collate(list(samples))


class Task(Protocol):
    """A model, its samples, and what one step means. Tasks inherit it for its defaults.

    The trainer moves the model and every batch to the device; whatever else the task computes with
    (a loss network) it moves itself, to where the batch is. Steps run under the trainer's autocast
    and seeds, evaluation without gradients and with the model in evaluation mode.

    opponent: a second network that learns against the model, by an optimizer of its own and at the
        same rate. It is in the checkpoint, not in the model file.
    """

    model: Model
    train_set: Samples
    eval_set: Samples | None  # None only with --skip-eval
    opponent: torch.nn.Module | None = None

    # makes a batch (tensors in dicts, lists, tuples) of a list of samples; it runs in the worker
    # processes, so it is a plain function or a static method
    collate: Callable[[list[Any]], Any] = staticmethod(stack)

    # whether what the model computes with has one shape, and the GPU may look for what is quickest
    # with it
    same_shapes: bool = True

    # how many of an evaluation's previews are in the TensorBoard events too
    pictures_in_events: int = 0

    def unpack(self, batch: Any) -> Any:
        """What the steps get of a batch that is on the device: samples may cross to it in fewer
        bytes than they are computed with."""
        return batch

    @abstractmethod
    def train_step(self, model: torch.nn.Module, batch: Any) -> TrainOutput | Iterator[TrainOutput]:
        """Learn from a batch.

        An iterator gives one output after another, and the gradient of each is added before the
        next is asked for: a generator never holds more than one graph at a time. See `TrainOutput`
        for what several mean.
        """
        ...

    @abstractmethod
    def eval_step(self, model: torch.nn.Module, batch: Any) -> EvalOutput: ...

    @abstractmethod
    def sample_name(self, index: int) -> str:
        """The name of a training sample, for messages and to know it again in a training set that
        has grown."""
        ...

    def sample_keys(self) -> np.ndarray:
        """(N,) int64, `derive_seed` of all names; for those who know them without the names."""
        names = map(self.sample_name, range(len(self.train_set)))
        return np.array([derive_seed(name) for name in names], dtype=np.int64)

    def rate_factor(self, name: str) -> float:
        """What the learning rate of one of the model's parameters, known by its name, is multiplied
        by. What does not learn at all has `requires_grad` off instead."""
        return 1.0

    def yardstick(self) -> str:
        """What the evaluation loss measures, and on what: losses of runs for which this is the same
        can be compared."""
        return ""

    def faster_on_cpu(self) -> str | None:
        """What to choose instead where a run on the CPU would take hours, as a clause of a
        sentence; None: there is nothing."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What the task itself counts or gathers in training: plain values and tensors by name.

        It is in the checkpoint and follows the first process. Nothing of it may change later on,
        because a batch that is dropped sets the task back to what this gave before the batch.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave. A checkpoint without such a state leaves the task as it
        is."""

    def upgrade(self, training: dict[str, Any]) -> dict[str, Any]:
        """The training state of a checkpoint, as an older version of the task may have written it,
        in today's layout: "task" holds the task's own state, "opponent" that of the network."""
        return training
