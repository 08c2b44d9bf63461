"""What several fault tests share, made once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inpaint.sample_video import render_scene
from nunif.video.writer import write_video
from tests.faults.processes import Command
from tests.faults.training import train_words
from tests.records import make_records


@pytest.fixture(scope="session")
def training_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_records(folder / "train", 6, frames=12, size=40, seed=0)
    make_records(folder / "eval", 1, frames=12, size=40, seed=50)
    return folder


@pytest.fixture(scope="session")
def calm_run(training_data, tmp_path_factory):
    """The model folder of a training that nobody disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    run = Command(train_words(training_data, folder / "m"), folder / "log")
    assert run.wait(120) == 0, run.text
    return folder / "m"
