"""What a run tells people: at its start, of every epoch, and of what went wrong."""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from nunif import options as options_module
from nunif.errors import UserError
from nunif.place import num_cpus, num_sharing
from nunif.training.optim import Schedule
from nunif.training.options import TrainerOptions
from nunif.training.pace import Pace, Work
from nunif.training.rounds import Rival
from nunif.training.state import EpochState, State
from nunif.training.step import Engine
from nunif.training.task import Task

logger = logging.getLogger(__name__)

MAX_NON_FINITE = 100  # batches of the run, and of an epoch: a quarter, though at least 20
MAX_NON_FINITE_SHARE, MIN_NON_FINITE_PER_EPOCH = 0.25, 20

LONG_SECONDS = 3600  # of a run on the CPU, from which on something faster is proposed

Row = dict[str, float | int | None]  # of loss.csv


@dataclass
class Told:
    """What was said already, and is not said again."""

    samples: set[int] = field(default_factory=set)  # that were not finite
    lines: set[str] = field(default_factory=set)

    def new_samples(self, indices: Iterable[int]) -> list[int]:
        """Those of the samples that were not told of before; now they are."""
        news = [index for index in dict.fromkeys(indices) if index not in self.samples]
        self.samples.update(news)
        return news

    def warn_once(self, text: str) -> None:
        """Log a warning, unless the same was logged before."""
        if text not in self.lines:
            self.lines.add(text)
            logger.warning("%s", text)


# --- at the start ---------------------------------------------------------------------------------


def tell_nothing_to_do(epochs_done: int) -> None:
    """All epochs of the run were done before."""
    logger.info(
        "all %d epochs are done, nothing to do: a larger --max-epoch goes on, "
        "--reset-state starts a new round",
        epochs_done,
    )


def tell_resumption(
    state: State, options: TrainerOptions, content: dict[str, Any], world_size: int
) -> None:
    """Where a run goes on, and what is different from when it was left. content: of the
    checkpoint."""
    before = content.get("train_kwargs") or {}
    logger.info("resuming in epoch %d%s", state.epochs_done + 1, _after(state.epoch))
    if before.get("max_epoch", options.max_epoch) != options.max_epoch:
        logger.info(
            "the schedule now spans %d epochs (was %s)", options.max_epoch, before["max_epoch"]
        )
    passed_over = options.UNREMARKABLE
    if options.amp_float is None:  # nobody asked for another
        passed_over |= {"amp_float"}
    for name, value in options_module.to_dict(options).items():
        if name in before and name not in passed_over and before[name] != value:
            logger.warning(
                "--%s is %s from here on (was %s)", name.replace("_", "-"), value, before[name]
            )
    _tell_other_processes(options, before, world_size, content["training"]["world_size"])
    if state.bad:
        logger.info(
            "left out as unreadable (--reset-state tries them again): %s",
            listing(list(state.bad.values())),
        )


def _tell_other_processes(
    options: TrainerOptions, before: dict[str, Any], now: int, then: int
) -> None:
    """Warn where a run goes on with another number of processes or, by that, with other updates.
    before: its options then."""
    same = options.global_batch is not None and before.get("global_batch") == options.global_batch
    if same:
        return  # nothing but the speed is different
    if now != then:
        logger.warning("%d processes from here on (was %d)", now, then)
    if max(now, then) > 1 and {"batch_size", "backward_step"} <= before.keys():
        records, earlier = options.records_per_update(now), before.get("global_batch")
        earlier = earlier or before["batch_size"] * before["backward_step"] * then
        if records != earlier:
            logger.warning(
                "an update is made of %d samples from here on (was %d): --global-batch keeps that "
                "the same for any number of processes",
                records,
                earlier,
            )


