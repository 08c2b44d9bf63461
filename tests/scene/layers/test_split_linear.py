"""Layers in linear light make up the film's numbers again."""

import numpy as np
import pytest

from nunif.video.tone import HLG, PQ, ToneMap
from scene.layers.spaces import Linear, compose
from tests.scene.layers.test_exact import TYPES, draw

NUM = 340_000  # pixels of three colours: a million cases


def of_srgb(light):
    """Of the light the code from 0 to 1: IEC 61966-2-1, as other programs have it."""
    light = light.astype(np.float64)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("guessed", [False, True])
def test_a_million_cases_of_three_layers(kind, guessed):
    rng = np.random.default_rng(6)
    picture, scene = draw(rng, kind, (2, NUM, 3))
    alphas = list(draw(rng, kind, (3, NUM, 1)))
    guesses = list(draw(rng, kind, (3, NUM, 3))) if guessed else [None] * 3
    space = Linear(kind, None)
    layers, found = space.split(picture, alphas, scene, guesses)
    stored = np.float16 if kind == np.uint8 else np.float32
    assert all(x.dtype == stored for x in (found, layers[0].foreground, layers[0].alpha))
    composed = compose(space, layers, found)
    assert np.array_equal(space.take_out(composed), picture)
    top = np.iinfo(kind).max
    assert np.array_equal(np.rint(of_srgb(composed) * top), picture)
    # premultiplied: no colour is brighter than white, but for what rounding makes of it
    for layer in layers:
        assert (layer.foreground <= layer.alpha * np.float32(1.001)).all()
    # one layer: what is behind is the guess, where that is possible, and the film where nothing is
    (layer,), found = space.split(picture, alphas[:1], scene, guesses[:1])
    full, none = (alphas[0][:, 0] == end for end in (top, 0))
    assert np.array_equal(found[full], space.put_in(scene)[full])
    assert np.array_equal(found[none], space.put_in(picture)[none])
    assert not layer.foreground[none].any()


@pytest.mark.parametrize("transfer", [PQ, HLG, 8, 0])
def test_every_number_of_16_bits_comes_back(transfer):
    numbers = np.arange(65536, dtype=np.uint16)
    space = Linear(np.uint16, ToneMap(transfer, 9))
    rng = np.random.default_rng(7)
    scene, alphas = numbers[::-1], [draw(rng, np.uint16, (65536,)) for _ in range(2)]
    layers, found = space.split(numbers, alphas, scene, [None, None])
    assert np.array_equal(space.take_out(compose(space, layers, found)), numbers)
    light = space.put_in(numbers)
    assert np.array_equal(space.take_out(light), numbers)
    assert {PQ: 10000 / 203, HLG: 1.0, 8: 1.0, 0: 1.0}[transfer] == pytest.approx(light[-1], 1e-5)
