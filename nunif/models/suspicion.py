"""What a stranger's torch file is checked for before and after it is opened: it must not cost more
than its size.

Opened as weights only, a file runs no code. Still a file of some kilobytes may ask for memory
without end: by compressed entries, by calls that torch allows, by tensors that repeat a few
numbers, by values that hold each other.
"""

import pickletools
import re
import zipfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nunif.errors import UserError, first_line

WEIGHT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Tensors may share their numbers, which are in the file once.
MAX_GROWTH = 8
ZIP_START = b"PK\x03\x04"
NUM_LEGACY_PICKLES = 5  # magic number, version, system, content, keys; the numbers come behind them

_GLOBALS = frozenset(
    {("collections", "OrderedDict"), ("collections", "Counter"), ("_codecs", "encode")}
    | {(module, name) for module in ("builtins", "__builtin__") for name in ("set", "complex")}
    | {("torch", name) for name in ("Size", "device")}
    | {
        ("torch.storage", "UntypedStorage"),
        ("torch.storage", "TypedStorage"),
        ("torch.nn.parameter", "Parameter"),
    }
    | {
        ("torch._utils", f"_rebuild_{name}")
        for name in ("tensor", "tensor_v2", "tensor_v3", "parameter")
    }
    | {("torch._utils", "_rebuild_parameter_with_state"), ("torch.serialization", "_get_layout")}
)
# torch.save writes none of these
_HIDDEN_GLOBALS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"})


def check_before_opening(path: Path) -> None:
    """Raises UserError when a file names code or more than tensors need, or unpacks to more than it
    holds."""
    try:
        with open(path, "rb") as file:
            if file.read(len(ZIP_START)) == ZIP_START:
                with zipfile.ZipFile(path) as archive:
                    _check_archive(archive, path)
                return
            file.seek(0)
            for _ in range(NUM_LEGACY_PICKLES):
                _check_pickle(file, path)
    except UserError:
        raise
    except Exception as error:  # readers of damaged archives and pickles raise anything
        raise torn(path, error) from error


def _check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    entries, size = archive.infolist(), path.stat().st_size
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    # entries that overlap are one another's numbers over again
    if packed or sum(entry.file_size for entry in entries) > size:
        why = (
            f"its entry {packed[0]!r} is compressed"
            if packed
            else "its entries are longer than the file"
        )
        raise UserError(
            f"{path} is no model file as torch writes it ({why}): get it from another source"
        )
    rotten = archive.testzip()  # torch itself compares no checksums
    if rotten is not None:
        raise torn(path, ValueError(f"the checksum of {rotten!r} is wrong"))
    for entry in entries:
        if entry.filename.lower().endswith(".pkl"):
            with archive.open(entry) as file:
                _check_pickle(file, path)  # type: ignore[arg-type]


def _check_pickle(file: BinaryIO, path: Path) -> None:
    # newer protocols push as texts, or fetch from their memo, the names of what they call
    pushed, texts, memo = "", deque[str](maxlen=2), list[str]()
    protocol, is_newer = 0, False
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if number == 0 and opcode.name != "PROTO":
            raise ValueError("not a pickle of torch")
        if opcode.name == "PROTO":
            protocol = int(argument or 0)
        elif opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            if not _is_known(module, name):
                raise carries_code(path, f"{module}.{name}")
        elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
            if not _is_known(*texts):
                raise carries_code(path, ".".join(texts))
            is_newer = True
        elif opcode.name in _HIDDEN_GLOBALS:
            raise carries_code(path, opcode.name)
        elif opcode.name == "MEMOIZE":
            memo.append(pushed)
            continue
        pushed = str(argument) if "UNICODE" in opcode.name else ""
        if opcode.name in ("BINGET", "LONG_BINGET"):
            pushed = memo[int(argument or 0)] if int(argument or 0) < len(memo) else ""
        if pushed:
            texts.append(pushed)
    if is_newer:
        raise UserError(
            f"{path} was saved with pickle protocol {protocol}, which is not read here: save it "
            "again where it was made, "
            "with torch.save and no pickle_protocol"
        )


def _is_known(module: str, name: str) -> bool:
    return (module, name) in _GLOBALS or _is_type_of_numbers(module, name)


def _is_type_of_numbers(module: str, name: str) -> bool:
    return module == "torch" and (
        name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype)
    )


def carries_code(path: Path, what: str) -> UserError:
    """The error for a file that calls something."""
    what = "".join(letter if letter.isprintable() else "?" for letter in what)[:100]
    return UserError(
        f"{path} carries code, not only weights, and was not opened ({what}): get it from another "
        "source, "
        "or have its state_dict alone saved where it was made"
    )


def torn(path: Path, error: BaseException) -> UserError:
    """The error for a file that can't be read."""
    reason = re.sub(r"^\[enforce fail at [^]]*\][ .]*", "", first_line(error)).partition(". ")[0][
        :120
    ]
    return UserError(f"{path} is torn or not a model file ({reason}): fetch or train it again")


def check_values(values: Iterable[Any], path: Path) -> None:
    """Raises UserError when values out of a file are more, written out, than its size explains, or
    no plain tensors."""
    size = path.stat().st_size
    num_values, num_bytes, waiting = 0, 0, list(values)
    while waiting:
        value = waiting.pop()
        num_values += 1 + (len(value) if isinstance(value, (str, bytes)) else 0)
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_meta or value.is_quantized:
                raise UserError(
                    f"{path} holds a tensor without plain numbers ({value.layout}): get it from "
                    "another source"
                )
            num_bytes += value.numel() * value.element_size()
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set)):
            waiting += value
        if num_values > size or num_bytes > MAX_GROWTH * size:
            what = "values" if num_values > size else f"tensors of {num_bytes:,} bytes"
            raise UserError(
                f"{path} holds {what} that a file of {size:,} bytes can't hold: get it from "
                "another source"
            )


def check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raises UserError when one of the weights is NaN or infinite."""
    for name, tensor in weights.items():
        if tensor.dtype not in WEIGHT_TYPES:
            continue
        finite = torch.isfinite(tensor)
        if not finite.all():
            what = f"{printable(name)}: {(~finite).sum()} of {tensor.numel()} are NaN or infinite"
            raise UserError(
                f"{path} holds weights that are not finite ({what}): take another file, such as "
                "an earlier checkpoint"
            )


def printable(name: Any) -> str:
    """A name out of a stranger's file, which must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))[:100]
