"""How a run begins: shared among processes, going on where there is a checkpoint, and started again
by torchrun."""

import os
from dataclasses import replace

import pytest

from nunif.cli import Command, run
from nunif.errors import Stopped, ToldElsewhere, UserError
from nunif.models import read_checkpoint
from nunif.training import options as training_options
from nunif.training.distributed import Group
from nunif.training.launch import agree
from nunif.training.options import TrainerOptions
from nunif.training.start import check_sets
from nunif.training.trainer import train
from tests.nunif.test_training import ToyTask, make_options, press_ctrl_c

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.mark.parametrize(
    "words, processes, batches",
    [
        (dict(backward_step=3), 4, 3),
        (dict(backward_step=4, global_batch=32), 1, 16),
        (dict(backward_step=4, global_batch=32), 4, 4),
    ],
)
def test_batches_of_an_update(tmp_path, words, processes, batches):
    options = make_options(tmp_path, **words)
    assert options.batches_per_update(processes) == batches
    assert options.records_per_update(processes) == 2 * batches * processes


@pytest.mark.parametrize(
    "processes, nearest", [(2, "4 at once (2 x --batch-size 2): give 8 or 12"), (8, "give 16")]
)
def test_a_global_batch_that_can_t_be_shared_out(tmp_path, processes, nearest):
    options = make_options(tmp_path, backward_step=4, global_batch=10)
    with pytest.raises(UserError, match="--global-batch 10 can't be shared out evenly, ") as caught:
        options.batches_per_update(processes)
    assert str(caught.value).endswith(nearest)


@pytest.mark.parametrize("step", ["4", "2"])  # the default too
def test_the_samples_of_an_update_are_said_once(step, capsys):
    table = [Command("train", TrainerOptions, "nobody:main", "train")]
    words = ["train", "--model-dir", "m", "--global-batch", "8", "--backward-step", step]
    assert run(table, words) == 1
    line = f"error: --global-batch 8 and --backward-step {step} say the same: leave one of them out"
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize(
    "cpus, sharing, number", [(2, 1, 0), (4, 1, 2), (64, 1, 8), (16, 4, 2), (8, 4, 1), (4, 4, 0)]
)
def test_loading_processes_by_the_cpus(tmp_path, monkeypatch, cpus, sharing, number):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cpus), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(sharing))
    assert make_options(tmp_path, num_workers=None).loader_processes() == number
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert make_options(tmp_path, num_workers=None).loader_processes() == 0
    assert training_options.num_cpus() == 1


class SaidOtherwise(Group):
    """The first or second of two processes; the other one said something else."""

    def __init__(self, rank, **other):
        super().__init__(rank, 2)
        self.other = {name.replace("_", "-"): value for name, value in other.items()}

    def gather(self, value):
        others = {name: self.other.get(name.lstrip("-"), x) for name, x in value.items()}
        return [value, others] if self.rank == 0 else [others, value]


def test_processes_that_were_started_differently(tmp_path):
    options = make_options(tmp_path, learning_rate=0.5)
    with pytest.raises(UserError, match="--learning-rate is 0.5 in rank 0 and 0.1 in rank 1: st"):
        agree(options, SaidOtherwise(0, learning_rate=0.1))
    with pytest.raises(ToldElsewhere, match="torch is 1.0 in rank 0 and .* in rank 1: start all"):
        agree(options, SaidOtherwise(1, torch="1.0"))
    assert agree(options, SaidOtherwise(0, gpu=3, model_dir="there", num_workers=9)) == options


def test_more_processes_than_samples(tmp_path):
    with pytest.raises(UserError, match="9 processes, and 7 samples an epoch: start fewer"):
        check_sets(ToyTask(), make_options(tmp_path), 9)


def stop_in_between(folder, **words):
    task = ToyTask()
    task.on_step = press_ctrl_c(at_step=7)
    with pytest.raises(Stopped):
        train(task, make_options(folder, **words))


def test_a_run_goes_on_if_there_is_a_checkpoint_else_it_starts(tmp_path):
    stop_in_between(tmp_path, resume_if_there=True)
    assert (tmp_path / "stopped").exists()
    train(ToyTask(), make_options(tmp_path, resume_if_there=True))
    assert not (tmp_path / "stopped").exists()
    log = (tmp_path / "train.log").read_text()
    assert log.count("resuming in epoch 2 after 4 of 7 samples") == 1 and "is kept as" not in log
    (tmp_path / "stopped").touch()
    train(ToyTask(), make_options(tmp_path, resume_if_there=True))  # nothing is left to do
    assert not (tmp_path / "stopped").exists()


def test_what_torchrun_starts_again_goes_on_from_its_own_checkpoint(tmp_path, monkeypatch):
    options = make_options(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    stop_in_between(tmp_path)
    checkpoint = tmp_path / "toy.net.checkpoint.pth"
    assert read_checkpoint(checkpoint)["run_id"] == "one"
    assert agree(options, Group()) == options  # the first attempt of another run starts anew
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = agree(replace(options, resume=True, reset_state=True), Group())
    assert (again.resume, again.reset_state) == (True, False)
    assert agree(options, Group()).resume
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "other")  # which died before it had a checkpoint
    assert agree(options, Group()) == options
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    train(ToyTask(), options)
    assert "resuming in epoch 2" in (tmp_path / "train.log").read_text()
    assert [path.name for path in tmp_path.glob("*.bk")] == []
