"""Two commands at once on one folder: one waits or stops with a clear line, and nothing is
mixed."""

import json
import re
import signal

import pytest

from nunif.models import read_checkpoint
from tests.faults.generating import generate
from tests.faults.marks import starts_processes
from tests.faults.processes import (
    Command,
    hashes,
    report_records,
    report_updates,
    start_processes_by,
    wait_less,
)
from tests.faults.training import NAME, assert_same_run, train_words

pytestmark = starts_processes("SIGSTOP, SIGKILL and cheap processes")


def test_two_generators_of_one_film_take_turns(film, calm_records, tmp_path):
    """The second waits, and makes what the first, which is killed, has not."""
    folder, reports = tmp_path / "train", tmp_path / "reports"
    first = generate(film, folder, tmp_path / "log1", (report_records, reports))
    first.wait_for_reports(reports)
    first.send(signal.SIGSTOP)
    second = generate(film, folder, tmp_path / "log2")
    third = generate(film, folder, tmp_path / "log3", more=("--seed", 5))
    waiting = re.compile(
        rf"another process is making the records k_MotionParallax_\w{{8}}_\* in {folder}: waiting "
        r"for it\n"
    )
    for run in (second, third):
        run.wait_for_text(waiting)
    made = hashes(folder)
    assert made == hashes(folder)
    first.kill()
    assert second.wait() == 0, second.text
    assert third.wait() == 1, third.text
    kept, total = (
        int(re.search(r"kept (\d+)", second.text)[1]),
        len([path for path in calm_records.iterdir() if path.is_dir()]),
    )
    assert 1 <= kept < total and f"made {total - kept}," in second.text
    assert re.fullmatch(
        r"error: .* was made with seed 71, this run asks for 5: use another --prefix, .*",
        third.lines[-1],
    )
    assert hashes(folder) == hashes(calm_records)


def test_generators_with_other_names_do_not_wait_for_each_other(film, calm_records, tmp_path):
    folder, reports = tmp_path / "train", tmp_path / "reports"
    first = generate(film, folder, tmp_path / "log1", (report_records, reports))
    first.wait_for_reports(reports)
    first.send(signal.SIGSTOP)
    second = generate(
        film, folder, tmp_path / "log2", more=("--prefix", "other", "--skip-first", 60)
    )
    assert second.wait() == 0 and "waiting" not in second.text, second.text
    first.kill()
    infos = [json.loads(path.read_text()) for path in folder.glob("other_*/record.json")]
    assert infos and all(info["options"]["skip_first"] == 60 for info in infos)


@pytest.mark.parametrize(
    "command, module", [("frames", "generate_frames"), ("inpaint", "generate_images")]
)
def test_the_other_generators_wait_too(film, tmp_path, command, module):
    sizes = (
        ["--seq", 4, "--size", "64x64", "--prefix", "p"]
        if command == "frames"
        else ["--every", 0.1, "--size", 64]
    )
    words = [
        "create_training_data.py",
        command,
        "--dataset-dir",
        film,
        *sizes,
        "--max-workers",
        1,
        "-o",
    ]
    calm = Command([*words, tmp_path / "calm"], tmp_path / "log0")
    assert calm.wait() == 0, calm.text
    folder, reports = tmp_path / "train", tmp_path / "reports"
    first = Command(
        [*words, folder], tmp_path / "log1", (report_records, reports, f"inpaint.{module}")
    )
    first.wait_for_reports(reports)
    first.send(signal.SIGSTOP)
    second = Command([*words, folder], tmp_path / "log2")
    second.wait_for_text(
        re.compile(rf"another process is making the records \w+_\* in {folder}: waiting for it\n")
    )
    first.kill()
    assert second.wait() == 0, second.text
    assert hashes(folder) == hashes(tmp_path / "calm")


def test_a_second_trainer_stops_and_the_first_is_unharmed(training_data, calm_run, tmp_path):
    folder, reports = tmp_path / "m", tmp_path / "reports"
    first = Command(
        train_words(training_data, folder), tmp_path / "log1", (report_updates, reports)
    )
    first.wait_for_reports(reports)
    first.send(signal.SIGSTOP)  # so that it cannot end while the second waits
    before = hashes(folder)
    second = Command(
        train_words(training_data, folder, "--resume"), tmp_path / "log2", (wait_less, 1)
    )
    third = Command(
        train_words(training_data, folder, "--seed", 5), tmp_path / "log3", (wait_less, 1)
    )
    for run in (second, third):
        assert run.wait() == 1, run.text
        assert run.lines[-1] == (
            f"error: another training is writing into {folder}: wait for its end, or choose "
            "another --model-dir"
        )
    assert hashes(folder) == before
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.text
    assert_same_run(folder, calm_run)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_killed_trainer_locks_nobody_out_and_its_loading_processes_end(
    training_data, calm_run, tmp_path, method
):
    folder, reports = tmp_path / "m", tmp_path / "reports"
    words = train_words(training_data, folder, "--num-workers", 1)
    first = Command(
        words, tmp_path / "log1", (report_updates, reports), (start_processes_by, method)
    )
    first.wait_for_reports(reports, 7)
    first.kill()
    second = Command(train_words(training_data, folder, "--resume"), tmp_path / "log2")
    assert second.wait() == 0, second.text
    assert (
        read_checkpoint(folder / f"{NAME}.checkpoint.pth")["training"]["state"]["epochs_done"] == 5
    )
    assert_same_run(folder, calm_run)
    assert first.group_is_gone(20)
