"""Frames per second of one streamed frame, by back end and size of the model.

    python benchmarks/streaming.py -o benchmarks/results/NAME.json

One process, the alternatives taking turns frame by frame, so that what else the machine does hits all of them. A frame
is what `InpaintStream` does with it: from uint8 to the network and back, the memory carried. Weights are random: they
don't change the time. Needs the package's [export] extra.
"""

import argparse
import os
import platform
import subprocess
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tqdm import tqdm

from inpaint.export import export_model
from inpaint.runtime.backends import TorchBackend, open_backend
from inpaint.runtime.stream import InpaintStream
from inpaint.sample_video import render_scene
from nunif.device import create_device
from nunif.files import make_folder, write_json
from nunif.models import create_model, save_model

ROOT = Path(__file__).resolve().parents[1]
BASELINE = "torch fp32"
WARM_UP = 2  # frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file for the figures")
    parser.add_argument("--models", default="tiny,small,v1", help="sizes of the model")
    parser.add_argument("--size", default="360x640", help="height x width")
    parser.add_argument("--rounds", type=int, default=7, help="timed frames of each back end")
    parser.add_argument("--gpu", type=int, default=-1, help="number of the GPU, -1 for the CPU")
    parser.add_argument("--compile", action="store_true", help="torch.compile too; takes minutes to start")
    words = parser.parse_args()
    height, width = map(int, words.size.split("x"))
    device = create_device(words.gpu)
    tables = {}
    for name in words.models.split(","):
        arch = "inpaint.memory_dstt_v1" + ("" if name == "v1" else f"_{name}")
        with tempfile.TemporaryDirectory() as folder:
            backends = make_backends(arch, Path(folder), (height, width), device, compiled=words.compile)
            tables[arch] = measure(backends, (height, width), words.rounds)
        print(f"\n{arch}, {words.size}\n{table(tables[arch])}", flush=True)
    make_folder(words.output.parent)
    write_json(words.output, {**machine(device), "size": [height, width], "rounds": words.rounds, "models": tables})


def make_backends(arch: str, folder: Path, size: tuple[int, int], device: torch.device, *, compiled: bool) -> dict:
    """Every back end that can run here, by name."""
    torch.manual_seed(0)
    model, path = create_model(arch), folder / "model.pth"
    save_model(model, path)
    on_cuda = device.type == "cuda"
    formats = ["onnx", "tensorrt"] if on_cuda else ["onnx"]
    backends = {}
    for precision in ("fp32", "fp16"):
        for file in export_model(model, path, folder, formats=formats, size=size, precision=precision, device=device):
            backends[f"{'TensorRT' if file.suffix == '.engine' else 'onnxruntime'} {precision}"] = open_backend(
                file, device=device
            )
    torch_backends = {}
    for precision in ("fp32", "fp16", "bf16") if on_cuda else ("fp32", "bf16"):
        torch_backends[f"torch {precision}"] = TorchBackend(create_model(arch), device=device, precision=precision)
        if compiled:
            backend = TorchBackend(create_model(arch), device=device, precision=precision, compiled=True)
            torch_backends[f"torch {precision} compiled"] = backend
    return {**torch_backends, **backends}


def measure(backends: dict, size: tuple[int, int], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a frame: median, fastest and slowest, and the ratio to the baseline's frame of the same round."""
    frames = [frame for frame, _ in render_scene(size[1], size[0], WARM_UP + rounds)]
    hole = np.zeros(size, bool)
    hole[size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = True
    streams = {name: InpaintStream(backend) for name, backend in backends.items()}
    seconds: dict[str, list[float]] = {name: [] for name in streams}
    for frame in tqdm(frames, desc="rounds", disable=None):
        for name, stream in streams.items():
            begin = time.perf_counter()
            stream(frame, hole)
            seconds[name].append(time.perf_counter() - begin)
    base = np.array(seconds[BASELINE][WARM_UP:])
    rows = {}
    for name, values in seconds.items():
        times = np.array(values[WARM_UP:])
        ratios = base / times
        rows[name] = {
            "seconds_median": float(np.median(times)),
            "seconds_min": float(times.min()),
            "seconds_max": float(times.max()),
            "frames_per_second": float(1 / np.median(times)),
            "speed_to_baseline_median": float(np.median(ratios)),
            "speed_to_baseline_min": float(ratios.min()),
            "speed_to_baseline_max": float(ratios.max()),
        }
    return rows


def table(rows: dict[str, dict[str, float]]) -> str:
    """The same for people, in Markdown."""
    lines = ["| back end | ms per frame (fastest to slowest) | frames/s | speed to torch fp32 |", "|---|---|---|---|"]
    for name, row in rows.items():
        median, low, high = (1000 * row[f"seconds_{what}"] for what in ("median", "min", "max"))
        ratio = "x{speed_to_baseline_median:.2f} ({speed_to_baseline_min:.2f} to {speed_to_baseline_max:.2f})".format(**row)
        lines.append(f"| {name} | {median:.0f} ({low:.0f} to {high:.0f}) | {row['frames_per_second']:.2f} | {ratio} |")
    return "\n".join(lines)


def machine(device: torch.device) -> dict:
    """Where and with what the figures were taken."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()}, {os.cpu_count()} cores",
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def processor() -> str:
    """The processor's name, on Linux with its flags for neural networks."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in values.get("flags", "").split()]
    return f"{values.get('model name', 'unknown')} ({' '.join(flags)})"


if __name__ == "__main__":
    main()
