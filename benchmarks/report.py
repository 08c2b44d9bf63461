"""The tables of all results, in Markdown: benchmarks/RESULTS.md."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nunif.files import write_whole

Row = dict[str, Any]


def write_report(folder: Path) -> Path:
    """Write RESULTS.md beside the folder of JSON files; returns its path."""
    path = folder.parent / "RESULTS.md"
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks report` from the files in `results/`; how they are taken stands in",
        '[README.md](README.md). Times are medians with the fastest and the slowest round behind them; "x" is how many times',
        "less time than the row marked x1.00 in the same round.",
    ]
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        if "name" in result:
            lines += ["", *section(file.stem.replace("-", ", "), result)]
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def section(title: str, result: dict[str, Any]) -> list[str]:
    """One benchmark: where it ran, then its tables. title: of the file, so that runs of some models stand apart."""
    lines = [f"## {title}", ""]
    load = "" if result.get("load_before") is None else f", load before {result['load_before']}"
    lines.append(
        f"{result['device']}, torch {result['torch']}, {result['torch_threads']} thread(s), commit {result['commit']}, "
        f"{result['date'][:10]}{load}."
    )
    for heading, rows in tables(result):
        lines += ["", *([f"**{heading}**", ""] if heading else []), *table(rows)]
    return lines


def tables(result: dict[str, Any]) -> Iterable[tuple[str, list[Row]]]:
    """The tables of a result with their titles, in the order in which they were taken."""
    if "rows" in result:
        yield "", result["rows"]
    if "stages" in result:
        yield "stages, CPU ms a record", result["stages"]
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


HEADINGS = {
    "what": "", "stage": "", "part": "", "clips": "clips", "frames": "frames", "unit": "per", "wall_ms": "ms on the clock",
    "wall_times_faster": "x", "cpu_ms": "CPU ms", "cpu_times_faster": "x (CPU)", "peak_mb": "peak MB", "gpu_mb": "GPU MB",
    "per_second": "per second", "records_per_minute": "records/min", "gflop": "GFLOP",
}  # fmt: skip


def table(rows: list[Row]) -> list[str]:
    """Markdown; columns that say nothing are left out."""
    columns = [name for name in HEADINGS if any(_says_something(row.get(name)) for row in rows)]
    lines = ["| " + " | ".join(HEADINGS[name] for name in columns) + " |", "|---" * len(columns) + "|"]
    return lines + ["| " + " | ".join(_cell(name, row.get(name)) for name in columns) + " |" for row in rows]


def _says_something(value: Any) -> bool:
    return value is not None and not (isinstance(value, dict) and value["max"] == 0)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        median, low, high = (_number(value[key]) for key in ("median", "min", "max"))
        return f"x{value['median']:.2f}" if name.endswith("faster") else f"{median} ({low} to {high})"
    return _number(value) if isinstance(value, (int, float)) else str(value)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
