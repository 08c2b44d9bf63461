"""The layers of a film on the disk, as `python -m layers split` leaves them: a folder for each
shot, laid out as a record, and meta.json.

    DIR/meta.json
    DIR/shot0000/00000_C.png  the film
                 00000_A.png, 00000_F.png    a person; _A2, _F2 the next one behind
                 00000_O.png, 00000_OF.png   what stands before them
                 00000_B.png  the scene
                 00000_H.png  where it was filled in
                 00000_D.png  how near things are, 16 bits, where that was needed

Frames are numbered through the film. Planes that are empty in a whole shot are left out. The hole
isn't called M: what is called so promises a trainer the truth under it.

Axes: H W pixels of the film, 3 = R G B.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.image import decode

META = "meta.json"
FILM, SCENE, HOLE, DISPARITY = "C", "B", "H", "D"
OCCLUDER = ("O", "OF")  # alpha and foreground


def person_letters(number: int) -> tuple[str, str]:
    """Of alpha and foreground of a person; 0 is the nearest one."""
    suffix = "" if number == 0 else str(number + 1)
    return f"A{suffix}", f"F{suffix}"


def layers_in(there: Sequence[str]) -> list[tuple[str, str]]:
    """The letters of the people's alphas and foregrounds among those of a shot, the nearest
    first."""
    letters = [person_letters(number) for number in range(len(there))]
    return [both for both in letters if both[0] in there]


def shot_folder(folder: Path, number: int) -> Path:
    return folder / f"shot{number:04d}"


def plane_path(shot: Path, frame: int, letters: str) -> Path:
    return shot / f"{frame:05d}_{letters}.png"


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
        UserError: no layers are there.
    """
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        shots = meta["shots"]
        assert isinstance(shots, list) and isinstance(meta["source"], dict)
        assert len(shots) == len(meta["planes"]) and shots[-1][1] + 1 == len(meta["frames"])
        assert len(meta["size"]) == 2
    except OSError as error:
        raise UserError(
            f"{folder} holds no layers of a film ({META} is missing): make them with python -m "
            "layers split"
        ) from error
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise UserError(f"{path} is damaged: split the film again") from error
    return meta


def read_plane(shot: Path, frame: int, letters: str) -> np.ndarray:
    """A picture as it was written, (H, W, 3) or (H, W).

    Raises:
        UserError: it is missing or damaged.
    """
    path = plane_path(shot, frame, letters)
    is_grey = letters[0] in "AHD" or letters == OCCLUDER[0]
    how = cv2.IMREAD_ANYDEPTH | (cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR_RGB)
    try:
        return decode(path.read_bytes(), how)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}): split the film again") from error


def read_layers(folder: Path, meta: dict[str, Any]) -> Iterator[Layers]:
    """The layers of every frame of a film, in order. meta: of `read_meta`.

    Raises:
        UserError: they are no pictures, or one is missing or damaged.
    """
    if (kind := meta.get("format", "png")) != "png":
        raise UserError(f"{folder} holds layers as {kind}: split the film with --format png")
    for number, ((first, last), there) in enumerate(zip(meta["shots"], meta["planes"])):
        shot = shot_folder(folder, number)
        occluder = [OCCLUDER] if OCCLUDER[0] in there else []
        for frame in range(first, last + 1):
            names = occluder + _in_order(layers_in(there), meta, number, frame)
            covers = [
                Cover(read_plane(shot, frame, colours), read_plane(shot, frame, alpha))
                for alpha, colours in names
            ]
            yield Layers(covers, read_plane(shot, frame, SCENE))


def _in_order(
    people: list[tuple[str, str]], meta: dict[str, Any], shot: int, frame: int
) -> list[tuple[str, str]]:
    """The letters of people, the nearest in a frame first, as far as meta.json says so."""
    changes = meta.get("order") or []
    earlier = [people for start, people in changes[shot] if start <= frame] if changes else []
    order = [person_letters(number - 1) for number in earlier[-1]] if earlier else []
    return sorted(people, key=lambda one: order.index(one) if one in order else len(order))
