"""The command `train.py matting`: one run, or one for each stage of a curriculum."""

import logging
from pathlib import Path
from typing import cast

from matting.curriculum import Stage, read_stages
from matting.models import MattingNetwork
from matting.options_train import DEFAULT_ARCH, TrainOptions
from matting.pretrained import load_backbone
from matting.task import check_folders, create_task
from nunif.models import Model, create_model
from nunif.seed import seed_everything
from nunif.training import stages as nunif_stages
from nunif.training.arch import choose_arch
from nunif.training.recompute import recompute_activations
from nunif.training.trainer import TrainResult, train

logger = logging.getLogger(__name__)


def main(options: TrainOptions) -> None:
    """The command `train.py matting`."""
    if options.curriculum is not None:
        train_stages(options, read_stages(options))
        return
    assert options.data_dir is not None  # options.check
    resumed = options.model_dir if options.resume else None
    arch = choose_arch(
        options.arch, options.checkpoint_file, resumed, package="matting", default=DEFAULT_ARCH
    )
    train_model(arch, options.data_dir, options)


def train_model(arch: str, data_dir: Path, options: TrainOptions) -> tuple[TrainResult, Model]:
    """Train one model on a dataset, to the end of the run or of a stage."""
    seed_everything(options.seed)
    model = cast(MattingNetwork, create_model(arch))
    if options.checkpoint_file is None and not options.resume:
        load_backbone(model)
    task = create_task(model, data_dir, options)
    if options.activation_checkpointing:
        recompute_activations(task.model)
    return train(task, options), task.model


def train_stages(options: TrainOptions, stages: list[Stage]) -> TrainResult:
    """Train stage by stage, see `nunif.training.stages.train_stages`."""
    finals = nunif_stages.final_paths(options.model_dir, len(stages))
    num_done = nunif_stages.count_done(finals, resume=options.resume)
    for stage in stages[num_done:]:
        check_folders(stage.data_dir)  # not after days of the stages before
    start = finals[num_done - 1] if num_done else options.checkpoint_file
    arch = choose_arch(options.arch, start, package="matting", default=DEFAULT_ARCH)
    return nunif_stages.train_stages(
        stages, options, arch, lambda stage, own: train_model(arch, stage.data_dir, own)
    )
