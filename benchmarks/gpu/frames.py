"""Streamed frames as they come from a camera, each by itself: from uint8 to the network and back.

Axes: T frames, H W pixels.
"""

import copy
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.clock import NO_TIME, share_of, synchronize
from benchmarks.inputs import scene
from benchmarks.setting import Setting
from inpaint.hole_shapes import moving_shape
from inpaint.models.recall import Ahead
from inpaint.runtime.backends import TorchBackend
from inpaint.runtime.stream import InpaintStream
from nunif.errors import UserError, first_line
from nunif.models import create_model
from nunif.runtime.engines import Backend
from nunif.seed import generator_for

SIZES = ("fusion_v1", "memory_dstt_v1_tiny", "memory_dstt_v1_small", "memory_dstt_v1")
PRECISIONS = {"cuda": ("fp16", "bf16", "fp32"), "cpu": ("bf16", "fp32")}
# with --compile, one precision: the compiler takes minutes for each
COMPILED = {
    "cuda": "fp16",
    "cpu": "bf16",
}
RENDERED = 12  # frames, which are played forth and back
WARM_UP = 5  # frames of each stream before the first that counts
LEAST, MOST = 3, 40  # frames of a round

Rows = list[dict[str, Any]]


class Watched:
    """A back end that tells how long the network took: on a GPU by events before its first kernel
    and behind its last."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.device, self.window, self.size = backend.device, backend.window, backend.size
        self.multiple, self.description = backend.multiple, backend.description
        self._begin: Any = None
        self._end: Any = None

    def step(self, masked: Tensor, memory: Any, ahead: Ahead | None = None) -> tuple[Tensor, Any]:
        self._begin = self._mark()
        result = self._backend.step(masked, memory, ahead)
        self._end = self._mark()
        return result

    @property
    def milliseconds(self) -> float:
        """Of the last step, once the device is done with it."""
        if self.device.type == "cuda":
            return self._begin.elapsed_time(self._end)
        return 1000 * (self._end - self._begin)

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event


@dataclass
class Live:
    """A stream that is being timed. frames, holes: (T, H, W, 3) uint8, (T, H, W) bool, over and
    over.

    whole, network: milliseconds of every frame that counted. gpu_mb: the most memory it held by
        itself.
    """

    stream: InpaintStream
    watched: Watched
    frames: np.ndarray
    holes: np.ndarray
    gpu_mb: float | None = None
    shown: int = 0
    whole: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)

    def show(self, *, counts: bool) -> None:
        """The next frame. counts: whether its times are kept."""
        device, place = self.watched.device, self.shown % len(self.frames)
        self.shown += 1
        synchronize(device)
        begin = time.perf_counter()
        self.stream(self.frames[place], self.holes[place])
        synchronize(device)
        if counts:
            self.whole.append(1000 * (time.perf_counter() - begin))
            self.network.append(self.watched.milliseconds)


def measure_frames(setting: Setting, *, until: float) -> Iterator[dict[str, Rows]]:
    """Rows by size of the frames, every network in every precision; grows from network to network.

    Compiled networks come after all others. What the time does not suffice for has a row that says
    so.
    """
    names = setting.models or SIZES
    eager = [(size, name, False) for size in setting.card.sizes for name in names]
    cells = eager + [(size, name, True) for size, name, _ in eager if setting.compiled]
    pictures = {size: film(size) for size in setting.card.sizes}
    found: dict[str, Rows] = {f"{width}x{height}": [] for height, width in setting.card.sizes}
    for number, (size, name, compiled) in enumerate(cells):
        deadline = share_of(until, left=len(cells) - number)
        rows = found[f"{size[1]}x{size[0]}"]
        if deadline is None:
            rows.append({"what": f"{name}{', compiled' if compiled else ''}", "failed": NO_TIME})
        else:
            rows += time_network(name, *pictures[size], setting, compiled=compiled, until=deadline)
        yield found


def film(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) uint8 and a hole that moves (T, H, W) bool, forth and back, so that they
    can go round."""
    there_and_back = 2 * RENDERED - 2
    frames = np.stack(list(scene(there_and_back, height=size[0], width=size[1], rendered=RENDERED)))
    holes = moving_shape(RENDERED, size, generator_for("benchmark-live"), still=False)
    return frames, np.concatenate([holes, holes[-2:0:-1]])


def time_network(
    name: str,
    frames: np.ndarray,
    holes: np.ndarray,
    setting: Setting,
    *,
    compiled: bool,
    until: float,
) -> Rows:
    """A row for each precision; they take turns in rounds. Weights are random: they don't change
    the time."""
    kind = setting.device.type
    model, rows, lives = create_model(f"inpaint.{name}"), {}, {}
    for precision in (COMPILED[kind],) if compiled else PRECISIONS[kind]:
        what = f"{name}, {precision}{', compiled' if compiled else ''}"
        rows[what] = {"what": what, "unit": "frame"}
        before = _allocated(setting.device)
        try:
            backend = TorchBackend(
                copy.deepcopy(model), device=setting.device, precision=precision, compiled=compiled
            )
            watched = Watched(backend)
            live = Live(InpaintStream(watched), watched, frames, holes)
            for _ in range(WARM_UP):
                live.show(counts=False)
        except (
            RuntimeError,
            UserError,
        ) as error:  # a precision, a size or a network that can't be had here
            rows[what]["failed"] = first_line(error)
            continue
        if setting.device.type == "cuda":
            live.gpu_mb = (torch.cuda.max_memory_allocated(setting.device) - before) / 1e6
        lives[what] = live
    turns = [live for _ in range(setting.rounds) for live in lives.values()]
    for number, live in enumerate(turns):
        live.show(counts=False)  # another one's numbers are in the caches
        deadline, shown = share_of(until, left=len(turns) - number) or 0.0, 0
        while shown < LEAST or (shown < MOST and time.monotonic() < deadline):
            live.show(counts=True)
            shown += 1
    return [row | (summary(lives[what]) if what in lives else {}) for what, row in rows.items()]


def summary(live: Live) -> dict[str, Any]:
    """Medians and the 95th percentile of the frames that counted, and how many come in a second."""
    middle, slow = (float(x) for x in np.percentile(live.whole, [50, 95]))
    return {
        "frames": len(live.whole),
        "p50_ms": middle,
        "p95_ms": slow,
        "network_ms": float(np.median(live.network)),
        "per_second": 1000 / middle,
        "gpu_mb": live.gpu_mb,
    }


def _allocated(device: torch.device) -> int:
    """Bytes of GPU memory in use, from which the peak is counted anew."""
    gc.collect()
    synchronize(device)
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)
