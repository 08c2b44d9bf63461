"""What people are put before: records of backgrounds, and of others what is behind them.

Axes: T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nunif.errors import UserError
from nunif.record_list import Records, join
from nunif.records import Record
from scene.planes import BEHIND

BACKGROUND = (BEHIND,)  # all planes of a record of a background
FORWARD_SHARE, LONGEST_STEP = 0.5, 5  # of clips that run forwards; frames from one to the next


@dataclass(frozen=True)
class Backgrounds:
    """Records with a background: pictures, which stand still, and films."""

    stills: Sequence[Record] = field(default_factory=Records)
    films: Sequence[Record] = field(default_factory=Records)

    def __bool__(self) -> bool:
        return bool(self.stills or self.films)

    def draw(self, num_frames: int, rng: np.random.Generator) -> tuple[Record, tuple[str, ...]]:
        """A record and so many of its frames: half of the time a picture, where there are both."""
        is_still = rng.random() < 0.5 if self.stills and self.films else bool(self.stills)
        found = self.stills if is_still else self.films
        record = found[int(rng.integers(len(found)))]
        return record, draw_numbers(record, num_frames, rng)


def draw_numbers(record: Record, num_frames: int, rng: np.random.Generator) -> tuple[str, ...]:
    """The numbers of some frames in a row, at random from where, how fast and in which direction;
    of a still always the same one."""
    if len(record) == 1:
        return record.numbers * num_frames
    longest = (len(record) - 1) // max(1, num_frames - 1)
    step = int(rng.integers(1, min(longest, LONGEST_STEP) + 1)) if longest > 1 else 1
    span = (num_frames - 1) * step + 1
    start = int(rng.integers(len(record) - span + 1))
    numbers = record.numbers[start : start + span : step]
    return numbers if rng.random() < FORWARD_SHARE else numbers[::-1]


def first_numbers(record: Record, num_frames: int) -> tuple[str, ...]:
    """The numbers of the first frames; of a still always the same one."""
    return record.numbers * num_frames if len(record) == 1 else record.numbers[:num_frames]


def split(folder: Path, found: Records, others: Records) -> tuple[Records, Backgrounds]:
    """The records of people in a folder, and what they are put before: the records of backgrounds
    among them and among `others`, or where there are none, what is behind other people.

    Raises:
        UserError: there are no people, or some have nothing behind them and there is nothing else.
    """
    people = found.where(lambda record: record.planes != BACKGROUND)
    behind = join([found, others]).where(lambda record: record.planes == BACKGROUND)
    if not people:
        raise UserError(
            f"{folder} holds backgrounds and nobody: make records of people there with "
            "create_training_data.py"
        )
    alone = people.where(lambda record: not record.has(BEHIND.letter))
    if alone and not behind:
        behind = people.where(lambda record: record.has(BEHIND.letter))
    if alone and not behind:
        raise UserError(
            f"{folder}: {len(alone)} records have no background, {alone[0].path.name} the first: "
            "make records of some there (import_matte --layout background), or name a folder of "
            "them with --backgrounds"
        )
    stills = behind.where(lambda record: len(record) == 1)
    return people, Backgrounds(stills, behind.where(lambda record: len(record) > 1))
