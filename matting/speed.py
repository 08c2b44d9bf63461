"""Compare how fast networks are, and what they cost: python -m matting speed.

The networks take turns in one process, so that what else the machine does hits all of them, and the
first runs as two: what their times differ by is what other differences are to be measured against.

Axes: T frames, H W pixels.
"""

import logging
import multiprocessing
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from matting.models import MattingNetwork, as_network, usual_ratio
from matting.options_run import SpeedOptions
from nunif.device import AMP_DTYPES, create_device
from nunif.files import make_folder, write_json
from nunif.models import create_model
from nunif.options import parse_size
from nunif.timing import Timing, interleave, machine, peak_mb, reset_peak

logger = logging.getLogger(__name__)

AGAIN = " again"  # behind the name of the first network where it runs a second time
BELIEVABLE = (0.95, 1.05)  # of its time to its own
WARM_UP = 2  # turns that don't count


@dataclass(frozen=True)
class Work:
    """What each network does in a turn. size: (height, width) in pixels; ratio: see
    `MattingNetwork.forward`."""

    size: tuple[int, int]
    ratio: float
    num_frames: int
    device: torch.device
    dtype: torch.dtype

    def clip(self) -> Tensor:
        """(T, 1, 3, H, W), the same at every call."""
        generator = torch.Generator().manual_seed(0)
        clip = torch.rand(self.num_frames, 1, 3, *self.size, generator=generator)
        return clip.to(self.device, self.dtype)


@dataclass
class Runner:
    """A network on a stream. seconds: of every frame, those of the warm-up too."""

    model: MattingNetwork
    work: Work
    clip: Tensor
    seconds: list[float] = field(default_factory=list)

    @torch.inference_mode()
    def __call__(self) -> None:
        states: list[Tensor] = []
        for frame in self.clip:
            begin = time.perf_counter()
            _, _, *states = self.model(frame, *states, downsample_ratio=self.work.ratio)
            if self.work.device.type == "cuda":
                torch.cuda.synchronize(self.work.device)
            self.seconds.append(time.perf_counter() - begin)


def main(options: SpeedOptions) -> None:
    """The command `speed`."""
    size = parse_size(options.size)
    ratio = usual_ratio(*size) if options.downsample_ratio is None else options.downsample_ratio
    device = create_device(options.gpu)
    dtype = {"fp32": torch.float32, **AMP_DTYPES}[options.precision]
    work = Work(size, ratio, options.frames, device, dtype)
    names = list(dict.fromkeys(_short(name) for name in options.archs.split(",")))
    result = {
        **machine(device),
        "size": options.size,
        "downsample_ratio": ratio,
        "precision": options.precision,
        "frames": options.frames,
        "rounds": options.rounds,
        **compare(names, work, rounds=options.rounds),
    }
    print(in_words(result))
    low, high = BELIEVABLE
    if not low <= result["first_against_itself"] <= high:
        logger.warning(
            "%s against itself is outside %.2f to %.2f: the machine does too much else, measure "
            "again or take more --rounds",
            names[0], low, high,
        )  # fmt: skip
    if options.output is not None:
        make_folder(options.output.parent)
        write_json(options.output, result)


def compare(names: list[str], work: Work, *, rounds: int) -> dict[str, Any]:
    """The figures of some networks: `networks`, a row for each, and `first_against_itself`, the
    ratio of the times of the first to those of its own double.

    Raises:
        UserError: there is no network of a name.
    """
    clip = work.clip()
    runners = {name: Runner(build(name, work), work, clip) for name in names}
    costs = {name: cost_of(name, runner) for name, runner in runners.items()}
    double = names[0] + AGAIN
    middle = (len(names) + 1) // 2
    order = [*names[:middle], double, *names[middle:]]
    runners[double] = Runner(runners[names[0]].model, work, clip)
    turns = {name: runners[name] for name in order}
    timings = interleave(turns, rounds=rounds, warm_up=WARM_UP, device=work.device, name="turns")
    rows = [
        {
            "name": name,
            **times_of(runners[name].seconds[WARM_UP * work.num_frames :]),
            f"times_faster_than_{names[0]}": ratio_of(timings, names[0], name),
            **costs[name],
        }
        for name in names
    ]
    return {"networks": rows, "first_against_itself": ratio_of(timings, names[0], double)}


def build(name: str, work: Work) -> MattingNetwork:
    """A network of fresh weights, fused, as it runs."""
    torch.manual_seed(0)
    model = as_network(create_model(f"matting.{name}"), "--archs")
    return model.fuse().eval().to(work.device, work.dtype)


def cost_of(name: str, runner: Runner) -> dict[str, Any]:
    """Parameters, GFLOP of a frame and MB of memory."""
    # another process, because one keeps what it has freed
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as other:
        peak = other.submit(peak_of, name, runner.work, torch.get_num_threads()).result()
    return {
        "parameters": runner.model.num_parameters,
        "gflop": round(gflop_of(runner.model, runner.clip[0], runner.work.ratio), 3),
        "peak_mb": round(peak, 1),
    }


def gflop_of(model: MattingNetwork, frame: Tensor, ratio: float) -> float:
    """Of a frame (1, 3, H, W), by torch's counter: two for a multiplication that is added."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(frame, downsample_ratio=ratio)
    return counter.get_total_flops() / 1e9


def peak_of(name: str, work: Work, num_threads: int) -> float:
    """The most memory that a network takes with its weights, in MB above what there was before."""
    torch.set_num_threads(num_threads)
    on_gpu = work.device.type == "cuda"
    clip = work.clip()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(work.device)
        before = torch.cuda.memory_allocated(work.device) / 1e6
    else:
        reset_peak()
        before = peak_mb()
    Runner(build(name, work), work, clip)()
    peak = torch.cuda.max_memory_allocated(work.device) / 1e6 if on_gpu else peak_mb()
    return peak - before


def times_of(seconds: list[float]) -> dict[str, float]:
    """Frames per second, and the milliseconds that half and 95 % of the frames don't exceed."""
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return {
        "frames_per_second": round(len(seconds) / sum(seconds), 3),
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
    }


def ratio_of(timings: Mapping[str, Timing], first: str, other: str) -> float:
    """The median, over the rounds, of the first's time to the other's."""
    pairs = zip(timings[first].wall, timings[other].wall)
    return round(median(a / b for a, b in pairs), 4)


def in_words(result: Mapping[str, Any]) -> str:
    """The figures as a table for people."""
    rows = result["networks"]
    first = rows[0]["name"]
    width = max(len(row["name"]) for row in rows)
    lines = [
        f"{result['size']}, computed at {result['downsample_ratio']:.4g} of it, "
        f"{result['precision']}, {result['device']}, {result['torch_threads']} threads",
        f"{'':{width}}     fps  p50 ms  p95 ms  faster  peak MB  parameters   GFLOP",
    ]
    lines += [
        f"{row['name']:{width}} {row['frames_per_second']:7.2f} {row['p50_ms']:7.1f} "
        f"{row['p95_ms']:7.1f} {row[f'times_faster_than_{first}']:7.2f} {row['peak_mb']:8.0f} "
        f"{row['parameters']:11,} {row['gflop']:7.2f}"
        for row in rows
    ]
    itself = result["first_against_itself"]
    low, high = BELIEVABLE
    return "\n".join(
        [*lines, f"{first} against itself: {itself:.3f} (figures hold from {low} to {high})"]
    )


def _short(name: str) -> str:
    return name.strip().removeprefix("matting.")
