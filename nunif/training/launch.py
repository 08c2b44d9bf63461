"""How a run begins under a launcher: in the group of its processes, by options that are the same in
all of them, and from its own checkpoint where it was started again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from nunif import options as options_module
from nunif.errors import ToldElsewhere, UserError
from nunif.models import read_checkpoint
from nunif.place import is_restarted, run_id
from nunif.training.distributed import Group, join_group
from nunif.training.options import TrainerOptions

Options = TypeVar("Options", bound=TrainerOptions)

CHECKPOINT_SUFFIX = ".checkpoint.pth"  # behind the model's name
STOPPED_NAME = "stopped"  # beside a checkpoint: there is more to do
OF_A_MACHINE = {"model_dir", "gpu", "num_workers"}  # options that may differ between processes


@contextmanager
def joined(options: Options) -> Iterator[Options]:
    """Join the group of the run, and how its processes take their options; see `agree`."""
    with join_group(options.gpu) as (group, _):
        yield agree(options, group)


def agree(options: Options, group: Group) -> Options:
    """The options as all processes of a run have to take them: with `resume` where
    --resume-if-there finds a checkpoint, and where torchrun starts the run again that wrote it.

    Raises:
        UserError: the processes were started with different options or versions of torch, or
            --global-batch can't be shared out among them.
    """
    if group.size > 1:
        _check_same(options, group)
    options.batches_per_update(group.size)
    if is_restarted() and group.ask_first(lambda: _has_own_checkpoint(options)):
        return replace(options, resume=True, reset_state=False, resume_if_there=False)
    if options.resume_if_there:
        resume = options.resume or group.ask_first(lambda: bool(find_checkpoints(options)))
        return replace(options, resume=resume, resume_if_there=False)
    return options


def _check_same(options: TrainerOptions, group: Group) -> None:
    own: dict[str, Any] = {"torch": torch.__version__}
    for name, value in options_module.to_dict(options).items():
        if name not in OF_A_MACHINE:
            own[f"--{name.replace('_', '-')}"] = value
    said = group.gather(own)
    for rank, other in enumerate(said):
        for name, value in said[0].items():
            if other.get(name) != value:
                text = (
                    f"{name} is {value} in rank 0 and {other.get(name)} in rank {rank}: start all "
                    "processes of a run by the same command, in the same environment"
                )
                raise UserError(text) if group.rank == 0 else ToldElsewhere(text)


def find_checkpoints(options: TrainerOptions) -> list[Path]:
    """Those that --resume could go on from: of the model that is asked for, or of any, in the
    run's folder and those of its stages."""
    arch = getattr(options, "arch", None)
    name = "[!.]*" if arch is None else f"*{arch.rpartition('.')[2]}"  # partial ones begin so
    folders = (".", "stage*")
    return [
        path
        for folder in folders
        for path in options.model_dir.glob(f"{folder}/{name}{CHECKPOINT_SUFFIX}")
        if not path.name.startswith(".")
    ]


def _has_own_checkpoint(options: TrainerOptions) -> bool:
    """Whether an earlier attempt of this very run wrote a checkpoint."""
    for path in find_checkpoints(options):
        with suppress(UserError):  # torn, or no file of ours
            if read_checkpoint(path).get("run_id") == run_id():
                return True
    return False


def stopped_path(options: TrainerOptions) -> Path:
    """The file that is there while a run that was asked to stop has more to do."""
    return options.model_dir / STOPPED_NAME
