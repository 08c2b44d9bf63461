"""Training against a discriminator: hinge losses and the weight of the adversarial one.

Axes: B batch, T frames, H W pixels. Clips are (B, T, 3, H, W) in [-1, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inpaint.models.discriminator import TemporalPatchGAN

LARGEST_RATIO = 1e4


@dataclass
class Adversary:
    """A discriminator and how it takes part.

    weight: see `adaptive_weight`. warmup: batches that the model trains alone before.
    iterations: training batches that it was asked for.
    """

    discriminator: TemporalPatchGAN
    weight: float
    warmup: int
    iterations: int = 0

    def judge(
        self, model: nn.Module, loss: Tensor, filled: Tensor, truth: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """What one training batch adds: the weighted adversarial loss and the discriminator's own,
        both scalars.

        None while the model warms up. The gradient of the first reaches only the model, that of the
        second only the discriminator. Counts the batch.

        Args: loss: the model's other loss, a scalar. filled: the truth with the model's prediction
            in the holes.
        """
        self.iterations += 1
        if self.iterations <= self.warmup:
            return None
        self.discriminator.requires_grad_(False)
        generator_loss = -self.discriminator(filled).mean()
        weight = self.weight * adaptive_weight(loss, generator_loss, last_weight(model))
        self.discriminator.requires_grad_(True)
        return weight * generator_loss, hinge_loss(
            self.discriminator(truth), self.discriminator(filled.detach())
        )


def hinge_loss(true_scores: Tensor, filled_scores: Tensor) -> Tensor:
    """Mean of max(0, 1 - score) over what is true and max(0, 1 + score) over what is filled,
    halved: 1 for all 0.

    Lim and Ye, Geometric GAN (2017), as DSTT uses it.
    """
    return (F.relu(1 - true_scores).mean() + F.relu(1 + filled_scores).mean()) / 2


def adaptive_weight(loss: Tensor, generator_loss: Tensor, weight: Tensor) -> Tensor:
    """How much larger the gradient of the loss is than the adversarial one's at a layer's weights,
    at most 10,000.

    Multiplied with it, both pull equally hard there. Esser et al., Taming Transformers for
    High-Resolution Image Synthesis (CVPR 2021), equation 7.
    """
    pulls = [
        torch.autograd.grad(x, weight, retain_graph=True)[0].norm() for x in (loss, generator_loss)
    ]
    return (pulls[0] / (pulls[1] + 1e-6)).clamp(0, LARGEST_RATIO).detach()


def last_weight(model: nn.Module) -> Tensor:
    """The weights of the layer that makes the picture, `to_image` in every model of ours, or
    chooses it, `to_logit`."""
    return next(
        layer.weight
        for name, layer in model.named_modules()
        if name.endswith(("to_image", "to_logit"))
    )  # type: ignore[return-value]
