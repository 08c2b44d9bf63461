"""The loop: epochs, windows, evaluation, checkpoints and stopping, for any task of `task.py`.

`train` trains to the end. `watch` does the same step by step, for those who want to look on, or to
stop:

    for event in watch(task, options):
        if isinstance(event, WindowDone) and event.trainer.state.updates == 100:
            event.trainer.stop()
"""

import logging
import math
import time
from collections.abc import Generator
from contextlib import closing
from typing import NoReturn

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nunif import options as options_module
from nunif.errors import Stopped, UserError
from nunif.seed import derive_seed
from nunif.training import messages, start
from nunif.training import state as files
from nunif.training.batches import Batch, lack_of
from nunif.training.distributed import join_group
from nunif.training.ema import evaluation_weights
from nunif.training.evaluation import evaluate
from nunif.training.launch import agree, stopped_path
from nunif.training.optim import set_learning_rate
from nunif.training.options import TrainerOptions
from nunif.training.pace import Work, timed
from nunif.training.plan import new_epoch, plan
from nunif.training.run import (
    EpochDone,
    Event,
    Finished,
    Started,
    Trainer,
    TrainResult,
    WindowDone,
)
from nunif.training.saving import leave_checkpoint, mark_stopped, save_checkpoint, save_epoch
from nunif.training.start import checkpoint_path, model_path
from nunif.training.state import EpochState, State
from nunif.training.task import Task
from nunif.training.window import Window

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 600  # in a long epoch, a checkpoint at least this often: no kill loses more


def train(task: Task, options: TrainerOptions, *, later_epochs: float = 0.0) -> TrainResult:
    """Train the task's model to the end of the run.

    later_epochs: what comes after this run, counted in epochs of it; only for what is said of the
        time.

    Under torchrun (WORLD_SIZE > 1) every process calls this with the same task and options; batches
    are shared out, gradients added up, and rank 0 writes the files.

    Raises:
        UserError: nothing to resume from, a checkpoint that does not fit, unreadable data, losses
            that are not finite, a folder that can't be written or that another training is using.
        KeyboardInterrupt: on Ctrl-C, SIGTERM, SIGUSR1 or SIGUSR2, after a checkpoint from which
            --resume goes on exactly (`Stopped`).
    """
    with closing(watch(task, options, later_epochs=later_epochs)) as events:
        for event in events:
            if isinstance(event, Finished):
                return event.result
    raise AssertionError("a run without an end")


def watch(
    task: Task, options: TrainerOptions, *, later_epochs: float = 0.0
) -> Generator[Event, None, None]:
    """Train as `train` does, and pause after the start, every window and every epoch; the last
    event is Finished.

    Whoever leaves before the end (`close()`, which a `break` brings about as well) gets a
    checkpoint from which --resume goes on exactly. With several processes all have to leave at the
    same event; of `Trainer.stop`, one is enough. Arguments and errors: see `train`.
    """
    options_module.check(options)
    with join_group(options.gpu) as (group, device):
        options = agree(options, group)
        origin = group.ask_first(lambda: start.read_origin(task, options))
        if origin is not None and origin.resuming:
            state = State.from_state_dict(origin.content["training"]["state"])
            if state.epochs_done >= options.max_epoch:
                if group.rank == 0:
                    messages.tell_nothing_to_do(state.epochs_done)
                    stopped_path(options).unlink(missing_ok=True)
                yield Finished(_result(task, options, state, {}))
                return
        with start.writing_into(options.model_dir, group):
            trainer = start.open_trainer(task, options, group, device, origin)
            trainer.later_epochs = later_epochs
            if origin is None or not origin.resuming:
                # so that a run killed in its first epoch can be resumed, and a full disk shows now
                save_checkpoint(trainer)
            del origin  # as large as the model, and more
            try:
                with trainer.interruption, logging_redirect_tqdm():
                    result = yield from _run(trainer)
            except RuntimeError as error:
                # torch tells of a loading process that was ended wherever we are when it happens
                lack = lack_of(error) if str(error).startswith("DataLoader worker") else None
                if lack is None:
                    raise
                raise UserError(lack) from error
            finally:
                trainer.close()
    yield Finished(result)


