"""What the network sees with: backbones of timm, cut down to four maps at 1/2, 1/4, 1/8 and 1/16.

Axes: N pictures (clips are folded into it), C channels, H W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import timm
import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Recipe:
    """How a backbone of timm becomes an encoder.

    timm_name: of the backbone. levels: which of its maps are taken, at 1/2, 1/4, 1/8 and 1/16.
    output_stride: 16 where the last map would be at 1/32 and keeps its place instead; None where
        no map is there. mean, std: what colours in [0, 1] are normalised by; None for not at all.
    finish: what timm leaves to be done.
    """

    timm_name: str
    levels: tuple[int, int, int, int]
    output_stride: int | None = None
    mean_std: tuple[tuple[float, float, float], tuple[float, float, float]] | None = IMAGENET
    finish: Callable[[nn.Module], None] | None = None


def _like_torchvision(backbone: nn.Module) -> None:
    """MobileNetV3 as torchvision has it: the first block of the last stage is dilated too, where
    timm leaves undilated the block that loses its stride; and every BatchNorm adds 1e-3."""
    depthwise = backbone.get_submodule("blocks.5.0.conv_dw")
    assert isinstance(depthwise, nn.Conv2d)
    depthwise.dilation, depthwise.padding = (2, 2), (4, 4)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.01


RECIPES = {
    # of Robust Video Matting (arXiv 2108.11515)
    "mobilenetv3": Recipe(
        "mobilenetv3_large_100", (0, 1, 2, 4), output_stride=16, finish=_like_torchvision
    ),
    "resnet50": Recipe("resnet50", (0, 1, 2, 4), output_stride=16, mean_std=None),
    # without their last stage, which costs a fifth of the parameters
    "mobileone_s0": Recipe("mobileone_s0", (0, 1, 2, 3)),
    "mobileone_s1": Recipe("mobileone_s1", (0, 1, 2, 3)),
    "efficientnet_lite0": Recipe("tf_efficientnet_lite0", (0, 1, 2, 3), mean_std=HALF),
}


class Encoder(nn.Module):
    """(N, 3, H, W) in [0, 1] -> four maps, at 1/2, 1/4, 1/8 and 1/16 of the size, rounded up.

    channels: of the four maps. branches: whether `fuse` has something to do.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, keep_last: bool = False) -> None:
        """
        Args:
            name: one of RECIPES.
            keep_last: take the last stage of a MobileOne too, dilated at 1/16.
        Raises:
            ValueError: an unknown name, or a last stage that is there already or can't be kept.
        """
        super().__init__()
        if name not in RECIPES:
            raise ValueError(f"unknown backbone {name!r}: known are {', '.join(RECIPES)}")
        recipe = RECIPES[name]
        if keep_last:
            if not name.startswith("mobileone"):
                raise ValueError(f"keep_last is for MobileOne, not for {name}")
            recipe = replace(recipe, levels=(0, 1, 2, 4), output_stride=16)
        strided: dict[str, Any] = {}
        if recipe.output_stride is not None:
            strided["output_stride"] = recipe.output_stride
        self.backbone = timm.create_model(
            recipe.timm_name,
            pretrained=False,
            features_only=True,
            out_indices=recipe.levels,
            **strided,
        )
        if recipe.finish is not None:
            recipe.finish(self.backbone)
        info: Any = self.backbone.feature_info
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.branches = name.startswith("mobileone")
        self.normalises = recipe.mean_std is not None
        for buffer, values in zip(("mean", "std"), recipe.mean_std or ((0,) * 3, (1,) * 3)):
            tensor = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(buffer, tensor, persistent=False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = (frames - self.mean) / self.std if self.normalises else frames
        return list(self.backbone(x))

    def fuse(self) -> None:
        """Make one convolution of the branches that a MobileOne is trained with, in place."""
        self.backbone = reparameterize_model(self.backbone, inplace=True)
