"""Steps by torch and by onnxruntime, and the choice among all back ends by a file's suffix.

TensorRT stands in `nunif.runtime.tensorrt`, TorchScript's files in `nunif.runtime.torchscript`.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nunif.compiler import compile_function
from nunif.device import AMP_DTYPES, keep_freed_memory
from nunif.errors import UserError, first_line
from nunif.files import plain_text
from nunif.models.contract import CELLS, HEIGHT, NEW, WIDTH, Contract, Shape
from nunif.runtime.engines import Backend, EngineKind
from nunif.runtime.tensorrt import TensorRTBackend
from nunif.runtime.torchscript import SUFFIX as TORCHSCRIPT_SUFFIX
from nunif.runtime.torchscript import open_torchscript, why

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, **AMP_DTYPES}
TORCH_SUFFIXES, ONNX_SUFFIX, ENGINE_SUFFIXES = (
    (".pth", ".safetensors"),
    ".onnx",
    (".engine", ".plan", ".trt"),
)


class Step(Protocol):
    """A network in torch, a module, that can be run and exported.

    contract: of its call: tensors in, tensors out, in that order.
    """

    contract: Contract

    __call__: Callable[..., Any]

    def to(self, device: torch.device, dtype: torch.dtype) -> Any: ...


class StreamedStep(Step, Protocol):
    """One with a single result that torch can go on with in its own way.

    multiple: see `Backend`.
    """

    multiple: int | None

    def stream(self, frame: Tensor, past: Any, ahead: Any = None, /) -> tuple[Tensor, Any]:
        """The same with a state that torch can go on with in less time than with the contract's;
        None at the start. ahead: see `Backend.step`."""
        ...


def open_by_suffix(
    path: Path,
    open_model: Callable[[], Backend],
    *,
    kind: EngineKind,
    device: torch.device,
    precision: str | None,
    compiled: bool,
) -> Backend:
    """The back end of a file, by its suffix: .pth and .torchscript for torch, .onnx for
    onnxruntime, .engine for TensorRT.

    Args:
        open_model: opens the file with torch. kind: what an engine must be.
        device: where to compute. precision, compiled: as given by a person, for torch alone.

    Raises:
        UserError: the file is missing, of another kind, or of an engine that can't run here; a
            package that it needs is missing; an option that only torch models have.
    """
    _check_is_there(path)
    if path.suffix.lower() in TORCH_SUFFIXES:
        return open_model()
    if not is_exported(path):
        raise UserError(
            f"--model {path} is of no kind known here: give a model file (.pth), an .onnx or an "
            f".engine, or a {TORCHSCRIPT_SUFFIX}"
        )
    return open_exported(path, kind=kind, device=device, precision=precision, compiled=compiled)


def _check_is_there(path: Path) -> None:
    if not path.is_file():
        raise UserError(
            f"--model {path} does not exist: give a model file (.pth), an .onnx or an .engine, "
            f"or a {TORCHSCRIPT_SUFFIX}"
        )


def is_exported(path: Path) -> bool:
    """Whether a file's suffix is one that an export gives, and not a model file's."""
    return path.suffix.lower() in (ONNX_SUFFIX, TORCHSCRIPT_SUFFIX, *ENGINE_SUFFIXES)


def open_exported(
    path: Path,
    *,
    kind: EngineKind,
    device: torch.device,
    precision: str | None,
    compiled: bool,
) -> Backend:
    """The back end of an exported file; see `open_by_suffix`."""
    _check_is_there(path)
    for flag, given in (("--precision", precision), ("--compile", compiled)):
        if given:
            raise UserError(
                f"{flag} is for model files (.pth); {path.name} was exported with its own "
                "precision: leave it out"
            )
    suffix = path.suffix.lower()
    if suffix == ONNX_SUFFIX:
        return OnnxBackend(path, device=device, kind=kind)
    if suffix == TORCHSCRIPT_SUFFIX:
        return TorchScriptBackend(path, device=device, kind=kind)
    return TensorRTBackend(path, device=device, kind=kind)


class StepBackend(Backend):
    """A network as it is, or through torch.compile, in the way that is quickest for torch."""

    def __init__(
        self,
        step: StreamedStep,
        *,
        device: torch.device,
        precision: str = "fp32",
        compiled: bool = False,
    ) -> None:
        self.device = device
        if device.type == "cpu":
            keep_freed_memory()  # fetching it anew for every frame is a sixth of the time
        step = step.to(device, PRECISIONS[precision]).eval().requires_grad_(False)
        self.contract, self.multiple = step.contract, step.multiple
        self._stream = compile_function(step.stream) if compiled else step.stream
        self.description = (
            f"torch {torch.__version__} on {device}, {precision}{', compiled' if compiled else ''}"
        )

    def run(self, values: Mapping[str, Tensor], state: Any) -> tuple[dict[str, Tensor], Any]:
        (name,), (result,) = self.contract.given, self.contract.results
        output, state = self.step(values[name], state)
        return {result: output}, state

    @torch.inference_mode()
    def step(self, frame: Tensor, state: Any, ahead: Any = None) -> tuple[Tensor, Any]:
        if ahead is None:
            return self._stream(frame, state)
        return self._stream(frame, state, ahead)


class ContractBackend(Backend):
    """Anything in torch that is called as its contract says, state and all: what an export is
    compared with, and a program that torch.export wrote."""

    def __init__(
        self,
        program: Callable[..., Any],
        contract: Contract,
        *,
        device: torch.device,
        description: str,
    ) -> None:
        self.device, self.contract, self.description = device, contract, description
        self._program = program

    @torch.inference_mode()
    def run(self, values: Mapping[str, Tensor], state: Any) -> tuple[dict[str, Tensor], Any]:
        if state is None:
            frame = values[self.contract.given[0]]
            state = self.contract.start(*frame.shape[-2:], device=self.device)
        inputs = {**values, **state}
        outputs = self._program(*(inputs[name] for name in self.contract.inputs))
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        return self.contract.split(dict(zip(self.contract.outputs, outputs)))


class TorchScriptBackend(ContractBackend):
    """An exported TorchScript file by torch itself. The state stays on the device. One frame at a
    time."""

    def __init__(self, path: Path, *, device: torch.device, kind: EngineKind | None = None) -> None:
        """kind: what it must be; None for any.

        Raises:
            UserError: the file is torn or of another kind.
        """
        program, contract = open_torchscript(path, device)
        if kind is not None:
            _check_kind(path, contract, kind)
        where = f"torch {torch.__version__} (TorchScript) on {device}"
        super().__init__(program, contract, device=device, description=where)

    def run(self, values: Mapping[str, Tensor], state: Any) -> tuple[dict[str, Tensor], Any]:
        try:
            return super().run(values, state)
        except (RuntimeError, torch.jit.Error) as error:  # such as too little memory
            raise UserError(f"TorchScript stopped ({why(error)})") from error


class OnnxBackend(Backend):
    """An exported ONNX file through onnxruntime, on CUDA where onnxruntime and `device` both have
    it.

    The state stays where onnxruntime computes. One frame at a time.
    """

    def __init__(self, path: Path, *, device: torch.device, kind: EngineKind | None = None) -> None:
        """kind: what it must be; None for any file that says its sizes.

        Raises:
            UserError: onnxruntime is missing, or the file is torn or of another kind.
        """
        ort = import_onnxruntime()
        self._ort = ort
        on_cuda = device.type == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers()
        if device.type == "cuda" and not on_cuda:
            logger.warning(
                "this onnxruntime has no CUDA, %s runs on the CPU: pip install onnxruntime-gpu",
                path.name,
            )
        self._place = ("cuda", device.index or 0) if on_cuda else ("cpu", 0)
        self.device = torch.device("cpu")  # frames are small; the state is what must not travel
        self._session = _open_session(ort, path, self._place)
        self.contract = _contract_of(self._session)
        if kind is not None:
            _check_kind(path, self.contract, kind)
        self.description = f"onnxruntime {ort.__version__} on {self._place[0]}"

    def run(self, values: Mapping[str, Tensor], state: Any) -> tuple[dict[str, Tensor], Any]:
        contract = self.contract
        frames = {name: np.ascontiguousarray(values[name].numpy()) for name in contract.given}
        if state is None:
            state = self._start(frames[contract.given[0]])
        binding = self._session.io_binding()
        for name, frame in frames.items():
            binding.bind_cpu_input(name, frame)
        for name in contract.results:
            binding.bind_output(name, "cpu")
        for name in contract.states:
            binding.bind_ortvalue_input(name, state[name])
            binding.bind_output(NEW + name, *self._place)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # see `_open_session`
            raise UserError(f"onnxruntime stopped ({first_line(error)})") from error
        names = (*contract.results, *(NEW + name for name in contract.states))
        results, state = contract.split(dict(zip(names, binding.get_outputs())))
        return {name: torch.from_numpy(value.numpy()) for name, value in results.items()}, state

    def _start(self, frame: np.ndarray) -> dict[str, Any]:
        zeros = self.contract.start(*frame.shape[-2:])
        make = self._ort.OrtValue.ortvalue_from_numpy
        return {name: make(value.numpy(), *self._place) for name, value in zeros.items()}


def _open_session(ort: Any, path: Path, place: tuple[str, int]) -> Any:
    """
    Raises:
        UserError: onnxruntime can't open the file.
    """
    providers: list[Any] = ["CPUExecutionProvider"]
    if place[0] == "cuda":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": place[1]}))
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only
    try:
        # by its content where its path is no text, which onnxruntime wants
        source = str(path) if str(path) == plain_text(str(path)) else path.read_bytes()
        # 1.20 to 1.24 join a Pad to the AveragePool after it in a way that changes what comes
        # out, by up to 33 grey levels
        return ort.InferenceSession(
            source, options, providers=providers, disabled_optimizers=["Pad_Fusion"]
        )
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise UserError(
            f"{path} can't be opened by onnxruntime ({first_line(error)}): export it again"
        ) from error


def _contract_of(session: Any) -> Contract:
    """What a session says of its tensors. A batch that is free is one here, as everywhere. Other
    free lengths of a state are in cells, others the frame's."""
    values = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    names = Contract(values, outputs)
    multiple = int(session.get_modelmeta().custom_metadata_map.get("size_multiple", 0))
    inputs = {
        name: _of_state(shape) if name in names.states else _of_frame(shape)
        for name, shape in values.items()
    }
    results = {name: _of_frame(outputs[name]) for name in names.results}
    states = {NEW + name: inputs[name] for name in names.states}
    return Contract(
        inputs, {name: {**results, **states}[name] for name in outputs}, multiple or None
    )


