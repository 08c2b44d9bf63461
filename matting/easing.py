"""How motion runs from its start to its end: curves from 0 to 1 over a clip.

The families are those that animators know (Penner, "Robert Penner's Easing Functions"): each slow
at the start (in), at the end (out) or at both (in and out).
"""

import math
from collections.abc import Callable

import numpy as np

Curve = Callable[[float], float]

LINEAR_SHARE = 0.2  # of draws; the others are curved, or a step


def _power(exponent: int) -> Curve:
    return lambda t: t**exponent


def _circular(t: float) -> float:
    return 1 - math.sqrt(max(0.0, 1 - t * t))


def _sine(t: float) -> float:
    return 1 - math.cos(t * math.pi / 2)


def _exponential(t: float) -> float:
    return 0.0 if t == 0 else 2 ** (10 * (t - 1))


def _back(t: float) -> float:
    """Goes a tenth back before it starts."""
    return t * t * (2.70158 * t - 1.70158)


def _elastic(t: float) -> float:
    if t in (0, 1):
        return t
    return -(2 ** (10 * (t - 1))) * math.sin((t - 1.075) * 2 * math.pi / 0.3)


def _bounce(t: float) -> float:
    """A ball that falls, seen from the end."""
    t = 1 - t
    for start, middle, height in (
        (1 / 2.75, 0.0, 0.0),
        (2 / 2.75, 1.5 / 2.75, 0.75),
        (2.5 / 2.75, 2.25 / 2.75, 0.9375),
        (math.inf, 2.625 / 2.75, 0.984375),
    ):
        if t < start:
            return 1 - (7.5625 * (t - middle) ** 2 + height)
    raise AssertionError("no part of the curve holds it")


_FAMILIES: tuple[Curve, ...] = (
    _back, _bounce, _circular, _power(3), _elastic, _exponential, _power(2), _power(4), _power(5),
    _sine,
)  # fmt: skip


def _out(curve: Curve) -> Curve:
    return lambda t: 1 - curve(1 - t)


def _in_out(curve: Curve) -> Curve:
    return lambda t: curve(2 * t) / 2 if t < 0.5 else 1 - curve(2 - 2 * t) / 2


def _step(t: float) -> float:
    return float(t >= 0.5)


CURVES: tuple[Curve, ...] = (
    *_FAMILIES,
    *(_out(curve) for curve in _FAMILIES),
    *(_in_out(curve) for curve in _FAMILIES),
    _step,
)


def draw_easing(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """How far a motion is in each frame: (T,) float64, 0 in the first and 1 in the last; a fifth of
    all draws are linear. One frame is at 0."""
    places = np.linspace(0, 1, num_frames) if num_frames > 1 else np.zeros(1)
    if rng.random() < LINEAR_SHARE:
        return places
    curve = CURVES[int(rng.integers(len(CURVES)))]
    return np.array([curve(float(t)) for t in places])
