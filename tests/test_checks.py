"""Lint, format and types of the whole project are in order."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {
    "lint": ("ruff", "check", "--no-cache"),
    "format": ("ruff", "format", "--check", "--no-cache"),
    "types": ("mypy",),
}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_check_passes(check):
    tool, *words = CHECKS[check]
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed: pip install -e .[test]")
    result = subprocess.run(
        [sys.executable, "-m", tool, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
