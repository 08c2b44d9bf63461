"""A training step of 12 frames of 256x256: the whole clip at once, or frame by frame; types,
compiler, memory."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inputs import scene
from benchmarks.setting import Setting
from inpaint.losses import NamedLoss
from nunif.models import Model, create_model
from nunif.timing import interleave, rows

CLIP, TILE = 12, 256
SIZES = ("memory_dstt_v1_small", "memory_dstt_v1")
BASELINE = "clip at once, fp32"


def run(setting: Setting) -> dict[str, Any]:
    """Milliseconds of a step (forward, loss, backward, no optimizer) for every way of taking it, by
    size of the model."""
    # not at the top: `compare` takes what is below with older checkouts
    from nunif.device import (
        keep_freed_memory,
    )

    frames, holes = clip(setting.device)
    if setting.device.type == "cpu":
        keep_freed_memory()  # as the trainer does
    tables = {}
    for name in setting.models or SIZES:
        torch.manual_seed(0)
        model = create_model(f"inpaint.{name}").to(setting.device).train()
        with FlopCounterMode(display=False) as counter:
            step(model, frames, holes)
        table = rows(
            interleave(
                ways(model, frames, holes, setting),
                rounds=setting.rounds,
                device=setting.device,
                name=name,
            ),
            baseline=BASELINE,
            unit="step",
        )
        tables[name] = {"rows": table, "gflop_without_attention": counter.get_total_flops() / 1e9}
    return {"models": tables}


def clip(device: torch.device) -> tuple[Tensor, Tensor]:
    """Frames (1, T, 3, H, W) in [-1, 1] and a hole that moves (1, T, 1, H, W)."""
    pictures = [
        torch.from_numpy(frame[:TILE, :TILE].copy())
        for frame in scene(CLIP, height=360, width=640, rendered=CLIP)
    ]
    frames = torch.stack(pictures).permute(0, 3, 1, 2).div(127.5).sub(1)[None]
    holes = torch.zeros(1, CLIP, 1, TILE, TILE)
    for t in range(CLIP):
        holes[0, t, 0, 80:180, 60 + 5 * t : 100 + 5 * t] = 1
    return frames.to(device), holes.to(device)


def ways(
    model: Model, frames: Tensor, holes: Tensor, setting: Setting
) -> dict[str, Callable[[], Any]]:
    """Every way of taking the same step."""
    from nunif.training.recompute import recompute_activations

    on_gpu = setting.device.type == "cuda"
    tight = copy.deepcopy(model)
    recompute_activations(tight)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    result: dict[str, Callable[[], Any]] = {
        BASELINE: lambda: step(model, frames, holes),
        "frame by frame, fp32": lambda: step(model, frames, holes, by_frame=True),
        "clip at once, fp32, channels last": lambda: step(last, frames, holes),
        "clip at once, fp32, activation checkpointing": lambda: step(tight, frames, holes),
    }
    for name, dtype in (
        (("bf16", torch.bfloat16), ("fp16", torch.float16))
        if on_gpu
        else (("bf16", torch.bfloat16),)
    ):
        result |= {
            f"clip at once, {name}": lambda dtype=dtype: step(model, frames, holes, dtype=dtype),
            f"frame by frame, {name}": lambda dtype=dtype: step(
                model, frames, holes, dtype=dtype, by_frame=True
            ),
        }
    if setting.compiled:
        from nunif.compiler import compile_in_place

        compiled = copy.deepcopy(model)
        compile_in_place(compiled)
        result["clip at once, fp32, compiled"] = lambda: step(compiled, frames, holes)
        if on_gpu:
            result["clip at once, bf16, compiled"] = lambda: step(
                compiled, frames, holes, dtype=torch.bfloat16
            )
    return result


def step(
    model: Model,
    frames: Tensor,
    holes: Tensor,
    *,
    by_frame: bool = False,
    dtype: torch.dtype | None = None,
) -> None:
    """Forward, loss and backward."""
    with torch.autocast(frames.device.type, dtype, enabled=dtype is not None):
        if by_frame:
            memory, predictions = None, []
            for t in range(frames.shape[1]):
                prediction, memory = model(frames[:, t : t + 1], holes[:, t : t + 1], memory)
                predictions.append(prediction)
            prediction = torch.cat(predictions, dim=1)
        else:
            prediction, _ = model(frames, holes)
        losses, _ = NamedLoss("temporal_l1")(prediction.float(), frames, holes)
    losses.mean().backward()
    model.zero_grad(set_to_none=True)
