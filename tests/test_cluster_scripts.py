"""The scripts for clusters, run with stand-ins for what only a cluster has."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "slurm" / "train.sbatch"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def run(tmp_path: Path, *words: str, code: int = 0) -> tuple[int, list[str]]:
    """The script's exit code, and the command lines of the cluster's programs."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("srun", "scontrol"):
        path = programs / name
        end = code if name == "srun" else 0
        path.write_text(f'#!/bin/bash\necho {name} "$@" >> "{calls}"\nexit {end}\n')
        path.chmod(0o755)
    path_words = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path_words,
        "SLURM_JOB_ID": "12",
        "PYTHON": "in box python",
    }
    done = subprocess.run(
        ["bash", SCRIPT, *words], cwd=tmp_path, env=environment, capture_output=True, timeout=600
    )
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_a_new_run_starts_anew(tmp_path):
    words = ("matting", "-i", "data/w", "--model-dir", "models/m")
    started = "srun --kill-on-bad-exit=0 in box python train.py"
    assert run(tmp_path, *words) == (0, [f"{started} {' '.join(words)}"])


@pytest.mark.parametrize("folder", [".", "stage2"])
def test_a_run_that_was_stopped_is_queued_again_and_goes_on(tmp_path, folder):
    (tmp_path / "m" / folder).mkdir(parents=True)
    (tmp_path / "m" / folder / "matting.a.checkpoint.pth").touch()
    code, calls = run(tmp_path, "inpaint", "--model-dir=m", code=130)
    assert code == 130 and calls[0].endswith("train.py inpaint --model-dir=m --resume")
    assert calls[1:] == ["scontrol requeue 12"]


def test_what_fails_is_not_queued_again(tmp_path):
    code, calls = run(tmp_path, "inpaint", "--model-dir", "m", code=1)
    assert code == 1 and len(calls) == 1


def test_without_a_folder_nothing_starts(tmp_path):
    assert run(tmp_path, "matting", "-i", "data") == (2, [])
