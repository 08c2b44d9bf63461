"""The files of weights that a run writes: the best model, those of epochs, and the checkpoint."""

import time
from pathlib import Path

from torch import Tensor

from nunif import options as options_module
from nunif.files import copy_whole, make_folder, write_text
from nunif.models import save_model
from nunif.place import run_id
from nunif.training import messages
from nunif.training import state as files
from nunif.training.launch import stopped_path
from nunif.training.run import Trainer
from nunif.training.start import checkpoint_path, model_path


def save_epoch(
    trainer: Trainer, row: messages.Row, metrics: dict[str, float], *, is_best: bool
) -> None:
    """Write everything of an epoch that is over, the checkpoint last, in rank 0. All wait for it.
    row: of the table; metrics: of its evaluation."""

    def write() -> None:
        assert trainer.journal is not None  # of the process that writes
        weights = files.snapshot(trainer.engine)
        files.check_finite(weights)
        save_models(trainer, weights, metrics, is_best=is_best)
        trainer.journal.add(row)
        if metrics:
            trainer.journal.show(_previews(trainer), epoch=trainer.state.epochs_done)
        write_checkpoint(trainer, weights)

    trainer.group.ask_first(write)


def _previews(trainer: Trainer) -> list[Path]:
    """Where the first previews of the evaluation are, as many as the task wants in the events."""
    options, num_samples = trainer.options, len(trainer.task.eval_set or [])
    numbers = range(0, -(-num_samples // options.batch_size), options.save_eval_step)
    shown = numbers[: trainer.task.pictures_in_events]
    return [options.model_dir / "eval" / f"{number}.png" for number in shown]


def save_models(
    trainer: Trainer, weights: dict[str, Tensor], metrics: dict[str, float], *, is_best: bool
) -> None:
    """Write the model file when it is the best so far, and the one that is kept of each epoch."""
    options, model, number = trainer.options, trainer.task.model, trainer.state.epochs_done
    extra = {
        "state_dict": weights,
        "epoch": number,
        "metrics": metrics,
        "train_kwargs": options_module.to_dict(options),
    }
    if is_best or options.skip_eval:
        save_model(model, model_path(options, trainer.task), **extra)
    if options.save_epoch:
        folder = make_folder(options.model_dir / "epoch" / str(number))
        save_model(model, folder / f"{model.name}.pth", **extra)


def save_checkpoint(trainer: Trainer) -> None:
    """Write the checkpoint, in rank 0. All wait for it: torchrun ends the others' process when one
    has left for half a minute."""
    trainer.group.ask_first(lambda: write_checkpoint(trainer))


def leave_checkpoint(trainer: Trainer) -> None:
    """Write the checkpoint of a run that was asked to stop, and tell of it."""

    def write() -> None:
        write_checkpoint(trainer)
        messages.tell_stop(trainer.state)
        mark_stopped(trainer)

    trainer.group.ask_first(write)


def mark_stopped(trainer: Trainer) -> None:
    """Write, last of all and in rank 0, what tells scripts that there is more to do. The exit code
    of torchrun doesn't: it is 1 for whatever isn't 0."""
    if trainer.writes:
        write_text(stopped_path(trainer.options), "--resume goes on from the checkpoint here\n")


def write_checkpoint(trainer: Trainer, weights: dict[str, Tensor] | None = None) -> None:
    """The same, for the process that writes to call. weights: a snapshot of the evaluation weights
    that is known to be finite."""
    began = trainer.saved_at = time.monotonic()
    if weights is None:
        weights = files.snapshot(trainer.engine)
        files.check_finite(weights)
    options, state = trainer.options, trainer.state
    checkpoint, kept = checkpoint_path(options, trainer.task), None
    if options.keep_checkpoints and state.epochs_done and state.epoch is None:
        kept = files.kept_path(checkpoint, state.epochs_done)
    files.save_checkpoint(
        kept or checkpoint,
        trainer.task.model,
        trainer.engine,
        weights,
        trainer.history,
        state,
        trainer.task.state_dict(),
        optimizer_name=options.optimizer,
        train_kwargs=options_module.to_dict(options),
        run_id=run_id(),
    )
    if kept is not None:
        copy_whole(kept, checkpoint)
        files.remove_oldest(checkpoint, keep=options.keep_checkpoints, epoch=state.epochs_done)
    trainer.pace.saving = time.monotonic() - began
