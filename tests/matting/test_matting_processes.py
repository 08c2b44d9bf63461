"""Matting in two processes, as torchrun starts them, over gloo on the CPU."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from matting.commands import CREATE_TRAINING_DATA, TRAIN
from nunif import cli
from nunif.models import read_checkpoint
from tests.faults.processes import make_tiny_mattes

ROOT = Path(__file__).parents[2]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from matting.commands import TRAIN
from nunif import cli
from tests.faults.processes import make_tiny_mattes
make_tiny_mattes()
sys.exit(cli.run(TRAIN, sys.argv[2:]))
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_of_the_same_windows(tmp_path):
    """All three passes, over two windows of two clips."""
    world = ["world", "-o", tmp_path / "data" / "train", "--num", 2, "--size", "40x64", "--seq", 3]
    assert cli.run(CREATE_TRAINING_DATA, [str(word) for word in [*world, "--people", 1]]) == 0
    words = [
        "matting", "-i", tmp_path / "data", "--arch", "matting.test_tiny", "--size", 128,
        "--clip-length", 2, "--high-size", 128, "--high-ratio", 0.5,
        "--high-clip-length", 1, "--refiner-rate", 1,
        "--segmentation-pass", "--num-samples", 4, "--max-epoch", 1, "--batch-size", 1,
        "--optimizer", "adam", "--skip-eval", "--gpu", -1, "--num-workers", 0,
        "--disable-tensorboard",
    ]  # fmt: skip
    make_tiny_mattes()
    alone = [*words, "--model-dir", tmp_path / "one", "--backward-step", 2]
    assert cli.run(TRAIN, [str(word) for word in alone]) == 0
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    together = [*words, "--model-dir", tmp_path / "two", "--backward-step", 1]
    command = [sys.executable, *TORCHRUN, script, ROOT, *together]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = (
        read_checkpoint(tmp_path / name / "matting.test_tiny.checkpoint.pth")
        for name in ("one", "two")
    )
    assert (one["training"]["world_size"], two["training"]["world_size"]) == (1, 2)
    # what layers normalise by follows from the first process alone
    weights = [name for name in one["state_dict"] if name.endswith((".weight", ".bias"))]
    assert len(weights) > 150
    for name in weights:
        difference = (one["state_dict"][name] - two["state_dict"][name]).abs().max().item()
        assert difference <= 1e-5, name
    fresh = torch.full((), 1 / 9)
    assert (one["state_dict"]["refiner.window.weight"] - fresh).abs().max() > 1e-4  # it has learned
    rows = []
    for name in ("one", "two"):
        with open(tmp_path / name / "loss.csv", newline="") as file:
            (row,) = csv.DictReader(file)
            rows.append({key: float(row[key]) for key in row if key.startswith("train_")})
    assert rows[1] == pytest.approx(rows[0], rel=1e-4) and rows[0]["train_person"] > 0
