"""A short training of a small model on a few records, and how two such runs are compared."""

import csv
from pathlib import Path
from typing import Any

import torch

from nunif.models import read_checkpoint

NAME = "inpaint.memory_dstt_v1_tiny"


def train_words(data: Path, model_dir: Path, *more: object) -> list[object]:
    """Thirty updates: five epochs of six records."""
    words: list[object] = ["train.py", "inpaint", "-i", data, "--model-dir", model_dir, "--video"]
    if "--resume" not in more:  # which finds it out by itself
        words += ["--arch", "memory_dstt_v1_tiny"]
    words += [
        "--tile-size",
        32,
        "--clip-length",
        4,
        "--num-samples",
        24,
        "--backward-step",
        1,
        "--max-epoch",
        5,
    ]
    return [
        *words,
        "--keep-checkpoints",
        2,
        "--save-eval-step",
        1,
        "--gpu",
        -1,
        "--num-workers",
        0,
        *more,
    ]


def bits(value: Any) -> Any:
    """A nested value with tensors as bytes, to be compared to the bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    return value


def assert_same_run(one: Path, other: Path) -> None:
    """Two model folders hold the same models, checkpoints, table and previews, to the bit, and
    nothing half-written."""
    names = {path.name for path in other.glob("*.pth")}
    assert {path.name for path in one.glob("*.pth")} == names and f"{NAME}.checkpoint.pth" in names
    for name in names:
        a, b = (read_checkpoint(folder / name) for folder in (one, other))
        for content in (a, b):
            del content["updated_at"], content["train_kwargs"]
        assert bits(a) == bits(b), name
    assert _table(one) == _table(other)
    pictures = [
        {path.name: path.read_bytes() for path in (folder / "eval").iterdir()}
        for folder in (one, other)
    ]
    assert pictures[0] == pictures[1] and pictures[0]
    for folder in (one, other):
        assert not [path for path in folder.rglob(".*")], "nothing half-written and no lock is left"


def _table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "loss.csv", newline="") as file:
        return [
            {name: cell for name, cell in row.items() if "second" not in name}
            for row in csv.DictReader(file)
        ]
