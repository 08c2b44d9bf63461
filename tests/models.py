"""Tiny models for the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inpaint.models import memory_dstt, motion
from inpaint.runtime.stream import InpaintStream
from nunif.models import Model, create_model, save_model
from nunif.models.registry import register_model
from scene import masks

TINY = "inpaint.memory_dstt_v1_tiny"
# the smallest sizes that still have every part: a temporal and a spatial block, several heads
SMALLEST = dict(channels=16, hidden=16, num_blocks=2, num_heads=2)


def lively(model: Model) -> Model:
    """The model with larger weights than a fresh network has, so that every path changes the output
    visibly."""
    for parameter in model.eval().parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2 if parameter.ndim == 2 else 0.08)
    return model


def lively_model(*, seed: int = 0) -> Model:
    """A small memory DSTT with such weights."""
    torch.manual_seed(seed)
    return lively(create_model(TINY, channels=32, hidden=32, num_blocks=4))


def save_lively_model(path: Path, *, seed: int = 0) -> Path:
    """The same in a model file."""
    save_model(lively_model(seed=seed), path)
    return path


def less_to_trace(patch: pytest.MonkeyPatch) -> None:
    """Where a file is made of a network: the same operations and a quarter of them, pyramids of
    fewer levels that are gone through once."""
    patch.setattr(motion, "ITERATIONS", 1)
    patch.setattr(motion, "LEVELS", 2)
    patch.setattr(masks, "FILL_LEVELS", 2)


@contextmanager
def small_networks() -> Iterator[None]:
    """Where commands are looked at and not what a network learns: the name of the tiny one stands
    for the smallest that has every part, with less to compute for each frame."""
    create_model(TINY)  # all names are entered now, and not again later
    with pytest.MonkeyPatch.context() as patch:
        less_to_trace(patch)
        register_model(TINY, memory_dstt.MemoryDSTT, **SMALLEST)
        try:
            yield
        finally:
            memory_dstt.register()


def frames_given_to_models(patch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The frames that streams mask for their models from now on, each (H, W, 3)."""
    frames, masked = [], InpaintStream.masked

    def keep(self: InpaintStream, frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
        frames.append(frame)
        return masked(self, frame, hole)

    patch.setattr(InpaintStream, "masked", keep)
    return frames


def moving_hole(
    batch: int = 1, frames: int = 4, height: int = 48, width: int = 72, *, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of noise (B, T, 3, H, W) in [-1, 1], and a hole (B, T, 1, H, W) that moves to the
    right."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(batch, frames, 3, height, width, generator=generator) * 2 - 1
    holes = torch.zeros(batch, frames, 1, height, width)
    for t in range(frames):
        holes[:, t, :, height // 4 : height // 2, 5 + 3 * t : 25 + 3 * t] = 1
    return picture, holes
