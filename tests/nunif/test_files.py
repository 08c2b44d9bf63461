"""Files and folders appear whole or not at all."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nunif import files
from nunif.errors import UserError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    files.write_whole(path, b"old")
    with pytest.raises(RuntimeError), files.whole_file(path) as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_folder_appears_whole(tmp_path):
    def fill(folder):
        (folder / "one").write_text("1")
        assert not (tmp_path / "record").exists()
        (folder / "two").write_text("2")

    files.write_whole_folder(tmp_path / "record", fill)
    assert sorted(p.name for p in (tmp_path / "record").iterdir()) == ["one", "two"]
    assert os.listdir(tmp_path) == ["record"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    def fill(folder):
        (folder / "one").write_text("1")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        UserError, match="disk full while writing .*record: free some space and run it again"
    ):
        files.write_whole_folder(tmp_path / "record", fill)
    assert os.listdir(tmp_path) == []


DIE = """
import os, sys
from pathlib import Path
from nunif import files
files.write_whole_folder(Path(sys.argv[1]) / "record", lambda folder: os._exit(9))
"""


def test_what_dead_writers_left_is_removed_and_what_others_write_is_not(tmp_path):
    def fill(folder):
        (folder / "one").write_text("1")
        files.remove_left(tmp_path)

    process = subprocess.run([sys.executable, "-c", DIE, tmp_path], cwd=Path(__file__).parents[2])
    (left,) = os.listdir(tmp_path)
    assert process.returncode == 9 and left.startswith(".partial-")
    host = left.split("-")[1]
    others = left.replace(host, "0" * 8)  # a process of that number on another machine
    for name in (others, ".partial-old"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".partial-old", (0, 0))
    files.write_whole_folder(tmp_path / "record", fill)
    assert [p.name for p in (tmp_path / "record").iterdir()] == ["one"]
    assert sorted(os.listdir(tmp_path)) == [others, "record"]


def test_two_writers_of_one_folder_never_mix(tmp_path):
    """As where locks don't reach from one machine to another."""
    texts = [[f"{writer} {number}" for number in range(16)] for writer in "ab"]

    def write(round_, own):
        def fill(folder):
            for number, text in enumerate(own):
                (folder / f"{number:02d}").write_text(text)

        files.write_whole_folder(tmp_path / f"{round_}", fill)

    with ThreadPoolExecutor(2) as pool:
        for round_ in range(50):
            list(pool.map(write, [round_, round_], texts))
    assert len(os.listdir(tmp_path)) == 50
    for folder in tmp_path.iterdir():
        assert [path.read_text() for path in sorted(folder.iterdir())] in texts


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file stands in its way"):
        files.make_folder(tmp_path / "file" / "below")
