"""A film's layers as `python -m layers split` leaves them, read without knowing how they were made.

    DIR/meta.json
    DIR/shot0000/00000_A.png, 00000_F.png, 00000_A2.png, ...   people: alpha and straight colours
                 00000_O.png, 00000_OF.png                     what stands before them
                 00000_B.png                                   the scene behind

Axes: H W pixels of the film, 3 = R G B.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.image import decode


class Cover(NamedTuple):
    """What stands before a scene. colours: (H, W, 3) straight, alpha: (H, W); of one type, uint8 or
    uint16."""

    colours: np.ndarray
    alpha: np.ndarray


class Layers(NamedTuple):
    """Of a frame. covers: in the order in which they lie over each other, the nearest first. scene:
    (H, W, 3) uint8 or uint16."""

    covers: list[Cover]
    scene: np.ndarray


def read_meta(folder: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: no layers are there, or none in pictures.
    """
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        shots, kind = meta["shots"], meta.get("format", "png")
        assert isinstance(shots, list) and len(shots) == len(meta["planes"])
        assert shots[-1][1] + 1 == len(meta["frames"]) and len(meta["size"]) == 2
    except OSError as error:
        raise UserError(
            f"{folder} holds no layers of a film (meta.json is missing): make them with python -m "
            "layers split"
        ) from error
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise UserError(f"{path} is damaged: split the film again") from error
    if kind != "png":
        raise UserError(f"{folder} holds layers as {kind}: split the film with --format png")
    return meta


def read_layers(folder: Path, meta: dict[str, Any]) -> Iterator[Layers]:
    """The layers of every frame of a film, in order. meta: of `read_meta`.

    Raises:
        UserError: a picture is missing or damaged.
    """
    for number, ((first, last), there) in enumerate(zip(meta["shots"], meta["planes"])):
        shot = folder / f"shot{number:04d}"
        people = sorted((one for one in there if one[0] == "A"), key=lambda one: int(one[1:] or 1))
        names = [(one, one.replace("A", "F")) for one in people]
        names = ([("O", "OF")] if "O" in there else []) + names
        for frame in range(first, last + 1):
            stem = f"{frame:05d}"
            covers = [
                Cover(_read(shot / f"{stem}_{colours}.png"), _read(shot / f"{stem}_{alpha}.png"))
                for alpha, colours in names
            ]
            yield Layers(covers, _read(shot / f"{stem}_B.png"))


def _read(path: Path) -> np.ndarray:
    is_grey = path.stem.rpartition("_")[2][0] == "A" or path.stem.endswith("_O")
    how = cv2.IMREAD_ANYDEPTH | (cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR_RGB)
    try:
        return decode(path.read_bytes(), how)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}): split the film again") from error
