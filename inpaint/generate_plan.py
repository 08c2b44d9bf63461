"""Which records a video gives: their numbers, names and options, and what became of them."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from inpaint.options_data import GenerateOptions
from nunif import options as options_module
from nunif.files import locked, longer_name, write_json
from nunif.records import is_finished, record_name

VERSION = 1  # of how records are made; those of another version are not mixed with new ones
VIEWS = ("as is", "mirrored")


# Options that decide what a record holds, in the order of record.json. The others stand in its name
# or change nothing in it.
RECORDED = (
    "resolution",
    "depth_normalize",
    "max_fps",
    "deinterlace",
    "fps",
    "seq",
    "skip_first",
    "skip_interval",
    "size",
    "num_samples",
    "divergence_level",
    "seed",
)


@dataclass(frozen=True)
class RecordPlan:
    """All that decides what the records of one video hold."""

    source: str  # the file's name, for record.json only
    file_hash: str
    options: GenerateOptions
    color: dict[str, str] = field(default_factory=dict)  # see `describe_transfer`

    @property
    def recorded(self) -> dict[str, Any]:
        """The options that shape a record and are not in its name; records that differ in them are
        not mixed."""
        values = options_module.to_dict(self.options)
        unused = {"deinterlace": False, "fps": None}  # not told: as in records of before they came
        told = [name for name in RECORDED if values[name] != unused.get(name, "")]
        mapped = {key: value for key, value in self.color.items() if key == "tone_mapped"}
        return {"version": VERSION, **{name: values[name] for name in told}, **mapped}

    def number(self, clip: int, view: int, crop: int) -> int:
        """The SEQUENCE_NO of a record, from the clip's place in the video, the view and the
        crop."""
        return (clip * len(VIEWS) + view) * self.options.num_samples + crop

    def numbers(self, clip: int) -> list[int]:
        """The SEQUENCE_NOs of all records that a clip can give."""
        crops = range(self.options.num_samples)
        return [self.number(clip, *at) for at in product(range(len(VIEWS)), crops)]

    def name(self, number: int) -> str:
        return record_name(self.options.prefix, self.options.model_type, self.file_hash, number)


@dataclass
class Outcome:
    """What became of one clip: the numbers of the records made, and of those skipped with the
    reason."""

    clip: int
    made: list[int] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)


class SkipList:
    """Which records of a video were skipped and why, so that a second run does not work it out
    again."""

    def __init__(self, path: Path, options: dict[str, Any], *, shared: bool = False) -> None:
        """shared: other processes add to it at the same time."""
        self._path, self._options, self._shared = path, options, shared
        self.skipped = self._read()

    def _read(self) -> dict[int, str]:
        # no list, or not one of ours: the work is done again
        with suppress(FileNotFoundError, ValueError, KeyError, AttributeError):
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["options"] == self._options:
                return {int(number): reason for number, reason in content["skipped"].items()}
        return {}

    def add(self, skipped: dict[int, str]) -> None:
        """Remember these records as skipped; on the disk when this returns."""
        if skipped and self._shared:
            lock = longer_name(self._path, before=".lock", suffix="")
            with locked(lock, busy=f"another process is writing {self._path}"):
                self._write(self._read() | skipped)
        elif skipped:
            self._write(skipped)

    def _write(self, news: dict[int, str]) -> None:
        self.skipped |= news
        rows = {str(number): self.skipped[number] for number in sorted(self.skipped)}
        write_json(self._path, {"options": self._options, "skipped": rows})


def split_finished(
    plan: RecordPlan, clips: Iterable[int], skip_list: SkipList
) -> tuple[dict[int, tuple[int, ...]], int]:
    """The clips that still want work, each with the numbers of the records that are missing, and
    how many records stand already.

    A record that was moved to the dataset's other half stands too: it must not be in train/ and
    eval/ at once.

    Raises:
        UserError: records of this video stand there that were made with other options.
    """
    todo: dict[int, tuple[int, ...]] = {}
    kept = 0
    for clip in clips:
        missing = []
        for number in plan.numbers(clip):
            if is_finished(plan.options.data_dir, plan.name(number), plan.recorded):
                kept += 1
            elif number not in skip_list.skipped:
                missing.append(number)
        if missing:
            todo[clip] = tuple(missing)
    return todo, kept
