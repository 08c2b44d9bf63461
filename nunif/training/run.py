"""A run in progress: its parts, and the events at which one can look at them."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from nunif.training.batches import Loader
from nunif.training.distributed import Group
from nunif.training.interruption import Interruption
from nunif.training.logs import Journal
from nunif.training.messages import Told, stopping
from nunif.training.optim import Schedule
from nunif.training.options import TrainerOptions
from nunif.training.pace import Pace
from nunif.training.rounds import Rival
from nunif.training.sampler import LossHistory
from nunif.training.state import State
from nunif.training.step import Engine
from nunif.training.task import Task
from nunif.training.window import Window


@dataclass(frozen=True)
class TrainResult:
    """How a run ended. metrics: of the last evaluation in it, empty without one."""

    epochs_done: int
    best_loss: float | None
    best_epoch: int | None
    metrics: dict[str, float]
    model_path: Path
    checkpoint_path: Path


@dataclass(frozen=True)
class Loaders:
    """What loads the samples to learn from, and those to evaluate by, if there is an evaluation."""

    train: Loader
    eval: Loader | None

    def close(self) -> None:
        """End the worker processes."""
        for loader in (self.train, self.eval):
            if loader is not None:
                loader.close()


@dataclass
class Trainer:
    """A run in progress."""

    # what was asked for
    task: Task
    options: TrainerOptions
    schedule: Schedule

    # what is in the checkpoint
    engine: Engine
    history: LossHistory
    state: State

    # where samples come from, and where what is measured goes
    loaders: Loaders
    journal: Journal | None = None  # in the process that writes
    told: Told = field(default_factory=Told)
    rival: Rival | None = None  # in the process that writes

    # when to stop, and to save
    later_epochs: float = 0.0  # what comes after this run, counted in epochs of it
    pace: Pace = field(default_factory=Pace)
    interruption: Interruption = field(init=False)
    saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.interruption = Interruption(lambda: stopping(self.pace))

    def stop(self) -> None:
        """Stop after the next window, with a checkpoint and KeyboardInterrupt. With several
        processes it is enough that one says so. Ctrl-C stops sooner, in the middle of a window."""
        self.interruption.requested = True

    def close(self) -> None:
        """End the worker processes and finish the curve and the events."""
        self.loaders.close()
        if self.journal is not None:
            self.journal.close()

    @property
    def group(self) -> Group:
        return self.engine.group

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.group.rank == 0


@dataclass(frozen=True)
class Started:
    """All is put together and nothing is learned yet."""

    trainer: Trainer


@dataclass(frozen=True)
class WindowDone:
    """One update was made, or could not be. window: what its batches gave, in all processes."""

    trainer: Trainer
    window: Window


@dataclass(frozen=True)
class EpochDone:
    """An epoch is trained, evaluated and written. metrics: empty where it was not evaluated."""

    trainer: Trainer
    metrics: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """The run is at its end, and everything is closed."""

    result: TrainResult


Event = Started | WindowDone | EpochDone | Finished
