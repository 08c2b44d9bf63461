"""Lift a small matte to the size of the picture, along its edges.

A guided filter (He et al., "Fast Guided Filter", arXiv 1505.00996) explains the small matte as a
linear function of the small picture, window by window, and applies it to the large one. The deep
one (Wu et al., arXiv 1803.05619) has a small network find the factors.

Axes: N pictures, H W pixels of the large picture, h w of the small one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to the variance: how flat a window has to be to count as flat


def _with_grey(rgb: Tensor) -> Tensor:
    """(N, 3, ., .) -> (N, 4, ., .): one guide for each channel of the matte."""
    return torch.cat([rgb, rgb.mean(1, keepdim=True)], 1)


def _apply(factor: Tensor, offset: Tensor, guide: Tensor) -> Tensor:
    """The linear functions of the small picture on the large one, (N, 4, H, W)."""
    size = guide.shape[-2:]
    factor, offset = (
        F.interpolate(x, size, mode="bilinear", align_corners=False) for x in (factor, offset)
    )
    return factor * guide + offset


class FastGuidedFilter(nn.Module):
    """(picture (N, 3, H, W), small picture (N, 3, h, w), small matte (N, 4, h, w), its hidden map
    (N, 16, h, w)) -> matte (N, 4, H, W). It has no weights and does not look at the hidden map."""

    def forward(self, picture: Tensor, small: Tensor, matte: Tensor, hidden: Tensor) -> Tensor:
        guide = _with_grey(small)
        # outside the picture is 0, which counts
        mean_x, mean_y, mean_xy, mean_xx = F.avg_pool2d(
            torch.cat([guide, matte, guide * matte, guide * guide], 1), 3, stride=1, padding=1
        ).chunk(4, 1)
        factor = (mean_xy - mean_x * mean_y) / (mean_xx - mean_x * mean_x + EPSILON)
        return _apply(factor, mean_y - factor * mean_x, _with_grey(picture))


class DeepGuidedFilter(nn.Module):
    """As `FastGuidedFilter`, with factors by a network, and windows whose weights are learned."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.window = nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=4)
        nn.init.constant_(self.window.weight, 1 / 9)
        self.factor = nn.Sequential(
            nn.Conv2d(8 + hidden, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(True),
            nn.Conv2d(hidden, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(True),
            nn.Conv2d(hidden, 4, 1),
        )

    def forward(self, picture: Tensor, small: Tensor, matte: Tensor, hidden: Tensor) -> Tensor:
        guide = _with_grey(small)
        mean_x, mean_y = self.window(guide), self.window(matte)
        covariance = self.window(guide * matte) - mean_x * mean_y
        variance = self.window(guide * guide) - mean_x * mean_x
        factor = self.factor(torch.cat([covariance, variance, hidden], 1))
        return _apply(factor, mean_y - factor * mean_x, _with_grey(picture))


REFINERS: dict[str, type[FastGuidedFilter] | type[DeepGuidedFilter]] = {
    "deep_guided_filter": DeepGuidedFilter,
    "fast_guided_filter": FastGuidedFilter,
}
