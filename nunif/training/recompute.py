"""Less memory for more time: insides of the model that are computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute_activations(model: nn.Module) -> None:
    """Let each part of a model keep only what goes into it until the backward pass (Chen et al.,
    arXiv 1604.06174).

    Parts are its children, and those of lists among them. Results, gradients and the state dict
    stay the same.
    """
    for part in _parts(model):
        again = partial(
            checkpoint,
            part.forward,
            use_reentrant=False,
            context_fn=partial(_contexts, part),
        )
        part.forward = again  # type: ignore[method-assign]


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from _parts(child)
        else:
            yield child


def _contexts(
    part: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first time, and of the second."""
    return nullcontext(), _counting_nothing(part)


@contextmanager
def _counting_nothing(part: nn.Module) -> Iterator[None]:
    """BatchNorm has the batch in its running statistics already, and takes it in no second time."""
    norms = [
        (module, module.num_batches_tracked)
        for module in part.modules()
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None
    ]
    before = [(norm.momentum, count.clone()) for norm, count in norms]
    try:
        for norm, _ in norms:
            norm.momentum = 0.0  # the share of the batch
        yield
    finally:
        for (norm, count), (momentum, old) in zip(norms, before):
            norm.momentum = momentum
            count.copy_(old)
