"""Kept latents as training and evaluation samples.

A sample is a dict, see `character.latents.encode_clip`: `target`, `scene`, `occlusion` (c, T, h,
w), `identity` (c, h, w), `embedding` (1, d), `face` (T, S, S), `bary` (T, S, S, 3), `looks` (S, S,
3) uint8.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from character.clips import PLANES, num_people
from character.latents import read_latents
from nunif import record_scan
from nunif.records import BadRecord, Record
from nunif.seed import generator_for
from nunif.shards.options import CacheSettings
from nunif.training.task import BadSample, Draw

logger = logging.getLogger(__name__)

Sample = dict[str, Tensor]


def scan_records(
    folder: Path, *, min_frames: int, cache: CacheSettings | None = None
) -> tuple[list[Record], list[BadRecord]]:
    """Records with all layers of one person, and those that can't be used, with the reason. Those
    that tell of nobody, or of several, are passed over with a line."""
    found, bad = record_scan.scan_records(folder, PLANES, quick=True, cache=cache)
    lack = partial(_lack, min_frames=min_frames)
    bad += [BadRecord(record.path, lack(record)) for record in found.where(lack)]
    found = found.where(lambda record: not lack(record))
    fitting = [record for record in found if num_people(record) in (None, 1)]
    if len(fitting) < len(found):
        logger.info(
            "%s: %d of %d records show nobody or several people: one is needed, they are passed "
            "over",
            folder, len(found) - len(fitting), len(found),
        )  # fmt: skip
    return fitting, bad


def _lack(record: Record, *, min_frames: int) -> str:
    """Why a record can't be used; empty if it can."""
    lacking = [plane.name for plane in PLANES[1:4] if not record.has(plane.letter)]
    if lacking:
        return f"it has no {' and no '.join(lacking)}"
    return "" if len(record) >= min_frames else f"{len(record)} frames, {min_frames} are needed"


@dataclass(frozen=True)
class KeptClips:
    """files: each with the name of the record that it was made of. still_share: of the updates for
    which each clip is one of its frames."""

    files: Sequence[tuple[str, Path]]
    still_share: float = 0.0

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        record, path = self.files[index]
        return f"{record}/{path.stem[:8]}"

    def __getitem__(self, draw: Draw) -> Sample:
        try:
            clip = read_latents(self.files[draw.index][1])
        except (OSError, ValueError) as problem:
            raise BadSample(self.name(draw.index), str(problem)) from problem
        if not is_still(draw.window, self.still_share):
            return clip
        frame = int(generator_for("still", draw.seed).integers(clip["face"].shape[0]))
        return one_frame(clip, frame)


def is_still(window: int, share: float) -> bool:
    """Whether an update learns from single frames: a share of them, evenly among the others."""
    return int((window + 1) * share) > int(window * share)


def one_frame(clip: Sample, frame: int) -> Sample:
    """A clip of one of its frames."""
    taken = slice(frame, frame + 1)
    films = {name: clip[name][:, taken] for name in ("target", "scene", "occlusion")}
    return clip | films | {name: clip[name][taken] for name in ("face", "bary")}
