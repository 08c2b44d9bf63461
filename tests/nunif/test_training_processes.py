"""Training in two processes, as torchrun starts them, over gloo on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nunif.models import read_checkpoint

ROOT = Path(__file__).parents[2]

SCRIPT = """
import math, os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import torch
torch.set_num_threads(1)
from test_training import ToyTask, make_options, press_ctrl_c
from nunif.training.trainer import train

folder, rank = Path(sys.argv[1]), int(os.environ.get("RANK", 0))
size = int(os.environ.get("WORLD_SIZE", 1))
def task():
    task = ToyTask(bad=(3,), dropout=0.0)
    return task
values = dict(batch_size=4 // size, backward_step=2, num_samples=22, max_epoch=2)
train(task(), make_options(folder / "plain", optimizer="adamw", **values))
train(task(), make_options(folder / "free", optimizer="adamw_schedulefree", **values))
if size == 2:
    other = task()
    if rank == 1:
        other.spoil = lambda step: math.nan if step == 1 else 1.0   # only one of the two meets it
        other.on_step = press_ctrl_c(at_step=8)
    try:
        train(other, make_options(folder / "cut", **values))
    except KeyboardInterrupt:
        print("INTERRUPTED", rank)
    train(task(), make_options(folder / "cut", resume=True, **values))
    weights = [tensor.double().sum().item() for tensor in other.model.state_dict().values()]
"""


def run(folder: Path, *launcher: str) -> str:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, *launcher, str(script), str(folder), str(ROOT), str(Path(__file__).parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    run(one)
    output = run(two, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    for name in ("plain", "free"):
        a, b = (read_checkpoint(folder / name / "toy.net.checkpoint.pth") for folder in (one, two))
        for key, tensor in a["state_dict"].items():
            torch.testing.assert_close(b["state_dict"][key], tensor, rtol=1e-4, atol=1e-6)
        losses = [content["training"]["history"]["losses"].nan_to_num() for content in (a, b)]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)
        assert (a["training"]["world_size"], b["training"]["world_size"]) == (1, 2)
        tables = [(folder / name / "loss.csv").read_text().splitlines() for folder in (one, two)]
        assert [len(table) for table in tables] == [3, 3]
        assert [row.split(",")[-3:-1] for row in tables[0]] == [row.split(",")[-3:-1] for row in tables[1]]
    assert sorted(output.split("\n")) == ["", "INTERRUPTED 0", "INTERRUPTED 1"]
    content = read_checkpoint(two / "cut" / "toy.net.checkpoint.pth")
    assert content["training"]["state"]["epochs_done"] == 2 and content["training"]["state"]["non_finite"] == 1
    assert [line.split(",")[0] for line in (two / "cut" / "loss.csv").read_text().splitlines()] == ["epoch", "1", "2"]
    assert [path.name for path in (two / "plain" / "eval").iterdir()] == ["0.png"]
