"""Take a network to where it runs without us: ONNX, TensorRT, TorchScript, torch.export.

Every file is run over a clip, its own state carried from frame to frame (or window by window), and
compared with the network in float32 before it gets its name.

Axes: B batch, T frames, H W pixels.
"""

import copy
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nunif.errors import UserError
from nunif.files import file_sha256, whole_path, write_json
from nunif.models import Model
from nunif.models.contract import CELLS, Contract
from nunif.runtime import tensorrt
from nunif.runtime.backends import (
    PRECISIONS,
    ContractBackend,
    OnnxBackend,
    Step,
    TorchScriptBackend,
    import_onnxruntime,
)
from nunif.runtime.engines import Backend, EngineKind
from nunif.runtime.opset import (
    OLDEST_OF_TORCH,
    OPSET,
    check_opset,
    fit_format,
    forget_sources,
    to_opset_17,
)
from nunif.runtime.parity import compare, in_words, into_windows, run_clip
from nunif.runtime.torchscript import SUFFIX as TORCHSCRIPT_SUFFIX
from nunif.runtime.torchscript import write_torchscript

logger = logging.getLogger(__name__)

SLOWLY_FOLDED = {"ConvTranspose", "AveragePool", "Resize", "GridSample"}  # see write_onnx
MANIFEST = "manifest.json"
# Largest difference from the float32 model that passes, of a range of 1 or 2. Half precision
# ends at 1e-3 to 1e-2.
TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}

CPU = torch.device("cpu")
DYNAMIC_EXAMPLE = (100, 130)  # no multiples of anything, so that nothing is specialised on them


@dataclass(frozen=True)
class Wishes:
    """What is to be written, and for whom.

    formats: see `nunif.runtime.options.EXPORT_FORMATS`. size: (H, W) in pixels.
    precision: fp32 or fp16, inside. dynamic: an ONNX file for any batch, height and width.
    capabilities: of the GPUs to build TensorRT engines for; None = see
        `tensorrt.DEFAULT_CAPABILITIES`.
    device: where float32 torch and TensorRT run for the comparison.
    opset: of an ONNX file, see `nunif.runtime.opset`.
    """

    formats: Sequence[str]
    size: tuple[int, int] = (360, 640)
    precision: str = "fp32"
    dynamic: bool = False
    capabilities: Sequence[str] | None = None
    device: torch.device = CPU
    opset: int = OPSET


def check_wishes(wishes: Wishes) -> None:
    """Make sure, before any work, that they can be fulfilled.

    Raises:
        UserError: a format can't be for any size; a package is missing.
    """
    if wishes.dynamic and "tensorrt" in wishes.formats:
        raise UserError("--dynamic is for ONNX: a TensorRT engine has one size, export it without")
    if wishes.dynamic and "torchscript" in wishes.formats:
        raise UserError("--dynamic is for ONNX: a TorchScript file has one size, export it without")
    check_packages(wishes.formats)
    if "onnx" in wishes.formats or "tensorrt" in wishes.formats:
        check_opset(wishes.opset)


def check_packages(formats: Sequence[str]) -> None:
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


def export_step(
    step: Step,
    frames: list[Tensor],
    folder: Path,
    wishes: Wishes,
    *,
    name: str,
    kind: EngineKind,
    clip: str,
    about: Mapping[str, Any],
    words: Mapping[str, str],
    exact_name: str | None = None,
) -> list[Path]:
    """Write a step in every format, checked, and enter each file in the folder's manifest.json.

    Args:
        frames: of the clip to compare on, as the step takes them, one by one.
        name: of the files, to which size and precision are added. kind: of engines, for messages.
        clip: what the manifest calls the clip. about: what it says of the model, see
            `about_model`. words: what it says of the tensors besides their shapes.
        exact_name: of the files without their suffix, instead.
    Returns: the files written.
    Raises:
        UserError: a format can't hold the network, or a file computes something else; files that
            were finished before stay.
    """
    size, precision = wishes.size, wishes.precision
    contract = step.contract
    pieces = into_windows(frames, contract.window)
    reference = run_reference(step, pieces, wishes.device)

    def check(backend: Backend, name: str) -> dict[str, Any]:
        tolerance = TOLERANCE[precision]
        parity = compare(run_clip(backend, pieces), reference, tolerance=tolerance, name=name)
        return {"ran_with": backend.description, "clip": clip, **parity}

    export = Export(
        step=copy.deepcopy(step).to(CPU, PRECISIONS[precision]).eval().requires_grad_(False),
        stem=folder / (exact_name or file_name(name, wishes)),
        size=size,
        dynamic=wishes.dynamic,
        opset=wishes.opset,
        check=check,
        common={
            **about,
            "precision": precision,
            **describe_contract(contract, size, dynamic=wishes.dynamic),
            **words,
        },
    )
    if "onnx" in wishes.formats or "tensorrt" in wishes.formats:
        to_onnx(export, checked="onnx" in wishes.formats)
    if "tensorrt" in wishes.formats:
        to_tensorrt(export, wishes.capabilities, wishes.device, kind)
    if "torch-export" in wishes.formats:
        to_torch_export(export)
    if "torchscript" in wishes.formats:
        to_torchscript(export)
    logger.info("what the files want and give: %s", folder / MANIFEST)
    return export.files


