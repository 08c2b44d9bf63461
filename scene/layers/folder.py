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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def people_in_order(meta: dict[str, Any], shot: int, frame: int) -> list[int]:
    """The people of a shot, from 0, as they are kept on the disk, the nearest in a frame of the
    film first, as far as meta.json says so; else as they are numbered."""
    people = layers_in(meta["planes"][shot])
    changes = meta.get("order") or []
    earlier = [order for start, order in changes[shot] if start <= frame] if changes else []
    order = [person_letters(number - 1) for number in earlier[-1]] if earlier else []

    def place(number: int) -> int:
        letters = people[number]
        return order.index(letters) if letters in order else len(order)

    return sorted(range(len(people)), key=place)