def _run(trainer: Trainer) -> Generator[Event, None, TrainResult]:
    try:
        yield Started(trainer)
        metrics = yield from _run_epochs(trainer)
    except GeneratorExit:
        if trainer.state.epoch is not None:  # between epochs there is a checkpoint already
            save_checkpoint(trainer)
        if trainer.writes and trainer.state.epochs_done < trainer.options.max_epoch:
            messages.tell_stop(trainer.state)
        raise
    if trainer.writes:
        messages.tell_left_out(trainer.state, len(trainer.task.train_set))
        messages.tell_rival(trainer.state.best_loss, trainer.rival)
    if trainer.group.any(trainer.interruption.requested):
        mark_stopped(trainer)
        raise Stopped  # too late to stop anything here, but more may be about to come
    result = _result(trainer.task, trainer.options, trainer.state, metrics)
    if result.best_epoch is None and not trainer.options.skip_eval:
        logger.warning("no evaluation gave a finite loss, so there is no %s", result.model_path)
    return result


def _run_epochs(trainer: Trainer) -> Generator[Event, None, dict[str, float]]:
    """All epochs that are left. Returns the metrics of the last evaluation."""
    metrics: dict[str, float] = {}
    state, max_epoch = trainer.state, trainer.options.max_epoch
    started, first, is_part = time.monotonic(), state.epochs_done, state.epoch is not None
    while state.epochs_done < max_epoch:
        if trainer.group.any(trainer.interruption.requested):
            _leave(trainer)
        is_whole = yield from _train_epoch(trainer)
        if not is_whole:
            _leave(trainer)
        evaluated = _evaluate(trainer) if _evaluation_is_due(trainer) else {}
        if evaluated is None:
            _leave(trainer)
        metrics = evaluated or metrics
        _finish_epoch(trainer, evaluated)
        yield EpochDone(trainer, evaluated)
        if is_part:  # what was left of a resumed epoch says nothing of the others
            started, first, is_part = time.monotonic(), state.epochs_done, False
            continue
        per_epoch = (time.monotonic() - started) / (state.epochs_done - first)
        left = (max_epoch - state.epochs_done) * per_epoch
        trainer.pace.is_told = True  # from here on by what follows, which knows of evaluation too
        if left and trainer.writes:
            later = trainer.later_epochs * per_epoch
            stages = f", with the stages after it {messages.duration(left + later)}"
            logger.info(
                "  about %s left%s", messages.duration(left), stages if trainer.later_epochs else ""
            )
    return metrics


# --- one epoch ------------------------------------------------------------------------------------


def _train_epoch(trainer: Trainer) -> Generator[Event, None, bool]:
    """Train what is left of the epoch; False when the run was interrupted."""
    options, state, pace = trainer.options, trainer.state, trainer.pace
    epoch = state.epoch = state.epoch or new_epoch(trainer)
    total = len(epoch.order)
    batches, per_update = plan(trainer, epoch), options.batches_per_update(trainer.group.size)
    window, mark, before = Window(), time.monotonic(), trainer.engine.remember(trainer.task)
    pace.begin(Work.LEARNING)
    with _bar(trainer, total=total, done=epoch.position) as bar:
        loaded = timed(trainer.loaders.train.load([draws for _, draws in batches]))
        for number, ((batch, waited), (place, _)) in enumerate(zip(loaded, batches), 1):
            is_last = number % per_update == 0 or number == len(batches)
            window.data_seconds += waited
            _learn(trainer, batch, window, place=place, is_last=is_last)
            if not is_last and not window.cut:
                pace.end_batch()
                _tell_pace(trainer)
                continue
            whole, rate = _update(trainer, window)
            if whole.cut:
                trainer.engine.go_back(trainer.task, before)
                return False
            pace.end_batch()
            _tell_pace(trainer)
            done = min(total, epoch.position + trainer.schedule.window_records)
            now = time.monotonic()
            _account(trainer, whole, position=done, seconds=now - mark)
            window, mark, before = Window(), now, trainer.engine.remember(trainer.task)
            bar.update(done - bar.n)
            loss = epoch.loss_sum / max(epoch.records, 1)
            bar.set_postfix(loss=f"{loss:.4g}", lr=f"{rate:.2g}", refresh=False)
            yield WindowDone(trainer, whole)
            if whole.stop:
                return False
            if whole.save:
                save_checkpoint(trainer)
                mark = time.monotonic()
            pace.begin(Work.LEARNING)
    pace.begin(Work.OTHER)
    if not options.ignore_nan:
        messages.check_any_finite(state, trainer.engine)
    return True


