"""Depth estimators by --model-type name: a clip's frames in, normalised disparity out.

Axes: T frames, B a batch of them, C channels, H W pixels of the frame, h w pixels of the disparity
    map.
A disparity map covers its frame edge to edge, as `interpolate(align_corners=False)` leaves it.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from nunif.errors import UserError, first_line
from scene.depth_models import (
    DEPTH_MODELS,
    FREE_LICENCES,
    MOTION_PARALLAX,
    ClipRejected,
    DepthModel,
    HubEntry,
    check_model_type,
)
from scene.depth_normalize import affine_chain, per_frame_minmax, smoothed_percentiles
from scene.motion_parallax import MotionParallax

__all__ = ["ClipRejected", "DepthEstimator", "create_estimator"]

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
NEAREST_METRES = 0.1  # distances are clamped here before they become disparities
MAX_ASPECT = 4  # longer frames are squeezed for the network, as in iw3
ROWS_AT_ONCE = 64  # of a picture that is resized on a CPU
MISSING_TOLERATED = 0.05  # of the weights; a checkpoint may lack a buffer, but not an encoder

# What to do with a clip's disparity: (networks, motion parallax). For flow, scaling each frame is
# the better way.
NORMALIZERS = {
    "clip": (affine_chain, smoothed_percentiles),
    "frame": (per_frame_minmax, per_frame_minmax),
}


class DepthEstimator(Protocol):
    """What the generator and the stream of a film's depth ask of an estimator.

    Attributes:
        name: the --model-type name.
        runs_in_workers: may be called from several threads at once, with the same result as from
            one.
        run_length: as many successive frames of a film are best given to `raw_disparity` at once.
        run_overlap: so many of them are the next run's first, for the two to be blended; 0 where
            every frame is judged by itself, and none is ever rejected.
        scale_jitters: every map has a scale and an offset of its own, which mean nothing and are to
            be fitted away.
        least_span: what differs by less, in the units of `raw_disparity`, is noise and must not be
            stretched to [0, 1].
    """

    name: str
    runs_in_workers: bool
    run_length: int
    run_overlap: int
    scale_jitters: bool
    least_span: float

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """(T, H, W, 3) uint8 RGB -> (T, h, w) float32 on the CPU in [0, 1], 1 = near; may raise
        ClipRejected."""
        ...

    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        """The same before it is normalised: (T, h, w) float32 on the CPU, big = near; may raise
        ClipRejected."""
        ...


@dataclass(frozen=True)
class Recipe:
    """How a family of networks is fed."""

    resolution: int  # of the short side, unless the user asks for another
    multiple: int  # of both sides
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    padded: bool = False  # reflected margins, which ZoeDepth was trained with
    square: bool = False  # always resolution x resolution
    autocast: torch.dtype = (
        torch.float16
    )  # on CUDA, as iw3; its 11 bits of mantissa keep more steps than bfloat16
    config_type: str | None = None  # `model_type` in transformers' config.json


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPES = {
    "depth_anything": Recipe(392, 14, _IMAGENET_MEAN, _IMAGENET_STD, config_type="depth_anything"),
    "zoe": Recipe(384, 32, padded=True, config_type="zoedepth"),
    "zoe_any": Recipe(392, 14, padded=True),
    "depth_pro": Recipe(1536, 1536, square=True, config_type="depth_pro"),
    "any_v3": Recipe(392, 14, _IMAGENET_MEAN, _IMAGENET_STD, autocast=torch.bfloat16),
}


def create_estimator(
    model_type: str,
    *,
    resolution: int | None = None,
    model_dir: Path | None = None,
    device: torch.device = CPU,
    batch_size: int = 2,
    normalize: str = "clip",
    allow_third_party: bool = False,
) -> DepthEstimator:
    """The depth estimator of a name.

    Args:
        model_type: one of `scene.depth_models.MODEL_TYPES`.
        resolution: short side of what the network sees, in pixels, rounded up to the network's
            multiple.
        model_dir: folder written by `save_pretrained`, instead of the Hugging Face cache.
        device: where the network runs.
        batch_size: frames per forward pass.
        normalize: "clip" for the whole clip at once, "frame" for each frame by itself as iw3 does.
        allow_third_party: let torch.hub download and run code for the names that transformers
            doesn't have.

    Raises:
        UserError: unknown name; weights that are not on disk and can't be fetched; an option the
            model has no use for; third-party code that wasn't allowed. Another model is never taken
            instead.
    """
    check_model_type(model_type)
    if normalize not in NORMALIZERS:
        raise UserError(
            f"unknown depth normalisation {normalize!r}: choose from {', '.join(NORMALIZERS)}"
        )
    for_networks, for_flow = NORMALIZERS[normalize]
    if model_type == MOTION_PARALLAX:
        for option, value in (("--resolution", resolution), ("--depth-model-dir", model_dir)):
            if value is not None:
                raise UserError(f"{MOTION_PARALLAX} has no use for {option} {value}: leave it out")
        return MotionParallax(for_flow)

    model = DEPTH_MODELS[model_type]
    recipe = RECIPES[model.family]
    if recipe.square and resolution not in (None, recipe.resolution):
        raise UserError(
            f"{model_type} always works at {recipe.resolution} px: leave --resolution "
            f"{resolution} out"
        )
    if model_dir is not None and recipe.config_type is None:
        raise UserError(
            f"{model_type} can't be read from --depth-model-dir {model_dir}: transformers has no "
            "such model"
        )
    if model_dir is not None or model.repo_id is not None:
        network = _load_pretrained(model_type, model, model_dir)
        forward = _predicted_depth(network)
    else:
        network = _load_hub(model_type, model, allow_third_party)
        forward = HUB_FORWARDS[model.family](network)
    if model.licence not in FREE_LICENCES:
        logger.warning("depth model %s: licence of the weights: %s", model_type, model.licence)
    network.to(device).eval().requires_grad_(False)
    return NetworkEstimator(
        model_type,
        forward,
        recipe=recipe,
        distance=model.output == "distance",
        resolution=resolution or recipe.resolution,
        device=device,
        batch_size=batch_size,
        normalize=for_networks,
    )


class NetworkEstimator:
    """A depth network with what goes before and after it. One thread at a time."""

    runs_in_workers = False
    run_overlap = 0
    scale_jitters = True
    least_span = 0.0

    def __init__(
        self,
        name: str,
        forward: Callable[[torch.Tensor], torch.Tensor],
        *,
        recipe: Recipe,
        distance: bool,
        resolution: int,
        device: torch.device,
        batch_size: int,
        normalize: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.name = name
        self._forward = forward
        self._recipe = recipe
        self._distance = distance
        self._resolution = resolution
        self._device = device
        self.run_length = batch_size
        self._normalize = normalize

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """Disparity of a clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB of one shot.

        Returns:
            (T, h, w) float32 on the CPU in [0, 1], 1 = near, at the size the network works at; its
            aspect is the frame's, up to the network's multiple.
        """
        return self._normalize(self.raw_disparity(frames))

    @torch.inference_mode()
    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        """The network's output as disparity: (T, H, W, 3) uint8 RGB -> (T, h, w) float32 on the
        CPU, big = near.

        Every frame is judged by itself; its scale and offset are unknown, and differ from frame to
        frame.
        """
        batches = np.split(frames, range(self.run_length, len(frames), self.run_length))
        return torch.cat([self._disparity(batch) for batch in batches])

    def _disparity(self, frames: np.ndarray) -> torch.Tensor:
        """(B, H, W, 3) uint8 -> (B, h, w) float32 on the CPU, big = near, not normalised."""
        recipe = self._recipe
        prepared = []
        for frame in (
            frames
        ):  # one by one: a 1080p batch of floats is fetched from the system anew every time
            image = torch.from_numpy(np.ascontiguousarray(frame[None])).to(self._device)
            prepared.append(prepare(image.permute(0, 3, 1, 2), recipe, self._resolution))
        inputs, pad = torch.cat([image for image, _ in prepared]), prepared[0][1]  # (B, 3, h, w)
        with torch.autocast(
            self._device.type, recipe.autocast, enabled=self._device.type == "cuda"
        ):
            output = self._forward(inputs).float()
        if not torch.isfinite(output).all():  # half precision ran over
            output = self._forward(inputs).float()
        output = output.reshape(len(frames), 1, *output.shape[-2:])
        if pad != (0, 0):
            output = _resize(output, inputs.shape[-2:], "bilinear")
            output = output[
                :, :, pad[0] : output.shape[2] - pad[0], pad[1] : output.shape[3] - pad[1]
            ]
        if recipe.square:
            scale = recipe.resolution / max(frames.shape[1:3])
            output = _resize(
                output, [round(side * scale) for side in frames.shape[1:3]], "bilinear"
            )
        if self._distance:
            output = 1 / output.clamp(min=NEAREST_METRES)
        return output[:, 0].cpu()


def network_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """Size (h, w) at which a network sees a frame: iw3's rule.

    The short side is `resolution` rounded up to `multiple`, the long side keeps the aspect (4 at
    most) and is rounded down to it. Depth Anything would silently cut what is left over, so nothing
    may be.
    """
    short = math.ceil(resolution / multiple) * multiple
    aspect = min(max(height, width) / min(height, width), MAX_ASPECT)
    long = max(short, int(short * aspect + 1e-6) // multiple * multiple)
    return (short, long) if height < width else (long, short)


def prepare(
    images: torch.Tensor, recipe: Recipe, resolution: int
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Resize, pad and normalise for a network.

    Args:
        images: (B, 3, H, W) uint8.
        resolution: short side in pixels, margins included.

    Returns:
        The network's input, and the margins (top = bottom, left = right) to cut from what it gives.
    """
    height, width = images.shape[-2:]
    if recipe.square:
        size = (recipe.resolution, recipe.resolution)
    else:
        size = network_size(height, width, resolution, recipe.multiple)
    pad = (0, 0)
    if (
        recipe.padded
    ):  # ZoeDepth's margin, 3 sqrt(side / 2) of the source, at the size the network sees
        margins = [3 * math.sqrt(side / 2) for side in images.shape[-2:]]
        parts = [
            margin / (side + 2 * margin)
            for margin, side in zip(margins, images.shape[-2:], strict=True)
        ]
        pad = (round(size[0] * parts[0]), round(size[1] * parts[1]))
    images = _to_floats(images, (size[0] - 2 * pad[0], size[1] - 2 * pad[1])).clamp(0, 1)
    if pad != (0, 0):
        images = F.pad(images, (pad[1], pad[1], pad[0], pad[0]), mode="reflect")
    assert images.shape[-2] % recipe.multiple == 0 and images.shape[-1] % recipe.multiple == 0, (
        images.shape
    )
    mean, std = (images.new_tensor(values)[:, None, None] for values in (recipe.mean, recipe.std))
    return (images - mean) / std, pad


def _to_floats(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, *size) float32 about [0, 1], bicubic with antialiasing."""
    if (
        images.device.type == "cpu"
    ):  # along the rows first, as torch does it, but a few of them at a time: they stay in cache
        parts = images.split(ROWS_AT_ONCE, dim=-2)
        small = torch.cat(
            [
                _resize(part.float().div_(255), (part.shape[-2], size[1]), "bicubic")
                for part in parts
            ],
            dim=-2,
        )
    else:
        small = images.float().div_(255)
    return _resize(small, size, "bicubic")


def _resize(images: torch.Tensor, size: Any, mode: str) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, *size)."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=tuple(size), mode=mode, align_corners=False, antialias=True)


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
    expected = f"{kind} {RECIPES[model.family].config_type}"
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
            if RECIPES[model.family].config_type
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
    except (
        OSError,
        RuntimeError,
        ImportError,
    ) as error:  # no network, a broken file, a package it needs
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
