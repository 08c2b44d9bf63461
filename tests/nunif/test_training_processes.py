"""Training in two processes, as torchrun starts them, over gloo on the CPU."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nunif.models import read_checkpoint
from nunif.training.trainer import train
from tests.nunif.test_training import ToyTask, assert_same_run, make_options
from tests.nunif.test_training_opponent import ContestTask

# one process of tests, so that all runs in two are made once: most of their time goes into imports
pytestmark = [pytest.mark.xdist_group("torchrun"), pytest.mark.slow]
ROOT = Path(__file__).parents[2]
VALUES = dict(num_samples=22, max_epoch=2)
CHECKPOINT = "toy.net.checkpoint.pth"

SCRIPT = """
import math, os, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import torch
torch.set_num_threads(1)
from test_training import Points, ToyTask, make_options, press_ctrl_c
from test_training_opponent import ContestTask
from nunif.errors import Stopped
from nunif.models import Model, create_model, register_model
from nunif.training import state as files
from nunif.training.distributed import first_process_does, place_in_run
from nunif.training.trainer import train

folder, rank = Path(sys.argv[1]), place_in_run().rank
values = dict(batch_size=2, num_samples=22, max_epoch=2, backward_step=4)
windows = dict(values, backward_step=2)

class Normed(Model):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))

    def forward(self, x):
        return self.layers(x)

register_model("toy.normed", Normed)

def make_normed():
    normed = ContestTask()
    normed.model = create_model("toy.normed")
    normed.opponent.insert(1, torch.nn.BatchNorm1d(normed.opponent[0].out_features))
    # the second process has one batch less an epoch
    normed.state_dict = lambda: {"steps": normed.steps}
    normed.load_state_dict = lambda state: setattr(normed, "steps", state["steps"])
    return normed

def make_plain():
    return ToyTask(bad=(3,), dropout=0.0)

# all runs in one group; the trainer makes its own where Slurm starts the tasks of a step
if sys.argv[4:] != ["alone"]:
    torch.distributed.init_process_group("gloo")
normed, seen = make_normed(), {}
evaluate = normed.eval_step
def remember(model, batch):  # evaluation weights: the average's statistics
    weights = model.state_dict()
    seen.update({"average." + name: tensor.clone() for name, tensor in weights.items()})
    return evaluate(model, batch)
normed.eval_step = remember
train(normed, make_options(folder / "norm", ema_model=True, **windows))
for name in ("model", "opponent"):
    state = getattr(normed, name).state_dict()
    seen |= {name + "." + key: value for key, value in state.items()}
seen["steps of the task"] = torch.tensor(normed.steps)
torch.save(seen, folder / f"rank{rank}.pth")
if sys.argv[4:] == ["alone"]:
    sys.exit()

train(make_plain(), make_options(folder / "plain", optimizer="adamw", **windows))
shared = make_plain()  # its list is the first process's; one sample can't be read in the second
shared.train_set = first_process_does(lambda: Points(10 + 5 * rank, bad=(3,)))
if rank == 1:
    shared.train_set.bad = (3, 5)
train(shared, make_options(folder / "shared", global_batch=8, **values))
halved = ToyTask(dropout=0.0)
if rank == 1:
    halved.on_step = press_ctrl_c(at_step=8)
else:
    write = files.save_checkpoint
    files.save_checkpoint = lambda *words, **more: (time.sleep(0.5), write(*words, **more))
try:
    train(halved, make_options(folder / "halved", global_batch=8, **values))
except Stopped:  # only once there is all that the next start needs
    (folder / f"left after {(folder / 'halved' / 'stopped').exists()} {rank}").touch()
train(make_plain(), make_options(folder / "free", optimizer="adamw_schedulefree", **windows))
train(ContestTask(), make_options(folder / "contest", **dict(values, backward_step=1)))
cut = make_plain()
if rank == 1:  # what happens in one process concerns both
    cut.spoil = lambda step: math.nan if step == 1 else 1.0
    cut.on_step = press_ctrl_c(at_step=8)
try:
    train(cut, make_options(folder / "cut", **windows))
except KeyboardInterrupt:
    (folder / f"interrupted {rank}").touch()
normed = make_normed()
if rank == 1:  # in the first of the two batches of a window, which the first process goes on in
    normed.on_step = press_ctrl_c(at_step=9)
try:
    train(normed, make_options(folder / "parts", ema_model=True, **windows))
except KeyboardInterrupt:
    (folder / f"interrupted again {rank}").touch()
