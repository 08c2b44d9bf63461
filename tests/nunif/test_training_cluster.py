"""What a cluster does to a run, by torchrun itself on this machine: other numbers of processes,
signals while a slow disk is written to, a process that is killed or stands still."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from nunif.models import read_checkpoint
from tests.nunif.test_training_processes import as_tasks_of_a_step
from tests.whole_matrix import in_whole_matrix

# each starts processes that import torch, and some wait on purpose: three minutes of CPU together
pytestmark = [pytest.mark.xdist_group("torchrun"), pytest.mark.slow, in_whole_matrix]
ROOT = Path(__file__).parents[2]
CHECKPOINT = "toy.net.checkpoint.pth"
OPTIONS = ("--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
UPDATES = 30  # two epochs of 120 draws, 8 an update

SCRIPT = """
import json, os, sys, time
from pathlib import Path
folder, pause, slow = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
sys.path[:0] = sys.argv[4:6]
del sys.argv[1:6]
import torch
torch.set_num_threads(1)
from test_training import ToyTask
from nunif.cli import Command, main
from nunif.place import place_in_run
from nunif.training import state as files
from nunif.training.options import TrainerOptions
from nunif.training.trainer import train

rank, task = place_in_run().rank, ToyTask(dropout=0.0)
attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")

def on_step(step):
    (folder / f"at {rank} of {attempt}").write_text(json.dumps([os.getpid(), step]))
    time.sleep(pause)

def go(options):
    task.on_step, write = on_step, files.save_checkpoint
    def write_slowly(*words, **more):
        if (folder / "slow disk").exists():
            time.sleep(slow)
        write(*words, **more)
    files.save_checkpoint = write_slowly
    try:
        train(task, options)
    finally:
        (folder / f"seen {rank} of {attempt}").write_text(json.dumps(task.seen))

main([Command("go", TrainerOptions, "__main__:go", "train")])
"""


class Run:
    """A run of several processes, or of one."""

    def __init__(self, folder, processes=1, *, launcher=(), pause=0.0, slow=0.0, more=()):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        script = folder / "script.py"
        script.write_text(SCRIPT)
        words = [sys.executable]
        if processes > 1:
            words += ["-m", "torch.distributed.run", "--standalone"]
            words += ["--nproc-per-node", str(processes), *launcher]
        words += [script, folder, pause, slow, ROOT, Path(__file__).parent, "go"]
        words += ["--model-dir", folder / "model", "--gpu", -1, "--num-workers", 0]
        words += ["--batch-size", 2, "--global-batch", 8, "--num-samples", 120, "--max-epoch", 2]
        words += ["--learning-rate", 0.01, "--disable-tensorboard", *more]
        own = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        own["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        self.said = folder / "said"
        with open(self.said, "w") as file:
            self.process = subprocess.Popen(
                [str(word) for word in words],
                env={**os.environ, **own},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for_step(self, rank, step, attempt=0):
        """The id of a process, once it has come so far."""
        path, deadline = self.folder / f"at {rank} of {attempt}", time.monotonic() + 600
        while time.monotonic() < deadline:
            if path.exists() and (text := path.read_text()):
                pid, at = json.loads(text)
                if at >= step:
                    return pid
            time.sleep(0.05)
        raise AssertionError(f"step {step} never came")

    def end(self, seconds=900.0):
        """Exit code and all that was said."""
        return self.process.wait(timeout=seconds), self.said.read_text()

    def is_gone(self, seconds=10.0):
        """Whether no process of it is left, or soon none is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.1)
        os.killpg(self.process.pid, signal.SIGKILL)
        return False

    def checkpoint(self):
        return read_checkpoint(self.folder / "model" / CHECKPOINT)

    def drawn(self):
        """How often each record was learned from, in all processes and attempts."""
        return sum(
            (Counter(json.loads(x.read_text())) for x in self.folder.glob("seen *")), Counter()
        )


def weights_of(run):
    return torch.cat([x.flatten() for x in run.checkpoint()["state_dict"].values()])


def assert_same(run, other):
    """To the order of summation."""
    one, two = weights_of(run), weights_of(other)
    assert (one - two).norm() / two.norm() < 1e-6
    found, wanted = (x.checkpoint()["training"] for x in (run, other))
    losses = (x["history"]["losses"].nan_to_num() for x in (found, wanted))
    torch.testing.assert_close(*losses, atol=1e-6, rtol=1e-6)
    assert found["state"]["updates"] == wanted["state"]["updates"] == UPDATES


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("alone"))
    code, text = run.end()
    assert code == 0, text
    return run


def test_one_two_and_four_processes_make_the_same_updates(alone, tmp_path):
    for processes in (2, 4):
        run = Run(tmp_path / str(processes), processes)
        code, text = run.end()
        assert code == 0, text
        assert_same(run, alone)
        assert run.drawn() == alone.drawn() and sum(run.drawn().values()) == 240


