"""Where a run starts from: what it takes over, how its parts are put together, and what becomes of
the files of earlier runs."""

import glob
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nunif.device import AMP_DTYPES, Speed, has_bf16, keep_freed_memory
from nunif.errors import UserError
from nunif.files import locked, make_folder, remove_partials
from nunif.models import load_weights
from nunif.training import messages
from nunif.training import state as files
from nunif.training.batches import Loader
from nunif.training.distributed import Group
from nunif.training.ema import Ema
from nunif.training.launch import CHECKPOINT_SUFFIX, stopped_path
from nunif.training.logs import Journal, earlier_rows, log_file, read_rows
from nunif.training.optim import (
    Schedule,
    create_opponent_optimizer,
    create_optimizer,
    learning_rates,
)
from nunif.training.options import TrainerOptions
from nunif.training.rounds import find_rival, moved_aside
from nunif.training.run import Loaders, Trainer
from nunif.training.sampler import LossHistory
from nunif.training.state import State
from nunif.training.step import Engine
from nunif.training.task import Task

logger = logging.getLogger(__name__)

LOCK_SECONDS = 10  # until the loading processes of a killed training have ended too


def model_path(options: TrainerOptions, task: Task) -> Path:
    """The best model (with --skip-eval, the newest)."""
    return options.model_dir / f"{task.model.name}.pth"


def checkpoint_path(options: TrainerOptions, task: Task) -> Path:
    """What --resume continues from."""
    return options.model_dir / f"{task.model.name}{CHECKPOINT_SUFFIX}"


