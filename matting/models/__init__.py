"""The task's models; importing this package enters them in the table of `nunif.models`."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from matting.models import rvm_weights
from matting.models.network import (
    MattingNetwork,
    reparameterize_model,
    usual_ratio,
    zero_states,
)
from matting.models.person_finder import PersonFinder
from matting.models.person_gate import PersonGate
from nunif.errors import UserError
from nunif.models.registry import ForeignLayout, Model, register_layout, register_model

__all__ = ["MattingNetwork", "as_network", "reparameterize_model", "usual_ratio", "zero_states"]

SMALL = {"widths": [32, 16, 8, 8], "pooled": 48}
BACKBONES = ("mobilenetv3", "resnet50", "mobileone_s0", "mobileone_s1", "efficientnet_lite0")


def as_network(model: Model, source: object) -> MattingNetwork:
    """A model as what makes mattes. source: where it comes from, for messages.

    Raises:
        UserError: it only finds people.
    """
    if not isinstance(model, MattingNetwork):
        raise UserError(
            f"{source} is {model.name}, which finds people and makes no mattes: choose another "
            "model"
        )
    return model


def _register_models() -> None:
    fast = {"refiner": "fast_guided_filter"}
    for variant in BACKBONES:
        name = f"matting.{variant}"
        register_model(name, MattingNetwork, variant=variant)
        register_model(f"{name}_small", MattingNetwork, variant=variant, **SMALL)
        register_model(f"{name}_fast", MattingNetwork, variant=variant, **fast)
        register_model(f"{name}_small_fast", MattingNetwork, variant=variant, **SMALL, **fast)
    register_model("matting.mamba_s0", MattingNetwork, variant="mamba")
    register_model("matting.person_finder_v1", PersonFinder)
    register_model("matting.person_gate_v1", PersonGate)


def _register_layouts() -> None:
    """The files of Robust Video Matting, of two backbones with two refiners."""
    for large, deep in product((False, True), (False, True)):
        backbone = "resnet50" if large else "mobilenetv3"
        register_layout(
            ForeignLayout(
                title=f"Robust Video Matting, {backbone}, {'deep' if deep else 'fast'} filter",
                name=f"matting.{backbone}" + ("" if deep else "_fast"),
                recognise=_recognise(large, deep),
                convert=rvm_weights.convert,
            )
        )


def _recognise(large: bool, deep: bool) -> Callable[[Mapping[str, Any]], bool]:
    def recognise(state_dict: Mapping[str, Any]) -> bool:
        return (
            rvm_weights.recognise(state_dict)
            and rvm_weights.is_resnet(state_dict) == large
            and rvm_weights.has_deep_filter(state_dict) == deep
        )

    return recognise


_register_models()
_register_layouts()
