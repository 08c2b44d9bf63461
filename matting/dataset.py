"""Records of people as training and evaluation samples.

Axes: T frames, S S pixels. A clip is a dict of float32 in [0, 1]: `frames` (T, 3, S, S), what a
camera saw; `alpha` (T, 1, S, S), `foreground` and `background` (T, 3, S, S), its truth. A sample to
evaluate by is a clip. One to learn from has what each pass over it needs: `low` a clip, `high` a
clip of other T and S, and `persons` a sample of `matting.persons`; the last two where asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from matting.augment import OF_VIDEOS, Layers, augment, part_of, settle, to_unit
from matting.persons import PersonSet
from nunif import records
from nunif.records import BadRecord, Record, read_plane
from nunif.seed import generator_for
from nunif.training.task import BadSample, Draw
from scene.planes import ALPHA, BEHIND, COLOUR, FOREGROUND, OCCLUDER

Sample = dict[str, Tensor]
Passes = dict[str, Sample]
PLANES = (COLOUR, ALPHA, FOREGROUND, BEHIND, OCCLUDER)
NEEDED = (ALPHA, FOREGROUND, BEHIND)
FORWARD_SHARE, LONGEST_STEP = 0.5, 5  # of clips that run forwards; frames from one to the next


def scan_records(folder: Path, *, min_frames: int = 1) -> tuple[list[Record], list[BadRecord]]:
    """Records that have an alpha, a foreground and what is behind it, and those that can't be used,
    with the reason."""
    found, bad = records.scan_records(folder, PLANES, min_frames=min_frames)
    usable = []
    for record in found:
        lacking = [plane.name for plane in NEEDED if not record.has(plane.letter)]
        if lacking:
            bad.append(BadRecord(record.path, f"it has no {' and no '.join(lacking)}"))
        else:
            usable.append(record)
    return usable, bad


@dataclass(frozen=True)
class _Clips:
    """Records of which clips of `clip_length` frames and `size` x `size` pixels are made."""

    records: list[Record]
    clip_length: int
    size: int

    def __len__(self) -> int:
        return len(self.records)

    def _read(self, record: Record, numbers: tuple[str, ...], behind: Record | None) -> Layers:
        """The layers of a clip. behind: another record whose background is taken."""
        try:
            colours, alpha, others = (
                to_unit(read_plane(record, plane.letter, numbers))
                for plane in (FOREGROUND, ALPHA, BEHIND)
            )
            occluder = None
            if record.has(OCCLUDER.letter):
                occluder = to_unit(read_plane(record, OCCLUDER.letter, numbers))
            if behind is not None:
                others = to_unit(read_plane(behind, BEHIND.letter, behind.numbers[: len(numbers)]))
        except BadRecord as problem:
            raise BadSample(str(problem.record), problem.reason) from problem
        return Layers(colours, alpha, occluder, others)


@dataclass(frozen=True)
class TrainSet(_Clips):
    """Random clips, changed at random (`matting.augment`); everything random follows from the
    draw's seed. Half of the time a person stands before another record's background.

    high: (frames, pixels of a side) of a part of the same clip, changed in another way. persons:
        clips for even windows of the run, stills for odd ones; or "own", where persons are in this
        clip, changed in another way, and its frames as stills.
    """

    high: tuple[int, int] | None = None
    persons: PersonSet | Literal["own"] | None = None

    def __getitem__(self, draw: Draw) -> Passes:
        record, rng = self.records[draw.index], np.random.default_rng(draw.seed)
        longest = (len(record) - 1) // max(1, self.clip_length - 1)
        step = int(rng.integers(1, min(longest, LONGEST_STEP) + 1)) if longest > 1 else 1
        span = (self.clip_length - 1) * step + 1
        start = int(rng.integers(len(record) - span + 1))
        numbers = record.numbers[start : start + span : step]
        if rng.random() >= FORWARD_SHARE:
            numbers = numbers[::-1]
        other = self.records[int(rng.integers(len(self.records)))] if rng.random() < 0.5 else None
        if other is not None and len(other) < self.clip_length:
            other = None
        layers = self._read(record, numbers, other)
        passes = {"low": _sample(augment(layers, self.size, rng, OF_VIDEOS))}
        # what is drawn for the others changes nothing of the first
        if self.high is not None:
            num_frames, size = self.high
            rng = generator_for(draw.seed, "high")
            start = int(rng.integers(self.clip_length - num_frames + 1))
            part = part_of(layers, slice(start, start + num_frames))
            passes["high"] = _sample(augment(part, size, rng, OF_VIDEOS))
        if self.persons is not None:
            rng = generator_for(draw.seed, "persons")
            still = draw.window % 2 == 1
            if isinstance(self.persons, PersonSet):
                passes["persons"] = self.persons.draw(rng, still=still)
            else:
                passes["persons"] = _own_persons(augment(layers, self.size, rng, OF_VIDEOS), still)
        return passes


class EvalSet(_Clips):
    """The first frames of each record, placed as its name says: always the same."""

    def __getitem__(self, draw: Draw) -> Sample:
        record = self.records[draw.index]
        layers = self._read(record, record.numbers[: self.clip_length], None)
        return _sample(settle(layers, self.size, generator_for("eval", record.path.name)))


def _own_persons(layers: Layers, still: bool) -> Sample:
    mask = (layers.alpha > 0.5).to(layers.alpha.dtype)
    return {"frames": layers.compose().contiguous(), "mask": mask, "still": torch.tensor(still)}


def _sample(layers: Layers) -> Sample:
    parts = {
        "frames": layers.compose(),
        "alpha": layers.alpha,
        "foreground": layers.foreground,
        "background": layers.background,
    }
    return {name: value.contiguous() for name, value in parts.items()}
