"""Weights that follow from the names of the tensors, so that two programs that share nothing but
the names can compute the same."""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


def weights_by_name(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random tensors of some shapes, each drawn by its name."""
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        leaf = name.rpartition(".")[2]
        if leaf == "num_batches_tracked":
            weights[name] = torch.zeros((), dtype=torch.int64)
            continue
        if leaf == "running_mean":
            values = np.zeros(shape)
        elif leaf == "running_var":
            values = np.ones(shape)
        elif len(shape) > 1:
            values = rng.standard_normal(shape) * math.sqrt(1.5 / math.prod(shape[1:]))
        elif leaf == "weight":
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape) * 0.1
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def pictures(*shape: int, seed: int) -> Tensor:
    """Colours in [0, 1], smooth and rough parts."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((*shape[:-2], 5, 7)).astype(np.float32))
    smooth = nn.functional.interpolate(
        coarse.flatten(0, -4), size=shape[-2:], mode="bilinear", align_corners=False
    ).view(shape)
    noise = torch.from_numpy(rng.random(shape).astype(np.float32))
    return 0.8 * smooth + 0.2 * noise


@torch.no_grad()
def calibrate(model: nn.Module, ratio: float) -> nn.Module:
    """Give BatchNorm the statistics of some clips: with those that it starts with values explode
    or vanish, and nothing is tested. Leaves the model in evaluation mode."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for seed in range(2):
        model(pictures(2, 2, 3, 96, 128, seed=seed), None, None, None, None, ratio)
    for norm, value in zip(norms, momentum):
        norm.momentum = value
    return model.eval()
