"""Marks of the files whose tests start processes."""

import sys

import pytest


def starts_processes(needs: str) -> list[pytest.MarkDecorator]:
    """Not on Windows, which lacks what they need, and one after the other."""
    return [
        pytest.mark.skipif(sys.platform == "win32", reason=f"needs {needs}"),
        pytest.mark.xdist_group("processes"),
    ]
