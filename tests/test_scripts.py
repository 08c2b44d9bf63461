"""Batches that make training data film by film: what fails stops none of the others, and is named.

Of `make_data.bat` the command lines are read: it runs where there is a cmd.exe alone.
"""

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from inpaint.options_data import GenerateOptions
from nunif.options import add_arguments, from_namespace

ROOT = Path(__file__).resolve().parents[1]
BASH = shutil.which("bash")
FILMS = ["shibuya.webm", "shibuya.webm", "factory.mp4", "short_clips/", "beach.mp4"]


@pytest.fixture
def python(tmp_path):
    """A folder with a `python` that writes its words down, and fails for films that are named."""

    def make(*codes):
        cases = "".join(f'    *"{film}"*) exit {code};;\n' for film, code in codes)
        script = f'#!/bin/sh\necho "$*" >> "{tmp_path}/words"\ncase "$*" in\n{cases}esac\n'
        (tmp_path / "python").write_text(script, encoding="utf-8")
        (tmp_path / "python").chmod(0o755)

    return make


def run(tmp_path):
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [BASH, ROOT / "scripts" / "make_data.sh"],
        env=environment, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    return done, (tmp_path / "words").read_text(encoding="utf-8").splitlines()


needs_bash = pytest.mark.skipif(BASH is None or os.name == "nt", reason="no bash")


@needs_bash
def test_a_film_that_fails_stops_none_of_the_others(tmp_path, python):
    python(("factory", 1), ("short_clips", 2))
    done, lines = run(tmp_path)
    assert [line.split()[3] for line in lines] == [f"videos/{film}" for film in FILMS]
    assert (done.returncode, done.stderr) == (
        1,
        "not all records were made of: videos/factory.mp4 videos/short_clips/; the reasons are "
        "above\n",
    )


@needs_bash
def test_all_well_and_ctrl_c(tmp_path, python):
    python()
    done, lines = run(tmp_path)
    assert (done.returncode, done.stderr, len(lines)) == (0, "", 5)
    python(("factory", 130))
    done, lines = run(tmp_path)
    assert (done.returncode, len(lines) - 5) == (130, 3)


def options_of(name):
    """The options of every film of a batch, their paths with slashes."""
    text = (ROOT / "scripts" / name).read_text(encoding="utf-8").replace("\\", "/")
    folders = dict(re.findall(r"^(?:set )?(TRAIN|EVAL)=(.*)$", text, re.MULTILINE))
    parser = argparse.ArgumentParser()
    add_arguments(parser, GenerateOptions)
    for line in re.findall(r"^(?:call :)?make_records (.*)$", text, re.MULTILINE):
        words = re.sub(r"\$(\w+)|%(\w+)%", lambda word: folders[word[1] or word[2]], line).split()
        yield from_namespace(GenerateOptions, parser.parse_args(["--dataset-dir", *words]))


def test_both_batches_make_the_same_with_options_that_there_are():
    shell, batch = list(options_of("make_data.sh")), list(options_of("make_data.bat"))
    assert len(shell) == 5 and shell == batch
