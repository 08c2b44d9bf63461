"""The layers of a film on the disk: a folder for each shot, laid out as a record, and meta.json.

    DIR/meta.json
    DIR/shot0000/00000_C.png  the film
                 00000_A.png, 00000_F.png    a person; _A2, _F2 the next one behind
                 00000_O.png, 00000_OF.png   what stands before them
                 00000_B.png  the scene
                 00000_H.png  where it was filled in
                 00000_D.png  how near things are, 16 bits, where that was needed

Frames are numbered through the film. Planes that are empty in a whole shot are left out. The hole
isn't called M: what is called so promises a trainer the truth under it.

Axes: H W pixels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from layers.runtime.exact import Layer
from nunif.errors import UserError
from nunif.files import explain_os_errors
from nunif.image import decode, encode_binary, encode_grey, encode_rgb

META = "meta.json"
FILM, SCENE, HOLE, DISPARITY = "C", "B", "H", "D"
OCCLUDER = ("O", "OF")  # alpha and foreground


def person_letters(number: int) -> tuple[str, str]:
    """Of alpha and foreground of a person; 0 is the nearest one."""
    suffix = "" if number == 0 else str(number + 1)
    return f"A{suffix}", f"F{suffix}"


def shot_folder(folder: Path, number: int) -> Path:
    return folder / f"shot{number:04d}"


def plane_path(shot: Path, frame: int, letters: str) -> Path:
    return shot / f"{frame:05d}_{letters}.png"


@dataclass
class PlanesOfFilm:
    """Writes them, shot by shot."""

    folder: Path
    shots: list[list[int]] = field(default_factory=list)  # first and last frames
    planes: list[list[str]] = field(default_factory=list)  # of each shot those that aren't empty
    num_frames: int = 0
    _seen: set[str] = field(default_factory=set)  # in this shot: all, and those that are not empty
    _full: set[str] = field(default_factory=set)

    def start_shot(self) -> None:
        self.end_shot()
        self.shots.append([self.num_frames, self.num_frames])
        shot_folder(self.folder, len(self.shots) - 1).mkdir()

    def write(self, pictures: Mapping[str, np.ndarray]) -> None:
        """A frame's pictures by their letters: (H, W, 3) or (H, W), uint8 or uint16; bool a
        mask."""
        shot = shot_folder(self.folder, len(self.shots) - 1)
        with explain_os_errors(self.folder):
            for letters, picture in pictures.items():
                if letters not in self._seen:
                    self._fill_up(letters, np.zeros_like(picture))
                plane_path(shot, self.num_frames, letters).write_bytes(_encode(picture))
                self._seen.add(letters)
                if letters not in self._full and picture.any():
                    self._full |= {letters, _colours_of(letters)}
        self.shots[-1][1] = self.num_frames
        self.num_frames += 1

    def _fill_up(self, letters: str, empty: np.ndarray) -> None:
        """Of somebody who comes in the middle of a shot there is nothing before."""
        shot = shot_folder(self.folder, len(self.shots) - 1)
        data = _encode(empty)
        for frame in range(self.shots[-1][0], self.num_frames):
            plane_path(shot, frame, letters).write_bytes(data)

    def end_shot(self) -> None:
        """Take away what is empty; the film and its scene stay, black as they may be."""
        if not self.shots:
            return
        first, last = self.shots[-1]
        shot = shot_folder(self.folder, len(self.shots) - 1)
        kept = self._seen & (self._full | {FILM, SCENE})
        for letters in self._seen - kept:
            for frame in range(first, last + 1):
                plane_path(shot, frame, letters).unlink()
        self.planes.append(sorted(kept))
        self._seen, self._full = set(), set()


def _colours_of(letters: str) -> str:
    """The plane of colours that belongs to an alpha, which stays with it, black as it may be."""
    return OCCLUDER[1] if letters == OCCLUDER[0] else letters.replace("A", "F")


def _encode(picture: np.ndarray) -> bytes:
    if picture.dtype == bool:
        return encode_binary(picture)
    return encode_rgb(picture) if picture.ndim == 3 else encode_grey(picture)


def read_meta(folder: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: no layers are there.
    """
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(meta["shots"], list) and isinstance(meta["source"], dict)
    except OSError as error:
        raise UserError(
            f"{folder} holds no layers of a film ({META} is missing): make them with python -m "
            "layers split"
        ) from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(f"{path} is damaged: split the film again") from error
    return meta


def read_plane(shot: Path, frame: int, letters: str) -> np.ndarray:
    """A picture as it was written, (H, W, 3) or (H, W).

    Raises:
        UserError: it is missing or damaged.
    """
    path = plane_path(shot, frame, letters)
    is_grey = letters[0] in "AH" or letters == OCCLUDER[0]
    try:
        how = cv2.IMREAD_ANYDEPTH
        how |= cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR_RGB
        return decode(path.read_bytes(), how)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}): split the film again") from error


def read_layer(shot: Path, frame: int, letters: tuple[str, str]) -> Layer:
    alpha, foreground = (read_plane(shot, frame, one) for one in letters)
    return Layer(foreground, alpha[..., None])
