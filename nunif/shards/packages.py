"""Packages that are there for shards alone."""

import importlib
from types import ModuleType

from nunif.errors import UserError


def need(name: str, purpose: str, *, extra: str = "shards") -> ModuleType:
    """A module of an extra of setup.cfg.

    Raises:
        UserError: its package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise UserError(
            f"{purpose} needs the package {package!r}, which is not installed: pip install -e "
            f".[{extra}]"
        ) from error