def _learn(trainer: Trainer, batch: Batch, window: Window, *, place: int, is_last: bool) -> None:
    """Learn from a batch of a window; after a signal no more, and a window that lacks something is
    cut. place: where in the epoch the batch starts. is_last: it is the window's last."""
    asked = trainer.interruption
    window.cut = asked.in_window
    if window.cut:
        return
    trainer.engine.learn(
        trainer.task,
        batch,
        window,
        place=place,
        seed=derive_seed(trainer.options.seed, "batch", trainer.state.epochs_done + 1, place),
        nominal_records=trainer.schedule.window_records,
    )
    window.cut = asked.in_window and not is_last


def _tell_pace(trainer: Trainer) -> None:
    """Tell once how long an epoch and the run will take, as soon as that can be said."""
    options, state, seconds = trainer.options, trainer.state, trainer.pace.estimate()
    if seconds is None or not trainer.writes:
        return
    num_draws = trainer.schedule.num_draws
    epochs_left: float = options.max_epoch - state.epochs_done
    if state.epoch is not None:
        epochs_left -= state.epoch.position / num_draws
    messages.tell_pace(
        trainer.task,
        options,
        per_epoch=seconds * math.ceil(num_draws / (options.batch_size * trainer.group.size)),
        epochs_left=epochs_left,
        later_epochs=trainer.later_epochs,
        on_cpu=trainer.engine.device.type == "cpu",
    )


def _bar(trainer: Trainer, *, total: int, done: int) -> tqdm:
    # disable=None leaves the bar out where nobody sees it move (a pipe, a log file)
    return tqdm(
        total=total,
        initial=done,
        desc=f"epoch {trainer.state.epochs_done + 1}/{trainer.options.max_epoch}",
        unit="rec",
        leave=False,
        dynamic_ncols=True,
        disable=None if trainer.writes else True,
    )


def _update(trainer: Trainer, window: Window) -> tuple[Window, float]:
    """Make the update of a window, unless it was cut in any process: the window of all processes,
    and the learning rate."""
    engine, state, group = trainer.engine, trainer.state, trainer.group
    assert state.epoch is not None
    window.stop = trainer.interruption.requested
    window.save = trainer.writes and time.monotonic() - trainer.saved_at > CHECKPOINT_SECONDS
    if group.size > 1:
        window.task_state = trainer.task.state_dict()
    rate = trainer.schedule.rate(state.epochs_done, state.epoch.position)
    if trainer.options.uses_schedule:
        set_learning_rate(engine.optimizer, rate)
        if engine.opponent_optimizer is not None:
            set_learning_rate(engine.opponent_optimizer, rate)
    whole = engine.update(window, nominal_records=trainer.schedule.window_records)
    if group.size > 1:
        trainer.task.load_state_dict(whole.task_state)
    group.wait_at_most(trainer.options.exchange_timeout)  # the first one may have compiled
    return whole, rate


def _account(trainer: Trainer, window: Window, *, position: int, seconds: float) -> None:
    """Enter a finished window into the state and the history, and tell of what was wrong in it."""
    state = trainer.state
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
    epoch.data_seconds += window.data_seconds
    epoch.non_finite += len(window.non_finite)
    state.updates += window.updated
    state.non_finite += len(window.non_finite)
    trainer.history.record(
        [index for _, index, _ in window.losses], [loss for _, _, loss in window.losses]
    )
    _leave_out(trainer, window.bad)
    _look_for_faults(trainer, window, epoch)


