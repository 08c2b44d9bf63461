"""Every flag of every command with its default: python -m tests.flags > tests/flags.txt"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from character import commands as character
from inpaint.commands import CREATE_TRAINING_DATA, INPAINT, TRAIN
from layers import commands as layers
from matting import commands as matting
from nunif import options
from nunif.cli import Command
from nunif.shards import commands as shards

FROZEN = Path(__file__).with_name("flags.txt")
TABLES = {
    "create_training_data.py": [
        *CREATE_TRAINING_DATA,
        *matting.CREATE_TRAINING_DATA,
        *layers.CREATE_TRAINING_DATA,
        *shards.CREATE_TRAINING_DATA,
    ],
    "train.py": [*TRAIN, *matting.TRAIN, *character.TRAIN],
    "python -m inpaint": INPAINT,
    "python -m matting": matting.MATTING,
    "python -m character": character.CHARACTER,
    "python -m layers": layers.LAYERS,
}
# defaults that follow from the machine, and the words that stand for them
BY_MACHINE = {"--max-workers": (max(1, (os.cpu_count() or 2) // 2), "half the cores")}


class Listed:
    """Stands in for a parser: takes note of the arguments that are added to it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add_argument(self, *flags: str, **settings: Any) -> None:
        if not flags[0].startswith("-"):
            needed = "may be left out" if "nargs" in settings else "required"
            self.lines.append(f"{settings['metavar']}: an argument, {needed}")
        elif settings.get("required"):
            self.lines.append(f"{' '.join(flags)}: required")
        elif str(settings.get("action", "")).startswith("store_"):
            self.lines.append(f"{' '.join(flags)}: a switch, not given")
        else:
            self.lines.append(f"{' '.join(flags)}: {words_for(flags[-1], settings['default'])}")


def words_for(flag: str, default: Any) -> str:
    value, words = BY_MACHINE.get(flag, (None, ""))
    if default is None:
        return "not given"
    return words if default == value else str(default) or "nothing"


def flags_of(tables: Mapping[str, Sequence[Command]]) -> Iterator[str]:
    """`train.py inpaint --batch-size: 1`, in the order in which -h has them."""
    for program, commands in tables.items():
        for command in commands:
            listed = Listed()
            options.add_arguments(listed, command.options)  # type: ignore[arg-type]
            yield from (f"{program} {command.name} {line}" for line in listed.lines)


def differences(frozen: Sequence[str], now: Sequence[str]) -> list[str]:
    """Lines that are gone from `now`, marked with -, and those that are new, with +."""
    gone = [f"- {line}" for line in frozen if line not in now]
    return gone + [f"+ {line}" for line in now if line not in frozen]


if __name__ == "__main__":
    print(*flags_of(TABLES), sep="\n")
