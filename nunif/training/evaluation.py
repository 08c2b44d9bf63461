"""Evaluation: metrics over a set, previews, and whether the run should stop."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from nunif.device import autocast
from nunif.errors import UserError
from nunif.files import make_folder, whole_file
from nunif.seed import derive_seed, seed_everything
from nunif.training.batches import Loader, to_device
from nunif.training.distributed import Group
from nunif.training.task import Draw, Task

Result = tuple[int, int, dict[str, float]]  # number of a batch, its samples, its metrics


@torch.no_grad()
def evaluate(
    task: Task,
    model: nn.Module,
    loader: Loader,
    *,
    num_samples: int,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None,
    group: Group,
    seed: int,
    report: Callable[[str], None],
    preview_folder: Path | None,
    preview_step: int,
    interrupted: Callable[[], bool],
) -> dict[str, float] | None:
    """The mean of every metric over the evaluation set, or None when `interrupted` said so.

    Every batch has its own seed, so the same weights score the same at any time and in any number
    of processes.
    preview_folder: where the preview of every `preview_step`-th batch goes.
    report: takes a line about a bad sample.

    Raises:
        UserError: no sample could be read.
    """
    numbers = range(-(-num_samples // batch_size))
    rounds = -(-len(numbers) // group.size)
    mine = range(group.rank, rounds * group.size, group.size)
    draws = [Draw(index, derive_seed(seed, "eval", index)) for index in range(num_samples)]
    # every process takes part in every round: beyond the end, batches are empty
    batches = [draws[number * batch_size : (number + 1) * batch_size] for number in mine]
    results: list[Result] = []
    told: list[str] = []
    was_training = model.training
    model.eval()
    try:
        for number, batch in zip(mine, loader.load(batches)):
            for _, name, reason in batch.bad:
                told.append(f"evaluation sample {name} is skipped: {reason}")
                if group.rank == 0:
                    report(told[-1])
            if batch.indices:
                seed_everything(derive_seed(seed, "eval batch", number))
                data = task.unpack(to_device(batch.data, device))
                with autocast(device, dtype):
                    output = task.eval_step(model, data)
                results.append((number, len(batch.indices), output.metrics))
                preview = output.preview if number % preview_step == 0 else None
                if preview_folder is not None and preview is not None:
                    write_picture(preview_folder / f"{number}.png", preview())
            if group.any(interrupted()):
                return None
    finally:
        model.train(was_training)
    parts = group.gather((results, told))
    if group.rank == 0:
        for line in dict.fromkeys(line for _, lines in parts[1:] for line in lines):
            report(line)
    return _means([result for part, _ in parts for result in part])


def _means(results: list[Result]) -> dict[str, float]:
    """The mean of every metric, added up in the order of the batches.

    Raises:
        UserError: there is no sample in them.
    """
    results = sorted(results, key=lambda result: result[0])
    if not results:
        raise UserError(
            "no sample of the evaluation set can be read: mend it, or train with --skip-eval"
        )
    return {
        name: _mean([(metrics[name], count) for _, count, metrics in results], name)
        for name in results[0][2]
    }


def _mean(values: list[tuple[float, int]], name: str) -> float:
    """Mean of values with their counts. A metric may be NaN where it has no meaning; the loss
    always has one."""
    if name != "loss":
        values = [(value, count) for value, count in values if not math.isnan(value)] or values
    return sum(value * count for value, count in values) / sum(count for _, count in values)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (H, W, 3) RGB as PNG, whole or not at all."""
    make_folder(path.parent)
    with whole_file(path) as file:
        Image.fromarray(picture).save(file, format="png")
