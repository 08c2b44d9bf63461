"""What several fault tests share, made once; and disks that are full or can't be written."""

import os
import shutil
import subprocess

import pytest

from nunif.video.writer import write_video
from scene.world import render_scene
from tests.faults.generating import generate
from tests.faults.processes import Command
from tests.faults.training import train_words
from tests.records import make_dataset


@pytest.fixture(autouse=True)
def nothing_left_running():
    """A test that fails leaves no process behind, which would keep the whole suite from ending."""
    yield
    for command in list(Command.running):
        command.kill()


@pytest.fixture(scope="session")
def training_data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), train=6, eval=1, frames=6, size=40)


@pytest.fixture(scope="session")
def calm_run(training_data, tmp_path_factory):
    """The model folder of a training that nobody disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    run = Command(train_words(training_data, folder / "m"), folder / "log")
    assert run.wait() == 0, run.text
    return folder / "m"


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """40 clips of four frames."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    write_video(path, (frame for frame, _ in render_scene(192, 108, 160)), fps=30)
    return path


@pytest.fixture(scope="session")
def calm_records(film, tmp_path_factory):
    """The records of that film, made by a process that nobody disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    run = generate(film, folder / "train", folder / "log")
    assert run.wait() == 0, run.text
    return folder / "train"


class Disk:
    """A small disk of its own."""

    def __init__(self, path, mib):
        self.path = path
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", path)

    def _mount(self, *words):
        done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr.strip())

    def resize(self, mib):
        self._mount("-o", f"remount,size={mib}m", self.path)

    def forbid_writing(self):
        self._mount("-o", "remount,ro", self.path)

    def close(self):
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)


@pytest.fixture
def small_disk(tmp_path):
    """Makes a disk of so many MiB. Skips where this user may not mount one."""
    if shutil.which("mount") is None or not hasattr(os, "geteuid"):
        pytest.skip("needs mount")
    disks = []

    def make(mib):
        try:
            disks.append(Disk(tmp_path / f"disk{len(disks)}", mib))
        except OSError as error:
            pytest.skip(f"no tmpfs can be mounted here: {error}")
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


@pytest.fixture
def read_only(tmp_path, request):
    """A function that makes a folder with the content of another, in which nothing can be
    written."""
    folders = []

    def make(source=None):
        if os.name != "nt" and os.geteuid() == 0:  # whom permissions don't stop
            disk = request.getfixturevalue("small_disk")(64)
            folder, forbid = disk.path / "m", disk.forbid_writing
        else:
            folder = tmp_path / f"closed{len(folders)}"
            forbid = lambda: folder.chmod(0o500)  # noqa: E731
        if source is None:
            folder.mkdir()
        else:
            shutil.copytree(source, folder)
        forbid()
        folders.append(folder)
        return folder

    if os.name == "nt":
        pytest.skip("Windows has no folders that can't be written by their mode")
    yield make
    if os.geteuid() != 0:
        for folder in folders:
            folder.chmod(0o700)
