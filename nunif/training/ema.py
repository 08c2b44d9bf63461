"""The weights that are evaluated and saved, where they are not the ones being trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nunif.training.optim import ScheduleFree


class Ema:
    """An exponential moving average of a model's weights and buffers.

    The decay rises with the number of updates, min(decay, (1 + n) / (10 + n)), so that the average
    of a short run is not mostly its random start (TensorFlow's ExponentialMovingAverage with
    num_updates).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.weights = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - decay)
            else:
                self.weights[name].copy_(tensor)


@contextmanager
def evaluation_weights(model: nn.Module, optimizer: Optimizer, ema: Ema | None) -> Iterator[None]:
    """Give the model its evaluation weights for the length of a block, and then the training
    weights back, bit by bit.

    These are the EMA's, or x of a Schedule-Free optimizer (which trains at y and whose own way back
    from x to y would round); for everything else the training weights themselves.
    """
    if ema is None and not isinstance(optimizer, ScheduleFree):
        yield
        return
    kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    if isinstance(optimizer, ScheduleFree):
        optimizer.eval()
    elif ema is not None:
        copy_weights(ema.weights, model)
    try:
        yield
    finally:
        if isinstance(optimizer, ScheduleFree):
            optimizer.train()
        copy_weights(kept, model)


@torch.no_grad()
def copy_weights(weights: dict[str, Tensor], model: nn.Module) -> None:
    """Copy tensors into the model's own, by name."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(weights[name])
