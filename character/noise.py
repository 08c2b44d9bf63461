"""Noise: how much of it there is at each of the steps, what a network is to predict of it, and the
way back.

The schedule is Stable Diffusion's ("scaled_linear"), brought to nothing but noise at its last step
(Lin et al., arXiv 2305.08891); sampling is DDIM (Song et al., arXiv 2010.02502), by diffusers.

x0: latents without noise; eps: noise; abar: the share of x0's power at a step. Tensors are (B, ...)
with a step (B,) for each.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nunif.errors import UserError

NUM_STEPS = 1000
FIRST_BETA, LAST_BETA = 0.00085, 0.012
TARGETS = ("v", "epsilon", "sample")
PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon", "sample": "sample"}  # diffusers' words


class NoiseSchedule:
    """How much noise there is at which step, from 0 to 999, and what is predicted.

    target: "v", which is sqrt(abar) eps - sqrt(1 - abar) x0; "epsilon", the noise; or "sample", x0.
    zero_snr: nothing but noise is left at the last step.
    """

    def __init__(self, *, target: str = "v", zero_snr: bool = True) -> None:
        """
        Raises:
            UserError: the noise as target with a last step that is nothing but noise.
        """
        check_target(target, zero_snr)
        self.target, self.zero_snr = target, zero_snr
        self.abar = alpha_bars(zero_snr=zero_snr)  # (1000,) float64

    def add_noise(self, x0: Tensor, eps: Tensor, step: Tensor) -> Tensor:
        """The latents at a step."""
        keep, noise = self.weights(step, x0)
        return keep * x0 + noise * eps

    def truth(self, x0: Tensor, eps: Tensor, step: Tensor) -> Tensor:
        """What a network is to predict."""
        if self.target == "sample":
            return x0
        if self.target == "epsilon":
            return eps
        keep, noise = self.weights(step, x0)
        return keep * eps - noise * x0

    def clean(self, noisy: Tensor, prediction: Tensor, step: Tensor) -> Tensor:
        """x0, as a prediction has it."""
        if self.target == "sample":
            return prediction
        keep, noise = self.weights(step, noisy)
        if self.target == "epsilon":
            return (noisy - noise * prediction) / keep
        return keep * noisy - noise * prediction

    def loss_weights(self, step: Tensor, *, gamma: float = 5.0) -> Tensor:
        """(B,): the weights of squared errors by min-SNR (Hang et al., arXiv 2303.09556), for what
        is predicted. With s = abar / (1 - abar): min(s, gamma) for x0, / s for eps, / (s + 1) for
        v."""
        abar = self.abar.to(step.device)[step]
        ratio = abar / (1 - abar)
        capped = ratio.clamp(max=gamma)
        if self.target == "epsilon":
            capped = capped / ratio
        elif self.target == "v":
            capped = capped / (ratio + 1)
        return capped.float()

    def weights(self, step: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of x0 and of the noise in the latents at a step, (B, 1, ...) each."""
        abar = self.abar.to(step.device)[step].reshape(-1, *[1] * (like.dim() - 1))
        return abar.sqrt().to(like), (1 - abar).sqrt().to(like)


def check_target(target: str, zero_snr: bool) -> None:
    """Raises UserError: see `NoiseSchedule`."""
    if target == "epsilon" and zero_snr:
        raise UserError(
            "--target epsilon can't be sampled with a schedule of zero terminal SNR, whose last "
            "step holds nothing but noise: choose --target v or sample, or --no-zero-snr"
        )


def alpha_bars(*, zero_snr: bool) -> Tensor:
    """(1000,) float64: abar at every step."""
    roots = torch.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, NUM_STEPS, dtype=torch.float64)
    keeps = (1 - roots**2).cumprod(0).sqrt()
    if zero_snr:
        # shifted so that the last is 0, and stretched so that the first stays
        keeps = (keeps - keeps[-1]) * keeps[0] / (keeps[0] - keeps[-1])
    return keeps**2


def draw_noise(
    shape: tuple[int, ...], generator: torch.Generator | None = None, *, offset: float = 0.0
) -> Tensor:
    """Noise (B, c, T, h, w) for training; offset: the spread of what is added to all places of a
    channel of a frame (a clip's brightness is learned by it)."""
    noise = torch.randn(shape, generator=generator)
    if offset:
        places = (*shape[:-2], 1, 1)
        noise = noise + offset * torch.randn(places, generator=generator)
    return noise


Predict = Callable[[Tensor, int], Tensor]  # noisy latents and a step: the prediction


def sample(
    predict: Predict, noise: Tensor, schedule: NoiseSchedule, *, num_steps: int
) -> Iterator[Tensor]:
    """DDIM from noise to latents, without new noise on the way: the latents after each of the
    steps. noise: what to begin with."""
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler(
        num_train_timesteps=NUM_STEPS,
        beta_start=FIRST_BETA,
        beta_end=LAST_BETA,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type=PREDICTIONS[schedule.target],
        rescale_betas_zero_snr=schedule.zero_snr,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(num_steps)
    latents = noise
    for step in scheduler.timesteps.tolist():
        latents = scheduler.step(predict(latents, step), step, latents).prev_sample
        yield latents


def guided(with_identity: Tensor, without: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): away from the prediction for
    nobody in particular."""
    return without + scale * (with_identity - without)
