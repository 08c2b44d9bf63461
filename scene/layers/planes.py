"""The planes of a film's layers as they are written and read: see `scene.layers.folder` for where
they lie.

Instead of PNGs a shot may hold videos (scene.layers.plane_videos) or OpenEXR files
(scene.layers.plane_exrs) of the same planes.

Axes: H W pixels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from nunif.files import explain_os_errors
from nunif.image import encode_binary, encode_grey, encode_rgb
from nunif.video.reader import Frame
from scene.layers.exact import Layer
from scene.layers.folder import (
    FILM,
    HOLE,
    OCCLUDER,
    SCENE,
    layers_in,
    plane_path,
    read_plane,
    shot_folder,
)


def layer_name(letters: str) -> str:
    """What files and channels of a layer are called, by the letters of its alpha: person, person2,
    occluder."""
    return "occluder" if letters == OCCLUDER[0] else f"person{letters[1:]}"


class FrameLayers(NamedTuple):
    """What of a frame lies on the disk. people: the nearest first. scene: (H, W, 3). hole: (H, W)
    bool, or None where there is none."""

    people: list[Layer]
    occluder: Layer | None
    scene: np.ndarray
    hole: np.ndarray | None


class ShotWriter(Protocol):
    """Writes the planes of one shot in some format."""

    def write(self, number: int, pictures: Mapping[str, np.ndarray], frame: Frame) -> None:
        """A frame's pictures by their letters, see `PlanesOfFilm.write`. number: in the film."""
        ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """All is written, or as much as there is going to be."""
        ...

    def drop(self, letters: set[str]) -> None:
        """Take away planes that are empty."""
        ...


@dataclass
class PlanesOfFilm:
    """Writes them, shot by shot. Use as a context manager."""

    folder: Path
    open_shot: Callable[[Path], ShotWriter]  # of a folder that is there
    shots: list[list[int]] = field(default_factory=list)  # first and last frames
    planes: list[list[str]] = field(default_factory=list)  # of each shot those that aren't empty
    num_frames: int = 0
    _seen: set[str] = field(default_factory=set)  # in this shot: all, and those that are not empty
    _full: set[str] = field(default_factory=set)
    _shot: ShotWriter | None = None

    def start_shot(self) -> None:
        self.end_shot()
        self.shots.append([self.num_frames, self.num_frames])
        shot = shot_folder(self.folder, len(self.shots) - 1)
        shot.mkdir()
        self._shot = self.open_shot(shot)

    def write(self, pictures: Mapping[str, np.ndarray], frame: Frame) -> None:
        """A frame's pictures by their letters: (H, W, 3) or (H, W), uint8 or uint16, of linear
        light float16 or float32; bool a mask. frame: the film's own."""
        assert self._shot is not None
        with explain_os_errors(self.folder):
            self._shot.write(self.num_frames, pictures, frame)
        for letters, picture in pictures.items():
            self._seen.add(letters)
            # colours count where their alpha does
            if "F" not in letters and letters not in self._full and picture.any():
                self._full |= {letters, _colours_of(letters)}
        self.shots[-1][1] = self.num_frames
        self.num_frames += 1

    def end_shot(self) -> None:
        """Take away what is empty; the film and its scene stay, black as they may be."""
        if self._shot is None:
            return
        shot, self._shot = self._shot, None
        shot.__exit__(None, None, None)
        kept = self._seen & (self._full | {FILM, SCENE})
        shot.drop(self._seen - kept)
        self.planes.append(sorted(kept))
        self._seen, self._full = set(), set()

    def __enter__(self) -> "PlanesOfFilm":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.end_shot()
        elif self._shot is not None:
            self._shot.__exit__(kind, error, traceback)


class PngShot:
    """A PNG for each frame and plane. See `ShotWriter`."""

    def __init__(self, shot: Path) -> None:
        self._shot = shot
        self._letters: dict[int, set[str]] = {}  # of each frame
        self._empty: dict[str, bytes] = {}  # planes without anything

    def write(self, number: int, pictures: Mapping[str, np.ndarray], frame: Frame) -> None:
        for letters, picture in pictures.items():
            if letters not in self._empty:
                self._empty[letters] = _encode(np.zeros_like(picture))
            plane_path(self._shot, number, letters).write_bytes(_encode(picture))
        self._letters[number] = {*pictures}

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Before somebody comes in the middle of a shot, and once they left, there is nothing."""
        for number, letters in self._letters.items():
            for one in self._empty.keys() - letters if error is None else ():
                plane_path(self._shot, number, one).write_bytes(self._empty[one])

    def drop(self, letters: set[str]) -> None:
        for number in self._letters:
            for one in letters:
                plane_path(self._shot, number, one).unlink()


def read_pngs(shot: Path, numbers: range, there: Sequence[str]) -> Iterator[FrameLayers]:
    """The layers of a shot's frames. there: the letters of its planes.

    Raises:
        UserError: as `read_plane`.
    """
    for number in numbers:
        hole = read_plane(shot, number, HOLE) > 0 if HOLE in there else None
        yield FrameLayers(
            [read_layer(shot, number, both) for both in layers_in(there)],
            read_layer(shot, number, OCCLUDER) if OCCLUDER[0] in there else None,
            read_plane(shot, number, SCENE),
            hole,
        )


def _colours_of(letters: str) -> str:
    """The plane of colours that belongs to an alpha, which stays with it, black as it may be."""
    return OCCLUDER[1] if letters == OCCLUDER[0] else letters.replace("A", "F")


def _encode(picture: np.ndarray) -> bytes:
    if picture.dtype == bool:
        return encode_binary(picture)
    return encode_rgb(picture) if picture.ndim == 3 else encode_grey(picture)


def in_bits(picture: np.ndarray, kind: type | np.dtype) -> np.ndarray:
    """A picture of uint8 or uint16 as the other, if it isn't of that `kind` already."""
    if picture.dtype == kind:
        return picture
    if kind == np.uint16:
        return picture.astype(np.uint16) * 257
    return ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)


def read_layer(shot: Path, frame: int, letters: tuple[str, str]) -> Layer:
    alpha, foreground = (read_plane(shot, frame, one) for one in letters)
    return Layer(foreground, alpha[..., None])
