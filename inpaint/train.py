"""The command `train.py inpaint`: one run, or one for each stage of a curriculum."""

from dataclasses import replace
from functools import partial

from inpaint.curriculum import DataFolder, Stage, read_arch, read_stages
from inpaint.export import check_packages, export_model
from inpaint.losses import NamedLoss
from inpaint.options_train import TrainOptions, parse_tile
from inpaint.releases import RELEASES
from inpaint.task import create_task, read_sets
from nunif.compiler import compile_in_place
from nunif.device import create_device
from nunif.download import find_file
from nunif.errors import UserError
from nunif.models import Model, create_model, load_model
from nunif.runtime.options import parse_formats
from nunif.seed import seed_everything
from nunif.training import arch as arch_of_run
from nunif.training import stages as nunif_stages
from nunif.training.distributed import first_process_does
from nunif.training.launch import joined
from nunif.training.recompute import recompute_activations
from nunif.training.start import precision_of
from nunif.training.trainer import TrainResult, train

DEFAULT_ARCH = "inpaint.memory_dstt_v1"

choose_arch = partial(
    arch_of_run.choose_arch, package="inpaint", purpose="inpainting", default=DEFAULT_ARCH
)


def main(options: TrainOptions) -> None:
    """The command `train.py inpaint`."""
    formats = parse_formats(options.export) if options.export is not None else []
    check_packages(formats)  # not after days of training
    with joined(options) as options:
        result = _train(options)
        if formats:
            first_process_does(lambda: _export(result, options, formats))


def _train(options: TrainOptions) -> TrainResult:
    """One run, or that of each stage."""
    # with --resume its weights are not needed, though perhaps its arch
    if options.checkpoint_file is not None and not (options.resume and options.arch is not None):
        options = replace(
            options, checkpoint_file=str(find_file(options.checkpoint_file, releases=RELEASES))
        )
    if options.curriculum is not None:
        return train_stages(
            options, read_stages(options), default_arch=read_arch(options) or DEFAULT_ARCH
        )
    assert options.data_dir is not None  # options.check
    arch = choose_arch(
        options.arch, options.checkpoint_file, options.model_dir if options.resume else None
    )
    result, _ = train_model(arch, [DataFolder(options.data_dir)], options)
    return result


def _export(result: TrainResult, options: TrainOptions, formats: list[str]) -> None:
    best, _ = load_model(result.model_path, expect="inpaint.")
    device = create_device(options.gpu)
    export_model(
        best, result.model_path, options.model_dir / "export", formats=formats, device=device
    )


def train_model(
    arch: str, data: list[DataFolder], options: TrainOptions, *, later_epochs: float = 0.0
) -> tuple[TrainResult, Model]:
    """Train one model on datasets, to the end of the run or of a stage. later_epochs: what the
    stages after it take, counted in epochs of this one."""
    seed_everything(options.seed)
    task = create_task(create_model(arch), data, options)
    if options.activation_checkpointing:
        recompute_activations(task.model)
    if options.compile:
        compile_in_place(task.model)
    return train(task, options, later_epochs=later_epochs), task.model


def train_stages(
    options: TrainOptions, stages: list[Stage], *, default_arch: str = DEFAULT_ARCH
) -> TrainResult:
    """Train stage by stage, see `nunif.training.stages.train_stages`. default_arch: see
    `choose_arch`."""
    finals = nunif_stages.final_paths(options.model_dir, len(stages))
    num_done = nunif_stages.count_done(finals, resume=options.resume)
    start = finals[num_done - 1] if num_done else options.checkpoint_file
    arch = choose_arch(options.arch, start, default=default_arch)
    first_process_does(lambda: check_stages(stages[num_done:], create_model(arch)))

    def train_stage(stage: Stage, own: TrainOptions) -> tuple[TrainResult, Model]:
        later = count_later_epochs(stages, stage)
        return train_model(arch, stage.data, own, later_epochs=later)

    return nunif_stages.train_stages(stages, options, arch, train_stage)


def count_later_epochs(stages: list[Stage], stage: Stage) -> float:
    """What the stages after one take, counted in epochs of that one: an epoch takes as long as it
    has pixels to learn from."""

    def pixels(options: TrainOptions) -> int:
        height, width = parse_tile(options.tile_size)
        return options.draws_per_epoch(0) * options.frames_per_draw * height * width

    later = [each.options for each in stages[stages.index(stage) + 1 :]]
    return sum(pixels(each) * each.max_epoch for each in later) / pixels(stage.options)


def check_stages(stages: list[Stage], model: Model) -> None:
    """Look at all that stages need, before the first of them starts and not after days of others:
    folders, records and their masks, packages, precision.

    Raises:
        UserError: what is missing or does not fit, and in which stage.
    """
    for stage in stages:
        try:
            read_sets(model, stage.data, stage.options, tell=lambda text: None)
            NamedLoss(stage.options.loss)
            precision_of(stage.options, create_device(min(stage.options.gpu, 0)))
        except UserError as error:
            raise UserError(f"{stage.where}: {error}") from error