def _leave_out(trainer: Trainer, bad: list[tuple[int, str, str]]) -> None:
    """Remember samples that can't be read: index, name, reason."""
    known = trainer.state.bad
    for index, name, reason in bad:
        # one record may be several samples, and bad in several ways
        told = any(text.startswith(f"{name}: ") for text in known.values())
        if trainer.writes and not told:
            logger.warning("training sample %s is left out: %s", name, reason)
        known.setdefault(index, f"{name}: {reason}")
    messages.check_bad_share(trainer.state, trainer.options, len(trainer.task.train_set))


def _look_for_faults(trainer: Trainer, window: Window, epoch: EpochState) -> None:
    """Tell of numbers that are not finite, and stop where that can't go on."""
    task, state = trainer.task, trainer.state
    where = f"epoch {state.epochs_done + 1}, {epoch.position} of {len(epoch.order)} samples"
    news = trainer.told.new_samples(index for batch in window.non_finite for index in batch)
    if news and trainer.writes:
        names = messages.names(task, news)
        logger.warning("%s: not finite, nothing learned from: %s", where, names)
    if window.broken is not None:
        learned = messages.names(task, (index for _, index, _ in window.losses))
        raise files.not_finite(
            window.broken, f" after update {state.updates} ({where}), learned from {learned}"
        )
    if window.non_finite and not trainer.options.ignore_nan:
        last = messages.names(task, window.non_finite[-1])
        messages.check_non_finite(state, trainer.options, trainer.engine, where=where, last=last)


# --- its end --------------------------------------------------------------------------------------


def _evaluation_is_due(trainer: Trainer) -> bool:
    number, options = trainer.state.epochs_done + 1, trainer.options
    return trainer.loaders.eval is not None and (
        number % options.eval_step == 0 or number == options.max_epoch
    )


def _evaluate(trainer: Trainer) -> dict[str, float] | None:
    """The metrics of the evaluation weights; None when the run was interrupted."""
    engine, options, epoch = trainer.engine, trainer.options, trainer.state.epoch
    loader, samples, began = trainer.loaders.eval, trainer.task.eval_set, time.monotonic()
    assert loader is not None and samples is not None and epoch is not None

    def is_interrupted() -> bool:
        trainer.pace.end_batch()
        return trainer.interruption.requested

    trainer.pace.begin(Work.EVALUATING)
    with evaluation_weights(engine.model, engine.optimizer, engine.ema):
        metrics = evaluate(
            trainer.task,
            engine.model,
            loader,
            num_samples=len(samples),
            batch_size=options.batch_size,
            device=engine.device,
            dtype=engine.dtype,
            group=trainer.group,
            seed=options.seed,
            report=trainer.told.warn_once,
            preview_folder=options.model_dir / "eval" if trainer.writes else None,
            preview_step=options.save_eval_step,
            interrupted=is_interrupted,
        )
    trainer.pace.begin(Work.OTHER)
    if metrics is not None:
        epoch.eval_seconds += time.monotonic() - began
        epoch.seconds += time.monotonic() - began
    return metrics


def _finish_epoch(trainer: Trainer, metrics: dict[str, float]) -> None:
    """Write everything of the epoch, the checkpoint last: whatever a kill leaves, --resume does the
    rest over."""
    state, epoch = trainer.state, trainer.state.epoch
    assert epoch is not None
    number = state.epochs_done + 1
    rate = trainer.schedule.rate(state.epochs_done, len(epoch.order) - 1)
    row = messages.epoch_row(number, rate, epoch, metrics)
    is_best = bool(metrics) and files.is_better(metrics["loss"], state.best_loss)
    if is_best:
        state.best_loss, state.best_epoch = metrics["loss"], number
    state.epochs_done, state.epoch = number, None
    save_epoch(trainer, row, metrics, is_best=is_best)
    if trainer.writes:
        messages.tell_epoch(
            row, trainer.options, seconds=epoch.seconds, is_best=is_best, rival=trainer.rival
        )


# --- stop -----------------------------------------------------------------------------------------


def _leave(trainer: Trainer) -> NoReturn:
    """Save a checkpoint and raise KeyboardInterrupt."""
    leave_checkpoint(trainer)
    raise Stopped


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
