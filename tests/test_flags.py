"""No flag goes or gets another default unseen, and -h comes up light."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nunif.cli import Command
from nunif.options import option
from tests.flags import FROZEN, TABLES, differences, flags_of

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "cv2")


@dataclass(frozen=True)
class Some:
    folder: Path = option("-i", "--folder", help="a folder")
    size: int = option(default=8, help="in pixels")
    loud: bool = option(default=False, help="say more")


@dataclass(frozen=True)
class Others:
    folder: Path = option("-i", "--folder", help="a folder")
    size: int = option(default=16, help="in pixels")
    fast: bool = option(default=False, help="in less time")


def printed_by(code: str) -> list[str]:
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_no_flag_has_gone_or_changed():
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    found = differences(frozen, list(flags_of(TABLES)))
    assert not found, (
        "\n".join(found) + "\nThe flags are a promise to scripts: a line with - breaks some. "
        "If all of it is meant: python -m tests.flags > tests/flags.txt"
    )


def test_the_flags_are_those_of_any_machine():
    code = """
import os
os.cpu_count = lambda: 62
from tests.flags import *
print(*flags_of(TABLES), sep=chr(10))
"""
    assert printed_by(code) == list(flags_of(TABLES))


def test_what_goes_changes_or_comes_is_found():
    before, after = (
        list(flags_of({"a.py": [Command("work", kind, "a:b", "do it")]})) for kind in (Some, Others)
    )
    assert before == [
        "a.py work -i --folder: required",
        "a.py work --size: 8",
        "a.py work --loud: a switch, not given",
    ]
    assert differences(before, before) == []
    assert differences(before, after) == [
        "- a.py work --size: 8",
        "- a.py work --loud: a switch, not given",
        "+ a.py work --size: 16",
        "+ a.py work --fast: a switch, not given",
    ]


@pytest.mark.parametrize("program", TABLES)
def test_help_imports_nothing_heavy(program):
    """-h of each command, as the command line runs it."""
    names = [command.name for command in TABLES[program]]
    code = f"""
import sys
from nunif.cli import run
from tests.flags import TABLES
for words in [[], *([name] for name in {names!r})]:
    try:
        run(TABLES[{program!r}], [*words, "-h"])
    except SystemExit as end:
        print("left", *words, end.code, *sorted(set({HEAVY!r}) & sys.modules.keys()))
"""
    left = [line for line in printed_by(code) if line.startswith("left ")]
    assert left == ["left 0", *(f"left {name} 0" for name in names)]
