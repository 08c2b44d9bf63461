"""What Windows does otherwise, as far as it can be tried elsewhere."""

import ast
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint.commands import CREATE_TRAINING_DATA
from inpaint.dataset import EvalSet, TrainSet, scan_records
from inpaint.demo import shown
from nunif import files
from nunif.errors import OutputError, UserError
from nunif.record_options import check_prefix
from nunif.training.batches import Loader
from nunif.training.task import Draw, stack
from tests.open_files import HAS_PROC, refuse_open_files
from tests.records import make_records

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    *(ROOT / name for name in ("train.py", "create_training_data.py", "hubconf.py")),
    *(
        path
        for name in (
            "nunif",
            "scene",
            "inpaint",
            "matting",
            "layers",
            "scripts",
            "examples",
            "benchmarks",
        )
        for path in sorted((ROOT / name).rglob("*.py"))
    ),
]

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "problem"),
    [
        ("take:1", "--prefix take:1: no name can hold :: choose another"),
        ('a<b>"c', '--prefix a<b>"c: no name can hold " < >: choose another'),
        ("a\\b", "--prefix a\\b: no name can hold \\: choose another"),
        ("a\tb", "--prefix a\tb: no name can hold ?: choose another"),
        ("Con.1", "--prefix Con.1 names a device of Windows: choose another"),
        ("com1 .x", "--prefix com1 .x names a device of Windows: choose another"),
        (".tears", "--prefix .tears: records whose names begin with a dot are passed over"),
        ("a/b", "--prefix a/b: no name can hold /: choose another"),
    ],
)
def test_prefixes_of_which_windows_makes_no_names(prefix, problem):
    with pytest.raises(UserError) as error:
        check_prefix(prefix, windows=True)
    assert str(error.value) == problem


@pytest.mark.parametrize("prefix", ["", "con", "tears", "t\u00e4nze", "a b.c", "com1x.y", "a."])
def test_prefixes_that_are_names_everywhere(prefix):
    assert check_prefix(prefix, windows=True) is None


@pytest.mark.skipif(os.name == "nt", reason="no names here")
@pytest.mark.parametrize("prefix", ["take:1", "what?", "a\\b"])
def test_prefixes_that_are_names_here(prefix):
    assert check_prefix(prefix) is None


@pytest.mark.parametrize("command", ["video_inpaint", "frames", "inpaint"])
@pytest.mark.parametrize("prefix", ["a/b", ".tears"])
def test_every_generator_refuses_them_before_it_begins(run, tmp_path, command, prefix):
    words = ["-i", tmp_path, "-o", tmp_path / "out", "--prefix", prefix]
    code, _, lines = run(CREATE_TRAINING_DATA, command, *words)
    assert code == 1 and lines[-1].startswith(f"error: --prefix {prefix}: ")
    assert not (tmp_path / "out").exists()


def test_command_lines_are_shown_as_the_terminal_takes_them():
    words = ["python", "-i", "C:\\my films\\a.mp4", "-o", "C:\\out"]
    assert shown(words, windows=True) == r'python -i "C:\my films\a.mp4" -o C:\out'
    assert shown(["python", "-i", "my film.mp4"], windows=False) == "python -i 'my film.mp4'"


# --- files that another program has open ----------------------------------------------------------


def shared(winerror):
    """What Windows says of a file that another program has open (32), or a virus scanner (5)."""
    error = PermissionError(13, "The process cannot access the file")
    error.winerror = winerror
    return error


@pytest.mark.parametrize("winerror", [5, 32])
def test_a_file_that_is_open_elsewhere_for_a_moment_is_written(tmp_path, monkeypatch, winerror):
    refusals, replace = [shared(winerror), shared(winerror)], os.replace

    def busy(*paths):
        if refusals:
            raise refusals.pop()
        replace(*paths)

    monkeypatch.setattr(os, "replace", busy)
    files.write_text(tmp_path / "loss.csv", "1")
    files.write_whole_folder(tmp_path / "record", lambda folder: (folder / "a").write_bytes(b"1"))
    assert (tmp_path / "loss.csv").read_text(encoding="utf-8") == "1" and refusals == []
    assert sorted(os.listdir(tmp_path)) == ["loss.csv", "record"]


def test_a_file_that_stays_open_elsewhere_is_named(tmp_path, monkeypatch):
    def busy(*_):
        raise shared(32)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.0)
    with pytest.raises(OutputError, match="another program has it open: close it there and run"):
        files.write_text(tmp_path / "loss.csv", "1")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not HAS_PROC, reason="nothing tells which files are open")
def test_what_stands_for_windows_refuses_open_files(tmp_path, monkeypatch):
    """tests/test_commands_of_pages.py runs all commands so."""
    refuse_open_files(monkeypatch)
    for name in "ab":
        (tmp_path / name).write_bytes(b"1")
    with open(tmp_path / "a", "rb"):
        for refused in (
            lambda: (tmp_path / "a").unlink(),
            lambda: os.replace(tmp_path / "b", tmp_path / "a"),
            lambda: shutil.rmtree(tmp_path),
        ):
            with pytest.raises(PermissionError, match="as Windows would say"):
                refused()
    mapped = np.memmap(tmp_path / "b", mode="r")
    with pytest.raises(PermissionError, match="as Windows would say"):
        (tmp_path / "b").rename(tmp_path / "c")
    del mapped
    (tmp_path / "b").rename(tmp_path / "c")
    shutil.rmtree(tmp_path)
    assert not tmp_path.exists()


# --- processes that are spawned, since Windows can't fork -----------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    make_records(folder, 2, frames=3, size=40)
    return scan_records(folder)[0]


@pytest.fixture
def spawned():
    before = torch.multiprocessing.get_start_method()
    torch.multiprocessing.set_start_method("spawn", force=True)
    yield
    torch.multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow
def test_spawned_processes_load_the_same(records, spawned):
    masks = {"occlusion": 1.0, "object": 1.0}
    samples = TrainSet(records, 2, (32, 32), masks, (0.5, 1.0))
    draws = [[Draw(0, 7), Draw(1, 8)]]
    batches = []
    for num_workers in (0, 1):
        loader = Loader(samples, stack, num_workers=num_workers, pin_memory=False)
        batches += list(loader.load(draws))
        loader.close()
    here, there = batches
    assert here.indices == there.indices == [0, 1] and here.bad == there.bad == []
    assert all(torch.equal(here.data[name], there.data[name]) for name in ("pictures", "holes"))


def test_samples_of_evaluation_can_be_sent_to_spawned_processes(records):
    samples = EvalSet(records, 2, (32, 32), {"object": 1.0})
    sent = pickle.loads(pickle.dumps(samples))
    assert torch.equal(sent.sample(1)["pictures"], samples.sample(1)["pictures"])


# --- text -----------------------------------------------------------------------------------------


def without_encoding(path):
    """Where a source opens text in whatever encoding the system has: cp1252 on Windows."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        named = {keyword.arg for keyword in call.keywords}
        attribute = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        is_open = isinstance(call.func, ast.Name) and call.func.id == "open"
        mode = ast.unparse(call.args[1]) if len(call.args) > 1 and is_open else "r"
        if "encoding" not in named and (
            attribute in ("read_text", "write_text") or is_open and "b" not in mode
        ):
            yield f"{path.relative_to(ROOT)}:{call.lineno}"


def test_every_text_file_is_opened_with_its_encoding():
    found = [place for path in SOURCES for place in without_encoding(path)]
    assert [place for place in found if not place.startswith("nunif/timing.py")] == []
