"""In what numbers layers are kept: those of the film, or linear light.

A split is exact in the numbers in which it was made, and in no others: layers of a film's own
numbers are to be laid over each other as they are, those of linear light in linear light.

Axes: ... any, 3 = R G B; alpha has 1 there.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from nunif.video.tone import HLG, LINEAR, PQ, WHITE, ToneMap, light_of_hlg, light_of_pq
from scene.layers import exact
from scene.layers.exact import Layer


class Space(Protocol):
    """How layers are made of the film's integers and put together again."""

    def split(
        self,
        picture: np.ndarray,
        alphas: Sequence[np.ndarray],
        scene: np.ndarray,
        foregrounds: Sequence[np.ndarray | None],
    ) -> tuple[list[Layer], np.ndarray]:
        """Layers, the nearest first, and the scene, in this space's numbers; as
        `exact.split_all`."""
        ...

    def put_in(self, picture: np.ndarray) -> np.ndarray:
        """The film's integers in this space's numbers."""
        ...

    def over(self, layer: Layer, behind: np.ndarray) -> np.ndarray: ...

    def alpha_of(self, layer: Layer) -> np.ndarray:
        """In the film's integers, (..., 1)."""
        ...

    def take_out(self, picture: np.ndarray) -> np.ndarray:
        """The way back of `put_in`."""
        ...

    def premultiplied(self, layer: Layer) -> np.ndarray:
        """A layer as what can be moved and summed up: its colours times its alpha, and alpha in
        [0, 1], (..., 4) float32."""
        ...

    def sum_out(self, picture: np.ndarray, kind: np.dtype) -> np.ndarray:
        """The film's integers of such a sum, (..., 3) float32. kind: of the film's pictures."""
        ...


def compose(space: Space, layers: Sequence[Layer], scene: np.ndarray) -> np.ndarray:
    """All layers, the nearest first, over the scene, in the space's numbers."""
    picture = scene
    for layer in reversed(layers):
        picture = space.over(layer, picture)
    return picture


class Encoded:
    """The film's own numbers, straight alpha. See `Space`, and `scene.layers.exact`."""

    def split(
        self,
        picture: np.ndarray,
        alphas: Sequence[np.ndarray],
        scene: np.ndarray,
        foregrounds: Sequence[np.ndarray | None],
    ) -> tuple[list[Layer], np.ndarray]:
        return exact.split_all(picture, alphas, scene, foregrounds)

    def put_in(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def over(self, layer: Layer, behind: np.ndarray) -> np.ndarray:
        return exact.over(layer.foreground, layer.alpha, behind)

    def alpha_of(self, layer: Layer) -> np.ndarray:
        return layer.alpha

    def take_out(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def premultiplied(self, layer: Layer) -> np.ndarray:
        alpha = layer.alpha.astype(np.float32) / np.iinfo(layer.alpha.dtype).max
        return np.concatenate([layer.foreground * alpha, alpha], axis=-1)

    def sum_out(self, picture: np.ndarray, kind: np.dtype) -> np.ndarray:
        return np.rint(picture).clip(0, np.iinfo(kind).max).astype(kind)


class Linear:
    """Linear light: float16 of 8-bit films, float32 of others, colours premultiplied by alpha, 1 =
    the white of SDR. See `Space`.

    A layer P, a over B is P + (1 - a) B. Each number is off by its share of 1/4096 at most once it
    is rounded to float16, and so is their sum: far less than half a step of 8 bits, so that the
    film's numbers come back.
    """

    def __init__(self, kind: type, tone: ToneMap | None) -> None:
        """kind: of the film's pictures, np.uint8 or np.uint16. tone: of the film."""
        self._top = int(np.iinfo(kind).max)
        self._kind, self._transfer = kind, tone.transfer if tone else None
        self.stored = np.float16 if kind == np.uint8 else np.float32

    @property
    def curve(self) -> str:
        """By which the film's numbers become light, in words."""
        return {PQ: "PQ, 1 = 203 cd/m2", HLG: "HLG, scene light", LINEAR: "none"}.get(
            self._transfer or 0, "sRGB"
        )

    @cached_property
    def _light(self) -> np.ndarray:
        """(N + 1,) float32: of each of the film's numbers."""
        return self._light_of(np.arange(self._top + 1) / self._top).astype(np.float32)

    @cached_property
    def _between(self) -> np.ndarray:
        """(N,) float32: the light from which on a number is the next one."""
        return self._light_of((np.arange(self._top) + 0.5) / self._top).astype(np.float32)

    def _light_of(self, code: np.ndarray) -> np.ndarray:
        if self._transfer == PQ:
            return light_of_pq(code) / WHITE
        if self._transfer == HLG:
            return light_of_hlg(code)
        if self._transfer == LINEAR:
            return code
        # IEC 61966-2-1, as compositing programs take SDR films for
        return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)

    def put_in(self, picture: np.ndarray) -> np.ndarray:
        return self._light[picture].astype(self.stored)

    def take_out(self, picture: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._between, picture, side="right").astype(self._kind)

    def alpha_of(self, layer: Layer) -> np.ndarray:
        return np.rint(layer.alpha.astype(np.float32) * self._top).astype(self._kind)

    def premultiplied(self, layer: Layer) -> np.ndarray:
        return np.concatenate([layer.foreground, layer.alpha], axis=-1).astype(np.float32)

    def sum_out(self, picture: np.ndarray, kind: np.dtype) -> np.ndarray:
        return self.take_out(picture)

    def over(self, layer: Layer, behind: np.ndarray) -> np.ndarray:
        # of the same type as what is stored, sums are of float32
        rest = 1 - layer.alpha.astype(np.float32)
        return layer.foreground.astype(np.float32) + rest * behind.astype(np.float32)

    def split(
        self,
        picture: np.ndarray,
        alphas: Sequence[np.ndarray],
        scene: np.ndarray,
        foregrounds: Sequence[np.ndarray | None],
    ) -> tuple[list[Layer], np.ndarray]:
        """As `exact.split_all`; the layers' colours are premultiplied."""
        light, last = self._light[picture], self._light[scene]
        shares = [(alpha / np.float32(self._top)).astype(self.stored) for alpha in alphas]
        guesses = [None if guess is None else self._light[guess] for guess in foregrounds]
        layers: list[Layer] = []
        for number, share in enumerate(shares):
            behind = last  # and those that follow, as far as they can be guessed
            for guess, other in reversed(list(zip(guesses, shares))[number + 1 :]):
                a = other.astype(np.float32)
                behind = a * (light if guess is None else guess) + (1 - a) * behind
            colours, light = self._split_one(
                light, share.astype(np.float32), behind, guesses[number]
            )
            layers.append(Layer(colours.astype(self.stored), share))
        return layers, light.astype(self.stored)

    def _split_one(
        self, light: np.ndarray, a: np.ndarray, behind: np.ndarray, guess: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Premultiplied colours and what is behind them, which make up the picture again."""
        rest, most = 1 - a, self._light[-1]
        if guess is not None:
            error = light - a * guess - rest * behind
            behind = behind + error * rest / (a**2 + rest**2)
        some = np.where(rest > 0, rest, 1)
        low, high = np.maximum((light - a * most) / some, 0), np.minimum(light / some, most)
        behind = np.where(rest > 0, np.minimum(np.maximum(behind, low), high), behind)
        behind = np.where(a > 0, behind, light)
        return np.maximum(light - rest * behind, 0), behind
