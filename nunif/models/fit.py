"""Models built for weights out of a file, and whether these fit them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from nunif.errors import UserError
from nunif.models.entries import first_five
from nunif.models.registry import Model, create_model
from nunif.models.suspicion import WEIGHT_TYPES

# Modules and parameters that a model may have for each tensor in its file, and always.
PARTS_PER_TENSOR, MIN_PARTS = 20, 1000


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


def load_weights(model: Model, state_dict: Mapping[str, Tensor], *, source: Path | str) -> None:
    """Put weights into a model; names and shapes must match exactly.

    Raises:
        UserError: names the first tensors that are missing, extra or of another shape, and nothing
            is loaded.
    """
    _check_fit(model, state_dict, source)
    model.load_state_dict(state_dict)


def _check_fit(model: Model, state_dict: Mapping[str, Tensor], source: Path | str) -> None:
    if problem := describe_mismatch(
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


def describe_mismatch(expected: Mapping[str, torch.Size], state_dict: Mapping[str, Tensor]) -> str:
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
        f"{what} {first_five(names)}"
        for what, names in (("missing", missing), ("unknown", extra), ("another shape", shapes))
        if names
    )


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
