"""Ways to take people out of a clip: the person finder or a model of mattes with each filler, and
what needs no model.

Axes: T frames, H W pixels. Frames are (T, H, W, 3) uint8, holes (T, H, W) bool, True = missing.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from inpaint.runtime.look_ahead import look_through as keys_of
from inpaint.runtime.options import LOOK_AHEAD, SHOT
from inpaint.runtime.stream import Filler, HoleFrame, InpaintStream
from inpaint.runtime.windows import open_fillers
from layers.evaluation.truth import Removal
from layers.runtime.finders import Finder, Gate
from layers.runtime.holes import HoleRule
from layers.runtime.people import People, look_through
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import file_sha256
from nunif.video.cuts import mark_cuts

TELEA_RADIUS = 3  # pixels

Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]  # frames, holes -> frames


@dataclass
class Search:
    """Who is in a clip, looked for once however many methods ask."""

    finder: Finder
    gate: Gate | None
    rule: HoleRule
    made_of: Any
    _last: tuple[int, np.ndarray, np.ndarray] | None = field(default=None, init=False)

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where somebody is surely found, and the holes."""
        if self._last is None or self._last[0] != id(frames):
            people = People(io.BytesIO(), (frames.shape[1], frames.shape[2]))
            look_through(mark_cuts(iter(frames)), people, self.finder, self.gate)
            size = frames.shape[2], frames.shape[1]
            maps = (cv2.resize(seen, size) for seen, _ in people.maps())
            found = np.stack([np.asarray(seen) > 127 for seen in maps])
            self._last = id(frames), found, np.stack(list(people.holes(self.rule)))
        return self._last[1:]


@dataclass(frozen=True)
class Method:
    """made_of: all that its results follow from, as JSON can hold it. fill: None where nothing is
    filled. takes_true_holes: the holes are cut from the truth. is_film: `fill` gives a film made
    elsewhere, and the holes are what is changed in it."""

    search: Search
    fill: Fill | None
    made_of: Any
    takes_true_holes: bool = False
    is_film: bool = False

    def __call__(self, frames: np.ndarray, true_holes: Callable[[], np.ndarray]) -> Removal:
        if self.is_film:
            assert self.fill is not None
            result = self.fill(frames, np.zeros(frames.shape[:3], bool))
            hole = changed(frames, result)
            return Removal(hole, hole, result)
        found, hole = self.search(frames)
        if self.takes_true_holes:
            hole = true_holes()
        return Removal(found, hole, None if self.fill is None else self.fill(frames, hole))


def filled_by(filler: Filler, *, through_shots: bool) -> Fill:
    """Fill a clip as `remove` fills a film."""

    def holed(frames: np.ndarray, holes: np.ndarray) -> Iterator[HoleFrame[int]]:
        for i, (frame, starts_shot) in enumerate(mark_cuts(iter(frames))):
            yield HoleFrame(i, frame, holes[i], starts_shot)

    def fill(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
        result = np.empty_like(frames)
        if not through_shots:
            for i, picture in filler.fill(holed(frames, holes)):
                result[i] = picture
            return result
        if not isinstance(filler, InpaintStream) or filler.multiple is None:
            raise UserError(
                f"--look-ahead {SHOT} needs the model file (.pth) of a model with a memory"
            )
        stream = filler

        def masked() -> Iterator[tuple[Tensor, bool]]:
            for item in holed(frames, holes):
                yield stream.masked(item.frame, item.hole), item.starts_shot

        with keys_of(masked(), filler.multiple) as keys:
            for i, picture in stream.fill(holed(frames, holes), keys=keys):
                result[i] = picture
        return result

    return fill


def ways_to_fill(
    path: Path, *, gpu: int, look_ahead: str, max_width: int | None, margin: float
) -> Iterator[tuple[str, Fill, list[Any]]]:
    """A filler with each --look-ahead: its name, the fill, and what it is made of."""
    device = create_device(gpu)
    for word in look_ahead.split(","):
        is_shot = word == SHOT
        (filler,) = open_fillers(
            path,
            device=device,
            max_width=max_width,
            look_ahead=LOOK_AHEAD if is_shot else int(word),
            margin=margin,
        )
        way = "shot" if is_shot else "live" if word == "0" else f"{word} ahead"
        fill = filled_by(filler, through_shots=is_shot)
        yield way, fill, [file_sha256(path), word, max_width, margin]


def as_it_is(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Nobody is removed."""
    return frames


def telea(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Frame by frame from around the hole, by Telea's fast marching."""
    return np.stack([_from_around(frame, hole) for frame, hole in zip(frames, holes)])


def median_telea(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """The median of what is seen at a place over the clip; from around the hole where it never
    is."""
    seen = np.ma.masked_array(frames, np.broadcast_to(holes[..., None], frames.shape))
    rows = [np.ma.median(seen[:, row], axis=0) for row in range(frames.shape[1])]
    middle = np.stack([row.filled(0) for row in rows]).round().astype(np.uint8)
    middle = _from_around(middle, np.asarray(holes.all(axis=0)))
    return np.where(holes[..., None], middle, frames)


def last_seen(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """What was seen at a place last, copied as it was; from around the hole where it never was."""
    last, never = frames[0].copy(), holes[0].copy()
    result = np.empty_like(frames)
    for i, (frame, hole) in enumerate(zip(frames, holes)):
        last[~hole] = frame[~hole]
        never &= hole
        result[i] = _from_around(last, never)
        result[i][~hole] = frame[~hole]
    return result


def _from_around(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    if not hole.any():
        return frame
    return np.asarray(cv2.inpaint(frame, hole.astype(np.uint8), TELEA_RADIUS, cv2.INPAINT_TELEA))


BASELINE_FILLS: dict[str, Fill] = {
    "nothing": as_it_is,
    "telea": telea,
    "median": median_telea,
    "last-seen": last_seen,
}


def changed(frames: np.ndarray, result: np.ndarray) -> np.ndarray:
    """The holes of a film that somebody else filled: what is changed, with what lies between."""
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    marks = ((f != r).any(axis=2).astype(np.uint8) for f, r in zip(frames, result))
    return np.stack([cv2.morphologyEx(mark, cv2.MORPH_CLOSE, shape) > 0 for mark in marks])