def _of_state(shape: list[int | str]) -> Shape:
    return (_of_batch(shape[0]), *(x if isinstance(x, int) else CELLS for x in shape[1:]))


def _of_frame(shape: list[int | str]) -> Shape:
    sides = (HEIGHT, WIDTH)
    free = [x if isinstance(x, int) else side for x, side in zip(shape[-2:], sides)]
    return (_of_batch(shape[0]), *shape[1:-2], *free)


def _of_batch(length: int | str) -> int:
    return length if isinstance(length, int) else 1


def _check_kind(path: Path, contract: Contract, kind: EngineKind) -> None:
    """
    Raises:
        UserError: the file is of another kind, or for any size and does not say of what.
    """
    if contract.names not in kind.names:
        raise UserError(
            f"{path} is no {kind.title} engine (its inputs are {', '.join(contract.inputs)}, not "
            f"{kind.wanted}): make one with {kind.command}"
        )
    if contract.multiple is None and any(CELLS in shape for shape in contract.inputs.values()):
        raise UserError(
            f"{path} is for any size but does not say of what: make it with {kind.command} "
            "--dynamic"
        )


def import_onnxruntime() -> Any:
    """The package, or a UserError that says how to get it."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError(
            "ONNX files need the package onnxruntime: pip install onnxruntime (or onnxruntime-gpu)"
        ) from error
    return onnxruntime