train(make_normed(), make_options(folder / "parts", resume=True, ema_model=True, **windows))
train(make_normed(), make_options(folder / "whole", ema_model=True, **windows))
torch.distributed.destroy_process_group()
threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
(folder / f"threads {rank}").write_text("".join(threads))
"""


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def as_tasks_of_a_step(words: list, **more: Any) -> list[subprocess.Popen]:
    """The same command twice, as srun starts it for two tasks on one machine."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        port = own.getsockname()[1]
    step = {
        "SLURM_NTASKS": "2",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return [
        subprocess.Popen(
            [str(word) for word in words],
            env={**os.environ, **step, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            text=True,
            **more,
        )
        for rank in "01"
    ]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of all runs in two processes."""
    folder = tmp_path_factory.mktemp("two")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    words = [*TORCHRUN, script, folder, ROOT, Path(__file__).parent]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def test_nothing_of_a_group_is_left_once_the_run_left_it(two):
    """A thread of it that lives on into the end of Python aborts the process now and then."""
    for rank in "01":
        assert "gloo" not in (two / f"threads {rank}").read_text()


@pytest.mark.parametrize(
    ("name", "optimizer"), [("plain", "adamw"), ("free", "adamw_schedulefree")]
)
def test_two_processes_learn_what_one_learns(tmp_path, two, name, optimizer):
    values = dict(batch_size=4, backward_step=2, optimizer=optimizer, **VALUES)
    train(ToyTask(bad=(3,), dropout=0.0), make_options(tmp_path / name, **values))
    a, b = (read_checkpoint(folder / name / CHECKPOINT) for folder in (tmp_path, two))
    for key, tensor in a["state_dict"].items():
        torch.testing.assert_close(b["state_dict"][key], tensor, rtol=1e-4, atol=1e-6)
    losses = [content["training"]["history"]["losses"].nan_to_num() for content in (a, b)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)
    assert (a["training"]["world_size"], b["training"]["world_size"]) == (1, 2)
    tables = [(folder / name / "loss.csv").read_text().splitlines() for folder in (tmp_path, two)]
    assert [len(table) for table in tables] == [3, 3]
    assert [row.split(",")[-3:-1] for row in tables[0]] == [
        row.split(",")[-3:-1] for row in tables[1]
    ]
    assert [path.name for path in (two / name / "eval").iterdir()] == ["0.png"]


def test_a_global_batch_makes_the_same_updates_in_any_number_of_processes(tmp_path, two):
    """Stopped by two processes, which left when all was written, and gone on with by one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = dict(batch_size=2, backward_step=4, global_batch=8, **VALUES)
    train(ToyTask(dropout=0.0), make_options(whole, **words))
    shutil.copytree(two / "halved", parts)
    assert (two / "left after True 0").exists() and (two / "left after True 1").exists()
    train(ToyTask(dropout=0.0), make_options(parts, resume=True, **words))
    assert not (parts / "stopped").exists()
    assert "from here on" not in (parts / "train.log").read_text()
    a, b = (read_checkpoint(path / CHECKPOINT) for path in (whole, parts))
    for key, tensor in a["state_dict"].items():
        torch.testing.assert_close(b["state_dict"][key], tensor, rtol=1e-5, atol=1e-7)
    losses = [content["training"]["history"]["losses"].nan_to_num() for content in (a, b)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-7)
    assert a["training"]["state"]["updates"] == b["training"]["state"]["updates"] == 6


def test_all_draw_from_what_the_first_process_lists(two):
    log = (two / "shared" / "train.log").read_text()
    assert "10 samples to train on (22 draws per epoch, 3 updates)" in log
    left_out = [line.partition("training sample ")[2] for line in log.splitlines()]
    assert sorted(filter(None, left_out)) == [
        "point-3 is left out: its picture is torn",
        "point-5 is left out: its picture is torn",  # in the second alone, and told once
    ]


def test_two_processes_teach_an_opponent_what_one_does(tmp_path, two):
    # 22 draws are 6 windows of 2 x 2, one a round: the second process has nothing to do in the last
    train(ContestTask(), make_options(tmp_path, batch_size=4, backward_step=1, **VALUES))
    one, both = (
        read_checkpoint(folder / CHECKPOINT)["training"] for folder in (tmp_path, two / "contest")
    )
    assert (one["world_size"], both["world_size"]) == (1, 2)
    for name, tensor in one["opponent"].items():
        torch.testing.assert_close(both["opponent"][name], tensor, rtol=1e-4, atol=1e-6)


def test_ctrl_c_and_a_bad_loss_in_one_process_concern_both(two):
    assert sorted(path.name for path in two.glob("interrupted*")) == [
        "interrupted 0",
        "interrupted 1",
        "interrupted again 0",
        "interrupted again 1",
    ]
    state = read_checkpoint(two / "cut" / "toy.net.checkpoint.pth")["training"]["state"]
    # 22 draws are 6 rounds of 2 x 2 in 3 windows of 8; rank 1 has nothing to do in the last: its
    # step 8 is the first of the second window of epoch 2, which is dropped in both
    assert (state["epochs_done"], state["epoch"]["position"], state["non_finite"]) == (1, 8, 1)
    log = (two / "parts" / "train.log").read_text()
    assert "stopped in epoch 2 after 8 of 22 samples" in log
    assert_same_run(two / "whole", two / "parts", "toy.normed")


def test_what_layers_normalise_by_is_the_same_in_all_processes(two):
    first, second = (torch.load(two / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    means = [name for name in first if name.endswith("running_mean")]
    assert [name.partition(".")[0] for name in means] == ["average", "model", "opponent"]
    assert all(first[name].abs().max() > 0.01 for name in means)  # they have moved from their 0
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert first["steps of the task"] == 2 * 6


def test_the_tasks_of_a_slurm_step_learn_what_torchrun_does(tmp_path, two):
    words = [sys.executable, two / "script.py", tmp_path, ROOT, Path(__file__).parent, "alone"]
    tasks = as_tasks_of_a_step(words, stderr=subprocess.PIPE)
    errors = [task.communicate(timeout=1500)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    assert errors[1] == ""  # the first one tells
    for rank in range(2):
        a, b = (
            torch.load(folder / f"rank{rank}.pth", weights_only=True) for folder in (two, tmp_path)
        )
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
