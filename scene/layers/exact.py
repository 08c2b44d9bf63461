"""Layers that make up a picture again to the last bit, in the integers that files hold.

A picture C is `over(F, a, B)`: a foreground F over what is behind it, B, with alpha a. Given C, a
and a guess of B, `split` gives the B nearest to the guess for which an F exists that does it, and
that F. No value is wrong: 8 bits were tried whole, all 256^3 cases of (C, a, guess).

Axes: ... any, 3 = R G B; alpha has 1 there. Straight alpha, N = 255 or 65535 as by the type.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """foreground: (..., 3), alpha: (..., 1), of one type, uint8 or uint16."""

    foreground: np.ndarray
    alpha: np.ndarray


def over(foreground: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Lay one over the other, rounded to the nearest, halves up.

    Args: (..., 3), (..., 1) and (..., 3) of one type, uint8 or uint16. Returns: (..., 3) of it.
    """
    top, (f, a, b) = _as_integers(foreground, alpha, behind)
    return ((2 * (f * a + b * (top - a)) + top) // (2 * top)).astype(behind.dtype)


def compose(layers: Sequence[Layer], scene: np.ndarray) -> np.ndarray:
    """All layers, the nearest first, over the scene."""
    picture = scene
    for layer in reversed(layers):
        picture = over(layer.foreground, layer.alpha, picture)
    return picture


def split(
    picture: np.ndarray, alpha: np.ndarray, behind: np.ndarray, foreground: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The foreground and what is behind it, of which `over` makes the picture again exactly.

    Args:
        picture: (..., 3). alpha: (..., 1). behind: (..., 3), a guess of what is behind. All of one
            type, uint8 or uint16.
        foreground: (..., 3), a guess of it; without one it follows from what is behind.
    Returns: both, (..., 3) of that type. Where alpha is 0 the foreground is 0; where it is full,
        what is behind is the guess.
    """
    top, (c, a, b) = _as_integers(picture, alpha, behind)
    if foreground is not None:
        b = _nearest_guess(c, a, foreground.astype(np.float32), b, top)
    rest = top - a
    some = np.maximum(rest, 1)
    low = np.maximum(0, -((-top * (c - a)) // some))  # rounded up
    high = np.minimum(top, top * c // some)
    b = np.where(rest > 0, np.clip(b, low, high), b)
    f = (2 * (top * c - rest * b) + a) // np.maximum(2 * a, 1)
    none = a == 0
    f, b = np.where(none, 0, f), np.where(none, c, b)
    kind = picture.dtype
    return f.astype(kind), b.astype(kind)


def split_all(
    picture: np.ndarray,
    alphas: Sequence[np.ndarray],
    scene: np.ndarray,
    foregrounds: Sequence[np.ndarray | None] | None = None,
) -> tuple[list[Layer], np.ndarray]:
    """Layers, the nearest first, and the scene, of which `compose` makes the picture again exactly.

    Args:
        alphas: of the layers, the nearest first. scene: a guess of it. foregrounds: guesses, or
            None for a layer without one.
    """
    guesses: Sequence[np.ndarray | None] = foregrounds or [None] * len(alphas)
    layers: list[Layer] = []
    for number, alpha in enumerate(alphas):
        # behind this one are those that follow, as far as they can be guessed
        behind = scene
        for guess, other in reversed(list(zip(guesses, alphas))[number + 1 :]):
            behind = over(picture if guess is None else guess, other, behind)
        foreground, picture = split(picture, alpha, behind, guesses[number])
        layers.append(Layer(foreground, alpha))
    return layers, picture


def _nearest_guess(
    c: np.ndarray, a: np.ndarray, f: np.ndarray, b: np.ndarray, top: int
) -> np.ndarray:
    """What is behind, moved together with the foreground by the least squares that make both fit
    the picture."""
    share = a.astype(np.float32) / top
    rest = 1 - share
    error = c - share * f - rest * b
    return np.rint(b + error * rest / (share**2 + rest**2)).clip(0, top).astype(b.dtype)


def _as_integers(*arrays: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """The largest value, and the arrays as integers that hold products of it."""
    kind = arrays[0].dtype
    assert kind in (np.uint8, np.uint16) and all(array.dtype == kind for array in arrays)
    wide = np.int32 if kind == np.uint8 else np.int64
    return int(np.iinfo(kind).max), [array.astype(wide) for array in arrays]
