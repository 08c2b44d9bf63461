"""How long a user waits for the first sign of life: -h, the first record, the first step."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.inputs import write_film, write_records
from benchmarks.setting import Setting
from benchmarks.timing import ROOT
from nunif.timing import Elsewhere, interleave, rows


def run(setting: Setting) -> dict[str, Any]:
    """Milliseconds until each."""
    film = write_film(setting.scratch / "short.mp4", 60, keyframe_every=48)
    data = setting.scratch / "data"
    for half in ("train", "eval"):
        write_records(data / half, 2)
    out, models = setting.scratch / "out", setting.scratch / "models"
    generate = [
        "create_training_data.py",
        "video_inpaint",
        "--dataset-dir",
        film,
        "-o",
        out,
        "--model-type",
        "MotionParallax",
    ]
    train = [
        "train.py",
        "inpaint",
        "-i",
        data,
        "--model-dir",
        models,
        "--video",
        "--arch",
        "memory_dstt_v1_tiny",
        "--gpu",
        "-1",
    ]
    train += ["--num-samples", 12, "--max-epoch", 1, "--skip-eval"]
    counter = iter(range(1 << 30))

    def fresh(words: list[Any], folder: Path) -> list[str]:
        return [str(word) if word != folder else f"{folder}{next(counter)}" for word in words]

    alternatives: dict[str, Callable[[], Any]] = {
        "train.py inpaint -h": lambda: until(["train.py", "inpaint", "-h"], None),
        "create_training_data.py video_inpaint -h": lambda: until(
            ["create_training_data.py", "video_inpaint", "-h"], None
        ),
        "python -m inpaint -h": lambda: until(["-m", "inpaint", "-h"], None),
        "the first record (1080p, MotionParallax)": lambda: until(
            fresh(generate, out), lambda words: _has_record(words[5])
        ),
        "a run of one step, model saved (tiny)": lambda: until(fresh(train, models), None),
    }
    timings = interleave(alternatives, rounds=setting.rounds, name="start")
    return {"rows": rows(timings, baseline="train.py inpaint -h", unit="start")}


def until(words: list[str], sign: Callable[[list[str]], bool] | None) -> Elsewhere:
    """Seconds from the start of a command to its end, or until it has given a sign; then it is
    ended."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.append(process.stdout.read()), daemon=True)
    reader.start()
    while process.poll() is None and not (sign is not None and sign(words)):
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    if process.poll() not in (None, 0):
        raise RuntimeError(f"{' '.join(words)} failed: {printed}")
    process.kill()
    process.wait()
    reader.join()
    return Elsewhere(seconds, 0.0, 0.0)


def _has_record(folder: str) -> bool:
    path = Path(folder)
    return path.exists() and any(
        child.is_dir() and not child.name.startswith(".") for child in path.iterdir()
    )
