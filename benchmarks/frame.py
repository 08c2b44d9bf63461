"""One streamed frame: from uint8 to the network and back, the memory carried; by back end, and
where the time goes."""

import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inputs import scene
from benchmarks.setting import Setting
from inpaint.export import export_model
from inpaint.models.memory_dstt import MemoryDSTT
from inpaint.runtime.backends import TorchBackend, open_backend
from inpaint.runtime.stream import InpaintStream
from nunif.models import create_model, save_model
from nunif.timing import interleave, rows, spread

MODELS = ("memory_dstt_v1_tiny", "memory_dstt_v1_small", "memory_dstt_v1")
SIZES = ((360, 640), (720, 1280))
BASELINE, PUBLISHED = "torch fp32", "published variant, torch fp32"
PARTS = ("encoder", "hierarchy", "to_tokens", "blocks", "from_tokens", "decoder")


def run(setting: Setting) -> dict[str, Any]:
    """Milliseconds of a frame in every back end, by model and size; FLOPs and seconds by part; how
    the memory is kept."""
    tables = {}
    for height, width in SIZES:
        for name in setting.models or MODELS:
            arch = f"inpaint.{name}"
            large = height > 360
            alternatives = backends(arch, setting, (height, width), exported=not large)
            alternatives = {
                key: one_frame(backend, (height, width)) for key, backend in alternatives.items()
            }
            if setting.published and not large:
                alternatives[PUBLISHED] = published_variant(setting.published, setting.device)
            timings = interleave(
                alternatives,
                rounds=setting.rounds,
                warm_up=2,
                device=setting.device,
                name=f"{name} {width}x{height}",
            )
            baseline = PUBLISHED if PUBLISHED in alternatives else BASELINE
            table = rows(timings, baseline=baseline, unit="frame")
            for row in table:
                row["per_second"] = 1000 / row["wall_ms"]["median"]
            tables[f"{name}, {width}x{height}"] = {
                "rows": table,
                "parts": parts(arch, setting, (height, width)),
            }
    return {"models": tables, "memory": memory_kinds(setting)}


def backends(
    arch: str, setting: Setting, size: tuple[int, int], *, exported: bool
) -> dict[str, Any]:
    """Every back end that can run here, by name. Weights are random: they don't change the time."""
    on_cuda = setting.device.type == "cuda"
    result: dict[str, Any] = {}
    for precision in ("fp32", "fp16", "bf16") if on_cuda else ("fp32", "bf16"):
        make = partial(TorchBackend, device=setting.device, precision=precision)
        result[f"torch {precision}"] = make(create_model(arch))
        if setting.compiled:
            result[f"torch {precision}, compiled"] = make(create_model(arch), compiled=True)
    if exported:
        model, path = create_model(arch), setting.scratch / f"{arch}.pth"
        save_model(model, path)
        for precision in ("fp32", "fp16"):
            for file in export_model(
                model,
                path,
                setting.scratch / arch,
                formats=["onnx", "tensorrt"] if on_cuda else ["onnx"],
                size=size,
                precision=precision,
                device=setting.device,
            ):
                kind = "TensorRT" if file.suffix == ".engine" else "onnxruntime"
                result[f"{kind} {precision}"] = open_backend(file, device=setting.device)
    return result


def one_frame(backend: Any, size: tuple[int, int]) -> Callable[[], None]:
    """Give a stream its next frame."""
    frames = list(scene(6, height=size[0], width=size[1], rendered=6))
    hole = np.zeros(size, bool)
    hole[size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = True
    stream, count = InpaintStream(backend), iter(range(1 << 30))

    def step() -> None:
        stream(frames[next(count) % len(frames)], hole)

    return step


def published_variant(checkout: Path, device: torch.device) -> Callable[[], None]:
    """The network of c1h1r1i1s1/Real-Time-Inpainting, from a checkout of it, with random
    weights."""
    sys.path.insert(0, str(checkout))
    from DSTT_OM_RT import ONNXInpaintGeneratorWithMemory  # type: ignore[import-not-found]

    network = ONNXInpaintGeneratorWithMemory().to(device).eval()
    frame = torch.rand(1, 3, 360, 640, device=device) * 2 - 1
    state = {"memory": torch.zeros(1, 8, 2, 1620, 512, device=device)}

    @torch.inference_mode()
    def step() -> None:
        _, memory = network(frame, state["memory"])
        state["memory"] = memory[None]

    return step


def parts(arch: str, setting: Setting, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Giga floating-point operations (a multiply-add is two) and milliseconds of each part of the
    network."""
    model = create_model(arch).to(setting.device).eval().requires_grad_(False)
    assert isinstance(model, MemoryDSTT)
    frame = torch.rand(1, 1, 3, *size, device=setting.device)
    hole = torch.zeros_like(frame[:, :, :1])
    result = []
    with torch.inference_mode():
        _, past = model.stream(frame, hole, None)
        calls = recorded_parts(model, frame, hole, past)
        timings = interleave(calls, rounds=setting.rounds, device=setting.device, name="parts")
        for name, timing in timings.items():
            # the counter knows attention only where it is written out
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                calls[name]()
            milliseconds = spread([1000 * seconds for seconds in timing.wall])
            result.append(
                {"part": name, "gflop": counter.get_total_flops() / 1e9, "wall_ms": milliseconds}
            )
    return result


def recorded_parts(
    model: MemoryDSTT, frame: Tensor, hole: Tensor, past: Any
) -> dict[str, Callable[[], Any]]:
    """Every part, to be run again on what it was given in one frame; "all" is the whole frame."""
    calls: dict[str, list[Callable[[], Any]]] = defaultdict(list)

    def record(name: str, module: nn.Module, *args: Any) -> None:
        calls[name].append(partial(module.forward, *args))

    handles = [
        getattr(model, name).register_forward_pre_hook(
            lambda module, args, name=name: record(name, module, *args)
        )
        for name in PARTS
        if name != "blocks"
    ]
    model.stream(frame, hole, past)
    for handle in handles:
        handle.remove()
    seen = model._look(frame, hole, past.pictures)
    for block, before in zip(model.blocks, past.projected):
        calls["blocks"].append(
            partial(block.stream, seen.tokens, before, seen.grid, model.memory_slots)
        )
    result: dict[str, Callable[[], Any]] = {
        name: lambda name=name: [call() for call in calls[name]] for name in PARTS
    }
    result["all"] = lambda: model.stream(frame, hole, past)
    return result


def memory_kinds(setting: Setting) -> dict[str, list[dict[str, Any]]]:
    """Tokens, as the engine's contract has them, against keys and values, as torch carries them
    on."""
    result = {}
    frame = torch.rand(1, 1, 3, *SIZES[0], device=setting.device)
    hole = torch.zeros_like(frame[:, :, :1])
    for name in setting.models or MODELS:
        model = create_model(f"inpaint.{name}").to(setting.device).eval().requires_grad_(False)
        assert isinstance(model, MemoryDSTT)
        with torch.inference_mode():
            _, past = model.stream(frame, hole, None)
            _, tokens = model(frame, hole)
            alternatives = {
                "tokens": partial(model, frame, hole, tokens),
                "keys and values": partial(model.stream, frame, hole, past),
            }
            timings = interleave(
                alternatives, rounds=setting.rounds, device=setting.device, name=f"{name} memory"
            )
        result[name] = rows(timings, baseline="tokens", unit="frame")
    return result
