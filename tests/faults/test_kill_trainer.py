"""The trainer, killed or asked to stop at any moment, resumes to the bits of a run that nobody
disturbed."""

import csv
import shutil
import signal
import time

import pytest
import torch

from nunif.models import read_checkpoint
from tests.faults.marks import starts_processes
from tests.faults.processes import (
    Command,
    busy,
    count,
    draw_moments,
    report_updates,
    save_after_every_update,
    stall_before_command,
    stall_in_save,
)
from tests.faults.training import NAME, assert_same_run, train_words

pytestmark = starts_processes("SIGKILL, process groups and cheap processes")
SEED = 7
# twenty moments: while starting, some time after some updates, and inside the write of a
# checkpoint
MOMENTS = draw_moments(
    SEED,
    (5, lambda rng: ("start", rng.uniform(0, 0.4))),
    (9, lambda rng: ("update", rng.randint(0, 1), rng.uniform(0, 0.15))),
    (6, lambda rng: ("save", rng.randint(1, 2), rng.randrange(2_300_000))),
)


def test_killed_twenty_times_it_ends_with_the_same_bits(training_data, calm_run, tmp_path):
    """No file is ever torn: neither the checkpoint, nor the model, nor those that are kept, nor the
    table."""
    folder, killed = tmp_path / "m", 0
    for number, moment in enumerate(MOMENTS):
        where = f"kill {number} of seed {SEED}: {moment}"
        resume = ["--resume"] if (folder / f"{NAME}.checkpoint.pth").exists() else []
        reports = tmp_path / f"reports{number}"
        hooks = [(report_updates, reports), (save_after_every_update,)]
        if moment[0] == "save":
            reports = tmp_path / f"stalled{number}"
            hooks.append((stall_in_save, moment[1], moment[2], reports))
        run = Command(
            train_words(training_data, folder, *resume), tmp_path / f"log{number}", *hooks
        )
        if moment[0] == "start":
            time.sleep(moment[1])
        elif moment[0] == "update":
            run.wait_for_reports(reports, moment[1])
            time.sleep(moment[2])
        else:
            run.wait_for_reports(reports)
        run.kill()
        assert run.wait() == -signal.SIGKILL, f"{where}: {run.text}"
        killed += 1
        for path in folder.glob("[!.]*.pth"):
            assert read_checkpoint(path)["name"] == NAME, where
        if (folder / "loss.csv").exists():
            with open(folder / "loss.csv", newline="") as file:
                assert all(
                    None not in row.values() and row["seconds"] for row in csv.DictReader(file)
                ), where
    last = Command(train_words(training_data, folder, "--resume"), tmp_path / "log")
    assert last.wait() == 0, last.text
    assert "resuming in epoch" in last.text
    assert killed == 20
    assert_same_run(folder, calm_run)


def test_signals_save_and_leave_within_seconds(training_data, calm_run, tmp_path):
    """SIGTERM to all processes of a job, Ctrl-C, and Slurm's SIGUSR1 with the SIGTERM of the time
    limit close behind."""
    folder = tmp_path / "m"
    positions = []
    for number, signals in enumerate(
        [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM)]
    ):
        more = ["--resume"] if number else ["--num-workers", 1]
        reports = tmp_path / f"reports{number}"
        run = Command(
            train_words(training_data, folder, *more),
            tmp_path / f"log{number}",
            (report_updates, reports),
        )
        run.wait_for_reports(reports, 2)
        began = time.monotonic()
        for each in signals:
            run.send(each, group=each == signal.SIGTERM)
        assert run.wait() == 130, run.text
        assert time.monotonic() - began < busy(20)
        assert run.lines[-1] == "interrupted" and "--resume goes on from there" in run.lines[-2], (
            run.text
        )
        state = read_checkpoint(folder / f"{NAME}.checkpoint.pth")["training"]["state"]
        position = 6 * state["epochs_done"] + (state["epoch"]["position"] if state["epoch"] else 0)
        assert position >= sum(positions[-1:]) + count(reports), (
            "what was done before the signal is in the checkpoint"
        )
        positions.append(position)
    last = Command(train_words(training_data, folder, "--resume"), tmp_path / "log")
    assert last.wait() == 0, last.text
    assert_same_run(folder, calm_run)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_while_starting_is_one_line(training_data, tmp_path, name):
    run = Command(
        train_words(training_data, tmp_path / "m"),
        tmp_path / "log",
        (stall_before_command, tmp_path / "reports"),
    )
    run.wait_for_reports(tmp_path / "reports")
    run.send(getattr(signal, name))
    assert (run.wait(busy(20)), run.text) == (130, "interrupted\n")


def test_a_new_round_killed_in_its_first_save_leaves_the_old_checkpoint_in_its_place(
    training_data, calm_run, tmp_path
):
    folders = [tmp_path / "killed", tmp_path / "calm"]
    words = []
    for folder in folders:
        shutil.copytree(calm_run, folder)
        words.append(
            train_words(training_data, folder, "--resume", "--reset-state", "--max-epoch", 1)
        )
    before = (folders[0] / f"{NAME}.checkpoint.pth").read_bytes()
    run = Command(words[0], tmp_path / "log1", (stall_in_save, 1, 1_000_000, tmp_path / "stalled"))
    run.wait_for_reports(tmp_path / "stalled")
    run.kill()
    assert (folders[0] / f"{NAME}.checkpoint.pth").read_bytes() == before
    for number, word in enumerate(words):
        again = Command(word, tmp_path / f"log{number + 2}")
        assert again.wait() == 0, again.text
    assert_same_run(*folders)


def test_the_last_checkpoints_are_kept_and_one_can_go_back_to_them(
    training_data, calm_run, tmp_path
):
    folder = tmp_path / "m"
    shutil.copytree(calm_run, folder)
    kept = sorted(path.name for path in folder.glob(f"{NAME}.checkpoint.epoch*"))
    assert kept == [f"{NAME}.checkpoint.epoch000{number}.pth" for number in (4, 5)]
    newest = (folder / kept[1]).read_bytes()
    (folder / f"{NAME}.checkpoint.pth").write_bytes(newest[:100_000])
    run = Command(train_words(training_data, folder, "--resume"), tmp_path / "log1")
    assert run.wait() == 1
    assert run.lines[-1].endswith(
        f"; {kept[1]} is kept beside it: copy it to {NAME}.checkpoint.pth to go on from there"
    )
    shutil.copyfile(folder / kept[0], folder / f"{NAME}.checkpoint.pth")
    assert (folder / kept[1]).read_bytes() == newest, "the kept ones are files of their own"
    run = Command(train_words(training_data, folder, "--resume"), tmp_path / "log2")
    assert run.wait() == 0 and "resuming in epoch 5" in run.text, run.text
    assert_same_run(folder, calm_run)


def test_a_new_run_overwrites_no_kept_checkpoint(training_data, calm_run, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(calm_run, folder)
    before = torch.load(folder / f"{NAME}.checkpoint.epoch0004.pth", weights_only=True)[
        "updated_at"
    ]
    run = Command(
        train_words(training_data, folder, "--max-epoch", 1, "--seed", 5), tmp_path / "log"
    )
    assert run.wait() == 0, run.text
    (aside,) = folder.glob(f"{NAME}.checkpoint.epoch0004.*.bk")
    assert torch.load(aside, weights_only=True)["updated_at"] == before
    assert [path.name for path in folder.glob("*.epoch*.pth")] == [
        f"{NAME}.checkpoint.epoch0001.pth"
    ]
