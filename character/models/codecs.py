"""Pictures as latents and back.

Axes: N pictures, H W pixels, h w places, c latent channels.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 4
# the standard deviations of the coefficients over the pictures that a fresh codec is used for
USUAL_DEVIATIONS = (2.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.5, 0.1, 0.1, 0.5, 0.1, 0.1)
LUMA, CHROMA = 6, 3  # how many of the lowest coefficients are kept
# BT.601, full range, of values in [-1, 1]
TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735891647856, -0.331264108352144, 0.5),
    (0.5, -0.418687589158345, -0.081312410841655),
)
KL_SCALE = 0.18215  # of Stable Diffusion 1


def lowest(count: int) -> list[tuple[int, int]]:
    """(row, column) of the `count` lowest frequencies of a block, by their sum, then by row."""
    every = [(u, v) for u in range(BLOCK) for v in range(BLOCK)]
    return sorted(every, key=lambda place: (sum(place), place[0]))[:count]


def dct_filters() -> Tensor:
    """The kept coefficients of a block of RGB in [-1, 1], each as an orthonormal filter but for the
    change of colours: (c, 3, BLOCK, BLOCK) before that change, in Y, Cb, Cr."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    waves = torch.cos(math.pi * (place[None] + 0.5) * place[:, None] / BLOCK)  # (u, x)
    waves = waves * torch.where(place == 0, math.sqrt(1 / BLOCK), math.sqrt(2 / BLOCK))[:, None]
    filters = []
    for channel, count in enumerate((LUMA, CHROMA, CHROMA)):
        for u, v in lowest(count):
            one = torch.zeros(3, BLOCK, BLOCK, dtype=torch.float64)
            one[channel] = waves[u][:, None] * waves[v][None]
            filters.append(one)
    return torch.stack(filters)


class DctCodec(nn.Module):
    """The lowest coefficients of blocks of 4 x 4, in YCbCr, each by its standard deviation: nothing
    to learn, 4 times smaller, 12 channels."""

    deviations: Tensor
    filters: Tensor
    colours: Tensor

    factor = BLOCK
    channels = LUMA + 2 * CHROMA

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("deviations", torch.tensor(USUAL_DEVIATIONS))
        self.register_buffer("filters", dct_filters().float(), persistent=False)
        self.register_buffer("colours", torch.tensor(TO_YCC), persistent=False)

    def encode(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, 12, H / 4, W / 4)."""
        return self._coefficients(pictures) / self.deviations[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """(N, 12, h, w) -> (N, 3, 4 h, 4 w), which may leave [-1, 1]."""
        coefficients = latents * self.deviations[:, None, None]
        ycc = F.conv_transpose2d(coefficients, self.filters, stride=BLOCK)
        return torch.einsum("rc,ncyx->nryx", torch.linalg.inv(self.colours), ycc)

    def shares(self) -> Tensor | None:
        """How much an error counts in each channel, 1 on average: as much as it is seen, by the
        spreads that the channels were divided by."""
        return self.deviations / self.deviations.mean()

    @torch.no_grad()
    def measure(self, pictures: Tensor) -> None:
        """Set the deviations to those of pictures (N, 3, H, W) in [-1, 1]."""
        coefficients = self._coefficients(pictures)
        self.deviations.copy_(coefficients.std(dim=(0, 2, 3)).clamp(min=1e-3))

    def _coefficients(self, pictures: Tensor) -> Tensor:
        ycc = torch.einsum("cr,nryx->ncyx", self.colours, pictures)
        return F.conv2d(ycc, self.filters, stride=BLOCK)


class KlCodec(nn.Module):
    """The autoencoder of Stable Diffusion 1, frozen: 8 times smaller, 4 channels."""

    factor = 8
    channels = 4

    def __init__(self, widths: tuple[int, ...] = (128, 256, 512, 512), groups: int = 32) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        count = len(widths)
        self.vae: Any = AutoencoderKL(
            block_out_channels=widths,
            down_block_types=("DownEncoderBlock2D",) * count,
            up_block_types=("UpDecoderBlock2D",) * count,
            layers_per_block=2,
            latent_channels=self.channels,
            norm_num_groups=groups,
        )
        self.factor = 2 ** (count - 1)

    def encode(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, 4, H / 8, W / 8): the mean, not a sample of it."""
        return self.vae.encode(pictures).latent_dist.mode() * KL_SCALE

    def shares(self) -> Tensor | None:
        """All alike."""
        return None

    def decode(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents / KL_SCALE).sample


CODECS = {"dct": DctCodec, "kl": KlCodec}
