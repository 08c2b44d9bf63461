"""Trainings that somebody looks on at, and perhaps stops."""

from collections.abc import Callable
from contextlib import closing

from nunif.training.options import TrainerOptions
from nunif.training.task import Task
from nunif.training.trainer import Event, Finished, TrainResult, watch

Train = Callable[..., TrainResult]


def train_watched_by(look: Callable[[Event], object]) -> Train:
    """`train`, where `look` sees every event and may stop the run."""

    def train(task: Task, options: TrainerOptions, **more: float) -> TrainResult:
        with closing(watch(task, options, **more)) as events:
            for event in events:
                look(event)
        assert isinstance(event, Finished)
        return event.result

    return train


def train_stopped_after(number: int, kind: type) -> Train:
    """`train`, which is stopped at its event of that number and kind, counted over all its runs."""
    seen: list[Event] = []

    def look(event: Event) -> None:
        if isinstance(event, kind):
            seen.append(event)
            if len(seen) == number:
                event.trainer.stop()  # type: ignore[union-attr]

    return train_watched_by(look)