# --- what it takes over ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """The file that a run starts from, and whether it goes on with everything in it or takes only
    the weights."""

    path: Path
    content: dict[str, Any]
    resuming: bool


def read_origin(task: Task, options: TrainerOptions) -> Origin | None:
    """What the run starts from, read and checked; None for fresh weights."""
    if options.resume:
        path = checkpoint_path(options, task)
        content = files.read_training_checkpoint(
            path, task.model, optimizer_name=options.optimizer, reset_state=options.reset_state
        )
        return Origin(path, content, resuming=not options.reset_state)
    if options.checkpoint_file is not None:
        path = Path(options.checkpoint_file)
        return Origin(path, files.read_weights_file(path, task.model), resuming=False)
    return None


# --- its parts ------------------------------------------------------------------------------------


def create_schedule(options: TrainerOptions, group: Group, num_samples: int) -> Schedule:
    """The schedule of a run over a training set of so many samples."""
    rates = learning_rates(
        options.max_epoch,
        scheduler=options.scheduler if options.uses_schedule else None,
        peak=options.learning_rate,
        minimum=options.learning_rate_cosine_min,
        cycles=options.learning_rate_cycles,
        decay=options.learning_rate_decay,
        decay_step=options.learning_rate_decay_step,
    )
    return Schedule(
        epoch_rates=rates,
        num_draws=options.draws_per_epoch(num_samples),
        window_records=options.records_per_update(group.size),
        # an optimizer without a schedule warms up by itself
        warmup_epochs=options.warmup_epoch if options.uses_schedule else 0,
    )


def precision_of(
    options: TrainerOptions, device: torch.device, training: dict[str, Any] | None = None
) -> torch.dtype | None:
    """What autocast computes in; None for full precision.

    training: the state that the run goes on with: unless told otherwise, in the precision it had.

    Raises:
        UserError: the GPU does not have it.
    """
    if device.type != "cuda" or options.disable_amp:
        return None
    if options.amp_float is None:
        was_fp16 = training is not None and bool(training["scaler"])  # which alone is scaled
        return torch.bfloat16 if has_bf16(device) and not was_fp16 else torch.float16
    dtype = AMP_DTYPES[options.amp_float]
    if dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise UserError("--amp-float bf16: this GPU does not have it; use fp16 or --disable-amp")
    return dtype


def create_engine(
    task: Task,
    options: TrainerOptions,
    group: Group,
    device: torch.device,
    num_draws: int,
    training: dict[str, Any] | None = None,
) -> Engine:
    """What makes the updates of a model that is on the device already. num_draws: samples of an
    epoch. training: see `precision_of`."""
    dtype = precision_of(options, device, training)
    speed = Speed.of(device, dtype, same_shapes=task.same_shapes)
    speed.apply()
    if speed.channels_last:
        task.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    windows = math.ceil(num_draws / options.records_per_update(group.size))
    optimizer = create_optimizer(
        options.optimizer,
        task.model,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        betas=(options.adam_beta1, options.adam_beta2),
        momentum=options.momentum,
        warmup_updates=options.warmup_epoch * windows,
        rate_factor=task.rate_factor,
        fused=speed.fused,
    )
    opponent_optimizer = None
    if task.opponent is not None:
        opponent_optimizer = create_opponent_optimizer(
            task.opponent, options.learning_rate, fused=speed.fused
        )
    averages = options.ema_model and options.uses_schedule
    return Engine(
        model=task.model,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(
            "cuda" if device.type == "cuda" else "cpu", enabled=dtype is torch.float16
        ),
        ema=Ema(task.model, options.ema_decay) if averages else None,
        group=group,
        device=device,
        dtype=dtype,
        clip_grad_norm=options.clip_grad_norm,
        opponent=task.opponent,
        opponent_optimizer=opponent_optimizer,
    )


def open_loaders(task: Task, options: TrainerOptions, device: torch.device) -> Loaders:
    """The loaders of both sets."""
    load = partial(
        Loader,
        collate=task.collate,
        num_workers=options.loader_processes(),
        pin_memory=device.type == "cuda",
    )
    eval_set = None if options.skip_eval else task.eval_set
    return Loaders(load(task.train_set), None if eval_set is None else load(eval_set))


def open_trainer(
    task: Task, options: TrainerOptions, group: Group, device: torch.device, origin: Origin | None
) -> Trainer:
    """Put the parts together, put back what there is to resume, and make room for the files of a
    new round."""
    check_sets(task, options, group.size)
    place_networks(task, group, device, origin)
    num_samples = len(task.train_set)
    schedule = create_schedule(options, group, num_samples)
    training = origin.content["training"] if origin is not None and origin.resuming else None
    engine = create_engine(task, options, group, device, schedule.num_draws, training)
    history = LossHistory(task.sample_keys())
    state = State(rounds=files.rounds_of(origin.content) if origin and options.resume else [])
    if origin is not None and origin.resuming:
        state = files.restore(origin.content, origin.path, task, engine, history)
    state.yardstick = state.yardstick or task.yardstick()
    loaders = open_loaders(task, options, device)
    trainer = Trainer(task, options, schedule, engine, history, state, loaders)
    if trainer.writes:
        _prepare_folder(trainer, origin)
    return trainer


def _prepare_folder(trainer: Trainer, origin: Origin | None) -> None:
    """Tell of the start, and let what earlier runs left be out of the way."""
    task, options, state = trainer.task, trainer.options, trainer.state
    if origin is not None and origin.resuming:
        messages.tell_resumption(state, options, origin.content, trainer.group.size)
    else:
        move_old_files_aside(options, task)
    remove_half_written(options, task)
    stopped_path(options).unlink(missing_ok=True)
    num_eval = None if trainer.loaders.eval is None else len(trainer.loaders.eval.samples)
    messages.tell_start(task, options, trainer.engine, trainer.schedule, num_eval)
    if origin is not None and not origin.resuming:
        logger.info("weights from %s", origin.path)
    if trainer.loaders.eval is not None:
        trainer.rival = find_rival(state.rounds, state.yardstick, model_path(options, task))
    table = options.model_dir / "loss.csv"
    trainer.journal = Journal(
        options.model_dir,
        read_rows(table, up_to_epoch=state.epochs_done),
        tensorboard=not options.disable_tensorboard,
        first_epoch=state.epochs_done + 1,
        earlier=earlier_rows(moved_aside(table), [each.epochs for each in state.rounds]),
    )


def check_sets(task: Task, options: TrainerOptions, num_processes: int = 1) -> None:
    """
    Raises:
        UserError: there is nothing to learn from, or nothing to evaluate by, or not enough for so
            many processes.
    """
    if len(task.train_set) == 0:
        raise UserError("the training set is empty: there is nothing to learn from")
    num_draws = options.draws_per_epoch(len(task.train_set))
    if num_draws < num_processes:
        raise UserError(
            f"{num_processes} processes, and {num_draws} samples an epoch: start fewer processes, "
            "or draw more with --num-samples"
        )
    if not options.skip_eval and not (task.eval_set is not None and len(task.eval_set)):
        raise UserError(
            "the evaluation set is empty: move some samples into it, or add --skip-eval"
        )


def place_networks(task: Task, group: Group, device: torch.device, origin: Origin | None) -> None:
    """Bring the networks to the device, with the weights to start from, the same in all
    processes."""
    if device.type == "cpu":
        keep_freed_memory()
    model = task.model.to(device)
    model.train()
    if origin is not None and not origin.resuming:
        load_weights(model, origin.content["state_dict"], source=origin.path)
    group.copy_from_first(list(model.state_dict().values()))
    if task.opponent is not None:
        task.opponent.to(device).train()
        group.copy_from_first(list(task.opponent.state_dict().values()))


# --- its folder -----------------------------------------------------------------------------------


@contextmanager
def writing_into(folder: Path, group: Group) -> Iterator[None]:
    """Make the folder, keep a second training out of it, and log into it; in rank 0 only."""
    if group.rank > 0:
        with log_file(folder / "train.log", quiet=True):
            yield
        return
    make_folder(folder)
    busy = f"another training is writing into {folder}"
    advice = "wait for its end, or choose another --model-dir"
    with locked(folder / ".lock", busy=busy, seconds=LOCK_SECONDS, advice=advice):
        with log_file(folder / "train.log", quiet=False):
            yield


def move_old_files_aside(options: TrainerOptions, task: Task) -> None:
    """Nothing that an earlier round left is written over.

    The checkpoint of a round that goes on with --reset-state also stays where it is until there is
    another, so that the same command works again after a kill in between.
    """
    checkpoint = checkpoint_path(options, task)
    models = [model_path(options, task), *files.kept_checkpoints(checkpoint).values(), checkpoint]
    for path in [options.model_dir / "loss.csv", *models]:
        stem, suffix = path.stem, ".csv" if path.suffix == ".csv" else ".pth.bk"
        stays = options.resume and path == checkpoint
        moved = files.move_aside(path, partial(_stamped, stem, suffix), stays=stays)
        if moved is not None:
            logger.info("%s of an earlier run is kept as %s", path.name, moved.name)


def _stamped(stem: str, suffix: str, stamp: str) -> str:
    return f"{stem}.{stamp}{suffix}"


def remove_half_written(options: TrainerOptions, task: Task) -> None:
    """Remove what killed runs left half-written: every one of them leaves another name, and
    checkpoints are large."""
    name = glob.escape(task.model.name)
    remove_partials(options.model_dir, f"*-{name}.*", "*-loss.*")
    remove_partials(options.model_dir / "eval", "*.png")
    for folder in (options.model_dir / "epoch").glob("*"):
        remove_partials(folder, f"*-{name}.*")
