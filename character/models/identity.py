"""Who a picture shows, as one vector of CLIP: the global half of the identity.

Axes: N pictures, H W pixels.
"""

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
