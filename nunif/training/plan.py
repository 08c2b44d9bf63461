"""What an epoch learns from, and in which order: the same however often it is interrupted."""

import math

from nunif.seed import derive_seed
from nunif.training.run import Trainer
from nunif.training.sampler import draw_order
from nunif.training.state import EpochState
from nunif.training.task import Draw


def new_epoch(trainer: Trainer) -> EpochState:
    """The next epoch, of which nothing is done yet."""
    options, state = trainer.options, trainer.state
    order = draw_order(
        trainer.schedule.num_draws,
        num_samples=len(trainer.task.train_set),
        weights=None if options.disable_hard_example else trainer.history.weights(),
        excluded=state.bad,
        seed=options.seed,
        epoch=state.epochs_done + 1,
    )
    return EpochState(order)


def plan(trainer: Trainer, epoch: EpochState) -> list[tuple[int, list[Draw]]]:
    """What this process learns from in the rest of the epoch: where each batch starts, and its
    draws.

    Every process takes part in every window: those that have fewer batches get empty ones.
    """
    total, stride = len(epoch.order), trainer.options.batch_size * trainer.group.size
    starts = range(epoch.position + trainer.group.rank * trainer.options.batch_size, total, stride)
    num_batches = math.ceil((total - epoch.position) / stride)
    batches = [(place, _draws(trainer, epoch, place)) for place in starts]
    return batches + [(total, [])] * (num_batches - len(batches))


def _draws(trainer: Trainer, epoch: EpochState, start: int) -> list[Draw]:
    """The draws of the batch that starts at a place in the epoch; the seeds follow from the places
    alone."""
    number, seed = trainer.state.epochs_done + 1, trainer.options.seed
    schedule = trainer.schedule
    window = trainer.state.epochs_done * schedule.updates_per_epoch
    window += start // schedule.window_records
    places = range(start, min(start + trainer.options.batch_size, len(epoch.order)))
    return [
        Draw(int(epoch.order[place]), derive_seed(seed, "draw", number, place), window)
        for place in places
    ]
