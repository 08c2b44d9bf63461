"""A run of the recipe `fusion` (inpaint/recipes) that is over when its time is.

First some updates are made and forgotten, for their pace: it tells how many fit into the time, and
    so how long the
schedule is, which falls to its end whatever the card is worth. A pace that was judged too high is
made good for by a signal, SIGUSR1 as from a cluster, at which the trainer stops with a checkpoint.
It also writes the weights after every
epoch: whatever ends the program, `gpu-training/` holds weights that can be used.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.updates import prepare_training, updates
from benchmarks.inputs import render_records
from benchmarks.setting import Setting
from inpaint.curriculum import DataFolder, read_arch, read_stages
from inpaint.options_run import full_name
from inpaint.options_train import TrainOptions, parse_tile
from inpaint.train import train_model
from nunif.errors import UserError
from nunif.models import read_checkpoint, save_model
from nunif.models.fit import create_model_of
from nunif.training.batches import Loader
from nunif.training.logs import read_rows
from nunif.training.start import CHECKPOINT_SUFFIX
from nunif.training.task import Draw

RECIPE, FOLDER = "fusion", "gpu-training"
# seeds of scenes to learn from; as many as there is time for, and the first four
RENDERED = range(1000, 1096)
# records; frames and pixels of a record beyond those that are read of it
FEWEST, SPARE_FRAMES, SPARE = (
    4,
    4,
    32,
)
RENDERING, PACING = 0.05, 0.06  # of the time
LEAST = 3  # updates of which the pace is measured
# of the time that is left, for updates: epochs end with files, and a pace may be wrong
PLANNED = 0.9
EPOCHS = 20  # steps of the schedule
STOP = getattr(signal, "SIGUSR1", signal.SIGTERM)


def render_scenes(folder: Path, options: TrainOptions, *, until: float) -> None:
    """Records to train on, a little larger and longer than what is drawn of them."""
    height, width = parse_tile(options.tile_size)
    length = options.stream_length or options.frames_per_draw
    render_records(
        folder,
        RENDERED,
        num_frames=length + SPARE_FRAMES,
        size=(height + SPARE, width + SPARE),
        least=FEWEST,
        until=until,
    )


def train_recipe(setting: Setting, *, until: float) -> Iterator[dict[str, Any]]:
    """What the run is about to be, then what it was: its row, its losses, and the name of the
    weights in the output folder."""
    begin = time.monotonic()
    time_left = max(until - begin, 0.0)
    options = TrainOptions(
        model_dir=setting.output / FOLDER,
        curriculum=RECIPE,
        data_dir=setting.scratch,
        gpu=setting.gpu,
    )
    (stage,), arch = read_stages(options), read_arch(options)
    assert arch is not None
    data = setting.card.data
    if data is None:
        data = setting.scratch / "scenes"
        render_scenes(data / "train", stage.options, until=begin + RENDERING * time_left)
    # the films judge: an evaluation of the trainer's would take of the time
    options = replace(
        stage.options,
        data_dir=data,
        batch_size=setting.card.batch_size,
        skip_eval=True,
        eval_step=1,
        disable_tensorboard=True,
    )
    pace, num_records = measure_pace(
        arch, options, setting, until=time.monotonic() + PACING * time_left
    )
    epochs, per_epoch = plan(until - time.monotonic(), pace)
    num_samples = per_epoch * options.batch_size * options.frames_per_draw
    options = replace(options, max_epoch=epochs, num_samples=num_samples)
    what = "rendered scenes" if setting.card.data is None else data.name
    row: dict[str, Any] = {
        "what": f"{arch} on {what}",
        "records": num_records,
        "batch": options.batch_size,
        "epochs": epochs,
    }
    facts: dict[str, Any] = {
        "rows": [row],
        "seconds_per_update": pace,
        "planned_updates": epochs * per_epoch,
    }
    yield facts
    weights = setting.output / f"{arch}.pth"
    checkpoint = options.model_dir / f"{full_name(arch)}{CHECKPOINT_SUFFIX}"
    began = time.monotonic()
    with stopped_after(until - began) as stopped:
        try:
            train_model(full_name(arch), [DataFolder(data)], options)
        except KeyboardInterrupt:
            if not stopped.is_set():  # somebody else wants an end, but the weights are worth having
                with suppress(UserError):  # not even begun
                    keep_weights(checkpoint, weights)
                raise
    state = keep_weights(checkpoint, weights)
    row |= {
        "updates": state["updates"], "seconds": round(time.monotonic() - began, 1),
        "stopped": "by the clock" if state["epochs_done"] < epochs else "at the schedule's end",
    }  # fmt: skip
    facts |= {
        "curve": read_rows(options.model_dir / "loss.csv", up_to_epoch=epochs),
        "weights": weights.name,
    }
    yield facts


def measure_pace(
    arch: str, options: TrainOptions, setting: Setting, *, until: float
) -> tuple[float, int]:
    """Seconds of an update with all that it waits for, of the later half of those that fit, and how
    many records there are."""
    engine, task = prepare_training(arch, options, setting.device)
    loader = Loader(
        task.train_set,
        task.collate,
        num_workers=options.loader_processes(),
        pin_memory=setting.device.type == "cuda",
    )
    size, count = options.batch_size, len(task.train_set)
    batches = [
        [Draw(place % count, seed=place) for place in range(start, start + size)]
        for start in range(0, 1000 * size, size)
    ]
    taken: list[float] = []
    try:
        for seconds in updates(engine, task, loader.load(batches), batch_size=size):
            taken.append(seconds)
            if len(taken) >= LEAST and time.monotonic() > until:
                break
    finally:
        loader.close()
    return float(np.mean(taken[len(taken) // 2 :])), count


def plan(seconds: float, pace: float) -> tuple[int, int]:
    """Epochs, and updates of an epoch, for so many seconds at so many seconds an update."""
    wanted = max(1, int(PLANNED * seconds / pace))
    epochs = min(EPOCHS, wanted)
    return epochs, wanted // epochs


@contextmanager
def stopped_after(seconds: float) -> Iterator[threading.Event]:
    """While the block runs, a training in it is told to stop once the time is up; the event tells
    whether it was.

    It is told again every second: one that is only starting does not listen yet.
    """
    stopped, over = threading.Event(), threading.Event()

    def tell() -> None:
        left = max(seconds, 0.0)
        while not over.wait(left):
            stopped.set()
            signal.raise_signal(STOP)
            left = 1.0

    before = signal.signal(STOP, lambda *_: None)  # for when no training is there to take it
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield stopped
    finally:
        over.set()
        teller.join()
        signal.signal(STOP, before)


def keep_weights(checkpoint: Path, path: Path) -> dict[str, Any]:
    """Write the weights of a checkpoint as a model file of their own; returns where the run
    stood."""
    content = read_checkpoint(checkpoint, package="inpaint")
    model = create_model_of(content, source=checkpoint)
    save_model(model, path, state_dict=content["state_dict"], train_kwargs=content["train_kwargs"])
    return content["training"]["state"]
