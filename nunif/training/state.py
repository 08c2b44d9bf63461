"""Where a run stands, and the files that keep it.

N: samples of the training set.
"""

import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nunif.errors import UserError, first_line
from nunif.files import copy_whole, explain_os_errors
from nunif.models import Model, load_weights, read_checkpoint, save_model
from nunif.models.fit import describe_mismatch
from nunif.training.ema import copy_weights, evaluation_weights
from nunif.training.optim import load_optimizer_state
from nunif.training.rounds import Round
from nunif.training.sampler import LossHistory
from nunif.training.step import Engine
from nunif.training.task import Task

logger = logging.getLogger(__name__)


@dataclass
class EpochState:
    """An epoch in progress: what it draws, how far it is, and its sums up to there."""

    order: np.ndarray  # (draws,) int64
    position: int = 0  # draws that are done, always at the end of a window
    records: int = 0
    loss_sum: float = 0.0
    part_sums: dict[str, float] = field(default_factory=dict)
    updates: int = 0
    skipped: int = 0
    non_finite: int = 0  # batches
    seconds: float = 0.0
    data_seconds: float = 0.0  # of those: that an update waited for its batches
    eval_seconds: float = 0.0  # of those: of the evaluation


@dataclass
class State:
    """Where a run stands, apart from weights and optimizer. rounds: those before, the first
    first."""

    epochs_done: int = 0
    updates: int = 0
    non_finite: int = 0  # batches, in all epochs
    best_loss: float | None = None
    best_epoch: int | None = None
    bad: dict[int, str] = field(default_factory=dict)  # unreadable samples: index to "name: reason"
    epoch: EpochState | None = None
    yardstick: str = ""
    rounds: list[Round] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        values = asdict(self)
        if values["epoch"]:
            values["epoch"]["order"] = torch.from_numpy(np.array(values["epoch"]["order"]))
        return values

    @staticmethod
    def from_state_dict(values: dict[str, Any]) -> "State":
        """The state that `state_dict` wrote down. Raises ValueError and others for what it can't
        have written."""
        epoch = values["epoch"]
        if epoch:
            epoch = EpochState(**{**epoch, "order": epoch["order"].numpy()})
            if (
                epoch.order.ndim != 1
                or epoch.order.dtype != np.int64
                or not 0 <= epoch.position <= len(epoch.order)
            ):
                raise ValueError("its place in the epoch is none")
        rounds = [Round(**each) for each in values.get("rounds", [])]
        state = State(**{**values, "epoch": epoch, "rounds": rounds})
        if not all(
            isinstance(count, int) and count >= 0
            for count in (state.epochs_done, state.updates, state.non_finite)
        ):
            raise ValueError("its counts of epochs and updates are none")
        if not all(
            isinstance(index, int) and isinstance(text, str) for index, text in state.bad.items()
        ):
            raise ValueError("its list of unreadable samples is none")
        if not isinstance(state.yardstick, str) or not all(
            isinstance(each.epochs, int) and isinstance(each.best_loss, (float, NoneType))
            for each in state.rounds
        ):
            raise ValueError("its earlier rounds are none")
        return state


def rounds_of(content: dict[str, Any]) -> list[Round]:
    """The rounds up to a checkpoint, its own the last; as far as it tells of them. content: of the
    checkpoint."""
    try:
        state = State.from_state_dict(content["training"]["state"])
    except (LookupError, TypeError, ValueError, AttributeError):
        return []
    own = Round(state.epochs_done, state.best_loss, state.best_epoch, state.yardstick)
    return [*state.rounds, own] if own.epochs else state.rounds


def snapshot(engine: Engine) -> dict[str, Tensor]:
    """A copy of the evaluation weights on the CPU."""
    with evaluation_weights(engine.model, engine.optimizer, engine.ema):
        return {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in engine.model.state_dict().items()
        }


def check_finite(weights: dict[str, Tensor]) -> None:
    """Raises UserError when a weight is NaN or infinite: such weights never replace good ones in a
    file."""
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise not_finite(name)


def not_finite(name: str, where: str = "") -> UserError:
    """What to say of a weight that is NaN or infinite. where: when it was found, and in what."""
    return UserError(
        f"the weights are no longer finite ({name}){where}, so nothing was saved over the last "
        "checkpoint: "
        "continue from it with --resume and a lower --learning-rate, or with --clip-grad-norm 1"
    )


