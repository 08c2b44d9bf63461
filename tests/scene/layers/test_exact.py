"""Layers make up the picture again to the last bit."""

import numpy as np
import pytest

from scene.layers.exact import compose, over, split, split_all

TYPES = [np.uint8, np.uint16]


def draw(rng, kind, shape):
    """Values of the whole range, half of them at its ends."""
    top = np.iinfo(kind).max
    values = rng.integers(0, top, shape, endpoint=True)
    return np.where(
        rng.random(shape) < 0.5, values, rng.choice([0, 1, top - 1, top], shape)
    ).astype(kind)


def test_all_cases_of_8_bits():
    picture, behind = (x.ravel().astype(np.uint8)[:, None] for x in np.mgrid[:256, :256])
    for value in range(256):
        alpha = np.full_like(picture, value)
        foreground, found = split(picture, alpha, behind)
        assert np.array_equal(over(foreground, alpha, found), picture)
        if value == 255:
            assert np.array_equal(foreground, picture) and np.array_equal(found, behind)
        if value == 0:
            assert np.array_equal(found, picture) and not foreground.any()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("guessed", [False, True])
def test_three_layers(kind, guessed):
    rng = np.random.default_rng(3)
    picture, scene = draw(rng, kind, (2, 200_000, 3))
    alphas = list(draw(rng, kind, (3, 200_000, 1)))
    foregrounds = list(draw(rng, kind, (3, 200_000, 3))) if guessed else None
    layers, found = split_all(picture, alphas, scene, foregrounds)
    assert np.array_equal(compose(layers, found), picture)
    assert all(layer.alpha is alpha for layer, alpha in zip(layers, alphas))


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_picture_was_made_of_is_found_again(kind):
    """Guesses that fit stay as they are, and wrong ones come nearer to the truth."""
    rng = np.random.default_rng(4)
    top = np.iinfo(kind).max
    foreground, behind = draw(rng, kind, (2, 5000, 3))
    alpha = draw(rng, kind, (5000, 1))
    picture = over(foreground, alpha, behind)
    found, also = split(picture, alpha, behind, foreground)
    thick = alpha[:, 0] > top // 2
    assert np.abs(found.astype(int) - foreground)[thick].max() <= 2
    thin = alpha[:, 0] < top // 2  # what is behind a thick layer leaves no trace of a grey level
    assert np.abs(also.astype(int) - behind)[thin].max() <= 1
    wrong = np.clip(behind.astype(int) + top // 10, 0, top).astype(kind)
    half = (alpha > top // 4) & (alpha < 3 * (top // 4))
    off = [np.abs(b.astype(int) - behind)[half[:, 0]].mean() for b in
           (wrong, split(picture, alpha, wrong, foreground)[1])]  # fmt: skip
    assert off[1] < 0.8 * off[0]
