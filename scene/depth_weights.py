"""Depth networks with their weights: from a folder, the Hugging Face cache or Hub, or torch.hub.

Axes: B a batch of frames, h w pixels of what the network sees.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from nunif.download import quiet_hub
from nunif.errors import UserError, first_line
from scene.depth_models import MOTION_PARALLAX, DepthModel, HubEntry
from scene.depth_network import INPUT_SPECS

logger = logging.getLogger(__name__)

MISSING_TOLERATED = 0.05  # of the weights; a checkpoint may lack a buffer, but not an encoder


def load_network(
    model_type: str, model: DepthModel, model_dir: Path | None, allow_third_party: bool
) -> tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    """The network of a name, and a function from its inputs (B, 3, h, w) to its depth.

    Arguments and errors: see `scene.depth.create_estimator`.
    """
    if model_dir is not None or model.repo_id is not None:
        network = _load_pretrained(model_type, model, model_dir)
        return network, _predicted_depth(network)
    network = _load_hub(model_type, model, allow_third_party)
    return network, HUB_FORWARDS[model.family](network)


def _predicted_depth(network: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    # DepthPro's raw output is inverse depth; only the processor's post-processing would turn it
    # into metres.
    return lambda inputs: network(pixel_values=inputs).predicted_depth


def _load_pretrained(model_type: str, model: DepthModel, model_dir: Path | None) -> torch.nn.Module:
    """A transformers model in float32, from a folder, the cache or the Hub, in this order.

    Raises:
        UserError: it is in none of them, or it is another kind of model.
    """
    if model_dir is not None:
        if not model_dir.is_dir():
            raise UserError(
                f"--depth-model-dir {model_dir} is no folder: give the folder that holds "
                "config.json"
            )
        try:
            network, info = _from_pretrained(str(model_dir), local_files_only=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"--depth-model-dir {model_dir} holds no model that transformers can load "
                f"({first_line(error)}): give "
                "a folder with config.json and model.safetensors, as `hf download REPO "
                "--local-dir DIR` writes it"
            ) from error
    else:
        network, info = _from_cache_or_hub(model_type, model)
    source = model_dir or model.repo_id
    config: Any = network.config  # its model's own class
    kind = "metric" if model.output == "distance" else "relative"
    expected = f"{kind} {INPUT_SPECS[model.family].config_type}"
    found = f"{getattr(config, 'depth_estimation_type', kind)} {config.model_type}"
    if found != expected:
        raise UserError(
            f"{source} holds a {found} model, but {model_type} is a {expected} one: choose the "
            "--model-type that fits the "
            "weights"
        )
    missing = info["missing_keys"]
    if len(missing) > MISSING_TOLERATED * len(network.state_dict()):
        raise UserError(
            f"{source} lacks {len(missing)} of the weights of {model_type}, such as "
            f"{sorted(missing)[0]}: convert or "
            f"download it again"
        )
    head = getattr(network, "head", None)
    # converted relative models say null, on which transformers fails
    if head is not None and getattr(head, "max_depth", 1) is None:
        head.max_depth = 1
    return network


def _from_cache_or_hub(
    model_type: str, model: DepthModel
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A published transformers model: the cache without asking the network, then the Hub, once."""
    from huggingface_hub import constants

    assert model.repo_id is not None
    try:
        return _from_pretrained(model.repo_id, local_files_only=True)
    except OSError as error:
        reason = error
    if not constants.HF_HUB_OFFLINE:
        logger.info(
            "downloading depth model %s (%s) to %s",
            model_type,
            model.repo_id,
            constants.HF_HUB_CACHE,
        )
        try:
            return _from_pretrained(model.repo_id, local_files_only=False)
        except OSError as error:
            reason = error
    raise UserError(
        f"depth model {model_type} ({model.repo_id}, licence {model.licence}) is not in the cache "
        f"{constants.HF_HUB_CACHE} and can't be fetched ({first_line(reason)}): run `hf download "
        f"{model.repo_id}` on a "
        "machine with internet and bring the folder, or name a copy with --depth-model-dir DIR, "
        "or use --model-type "
        f"{MOTION_PARALLAX}, which needs no download"
    ) from reason


def _from_pretrained(
    source: str, *, local_files_only: bool
) -> tuple[torch.nn.Module, dict[str, Any]]:
    from transformers import AutoModelForDepthEstimation  # seconds to import

    with quiet_hub():
        return AutoModelForDepthEstimation.from_pretrained(
            source, dtype=torch.float32, local_files_only=local_files_only, output_loading_info=True
        )


def _load_hub(model_type: str, model: DepthModel, allowed: bool) -> torch.nn.Module:
    """A model that only torch.hub has, the way iw3 loads it. Downloads code from GitHub and runs
    it.

    Raises:
        UserError: that was not allowed, or it failed.
    """
    entry = model.hub
    assert isinstance(entry, HubEntry), model_type
    if not allowed:
        local = (
            " or name a converted copy with --depth-model-dir DIR,"
            if INPUT_SPECS[model.family].config_type
            else ""
        )
        raise UserError(
            f"depth model {model_type} is not in transformers; it loads through torch.hub, which "
            "runs code of "
            f"github.com/{entry.repo.split(':')[0]} on this machine: allow that with "
            f"--allow-third-party-code,{local} "
            f"or use the nearest model that needs none, --model-type {entry.nearest}"
        )
    logger.warning("depth model %s: running third-party code of %s", model_type, entry.repo)
    try:
        return torch.hub.load(
            entry.repo, entry.entry, trust_repo=True, verbose=False, **entry.kwargs
        )
    except (OSError, RuntimeError, ImportError) as error:
        # no network, a broken file, a package it needs
        raise UserError(
            f"depth model {model_type} can't be loaded from {entry.repo} into "
            f"{torch.hub.get_dir()} "
            f"({first_line(error)}): try again with internet, or use --model-type {entry.nearest}"
        ) from error


def _zoe_any(network: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    network.core.prep = lambda inputs: inputs  # `prepare` has done it
    return lambda inputs: network(inputs)["metric_depth"]


def _any_v3(network: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Depth Anything 3 Mono as iw3 reads it: disparity 1 / (depth + 0.2), fading to 0 in the
    sky."""

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        output = network(inputs[:, None])  # one view per scene
        sky = ((output["sky"].float() - 0.3) / 0.7).clamp(0, 1)
        return (1 - sky) / (output["depth"].float() + 0.2)

    return forward


HUB_FORWARDS: dict[str, Callable[[Any], Callable[[torch.Tensor], torch.Tensor]]] = {
    "depth_anything": lambda network: network,
    "zoe_any": _zoe_any,
    "any_v3": _any_v3,
}
