"""Take a trained model to where it runs without us: ONNX, TensorRT, torch.export.

Every file is run over a clip, its own memory carried from frame to frame (or window by window), and
compared with the model in float32 before it gets its name. The contract of the tensors stands in
`inpaint.models.steps`.

Axes: T frames, H W pixels, 3 = R G B.
"""

import copy
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from inpaint.models.steps import Step, make_step, mask_frame
from inpaint.runtime import tensorrt
from inpaint.runtime.backends import PRECISIONS, Backend, OnnxBackend, import_onnxruntime
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import file_sha256, make_folder, whole_path, write_json
from nunif.models import Model, load_model
from nunif.options import parse_size
from nunif.runtime.options import ExportOptions, parse_formats
from nunif.video.reader import VideoReader
from scene.world import render_scene

logger = logging.getLogger(__name__)

OPSET = 20
SLOWLY_FOLDED = {"ConvTranspose", "AveragePool", "Resize", "GridSample"}  # see write_onnx
MANIFEST = "manifest.json"
# Largest difference from the float32 model that passes, of a range of 2. Half precision ends at
# 1e-3 to 1e-2.
TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}

CPU = torch.device("cpu")
DYNAMIC_EXAMPLE = (100, 130)  # no multiples of anything, so that nothing is specialised on them


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
    )


def check_packages(formats: list[str]) -> None:
    """Make sure, before any work, that what the formats need is installed.

    Raises:
        UserError: names the package that is missing.
    """
    if "onnx" in formats or "tensorrt" in formats:
        try:
            import onnx  # noqa: F401 - torch's exporter needs both
            import onnxscript  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError(
                f"the export needs the package {error.name}: pip install -e .[export]"
            ) from error
    if "onnx" in formats:
        import_onnxruntime()
    if "tensorrt" in formats:
        tensorrt.import_tensorrt()


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
) -> list[Path]:
    """Write the model in every format, checked, and enter each file in the folder's manifest.json.

    Args:
        model: from `source`, which the manifest names. size: (H, W) in pixels. precision: fp32 or
            fp16, inside.
        dynamic: an ONNX file for any height and width. clip: a video to compare on; None renders
            one.
        capabilities: of the GPUs to build TensorRT engines for; None = see
            `tensorrt.DEFAULT_CAPABILITIES`.
        device: where float32 torch and TensorRT run for the comparison.
    Returns: the files written.
    Raises:
        UserError: a package is missing, a format can't hold the model, the clip is too short, or a
            file computes something else than the model; files that were finished before stay.
    """
    if dynamic and "tensorrt" in formats:
        raise UserError("--dynamic is for ONNX: a TensorRT engine has one size, export it without")
    check_packages(formats)
    make_folder(folder)
    step = (
        make_step(copy.deepcopy(model))
        .to("cpu", PRECISIONS[precision])
        .eval()
        .requires_grad_(False)
    )
    num_frames = max(num_frames, step.window or 1)
    pieces = into_windows(check_clip(clip, size, num_frames), step.window)
    logger.info(
        "float32 torch on %d frames of %s, to compare with", num_frames, clip or "a rendered clip"
    )
    with torch.backends.cudnn.flags(
        enabled=True, allow_tf32=False
    ):  # ten bits of mantissa are no reference
        whole = (
            make_step(copy.deepcopy(model)).to(device, torch.float32).eval().requires_grad_(False)
        )
        right = ContractBackend(whole, whole, device=device, description="torch")
        reference = list(run_clip(right, pieces))

    def check(backend: Backend, name: str) -> dict[str, Any]:
        parity = compare(
            run_clip(backend, pieces), reference, tolerance=TOLERANCE[precision], name=name
        )
        return {
            "ran_with": backend.description,
            "clip": clip.name if clip else "rendered",
            **parity,
        }

    of_size = "any" if dynamic else f"{size[0]}x{size[1]}"
    export = Export(
        step=step,
        stem=folder / f"{model.name.rpartition('.')[2]}_{of_size}_{precision}",
        size=size,
        dynamic=dynamic,
        check=check,
        common={
            "model": model.name,
            "model_kwargs": model.kwargs,
            "parameters": model.num_parameters,
            "source": {"file": source.name, "sha256": file_sha256(source)},
            "precision": precision,
            **describe_contract(step, size, dynamic=dynamic),
        },
    )
    if "onnx" in formats or "tensorrt" in formats:
        to_onnx(export, checked="onnx" in formats)
    if "tensorrt" in formats:
        to_tensorrt(export, capabilities, device)
    if "torch-export" in formats:
        to_torch_export(export)
    logger.info("what the files want and give: %s", folder / MANIFEST)
    return export.files


