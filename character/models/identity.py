"""Who a picture shows, as one vector: the global half of the identity.

Axes: N pictures, H W pixels, P pixels of a small picture's side, d of the vector.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# of CLIP's own pictures (Radford et al., arXiv 2103.00020), in [0, 1]
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(nn.Module):
    """CLIP's network for pictures with its projection, frozen."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, **sizes: int) -> None:
        """sizes: of transformers' `CLIPVisionConfig`."""
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        self.clip: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes))
        self.size = self.clip.config.image_size
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, 1, d), one token each."""
        size = (self.size, self.size)
        if pictures.shape[-2:] != size:
            pictures = F.interpolate(
                pictures, size, mode="bicubic", antialias=True, align_corners=False
            )
        normal = ((pictures.clamp(-1, 1) + 1) / 2 - self.mean) / self.deviation
        return self.clip(pixel_values=normal).image_embeds[:, None]


class Thumbnail(nn.Module):
    """A stand-in for CLIP where nothing is published: a picture made small, by its first principal
    components over the people that it was fitted to. These hold which part of the body has which
    colour, where all stand alike."""

    mean: Tensor
    directions: Tensor

    LEAST = 0.01  # of the largest variance: what varies less is not made to vary more

    def __init__(self, pixels: int, projection_dim: int) -> None:
        """pixels: P. projection_dim: d."""
        super().__init__()
        self.pixels = pixels
        self.register_buffer("mean", torch.zeros(3 * pixels**2))
        self.register_buffer("directions", torch.eye(3 * pixels**2, projection_dim))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, 1, d)."""
        return ((self._small(pictures) - self.mean) @ self.directions)[:, None]

    @torch.no_grad()
    def fit(self, pictures: Tensor) -> None:
        """Let the vectors of pictures (N, 3, H, W) in [-1, 1] have a mean of 0 and spreads of
        about 1, less where they hardly vary."""
        small = self._small(pictures).double()
        values, directions = torch.linalg.eigh(torch.cov(small.T))
        dim = self.directions.shape[1]
        values, directions = values[-dim:].flip(0), directions[:, -dim:].flip(1)
        scale = (values.clamp(min=0) + self.LEAST * values.max().clamp(min=1e-6)).rsqrt()
        self.mean.copy_(small.mean(0))
        self.directions.copy_(directions * scale)

    def _small(self, pictures: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(pictures, self.pixels).flatten(1)  # (N, 3 P P)


def build_encoder(sizes: Mapping[str, int]) -> ImageEncoder | Thumbnail:
    """sizes: of CLIP's network, or the arguments of `Thumbnail`."""
    return Thumbnail(**sizes) if "pixels" in sizes else ImageEncoder(**sizes)
