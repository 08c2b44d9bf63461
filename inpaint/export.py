"""Take a trained model to where it runs without us: ONNX, TensorRT, TorchScript, torch.export.

The formats and the comparison stand in `nunif.runtime.export`, the contract of the tensors in
`inpaint.models.steps`; here is what an exported network fills: the holes of a clip.

Axes: T frames, H W pixels, 3 = R G B.
"""

import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from inpaint.models.steps import make_step, mask_frame
from inpaint.runtime.backends import ENGINES
from nunif.device import create_device
from nunif.files import make_folder
from nunif.models import Model, load_model
from nunif.options import parse_size
from nunif.runtime import tensorrt
from nunif.runtime.export import (
    CPU,
    Wishes,
    about_model,
    check_packages,
    check_wishes,
    export_step,
)
from nunif.runtime.opset import OPSET
from nunif.runtime.options import ExportOptions, parse_formats
from nunif.runtime.parity import read_pictures
from scene.world import render_scene

logger = logging.getLogger(__name__)

# what the manifest says of the tensors, besides their shapes
WORDS = {
    "value_range": (
        "RGB in [-1, 1]: an 8-bit value x is x / 127.5 - 1; output may leave the "
        "range a little, clamp it"
    ),
    "hole": "a pixel is missing where all three channels of masked_frames are exactly 0, "
    "which x / 127.5 - 1 never is; "
    "take the hole's pixels of output, the others from the frame",
}
OF_A_STREAM = {
    "start_of_stream": "memory all zero; new_memory of one call is the memory of the next"
}


def main(options: ExportOptions) -> None:
    """The command `export`."""
    formats = parse_formats(options.format)
    check_packages(formats)
    model, _ = load_model(options.model, expect="inpaint.")
    export_model(
        model,
        options.model,
        options.output,
        formats=formats,
        size=parse_size(options.size),
        precision=options.precision,
        dynamic=options.dynamic,
        clip=options.clip,
        num_frames=options.frames,
        capabilities=None
        if options.compute_capability is None
        else tensorrt.parse_capabilities(options.compute_capability),
        device=create_device(options.gpu),
        opset=options.opset or OPSET,
    )


def export_model(
    model: Model,
    source: Path,
    folder: Path,
    *,
    formats: list[str],
    size: tuple[int, int] = (360, 640),
    precision: str = "fp32",
    dynamic: bool = False,
    clip: Path | None = None,
    num_frames: int = 12,
    capabilities: list[str] | None = None,
    device: torch.device = CPU,
    opset: int = OPSET,
) -> list[Path]:
    """Write the model in every format, checked, and enter each file in the folder's manifest.json.

    Args:
        model: from `source`, which the manifest names. clip: a video to compare on; None renders
            one. The others: see `Wishes`.
    Returns: the files written.
    Raises:
        UserError: a package is missing, a format can't hold the model, the clip is too short, or a
            file computes something else than the model; files that were finished before stay.
    """
    wishes = Wishes(formats, size, precision, dynamic, capabilities, device, opset)
    check_wishes(wishes)
    make_folder(folder)
    step = make_step(model)
    num_frames = max(num_frames, step.contract.window or 1)
    frames = check_clip(clip, size, num_frames)
    logger.info(
        "float32 torch on %d frames of %s, to compare with", num_frames, clip or "a rendered clip"
    )
    return export_step(
        step,
        frames,
        folder,
        wishes,
        name=model.name.rpartition(".")[2],
        kind=ENGINES,
        clip=clip.name if clip else "rendered",
        about=about_model(model, source),
        words={**WORDS, **(OF_A_STREAM if step.contract.states else {})},
    )


def check_clip(path: Path | None, size: tuple[int, int], num_frames: int) -> list[Tensor]:
    """Masked frames (1, 3, H, W) of a video, or of a rendered scene, with a hole that moves across.

    Raises:
        UserError: the video can't be read or is too short.
    """
    height, width = size
    if path is None:
        pictures = [frame for frame, _ in render_scene(width, height, num_frames)]
    else:
        pictures = read_pictures(path, size, num_frames)
    result = []
    for t, picture in enumerate(pictures):
        middle = (round(width * (0.2 + 0.6 * t / num_frames)), height // 2)
        hole = cv2.ellipse(
            np.zeros(size, np.uint8),
            middle,
            (max(1, width // 9), max(1, height // 4)),
            0,
            0,
            360,
            1,
            -1,
        )
        frame = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        result.append(mask_frame(frame, torch.from_numpy(hole)[None, None]))
    return result
