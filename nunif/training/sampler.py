"""Which samples an epoch draws, and in which order.

N: samples of the training set.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from nunif.seed import derive_seed, generator_for

HISTORY = 4  # losses remembered per sample
MIN_SEEN = 4  # samples that must have a loss before losses mean anything
SIGMA = 2.0
MAX_RATIO = 4.0  # the hardest sample is drawn this much more often than the easiest


class LossHistory:
    """The last losses of every sample, as far as it was drawn."""

    def __init__(self, names: Sequence[str] | np.ndarray) -> None:
        """names: of the samples, or (N,) their keys, `derive_seed` of each."""
        if not isinstance(names, np.ndarray):
            names = np.array([derive_seed(name) for name in names], dtype=np.int64)
        self.keys = names
        self.losses = np.full((len(names), HISTORY), np.nan)  # (N, HISTORY), newest last

    def record(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """Remember one loss for each sample that was learned from; the losses are finite."""
        for index, loss in zip(indices, losses, strict=True):
            self.losses[index] = [*self.losses[index, 1:], loss]

    def weights(self) -> np.ndarray:
        """How likely each sample is to be drawn, (N,) from 0.25 to 1; see
        `hard_example_weights`."""
        return hard_example_weights(self.losses)

    def state_dict(self) -> dict[str, Any]:
        """The history as tensors."""
        return {"keys": torch.from_numpy(self.keys), "losses": torch.from_numpy(self.losses.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Take over the history of the samples that are still there, known by name.

        Returns (M,): where each of the M samples of the state stands now, -1 for those that are
        gone.
        """
        order = np.argsort(self.keys, kind="stable")
        keys, wanted = self.keys[order], state["keys"].numpy()
        # of samples with one name the last
        places = np.searchsorted(keys, wanted, side="right") - 1
        moved = np.full(len(wanted), -1, np.int64)
        if len(keys):
            moved = np.where(keys[places] == wanted, order[places], -1)
        self.losses[moved[moved >= 0]] = state["losses"].numpy()[moved >= 0]
        return moved


def hard_example_weights(losses: np.ndarray) -> np.ndarray:
    """Weights (N,) from losses (N, HISTORY) that are NaN where there is none: the LINEAR rule of
    nagadomi/nunif.

    The z-score of a sample's mean loss, clamped to 2 sigma, maps linearly onto 1 to 4, of which a
    quarter is taken: from 0.25 for the easiest to 1 for the hardest and for those never seen. All
        weigh 1 until 4 samples were seen.
    """
    counts = np.isfinite(losses).sum(axis=1)  # (N,)
    seen = counts > 0
    if seen.sum() < MIN_SEEN:
        return np.ones(len(losses))
    means = np.where(seen, np.nansum(losses, axis=1) / np.maximum(counts, 1), np.inf)
    center = means[seen].mean()
    spread = means[seen].std(ddof=1) + min(abs(center * 1e-6), 1e-6)
    score = np.clip((means - center) / max(spread, 1e-30), -SIGMA, SIGMA)
    hardness = (score + SIGMA) / (2 * SIGMA)  # (N,) 0..1
    return np.clip(hardness * MAX_RATIO + 1, 1, MAX_RATIO) / MAX_RATIO


def draw_order(
    num_draws: int,
    *,
    num_samples: int,
    weights: np.ndarray | None,
    excluded: Collection[int],
    seed: int,
    epoch: int,
) -> np.ndarray:
    """The samples of an epoch, (num_draws,) int64, in the order in which they are learned from.

    weights (N,): draw with replacement by these. None: shuffled passes over all samples, each once
    per pass.
    excluded: samples that can't be read; at least one must be left.
    """
    generator = generator_for(seed, "order", epoch)
    usable = np.delete(np.arange(num_samples, dtype=np.int64), sorted(excluded))
    if weights is None:
        passes = -(-num_draws // len(usable))
        return np.concatenate([generator.permutation(usable) for _ in range(passes)])[:num_draws]
    chances = weights[usable] / weights[usable].sum()
    return generator.choice(usable, size=num_draws, p=chances)
