"""A full disk or a folder that can't be written: one clear line, what is finished stays whole, and
later it goes on."""

import mmap
import os
import signal
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from nunif import cli
from nunif.models import read_checkpoint
from nunif.shards.commands import CREATE_TRAINING_DATA
from tests.faults.generating import generate
from tests.faults.marks import starts_processes
from tests.faults.processes import (
    Command,
    fill,
    fill_disk_before,
    hashes,
    report_records,
    report_updates,
)
from tests.faults.training import NAME, assert_same_run, train_words
from tests.models import save_lively_model
from tests.records import make_records
from tests.videos import times_of, write_clip

pytestmark = starts_processes("a small disk")


def disk_full(path: Path) -> str:
    return f"disk full while writing {path}: free some space and run it again"


def errors_of(run: Command) -> list[str]:
    """What a command that failed said beside its progress; a traceback or a second line would be in
    it."""
    assert run.wait() == 1, run.text
    lines = run.lines
    assert (
        lines[-1].startswith("error: ")
        and "Traceback" not in run.text
        and "Logging error" not in run.text
    ), run.text
    return [
        line
        for line in lines
        if "error" in line.lower() or "disk full" in line or "can't be written" in line
    ]


def test_the_trainer_on_a_disk_that_fills_up_again_and_again(
    training_data, calm_run, small_disk, tmp_path
):
    """Whatever it was about to write: a preview, a model, the table, a checkpoint to keep or to
    resume from."""
    disk = small_disk(64)
    folder, filler = disk.path / "m", disk.path / "filler"
    files = [
        "eval/0.png",
        f"{NAME}.pth",
        "loss.csv",
        f"{NAME}.checkpoint.epoch0001.pth",
        f"{NAME}.checkpoint.pth",
    ]
    for number, name in enumerate(files):
        words = train_words(training_data, folder, *(["--resume"] if number else []))
        run = Command(words, tmp_path / f"log{number}", (fill_disk_before, Path(name).name, filler))
        assert errors_of(run) == [f"error: {disk_full(folder / name)}, what is finished is kept"]
        for path in folder.glob("[!.]*.pth"):
            assert read_checkpoint(path)["name"] == NAME
        assert not list(folder.rglob(".partial*"))
        filler.unlink()
    run = Command(
        train_words(training_data, folder, "--resume"),
        tmp_path / "log5",
        (report_updates, tmp_path / "reports"),
    )
    run.wait_for_reports(tmp_path / "reports")
    run.send(signal.SIGSTOP)
    with open(folder / "train.log", "ab") as log:
        # so that another line needs more of the disk
        log.write(b"\n" * (-log.tell() % mmap.PAGESIZE))
    fill(filler)
    run.send(signal.SIGTERM)
    run.send(signal.SIGCONT)
    (line,) = errors_of(run)
    assert line.startswith(f"error: {disk_full(folder / NAME).partition(NAME)[0]}")
    filler.unlink()
    last = Command(train_words(training_data, folder, "--resume"), tmp_path / "log")
    assert last.wait() == 0, last.text
    assert_same_run(folder, calm_run)


def test_a_disk_too_small_for_the_first_checkpoint_is_told_at_once(
    training_data, small_disk, tmp_path
):
    disk = small_disk(1)
    run = Command(train_words(training_data, disk.path / "m"), tmp_path / "log")
    path = disk.path / "m" / f"{NAME}.checkpoint.pth"
    assert errors_of(run) == [f"error: {disk_full(path)}, what is finished is kept"]
    assert not list((disk.path / "m").glob("*.pth"))


def test_the_generator_on_a_full_disk(film, calm_records, small_disk, tmp_path):
    """Both films of a folder would meet it, and one line says so."""
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.mp4").symlink_to(film)
    (films / "b.mp4").write_bytes(film.read_bytes() + bytes(8))  # the same film under another hash
    disk = small_disk(1)
    folder = disk.path / "train"
    fill(disk.path / "filler", leave=200_000)
    run = generate(films, folder, tmp_path / "log1", (report_records, tmp_path / "reports"))
    (line,) = errors_of(run)
    assert line.startswith(f"error: disk full while writing {folder}/") and line.endswith(
        "what is finished is kept"
    )
    calm = hashes(calm_records)
    made = {path.name for path in folder.iterdir() if path.is_dir()}
    assert 1 <= len(made) < 20 and not list(folder.rglob(".partial*"))
    assert {
        name: digest for name, digest in hashes(folder).items() if "/" in name
    }.items() <= calm.items()
    disk.resize(32)
    again = generate(film, folder, tmp_path / "log2")
    assert again.wait() == 0 and f"kept {len(made)}" in again.text, again.text
    assert hashes(folder) == calm


