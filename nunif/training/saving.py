"""The files of weights that a run writes: the best model, those of epochs, and the checkpoint."""

import time

from torch import Tensor

from nunif import options as options_module
from nunif.files import copy_whole, make_folder
from nunif.models import save_model
from nunif.training import state as files
from nunif.training.run import Trainer
from nunif.training.start import checkpoint_path, model_path


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


def save_checkpoint(trainer: Trainer, weights: dict[str, Tensor] | None = None) -> None:
    """Write the checkpoint, in rank 0. weights: a snapshot of the evaluation weights that is known
    to be finite."""
    began = trainer.saved_at = time.monotonic()
    if not trainer.writes:
        return
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
    )
    if kept is not None:
        copy_whole(kept, checkpoint)
        files.remove_oldest(checkpoint, keep=options.keep_checkpoints, epoch=state.epochs_done)
    trainer.pace.saving = time.monotonic() - began
