"""What the page asks of the commands `mask` and `remove`: points and settings, checked, as words of
their command lines; and what they would mark in a single frame, at once.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layers.studio.frames import Frames
from layers.studio.marks import MOST_OBJECTS
from nunif.download import PRETRAINED
from nunif.errors import UserError

MOST_POINTS = 500
WIDTHS = (480, 640, 960, 1280, 1920)  # to compute at, offered where the film is wider
LOOK_AHEADS = ("shot", "8", "0")
RESULT_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
FINDERS = "person_"  # how the released files begin that find people
RELEASED_FOLDER = Path(__file__).resolve().parents[2] / PRETRAINED


@dataclass(frozen=True)
class Point:
    """A click in a frame.

    object: from 1. x, y: pixels of the film, from its left upper corner. keeps: what is there does
        not belong to the object.
    """

    object: int
    frame: int
    x: float
    y: float
    keeps: bool


@dataclass(frozen=True)
class Settings:
    """How to remove. max_width: None: the film's own. model: None: the command's own choice."""

    max_width: int | None = None
    look_ahead: str = LOOK_AHEADS[0]
    model: Path | None = None


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
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError("A point needs an object, a frame, x, y and keeps.") from error
    is_inside = 0 <= point.x < width and 0 <= point.y < height and 0 <= point.frame < num_frames
    if not (is_inside and 1 <= point.object <= MOST_OBJECTS):
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
    name = value.get("model") or None
    if width is not None and width not in WIDTHS:
        raise UserError(f"The width {width} is not among those that are offered.")
    if ahead not in LOOK_AHEADS:
        raise UserError(f"Looking ahead by {ahead} is not among what is offered.")
    if name is not None and name not in models:
        raise UserError(f"The model {name} is not among those that are offered.")
    return Settings(width, ahead, models[name] if name else None)


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
        words += ["--point", f"{point.x:g},{point.y:g}@{point.frame}"]
    return words + ["--deinterlace"] * frames.deinterlaces


def remove_words(frames: Frames, masks: Path | None, output: Path, settings: Settings) -> list[str]:
    words = ["remove", "-i", str(frames.path), "-o", str(output)]
    if masks is not None:
        words += ["--masks", str(masks)]
    words += ["--look-ahead", settings.look_ahead]
    if settings.max_width is not None:
        words += ["--max-width", str(settings.max_width)]
    if settings.model is not None:
        words += ["-m", str(settings.model)]
    return words + ["--deinterlace"] * frames.deinterlaces


# --- at once --------------------------------------------------------------------------------------


def labels_of_points(rgb: np.ndarray, points: Sequence[Point], labels: np.ndarray) -> np.ndarray:
    """What points in a frame mark.

    rgb: (H, W, 3) uint8. labels: (H, W) uint8, what was marked there before, which stays for all
        objects without a point.
    """
    return labels


def people_labels(rgb: np.ndarray) -> np.ndarray:
    """Where people are found in a frame (H, W, 3) uint8, all as one object: (H, W) uint8."""
    import torch

    from matting.runtime.person_finder import find_people

    frame = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
    return (find_people(frame)[0, 0] > 0.1).numpy().astype(np.uint8)