@pytest.fixture
def apply_words(tmp_path):
    film = write_clip(tmp_path / "film.mp4", 24, width=160, height=120)
    mask = tmp_path / "mask.png"
    picture = np.zeros((120, 160), np.uint8)
    picture[40:80, 50:90] = 255
    cv2.imwrite(str(mask), picture)
    model = save_lively_model(tmp_path / "model.pth")
    return lambda out, *more: [
        "inpaint",
        "apply",
        "-i",
        film,
        "--mask",
        mask,
        "-o",
        out,
        "--model",
        model,
        "--gpu",
        -1,
        *more,
    ]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_apply_onto_a_full_disk(apply_words, small_disk, tmp_path, name):
    """An earlier result stays until the new one is whole."""
    disk = small_disk(1)
    output = disk.path / name
    earlier = bytes(range(256)) * 16
    output.write_bytes(earlier)
    fill(disk.path / "filler", leave=20_000)
    run = Command(apply_words(output, "--quality", 1), tmp_path / "log1")
    assert errors_of(run) == [f"error: {disk_full(output)}"]
    assert hashes(disk.path).keys() == {name, "filler"} and output.read_bytes() == earlier
    disk.resize(16)
    again = Command(apply_words(output, "--quality", 1), tmp_path / "log2")
    assert again.wait() == 0 and len(times_of(output)) == 24, again.text


def test_apply_into_a_folder_on_a_full_disk_keeps_the_finished_pictures(
    apply_words, small_disk, tmp_path
):
    calm = Command(apply_words(tmp_path / "out"), tmp_path / "log0")
    assert calm.wait() == 0, calm.text
    disk = small_disk(1)
    fill(disk.path / "filler", leave=200_000)
    run = Command(apply_words(disk.path / "out"), tmp_path / "log1")
    assert errors_of(run) == [f"error: {disk_full(disk.path / 'out')}, what is finished is kept"]
    finished, wanted = hashes(disk.path / "out.unfinished"), hashes(tmp_path / "out")
    assert 1 <= len(finished) < 24 and finished.items() <= wanted.items()
    disk.resize(16)
    again = Command(apply_words(disk.path / "out"), tmp_path / "log2")
    assert again.wait() == 0 and hashes(disk.path / "out") == wanted, again.text


def test_outputs_that_can_not_be_written(
    training_data, calm_run, film, apply_words, read_only, tmp_path
):
    model_dir, records = read_only(calm_run), read_only()
    logs = [tmp_path / f"log{number}" for number in range(6)]
    for run, place in [
        (
            Command(train_words(training_data, model_dir, "--resume", "--max-epoch", 6), logs[0]),
            model_dir,
        ),
        (Command(train_words(training_data, model_dir / "new"), logs[1]), model_dir / "new"),
        (generate(film, records, logs[2]), records),
        (generate(film, records / "train", logs[3]), records / "train"),
        (Command(apply_words(records / "out.mp4"), logs[4]), records),
        (Command(apply_words(records / "out"), logs[5]), records),
    ]:
        (line,) = errors_of(run)
        assert line.startswith(f"error: {place} can't be written ("), line
        assert line.endswith("): choose another folder or change its permissions"), line
    assert os.listdir(records) == []
    assert hashes(model_dir) == hashes(calm_run)


def test_packing_onto_a_full_disk(small_disk, tmp_path, capsys, monkeypatch):
    """Nothing half-written has a final name, and the index is what it was; later it goes on."""
    pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e .[shards]")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    disk, records = small_disk(4), tmp_path / "records"
    make_records(records, 2, frames=4)

    def pack(out: Path) -> int:
        words = ["pack", "-i", records, "-o", out, "--shard-bytes", "100kB"]
        return cli.run(CREATE_TRAINING_DATA, [str(word) for word in words])

    assert pack(disk.path / "shards") == pack(tmp_path / "calm" / "shards") == 0
    before = hashes(disk.path / "shards")
    make_records(records, 4, frames=4, seed=7)
    fill(disk.path / "filler", leave=200_000)
    capsys.readouterr()
    assert pack(disk.path / "shards") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"error: disk full while writing {disk.path / 'shards'}")
    after = hashes(disk.path / "shards")
    assert before.items() <= after.items()
    whole = [path for path in (disk.path / "shards").glob("*.tar")]
    for path in whole:
        with tarfile.open(path) as tar:
            assert len(tar.getnames()) >= 9
    (disk.path / "filler").unlink()
    assert pack(disk.path / "shards") == pack(tmp_path / "calm" / "shards") == 0
    assert hashes(disk.path / "shards") == hashes(tmp_path / "calm" / "shards")
