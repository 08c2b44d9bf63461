"""What a model file holds, in words, and the same in another layout."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nunif.errors import UserError
from nunif.files import file_sha256, make_folder
from nunif.models import load_weights, save_model, save_safetensors, save_state_dict
from nunif.models.checkpoint import (
    LAYOUTS,
    NUNIF,
    STATE_DICT,
)
from nunif.models.fit import create_model_of

logger = logging.getLogger(__name__)

KNOWN_ENTRIES = ("nunif_model", "name", "kwargs", "state_dict", "updated_at", "epoch", "metrics")


def describe(
    path: Path, layout: str, content: Mapping[str, Any], *, more: Mapping[str, str] | None = None
) -> str:
    """What a model file holds, one fact a line. layout, content: as `read_model_file` gives
    them. more: further facts."""
    weights = content["state_dict"]
    count = sum(tensor.numel() for tensor in weights.values())
    types = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()})
    facts = {
        "file": path,
        "layout": layout,
        "name": content.get(
            "name", "not told by the file: --arch NAME -o FILE makes it a model file"
        ),
        "arguments": _listing(content["kwargs"]) if "kwargs" in content else None,
        "date": content.get("updated_at"),
        "epoch": content.get("epoch"),
        "metrics": _listing(content["metrics"]) if content.get("metrics") else None,
        "parameters": f"{count:,} in {len(weights)} tensors ({', '.join(types)})",
        "further": ", ".join(str(key) for key in content if key not in KNOWN_ENTRIES) or None,
        **(more or {}),
        "size": f"{path.stat().st_size:,} bytes",
        "sha256": file_sha256(path),
    }
    return "\n".join(
        f"{name:<12}{_printable(value)}" for name, value in facts.items() if value is not None
    )


def _listing(values: Any) -> str:
    if not isinstance(values, Mapping):
        return str(values)
    shown = {
        key: f"{value:.6g}" if isinstance(value, float) else value for key, value in values.items()
    }
    return ", ".join(f"{key}={value}" for key, value in shown.items()) or "none"


def _printable(value: Any) -> str:
    """Text out of a stranger's file must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def convert(
    content: Mapping[str, Any], source: Path, output: Path, *, to: str, arch: str | None
) -> None:
    """Write what a file holds in another layout.

    Where the new file names its model, the weights are first tried on that model. Tensors keep
    their type and values.

    Args:
        content: as `read_model_file` gives it for `source`.
        to: one of LAYOUTS. arch: full name of the model, needed for nunif's layout if the file
            doesn't name it.

    Raises:
        UserError: `arch` is missing or is another one than the file's, the name is unknown, the
            weights don't fit it, or `output` is the file that is read or can't be written.
    """
    assert to in LAYOUTS
    if output.exists() and output.samefile(source):
        raise UserError(f"-o {output} is the file that is read: give another name")
    if arch is not None and content.get("name", arch) != arch:
        raise UserError(
            f"{source} holds the model {content['name']!r}, not --arch {arch}: leave --arch out"
        )
    if arch is not None:
        content = {"kwargs": {}, **content, "name": arch}
    weights = content["state_dict"]
    extra = {
        key: value
        for key, value in content.items()
        if key not in ("nunif_model", "name", "kwargs", "state_dict")
    }
    make_folder(output.parent)
    if to == STATE_DICT:
        _tell_lost(
            {
                key: value
                for key, value in content.items()
                if key not in ("nunif_model", "state_dict")
            },
            output,
        )
        save_state_dict(weights, output)
        return
    if "name" not in content:
        if to == NUNIF:
            raise UserError(
                f"{source} holds only tensors and does not tell of which model: add --arch NAME"
            )
        save_safetensors(weights, output)
        return
    model = create_model_of(content, source=source)
    load_weights(model, weights, source=source)
    if to == NUNIF:
        save_model(model, output, state_dict=weights, **extra)
        return
    kept = {key: extra[key] for key in ("updated_at", "epoch", "metrics") if key in extra}
    _tell_lost({key: value for key, value in extra.items() if key not in kept}, output)
    save_safetensors(weights, output, name=model.name, kwargs=model.kwargs, **kept)


def halved(weights: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Floating-point weights in half precision. Raises UserError where one is too large for it."""
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    for name, tensor in halves.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"{source}: {name} has weights above 65504, the most that half precision holds: "
                "leave --half out"
            )
    return halves


def _tell_lost(entries: Mapping[str, Any], output: Path) -> None:
    if entries:
        logger.info("%s has no place for: %s", output, ", ".join(map(str, entries)))