# --- the formats ----------------------------------------------------------------------------------


@dataclass
class Export:
    """What every format needs to know, and the files that are finished.

    stem: path of the files without their suffix. check: runs a back end over the clip, see
        `compare`.
    common: what the manifest says of every file.
    """

    step: Step
    stem: Path
    size: tuple[int, int]
    dynamic: bool
    check: Callable[[Backend, str], dict[str, Any]]
    common: dict[str, Any]
    files: list[Path] = field(default_factory=list)

    @cached_property
    def traced(self) -> torch.export.ExportedProgram:
        return trace(self.step, self.size, dynamic=self.dynamic)

    def path(self, ending: str) -> Path:
        return self.stem.with_name(self.stem.name + ending)

    def finish(self, path: Path, begin: float, **entry: Any) -> None:
        """Enter a file that stands under its name in the manifest, and say so. begin: of its
        making, time.monotonic."""
        self.files.append(path)
        seconds, num_bytes = time.monotonic() - begin, path.stat().st_size
        entry |= {"bytes": num_bytes, "sha256": file_sha256(path), "seconds": round(seconds, 1)}
        add_to_manifest(path.parent, path.name, {**self.common, **entry})
        logger.info(
            "%s: %.1f MB, %.0f s, %s", path, num_bytes / 1e6, seconds, in_words(entry["parity"])
        )


def to_onnx(export: Export, *, checked: bool) -> None:
    """checked: run it with onnxruntime; otherwise it is only made for TensorRT."""
    begin, path = time.monotonic(), export.path(".onnx")
    with whole_path(path) as partial:
        write_onnx(export.traced, export.step, partial)
        parity = {"not_run": "not run, it was made for TensorRT"}
        if checked:
            parity = export.check(OnnxBackend(partial, device=CPU), path.name)
    export.finish(path, begin, format="onnx", opset=OPSET, parity=parity)


def to_tensorrt(export: Export, capabilities: list[str] | None, device: torch.device) -> None:
    """Build an engine from the ONNX file; where there is a GPU, open it, check its tensors again,
    and run it."""
    begin, onnx_path = time.monotonic(), export.path(".onnx")
    trt = tensorrt.import_tensorrt()
    if capabilities is None:
        at_hand = torch.cuda.is_available() or not tensorrt.is_rtx(trt)
        capabilities = [] if at_hand else list(tensorrt.DEFAULT_CAPABILITIES)
    targets = "_sm" + "_".join(c.replace(".", "") for c in capabilities) if capabilities else ""
    path = export.path(f"{targets}.engine")
    expected = contract(export.step, export.size)
    with whole_path(path) as partial:
        tensorrt.build_engine(onnx_path, partial, capabilities=capabilities, expected=expected)
        parity = {
            "not_run": (
                "built, but not run: a finished engine can't be opened without a GPU that it is for"
            )
        }
        if tensorrt.runs_on(capabilities, device):
            backend = tensorrt.TensorRTBackend(partial, device=device)
            tensorrt.check_tensors(backend.tensors, expected, path.name)
            parity = export.check(backend, path.name)
    built_with = {"built_with": f"{trt.__name__} {trt.__version__}", "from": onnx_path.name}
    export.finish(
        path, begin, format="tensorrt", **built_with, compute_capability=capabilities, parity=parity
    )


def to_torch_export(export: Export) -> None:
    """A program for torch.export.load."""
    begin, path = time.monotonic(), export.path(".pt2")
    with whole_path(path) as partial:
        with open(partial, "wb") as file:  # by Python, because a path may be no text
            torch.export.save(export.traced, file)
        with open(partial, "rb") as file:
            program, where = torch.export.load(file).module(), "torch.export program on cpu"
        parity = export.check(
            ContractBackend(program, export.step, device=CPU, description=where), path.name
        )
    export.finish(path, begin, format="torch-export", parity=parity)


