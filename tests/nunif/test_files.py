"""Files and folders appear whole or not at all."""

import errno
import os

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


def test_leftovers_of_a_killed_run_are_replaced(tmp_path):
    (tmp_path / ".partial-record").mkdir()
    (tmp_path / ".partial-record" / "stale").write_text("x")
    files.write_whole_folder(tmp_path / "record", lambda folder: (folder / "one").write_text("1"))
    assert [p.name for p in (tmp_path / "record").iterdir()] == ["one"]
    assert os.listdir(tmp_path) == ["record"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file stands in its way"):
        files.make_folder(tmp_path / "file" / "below")
