"""Networks that tell filled clips from true ones.

Axes: B batch, T frames, C channels, H W pixels.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

CHANNELS = 32
LEAKY_SLOPE = 0.2


class TemporalPatchGAN(nn.Module):
    """T-PatchGAN: one score for every patch of space and time.

    Six 3D convolutions of 3x5x5, the sides halved by each but never the time, with spectral
    normalisation. Source: Chang et al., Free-form Video Inpainting with 3D Gated Convolution and
    Temporal PatchGAN (ICCV 2019), as used by DSTT.
    """

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        widths = [3, channels, 2 * channels, 4 * channels, 4 * channels, 4 * channels, 4 * channels]
        layers: list[nn.Module] = []
        for i, (narrow, wide) in enumerate(zip(widths[:-1], widths[1:])):
            last = i == len(widths) - 2
            layer = nn.Conv3d(narrow, wide, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=last)
            layers += [layer if last else spectral_norm(layer)] + (
                [] if last else [nn.LeakyReLU(LEAKY_SLOPE)]
            )
        self.layers = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [-1, 1] -> scores (B, patches), high for what looks true."""
        return self.layers(frames.transpose(1, 2)).flatten(1)


DISCRIMINATORS: dict[str, Callable[[], TemporalPatchGAN]] = {"t_patch_gan": TemporalPatchGAN}
