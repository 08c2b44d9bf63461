"""The formats that layers are written in, by their names.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from nunif.errors import UserError
from nunif.video.film import Film
from scene.layers import folder as layer_folder
from scene.layers import planes
from scene.layers.exact import Layer
from scene.layers.folder import people_in_order
from scene.layers.plane_exrs import ExrShot, read_exrs
from scene.layers.plane_videos import FFV1, PRORES, VP9, VideoKind, VideoShot, read_videos
from scene.layers.planes import FrameLayers, PngShot, ShotWriter
from scene.layers.spaces import Encoded, Linear, Space, compose

Reading = Callable[[Path, range, Sequence[str], type], Iterator[FrameLayers]]


class Layers(NamedTuple):
    """Of a frame. covers: in the order in which they lie over each other, the nearest first. scene:
    (H, W, 3). Both in the numbers of `space`. hole: (H, W) bool, outside of which the scene is the
    film's own; None: it is as it is kept."""

    covers: list[Layer]
    scene: np.ndarray
    space: Space
    hole: np.ndarray | None = None

    def with_film(self, rgb: np.ndarray) -> "Layers":
        """With all of the scene that isn't filled in as the film has it. rgb: (H, W, 3)."""
        if self.hole is None:
            return self
        return self._replace(scene=np.where(self.hole[..., None], self.scene, rgb))


class Format(NamedTuple):
    """open_shot: of a folder and its film. read_shot: of a folder, the numbers of its frames, the
    letters of its planes, and the type of the film's pictures. loses: in words, what of the layers
    it doesn't keep; nothing where it keeps all."""

    open_shot: Callable[[Path, Film], ShotWriter]
    read_shot: Reading
    loses: str = ""
    is_linear: bool = False


def _video(kind: VideoKind, loses: str = "") -> Format:
    def read(
        shot: Path, numbers: range, there: Sequence[str], dtype: type
    ) -> Iterator[FrameLayers]:
        return read_videos(shot, numbers, there, kind, dtype)

    return Format(partial(VideoShot, kind=kind), read, loses)


FORMATS = {
    "png": Format(
        lambda shot, film: PngShot(shot),
        lambda shot, numbers, there, dtype: planes.read_pngs(shot, numbers, there),
    ),
    "exr": Format(
        ExrShot,
        lambda shot, numbers, there, dtype: read_exrs(shot, numbers, there),
        is_linear=True,
    ),
    "ffv1": _video(FFV1),
    "prores": _video(PRORES, "ProRes 4444 rounds colours a little, alpha to 10 bits"),
    "vp9": _video(
        VP9,
        "VP9 rounds alpha and colours to 8 bits and less, and 2x2 pixels share a hue, which runs "
        "over hard edges",
    ),
}


def format_of(meta: dict[str, Any]) -> Format:
    """
    Raises:
        UserError: a format that isn't known here.
    """
    name = meta.get("format", "png")
    if name not in FORMATS:
        raise UserError(
            f"{layer_folder.META} says that the layers are {name}, which isn't known: choose from "
            f"{', '.join(FORMATS)}"
        )
    return FORMATS[name]


def kind_of(film: Film) -> type:
    """Of the film's pictures: np.uint8 or np.uint16."""
    return np.uint16 if film.info.bit_depth > 8 else np.uint8


def space_of(layers: Format, film: Film) -> Space:
    """In what numbers a film's layers are kept."""
    return Linear(kind_of(film), film.info.tone_map) if layers.is_linear else Encoded()


def read_layers(folder: Path, meta: dict[str, Any], film: Film) -> Iterator[FrameLayers]:
    """Of every frame of a film, in order, in the numbers of `space_of`.

    Raises:
        UserError: a file is missing or can't be read.
        BrokenVideo: one is damaged.
    """
    layers = format_of(meta)
    for number, ((first, last), there) in enumerate(zip(meta["shots"], meta["planes"])):
        shot = layer_folder.shot_folder(folder, number)
        yield from layers.read_shot(shot, range(first, last + 1), there, kind_of(film))


def read_in_order(folder: Path, meta: dict[str, Any], film: Film) -> Iterator[Layers]:
    """The layers of every frame of a film as they lie over each other.

    Raises: as `read_layers`.
    """
    layers = format_of(meta)
    space = space_of(layers, film)
    shots = (
        (number, frame)
        for number, (first, last) in enumerate(meta["shots"])
        for frame in range(first, last + 1)
    )
    for (shot, frame), now in zip(shots, read_layers(folder, meta, film)):
        covers = [] if now.occluder is None else [now.occluder]
        covers += [now.people[number] for number in people_in_order(meta, shot, frame)]
        yield Layers(covers, now.scene, space, now.hole if layers.loses else None)


def measure_loss(folder: Path, meta: dict[str, Any], film: Film) -> tuple[float, float]:
    """By how much a film composed of its layers differs from the film: the greatest and the mean
    error, of 255.

    film: from its beginning.
    """
    space = space_of(format_of(meta), film)
    greatest, total, num = 0, 0.0, 0
    bar = tqdm(total=len(film), unit="frame", desc="comparing", disable=None)
    with bar:
        # in this order: of a film that is damaged the layers end before it
        for layers, frame in zip(read_layers(folder, meta, film), film):
            every = [layers.occluder, *layers.people] if layers.occluder else layers.people
            picture = space.take_out(compose(space, every, layers.scene))
            apart = np.abs(picture.astype(np.int32) - frame.rgb)
            greatest = max(greatest, int(apart.max()))
            total += float(apart.sum(dtype=np.float64))
            num += apart.size
            bar.update()
    unit = 257 if kind_of(film) == np.uint16 else 1
    return greatest / unit, total / max(num, 1) / unit
