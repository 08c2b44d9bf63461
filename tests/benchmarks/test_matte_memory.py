"""`python -m benchmarks.matte_memory` with tiny numbers."""

import json

import pytest
import torch

from benchmarks import matte_memory
from matting.commands import CREATE_TRAINING_DATA
from nunif import cli


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for name, seed in (("train", 1), ("eval", 2)):
        words = ["world", "-o", folder / name, "--num", 2, "--size", "64x80", "--seq", 4]
        words += ["--seed", seed, "--people", 1, "--prefix", name]
        assert cli.run(CREATE_TRAINING_DATA, [str(word) for word in words]) == 0
    return folder


def test_all_memories_learn_from_the_same_clips_and_are_judged(
    world, tmp_path, monkeypatch, capsys
):
    seen: dict[str, list[float]] = {}
    real = matte_memory.learn

    def learn(run, batch, rate):
        seen.setdefault(f"{run.memory} {run.seed}", []).append(batch["frames"].sum().item())
        before = run.model.matte_head.weight.clone()
        real(run, batch, rate)
        assert not torch.equal(run.model.matte_head.weight, before)

    monkeypatch.setattr(matte_memory, "learn", learn)
    words = ["-i", world / "train", "--eval", world / "eval", "-o", tmp_path / "r.json"]
    words += ["--arch", "mobilenetv3_small", "--recurrent", "gru,none", "--seeds", "0,1"]
    words += ["--steps", 2, "--judge-every", 1]
    monkeypatch.setattr("sys.argv", ["matte_memory", *map(str, words)])
    matte_memory.main()
    assert seen["gru 0"] == seen["none 0"] != seen["gru 1"] == seen["none 1"]
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert result["commit"] and result["torch_threads"] == 1 and result["size"] == [64, 80]
    rows = [(row["memory"], row["seed"], row["steps"]) for row in result["rows"]]
    assert rows == [
        (memory, seed, steps)
        for steps in (1, 2)
        for seed in (0, 1)
        for memory in ("gru", "none")
    ]  # fmt: skip
    for row in result["rows"]:
        assert row["mad_share"] > 0 and row["dtssd_share"] > 0 and row["cpu_seconds_per_step"] > 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| network | memory | steps | seeds | mad_share | dtssd_share |")
    assert lines[-1].startswith("| mobilenetv3_small | none | 2 | 2 | ") and "±" in lines[-1]


def test_the_interval_over_seeds():
    # the standard deviation of 1 2 3 is 1, and Student's t of three is 4.30
    assert matte_memory.interval([1.0, 2.0, 3.0]) == "2.000 ± 2.483"
    assert matte_memory.interval([0.5]) == "0.500"
