"""What training means for characters: the model, the samples, one step, one evaluation.

Axes: B clips, T frames, c latent channels, h w places. Batches are those of `character.dataset`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from character.dataset import KeptClips, Sample
from character.losses import denoising_loss
from character.models import CharacterNetwork, Surface
from character.models.pieces import MOTION, motion_modules
from character.noise import NUM_STEPS, draw_noise
from character.options_train import TrainOptions
from nunif.pictures import label, tile, to_uint8
from nunif.training.task import EvalOutput, Task, TrainOutput

PREVIEW_COLUMNS = 4
GAMMA = 5.0  # min-SNR's bound, of Animate Anyone and others
SAMPLE_BIAS = 3.0


@dataclass(frozen=True)
class Recipe:
    """How noise is drawn and weighed. null_share: of clips without identity. bias: the noise level
    is 1 - u ** bias for an even u. gamma: 0 for equal weights."""

    null_share: float
    noise_offset: float
    bias: float
    gamma: float


class CharacterTask(Task):
    """Take the noise from clips whose person, movement and scene are told."""

    model: CharacterNetwork
    train_set: KeptClips
    eval_set: KeptClips | None

    pictures_in_events = 4

    def __init__(
        self,
        model: CharacterNetwork,
        train_set: KeptClips,
        eval_set: KeptClips | None,
        options: TrainOptions,
    ) -> None:
        self.model, self.train_set, self.eval_set = model, train_set, eval_set
        gamma, bias = options.snr_gamma, options.noise_bias
        # of x0 the codes tell most where little but noise is left, to which min-SNR gives no weight
        says_codes = model.schedule.target == "sample"
        if gamma is None:
            gamma = 0.0 if says_codes else GAMMA
        if bias is None:
            bias = SAMPLE_BIAS if says_codes else 1.0
        self._recipe = Recipe(options.null_share, options.noise_offset, bias, gamma)
        choose_learners(model, options.learn)

    def train_step(self, model: nn.Module, batch: Sample) -> TrainOutput:
        count = len(batch["target"])
        seen = torch.rand(count) >= self._recipe.null_share  # seeded for each batch
        losses, _ = self._losses(model, batch, seen)
        loss = losses.mean()
        return TrainOutput(loss, losses.detach(), {"denoising": loss.detach()})

    def _losses(self, model: nn.Module, batch: Sample, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(B,), and the clips without noise as they are predicted."""
        x0, schedule = batch["target"], self.model.schedule
        step = draw_steps(len(x0), self._recipe.bias).to(x0.device)
        noise = draw_noise(tuple(x0.shape), offset=self._recipe.noise_offset).to(x0)
        noisy = schedule.add_noise(x0, noise, step)
        prediction = predict(model, noisy, step, batch, use=seen.to(x0.device))
        weights = None
        if self._recipe.gamma:
            weights = schedule.loss_weights(step, gamma=self._recipe.gamma)
        truth, shares = schedule.truth(x0, noise, step), self.model.codec.shares()
        losses = denoising_loss(prediction, truth, weights, shares)
        return losses, schedule.clean(noisy, prediction.detach().to(x0), step)

    def eval_step(self, model: nn.Module, batch: Sample) -> EvalOutput:
        seen = torch.ones(len(batch["target"]), dtype=torch.bool)
        losses, clean = self._losses(model, batch, seen)
        error = (clean - batch["target"]).square().mean().item()
        show = partial(preview, self.model, {n: x[:1] for n, x in batch.items()}, clean[:1])
        return EvalOutput({"loss": losses.mean().item(), "latent_error": error}, show)

    def sample_name(self, index: int) -> str:
        return self.train_set.name(index)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is counted or gathered here."""

    def yardstick(self) -> str:
        model, recipe = self.model, self._recipe
        text = (
            f"denoising loss of {model.name}, target {model.schedule.target}, {model.size} pixels, "
            f"bias {recipe.bias:g}, gamma {recipe.gamma:g}"
        )
        return text if model.codec.shares() is None else f"{text}, channels as they are seen"


def draw_steps(count: int, bias: float) -> Tensor:
    """Noise levels (count,) from 0 to 999, the strongest most often for a bias above 1."""
    level = 1 - torch.rand(count) ** bias
    return (level * NUM_STEPS).long().clamp(max=NUM_STEPS - 1)


def predict(
    model: nn.Module, noisy: Tensor, step: Tensor, batch: Sample, *, use: Tensor | None = None
) -> Tensor:
    """What the network says of a batch; see `CharacterNetwork.forward`."""
    return model(
        noisy,
        step,
        scene=batch["scene"],
        pose=Surface(batch["face"], batch["bary"]),
        embedding=batch["embedding"],
        identity=batch["identity"],
        occlusion=batch["occlusion"],
        use=use,
    )


def choose_learners(model: CharacterNetwork, learn: str) -> None:
    """Let only a part of the model learn: "pictures", all but the layers between frames, which are
    passed over then, or "motion", these alone."""
    for name, parameter in model.named_parameters():
        is_motion = MOTION in name
        if (learn == "pictures" and is_motion) or (learn == "motion" and not is_motion):
            parameter.requires_grad_(False)
    if learn == "pictures":
        for module in motion_modules(model.denoiser):
            module.register_forward_hook(_pass_over)


def _pass_over(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return inputs[0]


def rest_motion_modules(model: CharacterNetwork) -> None:
    """Let the layers between frames change nothing at first, as AnimateDiff's do (Guo et al., arXiv
    2307.04725)."""
    for module in motion_modules(model.denoiser):
        nn.init.zeros_(module.proj_out.weight)
        nn.init.zeros_(module.proj_out.bias)


def begin_alike(model: CharacterNetwork) -> None:
    """Let the reference network begin with the decoder's weights, as both begin with those of
    Stable Diffusion where these are at hand, let what attention looks for be what it finds, and let
    the skin's codes be seen: places with the same code look at each other from the beginning on."""
    nn.init.kaiming_normal_(model.pose_guider.conv_out.weight)
    own, given = model.reference_net.state_dict(), model.denoiser.state_dict()
    for name, tensor in own.items():
        if name == "conv_in.weight":  # the decoder's has more channels behind the noisy latents
            tensor.copy_(given[name][:, : tensor.shape[1]])
        elif name in given and given[name].shape == tensor.shape:
            tensor.copy_(given[name])
    for network in (model.denoiser, model.reference_net):
        for site in model.sites:
            attention = network.get_submodule(site)
            attention.to_k.weight.data.copy_(attention.to_q.weight.data)


def preview(model: CharacterNetwork, batch: Sample, clean: Tensor) -> np.ndarray:
    """Rows of one clip: as it is, its scene, its body, and without noise as predicted."""
    frames = batch["face"].shape[1]
    pick = np.linspace(0, frames - 1, min(frames, PREVIEW_COLUMNS)).round().astype(int).tolist()
    body = (batch["face"] >= 0)[:, None].expand(-1, 3, -1, -1, -1) * 2.0 - 1
    parts = {
        "truth": model.decode(batch["target"]),
        "scene": model.decode(batch["scene"]),
        "body": body,
        "predicted": model.decode(clean),
    }
    rows = []
    for text, film in parts.items():
        row: list[np.ndarray] = list(to_uint8((film[0, :, pick].transpose(0, 1) + 1) / 2))
        row[0] = label(row[0], text)
        rows.append(row)
    return tile(rows)
