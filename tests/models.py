"""Tiny models for the tests."""

from pathlib import Path

import pytest
import torch
from torch import nn

from inpaint.models import motion
from nunif.models import Model, create_model, save_model
from scene import masks

TINY = "inpaint.memory_dstt_v1_tiny"


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


def trace_less(patch: pytest.MonkeyPatch) -> None:
    """For exports: the same operations and a quarter of them, pyramids of fewer levels that are
    gone through once each."""
    patch.setattr(motion, "ITERATIONS", 1)
    patch.setattr(motion, "LEVELS", 2)
    patch.setattr(masks, "FILL_LEVELS", 3)
