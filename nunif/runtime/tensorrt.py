"""Everything that touches TensorRT: building an engine from an ONNX file, and running one.

The package is `tensorrt` where it is installed (an engine for the GPU at hand), else `tensorrt_rtx`
(TensorRT for RTX: from PyPI, builds without a GPU for the compute capabilities asked for). Both
have the same classes.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nunif.errors import UserError, first_line
from nunif.files import whole_file
from nunif.models.contract import Contract
from nunif.runtime.engines import Backend, EngineKind

PACKAGES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
DEFAULT_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")  # from A100 and RTX 30 to RTX 50

# of each tensor: its shape and the name of its type
Shapes = dict[str, tuple[tuple[int, ...], str]]


def import_tensorrt() -> Any:
    """`tensorrt`, else `tensorrt_rtx`.

    Raises:
        UserError: neither is installed, or the one that is can't be loaded.
    """
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise UserError(
                    f"the package {name} is broken ({error}): install it again"
                ) from error
        except (
            ImportError,
            OSError,
        ) as error:  # its libraries are not there, or for another system
            raise UserError(
                f"the package {name} can't be loaded ({first_line(error)}): install it again"
            ) from error
    raise UserError("TensorRT is not installed: pip install tensorrt-rtx, or NVIDIA's tensorrt")


def is_rtx(trt: Any) -> bool:
    """Whether the package is TensorRT for RTX, which builds for other GPUs than the one at hand."""
    return trt.__name__ != "tensorrt"


def runs_on(capabilities: Sequence[str], device: torch.device) -> bool:
    """Whether an engine built for these compute capabilities (empty: for the GPU at hand) can be
    opened on a device."""
    if device.type != "cuda":
        return False
    return (
        not capabilities
        or "{}.{}".format(*torch.cuda.get_device_capability(device)) in capabilities
    )


def parse_capabilities(text: str) -> list[str]:
    """ "8.6,12.0" -> ["8.6", "12.0"].

    Raises:
        UserError: something that is no compute capability.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not word.replace(".", "", 1).isdigit() or "." not in word:
            raise UserError(
                f"--compute-capability {text}: {word!r} is none, write them as 8.6,8.9,12.0"
            )
    return words


def build_engine(
    onnx_path: Path, engine_path: Path, *, capabilities: Sequence[str], expected: Shapes
) -> Shapes:
    """Build an engine that computes in the types of the ONNX file (a strongly typed network).

    Args:
        capabilities: compute capabilities to build for; empty = the GPU at hand. TensorRT for RTX
            only.
        expected: what the tensors must be; checked on the network's definition before it is
            serialised.
    Returns: the tensors of the definition.
    Raises:
        UserError: TensorRT refuses an operator (named), a capability, or the build; a tensor is not
            as expected.
    """
    trt = import_tensorrt()
    if not is_rtx(trt):
        if capabilities:
            raise UserError(
                "--compute-capability is for TensorRT-RTX; tensorrt builds for the GPU at hand: "
                "leave it out"
            )
        if not torch.cuda.is_available():
            raise UserError(
                "tensorrt builds for the GPU at hand, and there is none: pip install tensorrt-rtx "
                "instead"
            )
    log = _make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_path.read_bytes()):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        operators = sorted({error.node_operator() for error in errors if error.node_operator()})
        what = f"the operator {', '.join(operators)}" if operators else "the file"
        raise UserError(
            f"TensorRT refuses {what} of {onnx_path.name}: "
            f"{errors[0].desc() if errors else log.last}"
        )
    config = builder.create_builder_config()
    # who asked for float32 gets it, who wants speed takes fp16
    config.clear_flag(trt.BuilderFlag.TF32)
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for i, capability in enumerate(capabilities):
            config.set_compute_capability(_capability(trt, capability), i)
    found = network_tensors(trt, network)
    check_tensors(found, expected, onnx_path.name)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise UserError(f"TensorRT could not build an engine of {onnx_path.name}: {log.last}")
    with whole_file(engine_path) as file:
        file.write(memoryview(engine))
    return found


def network_tensors(trt: Any, network: Any) -> Shapes:
    """Names, shapes and types of a network definition's inputs and outputs."""
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    return {tensor.name: (tuple(tensor.shape), _type_name(trt, tensor.dtype)) for tensor in tensors}


