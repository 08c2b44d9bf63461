"""The command line: parsing, checks, late imports, exit codes."""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from nunif import cli, options
from nunif.errors import Stopped, UserError
from nunif.options import option

SEEN = []


@dataclass(frozen=True)
class Sizes:
    data_dir: Path = option("-i", "--data-dir", help="a folder")
    size: int = option(default=8, minimum=4, maximum=64, help="in pixels")
    rate: float | None = option(default=None, minimum=0, help="a rate, 100% at most")
    kind: str = option(default="a", choices=("a", "b"), help="a kind")
    loud: bool = option(default=False, help="say more")

    def check(self) -> None:
        if self.size % 2:
            raise UserError(f"--size {self.size} is odd: give an even number")


def work(values: Sizes) -> None:
    SEEN.append(values)


def fail(values: Sizes) -> None:
    raise UserError("b.mp4 is not a video: give another file")


def stop(values: Sizes) -> None:
    raise Stopped if values.data_dir.name == "kept" else KeyboardInterrupt


TABLE = [
    cli.Command("work", Sizes, f"{__name__}:work", "do it"),
    cli.Command("fail", Sizes, f"{__name__}:fail", "fail"),
    cli.Command("stop", Sizes, f"{__name__}:stop", "be interrupted"),
    cli.Command("lost", Sizes, "a_package_that_nobody_has:main", "need a package"),
    cli.Command("old", Sizes, "needs_more_of_numpy:main", "need a module of a package"),
    cli.Command("broken", Sizes, "nunif.that_nobody_has:main", "need a module of ours"),
]


@pytest.fixture(autouse=True)
def quiet():
    SEEN.clear()
    yield
    logging.getLogger().handlers.clear()


def test_a_command_gets_its_typed_options():
    assert (
        cli.run(TABLE, ["work", "-i", "some/where", "--size", "16", "--rate", "0.5", "--loud"]) == 0
    )
    assert SEEN == [Sizes(data_dir=Path("some/where"), size=16, rate=0.5, kind="a", loud=True)]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--size", "2"], "--size 2 is out of bounds: give a number from 4 to 64"),
        (["--rate", "-1"], "--rate -1.0 is out of bounds: give a number at least 0"),
        (["--rate", "nan"], "--rate nan is out of bounds: give a number at least 0"),
        (["--kind", "c"], "--kind c is not known: choose one of a, b"),
        (["--size", "9"], "--size 9 is odd: give an even number"),
    ],
)
def test_wrong_values_are_one_line_and_exit_code_1(capsys, words, message):
    assert cli.run(TABLE, ["work", "-i", "x", *words]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
    assert SEEN == []


def test_errors_of_a_command(capsys, tmp_path, monkeypatch):
    assert cli.run(TABLE, ["fail", "-i", "x"]) == 1
    assert capsys.readouterr().err == "error: b.mp4 is not a video: give another file\n"
    assert cli.run(TABLE, ["stop", "-i", "x"]) == 130
    assert cli.run(TABLE, ["stop", "-i", "kept"]) == 130
    # torchrun would start it again
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert cli.run(TABLE, ["stop", "-i", "x"]) == 130
    assert cli.run(TABLE, ["stop", "-i", "kept"]) == 0
    assert cli.run(TABLE, ["lost", "-i", "x"]) == 1
    assert (
        "needs the package 'a_package_that_nobody_has', which is not installed"
        in capsys.readouterr().err
    )
    (tmp_path / "needs_more_of_numpy.py").write_text("import numpy.that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.run(TABLE, ["old", "-i", "x"]) == 1
    assert capsys.readouterr().err == (
        "error: this command needs numpy.that_nobody_has, which the installed 'numpy' lacks: "
        "install another version of it\n"
    )
    with pytest.raises(ModuleNotFoundError):  # our own code is broken: with a traceback
        cli.run(TABLE, ["broken", "-i", "x"])


def test_help_names_flags_defaults_and_choices(capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.run(TABLE, ["work", "-h"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert "-i DATA_DIR" in text or "--data-dir" in text
    assert "{a,b}" in text and "(default: 8)" in text and "100% at most" in text


@dataclass(frozen=True)
class Place:
    place: Path | None = option("PLACE", default=None, help="where to look")


@pytest.mark.parametrize(("words", "place"), [([], None), (["here"], Path("here"))])
def test_an_argument_with_a_default_may_be_left_out(words, place):
    parser = argparse.ArgumentParser()
    options.add_arguments(parser, Place)
    assert options.from_namespace(Place, parser.parse_args(words)) == Place(place=place)


def test_to_dict_and_changed():
    values = Sizes(data_dir=Path("x"), size=16, loud=True)
    assert options.to_dict(values) == {
        "data_dir": "x",
        "size": 16,
        "rate": None,
        "kind": "a",
        "loud": True,
    }
    assert options.changed(values) == ["--size", "--loud"]
