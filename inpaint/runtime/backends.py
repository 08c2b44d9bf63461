"""What computes a streamed frame, or a window: one interface over torch, onnxruntime and TensorRT.

The contract of a step stands in `inpaint.models.steps`. Memory is handed around as the back end
likes to keep it (on its own device), starts as None, and is never looked into.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from inpaint.models.recall import Ahead
from inpaint.models.steps import CONTRACTS, StreamingStep, make_step
from inpaint.runtime.tensorrt import TensorRTBackend
from nunif.compiler import compile_function
from nunif.device import AMP_DTYPES, keep_freed_memory
from nunif.errors import UserError, first_line
from nunif.files import plain_text
from nunif.models import Model, load_model

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, **AMP_DTYPES}
TORCH_SUFFIXES, ONNX_SUFFIX, ENGINE_SUFFIXES = (
    (".pth", ".safetensors"),
    ".onnx",
    (".engine", ".plan", ".trt"),
)


class Backend(Protocol):
    """Computes one frame after the other, or one window.

    Attributes:
        device: where frames are handed over.
        window: frames that one step takes; None: a single frame, and there is a memory.
        size: (H, W) that every frame must have; None for any.
        multiple: what a model that can be told of frames to come pads height and width to; None for
            others.
        description: one line for people.
    """

    device: torch.device
    window: int | None
    size: tuple[int, int] | None
    multiple: int | None
    description: str

    def step(self, masked: Tensor, memory: Any, ahead: Ahead | None = None) -> tuple[Tensor, Any]:
        """One frame, or one window.

        Args:
            masked: (1, 3, H, W) or (1, window, 3, H, W) float32 on `device`, in [-1, 1], the hole
                exactly 0 (`mask_frame` makes it).
            memory: what the step before returned; None at the start of a stream, and always for
                windows.
            ahead: what is known of frames to come, at the padded size; only with `multiple`.
        Returns: the prediction, of the shape of `masked`, float32 on `device`; and the memory.
        """
        ...


def open_backend(
    path: Path, *, device: torch.device, precision: str | None = None, compiled: bool = False
) -> Backend:
    """The back end of a file, by its suffix: .pth for torch, .onnx for onnxruntime, .engine for
    TensorRT.

    Args:
        device: where to compute. precision: fp32, fp16 or bf16, for torch; an engine has its own.
        compiled: let torch.compile work on the model; the first two frames then take minutes.

    Raises:
        UserError: the file is missing, of another kind, of a model for another task, or of an
            engine that can't run here; a package that it needs is missing; an option that only
            torch models have.
    """
    if not path.is_file():
        raise UserError(
            f"--model {path} does not exist: give a model file (.pth), an .onnx or an .engine"
        )
    suffix = path.suffix.lower()
    if suffix in TORCH_SUFFIXES:
        model, _ = load_model(path, device=device, expect="inpaint.")
        return TorchBackend(model, device=device, precision=precision or "fp32", compiled=compiled)
    if suffix != ONNX_SUFFIX and suffix not in ENGINE_SUFFIXES:
        raise UserError(
            f"--model {path} is of no kind known here: give a model file (.pth), an .onnx or an "
            ".engine"
        )
    for flag, given in (("--precision", precision), ("--compile", compiled)):
        if given:
            raise UserError(
                f"{flag} is for model files (.pth); {path.name} was exported with its own "
                "precision: leave it out"
            )
    return (
        OnnxBackend(path, device=device)
        if suffix == ONNX_SUFFIX
        else TensorRTBackend(path, device=device)
    )


class TorchBackend:
    """A model as it is, or through torch.compile."""

    size: tuple[int, int] | None = None

    def __init__(
        self, model: Model, *, device: torch.device, precision: str = "fp32", compiled: bool = False
    ) -> None:
        self.device = device
        if device.type == "cpu":
            keep_freed_memory()  # fetching it anew for every frame is a sixth of the time
        step = make_step(model).to(device, PRECISIONS[precision]).eval().requires_grad_(False)
        self.window = step.window
        self.multiple = step.model.size_multiple if isinstance(step, StreamingStep) else None
        run: Callable[..., Any] = (
            step.stream
            if isinstance(step, StreamingStep)
            else lambda masked, _: (step(masked), None)
        )
        self._run = compile_function(run) if compiled else run
        self.description = (
            f"torch {torch.__version__} on {device}, {precision}{', compiled' if compiled else ''}"
        )

    @torch.inference_mode()
    def step(self, masked: Tensor, memory: Any, ahead: Ahead | None = None) -> tuple[Tensor, Any]:
        return self._run(masked, memory) if ahead is None else self._run(masked, memory, ahead)


class OnnxBackend:
    """An exported ONNX file through onnxruntime, on CUDA where onnxruntime and `device` both have
    it.

    The memory stays where onnxruntime computes. One frame at a time.
    """

    multiple: int | None = None

    def __init__(self, path: Path, *, device: torch.device) -> None:
        ort = import_onnxruntime()
        self._ort = ort
        on_cuda = device.type == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers()
        if device.type == "cuda" and not on_cuda:
            logger.warning(
                "this onnxruntime has no CUDA, %s runs on the CPU: pip install onnxruntime-gpu",
                path.name,
            )
        self._place = ("cuda", device.index or 0) if on_cuda else ("cpu", 0)
        self.device = torch.device("cpu")  # frames are small; the memory is what must not travel
        providers: list[Any] = ["CPUExecutionProvider"]
        if on_cuda:
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only
        try:
            # by its content where its path is no text, which onnxruntime wants
            source = str(path) if str(path) == plain_text(str(path)) else path.read_bytes()
            # 1.20 to 1.24 join a Pad to the AveragePool after it in a way that changes what comes
            # out, by up to 33 grey levels
            self._session = ort.InferenceSession(
                source, options, providers=providers, disabled_optimizers=["Pad_Fusion"]
            )
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise UserError(
                f"{path} can't be opened by onnxruntime ({first_line(error)}): export it again"
            ) from error
        shapes = {value.name: value.shape for value in self._session.get_inputs()}
        names = (tuple(shapes), tuple(value.name for value in self._session.get_outputs()))
        if names not in [(contract.inputs, contract.outputs) for contract in CONTRACTS]:
            raise UserError(
                f"{path} is no inpainting engine (its inputs are {', '.join(shapes)}, not "
                "masked_frames and perhaps memory): "
                "make one with python -m inpaint export"
            )
        self.window = None if "memory" in shapes else shapes["masked_frames"][1]
        height, width = shapes["masked_frames"][-2:]
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self._memory_shape = shapes.get("memory", [])
        self._multiple = int(
            self._session.get_modelmeta().custom_metadata_map.get("size_multiple", 0)
        )
        if not self._multiple and not all(isinstance(length, int) for length in self._memory_shape):
            raise UserError(
                f"{path} is for any size but does not say of what: make it with python -m inpaint "
                "export --dynamic"
            )
        self.description = f"onnxruntime {ort.__version__} on {self._place[0]}"

    def step(self, masked: Tensor, memory: Any, ahead: Ahead | None = None) -> tuple[Tensor, Any]:
        assert ahead is None
        frame = np.ascontiguousarray(masked.numpy())
        binding = self._session.io_binding()
        binding.bind_cpu_input("masked_frames", frame)
        binding.bind_output("output", "cpu")
        if self.window is None:
            if memory is None:
                memory = self._ort.OrtValue.ortvalue_from_numpy(
                    np.zeros(self._start_shape(frame), np.float32), *self._place
                )
            binding.bind_ortvalue_input("memory", memory)
            binding.bind_output("new_memory", *self._place)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # see above
            raise UserError(f"onnxruntime stopped ({first_line(error)})") from error
        output, *rest = binding.get_outputs()
        return torch.from_numpy(output.numpy()), rest[0] if rest else None

    def _start_shape(self, frame: np.ndarray) -> list[int]:
        """The memory's shape; in a file for any size the tokens follow from the frame's."""

        def tokens() -> int:
            height, width = (2 * -(-side // self._multiple) for side in frame.shape[-2:])
            return height * width

        return [length if isinstance(length, int) else tokens() for length in self._memory_shape]


def import_onnxruntime() -> Any:
    """The package, or a UserError that says how to get it."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError(
            "ONNX files need the package onnxruntime: pip install onnxruntime (or onnxruntime-gpu)"
        ) from error
    return onnxruntime
