"""Model files: the only place that calls torch.save and torch.load.

Three layouts:
- nunif (nagadomi/nunif, MIT), so that its tools open our files and ours open its: a dict with
`nunif_model` (1), `name`,
  `updated_at`, `kwargs`, `state_dict`, and further entries beside these;
- state-dict: tensors by name and nothing else; when reading, also one level or two down in a dict;
- safetensors, with `name`, `kwargs` (JSON) and what else is known in its metadata.

When reading, tensors lose what wrappers (torch.compile, data parallel, Lightning) put before their
names.
"""

import json
import logging
import pickle
import zipfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nunif.errors import UserError, first_line
from nunif.files import whole_file, write_whole
from nunif.models.entries import (
    NESTS,
    all_mappings,
    find_tensors,
    is_tensors,
    log_left_out,
    other_weights,
    unwrapped,
)
from nunif.models.fit import create_model_of, load_weights
from nunif.models.registry import Model, create_model, foreign_layouts
from nunif.models.suspicion import (
    carries_code,
    check_before_opening,
    check_finite,
    check_values,
    printable,
    torn,
)

logger = logging.getLogger(__name__)

NUNIF, STATE_DICT, SAFETENSORS = LAYOUTS = ("nunif", "state-dict", "safetensors")
REQUIRED = ("nunif_model", "name", "kwargs", "state_dict")
SAFETENSORS_SUFFIX = ".safetensors"

JSON_ENTRIES = ("kwargs", "epoch", "metrics")  # of safetensors' metadata, whose values are all text


def save_model(model: Model, path: Path | str, **extra: Any) -> None:
    """Write a model to a file, whole or not at all.

    `extra` entries go beside the layout's own (one of them may replace `state_dict`). Only tensors
    and plain values can be read back.
    """
    content = {
        "nunif_model": 1,
        "name": model.name,
        "updated_at": _now(),
        "kwargs": model.kwargs,
        "state_dict": model.state_dict(),
        **extra,
    }
    _write_torch(content, Path(path))


def save_state_dict(state_dict: Mapping[str, Tensor], path: Path | str) -> None:
    """Write tensors by name and nothing else, whole or not at all."""
    _write_torch(dict(state_dict), Path(path))


def save_safetensors(state_dict: Mapping[str, Tensor], path: Path | str, **entries: Any) -> None:
    """Write tensors as safetensors, whole or not at all.

    entries: `name`, `kwargs`, `updated_at`, `epoch`, `metrics`, as far as they are known; others
        can't be kept.
    """
    metadata = {"format": "pt"}
    if "name" in entries:
        metadata |= {
            "nunif_model": "1",
            "name": entries["name"],
            "updated_at": str(entries.get("updated_at", _now())),
        }
    metadata |= {key: json.dumps(entries[key]) for key in JSON_ENTRIES if key in entries}
    # tensors that share their numbers can't be written
    copies = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()
    }
    write_whole(Path(path), safetensors.torch.save(copies, metadata))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _write_torch(content: dict[str, Any], path: Path) -> None:
    with whole_file(path) as file:
        sink = _Sink(file)
        try:
            # it needs no more of a file than `_Sink` has
            torch.save(content, sink)  # type: ignore[arg-type]
        except RuntimeError:
            # torch's archive writer puts its own error in the place of the one that stopped it
            if sink.error is not None:
                raise sink.error from None
            raise


class _Sink:
    """A file for writing that remembers why it failed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def read_checkpoint(
    path: Path | str, *, device: torch.device | str = "cpu", package: str | None = None
) -> dict[str, Any]:
    """Read a model file that says which model it holds, as a dict in nunif's layout; nothing in it
    can run code.

    package: see `read_model_file`.

    Raises:
        UserError: see `read_model_file`; also plain tensors without a model's name.
    """
    _, content = read_model_file(path, device=device, package=package)
    if "name" not in content:
        raise UserError(
            f"{path} holds no model in this project's layout, only tensors that don't say of "
            "which model: "
            "convert it with the command `checkpoint`, which takes the model's name"
        )
    return content


def read_model_file(
    path: Path | str, *, device: torch.device | str = "cpu", package: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Read a model file of any layout; nothing in it can run code.

    package: the task ("inpaint") among whose models' foreign layouts plain tensors are looked up;
        those that are recognised are converted.
    Returns:
        the layout: one of LAYOUTS or the title of a foreign one;
        the entries as in nunif's layout, but without `name` and `kwargs` where the file doesn't
        tell.

    Raises:
        UserError: the file is missing, torn, of another kind, holds more than tensors and plain
            values, or weights that are not finite, or is in a foreign layout but does not fit its
            model.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the path of a model file (.pth)")
    layout, content = (
        _read_safetensors(path, device) if _is_safetensors(path) else _read_torch(path, device)
    )
    if "name" in content:
        _check_entries(content, path)
    check_finite(content["state_dict"], path)
    for foreign in foreign_layouts(package) if package and "name" not in content else ():
        if foreign.recognise(content["state_dict"]):
            with torch.device("meta"):
                model = create_model(foreign.name)
            weights = foreign.convert(model, content["state_dict"], source=path)
            named = {
                "nunif_model": 1,
                "name": foreign.name,
                "kwargs": model.kwargs,
                "state_dict": weights,
            }
            return foreign.title, {**content, **named}
    return layout, content


def read_shapes(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a model file without their numbers, on the meta device: of safetensors and of
    files of today's torch these are not read.

    Raises:
        UserError: see `read_model_file`; numbers that are not finite aren't found.
    """
    path = Path(path)
    if _is_safetensors(path):
        return _read_safetensors_shapes(path)
    tensors = _read_torch(path, "cpu", mapped=zipfile.is_zipfile(path))[1]["state_dict"]
    return {name: tensor.to("meta") for name, tensor in tensors.items()}