@pytest.mark.parametrize("processes", [1, 4])
def test_what_two_left_in_an_epoch_others_go_on_with(alone, tmp_path, processes):
    run = Run(tmp_path / "r", 2, pause=0.05, launcher=OPTIONS)
    os.kill(run.wait_for_step(1, 20), signal.SIGUSR1)
    run.end()
    assert 0 < run.checkpoint()["training"]["state"]["epoch"]["position"] < 120
    code, text = Run(tmp_path / "r", processes, more=("--resume-if-there",)).end()
    assert code == 0, text
    assert_same(run, alone)


def test_a_checkpoint_that_takes_45_seconds_is_of_the_moment_of_the_stop(tmp_path):
    """A signal to one process: torchrun would end the first half a minute after the second has
    left."""
    run = Run(tmp_path, 2, pause=0.05, slow=45, launcher=(*OPTIONS, "--shutdown-timeout", 120))
    second = run.wait_for_step(1, 20)
    (tmp_path / "slow disk").touch()
    os.kill(second, signal.SIGUSR1)
    _, text = run.end()
    at = json.loads((tmp_path / "at 1 of 0").read_text())[1]
    state = run.checkpoint()["training"]["state"]
    # 2 steps of each process make an update
    assert state["updates"] == at // 2 and (tmp_path / "model" / "stopped").exists(), text


def test_a_signal_to_torchrun_and_all_its_processes_saves_and_leaves_none(tmp_path):
    run = Run(tmp_path, 2, pause=0.05, launcher=(*OPTIONS, "--shutdown-timeout", 300))
    run.wait_for_step(1, 10)
    os.killpg(run.process.pid, signal.SIGUSR1)
    code, text = run.end()
    assert code != 0 and run.is_gone(), text
    assert run.checkpoint()["training"]["state"]["updates"] >= 5
    assert (tmp_path / "model" / "stopped").exists()


def test_a_run_that_was_asked_to_stop_is_not_started_again(tmp_path):
    run = Run(tmp_path, 2, pause=0.05, launcher=(*OPTIONS, "--max-restarts", 1))
    os.kill(run.wait_for_step(1, 10), signal.SIGUSR1)
    code, text = run.end()
    assert code == 0 and run.is_gone(), text
    assert (tmp_path / "model" / "stopped").exists() and not list(tmp_path.glob("at * of 1"))


def test_a_run_of_which_a_process_was_killed_goes_on_by_itself(alone, tmp_path):
    """From its own last checkpoint, which is that of the first epoch."""
    run = Run(tmp_path, 2, pause=0.05, launcher=(*OPTIONS, "--max-restarts", 1))
    os.kill(run.wait_for_step(1, 36), signal.SIGKILL)  # in the second of two epochs of 30 steps
    code, text = run.end()
    assert code == 0, text
    assert "resuming in epoch 2" in (tmp_path / "model" / "train.log").read_text()
    assert_same(run, alone)


def test_a_process_that_stands_still_ends_the_run_with_one_line(tmp_path):
    run = Run(tmp_path, 2, pause=0.05, more=("--exchange-timeout", 15))
    second = run.wait_for_step(1, 10)
    begin = time.monotonic()
    os.kill(second, signal.SIGSTOP)
    try:
        while time.monotonic() - begin < 40 and "did not answer" not in run.said.read_text():
            time.sleep(0.2)
        taken = time.monotonic() - begin
    finally:
        os.kill(second, signal.SIGCONT)
    code, text = run.end()
    lines = [line for line in text.splitlines() if "did not answer" in line]
    assert taken < 40 and code != 0
    assert str(ROOT / "nunif") not in text, (
        "torchrun shows a traceback of its own, and none of ours"
    )
    assert re.search(r"rank 1 of 2 did not answer within 1[5-9] s or is gone", lines[0]), lines


JOIN = """
import logging, sys, torch
sys.path.insert(0, sys.argv[1])
from nunif.errors import UserError
from nunif.place import place_in_run
from nunif.training.distributed import join_group
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
torch.cuda.is_available = lambda: place_in_run().rank == 0
torch.cuda.device_count, torch.cuda.set_device = lambda: 1, lambda device: None
try:
    with join_group(0):
        pass
except UserError as error:
    print(type(error).__name__, error)
"""


def test_processes_of_which_one_has_no_gpu(tmp_path):
    script = tmp_path / "join.py"
    script.write_text(JOIN)
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    tasks = as_tasks_of_a_step([sys.executable, script, ROOT], **pipes)
    first, second = (task.communicate(timeout=900)[0].splitlines() for task in tasks)
    text = "ranks without a GPU: 1; the others have one: all need one, or --gpu -1"
    # torch may have lines of its own, where one ends before the other
    told = [[line for line in lines if "Error " in line[:16]] for lines in (first, second)]
    told[1] += [line for line in second if line.startswith("ToldElsewhere")]
    assert told == [[f"UserError {text}"], [f"ToldElsewhere {text}"]]
    assert not any("Traceback" in line for line in first + second)
