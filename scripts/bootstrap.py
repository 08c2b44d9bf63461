"""Everything from nothing: makes .venv, installs the project, and runs `demo`, `test`, `bench` or
`test-lowest` in it.

    python scripts/bootstrap.py demo [--video FILE]
    python scripts/bootstrap.py test [pytest arguments]
    python scripts/bootstrap.py bench [arguments of python -m benchmarks, else "all"]
    python scripts/bootstrap.py test-lowest [pytest arguments]

`test-lowest` is for before a release: it makes .venv-lowest with the lowest version of every
package that setup.cfg allows, and runs the quick tests there. Run it with the oldest Python (3.10),
which all of those versions have files for.

Needs Python 3.10 or newer and nothing else; installs again only when setup.cfg or pyproject.toml
has changed. VIDEO=FILE and PYTHON=COMMAND are make's words, which make.bat hands on as they are.
"""

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {"demo": "", "test": "[test]", "bench": "[export]", "test-lowest": "[test]"}
LOWEST = "test-lowest"
MAKE_NAMES = ("VIDEO=", "PYTHON=")
# other versions of ruff and mypy say other things
QUICK = (
    "-m",
    "not slow and not gpu",
    "--ignore=tests/test_checks.py",
)
PACKAGES = ("nunif", "scene", "inpaint", "matting", "character", "layers")
# per cent of the lines of each; without pytest arguments only, when all tests run
LEAST_COVERED = 85


def main() -> int:
    for stream in (sys.stdout, sys.stderr):  # for paths that the terminal's encoding lacks
        stream.reconfigure(errors="backslashreplace")
    target, rest, other = words_of_make(sys.argv[1:])
    if other:
        if shutil.which(other[0]) is None:
            print(f"error: there is no program {other[0]}: give PYTHON= another")
            return 1
        return run(*other, __file__, target, *rest)
    if sys.version_info < (3, 10):  # noqa: UP036 - this file alone runs on whatever Python there is
        print("error: this Python is too old, 3.10 or newer is needed: make demo PYTHON=python3.12")
        return 1
    if target not in EXTRAS:
        print(__doc__)
        return 2
    venv = ROOT / (".venv-lowest" if target == LOWEST else ".venv")
    python = str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    code = install(target, venv, python)
    if code != 0:
        print(
            "error: the installation failed; what pip printed above says why. Mend it and run the "
            "same command again"
        )
        return code
    if target == "demo":
        return run(python, "-m", "inpaint", "demo", *rest)
    if target == "bench":
        return run(python, "-m", "benchmarks", *(rest or ["all"]), cwd=ROOT)
    if target == LOWEST or rest:
        return run(python, "-m", "pytest", *(rest or QUICK), cwd=ROOT)
    return test_everything(python)


def words_of_make(words: list[str]) -> tuple[str, list[str], list[str]]:
    """The target, the words behind it as the Makefile gives them, and the Python that is asked for.

    make.bat hands `demo VIDEO=film.mp4` on as it is, because its own language takes = for a space.
    As for make, the variable VIDEO of the environment counts too.
    """
    named = dict(word.split("=", 1) for word in words if word.startswith(MAKE_NAMES))
    target, *rest = [word for word in words if not word.startswith(MAKE_NAMES)] or [""]
    video = named.get("VIDEO") or os.environ.get("VIDEO")
    if target == "demo" and video and not any(word.startswith("--video") for word in rest):
        rest += ["--video", video]
    python = named.get("PYTHON", "")
    return target, rest, [python] if shutil.which(python) else python.split()  # "py -3.12"


def test_everything(python: str) -> int:
    """Run all tests, and see that they run enough of the lines of each package: always from Python
    3.12 on, before only with FILM_MATRIX=1, because there it takes them half as long again."""
    # two processes of tests on two cores: libraries that share out sums among cores only wait then
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    is_cheap = sys.version_info >= (3, 12)
    counted = PACKAGES if is_cheap or os.environ.get("FILM_MATRIX") else ()
    if is_cheap:
        # costs next to nothing, but older Pythons don't have it
        os.environ["COVERAGE_CORE"] = "sysmon"
    words = (*(f"--cov={package}" for package in counted), "--cov-report=") if counted else ()
    code = run(python, "-m", "pytest", *words, cwd=ROOT)
    if not counted:
        print("lines that are tested are counted by Python 3.12 and newer, or with FILM_MATRIX=1")
    for package in counted if code == 0 else ():
        print(
            f"lines of {package} that are tested, in per cent, at least {LEAST_COVERED}: ",
            end="",
            flush=True,
        )
        words = (
            "coverage",
            "report",
            f"--include={package}/*",
            f"--fail-under={LEAST_COVERED}",
            "--format=total",
        )
        code |= run(python, "-m", *words, cwd=ROOT)
    return code


def lowest() -> list[str]:
    """Every package that setup.cfg names for the tests, at the lowest version that it allows:
    `numpy==2.0`."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    lines = (config["options"]["install_requires"] + extras["test"]).strip().splitlines()
    return [re.sub(r">=([^,;]+)(,[^;]+)?", r"==\1", line) for line in lines]


def install(target: str, venv: Path, python: str) -> int:
    """Make a virtual environment and install the project with what `target` needs, unless that was
    done before."""
    wanted = hashlib.sha256(
        b"".join((ROOT / name).read_bytes() for name in ("setup.cfg", "pyproject.toml"))
    ).hexdigest()
    stamp = venv / f"installed-{target}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted and Path(python).exists():
        return 0
    if not Path(python).exists():
        print(f"making {venv}", flush=True)
        code = run(sys.executable, "-m", "venv", str(venv))
        if code != 0:
            print(
                "error: Python can't make virtual environments here; on Debian and Ubuntu: apt "
                "install python3-venv"
            )
            return code
    print("installing, some minutes the first time (torch is large)", flush=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    code = run(*pip, "-e", f".{EXTRAS[target]}", *(lowest() if target == LOWEST else ()), cwd=ROOT)
    if code == 0:
        stamp.write_text(wanted, encoding="utf-8")
    return code


def run(*command: str, cwd: Path | None = None) -> int:
    """Run a program to its end; its exit code."""
    # words of this file and of the command line
    return subprocess.run(command, cwd=cwd).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
