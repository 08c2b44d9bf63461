"""A clip from which people are removed by a method and scored: what the loop of
`nunif.evaluation.judging` goes over.

Axes: T frames, H W pixels, frames are (T, H, W, 3) uint8.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inpaint.runtime.apply import painted
from layers.evaluation.methods import Method
from layers.evaluation.plates import Plates, find_visits
from layers.evaluation.truth import Masks, Scene, Truth, grown
from nunif.errors import UserError
from nunif.evaluation.finished import key_of
from nunif.evaluation.judging import evenly
from nunif.evaluation.views import Place, place_around
from nunif.numbered import pictures_in
from nunif.records import Record, read_plane
from nunif.video.clips import BadClip, clip_name, find_mask, read_clip, read_mattes
from scene.people.compose import without_people
from scene.planes import ALPHA, BEHIND, COLOUR, OCCLUDER

INPUT, TRUTH = "input", "truth"  # what is shown beside the methods
EDGE = 5  # of 255, of a true matte: what is above belongs to a true hole


@dataclass(frozen=True)
class Clip:
    """A clip with its truth. path: where it is from, for messages. number: its place among all,
    from 0. is_shown: whether it is among the pictures of the report."""

    name: str
    path: Any
    number: int
    frames: np.ndarray
    truth: Truth
    is_shown: bool = True
    family: str | None = None

    @property
    def title(self) -> str:
        return self.name

    def key(self, program: Any) -> str:
        return key_of(self.frames, *self.truth.arrays(), self.truth.headline.score, program)

    def open(self) -> "RemovalCase":
        return RemovalCase(self)


@dataclass
class RemovalCase:
    """A clip, ready for methods."""

    clip: Clip
    made_of: str | None = None

    @cached_property
    def place(self) -> Place:
        return place_around(self.clip.truth.persons())

    def shown(self) -> dict[str, np.ndarray]:
        return {INPUT: self.clip.frames, TRUTH: self.clip.truth.shown()}

    def run(self, method: Method) -> tuple[dict[str, Any], np.ndarray]:
        """Remove and score."""
        frames = self.clip.frames
        begin = time.perf_counter()
        removal = method(frames, self._true_holes)
        fps = len(frames) / (time.perf_counter() - begin)
        scores, curve = self.clip.truth.score(frames, removal)
        result = {"scores": scores, "fps": fps, "frames": len(frames), "curve": curve}
        if removal.result is not None:
            return result, removal.result
        pairs = zip(frames, removal.hole)
        return result, np.stack([painted(frame, hole) for frame, hole in pairs])

    def _true_holes(self) -> np.ndarray:
        """alpha above .02, and a pixel more for every 96 rows."""
        truth = self.clip.truth
        assert isinstance(truth, Scene)
        radius = max(1, round(truth.alpha.shape[1] / 96))
        return np.stack([grown(alpha > EDGE, radius) for alpha in truth.alpha])


def record_clips(found: Sequence[Record], *, start: int, num_frames: int) -> Iterator[Clip]:
    """Up to `num_frames` whole frames of each record of the world. Raises BadRecord."""
    shown = evenly(len(found))
    for i, record in enumerate(found):
        numbers = record.numbers[start : start + num_frames]
        planes = (COLOUR, ALPHA, BEHIND, OCCLUDER)
        frames, alpha, behind, occluder = (read_plane(record, p.letter, numbers) for p in planes)
        without = np.rint(without_people(behind, occluder)).astype(np.uint8)
        name = record.path.name
        yield Clip(name, record.path, i, frames, Scene(alpha, without), is_shown=i in shown)


def film_clips(
    paths: Sequence[Path],
    masks: Path | None,
    *,
    is_one: bool,
    start: int,
    num_frames: int,
    size: tuple[int, int] | None,
    objects: tuple[int, ...],
    deinterlace: bool,
) -> Iterator[Clip | BadClip]:
    """Every film, or why it can't be used: with masks of its people, or with the empty room that
    is seen before and after them.

    masks: as --masks. is_one: they may be those of the one film. size: (H, W) to which films are
        scaled, None for their own.
    """
    shown = evenly(len(paths))
    for i, path in enumerate(paths):
        try:
            frames = read_clip(
                path, start=start, num_frames=num_frames, size=size, deinterlace=deinterlace
            )
            truth: Truth
            if masks is None:
                truth = Plates(frames, find_visits(frames))
            else:
                source = _masks_of(path, masks, is_one=is_one)
                marked = read_mattes(
                    source,
                    path,
                    name=f"--masks {source}",
                    start=start,
                    num_frames=len(frames),
                    size=(frames.shape[1], frames.shape[2]),
                    objects=objects,
                    deinterlace=deinterlace,
                )
                truth = Masks(marked > 127)
        except BadClip as problem:
            yield BadClip(f"{path}: {problem}")
            continue
        yield Clip(clip_name(path), path, i, frames, truth, is_shown=i in shown)


def _masks_of(film: Path, masks: Path, *, is_one: bool) -> Path:
    """What in a folder has the film's name; of one film else the folder of pictures itself. Raises
    BadClip where there are none."""
    if masks.is_file():
        return masks
    try:
        return find_mask(masks, film, name=f"--masks {masks}")
    except UserError as problem:
        if is_one and pictures_in(masks):
            return masks
        raise BadClip(str(problem)) from problem