def tell_start(
    task: Task, options: TrainerOptions, engine: Engine, schedule: Schedule, num_eval: int | None
) -> None:
    """What is about to be done, and which options do nothing. num_eval: samples to evaluate by."""
    for sentence in options.no_effect(on_cpu=engine.device.type == "cpu"):
        logger.warning(sentence)
    where = engine.device.type
    if where == "cuda":
        where = torch.cuda.get_device_name(engine.device)
    precision = {None: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[engine.dtype]
    logger.info(
        "%s, %s parameters, on %s x %d in %s",
        task.model.name,
        f"{task.model.num_parameters:,}",
        where,
        engine.group.size,
        precision,
    )
    if engine.group.size > 1 and options.global_batch is None:
        logger.info(
            "an update is made of %d samples: --batch-size %d x --backward-step %d x %d processes",
            schedule.window_records,
            options.batch_size,
            options.backward_step,
            engine.group.size,
        )
    _tell_loading(options)
    logger.info(
        "%d samples to train on (%d draws per epoch, %d updates), %s to evaluate; %d epochs, %s, "
        "seed %d",
        len(task.train_set),
        schedule.num_draws,
        schedule.updates_per_epoch,
        "none" if num_eval is None else num_eval,
        options.max_epoch,
        options.optimizer,
        options.seed,
    )


def _tell_loading(options: TrainerOptions) -> None:
    """Warn where the processes that load samples outnumber the CPUs of this machine."""
    sharing, cpus, each = num_sharing(), num_cpus(), options.loader_processes()
    if sharing > 1 and sharing * each > cpus:
        logger.warning(
            "%d processes load samples here, --num-workers %d for each of %d, on %d CPUs: give "
            "fewer",
            sharing * each,
            each,
            sharing,
            cpus,
        )


# --- on the way -----------------------------------------------------------------------------------


def tell_pace(
    task: Task,
    options: TrainerOptions,
    *,
    per_epoch: float,
    epochs_left: float,
    later_epochs: float,
    on_cpu: bool,
) -> None:
    """How long an epoch and the run will take, by its first batches, and what would be faster.

    per_epoch: seconds. epochs_left: of this run. later_epochs: what comes after it, counted in
        epochs of this one.
    """
    left, whole = per_epoch * epochs_left, per_epoch * (epochs_left + later_epochs)
    text = f"at this pace an epoch takes about {duration(per_epoch)}"
    if epochs_left > 1:
        text += f", the {math.ceil(epochs_left)} epochs to come {duration(left)}"
    if later_epochs:
        text += f", all stages to come {duration(whole)}"
    if not options.skip_eval:
        text += ", without evaluation"
    advice = task.faster_on_cpu() if on_cpu and whole >= LONG_SECONDS else None
    logger.info("%s", f"{text}; {advice}" if advice else text)


def stopping(pace: Pace) -> str:
    """What a run stops after that is asked to, how long that takes, and what is kept."""
    left = pace.left()
    if left is None:
        time = ", the first, of which nobody knows how long it takes"
    else:
        time = (
            f", in about {math.ceil(left) or 1} s" if left < 60 else f", in about {duration(left)}"
        )
    return {
        Work.LEARNING: f"stopping after this batch{time}; "
        "what was learned up to the last whole update is kept",
        Work.EVALUATING: f"stopping after this batch of the evaluation{time}; "
        "what was learned is kept, and --resume evaluates it again",
        Work.OTHER: "stopping when this is written; what was learned is kept",
    }[pace.work]


def epoch_row(number: int, rate: float, epoch: EpochState, metrics: dict[str, float]) -> Row:
    """The row of loss.csv of an epoch that is over. rate: that of its last update; metrics: of its
    evaluation, if it had one."""
    records = epoch.records
    row: Row = {
        "epoch": number,
        "learning_rate": rate,
        "train_loss": epoch.loss_sum / records if records else None,
    }
    if records:
        row |= {f"train_{name}": value / records for name, value in epoch.part_sums.items()}
    row |= {f"eval_{name}": value for name, value in metrics.items()}
    learning = epoch.seconds - epoch.eval_seconds
    row["data_seconds"] = round(epoch.data_seconds, 1)
    row["records_per_second"] = records / learning if learning > 0 else None
    row |= {"updates": epoch.updates, "skipped": epoch.skipped}
    row["seconds"] = round(epoch.seconds, 1)
    return row


def tell_epoch(
    row: Row, options: TrainerOptions, *, seconds: float, is_best: bool, rival: Rival | None
) -> None:
    """What an epoch gave. row: of the table."""
    measured = [
        f"{name.replace('_', ' ', 1)} {value:.6g}"
        for name, value in row.items()
        if name.startswith(("train_", "eval_")) and value is not None
    ]
    logger.info(
        "epoch %d/%d: %s, lr %.3g, %s",
        row["epoch"],
        options.max_epoch,
        ", ".join(measured),
        row["learning_rate"],
        duration(seconds),
    )
    loss = row.get("eval_loss")
    if is_best and loss is not None and rival is not None:
        logger.info("  * best model %s", _beside(loss, rival))
    elif is_best:
        logger.info("  * best model updated")


def _beside(loss: float, rival: Rival) -> str:
    """How a loss of this round stands beside the best of the rounds before."""
    if loss < rival.loss:
        return f"updated, and better than before this round: {rival}"
    return f"of this round updated; there is a better one: {rival}"


def tell_rival(best_loss: float | None, rival: Rival | None) -> None:
    """At the end of a round, whether an earlier one made the better model."""
    if rival is not None and (best_loss is None or best_loss >= rival.loss):
        logger.warning("the best model is not of this round: %s", rival)


def tell_stop(state: State) -> None:
    """Where the run was left."""
    logger.info(
        "stopped in epoch %d%s: --resume goes on from there",
        state.epochs_done + 1,
        _after(state.epoch),
    )


def tell_left_out(state: State, num_samples: int) -> None:
    """Which samples could not be read, at the end of a run."""
    if state.bad:
        logger.warning(
            "%d of %d training samples were left out: %s",
            len(state.bad),
            num_samples,
            listing(list(dict.fromkeys(state.bad.values()))),
        )


# --- what went wrong ------------------------------------------------------------------------------


def check_bad_share(state: State, options: TrainerOptions, num_samples: int) -> None:
    """
    Raises:
        UserError: more samples can't be read than are allowed.
    """
    if len(state.bad) > options.max_bad_share * num_samples:
        raise UserError(
            f"{len(state.bad)} of {num_samples} training samples can't be read: mend or "
            "remove them, or allow more "
            f"with --max-bad-share ({listing(list(dict.fromkeys(state.bad.values())))})"
        )


def check_non_finite(
    state: State, options: TrainerOptions, engine: Engine, *, where: str, last: str
) -> None:
    """where: how far the epoch is; last: the samples of the last batch that was not finite.

    Raises:
        UserError: too many batches were not.
    """
    epoch = state.epoch
    assert epoch is not None
    limit = max(
        MIN_NON_FINITE_PER_EPOCH,
        MAX_NON_FINITE_SHARE * math.ceil(len(epoch.order) / options.batch_size),
    )
    if state.non_finite > MAX_NON_FINITE or epoch.non_finite > limit:
        raise UserError(
            f"{epoch.non_finite} batches of epoch {state.epochs_done + 1} and {state.non_finite} "
            "of the run "
            f"were not finite, the last after update {state.updates} ({where}), of "
            f"{last}: {_advice(engine)}"
        )


def check_any_finite(state: State, engine: Engine) -> None:
    """
    Raises:
        UserError: no batch of a whole epoch was finite.
    """
    epoch = state.epoch
    assert epoch is not None
    if epoch.records == 0 and epoch.non_finite:
        raise UserError(
            f"no batch of epoch {state.epochs_done + 1} gave a finite loss: {_advice(engine)}"
        )


def _advice(engine: Engine) -> str:
    half = "--amp-float bf16 or " if engine.dtype is torch.float16 else ""
    return (
        f"use {half}a lower --learning-rate or --clip-grad-norm 1, or --ignore-nan; the last "
        "checkpoint is unharmed"
    )


# --- words ----------------------------------------------------------------------------------------


def names(task: Task, indices: Iterable[int]) -> str:
    """Training samples by name, each once."""
    return listing([task.sample_name(index) for index in dict.fromkeys(indices)])


def listing(texts: list[str]) -> str:
    """The first five, and how many more there are."""
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def duration(seconds: float) -> str:
    """ "12.3 s", "5 min", "2 h 10 min", "3 days"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes >= 2 * 24 * 60:
        return f"{round(minutes / 60 / 24)} days"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _after(epoch: EpochState | None) -> str:
    return f" after {epoch.position} of {len(epoch.order)} samples" if epoch else ""
