"""torch.compile, and what is left out of it. Torch's compiler itself is imported only where
something is compiled."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])

_left_out: dict[str, Callable[..., Any]] = {}  # as they were written
_disabled: dict[str, Callable[..., Any]] = {}  # the same for the compiler, once there is one


def leave_out(function: Function) -> Function:
    """Decorator: the compiler calls the function and does not look into it.

    As `torch.compiler.disable`, which imports the compiler at once: a second and 150 MB for every
    command.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    _left_out[name] = function

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _disabled.get(name, function)(*args, **kwargs)

    return call  # type: ignore[return-value]


def compile_function(function: Function, **options: Any) -> Function:
    """The function, to be compiled at its first call. options: of `torch.compile`."""
    _prepare()
    return torch.compile(function, **options)  # type: ignore[return-value]


def compile_in_place(module: torch.nn.Module) -> None:
    """Let calls of the module be compiled; its name and its parameters' names stay."""
    _prepare()
    module.compile()


def _prepare() -> None:
    for name in _left_out.keys() - _disabled.keys():
        _disabled[name] = torch.compiler.disable(_left_out[name])
