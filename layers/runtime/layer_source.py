"""What split left of each frame, in order.

Axes: H W pixels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from layers.runtime import planes
from layers.runtime.exact import Layer


class FrameLayers(NamedTuple):
    """people: the nearest first. scene: (H, W, 3)."""

    people: list[Layer]
    occluder: Layer | None
    scene: np.ndarray


def read_layers(folder: Path, meta: dict[str, Any]) -> Iterator[FrameLayers]:
    """Of every frame of a film, in order. meta: what meta.json says.

    Raises:
        UserError: a picture is missing or damaged.
    """
    for number, ((first, last), there) in enumerate(zip(meta["shots"], meta["planes"])):
        shot = planes.shot_folder(folder, number)
        letters = [planes.person_letters(k) for k in range(len(there))]
        letters = [both for both in letters if both[0] in there]
        for frame in range(first, last + 1):
            people = [planes.read_layer(shot, frame, both) for both in letters]
            occluder = None
            if planes.OCCLUDER[0] in there:
                occluder = planes.read_layer(shot, frame, planes.OCCLUDER)
            yield FrameLayers(people, occluder, planes.read_plane(shot, frame, planes.SCENE))
