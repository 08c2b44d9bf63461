"""A table of models: `create_model("package.model", **kwargs)`."""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from nunif.errors import UserError, first_line


class Model(nn.Module):
    """A module that knows by which name and arguments it can be built again, and what it offers to
    those who train it and run it.

    name, kwargs: of `create_model`.
    clip_length: frames of a clip that it is trained and scored on; 1 for single pictures alone.
    any_clip_length: whether clips of other lengths will do as well.
    size_multiple: pixels, to whose multiples it pads height and width inside; 1 for no padding,
        or for a padding that is nobody else's business.
    streams: whether it can go frame by frame, what it remembers handed on from call to call.
    """

    name: str
    kwargs: dict[str, Any]
    clip_length: int = 1
    any_clip_length: bool = False
    size_multiple: int = 1
    streams: bool = False

    @property
    def num_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(parameter.numel() for parameter in self.parameters())


class Convert(Protocol):
    """Turns another project's tensors into the state dict of a model; UserError, with `source`,
    when they don't fit it."""

    def __call__(
        self, model: Model, state_dict: Mapping[str, Tensor], *, source: Path | str
    ) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class ForeignLayout:
    """Weights as another project publishes them.

    title: for people. name: of the registered model that they become, in its registered size.
    recognise: tells by the tensors' names, even if some are missing.
    convert: is given the model without values, on the meta device.
    """

    title: str
    name: str
    recognise: Callable[[Mapping[str, Tensor]], bool]
    convert: Convert


_table: dict[str, tuple[Callable[..., Model], dict[str, Any]]] = {}
_layouts: dict[str, ForeignLayout] = {}


def register_model(name: str, build: Callable[..., Model], **kwargs: Any) -> None:
    """Enter `build(**kwargs)` under `name` ("package.model"); the kwargs are defaults that a caller
    may override."""
    _table[name] = (build, kwargs)


def register_layout(layout: ForeignLayout) -> None:
    """Let model files in another project's layout be opened as the registered model that they
    fit."""
    _layouts[layout.title] = layout


def foreign_layouts(package: str) -> list[ForeignLayout]:
    """The layouts that `package` has registered."""
    _import_models_of(package)
    return [layout for layout in _layouts.values() if layout.name.startswith(f"{package}.")]


def model_names(package: str) -> list[str]:
    """The names that `package` has registered, sorted."""
    _import_models_of(package)
    return sorted(name for name in _table if name.startswith(f"{package}."))


def create_model(name: str, **kwargs: Any) -> Model:
    """Build a model by its name, with fresh random weights.

    The package before the dot registers its models when `package.models` is imported. Only packages
    that stand beside nunif are looked at, so a name out of a stranger's file imports nothing else.

    Raises:
        UserError: an unknown name (the known ones are listed) or arguments that the model does not
            take.
    """
    package = name.partition(".")[0]
    if name not in _table:
        known = model_names(package) if _is_sibling_package(package) else []
        if name not in _table:
            raise UserError(
                f"unknown model {name!r}" + (f": known are {', '.join(known)}" if known else "")
            )
    build, defaults = _table[name]
    arguments = {**defaults, **kwargs}
    try:
        model = build(**arguments)
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
        LookupError,
        AttributeError,
    ) as error:
        # sizes out of a file may be anything
        raise UserError(
            f"{name} can't be built with {str(arguments)[:300]}: {first_line(error)}"
        ) from error
    model.name, model.kwargs = name, arguments
    return model


def _is_sibling_package(package: str) -> bool:
    root = Path(__file__).resolve().parents[2]
    return (
        re.fullmatch(r"[a-z_][a-z0-9_]*", package) is not None
        and (root / package / "models").is_dir()
    )


def _import_models_of(package: str) -> None:
    if _is_sibling_package(package):
        importlib.import_module(f"{package}.models")
