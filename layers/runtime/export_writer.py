"""Writes the films of an export, coded without a loss, and some of them as folders of PNGs too.

Axes: h w pixels, 3 = R G B.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from nunif.image import encode_binary, encode_rgb
from nunif.video.writer import VideoWriter

Pictures = dict[str, np.ndarray]  # of a frame, by the names of the films that they go to


@dataclass
class FilmsOfExport:
    """Writes the films of an export and their folders of PNGs. Use as a context manager."""

    folder: Path
    rate: Fraction
    folders: Mapping[str, str]
    num_frames: int = 0
    _films: dict[str, VideoWriter] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "FilmsOfExport":
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, pictures: Pictures) -> None:
        """Add a frame to each film: (h, w, 3) uint8, or a mask (h, w) bool."""
        assert not self.num_frames or {*pictures} == {*self._films}
        for name, picture in pictures.items():
            film = self._films.get(name) or self._open(name, *picture.shape[:2])
            is_mask = picture.dtype == bool
            rgb = np.dstack([picture.astype(np.uint8) * 255] * 3) if is_mask else picture
            film.write(rgb, self.num_frames)
            if folder := self.folders.get(name):
                data = encode_binary(picture) if is_mask else encode_rgb(picture)
                picture_path(self.folder / folder, self.num_frames).write_bytes(data)
        self.num_frames += 1

    def _open(self, name: str, height: int, width: int) -> VideoWriter:
        if folder := self.folders.get(name):
            (self.folder / folder).mkdir()
        film = VideoWriter(
            self.folder / f"{name}.mp4",
            width=width,
            height=height,
            rate=self.rate,
            time_base=1 / self.rate,
            codec="libx264rgb",
            pixel_format="rgb24",
            quality=0,
            keep_unfinished=False,
        )
        self._films[name] = self._stack.enter_context(film)
        return film

    @property
    def counts(self) -> set[int]:
        """How many frames the films have."""
        return {film.num_frames for film in self._films.values()}


def picture_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.png"
