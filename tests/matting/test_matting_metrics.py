"""The scores of a matte, against numbers of Robust Video Matting's evaluation."""

import numpy as np
import pytest

from matting.metrics import foreground_errors, gradient_error, matte_scores, sad
from tests.matting.weights import pictures

# what its evaluation gave for these mattes; it doesn't report the sum of differences
REFERENCE = {
    "soft": (191.42083740, 56.87180328, 0.152019083, 0.512157380, 24.834953784),
    "8 bits": (191.36599731, 56.86133193, 0.151821658, 0.510997056, 24.831099987),
    "binary": (272.96575927, 95.88020324, 0.992650568, 0.639613509, 33.410625457),
    "empty": (106.21210479, 12.59844589, 0.407821118, 0.046683102, 4.237010359),
    "full": (4.57589292, 4.57589292, 0.045200720, 0.010250000, 7.127936601),
}


def mattes(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A clip's matte and its truth, (4, 40, 56)."""
    soft, other = (pictures(4, 1, 40, 56, seed=seed).numpy()[:, 0] for seed in (6, 7))
    return {
        "soft": (soft, other),
        "8 bits": (np.round(soft * 255) / np.float32(255), np.round(other * 255) / np.float32(255)),
        "binary": (np.clip(soft * 1.5 - 0.25, 0, 1), (soft > 0.5).astype(np.float32)),
        "empty": (soft * np.float32(0.2), np.zeros_like(soft)),
        "full": (np.ones_like(soft), (other > 0.1).astype(np.float32)),
    }[name]


@pytest.mark.parametrize("name", list(REFERENCE))
def test_the_numbers_of_robust_video_matting(name):
    alphas, truths = mattes(name)
    scores = matte_scores(alphas, truths)
    assert list(scores) == ["mad", "mse", "sad", "grad", "conn", "dtssd"]
    del scores["sad"]
    assert list(scores.values()) == pytest.approx(REFERENCE[name], rel=1e-5)


def test_the_sum_of_differences():
    truth = np.zeros((40, 56))
    assert sad(np.full((40, 56), 0.5), truth) == pytest.approx(40 * 56 * 0.5 / 1000)


def test_the_truth_is_perfect_and_a_still_clip_does_not_flicker():
    alphas, _ = mattes("soft")
    assert set(matte_scores(alphas, alphas).values()) == {0.0}
    still = np.repeat(alphas[:1], 3, 0)
    assert matte_scores(still * 0.5, still)["dtssd"] == 0


def test_the_first_frame_counts_as_unchanged():
    truth = np.zeros((2, 4, 4))
    flicker = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    assert matte_scores(flicker, truth)["dtssd"] == pytest.approx(50)


def test_the_gradient_of_large_pictures_is_not_stretched():
    alphas, truths = mattes("soft")
    stretched, plain = (gradient_error(alphas[0], truths[0], stretch=x) for x in (True, False))
    assert stretched > 1.05 * plain


def test_foreground_counts_where_there_is_some():
    truth = np.zeros((2, 2, 3))
    colours = np.full((2, 2, 3), 0.5)
    colours[0, 0] = 0.1
    alpha = np.zeros((2, 2))
    alpha[0, 0] = 0.01
    assert foreground_errors(colours, truth, alpha) == pytest.approx((100, 10))
    assert np.isnan(foreground_errors(colours, truth, np.zeros((2, 2)))).all()
