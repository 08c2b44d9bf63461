"""Distances by the features of networks that were trained on photographs. Their weights are downloads of others.

Axes: B batch, T frames, C colours, H W pixels. Pictures are in [-1, 1], holes 1 = missing. The networks look at whole
frames, with the truth around the hole, so that only what was filled in counts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inpaint.masks import compose
from nunif.errors import UserError, first_line

TIMM_MODEL = "vgg16.tv_in1k"
TIMM_STAGES = (1, 2, 3)  # at 1/2, 1/4 and 1/8 of the size

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]


def lpips_distance() -> Distance:
    """LPIPS with AlexNet (Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018), mean over the frames.

    Raises:
        UserError: the package lpips or the weights of its network are not there and can't be fetched.
    """
    network = load_lpips()

    def distance(filled: Tensor, target: Tensor) -> Tensor:
        return network.to(filled.device)(filled, target).flatten(1).mean(1)

    return _over_frames(distance)


def load_lpips() -> nn.Module:
    """The network of the package lpips: pictures (N, 3, H, W) in [-1, 1], twice -> (N, 1, 1, 1). Raises as above."""
    try:
        import lpips
    except ImportError:
        raise UserError('LPIPS needs the package lpips: pip install "streaming-inpaint[perceptual]"') from None
    try:
        network: nn.Module = lpips.LPIPS(net="alex", verbose=False)
    except Exception as error:  # whatever its downloader raises
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"the weights of LPIPS can't be had ({first_line(error)}): put torchvision's alexnet-owt-7be5be79.pth from "
            f"download.pytorch.org/models into {folder}, or choose a loss without lpips"
        ) from error
    return network.eval().requires_grad_(False)


def timm_distance() -> Distance:
    """Mean absolute difference of the features of timm's vgg16 at three sizes (Johnson et al., ECCV 2016).

    Raises:
        UserError: the package timm or the weights of its network are not there and can't be fetched.
    """
    try:
        import timm
    except ImportError:
        raise UserError('the loss timm needs the package timm: pip install "streaming-inpaint[perceptual]"') from None
    try:
        network: Any = timm.create_model(TIMM_MODEL, pretrained=True, features_only=True, out_indices=TIMM_STAGES)
    except Exception as error:  # whatever its downloader raises
        raise UserError(
            f"the weights of timm/{TIMM_MODEL} can't be had ({first_line(error)}): run `hf download timm/{TIMM_MODEL}` where "
            "there is a network and copy the cache (HF_HOME), or choose a loss without timm"
        ) from error
    network = network.eval().requires_grad_(False)
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))

    def distance(filled: Tensor, target: Tensor) -> Tensor:
        network.to(filled.device)
        features = [network((x * 0.5 + 0.5 - mean.to(x)) / std.to(x)) for x in (filled, target)]
        return torch.stack([(a - b).abs().flatten(1).mean(1) for a, b in zip(*features)]).mean(0)

    return _over_frames(distance)


def _over_frames(distance: Callable[[Tensor, Tensor], Tensor]) -> Distance:
    def over_frames(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
        filled = compose(target, holes, prediction)
        with torch.autocast(target.device.type, enabled=False):
            values = distance(filled.flatten(0, 1).float().clamp(-1, 1), target.flatten(0, 1).float())
        return values.unflatten(0, target.shape[:2]).mean(1)

    return over_frames
