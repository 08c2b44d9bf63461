"""What `make test-lowest` installs."""

import configparser
import importlib.util
from pathlib import Path

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
