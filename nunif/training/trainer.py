"""The loop: epochs, windows, evaluation, files and resuming, for any task of `task.py`."""

import glob
import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nunif import options as options_module
from nunif.device import AMP_DTYPES, keep_freed_memory
from nunif.errors import UserError
from nunif.files import copy_whole, locked, make_folder, remove_partials
from nunif.models import load_weights, save_model
from nunif.seed import derive_seed
from nunif.training import state as files
from nunif.training.batches import Loader, lack_of
from nunif.training.distributed import Group, join_group
from nunif.training.ema import Ema, evaluation_weights
from nunif.training.evaluation import evaluate
from nunif.training.interruption import Interruption
from nunif.training.logs import Journal, log_file, read_rows
from nunif.training.optim import (
    create_opponent_optimizer,
    create_optimizer,
    learning_rates,
    set_learning_rate,
    warmup_factor,
)
from nunif.training.options import TrainerOptions
from nunif.training.sampler import LossHistory, draw_order
from nunif.training.state import EpochState, State
from nunif.training.step import Engine, Window
from nunif.training.task import Draw, Task, opponent_of

logger = logging.getLogger(__name__)

CHECKPOINT_SUFFIX = ".checkpoint.pth"  # behind the model's name
CHECKPOINT_SECONDS = 600  # in a long epoch, a checkpoint at least this often: no kill loses more
LOCK_SECONDS = 10  # until the loading processes of a killed training have ended too
MAX_NON_FINITE = 100  # batches of the run, and of an epoch: a quarter, though at least 20
MAX_NON_FINITE_SHARE, MIN_NON_FINITE_PER_EPOCH = 0.25, 20


@dataclass(frozen=True)
class TrainResult:
    """How a run ended. metrics: of the last evaluation in it, empty without one."""

    epochs_done: int
    best_loss: float | None
    best_epoch: int | None
    metrics: dict[str, float]
    model_path: Path
    checkpoint_path: Path


