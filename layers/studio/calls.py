"""What the page asks of the commands `mask` and `remove`: points and settings, checked, as words of
their command lines; and what they would mark in a single frame, at once.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from inpaint.runtime.options import REFERENCE_ROWS
from layers.prompts import BOX, NOT_POINT, POINT, Prompt
from layers.studio.frames import Frames
from layers.studio.marks import MOST_OBJECTS
from nunif.download import PRETRAINED
from nunif.errors import UserError

MOST_POINTS = 500
WIDTHS = (480, 640, 960, 1280, 1920)  # to compute at, offered where the film is wider
SHOT = "shot"
LOOK_AHEADS = (SHOT, "8", "0")
MARGINS = (0, 2, 4, 8)
RESULT_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
FINDERS = "person_"  # how the released files begin that find people
RELEASED_FOLDER = Path(__file__).resolve().parents[2] / PRETRAINED


@dataclass(frozen=True)
class Point:
    """A click in a frame, or a box that was drawn.

    object: from 1. x, y: pixels of the film, from its left upper corner. keeps: what is there does
        not belong to the object. width, height: of a box, to the right of it and below; 0: a click.
    """

    object: int
    frame: int
    x: float
    y: float
    keeps: bool
    width: float = 0.0
    height: float = 0.0

    @property
    def kind(self) -> str:
        """As the command `mask` calls it."""
        if self.width:
            return BOX
        return NOT_POINT if self.keeps else POINT


@dataclass(frozen=True)
class Settings:
    """How to remove.

    max_width: to compute at; None: the film's own. model: None: the command's own choice. margin:
        by how much the hole is larger than what is marked, in pixels of a film of 240 rows.
    """

    max_width: int | None = None
    look_ahead: str = LOOK_AHEADS[0]
    model: Path | None = None
    margin: float = MARGINS[1]


def read_points(
    values: Sequence[Mapping[str, Any]], size: tuple[int, int, int]
) -> tuple[Point, ...]:
    """The points that a page has sent.

    size: (T, H, W) of the film.

    Raises:
        UserError: one is none, or lies outside the film.
    """
    if not isinstance(values, list) or len(values) > MOST_POINTS:
        raise UserError(f"The points are no list of {MOST_POINTS} at most.")
    return tuple(_read_point(value, size) for value in values)


def _read_point(value: Mapping[str, Any], size: tuple[int, int, int]) -> Point:
    num_frames, height, width = size
    try:
        point = Point(
            object=int(value["object"]),
            frame=int(value["frame"]),
            x=float(value["x"]),
            y=float(value["y"]),
            keeps=bool(value["keeps"]),
            width=float(value.get("width", 0)),
            height=float(value.get("height", 0)),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError("A point needs an object, a frame, x, y and keeps.") from error
    is_inside = 0 <= point.x < width and 0 <= point.y < height and 0 <= point.frame < num_frames
    is_inside &= point.x + point.width <= width and point.y + point.height <= height
    # both or neither, and none where what is there stays
    is_whole = (point.width >= 1) == (point.height >= 1) == (point.width + point.height > 0)
    is_whole &= not (point.width and point.keeps)
    if not (is_inside and is_whole and 1 <= point.object <= MOST_OBJECTS):
        raise UserError(
            f"There is no point {point.x:g}, {point.y:g} in frame {point.frame} for object "
            f"{point.object}: the film has {num_frames} frames of {width}x{height}, the page "
            f"{MOST_OBJECTS} objects."
        )
    return point


def read_settings(value: Mapping[str, Any], models: Mapping[str, Path]) -> Settings:
    """The settings that a page has sent. models: by their names there.

    Raises:
        UserError: one isn't among those that are offered.
    """
    width, ahead = value.get("maxWidth"), value.get("lookAhead", LOOK_AHEADS[0])
    name, margin = value.get("model") or None, value.get("margin", MARGINS[1])
    if width is not None and width not in WIDTHS:
        raise UserError(f"The width {width} is not among those that are offered.")
    if ahead not in LOOK_AHEADS:
        raise UserError(f"Looking ahead by {ahead} is not among what is offered.")
    if name is not None and name not in models:
        raise UserError(f"The model {name} is not among those that are offered.")
    if margin not in MARGINS:
        raise UserError(f"The margin {margin} is not among those that are offered.")
    return Settings(width, ahead, models[name] if name else None, margin)


def released_models() -> list[Path]:
    """The model files that come along and fill holes."""
    files = sorted(RELEASED_FOLDER.glob("*.pth"))
    return [file for file in files if not file.name.startswith(FINDERS)]


def result_suffix(film: Path) -> str:
    suffix = film.suffix.lower()
    return suffix if suffix in RESULT_SUFFIXES else RESULT_SUFFIXES[0]


# --- command lines --------------------------------------------------------------------------------


def mask_words(frames: Frames, points: Sequence[Point], output: Path) -> list[str]:
    words = ["mask", "-i", str(frames.path), "-o", str(output)]
    for point in points:
        places = [point.x, point.y, *([point.width, point.height] if point.width else [])]
        text = ",".join(f"{place:.1f}" for place in places)
        words += [f"--{point.kind}", f"{point.object}:{text}@#{point.frame}"]
    return words + ["--deinterlace"] * frames.deinterlaces


def mask_total(num_frames: int, points: Sequence[Point]) -> int:
    """Frames that `mask` goes through: all, and those from the last with a point back to the
    first."""
    last = max(point.frame for point in points)
    return num_frames + (last + 1 if last else 0)


def remove_words(frames: Frames, masks: Path | None, output: Path, settings: Settings) -> list[str]:
    words = ["remove", "-i", str(frames.path), "-o", str(output)]
    if masks is None:
        words += ["--grow", f"{settings.margin:g}"]
    else:
        grown = round(settings.margin * frames.size[0] / REFERENCE_ROWS)
        words += ["--masks", str(masks), "--dilate", str(grown)]
    words += ["--look-ahead", settings.look_ahead]
    if settings.max_width is not None:
        words += ["--max-width", str(settings.max_width)]
    if settings.model is not None:
        words += ["-m", str(settings.model)]
    return words + ["--deinterlace"] * frames.deinterlaces


def remove_total(num_frames: int, masks: Path | None, settings: Settings) -> int:
    """Frames that `remove` goes through: to find people, to look ahead, and to fill."""
    return num_frames * (1 + (masks is None) + (settings.look_ahead == SHOT))


# --- at once --------------------------------------------------------------------------------------


def labels_of_points(rgb: np.ndarray, points: Sequence[Point], followed: np.ndarray) -> np.ndarray:
    """What points in a frame mark, as the command `mask` has it.

    rgb: (H, W, 3) uint8. followed: (H, W) uint8, what was marked there before, which the points
        correct.
    """
    from layers.runtime.correct import correct_labels

    return correct_labels(rgb, [prompt_of(point) for point in points], followed)


def prompt_of(point: Point) -> Prompt:
    """A point as the command `mask` has it."""
    corners = [(point.x, point.y)]
    if point.width:
        corners.append((point.x + point.width - 1, point.y + point.height - 1))
    return Prompt(point.kind, tuple(corners), frame=point.frame, number=point.object)


class PeopleFinder:
    """Finds people in single frames as `remove` does. It knows of one frame what that knows of a
    shot, so once somebody was surely seen, whoever is found in any frame counts."""

    def __init__(self) -> None:
        import torch

        from layers.runtime.finders import PersonTiles

        self._finder = PersonTiles(torch.device("cpu"))
        self._is_open = False
        self._lock = Lock()

    def labels(self, rgb: np.ndarray, margin: float) -> np.ndarray:
        """The hole as an object: rgb (H, W, 3) uint8 -> (H, W) uint8. margin: of `Settings`."""
        from layers.runtime.holes import cut_hole

        with self._lock:
            if not (self._is_open or self._sees_somebody(rgb)):
                return np.zeros(rgb.shape[:2], np.uint8)
            self._is_open = True
            rule = replace(self._finder.rule, grow=margin)
            return cut_hole(self._finder(rgb), rgb.shape[:2], rule).astype(np.uint8)

    def _sees_somebody(self, rgb: np.ndarray) -> bool:
        import torch

        from layers.runtime.finders import SHORT_SIDE, shrunk, to_picture
        from matting.runtime.person_gate import SURE, person_scores

        frame = to_picture(shrunk(rgb, SHORT_SIDE), torch.device("cpu"))
        return bool(person_scores(frame)[0] >= SURE)