def contract(step: Step, size: tuple[int, int]) -> tensorrt.Shapes:
    """Names, shapes and types of the tensors at a size in pixels."""
    return {name: (shape, "float32") for name, shape in step.shapes(*size).items()}


def describe_contract(step: Step, size: tuple[int, int], *, dynamic: bool) -> dict[str, Any]:
    """The contract in words, for the manifest."""
    rows: dict[str, Any] = {
        name: {"shape": list(shape), "type": "float32"}
        for name, shape in step.shapes(*size).items()
    }
    if dynamic:
        for name, row in rows.items():
            if name in ("memory", "new_memory"):
                multiple = step.model.size_multiple
                row["shape"][3] = f"4 * ceil(height / {multiple}) * ceil(width / {multiple})"
            else:
                row["shape"][-2:] = ["height", "width"]
    words = {
        "value_range": (
            "RGB in [-1, 1]: an 8-bit value x is x / 127.5 - 1; output may leave the "
            "range a little, clamp it"
        ),
        "hole": "a pixel is missing where all three channels of masked_frames are exactly 0, "
        "which x / 127.5 - 1 never is; "
        "take the hole's pixels of output, the others from the frame",
    }
    if step.window is None:
        words["start_of_stream"] = (
            "memory all zero; new_memory of one call is the memory of the next"
        )
    return {
        "inputs": {name: rows[name] for name in step.inputs},
        "outputs": {name: rows[name] for name in step.outputs},
        **words,
    }


def trace(step: Step, size: tuple[int, int], *, dynamic: bool) -> torch.export.ExportedProgram:
    """The step as torch.export follows it, for one size or any: what all formats begin with, and
    what takes longest."""
    shapes = step.shapes(*(DYNAMIC_EXAMPLE if dynamic else size))
    tensors = tuple(torch.zeros(shapes[name]) for name in step.inputs)
    dynamic_shapes = None
    if dynamic:
        sides = torch.export.Dim
        frames = {tensors[0].ndim - 2: sides.DYNAMIC, tensors[0].ndim - 1: sides.DYNAMIC}
        dynamic_shapes = (frames, *({3: sides.AUTO} for _ in tensors[1:]))
    with _quiet():
        return torch.export.export(step, tensors, dynamic_shapes=dynamic_shapes, strict=False)


def write_onnx(traced: torch.export.ExportedProgram, step: Step, path: Path) -> None:
    """Write one ONNX file with its weights in it."""
    from onnxscript.optimizer import fold_constants, inline, remove_unused_nodes

    with _quiet():
        program: Any = torch.onnx.export(
            traced, dynamo=True, opset_version=OPSET, optimize=False, verbose=False,
            input_names=list(step.inputs), output_names=list(step.outputs),
        )  # fmt: skip
        # Constants are worked out with onnx's reference in plain Python. The bias of the
        # token-to-image layer, a transposed convolution of ones, and the means of ones take it
        # minutes, and what comes out would be too large to be kept. The optimizer's rewriting rules
        # change next to nothing here and take it longer than all the rest.
        inline(program.model)
        fold_constants(
            program.model, should_fold=lambda node: False if node.op_type in SLOWLY_FOLDED else None
        )
        remove_unused_nodes(program.model)
    if step.window is None:
        program.model.metadata_props["size_multiple"] = str(step.model.size_multiple)
    program.save(path, external_data=False)


class ContractBackend:
    """Anything in torch with a step's inputs and outputs, memory and all, for the comparison."""

    size: tuple[int, int] | None = None
    multiple: int | None = None

    def __init__(
        self, program: Callable[..., Any], step: Step, *, device: torch.device, description: str
    ) -> None:
        self.device, self.window, self.description = device, step.window, description
        self._shapes, self._program = step.shapes, program

    @torch.inference_mode()
    def step(self, masked: Tensor, memory: Any, ahead: Any = None) -> tuple[Tensor, Any]:
        assert ahead is None
        if self.window is not None:
            return self._program(masked), None
        if memory is None:
            memory = torch.zeros(self._shapes(*masked.shape[-2:])["memory"], device=self.device)
        return self._program(masked, memory)


