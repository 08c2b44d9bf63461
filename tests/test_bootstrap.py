"""What `make test-lowest` installs, and how words of make come through on Windows."""

import configparser
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]


def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lowest_version_of_every_package_is_installed():
    lines = bootstrap().lowest()
    assert {
        "numpy==2.0",
        "opencv-python-headless==4.12.0.88",
        "matplotlib==3.9",
        "pytest==8",
    } <= set(lines)
    assert [line for line in lines if line.count("==") < 1 or ">" in line.partition(";")[0]] == []
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = config["options"]["install_requires"] + config["options.extras_require"]["test"]
    assert [line.partition("==")[0] for line in lines] == [
        line.partition(">=")[0] for line in wanted.split("\n") if line
    ]


@pytest.mark.parametrize(
    ("words", "environment", "rest"),
    [
        (["demo"], None, []),
        (["demo", "VIDEO=my film.mp4"], None, ["--video", "my film.mp4"]),
        (["demo", "VIDEO=a=b.mp4"], "other.mp4", ["--video", "a=b.mp4"]),
        (["demo"], "C:\\films\\a.mp4", ["--video", "C:\\films\\a.mp4"]),
        (["demo", "--video", "a.mp4"], "other.mp4", ["--video", "a.mp4"]),
        (["test", "-k", "demo"], "other.mp4", ["-k", "demo"]),
    ],
)
def test_words_of_make_are_taken_as_make_takes_them(monkeypatch, words, environment, rest):
    monkeypatch.delenv("VIDEO", raising=False)
    if environment is not None:
        monkeypatch.setenv("VIDEO", environment)
    assert bootstrap().words_of_make(words) == (words[0], rest, [])


@pytest.mark.parametrize(
    ("version", "environment", "counts"),
    [((3, 11), {}, False), ((3, 11), {"FILM_MATRIX": "1"}, True), ((3, 12), {}, True)],
)
def test_lines_are_counted_where_that_is_cheap_or_before_a_release(
    monkeypatch, version, environment, counts
):
    module, commands = bootstrap(), []
    monkeypatch.setattr(module, "sys", SimpleNamespace(version_info=version))
    monkeypatch.setattr(module, "os", SimpleNamespace(environ=environment))
    monkeypatch.setattr(module, "run", lambda *words, cwd: commands.append(words) or 0)
    assert module.test_everything("python") == 0
    tests, *reports = commands
    assert tests[:3] == ("python", "-m", "pytest")
    assert {f"--cov={package}" for package in module.PACKAGES} <= set(tests) or not counts
    assert [words[4] for words in reports] == [
        f"--include={package}/*" for package in module.PACKAGES if counts
    ]
    assert all(f"--fail-under={module.LEAST_COVERED}" in words for words in reports)


def test_another_python_may_be_a_path_with_spaces_or_a_command():
    module = bootstrap()
    assert module.words_of_make(["test", "PYTHON=py -3.12"]) == ("test", [], ["py", "-3.12"])
    assert module.words_of_make([f"PYTHON={sys.executable}", "demo"])[2] == [sys.executable]
    assert module.words_of_make([]) == ("", [], [])


def test_make_bat_hands_all_its_words_on():
    """cmd.exe would take VIDEO=film.mp4 apart: only %* is the line as it was typed."""
    lines = (ROOT / "make.bat").read_bytes().splitlines()
    assert lines[-1] == b'%PY% "%~dp0scripts\\bootstrap.py" %*'
    assert not any(b"%1" in line or b"%~1" in line for line in lines)