def save_checkpoint(
    path: Path,
    model: Model,
    engine: Engine,
    weights: dict[str, Tensor],
    history: LossHistory,
    state: State,
    task_state: dict[str, Any],
    *,
    optimizer_name: str,
    train_kwargs: dict[str, Any],
    run_id: str | None = None,
) -> None:
    """Write a model file of the evaluation weights with all that is needed to go on exactly from
    here.

    task_state: the task's own; it has an entry only where there is something in it. run_id: by
    which a run that is started again knows its own checkpoint.
    There is no state of random generators: every draw and every batch is seeded by its place in
    the run.
    """
    training_weights_differ = any(
        not torch.equal(tensor.cpu(), weights[name])
        for name, tensor in engine.model.state_dict().items()
    )
    training: dict[str, Any] = {
        "state": state.state_dict(),
        "weights": dict(engine.model.state_dict()) if training_weights_differ else None,
        "optimizer_name": optimizer_name,
        "optimizer": engine.optimizer.state_dict(),
        "scaler": engine.scaler.state_dict(),
        "ema_updates": engine.ema.num_updates if engine.ema else None,
        "history": history.state_dict(),
        "world_size": engine.group.size,
    }
    if engine.opponent is not None and engine.opponent_optimizer is not None:
        training["opponent"] = dict(engine.opponent.state_dict())
        training["opponent_optimizer"] = engine.opponent_optimizer.state_dict()
        check_finite(training["opponent"])
    if task_state:
        training["task"] = task_state
        tensors = {name: value for name, value in task_state.items() if isinstance(value, Tensor)}
        check_finite({f"{name} of the task": tensor for name, tensor in tensors.items()})
    if training_weights_differ:
        check_finite(training["weights"])
    for name in ("optimizer", "opponent_optimizer"):
        check_finite(_moments(training.get(name), name))
    attempts = {} if run_id is None else {"run_id": run_id}
    save_model(
        model, path, state_dict=weights, train_kwargs=train_kwargs, training=training, **attempts
    )


def kept_path(checkpoint: Path, epoch: int) -> Path:
    """Where the checkpoint of an epoch's end is kept: NAME.checkpoint.epoch0007.pth beside
    NAME.checkpoint.pth."""
    return checkpoint.with_name(f"{checkpoint.stem}.epoch{epoch:04d}{checkpoint.suffix}")


def kept_checkpoints(checkpoint: Path) -> dict[int, Path]:
    """The kept checkpoints by the number of their epoch, in order."""
    name = re.compile(
        rf"{re.escape(checkpoint.stem)}\.epoch(\d{{4,}}){re.escape(checkpoint.suffix)}"
    )
    found = {
        int(match[1]): path
        for path in checkpoint.parent.glob("*")
        if (match := name.fullmatch(path.name))
    }
    return dict(sorted(found.items()))


def remove_oldest(checkpoint: Path, *, keep: int, epoch: int) -> None:
    """Remove kept checkpoints up to an epoch's but for the last `keep`.

    Those of later epochs stay: the run has been set back, and replaces them when it comes there
        again.
    """
    passed = [path for number, path in kept_checkpoints(checkpoint).items() if number <= epoch]
    for path in passed[:-keep]:
        with explain_os_errors(path):
            path.unlink(missing_ok=True)


def _moments(optimizer: dict[str, Any] | None, name: str) -> dict[str, Tensor]:
    """All tensors that an optimizer keeps, by what to call them."""
    if optimizer is None:
        return {}
    entries = (
        (index, key, value)
        for index, state in optimizer["state"].items()
        for key, value in state.items()
    )
    return {
        f"{key} {index} of the {name}": value
        for index, key, value in entries
        if isinstance(value, Tensor)
    }


def read_training_checkpoint(
    path: Path, model: Model, *, optimizer_name: str, reset_state: bool
) -> dict[str, Any]:
    """Read a checkpoint to resume from, as far as it can be checked before anything is changed.

    Raises:
        UserError: it is missing, torn, of another model, was made with another optimizer, or has no
            training state.
    """
    kept = list(kept_checkpoints(path).values())
    hint = (
        f"; {kept[-1].name} is kept beside it: copy it to {path.name} to go on from there"
        if kept
        else ""
    )
    if not path.exists():
        raise UserError(
            f"--resume: there is no {path} to resume from: leave --resume out, or check "
            f"--model-dir{hint}"
        )
    try:
        content = read_weights_file(path, model)
    except UserError as error:
        raise UserError(f"{error}{hint}") from error
    if reset_state:
        return content
    training = content.get("training")
    if not isinstance(training, dict):
        raise UserError(
            f"{path} has weights but no training state of this trainer to resume: add "
            "--reset-state to start from its weights"
        )
    with _doubting(path):
        State.from_state_dict(training["state"])
        int(training["world_size"]), dict(content.get("train_kwargs") or {})
        optimizer_then = str(training["optimizer_name"])
    if optimizer_then != optimizer_name:
        raise UserError(
            f"{path} was trained with --optimizer {optimizer_then}, whose state does not fit "
            f"--optimizer {optimizer_name}: add --reset-state to go on from its weights, or name "
            "that optimizer"
        )
    return content


@contextmanager
def _doubting(path: Path) -> Iterator[None]:
    """Turn whatever a checkpoint's training state does when it isn't what we wrote into a
    UserError."""
    try:
        yield
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        AssertionError,
    ) as error:
        raise UserError(
            f"{path} has a training state that is damaged or not this trainer's "
            f"({type(error).__name__}: {first_line(error)}): "
            "add --reset-state to go on from its weights alone"
        ) from error


