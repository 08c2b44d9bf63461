"""Depth estimators by --model-type name: a clip's frames in, normalised disparity out.

Axes: T frames, H W pixels of the frame, h w pixels of the disparity map.
A disparity map covers its frame edge to edge, as `interpolate(align_corners=False)` leaves it.
"""

import logging
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from nunif.errors import UserError
from scene.depth_models import (
    DEPTH_MODELS,
    FREE_LICENCES,
    MOTION_PARALLAX,
    ClipRejected,
    check_model_type,
)
from scene.depth_network import INPUT_SPECS, InputSpec, NetworkEstimator
from scene.depth_normalize import affine_chain, per_frame_minmax, smoothed_percentiles
from scene.depth_weights import load_network
from scene.motion_parallax import MotionParallax

__all__ = ["ClipRejected", "DepthEstimator", "create_estimator"]

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")

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
    spec = INPUT_SPECS[model.family]
    _check_options(model_type, spec, resolution, model_dir)
    network, forward = load_network(model_type, model, model_dir, allow_third_party)
    if model.licence not in FREE_LICENCES:
        logger.warning("depth model %s: licence of the weights: %s", model_type, model.licence)
    network.to(device).eval().requires_grad_(False)
    return NetworkEstimator(
        model_type,
        forward,
        spec=spec,
        distance=model.output == "distance",
        resolution=resolution or spec.resolution,
        device=device,
        batch_size=batch_size,
        normalize=for_networks,
    )


def _check_options(
    model_type: str, spec: InputSpec, resolution: int | None, model_dir: Path | None
) -> None:
    """Raises UserError for an option that the network has no use for."""
    if spec.square and resolution not in (None, spec.resolution):
        raise UserError(
            f"{model_type} always works at {spec.resolution} px: leave --resolution "
            f"{resolution} out"
        )
    if model_dir is not None and spec.config_type is None:
        raise UserError(
            f"{model_type} can't be read from --depth-model-dir {model_dir}: transformers has no "
            "such model"
        )
