"""Taking times: alternatives take turns in one process, so that what else the machine does hits all
of them."""

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from tqdm import tqdm


class Elsewhere(NamedTuple):
    """What an alternative took that works in another process: seconds, CPU seconds, and its peak of
    memory in MB."""

    wall: float
    cpu: float
    peak_mb: float


@dataclass
class Timing:
    """The rounds of one alternative: seconds on the clock and of all cores, and the most memory
    held, in MB."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    gpu_mb: float | None = None


def interleave(
    alternatives: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int = 1,
    device: torch.device | None = None,
    name: str = "rounds",
) -> dict[str, Timing]:
    """Run every alternative once a round. The first `warm_up` rounds don't count.

    What an alternative returns is not looked at, unless it is `Elsewhere`.
    """
    timings = {key: Timing() for key in alternatives}
    on_gpu = device is not None and device.type == "cuda"
    for round_ in tqdm(range(warm_up + rounds), desc=name, disable=None):
        for key, run in alternatives.items():
            gc.collect()
            reset_peak()
            if on_gpu:
                torch.cuda.synchronize(device)
                torch.cuda.reset_peak_memory_stats(device)
            wall, cpu = time.perf_counter(), time.process_time()
            elsewhere = run()
            if on_gpu:
                torch.cuda.synchronize(device)
            here = time.perf_counter() - wall, time.process_time() - cpu, peak_mb()
            if round_ < warm_up:
                continue
            timing = timings[key]
            wall, cpu, peak = elsewhere if isinstance(elsewhere, Elsewhere) else here
            timing.wall.append(wall)
            timing.cpu.append(cpu)
            timing.peak_mb = max(timing.peak_mb or 0, peak)
            if on_gpu:
                timing.gpu_mb = torch.cuda.max_memory_allocated(device) / 1e6
    return timings


def rows(
    timings: Mapping[str, Timing],
    *,
    baseline: str,
    unit: str,
    count: float = 1,
    more: Mapping[str, dict] | None = None,
) -> list[dict[str, Any]]:
    """One row for each alternative.

    Args:
        baseline: the alternative whose time of the same round is divided by this one's.
        unit, count: what one call works on, and how many of it.
        more: further columns by alternative.
    """
    result = []
    for name, timing in timings.items():
        row: dict[str, Any] = {"what": name, "unit": unit, "rounds": len(timing.wall)}
        for kind, values in (("wall", timing.wall), ("cpu", timing.cpu)):
            row[f"{kind}_ms"] = spread([1000 * value / count for value in values])
            base = getattr(timings[baseline], kind)
            row[f"{kind}_times_faster"] = spread(
                [b / max(v, 1e-9) for b, v in zip(base, values, strict=True)]
            )
        row |= {"peak_mb": timing.peak_mb, "gpu_mb": timing.gpu_mb, **(more or {}).get(name, {})}
        result.append(row)
    return result


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def reset_peak() -> None:
    """Let the peak of memory start at what is held now. Linux; elsewhere it only grows."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """The most resident memory since `reset_peak`."""
    try:
        line = next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def machine(device: torch.device) -> dict[str, Any]:
    """Where and with what the figures were taken."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{processor()}, {os.cpu_count()} cores",
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name, on Linux with its flags for neural networks."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    flags = [
        flag
        for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        if flag in values.get("flags", "").split()
    ]
    return f"{values.get('model name', 'unknown')} ({' '.join(flags)})"