def _read_safetensors_shapes(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise _no_safetensors(path, error) from error
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return unwrapped(empty, path, lightning=True)


def _read_torch(
    path: Path, device: torch.device | str, *, mapped: bool = False
) -> tuple[str, dict[str, Any]]:
    """mapped: the numbers are read where they are used."""
    check_before_opening(path)
    try:
        content = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if any(
            mark in reason
            for mark in ("Unsupported global", "Unsupported class", "unsupported GLOBAL")
        ):
            raise carries_code(path, first_line(error)) from error
        raise torn(path, error) from error
    except Exception as error:  # what a damaged pickle calls with wrong arguments raises anything
        raise torn(path, error) from error
    if isinstance(content, dict) and all(key in content for key in REQUIRED):
        check_values(content.values(), path)
        if isinstance(content["state_dict"], Mapping) and is_tensors(content["state_dict"]):
            log_left_out(
                path, "state_dict", [key for key in NESTS if key in content and key != "state_dict"]
            )
            content["state_dict"] = unwrapped(content["state_dict"], path)
        return NUNIF, content
    where, tensors = next(find_tensors(content), ("", None))
    if tensors is None:
        for place, mapping in all_mappings(content):
            num_named = sum(
                isinstance(value, Tensor) and "." in str(name) for name, value in mapping.items()
            )
            if 2 * num_named >= len(mapping) > 0:
                _check_tensors(mapping, path, f"its entry {place}" if place else "it")
        raise UserError(
            f"{path} holds no model in this project's layout, which has the entries "
            f"{', '.join(REQUIRED)}, nor only tensors: "
            "save its tensors alone, with torch.save(model.state_dict(), FILE)"
        )
    if where:
        log_left_out(path, where, other_weights(content, where, tensors))
    check_values(tensors.values(), path)
    return STATE_DICT, {
        "state_dict": unwrapped(tensors, path, lightning=where.endswith("state_dict"))
    }


def _is_safetensors(path: Path) -> bool:
    """By the suffix or the first bytes: the length of a JSON object, which no torch file's first
    bytes make sense as."""
    if path.suffix.lower() == SAFETENSORS_SUFFIX:
        return True
    with open(path, "rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _read_safetensors(path: Path, device: torch.device | str) -> tuple[str, dict[str, Any]]:
    try:
        data = path.read_bytes()  # by Python, because a path may be no text
        tensors = {name: tensor.to(device) for name, tensor in safetensors.torch.load(data).items()}
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get(
            "__metadata__", {}
        )
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _no_safetensors(path, error) from error
    content: dict[str, Any] = {
        "state_dict": unwrapped(tensors, path, lightning="name" not in metadata)
    }
    if "name" in metadata:
        content |= {"nunif_model": 1, "name": metadata["name"], "kwargs": {}}
        content |= {key: metadata[key] for key in ("updated_at",) if key in metadata}
        try:
            content |= {key: json.loads(metadata[key]) for key in JSON_ENTRIES if key in metadata}
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path} has metadata that is no JSON ({first_line(error)}): make it again"
            ) from error
    return SAFETENSORS, content


def _no_safetensors(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is torn or not a safetensors file ({first_line(error)}): fetch or make it again"
    )


def _check_entries(content: dict[str, Any], path: Path) -> None:
    """Raises UserError when a file's entries in nunif's layout are not of the kinds they should
    be."""
    name, kwargs, weights = content["name"], content["kwargs"], content["state_dict"]
    if not isinstance(name, str) or len(name) > 100:
        raise UserError(
            f"{path} holds the model {name!r:.100}, which is no name: get it from another source"
        )
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise UserError(
            f"{path} holds no arguments of {name} in its entry kwargs: get it from another source"
        )
    if not isinstance(weights, Mapping):
        raise UserError(
            f"{path} holds no weights in its entry state_dict: get it from another source"
        )
    _check_tensors(weights, path, "its entry state_dict")


def _check_tensors(weights: Mapping[Any, Any], path: Path, where: str) -> None:
    """Raises UserError when weights are more than tensors by name. where: what messages call
    them."""
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(
                f"{path} holds not only tensors: {where} has {printable(name)} "
                f"({type(value).__name__}) beside them; "
                "save the tensors alone, with "
                "torch.save({name: value for name, value in state_dict.items() if "
                "torch.is_tensor(value)}, FILE)"
            )


def load_model(
    path: Path | str, *, device: torch.device | str = "cpu", expect: str | None = None
) -> tuple[Model, dict[str, Any]]:
    """Rebuild the model of a file, in evaluation mode, and return it with the file's other entries.

    expect: the start of the name that the file must have ("inpaint."), if that matters to the
        caller. Foreign layouts of that package's models are recognised.

    Raises:
        UserError: see `read_checkpoint`; also an unknown name, or weights that do not fit the named
            model.
    """
    content = read_checkpoint(
        path, device=device, package=expect.partition(".")[0] if expect else None
    )
    if expect and not content["name"].startswith(expect):
        raise UserError(
            f"{path} holds the model {content['name']!r}, but one named {expect}* is needed here"
        )
    model = create_model_of(content, source=path).to(device).eval()
    load_weights(model, content["state_dict"], source=path)
    return model, {key: value for key, value in content.items() if key != "state_dict"}
