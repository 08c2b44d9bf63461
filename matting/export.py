"""Take a trained model to where it runs without us: ONNX, TensorRT, TorchScript, torch.export.

The formats and the comparison stand in `nunif.runtime.export`, the contract of the tensors in
`matting.models.steps`; here is what an exported network looks at: people who walk.

Axes: T frames, H W pixels, 3 = R G B.
"""

import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from matting.models import MattingNetwork, as_network, usual_ratio
from matting.models.steps import MattingStep, portable_ratio
from matting.options_run import ExportOptions
from matting.runtime.backends import ENGINES
from nunif.device import create_device
from nunif.files import make_folder
from nunif.models import load_model
from nunif.runtime import tensorrt
from nunif.runtime.export import Wishes, about_model, check_wishes, export_step
from nunif.runtime.opset import OPSET
from nunif.runtime.options import parse_formats
from nunif.runtime.parity import read_pictures
from nunif.seed import generator_for
from scene.people.clip import make_clip
from scene.planes import COLOUR
from scene.world import render_scene

logger = logging.getLogger(__name__)

RENDERED_AT = 160  # pixels of the longer side: people take a second of the CPU a million pixels

# what the manifest says of the tensors, besides their shapes
WORDS = {
    "value_range": "RGB in [0, 1]; fgr and pha too: fgr * pha + (1 - pha) * background is the "
    "person before another background",
    "start_of_stream": "r1, r2, r3 and r4 all zero; new_r1 of one call is r1 of the next, and so "
    "are the others",
}


def main(options: ExportOptions) -> None:
    """The command `export`."""
    capabilities = options.compute_capability
    wishes = Wishes(
        formats=parse_formats(options.format),
        size=options.frame_size,
        precision=options.precision,
        capabilities=None if capabilities is None else tensorrt.parse_capabilities(capabilities),
        device=create_device(options.gpu),
        opset=options.opset or OPSET,
    )
    check_wishes(wishes)
    model, _ = load_model(options.model, expect="matting.")
    is_file = options.output.suffix.lower() == ".onnx"
    export_model(
        as_network(model, options.model),
        options.model,
        options.output.parent if is_file else options.output,
        wishes,
        downsample_ratio=options.downsample_ratio,
        clip=options.clip,
        num_frames=options.frames,
        exact_name=options.output.stem if is_file else None,
    )


def export_model(
    model: MattingNetwork,
    source: Path,
    folder: Path,
    wishes: Wishes,
    *,
    downsample_ratio: float | None = None,
    clip: Path | None = None,
    num_frames: int = 20,
    exact_name: str | None = None,
) -> list[Path]:
    """Write the model, fused, in every format, checked, and enter each file in the folder's
    manifest.json.

    Args:
        model: from `source`, which the manifest names; it is fused in place.
        downsample_ratio: of what is computed at to the frames' size; None for the usual one.
        clip: a video to compare on; None renders one. exact_name: see `export_step`.
    Returns: the files written.
    Raises:
        UserError: a format can't hold the model, the clip is too short, or a file computes
            something else than the model; files that were finished before stay.
    """
    ratio = usual_ratio(*wishes.size) if downsample_ratio is None else downsample_ratio
    step = MattingStep(model, downsample_ratio=portable_ratio(ratio, wishes.size))
    make_folder(folder)
    pictures = (
        render_pictures(wishes.size, num_frames)
        if clip is None
        else read_pictures(clip, wishes.size, num_frames)
    )
    logger.info(
        "float32 torch on %d frames of %s, to compare with", num_frames, clip or "a rendered clip"
    )
    return export_step(
        step,
        [_to_tensor(picture) for picture in pictures],
        folder,
        wishes,
        name=model.name.rpartition(".")[2],
        exact_name=exact_name,
        kind=ENGINES,
        clip=clip.name if clip else "rendered",
        about={**about_model(model, source), "downsample_ratio": step.ratio},
        words=WORDS,
    )


def render_pictures(size: tuple[int, int], num_frames: int) -> list[np.ndarray]:
    """A person who walks before a scene, (H, W, 3) uint8 each, rendered smaller and scaled up."""
    height, width = size
    scale = min(1, RENDERED_AT / max(size))
    small = (max(8, round(width * scale)), max(8, round(height * scale)))
    behind = np.stack([frame for frame, _ in render_scene(*small, num_frames, walkers=False)])
    clip = make_clip(generator_for("export"), behind, num_people=1)
    return [
        cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
        for frame in clip.planes[COLOUR.letter]
    ]


def _to_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
