"""Less memory for more time: insides of the model that are computed again in the backward pass."""

from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_activations(model: nn.Module) -> None:
    """Let each part of a model keep only what goes into it until the backward pass (Chen et al.,
    arXiv 1604.06174).

    Parts are its children, and those of lists among them. Results, gradients and the state dict
    stay the same.
    """
    for part in _parts(model):
        part.forward = partial(checkpoint, part.forward, use_reentrant=False)  # type: ignore[method-assign]


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from _parts(child)
        else:
            yield child
