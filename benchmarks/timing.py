"""Of which checkout the figures are."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from nunif import timing

ROOT = Path(__file__).resolve().parents[1]


def machine(device: torch.device) -> dict[str, Any]:
    """Of what, where and with what the figures were taken."""
    command, commit = ["git", "describe", "--always", "--dirty"], ""
    if shutil.which("git"):  # a copy of the code may be all there is
        commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {"commit": commit or "unknown", **timing.machine(device)}
