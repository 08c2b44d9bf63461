"""The losses of a matte, against numbers of Robust Video Matting's own."""

import pytest
import torch

from matting.losses import (
    composition_loss,
    gradient_loss,
    laplacian_bands,
    matting_losses,
    perceptual_loss,
    person_loss,
)
from tests.matting.weights import pictures


def clips() -> tuple[torch.Tensor, ...]:
    """Foreground, alpha, and their truth."""
    colours = [pictures(2, 3, 3, 75, 90, seed=seed) for seed in (3, 4)]
    alpha, truth = (pictures(2, 3, 1, 75, 90, seed=seed) for seed in (1, 2))
    return colours[0], alpha, colours[1], (truth - 0.5).clamp(0, 1) * 2


def test_the_numbers_of_robust_video_matting():
    parts = {name: value.item() for name, value in matting_losses(*clips()).items()}
    assert parts == pytest.approx(
        {
            "alpha": 0.39442598819732666,
            "laplacian": 0.47082680463790894,
            "alpha_change": 0.7134156227111816,
            "foreground": 0.09725572168827057,
            "foreground_change": 0.2917356491088867,
        },
        rel=1e-6,
    )


def test_the_truth_has_no_loss():
    _, _, foreground, alpha = clips()
    parts = matting_losses(foreground, alpha, foreground, alpha)
    assert {value.item() for value in parts.values()} == {0.0}


def test_a_single_frame_does_not_change():
    foreground, alpha, true_foreground, true_alpha = (x[:, :1] for x in clips())
    alpha = alpha.clone().requires_grad_()
    parts = matting_losses(foreground, alpha, true_foreground, true_alpha)
    assert parts["alpha_change"].item() == parts["foreground_change"].item() == 0
    sum(parts.values()).backward()
    assert alpha.grad is not None
    assert alpha.grad.isfinite().all()


def test_colours_count_only_where_something_is_seen():
    foreground, alpha, true_foreground, true_alpha = clips()
    other = torch.where(true_alpha > 0, foreground, 1 - foreground)
    parts, same = (
        matting_losses(f, alpha, true_foreground, true_alpha) for f in (foreground, other)
    )
    assert all(torch.equal(parts[name], same[name]) for name in parts)


def test_gradients_are_those_of_the_sums():
    torch.manual_seed(0)
    alpha = torch.rand(1, 2, 1, 64, 64, dtype=torch.float64)
    truth = torch.rand(1, 2, 1, 64, 64, dtype=torch.float64)
    direction = torch.randn_like(alpha)
    place = torch.zeros((), dtype=torch.float64, requires_grad=True)
    colours = torch.zeros(1, 2, 3, 64, 64, dtype=torch.float64)

    def loss(step):
        return sum(matting_losses(colours, alpha + step * direction, colours, truth).values())

    assert torch.autograd.gradcheck(loss, (place,), eps=1e-7, atol=1e-5)


def test_the_pyramid_puts_the_picture_together_again():
    """What a band takes away from the next one is what is left; the sizes halve."""
    bands = laplacian_bands(pictures(1, 1, 75, 90, seed=1))
    assert [tuple(band.shape[-2:]) for band in bands] == [
        (74, 90), (36, 44), (18, 22), (8, 10), (4, 4),
    ]  # fmt: skip
    flat = laplacian_bands(torch.full((1, 1, 64, 64), 0.3))
    assert all(band.abs().max() < 1e-6 for band in flat)


def test_small_pictures_are_refused():
    small = torch.zeros(1, 1, 1, 63, 90)
    colours = torch.zeros(1, 1, 3, 63, 90)
    with pytest.raises(ValueError, match=r"pictures of \(63, 90\) are too small: 64 pixels"):
        matting_losses(colours, small, colours, small)


def test_the_others():
    foreground, alpha, background, _ = clips()
    frame = alpha * foreground + (1 - alpha) * background
    assert composition_loss(alpha, foreground, background, frame).item() == 0
    assert composition_loss(alpha, foreground, background, frame + 0.25).item() == pytest.approx(
        0.25
    )
    assert gradient_loss(alpha, alpha + 0.5).item() == pytest.approx(0, abs=1e-6)
    ramp = torch.linspace(0, 0.63, 64).expand(1, 1, 1, 64, 64)  # 0.01 a pixel, Sobel gives 8 times
    inside = gradient_loss(ramp, torch.zeros_like(ramp)).item()
    assert inside == pytest.approx((62 * 0.08 + 2 * 0.04) / 64 / 2, rel=1e-5)
    logits, mask = torch.tensor([0.0, 20.0]), torch.tensor([1.0, 1.0])
    assert person_loss(logits, mask).item() == pytest.approx(0.6931472 / 2)


def test_how_a_frame_put_together_again_looks():
    foreground, alpha, background, _ = clips()
    frame = alpha * foreground + (1 - alpha) * background
    seen = []

    def distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return (x - y).abs().mean((1, 2, 3))

    assert perceptual_loss(alpha, foreground, background, frame, distance).item() == 0
    error = perceptual_loss(alpha, foreground, background, frame + 0.25, distance)
    assert error.item() == pytest.approx(0.5)  # of pictures in [-1, 1]
    assert seen[0].shape == (6, 3, 75, 90) and seen[0].min() < 0 < seen[0].max() <= 1
