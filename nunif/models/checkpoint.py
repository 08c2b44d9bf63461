"""Model files: the only place that calls torch.save and torch.load.

The layout is nunif's (nagadomi/nunif, MIT), so that its tools open our files and ours open its:
a dict with `nunif_model` (1), `name`, `updated_at`, `kwargs`, `state_dict`, and further entries beside these.
"""

import pickle
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nunif.errors import UserError
from nunif.files import whole_file
from nunif.models.registry import Model, create_model

REQUIRED = ("nunif_model", "name", "kwargs", "state_dict")


def save_model(model: Model, path: Path | str, **extra: Any) -> None:
    """Write a model to a file, whole or not at all.

    `extra` entries go beside the layout's own (one of them may replace `state_dict`). Only tensors and plain values
    can be read back.
    """
    content = {
        "nunif_model": 1,
        "name": model.name,
        "updated_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "kwargs": model.kwargs,
        "state_dict": model.state_dict(),
        **extra,
    }
    with whole_file(Path(path)) as file:
        sink = _Sink(file)
        try:
            torch.save(content, sink)
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


def read_checkpoint(path: Path | str, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a model file as it is; nothing in it can run code.

    Raises:
        UserError: the file is missing, torn, of another kind, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the path of a model file (.pth)")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "Unsupported global" in reason or "Unsupported class" in reason:
            raise UserError(f"{path} carries code, not only weights, and was not opened: get it from another source") from error
        raise UserError(f"{path} is not a model file, or is torn: fetch or train it again") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise UserError(f"{path} is torn or not a model file ({_first_line(error)}): fetch or train it again") from error
    if not isinstance(content, dict) or not all(key in content for key in REQUIRED):
        raise UserError(f"{path} holds no model in this project's layout: it needs the entries {', '.join(REQUIRED)}")
    return content


def load_model(
    path: Path | str, *, device: torch.device | str = "cpu", expect: str | None = None
) -> tuple[Model, dict[str, Any]]:
    """Rebuild the model of a file, in evaluation mode, and return it with the file's other entries.

    expect: the start of the name that the file must have ("inpaint."), if that matters to the caller.

    Raises:
        UserError: see `read_checkpoint`; also an unknown name, or weights that do not fit the named model.
    """
    content = read_checkpoint(path, device=device)
    name, kwargs = content["name"], content["kwargs"]
    if not isinstance(name, str) or not isinstance(kwargs, dict) or (expect and not name.startswith(expect)):
        raise UserError(f"{path} holds the model {name!r}, but one named {expect}* is needed here")
    model = create_model(name, **kwargs).to(device).eval()
    load_weights(model, content["state_dict"], source=path)
    return model, {key: value for key, value in content.items() if key != "state_dict"}


def load_weights(model: Model, state_dict: Mapping[str, Tensor], *, source: Path | str) -> None:
    """Put weights into a model; names and shapes must match exactly.

    Raises:
        UserError: names the first tensors that are missing, extra or of another shape, and nothing is loaded.
    """
    if not isinstance(state_dict, Mapping):
        raise UserError(f"{source} holds no weights in its entry state_dict")
    own = model.state_dict()
    missing = [name for name in own if name not in state_dict]
    extra = [name for name in state_dict if name not in own]
    shapes = [
        f"{name} {tuple(state_dict[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state_dict and state_dict[name].shape != own[name].shape
    ]
    problems = [
        f"{what} {_first_five(names)}"
        for what, names in (("missing", missing), ("unknown", extra), ("another shape", shapes))
        if names
    ]
    if problems:
        raise UserError(f"{source} does not fit {model.name}: {'; '.join(problems)}")
    model.load_state_dict(state_dict)


def _first_five(names: list[str]) -> str:
    return ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0][:120]
