"""The planes of a shot as OpenEXR files, one for each frame, in linear light and premultiplied by
alpha, for programs that composite.

    DIR/shot0000/frame.00000.exr   R G B of the film
                                   person.R G B A, person2.R G B A, occluder.R G B A
                                   scene.R G B
                                   hole.A
                                   Z, how near things are

All frames of a shot have the same channels, empty ones too.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from nunif.errors import UserError
from nunif.exr import decode_exr, encode_exr
from nunif.video.film import Film
from nunif.video.reader import Frame
from scene.layers import folder as layer_folder
from scene.layers import planes
from scene.layers.exact import Layer
from scene.layers.planes import FrameLayers


def exr_path(shot: Path, number: int) -> Path:
    return shot / f"frame.{number:05d}.exr"


class ExrShot:
    """See `planes.ShotWriter`."""

    def __init__(self, shot: Path, film: Film) -> None:
        info = film.info
        self._shot, self._aspect = shot, float(info.sample_aspect_ratio or 1)
        self._chromaticities = info.tone_map.chromaticities if info.tone_map else None
        self._channels: dict[int, frozenset[str]] = {}  # of each frame

    def write(self, number: int, pictures: Mapping[str, np.ndarray], frame: Frame) -> None:
        film = pictures[layer_folder.FILM]
        channels = _rgb("", film) | _rgb("scene.", pictures[layer_folder.SCENE])
        for alpha, colours in [*layer_folder.layers_in(list(pictures)), layer_folder.OCCLUDER]:
            if alpha in pictures:
                name = planes.layer_name(alpha)
                channels |= _rgb(f"{name}.", pictures[colours])
                channels[f"{name}.A"] = pictures[alpha]
        if layer_folder.HOLE in pictures:
            channels["hole.A"] = pictures[layer_folder.HOLE].astype(np.float16)
        if layer_folder.DISPARITY in pictures:
            channels["Z"] = pictures[layer_folder.DISPARITY] / np.float32(65535)
        self._put(number, channels)

    def _put(self, number: int, channels: Mapping[str, np.ndarray]) -> None:
        data = encode_exr(channels, aspect=self._aspect, chromaticities=self._chromaticities)
        exr_path(self._shot, number).write_bytes(data)
        self._channels[number] = frozenset(channels)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Frames before somebody comes in the middle of a shot get empty channels."""
        every = frozenset[str]().union(*self._channels.values())
        for number, names in self._channels.items():
            if error is None and (missing := every - names):
                channels = decode_exr(exr_path(self._shot, number).read_bytes())
                empty = np.zeros_like(channels["R"])
                self._put(number, channels | dict.fromkeys(missing, empty))

    def drop(self, letters: set[str]) -> None:
        pass


def read_exrs(shot: Path, numbers: range, there: Sequence[str]) -> Iterator[FrameLayers]:
    """The layers of a shot's frames, in linear light. there: the letters of its planes.

    Raises:
        UserError: a file is missing or can't be read, or a channel isn't there.
    """
    for number in numbers:
        path = exr_path(shot, number)
        try:
            channels = decode_exr(path.read_bytes())
            yield FrameLayers(
                [
                    _layer(channels, planes.layer_name(alpha))
                    for alpha, _ in layer_folder.layers_in(there)
                ],
                _layer(channels, "occluder") if layer_folder.OCCLUDER[0] in there else None,
                _picture(channels, "scene"),
                channels["hole.A"] > 0 if layer_folder.HOLE in there else None,
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{path} can't be read ({error}): split the film again") from error
        except KeyError as error:
            raise UserError(f"{path} has no channel {error}: split the film again") from error


def _rgb(before: str, picture: np.ndarray) -> dict[str, np.ndarray]:
    return {before + name: picture[..., number] for number, name in enumerate("RGB")}


def _picture(channels: Mapping[str, np.ndarray], layer: str) -> np.ndarray:
    return np.dstack([channels[f"{layer}.{name}"] for name in "RGB"])


def _layer(channels: Mapping[str, np.ndarray], layer: str) -> Layer:
    return Layer(_picture(channels, layer), channels[f"{layer}.A"][..., None])