# --- the comparison -------------------------------------------------------------------------------


def check_clip(path: Path | None, size: tuple[int, int], num_frames: int) -> list[Tensor]:
    """Masked frames (1, 3, H, W) of a video, or of a rendered scene, with a hole that moves across.

    Raises:
        UserError: the video can't be read or is too short.
    """
    height, width = size
    if path is None:
        pictures = [frame for frame, _ in render_scene(width, height, num_frames)]
    else:
        with VideoReader(path, deinterlace=True) as reader:  # it is only compared with itself
            if len(reader) < num_frames:
                raise UserError(
                    f"--clip {path} has {len(reader)} frames, {num_frames} are compared: choose a "
                    "longer one"
                )
            frames = (reader.read(i, i + 1)[0].rgb for i in range(num_frames))
            pictures = [
                cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames
            ]
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


def into_windows(frames: list[Tensor], window: int | None) -> list[Tensor]:
    """Single frames as they are, or windows (1, window, 3, H, W) of them; the last reaches back."""
    if window is None:
        return frames
    starts = [*range(0, len(frames) - window, window), len(frames) - window]
    return [torch.stack(frames[start : start + window], dim=1) for start in starts]


def run_clip(backend: Backend, pieces: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The output of each frame or window and the memory after it (empty: none), the back end's own
    memory carried."""
    memory: Any = None
    for masked in tqdm(
        pieces, unit="step", desc=backend.description.partition(",")[0], disable=None, leave=False
    ):
        output, memory = backend.step(masked.to(backend.device), memory)
        kept = (
            memory
            if isinstance(memory, Tensor)
            else torch.zeros(0)
            if memory is None
            else torch.from_numpy(memory.numpy())
        )
        yield output.cpu().clone(), kept.cpu().clone()


def compare(
    found: Iterable[tuple[Tensor, Tensor]],
    expected: Iterable[tuple[Tensor, Tensor]],
    *,
    tolerance: float,
    name: str,
) -> dict[str, Any]:
    """The differences over a clip.

    Raises:
        UserError: the pictures differ by more than `tolerance` (of a range of 2), or something is
            not finite.
    """
    largest, largest_memory, means, num_frames = 0.0, 0.0, [], 0
    for (output, memory), (right_output, right_memory) in zip(found, expected, strict=True):
        difference = (output - right_output).abs()
        # a maximum passes over NaN when compared, a sum doesn't
        largest = max(largest, difference.max().item()) if difference.sum().isfinite() else math.inf
        if memory.numel():
            largest_memory = max(largest_memory, (memory - right_memory).abs().max().item())
        means.append(difference.mean().item())
        num_frames += output.shape[1] if output.ndim == 5 else 1
    if not largest <= tolerance:
        raise UserError(
            f"{name} computes something else than the model: the pictures differ by up to "
            f"{largest:.3g}, {tolerance:g} is "
            "allowed; it was not kept. With --precision fp16 try fp32: the weights may be too "
            "large for half precision"
        )
    return {
        "against": "torch float32",
        "frames": num_frames,
        "largest_difference": largest,
        "mean_difference": sum(means) / len(means),
        "largest_difference_memory": largest_memory,
        "tolerance": tolerance,
    }


def in_words(parity: dict[str, Any]) -> str:
    """The outcome of a comparison for people."""
    if "not_run" in parity:
        return parity["not_run"]
    return f"largest difference {parity['largest_difference']:.2g} over {parity['frames']} frames"


# --- the manifest ---------------------------------------------------------------------------------


def add_to_manifest(folder: Path, name: str, entry: dict[str, Any]) -> None:
    """Enter a file in manifest.json; entries of other files stay as long as the files do."""
    path = folder / MANIFEST
    files: dict[str, Any] = {}
    with suppress(
        FileNotFoundError, ValueError, KeyError, AttributeError
    ):  # none yet, or not one of ours
        files = {
            k: v
            for k, v in json.loads(path.read_text(encoding="utf-8"))["files"].items()
            if (folder / k).exists()
        }
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    files[name] = {"exported_at": now, "torch": torch.__version__, **entry}
    write_json(path, {"manifest_version": 1, "files": files})


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that nothing here needs."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