def engine_tensors(trt: Any, engine: Any) -> Shapes:
    """The same of a finished engine that has been opened."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    return {
        name: (tuple(engine.get_tensor_shape(name)), _type_name(trt, engine.get_tensor_dtype(name)))
        for name in names
    }


def check_tensors(found: Shapes, expected: Shapes, source: str) -> None:
    """Compare tensors by name.

    Raises:
        UserError: names the first that is missing, one too many, or of another shape or type.
    """
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            here, there = (_describe(tensors.get(name)) for tensors in (found, expected))
            raise UserError(f"{source}: the tensor {name} is {here}, it should be {there}")


class TensorRTBackend(Backend):
    """An engine on the GPU that it was built for. The state stays on the GPU. One frame at a
    time."""

    def __init__(self, path: Path, *, device: torch.device, kind: EngineKind) -> None:
        """
        Raises:
            UserError: TensorRT or a GPU is missing, or the engine is torn, for another GPU or
                version, or not of the kind.
        """
        trt = import_tensorrt()
        if device.type != "cuda":
            raise UserError(
                f"{path.name} is a TensorRT engine, which needs a CUDA GPU, and none is used "
                "here: take the .onnx"
            )
        self.device = device
        log = _make_log(trt)
        with torch.cuda.device(device):
            self._runtime = trt.Runtime(log)
            self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if self._engine is None:
                raise UserError(
                    f"{path} can't be opened here ({log.last}): it is torn, or was built for "
                    "another GPU or version of TensorRT; build it again on this machine with "
                    f"{kind.command} --format tensorrt"
                )
            self.tensors = engine_tensors(trt, self._engine)
            self.contract = contract_of(self.tensors, path, kind)
            self._context = self._engine.create_execution_context()
        self.description = f"{trt.__name__} {trt.__version__} on {device}"

    def run(self, values: Mapping[str, Tensor], state: Any) -> tuple[dict[str, Tensor], Any]:
        contract = self.contract
        inputs = {name: values[name].contiguous() for name in contract.given}
        if state is None:
            state = contract.start(*inputs[contract.given[0]].shape[-2:], device=self.device)
        outputs = {
            name: torch.empty(self.tensors[name][0], device=self.device)
            for name in contract.outputs
        }
        for name, value in {**inputs, **state, **outputs}.items():
            self._context.set_tensor_address(name, value.data_ptr())
        with torch.cuda.device(self.device):
            stream = torch.cuda.current_stream()
            if not self._context.execute_async_v3(stream.cuda_stream):
                raise UserError("TensorRT could not run the engine: is there enough GPU memory?")
        return contract.split(outputs)


def contract_of(tensors: Shapes, path: Path, kind: EngineKind) -> Contract:
    """The contract of an engine with these tensors, whose order it does not tell.

    Raises:
        UserError: the engine is of another kind.
    """
    for inputs, outputs in kind.names:
        if {*inputs, *outputs} == tensors.keys():
            return Contract(
                {name: tensors[name][0] for name in inputs},
                {name: tensors[name][0] for name in outputs},
            )
    raise UserError(f"{path} is no {kind.title} engine: its tensors are {', '.join(tensors)}")


def _make_log(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps the last error instead of printing."""

        def __init__(self) -> None:
            super().__init__()
            self.last = "it gives no reason"

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.last = (message.strip().splitlines() or [""])[0][:300]

    return Log()


def _capability(trt: Any, text: str) -> Any:
    known = trt.ComputeCapability.__members__
    value = known.get("SM" + text.replace(".", ""))
    if value is None:
        names = [f"{name[2:-1]}.{name[-1]}" for name in known if name.startswith("SM")]
        raise UserError(
            f"--compute-capability {text} is not known to {trt.__name__} {trt.__version__}: "
            f"{', '.join(names)} are"
        )
    return value


def _type_name(trt: Any, dtype: Any) -> str:
    names = {trt.float32: "float32", trt.float16: "float16", trt.bfloat16: "bfloat16"}
    return names.get(dtype, str(dtype))


def _describe(tensor: tuple[tuple[int, ...], str] | None) -> str:
    return "missing" if tensor is None else f"{tensor[1]} {tensor[0]}"
