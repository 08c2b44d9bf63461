"""The schedule of noise, what is predicted, and the way back."""

import numpy as np
import pytest
import torch

from character.noise import (
    NoiseSchedule,
    alpha_bars,
    draw_noise,
    guided,
    sample,
)
from nunif.errors import UserError

STEPS = torch.tensor([0, 500, 999])


def test_the_schedule_is_stable_diffusions_brought_to_nothing_but_noise():
    plain, brought = alpha_bars(zero_snr=False), alpha_bars(zero_snr=True)
    assert plain[0].item() == pytest.approx(1 - 0.00085)
    assert plain[-1].item() == pytest.approx(0.0046602, abs=1e-6)
    assert brought[0].item() == pytest.approx(1 - 0.00085) and brought[-1].item() == 0
    assert bool((brought.diff() < 0).all())


def test_what_is_predicted_leads_back_to_the_latents():
    x0, eps = torch.full((3, 1, 1, 1, 1), 0.6), torch.full((3, 1, 1, 1, 1), -0.8)
    for target in ("v", "sample"):
        schedule = NoiseSchedule(target=target)
        noisy = schedule.add_noise(x0, eps, STEPS)
        assert torch.allclose(noisy[2], eps[2])
        truth = schedule.truth(x0, eps, STEPS)
        assert torch.allclose(schedule.clean(noisy, truth, STEPS), x0, atol=1e-6)
    schedule = NoiseSchedule(target="epsilon", zero_snr=False)
    noisy = schedule.add_noise(x0, eps, STEPS)
    assert torch.allclose(schedule.clean(noisy, eps, STEPS), x0, atol=1e-5)


def test_min_snr_weights():
    """s = abar / (1 - abar): at step 0 it is 1175, at step 500 0.34 without zero SNR."""
    steps = torch.tensor([0, 500])
    abar = alpha_bars(zero_snr=False)[500].item()
    low = abar / (1 - abar)
    wanted = {
        "sample": [5, low],
        "epsilon": [5 * 0.00085 / 0.99915, 1],
        "v": [5 * 0.00085, low / (low + 1)],
    }
    for target, weights in wanted.items():
        schedule = NoiseSchedule(target=target, zero_snr=False)
        assert np.allclose(schedule.loss_weights(steps).numpy(), weights, rtol=1e-5), target
    # where nothing but noise is left, only x0 has nothing to be learned from
    assert NoiseSchedule(target="v").loss_weights(torch.tensor([999])).tolist() == [0]


def test_noise_as_target_is_refused_where_the_last_step_is_nothing_else():
    with pytest.raises(
        UserError, match="--target epsilon can't be sampled with a schedule of zero"
    ):
        NoiseSchedule(target="epsilon", zero_snr=True)


def test_noise_with_an_offset_has_the_spread_of_both():
    rng = torch.Generator().manual_seed(0)
    noise = draw_noise((8, 4, 16, 8, 8), rng, offset=0.5)
    assert noise.mean((3, 4)).std().item() == pytest.approx((0.25 + 1 / 64) ** 0.5, abs=0.04)
    assert draw_noise((8, 4, 16, 8, 8), rng).mean((3, 4)).std().item() < 0.15


def test_guidance_goes_from_nobody_to_the_person_and_beyond():
    assert guided(torch.tensor(3.0), torch.tensor(1.0), 3.5).item() == 8


@pytest.mark.parametrize("target, zero_snr", [("v", True), ("sample", True), ("epsilon", False)])
def test_one_who_knows_finds_the_latents_from_noise(target, zero_snr):
    """The network is replaced by one that knows x0 and answers what follows from it."""
    pytest.importorskip("diffusers", reason="sampling comes with the extra [character]")
    schedule = NoiseSchedule(target=target, zero_snr=zero_snr)
    rng = torch.Generator().manual_seed(1)
    x0 = torch.randn(1, 4, 3, 8, 8, generator=rng)

    def knows(noisy: torch.Tensor, step: int) -> torch.Tensor:
        keep, noise = schedule.weights(torch.tensor([step]), noisy)
        return schedule.truth(x0, (noisy - keep * x0) / noise, torch.tensor([step]))

    noise = torch.randn(x0.shape, generator=rng)
    *_, found = sample(knows, noise, schedule, num_steps=20)
    assert (found - x0).abs().max() <= 1e-5