def file_name(name: str, wishes: Wishes) -> str:
    """Of the files of a model, without their suffix."""
    of_size = "any" if wishes.dynamic else f"{wishes.size[0]}x{wishes.size[1]}"
    return f"{name}_{of_size}_{wishes.precision}"


def about_model(model: Model, source: Path) -> dict[str, Any]:
    """What the manifest says of a model that came from a file."""
    return {
        "model": model.name,
        "model_kwargs": model.kwargs,
        "parameters": model.num_parameters,
        "source": {"file": source.name, "sha256": file_sha256(source)},
    }


def run_reference(
    step: Step, pieces: list[Tensor], device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """What the step computes in float32, whatever it is exported in; see `run_clip`."""
    # ten bits of mantissa are no reference
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        whole = copy.deepcopy(step).to(device, torch.float32).eval().requires_grad_(False)
        backend = ContractBackend(whole, whole.contract, device=device, description="torch")
        return list(run_clip(backend, pieces))


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
    opset: int
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
        write_onnx(export.traced, export.step, partial, opset=export.opset)
        parity = {"not_run": "not run, it was made for TensorRT"}
        if checked:
            parity = export.check(OnnxBackend(partial, device=CPU), path.name)
    export.finish(path, begin, format="onnx", opset=export.opset, parity=parity)


def to_tensorrt(
    export: Export, capabilities: Sequence[str] | None, device: torch.device, kind: EngineKind
) -> None:
    """Build an engine from the ONNX file; where there is a GPU, open it, check its tensors again,
    and run it."""
    begin, onnx_path = time.monotonic(), export.path(".onnx")
    trt = tensorrt.import_tensorrt()
    if capabilities is None:
        at_hand = torch.cuda.is_available() or not tensorrt.is_rtx(trt)
        capabilities = [] if at_hand else list(tensorrt.DEFAULT_CAPABILITIES)
    targets = "_sm" + "_".join(c.replace(".", "") for c in capabilities) if capabilities else ""
    path = export.path(f"{targets}.engine")
    expected = tensor_types(export.step.contract, export.size)
    with whole_path(path) as partial:
        tensorrt.build_engine(onnx_path, partial, capabilities=capabilities, expected=expected)
        parity = {
            "not_run": (
                "built, but not run: a finished engine can't be opened without a GPU that it is for"
            )
        }
        if tensorrt.runs_on(capabilities, device):
            backend = tensorrt.TensorRTBackend(partial, device=device, kind=kind)
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
        contract = export.step.contract
        backend = ContractBackend(program, contract, device=CPU, description=where)
        parity = export.check(backend, path.name)
    export.finish(path, begin, format="torch-export", parity=parity)


def to_torchscript(export: Export) -> None:
    """A program for torch.jit.load, and for LibTorch."""
    begin, path = time.monotonic(), export.path(TORCHSCRIPT_SUFFIX)
    with whole_path(path) as partial:
        contract = export.step.contract
        write_torchscript(export.step, contract, export.size, partial)  # type: ignore[arg-type]
        parity = export.check(TorchScriptBackend(partial, device=CPU), path.name)
    export.finish(path, begin, format="torchscript", parity=parity)


def tensor_types(contract: Contract, size: tuple[int, int]) -> tensorrt.Shapes:
    """Names, shapes and types of the tensors at a size in pixels."""
    return {name: (shape, "float32") for name, shape in contract.shapes(*size).items()}


def describe_contract(
    contract: Contract, size: tuple[int, int], *, dynamic: bool
) -> dict[str, Any]:
    """The inputs and outputs for the manifest, in numbers or, if dynamic, in words where a length
    depends on the batch and on the frame's size."""
    shapes: Mapping[str, Sequence[int | str]] = contract.shapes(*size)
    if dynamic:
        cells = f"4 * ceil(height / {contract.multiple}) * ceil(width / {contract.multiple})"
        shapes = {
            name: ["batch", *(cells if length == CELLS else length for length in shape[1:])]
            for name, shape in {**contract.inputs, **contract.outputs}.items()
        }
    rows = {name: {"shape": list(shape), "type": "float32"} for name, shape in shapes.items()}
    return {
        "inputs": {name: rows[name] for name in contract.inputs},
        "outputs": {name: rows[name] for name in contract.outputs},
    }


def trace(step: Step, size: tuple[int, int], *, dynamic: bool) -> torch.export.ExportedProgram:
    """The step as torch.export follows it, for one size or any: what all formats begin with, and
    what takes longest."""
    contract = step.contract
    shapes = contract.shapes(*(DYNAMIC_EXAMPLE if dynamic else size))
    tensors = tuple(torch.zeros(shapes[name]) for name in contract.inputs)
    free = None
    if dynamic:  # an example of one would be taken for always one
        tensors = tuple(tensor.repeat_interleave(2, dim=0) for tensor in tensors)
        free = tuple(_free_lengths(contract, name) for name in contract.inputs)
    with _quiet():
        traced = torch.export.export(
            step,  # type: ignore[arg-type]
            tensors,
            dynamic_shapes=free,
            strict=False,
        )
    for module in traced.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # paths of this machine
    return traced


def _free_lengths(contract: Contract, name: str) -> dict[int, Any]:
    """Which axes of an input may have any length: the batch, and what depends on the frame's size.
    How those of a state follow from the frame's the exporter finds out."""
    kind = torch.export.Dim.AUTO if name in contract.states else torch.export.Dim.DYNAMIC
    lengths = enumerate(contract.inputs[name])
    return {axis: kind for axis, length in lengths if axis == 0 or isinstance(length, str)}


def write_onnx(
    traced: torch.export.ExportedProgram, step: Step, path: Path, *, opset: int = OPSET
) -> None:
    """Write one ONNX file with its weights in it.

    Raises:
        UserError: the network can't be said in that operator set.
    """
    from onnxscript.optimizer import fold_constants, inline, remove_unused_nodes

    with _quiet():
        program: Any = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=max(opset, OLDEST_OF_TORCH),
            optimize=False,
            verbose=False,
            input_names=list(step.contract.inputs),
            output_names=list(step.contract.outputs),
        )
        # Constants are worked out with onnx's reference in plain Python. The bias of the
        # token-to-image layer, a transposed convolution of ones, and the means of ones take it
        # minutes, and what comes out would be too large to be kept. The optimizer's rewriting rules
        # change next to nothing here and take it longer than all the rest.
        inline(program.model)
        fold_constants(
            program.model, should_fold=lambda node: False if node.op_type in SLOWLY_FOLDED else None
        )
        remove_unused_nodes(program.model)
    if opset < OLDEST_OF_TORCH:
        to_opset_17(program.model)
    if program.model.opset_imports[""] != opset:  # of which torch only warns
        raise UserError(
            f"--opset {opset}: torch {torch.__version__} can't write this network in it, give "
            f"{OPSET}"
        )
    fit_format(program.model)
    forget_sources(program.model)
    if step.contract.multiple is not None:
        program.model.metadata_props["size_multiple"] = str(step.contract.multiple)
    program.save(path, external_data=False)


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
    """Without the exporter's remarks on packages that nothing here needs, and, where torch is new
    enough, without where in the source each operation stands: that alone is a tenth of its time."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    config: Any = torch.fx.config
    emits_nothing = getattr(config, "do_not_emit_stack_traces", False)
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        config.do_not_emit_stack_traces = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.do_not_emit_stack_traces = emits_nothing
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
