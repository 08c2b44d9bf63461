"""Updates as the trainer makes them: its own forward, loss, backward and optimizer step, in its own
precision."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.clock import NO_TIME, share_of, synchronize
from benchmarks.gpu.frames import SIZES
from benchmarks.inputs import render_records
from benchmarks.setting import Setting
from inpaint.curriculum import DataFolder
from inpaint.options_train import TrainOptions
from inpaint.task import VideoInpaintTask, create_task
from nunif.models import create_model
from nunif.seed import derive_seed, seed_everything
from nunif.timing import spread
from nunif.training.batches import Batch
from nunif.training.distributed import Group
from nunif.training.start import create_engine
from nunif.training.step import Engine
from nunif.training.task import Draw
from nunif.training.window import Window

CLIP, RECORDS = 12, 4
SINGLE, LARGER = 1, (16, 4)  # clips of an update; of the larger the first that fits
WARM_UP, LEAST, MOST = 2, 2, 30  # updates before any counts, at least, at most

Rows = list[dict[str, Any]]


def measure_updates(setting: Setting, *, until: float) -> Iterator[Rows]:
    """A row for each network with one clip, and with the most that fit; grows from row to row.

    On the CPU only with one: there nothing says that more do not fit before the machine swaps.
    """
    data = setting.scratch / "updates"
    render_records(
        data / "train", range(RECORDS), num_frames=CLIP, size=(setting.card.tile, setting.card.tile)
    )
    batches = [(SINGLE,), LARGER] if setting.device.type == "cuda" else [(SINGLE,)]
    cells = [(name, sizes) for name in setting.models or SIZES for sizes in batches]
    rows: Rows = []
    for number, (name, sizes) in enumerate(cells):
        deadline = share_of(until, left=len(cells) - number)
        if deadline is None:
            rows.append({"what": name, "batch": sizes[0], "failed": NO_TIME})
        else:
            measure = partial(time_updates, name, data=data, setting=setting, until=deadline)
            rows += until_one_fits(sizes, measure, what=name)
        yield rows


def until_one_fits(
    sizes: Sequence[int], measure: Callable[[int], dict[str, Any]], *, what: str
) -> Rows:
    """The row of the first size whose measuring does not run out of memory, behind one for each
    that does."""
    rows: Rows = []
    for size in sizes:
        try:
            return [*rows, measure(size)]
        except torch.OutOfMemoryError:
            rows.append({"what": what, "batch": size, "failed": "out of memory"})
        # behind the block: the error holds on to what was computed
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return rows


def time_updates(
    name: str, batch_size: int, *, data: Path, setting: Setting, until: float
) -> dict[str, Any]:
    """One network: updates of the same batch until the time is up."""
    options = TrainOptions(
        model_dir=setting.scratch,
        data_dir=data,
        video=True,
        clip_length=CLIP,
        tile_size=str(setting.card.tile),
        mask="object",
        batch_size=batch_size,
        backward_step=1,
        skip_eval=True,
        gpu=setting.gpu,
    )
    engine, task = prepare_training(name, options, setting.device)
    draws = [Draw(place % RECORDS, seed=place) for place in range(batch_size)]
    batch = Batch(
        task.collate([task.train_set[draw] for draw in draws]), [draw.index for draw in draws]
    )
    if setting.device.type == "cuda":
        batch = batch.pin_memory()
        torch.cuda.reset_peak_memory_stats(setting.device)
    taken: list[float] = []
    for seconds in updates(engine, task, repeat(batch), batch_size=batch_size):
        taken.append(seconds)
        if len(taken) >= WARM_UP + LEAST and (
            time.monotonic() > until or len(taken) == WARM_UP + MOST
        ):
            break
    milliseconds = spread([1000 * seconds for seconds in taken[WARM_UP:]])
    peak = (
        torch.cuda.max_memory_allocated(setting.device) / 1e6
        if setting.device.type == "cuda"
        else None
    )
    return {
        "what": name,
        "batch": batch_size,
        "updates": len(taken) - WARM_UP,
        "update_ms": milliseconds,
        "clips_per_second": 1000 * batch_size / milliseconds["median"],
        "gpu_mb": peak,
    }


def prepare_training(
    name: str, options: TrainOptions, device: torch.device
) -> tuple[Engine, VideoInpaintTask]:
    """A network with fresh weights, its samples, and what updates it, as the trainer starts."""
    assert options.data_dir is not None
    seed_everything(options.seed)
    task = create_task(create_model(f"inpaint.{name}"), [DataFolder(options.data_dir)], options)
    task.model.to(device).train()
    return create_engine(
        task, options, Group(), device, options.draws_per_epoch(len(task.train_set))
    ), task


def updates(
    engine: Engine, task: VideoInpaintTask, batches: Iterable[Batch], *, batch_size: int
) -> Iterator[float]:
    """Make an update of every batch; seconds from one to the next, so that waiting for a batch
    counts."""
    mark = time.perf_counter()
    for place, batch in enumerate(batches):
        window = Window()
        seed = derive_seed("benchmark-update", place)
        engine.learn(task, batch, window, place=place, seed=seed, nominal_records=batch_size)
        engine.update(window, nominal_records=batch_size)
        synchronize(engine.device)
        now = time.perf_counter()
        yield now - mark
        mark = now
