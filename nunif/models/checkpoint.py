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
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from nunif.errors import UserError, first_line
from nunif.files import whole_file, write_whole
from nunif.models.registry import Model, create_model, foreign_layouts
from nunif.models.suspicion import carries_code, check_before_opening, check_values, torn

logger = logging.getLogger(__name__)

NUNIF, STATE_DICT, SAFETENSORS = LAYOUTS = ("nunif", "state-dict", "safetensors")
REQUIRED = ("nunif_model", "name", "kwargs", "state_dict")
SAFETENSORS_SUFFIX = ".safetensors"

# Entries under which others keep their tensors; averages, which are what is evaluated, before what
# they are of.
_NESTS = (
    "netG",
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "net",
    "network",
    "generator",
    "module",
    "weights",
)
_AVERAGES = tuple(name for nest in _NESTS for name in (f"{nest}_ema", f"ema_{nest}"))
NESTS = (*_AVERAGES, "ema", "g_ema", *_NESTS)
DEEPEST = 3  # entries within entries that are looked into for further weights
# Parts of names that wrappers give: these wherever they stand,
WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
PARALLEL_PREFIX = "module."  # this before all names,
# this before those of the network, with those of losses and metrics beside them,
LIGHTNING_PREFIX = "model."
# and these before all names
WRAPPER_PREFIXES = (
    *("network.", "net.", "generator.", "netG.", "G.", "backbone.", "_forward_module."),
    *("ema_model.", "online_model.", "student."),
)
PREFIXES = (PARALLEL_PREFIX, LIGHTNING_PREFIX, *WRAPPER_PREFIXES)
COUNT_OF_AVERAGE = "n_averaged"  # beside the weights of torch's AveragedModel
WEIGHT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
JSON_ENTRIES = ("kwargs", "epoch", "metrics")  # of safetensors' metadata, whose values are all text
PARTS_PER_TENSOR, MIN_PARTS = (
    20,
    1000,
)  # modules and parameters that a model may have for each tensor in its file


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
    apart = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()
    }
    write_whole(Path(path), safetensors.torch.save(apart, metadata))


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
    _check_finite(content["state_dict"], path)
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


def _read_torch(path: Path, device: torch.device | str) -> tuple[str, dict[str, Any]]:
    check_before_opening(path)
    try:
        content = torch.load(path, map_location=device, weights_only=True)
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
        if isinstance(content["state_dict"], Mapping) and _is_tensors(content["state_dict"]):
            _tell_others(
                path, "state_dict", [key for key in NESTS if key in content and key != "state_dict"]
            )
            content["state_dict"] = _unwrap(content["state_dict"], path)
        return NUNIF, content
    where, tensors = next(_find_tensors(content), ("", None))
    if tensors is None:
        for place, mapping in _mappings(content):
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
        _tell_others(path, where, _others(content, where, tensors))
    check_values(tensors.values(), path)
    return STATE_DICT, {
        "state_dict": _unwrap(tensors, path, lightning=where.endswith("state_dict"))
    }


def _find_tensors(content: Any, depth: int = 3) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Dicts of nothing but tensors in what a file holds, the likeliest first, and under which
    entries they lie."""
    if not isinstance(content, Mapping) or not content or not depth:
        return
    if _is_tensors(content):
        yield "", content
        return
    for key in NESTS:
        for where, tensors in _find_tensors(content.get(key), depth - 1):
            yield f"{key}.{where}".rstrip("."), tensors


def _mappings(content: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The dicts in what a file holds, each once, and under which entries they lie."""
    waiting, seen = [("", content, 0)] if isinstance(content, Mapping) else [], set()
    for where, mapping, depth in waiting:
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        yield where, mapping
        if depth < DEEPEST:
            nested = [
                (key, value)
                for key, value in mapping.items()
                if isinstance(key, str) and isinstance(value, Mapping)
            ]
            waiting += [
                (f"{where}.{key}" if where else key, value, depth + 1) for key, value in nested
            ]


def _others(content: Mapping[Any, Any], where: str, taken: Mapping[str, Tensor]) -> list[str]:
    """Entries beside the one that is taken that hold weights, or have the name of such."""
    found = [
        place
        for place, mapping in _mappings(content)
        if mapping is not taken
        and _is_tensors(mapping)
        and any("." in name or name in taken for name in mapping)
    ]
    told = {place.partition(".")[0] for place in (where, *found)}
    return [key for key in NESTS if key in content and key not in told] + found


def _tell_others(path: Path, where: str, others: list[str]) -> None:
    if others:
        logger.info(
            "%s: the weights are those of its entry %s; left out: %s",
            path,
            where,
            _first_five(others),
        )