def read_weights_file(path: Path, model: Model) -> dict[str, Any]:
    """Read a model file that holds weights of the same model.

    Raises:
        UserError: see `nunif.models.read_checkpoint`; also the file of another model.
    """
    content = read_checkpoint(path, package=model.name.partition(".")[0])
    if content["name"] != model.name:
        raise UserError(
            f"{path} holds the model {content['name']!r}, but {model.name!r} is being trained: "
            "choose one of them"
        )
    if content["kwargs"] != model.kwargs:
        logger.warning(
            "%s was made with %s, this model with %s", path, content["kwargs"], model.kwargs
        )
    return content


def restore(
    content: dict[str, Any], path: Path, task: Task, engine: Engine, history: LossHistory
) -> State:
    """Put a checkpoint back into the model, optimizer, scaler, average, history and task, and
    return the state.

    Raises:
        UserError: weights that don't fit, or a training state that is damaged.
    """
    with _doubting(path):
        training = task.upgrade(content["training"])
        load_weights(task.model, content["state_dict"], source=path)
        _restore_average(training, task.model, engine)
        if training["weights"] is not None:
            copy_weights(training["weights"], task.model)
        load_optimizer_state(engine.optimizer, training["optimizer"])
        _restore_opponent(training, path, engine)
        if "task" in training:
            task.load_state_dict(training["task"])
        if engine.scaler.is_enabled() and training["scaler"]:
            engine.scaler.load_state_dict(training["scaler"])
        return _restore_state(training, history)


def _restore_average(training: dict[str, Any], model: Model, engine: Engine) -> None:
    """Start the average from the model's weights, which are the evaluation weights still."""
    if engine.ema is None:
        if training["ema_updates"] is not None:
            logger.warning(
                "the checkpoint's average of the weights is dropped: --ema-model was not given "
                "again"
            )
        return
    if training["ema_updates"] is None:
        logger.warning(
            "--ema-model: the checkpoint has no average; it starts from the weights of here"
        )
    engine.ema.num_updates = training["ema_updates"] or 0
    engine.ema.weights = {
        name: tensor.detach().clone() for name, tensor in model.state_dict().items()
    }


def _restore_state(training: dict[str, Any], history: LossHistory) -> State:
    state = State.from_state_dict(training["state"])
    # (samples of then,) place now, -1 when gone
    moved = history.load_state_dict(training["history"])
    if not np.array_equal(moved, np.arange(len(history.keys))):
        gone = int((moved < 0).sum())
        new = len(history.keys) - (len(moved) - gone)
        logger.warning(
            "the training set has changed since the checkpoint: %d new, %d gone", new, gone
        )
        state.bad = {
            int(moved[index]): text for index, text in state.bad.items() if moved[index] >= 0
        }
        if state.epoch is not None:
            logger.warning(
                "epoch %d starts over with the training set as it is now", state.epochs_done + 1
            )
            state.epoch = None
    if state.epoch is not None and not np.isin(state.epoch.order, np.arange(len(moved))).all():
        raise ValueError("it draws samples that there are not")
    return state


def _restore_opponent(training: dict[str, Any], path: Path, engine: Engine) -> None:
    if engine.opponent is None or engine.opponent_optimizer is None:
        if "opponent" in training:
            logger.warning("the network that the model trained against is left out from here on")
        return
    if "opponent" not in training:
        logger.warning("%s holds no network to train against: it starts fresh", path)
        return
    problem = describe_mismatch(
        {name: tensor.shape for name, tensor in engine.opponent.state_dict().items()},
        training["opponent"],
    )
    if problem:
        raise UserError(
            f"{path}: its network to train against does not fit ({problem}): --reset-state starts "
            "with a fresh one"
        )
    engine.opponent.load_state_dict(training["opponent"])
    load_optimizer_state(engine.opponent_optimizer, training["opponent_optimizer"])


def is_better(loss: float, best: float | None) -> bool:
    """Whether an evaluation loss beats the best so far; one that is not finite never does."""
    return math.isfinite(loss) and (best is None or loss < best)


def move_aside(path: Path, rename: Callable[[str], str], *, stays: bool = False) -> Path | None:
    """Rename a file so that a new one can take its name; None when there is none.

    stays: it keeps its name besides, until a new one replaces it.
    rename: gives the new name from a time stamp (YYYYmmddHHMMSS, with a number when that name is
        taken).
    """
    if not path.exists():
        return None
    stamp = datetime.now().strftime("%Y%m%d%H%M%S")
    target, number = path.with_name(rename(stamp)), 1
    while target.exists():
        number += 1
        target = path.with_name(rename(f"{stamp}-{number}"))
    if stays:
        copy_whole(path, target)
    else:
        with explain_os_errors(path):
            path.rename(target)
    return target
