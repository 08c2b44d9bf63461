"""The command `train.py matting`: one run, or one for each stage of a curriculum."""

import logging
from functools import partial
from pathlib import Path

from matting.curriculum import Stage, read_stages
from matting.models import MattingNetwork, as_network
from matting.options_train import DEFAULT_ARCH, TrainOptions
from matting.persons import PersonSet
from matting.pretrained import load_backbone
from matting.task import MattingTask, create_task
from nunif.errors import UserError
from nunif.models import Model, create_model
from nunif.models.checkpoint import read_model_file
from nunif.seed import seed_everything
from nunif.training import arch as arch_of_run
from nunif.training import stages as nunif_stages
from nunif.training.distributed import first_process_does
from nunif.training.launch import joined
from nunif.training.recompute import recompute_activations
from nunif.training.start import CHECKPOINT_SUFFIX
from nunif.training.trainer import TrainResult, train

logger = logging.getLogger(__name__)

choose_arch = partial(
    arch_of_run.choose_arch, package="matting", purpose="matting", default=DEFAULT_ARCH
)


def main(options: TrainOptions) -> None:
    """The command `train.py matting`."""
    with joined(options) as options:
        _train(options)


def _train(options: TrainOptions) -> None:
    """One run, or that of each stage."""
    if options.curriculum is not None:
        train_stages(options, read_stages(options))
        return
    assert options.data_dir is not None  # options.check
    resumed = options.model_dir if options.resume else None
    arch = choose_arch(options.arch, options.checkpoint_file, resumed)
    train_model(arch, options.data_dir, options)


def train_model(arch: str, data_dir: Path, options: TrainOptions) -> tuple[TrainResult, Model]:
    """Train one model on a dataset, to the end of the run or of a stage."""
    seed_everything(options.seed)
    resumed = options.model_dir / f"{arch}{CHECKPOINT_SUFFIX}" if options.resume else None
    model = create_network(arch, options, options.checkpoint_file or resumed)
    if options.checkpoint_file is None and not options.resume:
        load_backbone(model)
    task = create_task(model, data_dir, options)
    _tell_passes(task, options)
    if options.activation_checkpointing:
        recompute_activations(task.model)
    return train(task, options), task.model


def create_network(arch: str, options: TrainOptions, start: Path | str | None) -> MattingNetwork:
    """An untrained network, with the memory that is asked for, or else that of the file `start`."""
    recurrent = options.recurrent
    if recurrent is None and start is not None and Path(start).exists():
        _, content = read_model_file(start, package="matting")
        recurrent = (content.get("kwargs") or {}).get("recurrent")
    words = {} if recurrent is None else {"recurrent": recurrent}
    return as_network(create_model(arch, **words), arch)


def _tell_passes(task: MattingTask, options: TrainOptions) -> None:
    """What is learned besides the matte, and what is not though it could be."""
    persons = task.train_set.persons
    if isinstance(persons, PersonSet):
        logger.info(
            "where persons are is learned from %d clips and %d stills",
            len(persons.clips),
            len(persons.stills),
        )
    elif persons is not None:
        logger.info("where persons are is learned from the clips themselves")
    learns = any(parameter.requires_grad for parameter in task.model.refiner.parameters())
    if learns and options.refiner_rate == 0:
        logger.warning("the refiner does not learn: --refiner-rate is 0, and 1 the others' rate")


def train_stages(options: TrainOptions, stages: list[Stage]) -> TrainResult:
    """Train stage by stage, see `nunif.training.stages.train_stages`."""
    finals = nunif_stages.final_paths(options.model_dir, len(stages))
    num_done = nunif_stages.count_done(finals, resume=options.resume)
    start = finals[num_done - 1] if num_done else options.checkpoint_file
    arch = choose_arch(options.arch, start)
    first_process_does(
        lambda: check_stages(stages[num_done:], create_network(arch, options, start))
    )
    return nunif_stages.train_stages(
        stages, options, arch, lambda stage, own: train_model(arch, stage.data_dir, own)
    )


def check_stages(stages: list[Stage], model: MattingNetwork) -> None:
    """Look at the data of all stages, before the first of them starts and not after days of others.

    Raises:
        UserError: what is missing or does not fit, and in which stage.
    """
    for stage in stages:
        try:
            create_task(model, stage.data_dir, stage.options)
        except UserError as error:
            raise UserError(f"{stage.where}: {error}") from error
