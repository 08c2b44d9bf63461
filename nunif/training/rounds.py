"""The rounds of a folder: runs of which each goes on with the weights of the one before, and what
is left of them."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.models import read_checkpoint


@dataclass(frozen=True)
class Round:
    """A run that another one went on from. yardstick: see `nunif.training.task.Task.yardstick`.

    The names of its files are not in it: they hold the time, and equal runs have equal checkpoints.
    """

    epochs: int
    best_loss: float | None
    best_epoch: int | None
    yardstick: str


@dataclass(frozen=True)
class Rival:
    """The best model of the rounds before, whose loss can be compared. number: of its round, from
    1. kept: the name of its file, if that is still there."""

    number: int
    epoch: int | None
    loss: float
    kept: str | None

    def __str__(self) -> str:
        kept = f", kept as {self.kept}" if self.kept else ""
        return f"{self.loss:.6g} in epoch {self.epoch} of round {self.number}{kept}"


def find_rival(rounds: Sequence[Round], yardstick: str, path: Path) -> Rival | None:
    """The best of the rounds before that were measured by the same yardstick, if there are any.
    path: where this round keeps its best model."""
    rivals = [
        Rival(number, each.best_epoch, each.best_loss, None)
        for number, each in enumerate(rounds, 1)
        if each.best_loss is not None and each.yardstick == yardstick
    ]
    if not rivals:
        return None
    best = min(rivals, key=lambda rival: rival.loss)
    return Rival(best.number, best.epoch, best.loss, _find_model(best, path))


def _find_model(rival: Rival, path: Path) -> str | None:
    for other in moved_aside(path):
        with suppress(UserError):  # somebody else's file, or a torn one
            content = read_checkpoint(other)
            loss = (content.get("metrics") or {}).get("loss")
            if (content.get("epoch"), loss) == (rival.epoch, rival.loss):
                return other.name
    return None


def moved_aside(path: Path) -> list[Path]:
    """Where the files of this name are whose place a new run took, the newest first."""
    name = re.compile(
        rf"{re.escape(path.stem)}\.(\d{{14}})(?:-(\d+))?{re.escape(path.suffix)}(\.bk)?"
    )
    found = [
        (match[1], int(match[2] or 1), other)
        for other in path.parent.glob("*")
        if (match := name.fullmatch(other.name))
    ]
    return [other for *_, other in sorted(found, reverse=True)]
