"""Everything that touches TorchScript: writing a step as a traced program, for programs in C++ on
LibTorch and for torch without this project, and opening one.

A file is a program in torch's own language with its weights, and the contract of its tensors. It
holds no Python objects, and nothing is unpickled as such; but opening and calling it runs what
stands in it, so it is to be trusted as any program is.
"""

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nunif.errors import UserError, first_line
from nunif.models.contract import Contract

SUFFIX = ".torchscript"
CONTRACT = "contract.json"  # beside the code in the file: the tensors' names and shapes
# of source files where lines of code came from: with the paths of the machine that wrote them
DEBUG_SUFFIX = ".debug_pkl"
# what torch adds to an archive by itself
OF_THE_WRITER = {"version", ".data/version", ".data/serialization_id"}


def write_torchscript(
    step: nn.Module, contract: Contract, size: tuple[int, int], path: Path
) -> None:
    """Trace a step at a size in pixels and write it: `forward` with the contract's inputs in their
    order gives its outputs in theirs.

    It runs on any device that it is loaded to, and refuses tensors of another shape or type.
    """
    shapes = contract.shapes(*size)
    examples = tuple(torch.zeros(shapes[name]) for name in contract.inputs)
    told = {
        "inputs": {name: shapes[name] for name in contract.inputs},
        "outputs": {name: shapes[name] for name in contract.outputs},
    }
    buffer = io.BytesIO()
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(step, examples, check_trace=False)
        graph: Any = traced.graph
        torch._C._jit_pass_inline(graph)
        _unbind_device(graph)
        _fix_sizes(graph)
        program: Any = torch.jit.script(_Program(traced))
        program.define(_checked_call(contract, shapes))
        torch.jit.save(program.eval(), buffer, _extra_files={CONTRACT: json.dumps(told)})
    buffer.seek(0)
    _write_without_paths(buffer, path)


class _Program(nn.Module):
    """What `forward` is then added to: in TorchScript, as it has as many inputs as the contract."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step


def _checked_call(contract: Contract, shapes: dict[str, tuple[int, ...]]) -> str:
    """Source of `forward`: a trace computes something else, or nothing, at other shapes."""
    lines = [f"def forward(self, {', '.join(f'{name}: Tensor' for name in contract.inputs)}):"]
    for name in contract.inputs:
        wanted = list(shapes[name])
        lines += [
            f"    assert {name}.shape == {wanted} and {name}.dtype == torch.float32, "
            f'"{name} must be float32 of the shape {wanted}"'
        ]
    lines += [f"    return self.step({', '.join(contract.inputs)})"]
    return "\n".join(lines) + "\n"


def _fix_sizes(graph: Any) -> None:
    """Put numbers for what a traced graph works out of its tensors' shapes, which are always the
    same; on a GPU it would be waited for each of them."""
    for node in graph.findAllNodes("aten::size"):
        sizes = node.inputsAt(0).type().sizes()  # None where the trace did not note them
        if sizes is not None and node.inputsSize() == 2:
            graph.setInsertPoint(node)
            length = graph.insertConstant(sizes[node.inputsAt(1).toIValue()])
            node.output().replaceAllUsesWith(length)
    torch._C._jit_pass_constant_propagation(graph)
    torch._C._jit_pass_dce(graph)


def _unbind_device(graph: Any) -> None:
    """Let a traced graph compute where its first input lies; a trace fixes the device that it was
    made on, in what is made anew at every call and in constants."""
    frame = list(graph.inputs())[1]  # the first is the module
    device = graph.create("prim::device", [frame], 1)
    device.output().setType(torch._C.DeviceObjType.get())
    graph.prependNode(device)
    for node in graph.findAllNodes("prim::Constant"):
        value = node.output()
        if value.type().kind() == "DeviceObjType":
            value.replaceAllUsesWith(device.output())
        elif isinstance(constant := value.toIValue(), torch.Tensor) and constant.ndim:
            graph.setInsertPoint(node)
            more = [graph.insertConstant(argument) for argument in (None, False, False)]
            moved = graph.create("aten::to", [value, device.output(), *more], 1)
            moved.insertAfter(node)
            value.replaceAllUsesAfterNodeWith(moved, moved.output())


def _write_without_paths(source: io.BytesIO, path: Path) -> None:
    reader = torch._C.PyTorchFileReader(source)
    with open(path, "wb") as file:  # by Python, because a path may be no text
        writer = torch._C.PyTorchFileWriter(file)
        for name in reader.get_all_records():
            if name not in OF_THE_WRITER and not name.endswith(DEBUG_SUFFIX):
                data = reader.get_record(name)
                writer.write_record(name, data, len(data))
        writer.write_end_of_file()


def open_torchscript(path: Path, device: torch.device) -> tuple[Any, Contract]:
    """A program on a device, and its contract.

    Raises:
        UserError: the file is torn, no TorchScript, or not one of ours.
    """
    extra: dict[str, Any] = {CONTRACT: ""}
    try:
        with _quiet(), open(path, "rb") as file:
            program = torch.jit.load(file, map_location=device, _extra_files=extra)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} can't be opened by torch ({why(error)}): it is torn or no TorchScript file, "
            "export it again"
        ) from error
    try:
        told = json.loads(extra[CONTRACT])
        inputs, outputs = (
            {name: tuple(map(int, shape)) for name, shape in told[part].items()}
            for part in ("inputs", "outputs")
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} does not say what its tensors are ({CONTRACT} is missing in it): it was not "
            "made here, export it"
        ) from error
    return program.eval(), Contract(inputs, outputs)


def why(error: Exception) -> str:
    """What stopped a program: torch tells it below the lines of code that led there."""
    lines = [line for line in str(error).splitlines() if "Error: " in line]
    return lines[-1][:200] if lines else first_line(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's word at every call that TorchScript gets no new features, and a trace's on
    numbers that it takes for constants, as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
