"""`python -m benchmarks gpu`: the whole command with tiny numbers, and what it does with its time
and with failures."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import scores, training
from benchmarks.gpu.clock import share_of
from benchmarks.gpu.updates import until_one_fits
from benchmarks.report import section
from benchmarks.setting import Card, Setting
from inpaint.options_evaluate import EvaluateOptions
from nunif.errors import UserError
from nunif.models import load_model
from nunif.training.interruption import Interruption

ROOT = Path(__file__).resolve().parents[2]


def setting(folder, **card):
    (folder / "scratch").mkdir()
    (folder / "out").mkdir()
    return Setting(
        folder / "scratch", folder / "out", rounds=1, device=torch.device("cpu"), card=Card(**card)
    )


@pytest.mark.slow
def test_the_whole_command_with_tiny_numbers(tmp_path):
    words = [
        "--gpu",
        "-1",
        "--minutes",
        "0.3",
        "--sizes",
        "48x64",
        "--tile",
        "64",
        "--models",
        "fusion_v1,memory_dstt_v1_tiny",
    ]
    words += [
        "--rounds",
        "1",
        "--batch",
        "1",
        "--film-size",
        "64x96",
        "--film-frames",
        "3",
        "-o",
        str(tmp_path),
    ]
    command, one_thread = (
        [sys.executable, "-m", "benchmarks", "gpu", *words],
        os.environ | {"OMP_NUM_THREADS": "1"},
    )
    done = subprocess.run(
        command, cwd=ROOT, env=one_thread, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("gpu-CPU*.json")
    found = json.loads(file.read_text())
    assert (
        found["note"] == "Measured on the CPU: nothing here tells of a GPU."
        and found["failed"] == {}
    )
    assert list(found["seconds"]) == ["frames", "updates", "training", "scores"]
    rows = found["frames"]["64x48"]
    assert [row["what"] for row in rows[:2]] == ["fusion_v1, bf16", "fusion_v1, fp32"]
    assert all(
        0 < row["network_ms"] < row["p50_ms"] <= row["p95_ms"] and row["frames"] >= 3
        for row in rows[:2]
    )
    assert rows[2]["what"].startswith("memory_dstt_v1_tiny")  # measured, or no time was left for it
    assert [(row["what"], row["batch"]) for row in found["updates"]] == [
        ("fusion_v1", 1),
        ("memory_dstt_v1_tiny", 1),
    ]
    assert found["updates"][0]["clips_per_second"] > 0
    (row,) = found["training"]["rows"]
    assert (
        row["what"] == "fusion_v1 on rendered scenes"
        and row["updates"] >= 1
        and row["records"] >= 4
    )
    model, metadata = load_model(tmp_path / found["training"]["weights"])
    assert model.name == "inpaint.fusion_v1" and metadata["train_kwargs"]["loss"] == "psnr"
    methods = ["fusion_v1", "fusion_v1+8", "untrained", "untrained+8"]
    means = {(row["holes"], row["what"]): row["hole_psnr"] for row in found["scores"]["means"]}
    assert list(means) == [
        (holes, method) for holes in ("static", "moving", "occlusion", "all") for method in methods
    ]
    gains = {(row["holes"], row["what"]): row["gain"]["mean"] for row in found["scores"]["gains"]}
    trained, untrained = means["moving", "fusion_v1"], means["moving", "untrained"]
    assert gains["moving", "fusion_v1 against untrained"] == pytest.approx(trained - untrained)
    assert (tmp_path / "gpu-scores" / "scene2000" / "report.html").exists()
    report = (tmp_path / "RESULTS.md").read_text()
    assert "| fusion_v1+8 against untrained+8 | occlusion |" in report and found["note"] in report


@pytest.mark.slow
def test_a_training_that_the_clock_stops_leaves_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "plan", lambda seconds, pace: (20, 50))  # far too many
    facts = list(
        training.train_recipe(setting(tmp_path, batch_size=1), until=time.monotonic() + 6)
    )[-1]
    (row,) = facts["rows"]
    assert row["stopped"] == "by the clock" and row["updates"] < 50
    model, _ = load_model(tmp_path / "out" / facts["weights"])
    assert model.name == "inpaint.fusion_v1"


@pytest.mark.parametrize(
    "seconds, pace, wanted",
    [(200, 0.5, (20, 18)), (3, 1, (2, 1)), (1, 10, (1, 1)), (-5, 1, (1, 1))],
)
def test_the_schedule_spans_the_updates_that_fit(seconds, pace, wanted):
    assert training.plan(seconds, pace) == wanted


def test_what_is_to_stop_is_told_when_the_time_is_up():
    before, threads = signal.getsignal(training.STOP), threading.active_count()
    with training.stopped_after(0.0) as stopped:
        assert stopped.wait(900)
        time.sleep(0.05)  # nobody listens yet
        with Interruption() as asked:
            deadline = time.monotonic() + 900
            while not asked.requested and time.monotonic() < deadline:
                time.sleep(0.01)
            assert asked.requested
    with training.stopped_after(60) as stopped:
        pass
    assert not stopped.is_set() and signal.getsignal(training.STOP) == before
    assert threading.active_count() == threads


def test_time_is_shared_out_among_what_is_left():
    now = time.monotonic()
    assert share_of(now + 60, left=3) == pytest.approx(now + 20, abs=1)
    assert share_of(now - 1, left=3) is None


def test_the_largest_batch_that_fits():
    def measure(size):
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"what": "m", "batch": size}

    wanted = [{"what": "m", "batch": 16, "failed": "out of memory"}, {"what": "m", "batch": 4}]
    assert until_one_fits((16, 4), measure, what="m") == wanted


def test_a_part_that_fails_costs_only_itself(tmp_path, monkeypatch):
    ends = {}

    def part(name, *values, error=None):
        def run(*args, until):
            ends[name] = until
            yield from values
            if error is not None:
                raise error

        return run

    fails = RuntimeError("CUDA error: an illegal instruction\nand more")
    monkeypatch.setattr(gpu, "measure_frames", part("frames", {"64x48": []}, error=fails))
    monkeypatch.setattr(gpu, "measure_updates", part("updates", ["a"], ["a", "b"]))
    monkeypatch.setattr(
        gpu, "train_recipe", part("training", {"rows": []}, {"rows": [], "weights": "w.pth"})
    )
    monkeypatch.setattr(gpu, "score_films", part("scores", {"films": 1}))
    begin = time.monotonic()
    seen = [json.loads(json.dumps(found)) for found in gpu.run(setting(tmp_path, minutes=10))]
    assert "updates" not in seen[1] and seen[2]["updates"] == ["a"]  # known as soon as it is there
    last = seen[-1]
    assert last["failed"] == {"frames": "RuntimeError: CUDA error: an illegal instruction"}
    assert (last["frames"], last["updates"], last["scores"]) == (
        {"64x48": []},
        ["a", "b"],
        {"films": 1},
    )
    assert [round(end - begin) for end in ends.values()] == [99, 183, 438, 573]


def test_without_weights_there_is_nothing_to_judge(tmp_path, monkeypatch):
    for name in ("measure_frames", "measure_updates", "train_recipe"):
        monkeypatch.setattr(gpu, name, lambda *args, until: iter(()))
    last = list(gpu.run(setting(tmp_path)))[-1]
    assert list(last["seconds"]) == ["frames", "updates", "training"] and last["failed"] == {}


def test_wrong_folders_are_said_at_once(tmp_path):
    with pytest.raises(UserError, match="--data .*none has no folder train/"):
        next(gpu.run(setting(tmp_path, data=tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no video"):
        next(
            gpu.run(
                Setting(
                    tmp_path, tmp_path, 1, torch.device("cpu"), card=Card(films=tmp_path / "empty")
                )
            )
        )


def test_films_are_judged_as_long_as_there_is_time(tmp_path, monkeypatch):
    clock = [100.0]

    def judge(options: EvaluateOptions):
        clock[0] += 5 if options.data_dir.name == "scene2003" else 0.1
        if options.data_dir.name == "scene2001":
            raise UserError("it is torn")
        names = ("w", "w+8", "untrained", "untrained+8")
        rows = [
            {"clip": options.data_dir.name, "family": "moving", "made_of": "object", "method": name,
             "hole_psnr": 20.0 + i, "flicker": None, "fps": 5.0}
            for i, name in enumerate(names)
        ]  # fmt: skip
        (options.output / "scores.json").write_text(json.dumps({"clips": rows}))

    monkeypatch.setattr(scores.evaluate, "main", judge)
    monkeypatch.setattr(scores, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    here = setting(tmp_path, film_size=(48, 64), film_frames=2)
    last = list(scores.score_films(here, tmp_path / "w.pth", until=clock[0] + 8))[-1]
    assert last["films"] == 3
    assert last["left_out"] == {"scene2001": "it is torn"} | {
        f"scene200{i}": "no time left" for i in range(4, 8)
    }
    assert last["gains"] == [
        {"what": f"w{ahead} against untrained{ahead}", "holes": "moving", "wins": "0 of 3",
         "gain": {"mean": -2.0, "low": None, "high": None}}  # of fewer than five clips
        for ahead in ("", "+8")
    ]  # fmt: skip
    assert last["means"][0] == {
        "what": "w",
        "holes": "moving",
        "hole_psnr": 20.0,
        "flicker": None,
        "fps": 5.0,
    }


GAIN = {
    "what": "m against u",
    "holes": "all",
    "gain": {"mean": 0.5, "low": 0.1, "high": 1},
    "wins": "2 of 2",
}


def test_the_tables():
    found = {
        "device": "A",
        "torch": "2",
        "torch_threads": 1,
        "commit": "c",
        "date": "2026-01-02T00",
        "note": "N",
        "frames": {
            "640x360": [
                {
                    "what": "m, fp16",
                    "unit": "frame",
                    "frames": 200,
                    "p50_ms": 4.0,
                    "p95_ms": 5.25,
                    "network_ms": 3.5,
                    "per_second": 250.0,
                    "gpu_mb": None,
                },
                {"what": "n", "failed": "no time left"},
            ]
        },
        "scores": {
            "films": 2,
            "means": [{"what": "m", "holes": "all", "hole_psnr": 20.126, "hole_ssim": None}],
            "gains": [GAIN],
        },
        "failed": {"updates": "E: x"},
    }
    lines = section("gpu, A", found)
    assert lines[:6] == [
        "## gpu, A",
        "",
        "A, torch 2, 1 thread(s), commit c, 2026-01-02.",
        "",
        "N",
        "",
    ]
    assert (
        "|  | frames | per | p50 ms | p95 ms | of it the network, p50 ms | per second |  |" in lines
    )
    assert (
        "| m, fp16 | 200 | frame | 4 | 5.25 | 3.5 | 250 |  |" in lines
        and "| n |  |  |  |  |  |  | no time left |" in lines
    )
    assert (
        "| m | all | 20.13 |" in lines
        and "| m against u | all | +0.50 (+0.10 to +1.00) | 2 of 2 |" in lines
    )
    assert lines[-1] == "The part `updates` failed: E: x"