def _is_tensors(content: Mapping[Any, Any]) -> bool:
    return all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def _unwrap(
    tensors: Mapping[str, Tensor], path: Path, *, lightning: bool = False
) -> dict[str, Tensor]:
    """Tensors under the names that they have in the model itself; as they are where two would get
    the same name.

    lightning: they may be Lightning's, with those of losses and metrics beside the network's, which
        are left out.
    """
    found = {WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    if len(found) < len(tensors):
        return dict(tensors)
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in found)), None):
        rest = [name for name in found if not name.startswith(prefix)]
        if rest and prefix == LIGHTNING_PREFIX and lightning:
            logger.info(
                "%s: the weights are those of %s*; left out: %s", path, prefix, _first_five(rest)
            )
        elif rest and not (prefix == PARALLEL_PREFIX and rest == [COUNT_OF_AVERAGE]):
            break
        found = {
            name.removeprefix(prefix): tensor
            for name, tensor in found.items()
            if name.startswith(prefix)
        }
    return found


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
        raise UserError(
            f"{path} is torn or not a safetensors file ({first_line(error)}): fetch or make it "
            "again"
        ) from error
    content: dict[str, Any] = {
        "state_dict": _unwrap(tensors, path, lightning="name" not in metadata)
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


def _check_entries(content: dict[str, Any], path: Path) -> None:
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
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(
                f"{path} holds not only tensors: {where} has {_printable(name)} "
                f"({type(value).__name__}) beside them; "
                "save the tensors alone, with "
                "torch.save({name: value for name, value in state_dict.items() if "
                "torch.is_tensor(value)}, FILE)"
            )


def _check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in weights.items():
        if tensor.dtype not in WEIGHT_TYPES:
            continue
        finite = torch.isfinite(tensor)
        if not finite.all():
            what = f"{_printable(name)}: {(~finite).sum()} of {tensor.numel()} are NaN or infinite"
            raise UserError(
                f"{path} holds weights that are not finite ({what}): take another file, such as "
                "an earlier checkpoint"
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


def create_model_of(content: Mapping[str, Any], *, source: Path | str) -> Model:
    """Build the model that a file names, with fresh random weights.

    It is built without numbers first, so that arguments out of a stranger's file cost no more
    memory than its weights.

    Raises:
        UserError: the name is unknown, the arguments are not its model's, or the weights don't fit
            them.
    """
    try:
        with (
            torch.device("meta"),
            _at_most(PARTS_PER_TENSOR * len(content["state_dict"]) + MIN_PARTS),
        ):
            plan = create_model(content["name"], **content["kwargs"])
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    _check_fit(plan, content["state_dict"], source)
    return create_model(content["name"], **content["kwargs"])


@contextmanager
def _at_most(num_parts: int) -> Iterator[None]:
    """Raises ValueError where a model with more modules and parameters than that is built."""
    num_built = 0

    def count(*_: Any) -> None:
        nonlocal num_built
        num_built += 1
        if num_built > num_parts:
            raise ValueError("it would have far more parts than there are weights")

    handles = [
        register_module_module_registration_hook(count),
        register_module_parameter_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def load_weights(model: Model, state_dict: Mapping[str, Tensor], *, source: Path | str) -> None:
    """Put weights into a model; names and shapes must match exactly.

    Raises:
        UserError: names the first tensors that are missing, extra or of another shape, and nothing
            is loaded.
    """
    _check_fit(model, state_dict, source)
    model.load_state_dict(state_dict)


def _check_fit(model: Model, state_dict: Mapping[str, Tensor], source: Path | str) -> None:
    if problem := misfits(
        {name: tensor.shape for name, tensor in model.state_dict().items()}, state_dict
    ):
        raise UserError(f"{source} does not fit {model.name}: {problem}")
    for name, wanted in model.state_dict().items():
        given = state_dict[name].dtype
        if (given not in WEIGHT_TYPES) if wanted.is_floating_point() else given.is_complex:
            types = [str(dtype).removeprefix("torch.") for dtype in (given, wanted.dtype)]
            raise UserError(
                f"{source} holds {name} as {types[0]}, where {model.name} has {types[1]}: "
                "take a file whose weights are float32, float16 or bfloat16"
            )


def misfits(expected: Mapping[str, torch.Size], state_dict: Mapping[str, Tensor]) -> str:
    """What keeps tensors from fitting the expected names and shapes, the first five of each kind;
    empty if they fit."""
    missing = [name for name in expected if name not in state_dict]
    extra = [name for name in state_dict if name not in expected]
    shapes = [
        f"{name} {tuple(state_dict[name].shape)} for {tuple(shape)}"
        for name, shape in expected.items()
        if name in state_dict and state_dict[name].shape != shape
    ]
    return "; ".join(
        f"{what} {_first_five(names)}"
        for what, names in (("missing", missing), ("unknown", extra), ("another shape", shapes))
        if names
    )


def _printable(name: Any) -> str:
    """A name out of a stranger's file, which must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))[:100]


def _first_five(names: list[str]) -> str:
    return ", ".join(map(_printable, names[:5])) + (
        f" and {len(names) - 5} more" if len(names) > 5 else ""
    )