@dataclass
class Run:
    """A run in progress: the parts, wired once, and the state that moves."""

    task: Task
    options: TrainerOptions
    engine: Engine
    history: LossHistory
    state: State
    rates: list[float]  # of each epoch
    num_draws: int  # per epoch
    train_loader: Loader
    eval_loader: Loader | None
    journal: Journal | None  # in the process that writes
    interruption: Interruption
    saved_at: float
    # samples reported as not finite, and lines on unreadable samples of the evaluation
    named: set[int | str]

    def close(self) -> None:
        """End the worker processes and finish the curve and the events."""
        for loader in (self.train_loader, self.eval_loader):
            if loader is not None:
                loader.close()
        if self.journal is not None:
            self.journal.close()

    @property
    def group(self) -> Group:
        return self.engine.group

    @property
    def nominal_records(self) -> int:
        """Records of a full window, in all processes."""
        return self.options.batch_size * self.options.backward_step * self.group.size

    @property
    def warmup_updates(self) -> int:
        return self.options.warmup_epoch * math.ceil(self.num_draws / self.nominal_records)

    def rate(self, position: int) -> float:
        """The learning rate of the update whose window starts at a place in the present epoch."""
        rate = self.rates[self.state.epochs_done]
        if not self.options.uses_schedule:
            return rate  # it warms up by itself
        windows = self.state.epochs_done * math.ceil(self.num_draws / self.nominal_records)
        return rate * warmup_factor(windows + position // self.nominal_records, self.warmup_updates)


def model_path(options: TrainerOptions, task: Task) -> Path:
    """The best model (with --skip-eval, the newest)."""
    return options.model_dir / f"{task.model.name}.pth"


def checkpoint_path(options: TrainerOptions, task: Task) -> Path:
    """What --resume continues from."""
    return options.model_dir / f"{task.model.name}{CHECKPOINT_SUFFIX}"


def train(task: Task, options: TrainerOptions) -> TrainResult:
    """Train the task's model to the end of the run.

    Under torchrun (WORLD_SIZE > 1) every process calls this with the same task and options; batches
    are shared out, gradients added up, and rank 0 writes the files.

    Raises:
        UserError: nothing to resume from, a checkpoint that does not fit, unreadable data, losses
            that are not finite, a folder that can't be written or that another training is using.
        KeyboardInterrupt: on Ctrl-C, SIGTERM or SIGUSR1, after a checkpoint from which --resume
            goes on exactly.
    """
    options_module.check(options)
    with join_group(options.gpu) as (group, device):
        origin = group.ask_first(lambda: _read_origin(task, options))
        if origin is not None and origin.resuming:
            state = State.from_state_dict(origin.content["training"]["state"])
            if state.epochs_done >= options.max_epoch:
                logger.info(
                    "all %d epochs are done, nothing to do: a larger --max-epoch goes on, "
                    "--reset-state starts a new round",
                    state.epochs_done,
                )
                return _result(task, options, state, {})
        with _writing_into(options.model_dir, group):
            run = _start(task, options, group, device, origin)
            del origin  # as large as the model, and more
            try:
                with run.interruption, logging_redirect_tqdm():
                    return _run_epochs(run)
            except RuntimeError as error:
                # torch tells of a loading process that was ended wherever we are when it happens
                lack = lack_of(error) if str(error).startswith("DataLoader worker") else None
                if lack is None:
                    raise
                raise UserError(lack) from error
            finally:
                run.close()


def _run_epochs(run: Run) -> TrainResult:
    metrics: dict[str, float] = {}
    started, first = time.monotonic(), run.state.epochs_done
    while run.state.epochs_done < run.options.max_epoch:
        if run.group.any(run.interruption.requested):
            _leave(run)
        if not _train_epoch(run):
            _leave(run)
        due = _evaluation_is_due(run)
        evaluated = _evaluate(run) if due else {}
        if evaluated is None:
            _leave(run)
        metrics = evaluated or metrics
        _finish_epoch(run, evaluated or {})
        per_epoch = (time.monotonic() - started) / (run.state.epochs_done - first)
        left = (run.options.max_epoch - run.state.epochs_done) * per_epoch
        if left and run.group.rank == 0:
            logger.info("  about %s left", _duration(left))
    if run.state.bad and run.group.rank == 0:
        names = _listing(list(dict.fromkeys(run.state.bad.values())))
        logger.warning(
            "%d of %d training samples were left out: %s",
            len(run.state.bad),
            len(run.task.train_set),
            names,
        )
    if run.group.any(run.interruption.requested):
        raise KeyboardInterrupt  # too late to stop anything here, but more may be about to come
    result = _result(run.task, run.options, run.state, metrics)
    if result.best_epoch is None and not run.options.skip_eval:
        logger.warning("no evaluation gave a finite loss, so there is no %s", result.model_path)
    return result


# --- start ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """The file that a run starts from, and whether it goes on with everything in it or takes only
    the weights."""

    path: Path
    content: dict[str, Any]
    resuming: bool


def _read_origin(task: Task, options: TrainerOptions) -> Origin | None:
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


@contextmanager
def _writing_into(folder: Path, group: Group) -> Iterator[None]:
    """Make the folder, keep a second training out of it, and log into it; in rank 0 only."""
    if group.rank > 0:
        with log_file(folder / "train.log", quiet=True):
            yield
        return
    make_folder(folder)
    busy, advice = (
        f"another training is writing into {folder}",
        "wait for its end, or choose another --model-dir",
    )
    with locked(folder / ".lock", busy=busy, seconds=LOCK_SECONDS, advice=advice):
        with log_file(folder / "train.log", quiet=False):
            yield


def _start(
    task: Task, options: TrainerOptions, group: Group, device: torch.device, origin: Origin | None
) -> Run:
    """Wire the parts, put back what there is to resume, and make room for the files of a new
    round."""
    num_samples = len(task.train_set)
    if num_samples == 0:
        raise UserError("the training set is empty: there is nothing to learn from")
    if not options.skip_eval and not (task.eval_set is not None and len(task.eval_set)):
        raise UserError(
            "the evaluation set is empty: move some samples into it, or add --skip-eval"
        )
    if device.type == "cpu":
        keep_freed_memory()
    model = task.model.to(device)
    model.train()
    if origin is not None and not origin.resuming:
        load_weights(model, origin.content["state_dict"], source=origin.path)
    group.copy_from_first(list(model.state_dict().values()))
    opponent = opponent_of(task)
    if opponent is not None:
        group.copy_from_first(list(opponent.to(device).train().state_dict().values()))
    num_draws = options.draws_per_epoch(num_samples)
    engine = create_engine(task, options, group, device, num_draws)
    history = LossHistory([task.sample_name(index) for index in range(num_samples)])
    state = State()
    if origin is not None and origin.resuming:
        state = files.restore(origin.content, origin.path, model, engine, history)
    processes = options.loader_processes()
    pin_memory = device.type == "cuda"
    train_loader = Loader(
        task.train_set, task.collate, num_workers=processes, pin_memory=pin_memory
    )
    eval_loader = None
    if not options.skip_eval and task.eval_set is not None:
        eval_loader = Loader(
            task.eval_set, task.collate, num_workers=processes, pin_memory=pin_memory
        )
    run = Run(
        task=task,
        options=options,
        engine=engine,
        history=history,
        state=state,
        rates=_rates(options),
        num_draws=num_draws,
        train_loader=train_loader,
        eval_loader=eval_loader,
        journal=None,
        interruption=Interruption(),
        saved_at=time.monotonic(),
        named=set(),
    )
    if group.rank == 0:
        if origin is not None and origin.resuming:
            _tell_resumption(run, origin.content)
        else:
            _move_old_files_aside(options, task)
        _remove_partials(options, task)
        _tell_start(run)
        if origin is not None and not origin.resuming:
            logger.info("weights from %s", origin.path)
        rows = read_rows(options.model_dir / "loss.csv", up_to_epoch=state.epochs_done)
        tensorboard = not options.disable_tensorboard
        run.journal = Journal(
            options.model_dir, rows, tensorboard=tensorboard, first_epoch=state.epochs_done + 1
        )
    if origin is None or not origin.resuming:
        _save_checkpoint(
            run
        )  # so that a run killed in its first epoch can be resumed, and a full disk shows now
    return run


def create_engine(
    task: Task, options: TrainerOptions, group: Group, device: torch.device, num_draws: int
) -> Engine:
    """What makes the updates of a model that is on the device already. num_draws: samples of an
    epoch."""
    dtype = (
        AMP_DTYPES[options.amp_float] if device.type == "cuda" and not options.disable_amp else None
    )
    if dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise UserError("--amp-float bf16: this GPU does not have it; use fp16 or --disable-amp")
    windows = math.ceil(num_draws / (options.batch_size * options.backward_step * group.size))
    optimizer = create_optimizer(
        options.optimizer,
        task.model,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        betas=(options.adam_beta1, options.adam_beta2),
        momentum=options.momentum,
        warmup_updates=options.warmup_epoch * windows,
    )
    opponent = opponent_of(task)
    return Engine(
        model=task.model,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(
            "cuda" if device.type == "cuda" else "cpu", enabled=dtype is torch.float16
        ),
        ema=Ema(task.model, options.ema_decay)
        if options.ema_model and options.uses_schedule
        else None,
        group=group,
        device=device,
        dtype=dtype,
        clip_grad_norm=options.clip_grad_norm,
        opponent=opponent,
        opponent_optimizer=create_opponent_optimizer(opponent, options.learning_rate)
        if opponent is not None
        else None,
    )


def _rates(options: TrainerOptions) -> list[float]:
    return learning_rates(
        options.max_epoch,
        scheduler=options.scheduler if options.uses_schedule else None,
        peak=options.learning_rate,
        minimum=options.learning_rate_cosine_min,
        cycles=options.learning_rate_cycles,
        decay=options.learning_rate_decay,
        decay_step=options.learning_rate_decay_step,
    )


def _move_old_files_aside(options: TrainerOptions, task: Task) -> None:
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


def _remove_partials(options: TrainerOptions, task: Task) -> None:
    """Remove what killed runs left half-written: every one of them leaves another name, and
    checkpoints are large."""
    name = glob.escape(task.model.name)
    remove_partials(options.model_dir, f"*-{name}.*", "*-loss.*")
    remove_partials(options.model_dir / "eval", "*.png")
    for folder in (options.model_dir / "epoch").glob("*"):
        remove_partials(folder, f"*-{name}.*")


def _tell_resumption(run: Run, content: dict[str, Any]) -> None:
    state, before = run.state, content.get("train_kwargs") or {}
    where = (
        f" after {state.epoch.position} of {len(state.epoch.order)} samples" if state.epoch else ""
    )
    logger.info("resuming in epoch %d%s", state.epochs_done + 1, where)
    if before.get("max_epoch", run.options.max_epoch) != run.options.max_epoch:
        logger.info(
            "the schedule now spans %d epochs (was %s)", run.options.max_epoch, before["max_epoch"]
        )
    for name, value in options_module.to_dict(run.options).items():
        if name in before and name not in run.options.UNREMARKABLE and before[name] != value:
            logger.warning(
                "--%s is %s from here on (was %s)", name.replace("_", "-"), value, before[name]
            )
    if content["training"]["world_size"] != run.group.size:
        logger.warning(
            "%d processes from here on (was %d)", run.group.size, content["training"]["world_size"]
        )
    if state.bad:
        logger.info(
            "left out as unreadable (--reset-state tries them again): %s",
            _listing(list(state.bad.values())),
        )


def _tell_start(run: Run) -> None:
    options, engine, model = run.options, run.engine, run.task.model
    for sentence in options.no_effect(on_cpu=engine.device.type == "cpu"):
        logger.warning(sentence)
    where = (
        torch.cuda.get_device_name(engine.device)
        if engine.device.type == "cuda"
        else engine.device.type
    )
    precision = {None: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[engine.dtype]
    logger.info(
        "%s, %s parameters, on %s x %d in %s",
        model.name,
        f"{model.num_parameters:,}",
        where,
        run.group.size,
        precision,
    )
    logger.info(
        "%d samples to train on (%d draws per epoch, %d updates), %s to evaluate; %d epochs, %s, "
        "seed %d",
        len(run.task.train_set),
        run.num_draws,
        math.ceil(run.num_draws / run.nominal_records),
        "none" if run.eval_loader is None else len(run.task.eval_set),  # type: ignore[arg-type]
        options.max_epoch,
        options.optimizer,
        options.seed,
    )


# --- one epoch ------------------------------------------------------------------------------------


def _train_epoch(run: Run) -> bool:
    """Train what is left of the epoch; False when the run was interrupted."""
    options, state, group = run.options, run.state, run.group
    if state.epoch is None:
        weights = None if options.disable_hard_example else run.history.weights()
        state.epoch = EpochState(
            draw_order(
                run.num_draws,
                num_samples=len(run.task.train_set),
                weights=weights,
                excluded=state.bad,
                seed=options.seed,
                epoch=state.epochs_done + 1,
            )
        )
    epoch, number = state.epoch, state.epochs_done + 1
    total = len(epoch.order)
    starts = range(
        epoch.position + group.rank * options.batch_size, total, options.batch_size * group.size
    )
    num_batches = math.ceil((total - epoch.position) / (options.batch_size * group.size))
    plan = [_draws(run, start) for start in starts]
    plan += [[] for _ in range(num_batches - len(plan))]  # every process takes part in every window
    window, mark = Window(), time.monotonic()
    with _bar(run, total=total, done=epoch.position) as bar:
        for place, batch in enumerate(run.train_loader.load(plan)):
            start = epoch.order.size if place >= len(starts) else starts[place]
            seed = derive_seed(options.seed, "batch", number, start)
            run.engine.learn(
                run.task, batch, window, place=start, seed=seed, nominal_records=run.nominal_records
            )
            if (place + 1) % options.backward_step and place + 1 < num_batches:
                continue
            window.stop = run.interruption.requested
            rate = run.rate(epoch.position)
            if options.uses_schedule:
                set_learning_rate(run.engine.optimizer, rate)
                if run.engine.opponent_optimizer is not None:
                    set_learning_rate(run.engine.opponent_optimizer, rate)
            whole = run.engine.update(window, nominal_records=run.nominal_records)
            done = min(total, epoch.position + run.nominal_records)
            now = time.monotonic()
            _account(run, whole, position=done, seconds=now - mark)
            window, mark = Window(), now
            bar.update(done - bar.n)
            bar.set_postfix(
                loss=f"{epoch.loss_sum / max(epoch.records, 1):.4g}",
                lr=f"{rate:.2g}",
                refresh=False,
            )
            if whole.stop:
                return False
            if now - run.saved_at > CHECKPOINT_SECONDS:
                _save_checkpoint(run)
                mark = time.monotonic()
    if epoch.records == 0 and epoch.non_finite and not options.ignore_nan:
        raise UserError(f"no batch of epoch {number} gave a finite loss: {_advice(run)}")
    return True


def _bar(run: Run, *, total: int, done: int) -> tqdm:
    title = f"epoch {run.state.epochs_done + 1}/{run.options.max_epoch}"
    # disable=None leaves the bar out where nobody sees it move (a pipe, a log file)
    hidden = True if run.group.rank > 0 else None
    return tqdm(
        total=total,
        initial=done,
        desc=title,
        unit="rec",
        leave=False,
        dynamic_ncols=True,
        disable=hidden,
    )


def _draws(run: Run, start: int) -> list[Draw]:
    """The draws of the batch that starts at a place in the epoch; the seeds follow from the places
    alone."""
    number, order, options = run.state.epochs_done + 1, run.state.epoch.order, run.options  # type: ignore[union-attr]
    places = range(start, min(start + options.batch_size, len(order)))
    return [
        Draw(int(order[place]), derive_seed(options.seed, "draw", number, place))
        for place in places
    ]


def _account(run: Run, window: Window, *, position: int, seconds: float) -> None:
    """Enter a finished window into the state and the history, and tell of what was wrong in it."""
    state, task = run.state, run.task
    epoch = state.epoch
    assert epoch is not None
    epoch.position = position
    epoch.records += window.records
    epoch.loss_sum += window.loss_sum
    for name, value in window.part_sums.items():
        epoch.part_sums[name] = epoch.part_sums.get(name, 0.0) + value
    epoch.updates += window.updated
    epoch.skipped += window.skipped
    epoch.seconds += seconds
    epoch.non_finite += len(window.non_finite)
    state.updates += window.updated
    state.non_finite += len(window.non_finite)
    run.history.record(
        [index for _, index, _ in window.losses], [loss for _, _, loss in window.losses]
    )
    for index, name, reason in window.bad:
        # one record may be several samples, and bad in several ways
        if run.group.rank == 0 and not any(
            known.startswith(f"{name}: ") for known in state.bad.values()
        ):
            logger.warning("training sample %s is left out: %s", name, reason)
        state.bad.setdefault(index, f"{name}: {reason}")
    if len(state.bad) > run.options.max_bad_share * len(task.train_set):
        raise UserError(
            f"{len(state.bad)} of {len(task.train_set)} training samples can't be read: mend or "
            "remove them, or allow more "
            f"with --max-bad-share ({_listing(list(dict.fromkeys(state.bad.values())))})"
        )
    news = dict.fromkeys(
        index for batch in window.non_finite for index in batch if index not in run.named
    )
    run.named.update(news)
    where = f"epoch {state.epochs_done + 1}, {position} of {len(epoch.order)} samples"
    if news and run.group.rank == 0:
        logger.warning("%s: not finite, nothing learned from: %s", where, _names(run, news))
    if window.broken is not None:
        learned = _names(run, dict.fromkeys(index for _, index, _ in window.losses))
        raise files.not_finite(
            window.broken, f" after update {state.updates} ({where}), learned from {learned}"
        )
    limit = max(
        MIN_NON_FINITE_PER_EPOCH,
        MAX_NON_FINITE_SHARE * math.ceil(len(epoch.order) / run.options.batch_size),
    )
    too_many = state.non_finite > MAX_NON_FINITE or epoch.non_finite > limit
    if window.non_finite and too_many and not run.options.ignore_nan:
        raise UserError(
            f"{epoch.non_finite} batches of epoch {state.epochs_done + 1} and {state.non_finite} "
            "of the run "
            f"were not finite, the last after update {state.updates} ({where}), of "
            f"{_names(run, dict.fromkeys(window.non_finite[-1]))}: {_advice(run)}"
        )


def _names(run: Run, indices: Iterable[int]) -> str:
    return _listing([run.task.sample_name(index) for index in indices])


def _advice(run: Run) -> str:
    half = "--amp-float bf16 or " if run.engine.dtype is torch.float16 else ""
    return (
        f"use {half}a lower --learning-rate or --clip-grad-norm 1, or --ignore-nan; the last "
        "checkpoint is unharmed"
    )


def _tell_once(run: Run, text: str) -> None:
    if text not in run.named:
        run.named.add(text)
        logger.warning("%s", text)


def _evaluation_is_due(run: Run) -> bool:
    number = run.state.epochs_done + 1
    return run.eval_loader is not None and (
        number % run.options.eval_step == 0 or number == run.options.max_epoch
    )


def _evaluate(run: Run) -> dict[str, float] | None:
    """The metrics of the evaluation weights; None when the run was interrupted."""
    engine, options, began = run.engine, run.options, time.monotonic()
    assert (
        run.eval_loader is not None
        and run.task.eval_set is not None
        and run.state.epoch is not None
    )
    with evaluation_weights(engine.model, engine.optimizer, engine.ema):
        metrics = evaluate(
            run.task,
            engine.model,
            run.eval_loader,
            num_samples=len(run.task.eval_set),
            batch_size=options.batch_size,
            device=engine.device,
            dtype=engine.dtype,
            group=run.group,
            seed=options.seed,
            report=lambda text: _tell_once(run, text),
            preview_folder=options.model_dir / "eval" if run.group.rank == 0 else None,
            preview_step=options.save_eval_step,
            interrupted=lambda: run.interruption.requested,
        )
    if metrics is not None:
        run.state.epoch.seconds += time.monotonic() - began
    return metrics


def _finish_epoch(run: Run, metrics: dict[str, float]) -> None:
    """Write everything of the epoch, the checkpoint last: whatever a kill leaves, --resume does the
    rest over."""
    state, options, epoch = run.state, run.options, run.state.epoch
    assert epoch is not None
    number, rate = state.epochs_done + 1, run.rate(len(epoch.order) - 1)
    row: dict[str, float | int | None] = {
        "epoch": number,
        "learning_rate": rate,
        "train_loss": epoch.loss_sum / epoch.records if epoch.records else None,
        **{
            f"train_{name}": value / epoch.records
            for name, value in epoch.part_sums.items()
            if epoch.records
        },
        **{f"eval_{name}": value for name, value in metrics.items()},
        "updates": epoch.updates,
        "skipped": epoch.skipped,
        "seconds": round(epoch.seconds, 1),
    }
    best = files.is_better(metrics["loss"], state.best_loss) if metrics else False
    if best:
        state.best_loss, state.best_epoch = metrics["loss"], number
    state.epochs_done, state.epoch = number, None
    if run.journal is None:
        return
    weights = files.snapshot(run.engine)
    files.check_finite(weights)
    extra = {
        "state_dict": weights,
        "epoch": number,
        "metrics": metrics,
        "train_kwargs": options_module.to_dict(options),
    }
    if best or options.skip_eval:
        save_model(run.task.model, model_path(options, run.task), **extra)
    if options.save_epoch:
        folder = make_folder(options.model_dir / "epoch" / str(number))
        save_model(run.task.model, folder / f"{run.task.model.name}.pth", **extra)
    run.journal.add(row)
    _save_checkpoint(run, weights)
    measured = {
        name: value
        for name, value in row.items()
        if name.startswith(("train_", "eval_")) and value is not None
    }
    shown = ", ".join(
        f"{name.replace('_', ' ', 1)} {value:.6g}" for name, value in measured.items()
    )
    logger.info(
        "epoch %d/%d: %s, lr %.3g, %s",
        number,
        options.max_epoch,
        shown,
        rate,
        _duration(epoch.seconds),
    )
    if best:
        logger.info("  * best model updated")


# --- stop -----------------------------------------------------------------------------------------


def _save_checkpoint(run: Run, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Write the checkpoint, in rank 0."""
    run.saved_at = time.monotonic()
    if run.group.rank > 0:
        return
    if weights is None:
        weights = files.snapshot(run.engine)
        files.check_finite(weights)
    checkpoint, kept = checkpoint_path(run.options, run.task), None
    if run.options.keep_checkpoints and run.state.epochs_done and run.state.epoch is None:
        kept = files.kept_path(checkpoint, run.state.epochs_done)
    files.save_checkpoint(
        kept or checkpoint,
        run.task.model,
        run.engine,
        weights,
        run.history,
        run.state,
        optimizer_name=run.options.optimizer,
        train_kwargs=options_module.to_dict(run.options),
    )
    if kept is not None:
        copy_whole(kept, checkpoint)
        files.remove_oldest(
            checkpoint, keep=run.options.keep_checkpoints, epoch=run.state.epochs_done
        )


def _leave(run: Run) -> None:
    """Save a checkpoint and raise KeyboardInterrupt."""
    _save_checkpoint(run)
    epoch = run.state.epoch
    where = f" after {epoch.position} of {len(epoch.order)} samples" if epoch else ""
    if run.group.rank == 0:
        logger.info(
            "stopped in epoch %d%s: --resume goes on from there", run.state.epochs_done + 1, where
        )
    raise KeyboardInterrupt


def _result(
    task: Task, options: TrainerOptions, state: State, metrics: dict[str, float]
) -> TrainResult:
    return TrainResult(
        epochs_done=state.epochs_done,
        best_loss=state.best_loss,
        best_epoch=state.best_epoch,
        metrics=metrics,
        model_path=model_path(options, task),
        checkpoint_path=checkpoint_path(options, task),
    )


def _listing(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
