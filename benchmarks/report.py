"""The tables of all results, in Markdown: benchmarks/RESULTS.md."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nunif.files import write_whole

Row = dict[str, Any]


def write_report(folder: Path, into: Path) -> Path:
    """Write RESULTS.md of the JSON files of a folder into another one; returns its path."""
    path = into / "RESULTS.md"
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks report` from the files in `results/`; how they are "
        "taken stands in",
        "[README.md](README.md). Times are medians with the fastest and the slowest round behind "
        'them; "x" is how many times',
        "less time than the row marked x1.00 in the same round.",
    ]
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        if "name" in result:
            lines += ["", *section(file.stem.replace("-", ", "), result)]
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def section(title: str, result: dict[str, Any]) -> list[str]:
    """One benchmark: where it ran, then its tables. title: of the file, so that runs of some models
    stand apart."""
    lines = [f"## {title}", ""]
    load = "" if result.get("load_before") is None else f", load before {result['load_before']}"
    lines.append(
        f"{result['device']}, torch {result['torch']}, {result['torch_threads']} thread(s), "
        f"commit {result['commit']}, "
        f"{result['date'][:10]}{load}."
    )
    lines += ["", result["note"]] if "note" in result else []
    for heading, rows in tables(result):
        lines += ["", *([f"**{heading}**", ""] if heading else []), *table(rows)]
    for name, reason in result.get("failed", {}).items():
        lines += ["", f"The part `{name}` failed: {reason}"]
    return lines


def tables(result: dict[str, Any]) -> Iterable[tuple[str, list[Row]]]:
    """The tables of a result with their titles, in the order in which they were taken."""
    if "rows" in result:
        yield "", result["rows"]
    if "stages" in result:
        yield "stages, CPU ms a record", result["stages"]
    if "steps" in result:
        yield "each step by itself", result["steps"]
    if "peaks" in result:
        yield "peak memory of the whole process by the film's length", result["peaks"]
    for every, rows in result.get("keyframes_every", {}).items():
        yield f"a keyframe every {every} frames", rows
    for name, model in result.get("models", {}).items():
        yield name, model["rows"]
        if "parts" in model:
            yield f"{name}, by part", model["parts"]
    for name, rows in result.get("memory", {}).items():
        yield f"{name}, 640x360, how the memory is kept", rows
    yield from tables_of_gpu(result)


def tables_of_gpu(result: dict[str, Any]) -> Iterable[tuple[str, list[Row]]]:
    """Those of `gpu`, as far as it came."""
    for size, rows in result.get("frames", {}).items():
        yield f"streamed frames of {size}, live, from uint8 to uint8", rows
    if "updates" in result:
        yield "updates of the weights: forward, loss, backward, optimizer", result["updates"]
    if "training" in result:
        yield "a run of the recipe fusion", result["training"]["rows"]
    if "scores" in result:
        scores = result["scores"]
        yield (
            f"scores on {scores['films']} films, trained and untrained; +8 looks so many frames "
            "ahead",
            scores["means"],
        )
        yield (
            "what the training is worth in hole-PSNR, clip by clip, with a 95 % interval",
            scores["gains"],
        )


HEADINGS = {
    "what": "",
    "stage": "",
    "part": "",
    "holes": "holes",
    "clips": "clips",
    "records": "records",
    "batch": "clips at once",
    "frames": "frames",
    "epochs": "epochs",
    "updates": "updates",
    "unit": "per",
    "operations": "operations",
    "launched": "of them launched",
    "wall_ms": "ms on the clock",
    "wall_times_faster": "x",
    "cpu_ms": "CPU ms",
    "cpu_times_faster": "x (CPU)",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "network_ms": "of it the network, p50 ms",
    "update_ms": "ms an update",
    "peak_mb": "peak MB",
    "resident_mb": "resident MB",
    "gpu_mb": "GPU MB",
    "per_second": "per second",
    "clips_per_second": "clips/s",
    "records_per_minute": "records/min",
    "gflop": "GFLOP",
    "seconds": "seconds",
    "stopped": "stopped",
    "hole_psnr": "hole-PSNR",
    "hole_ssim": "hole-SSIM",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "warp_error": "warp error",
    "flicker": "flicker",
    "unseen_sharpness": "unseen sharpness",
    "lpips": "LPIPS",
    "lite": "lite",
    "fps": "frames/s",
    "gain": "dB",
    "wins": "better on",
    "failed": "",
}
# others have three digits
DECIMALS = {
    "hole_psnr": 2,
    "psnr": 2,
    "hole_ssim": 4,
    "ssim": 4,
    "lite": 4,
    "lpips": 4,
}


def table(rows: list[Row]) -> list[str]:
    """Markdown; columns that say nothing are left out."""
    columns = [name for name in HEADINGS if any(_says_something(row.get(name)) for row in rows)]
    lines = [
        "| " + " | ".join(HEADINGS[name] for name in columns) + " |",
        "|---" * len(columns) + "|",
    ]
    return lines + [
        "| " + " | ".join(_cell(name, row.get(name)) for name in columns) + " |" for row in rows
    ]


def _says_something(value: Any) -> bool:
    return value is not None and not (isinstance(value, dict) and value.get("max") == 0)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "gain":
        return gain(value)
    if name in DECIMALS:
        return f"{value:.{DECIMALS[name]}f}"
    if isinstance(value, dict):
        median, low, high = (_number(value[key]) for key in ("median", "min", "max"))
        return (
            f"x{value['median']:.2f}" if name.endswith("faster") else f"{median} ({low} to {high})"
        )
    return _number(value) if isinstance(value, (int, float)) else str(value)


def gain(value: dict[str, float | None]) -> str:
    """A difference and its interval, where there are clips enough for one."""
    mean, low, high = (value[key] for key in ("mean", "low", "high"))
    return f"{mean:+.2f}" + (
        f" ({low:+.2f} to {high:+.2f})" if low is not None and high is not None else ""
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
