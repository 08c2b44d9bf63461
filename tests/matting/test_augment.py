"""What is done to clips on their way into training."""

import numpy as np
import pytest
import torch

from matting.augment import (
    OF_STILLS,
    OF_VIDEOS,
    Layers,
    Probabilities,
    add_noise,
    affine,
    augment,
    blur,
    change_colours,
    grey,
    sample,
    settle,
    sharpen,
)
from matting.easing import CURVES, draw_easing
from tests.matting.weights import pictures

EVERYTHING = Probabilities(*[1.0] * len(Probabilities.__dataclass_fields__))


def layers(*, occluded: bool = True) -> Layers:
    """A clip of four frames whose person covers the middle, behind a bar."""
    alpha = torch.zeros(4, 1, 40, 60)
    alpha[:, :, 10:30, 20:40] = 1
    cover = torch.zeros(4, 1, 40, 60)
    cover[:, :, :, 35:45] = 1
    occluder = torch.cat([pictures(4, 3, 40, 60, seed=3), cover], 1) if occluded else None
    visible = alpha * (1 - cover) if occluded else alpha
    return Layers(pictures(4, 3, 40, 60, seed=1), visible, occluder, pictures(4, 3, 50, 50, seed=2))


def test_easing_runs_from_start_to_end():
    for curve in CURVES:
        assert curve(0) == pytest.approx(0, abs=1e-3)
        assert curve(1) == pytest.approx(1, abs=1e-3)
    assert len(CURVES) == 31
    rng = np.random.default_rng(0)
    draws = [draw_easing(5, rng) for _ in range(200)]
    linear = sum(np.allclose(draw, [0, 0.25, 0.5, 0.75, 1]) for draw in draws)
    assert 20 <= linear <= 60
    assert list(draw_easing(1, rng)) == [0]


def test_a_picture_is_moved_as_its_matrix_says():
    picture = torch.zeros(1, 1, 8, 8)
    picture[0, 0, 2, 3] = 1
    same = sample(picture, affine(0, (0, 0), 1, 0)[None], 8, extend=False)
    assert torch.allclose(same, picture, atol=1e-6)
    moved = sample(picture, affine(0, (2 / 8, 1 / 8), 1, 0)[None], 8, extend=False)
    assert moved[0, 0, 3, 5] == pytest.approx(1, abs=1e-5)
    turned = sample(picture, affine(90, (0, 0), 1, 0)[None], 8, extend=False)
    # (x, y) from the middle is (-0.5, -1.5); turned by a quarter, y pointing down, (1.5, -0.5)
    assert turned[0, 0, 3, 5] == pytest.approx(1, abs=1e-5)
    twice = sample(torch.ones(1, 1, 8, 8), affine(0, (0, 0), 0.5, 0)[None], 8, extend=False)
    assert twice[0, 0].sum() == pytest.approx(16, abs=0.1)
    wide = torch.arange(12.0).expand(1, 1, 6, 12)
    middle = sample(wide, np.eye(3)[None], 6, extend=True)
    assert middle[0, 0, 0].tolist() == pytest.approx([3, 4, 5, 6, 7, 8], abs=1e-4)


@pytest.mark.parametrize("chances", [OF_VIDEOS, OF_STILLS, EVERYTHING], ids=["v", "s", "all"])
def test_what_comes_out_is_a_clip(chances):
    for seed in range(6):
        changed = augment(layers(), 48, np.random.default_rng(seed), chances)
        frames = changed.compose()
        assert frames.shape == (4, 3, 48, 48)
        assert changed.occluder is not None
        for x in (frames, changed.alpha, changed.foreground, changed.background):
            assert 0 <= x.min()
            assert x.max() <= 1
        assert (changed.alpha + changed.occluder[:, 3:]).max() <= 1 + 1e-6
        # the definition that records are made by
        cover = changed.occluder[:, 3:]
        scene = cover * changed.occluder[:, :3] + (1 - cover) * changed.background
        wanted = scene + changed.alpha * (changed.foreground - changed.background)
        assert (frames - wanted.clamp(0, 1)).abs().max() <= 1e-6


def test_the_same_generator_gives_the_same_clip():
    one, same, other = (
        augment(layers(), 48, np.random.default_rng(seed)).compose() for seed in (5, 5, 6)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_an_evaluation_only_places():
    changed = settle(layers(occluded=False), 48, np.random.default_rng(1))
    assert changed.foreground.shape == (4, 3, 48, 48)
    assert changed.occluder is None
    still = changed.alpha
    assert torch.allclose(still[0], still[3], atol=1e-6)  # nothing moves that did not before


def test_colours():
    x = pictures(2, 3, 8, 8, seed=1)
    unchanged = change_colours(x, np.array([[1, 1, 1, 0.0]] * 2))
    assert torch.allclose(unchanged, x, atol=1e-6)
    assert torch.allclose(change_colours(x, np.array([[0.5, 1, 1, 0]] * 2)), x / 2, atol=1e-6)
    pale = change_colours(x, np.array([[1, 1, 0.0, 0]] * 2))
    assert torch.allclose(pale, grey(x), atol=1e-5)
    red = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1)
    green = change_colours(red, np.array([[1, 1, 1, 1 / 3]]))
    assert green.flatten().tolist() == pytest.approx([0.2, 0.8, 0.2], abs=1e-5)


def test_noise_sharpness_and_blur():
    x = torch.full((2, 3, 16, 16), 0.5)
    noisy = add_noise(x, np.random.default_rng(1))
    assert 0 < (noisy - x).abs().mean() < 0.3
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.allclose(sharpen(x, 5), x)
    edge = torch.zeros(1, 1, 16, 16)
    edge[..., 8:] = 0.5
    assert sharpen(edge, 1)[0, 0, 8, 8] > 0.6
    assert blur(edge, 2)[0, 0, 8, 7:9].tolist() == pytest.approx([0.2, 0.3], abs=0.02)
    assert torch.allclose(blur(x, 10), x, atol=1e-5)
