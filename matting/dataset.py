"""Records of people as training and evaluation samples.

Axes: T frames, S S pixels. A clip is a dict of float32 in [0, 1]: `frames` (T, 3, S, S), what a
camera saw; `alpha` (T, 1, S, S), `foreground` and `background` (T, 3, S, S), its truth. A sample to
evaluate by is a clip. One to learn from has what each pass over it needs: `low` a clip, `high` a
clip of other T and S, and `persons` a sample of `matting.persons`; the last two where asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from matting.augment import OF_STILLS, OF_VIDEOS, Layers, augment, part_of, settle, to_unit
from matting.backgrounds import BACKGROUND, Backgrounds, draw_numbers, first_numbers
from matting.persons import PLANES as AS_SEEN  # of a record that is learned from as it is
from matting.persons import PersonSet, scan_marked
from nunif import record_scan
from nunif.places import text_of
from nunif.record_list import Records
from nunif.records import BadRecord, Plane, Record, read_plane
from nunif.seed import generator_for
from nunif.shards.options import CacheSettings
from nunif.training.task import BadSample, Draw
from scene.planes import ALPHA, BEHIND, COLOUR, FOREGROUND, OCCLUDER

Sample = dict[str, Tensor]
Passes = dict[str, Sample]
PLANES = (COLOUR, ALPHA, FOREGROUND, BEHIND, OCCLUDER)
CUT_OUT = PLANES[1:]  # of a record without frames: of somebody who can stand before anything


def scan_records(
    folder: Path, *, min_frames: int = 1, quick: bool = False, cache: CacheSettings | None = None
) -> tuple[Records, list[BadRecord]]:
    """Records that have an alpha and a foreground, or a background, and those that can't be used,
    with the reason. Those of one frame are stills, which last as long as they must. quick, cache:
    see `nunif.record_scan.scan_records`."""
    found, bad = record_scan.scan_records(
        folder, PLANES, or_planes=(CUT_OUT, BACKGROUND), quick=quick, cache=cache
    )
    lack = partial(_lack, min_frames=min_frames)
    bad += [BadRecord(record.path, lack(record)) for record in found.where(lack)]
    return found.where(lambda record: not lack(record)), bad


def _lack(record: Record, *, min_frames: int) -> str:
    """Why a record can't be used; empty if it can."""
    lacking = [plane.name for plane in PLANES[1:4] if not record.has(plane.letter)]
    is_cut_out = record.has(ALPHA.letter) and record.has(FOREGROUND.letter)
    if lacking and not is_cut_out and record.planes != BACKGROUND:
        return f"it has no {' and no '.join(lacking)}"
    return _too_short(record, min_frames)


def scan_labelled(
    folder: Path, *, min_frames: int = 1, cache: CacheSettings | None = None
) -> tuple[Records, list[BadRecord]]:
    """Records whose frames and alpha are learned from as they are, and those that can't be used.
    Those of one frame are stills.

    Raises:
        UserError: there is no such folder, or no record in it.
    """
    found, bad = scan_marked(folder, cache=cache)

    def lack(record: Record) -> str:
        return _too_short(record, min_frames)

    bad += [BadRecord(record.path, lack(record)) for record in found.where(lack)]
    return found.where(lambda record: not lack(record)), bad


def _too_short(record: Record, min_frames: int) -> str:
    short = 1 < len(record) < min_frames
    return f"{len(record)} frames, {min_frames} are needed" if short else ""


def _is_whole(record: Record) -> bool:
    """Whether it is learned from as it is."""
    return record.planes == AS_SEEN


@dataclass(frozen=True)
class _Clips:
    """Records of which clips of `clip_length` frames and `size` x `size` pixels are made.

    backgrounds: for records that have none of their own, and for all to be put before.
    """

    records: Sequence[Record]
    clip_length: int
    size: int
    backgrounds: Backgrounds = field(default_factory=Backgrounds, kw_only=True)

    def __len__(self) -> int:
        return len(self.records)

    def _read(
        self,
        record: Record,
        numbers: tuple[str, ...],
        behind: tuple[Record, tuple[str, ...]] | None,
    ) -> Layers:
        """The layers of a clip. behind: another record whose background is taken, and of which
        frames."""
        try:
            if _is_whole(record):
                frames = _read_unit(record, COLOUR, numbers)
                alpha = _read_unit(record, ALPHA, numbers)
                return Layers(frames, alpha, None, frames, whole=True)
            occluder = None
            if record.has(OCCLUDER.letter):
                occluder = _read_unit(record, OCCLUDER, numbers)
            return Layers(
                _read_unit(record, FOREGROUND, numbers),
                _read_unit(record, ALPHA, numbers),
                occluder,
                _read_unit(behind[0], BEHIND, behind[1])
                if behind
                else _read_unit(record, BEHIND, numbers),
            )
        except BadRecord as problem:
            raise BadSample(text_of(problem.record), problem.reason) from problem


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
        numbers = draw_numbers(record, self.clip_length, rng)
        other = self.records[int(rng.integers(len(self.records)))] if rng.random() < 0.5 else None
        if other is not None and (len(other) < self.clip_length or not other.has(BEHIND.letter)):
            other = None
        behind = (other, other.numbers[: self.clip_length]) if other else None
        if self.backgrounds and (other or not record.has(BEHIND.letter)):
            behind = self.backgrounds.draw(self.clip_length, rng)
        if _is_whole(record):
            behind = None
        chances = OF_STILLS if len(record) == 1 else OF_VIDEOS
        layers = self._read(record, numbers, behind)
        passes = {"low": _sample(augment(layers, self.size, rng, chances))}
        # what is drawn for the others changes nothing of the first
        if self.high is not None:
            num_frames, size = self.high
            rng = generator_for(draw.seed, "high")
            start = int(rng.integers(self.clip_length - num_frames + 1))
            part = part_of(layers, slice(start, start + num_frames))
            passes["high"] = _sample(augment(part, size, rng, chances))
        if self.persons is not None:
            rng = generator_for(draw.seed, "persons")
            still = draw.window % 2 == 1
            if isinstance(self.persons, PersonSet):
                passes["persons"] = self.persons.draw(rng, still=still)
            else:
                passes["persons"] = _own_persons(augment(layers, self.size, rng, chances), still)
        return passes


class EvalSet(_Clips):
    """The first frames of each record, placed as its name says: always the same."""

    def __getitem__(self, draw: Draw) -> Sample:
        record = self.records[draw.index]
        behind = None
        if not record.has(BEHIND.letter) and not _is_whole(record):
            rng = generator_for("eval-background", record.path.name)
            behind = self.backgrounds.draw(self.clip_length, rng)
        layers = self._read(record, first_numbers(record, self.clip_length), behind)
        return _sample(settle(layers, self.size, generator_for("eval", record.path.name)))


def _read_unit(record: Record, plane: Plane, numbers: tuple[str, ...]) -> Tensor:
    """(T, C, H, W) float32 in [0, 1]; a picture that stands still is read once."""
    is_still = len(record) == 1
    pictures = read_plane(record, plane.letter, numbers[:1] if is_still else numbers)
    return to_unit(pictures).expand(len(numbers), -1, -1, -1)


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
