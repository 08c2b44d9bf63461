"""A film as a folder of pictures: whole or not at all, and what an ending leaves.

Axes: H W pixels, 3 = R G B.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from nunif.errors import UserError
from nunif.video.folder import FolderWriter


def picture(number: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(number).integers(
        0, np.iinfo(dtype).max, (5, 7, 3), dtype, endpoint=True
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(path: Path) -> np.ndarray:
    """(H, W, 3) of the depth that the file has."""
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_are_numbered_and_lossless(tmp_path, dtype):
    with FolderWriter(tmp_path / "new" / "film") as writer:
        for number in range(3):
            writer.write(picture(number, dtype))
        assert names(tmp_path / "new") == [f".partial-{os.getpid()}-film"]
    assert (
        names(tmp_path / "new") == ["film"]
        and writer.num_frames == 3
        and writer.unfinished_path is None
    )
    assert names(tmp_path / "new" / "film") == ["000000.png", "000001.png", "000002.png"]
    for number in range(3):
        back = read(tmp_path / "new" / "film" / f"{number:06d}.png")
        assert back.dtype == dtype and np.array_equal(back, picture(number, dtype))


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("no memory")], ids=["Ctrl-C", "error"]
)
def test_an_exception_leaves_what_is_finished(tmp_path, caplog, error):
    (tmp_path / "film.unfinished").mkdir()
    (tmp_path / "film.unfinished" / "000009.png").write_bytes(b"of an earlier run")
    with pytest.raises(type(error)), FolderWriter(tmp_path / "film") as writer:
        writer.write(picture(0))
        writer.write(picture(1))
        raise error
    unfinished = tmp_path / "film.unfinished"
    assert names(tmp_path) == ["film.unfinished"] and names(unfinished) == [
        "000000.png",
        "000001.png",
    ]
    assert writer.unfinished_path == unfinished
    assert caplog.messages == [f"{unfinished} holds the 2 frames that were finished"]


def test_a_torn_picture_is_not_among_them(tmp_path, monkeypatch):
    def torn(path, data):
        with open(path, "wb") as file:
            file.write(data[:20])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), FolderWriter(tmp_path / "film") as writer:
        writer.write(picture(0))
        monkeypatch.setattr(Path, "write_bytes", torn)
        writer.write(picture(1))
    assert names(tmp_path / "film.unfinished") == ["000000.png"]


def test_an_exception_before_the_first_picture_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), FolderWriter(tmp_path / "film"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_full_disk_is_one_clear_error_and_keeps_what_is_finished(tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    with pytest.raises(UserError, match="disk full while writing .*film: free some space"):
        with FolderWriter(tmp_path / "film") as writer:
            writer.write(picture(0))
            (tmp_path / f".partial-{os.getpid()}-film" / "000001.png").symlink_to("/dev/full")
            writer.write(picture(1))
    assert names(tmp_path / "film.unfinished") == ["000000.png"]


def test_an_empty_folder_may_be_there_and_a_full_one_not(tmp_path):
    (tmp_path / "empty").mkdir()
    with FolderWriter(tmp_path / "empty") as writer:
        writer.write(picture(0))
    assert names(tmp_path / "empty") == ["000000.png"]
    (tmp_path / "file").write_bytes(b"x")
    for name in ("empty", "file"):
        with pytest.raises(
            UserError,
            match=f"{name} is there already: choose another folder for the pictures, or delete it",
        ):
            FolderWriter(tmp_path / name)
    with pytest.raises(
        UserError, match="file can't be made a folder because a file stands in its way"
    ):
        FolderWriter(tmp_path / "file" / "film")
    assert names(tmp_path) == ["empty", "file"]


@pytest.mark.parametrize("name", [".", ".."])
def test_the_working_folder_is_not_to_be_replaced(tmp_path, monkeypatch, name):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(UserError, match="is there already: choose another folder"):
        FolderWriter(Path(name))


def test_what_somebody_put_there_meanwhile_is_kept_and_so_are_the_pictures(tmp_path):
    (tmp_path / "film").mkdir()
    with pytest.raises(UserError, match="film can't be written: Directory not empty"):
        with FolderWriter(tmp_path / "film") as writer:
            writer.write(picture(0))
            (tmp_path / "film" / "mine.txt").write_bytes(b"x")
    assert names(tmp_path) == ["film", "film.unfinished"]
    assert names(tmp_path / "film") == ["mine.txt"] and names(tmp_path / "film.unfinished") == [
        "000000.png"
    ]


def test_a_file_in_the_way_of_the_unfinished_folder_does_not_hide_the_error(tmp_path, caplog):
    (tmp_path / "film.unfinished").write_bytes(b"mine")
    with pytest.raises(RuntimeError, match="no memory"), FolderWriter(tmp_path / "film") as writer:
        writer.write(picture(0))
        raise RuntimeError("no memory")
    assert names(tmp_path) == ["film.unfinished"] and writer.unfinished_path is None
    assert "a file stands in its way" in caplog.messages[0]


def test_the_rest_of_a_killed_run_is_no_hindrance(tmp_path):
    partial = tmp_path / f".partial-{os.getpid()}-film"
    partial.mkdir()
    (partial / "000007.png").write_bytes(b"old")
    with FolderWriter(tmp_path / "film") as writer:
        writer.write(picture(0))
    assert names(tmp_path) == ["film"] and names(tmp_path / "film") == ["000000.png"]
