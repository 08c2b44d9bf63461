"""What training means for video inpainting: the model, the samples, one step, one evaluation.

Axes: B batch, T frames, H W pixels. Batches hold `frames` (B, T, 3, H, W) in [-1, 1] and `holes`
    (B, T, 1, H, W).
"""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from inpaint.adversarial import Adversary
from inpaint.curriculum import DataFolder, Stage, read_arch, read_stages
from inpaint.dataset import EvalSet, Sample, TrainSet, kinds_for, scan_records
from inpaint.export import check_packages, export_model
from inpaint.losses import NamedLoss
from inpaint.models.discriminator import DISCRIMINATORS
from inpaint.models.streaming import StreamingModel
from inpaint.options_holes import MADE_MASKS, parse_masks
from inpaint.options_run import full_name
from inpaint.options_train import TrainOptions, parse_brightness, parse_tile
from inpaint.releases import RELEASES
from nunif.compiler import compile_in_place
from nunif.device import create_device
from nunif.download import find_file
from nunif.errors import UserError
from nunif.evaluation.report import mean_of
from nunif.models import Model, create_model, load_model, read_checkpoint, save_model
from nunif.options import to_dict
from nunif.pictures import label, tile, to_uint8
from nunif.records import Record
from nunif.runtime.options import parse_formats
from nunif.seed import seed_everything
from nunif.training.distributed import is_first_process
from nunif.training.recompute import recompute_activations
from nunif.training.state import move_aside
from nunif.training.task import EvalOutput, TrainOutput, stack
from nunif.training.trainer import CHECKPOINT_SUFFIX, TrainResult, train
from scene.masks import compose, paint_holes
from scene.metrics import score_clip

logger = logging.getLogger(__name__)

DEFAULT_ARCH = "inpaint.memory_dstt_v1"
PREVIEW_COLUMNS = 6


def main(options: TrainOptions) -> None:
    """The command `train.py inpaint`."""
    formats = parse_formats(options.export) if options.export is not None else []
    check_packages(formats)  # not after days of training
    # with --resume its weights are not needed, though perhaps its arch
    if options.checkpoint_file is not None and not (options.resume and options.arch is not None):
        options = replace(
            options, checkpoint_file=str(find_file(options.checkpoint_file, releases=RELEASES))
        )
    if options.curriculum is not None:
        result = train_stages(
            options, read_stages(options), default_arch=read_arch(options) or DEFAULT_ARCH
        )
    else:
        assert options.data_dir is not None  # options.check
        arch = choose_arch(
            options.arch, options.checkpoint_file, options.model_dir if options.resume else None
        )
        result, _ = train_model(arch, [DataFolder(options.data_dir)], options)
    if formats and is_first_process():
        best, _ = load_model(result.model_path, expect="inpaint.")
        device = create_device(options.gpu)
        export_model(
            best, result.model_path, options.model_dir / "export", formats=formats, device=device
        )


def train_model(
    arch: str, data: list[DataFolder], options: TrainOptions
) -> tuple[TrainResult, Model]:
    """Train one model on datasets, to the end of the run or of a stage."""
    seed_everything(options.seed)
    task = create_task(create_model(arch), data, options)
    if options.activation_checkpointing:
        recompute_activations(task.model)
    if options.compile:
        compile_in_place(task.model)
    return train(task, options), task.model


def train_stages(
    options: TrainOptions, stages: list[Stage], *, default_arch: str = DEFAULT_ARCH
) -> TrainResult:
    """Train stage by stage, each in its folder stageN/, and keep each one's last weights as
    stageN_final.pth.

    default_arch: see `choose_arch`.
    With --resume, stages that have such a file are done, and the first that has none goes on from
    its checkpoint.
    """
    finals = [
        options.model_dir / f"stage{number}_final.pth" for number in range(1, len(stages) + 1)
    ]
    num_done = (
        next((i for i, path in enumerate(finals) if not path.exists()), len(stages))
        if options.resume
        else 0
    )
    for stage in stages[num_done:]:
        _check_folders(stage.data)  # not after days of the stages before
        NamedLoss(stage.options.loss)
    arch = choose_arch(
        options.arch,
        finals[num_done - 1] if num_done else options.checkpoint_file,
        default=default_arch,
    )
    if not options.resume:
        _move_stages_aside(finals, arch, options.checkpoint_file)
    result = None
    for i, (stage, final) in enumerate(zip(stages, finals)):
        title = f"stage {i + 1} of {len(stages)}" + (f", {stage.name}" if stage.name else "")
        folder = options.model_dir / f"stage{i + 1}"
        if i < num_done and i + 1 < len(stages):
            logger.info("%s: done, %s", title, final)
            _tell_changes(
                stage.options,
                read_checkpoint(final, package="inpaint").get("train_kwargs") or {},
                title,
            )
            continue
        start = finals[i - 1] if i else options.checkpoint_file
        resume = options.resume and (folder / f"{arch}{CHECKPOINT_SUFFIX}").exists()
        logger.info("%s, in %s", title, folder)
        stage_options = replace(
            stage.options,
            model_dir=folder,
            resume=resume,
            checkpoint_file=None if resume or start is None else str(start),
        )
        result, model = train_model(arch, stage.data, stage_options)
        if is_first_process():
            last = read_checkpoint(result.checkpoint_path, package="inpaint")
            kept = {"train_kwargs": last["train_kwargs"], "stage": i + 1}
            save_model(model, final, state_dict=last["state_dict"], **kept)
            logger.info("%s: done, %s", title, final)
    assert result is not None  # the last stage is always looked at
    return result


def _move_stages_aside(finals: list[Path], arch: str, start: str | None) -> None:
    """Nothing of an earlier run may be taken for this one's, should this one be interrupted and
    resumed."""
    if start is not None and any(final.exists() and final.samefile(start) for final in finals):
        raise UserError(
            f"--checkpoint-file {start} would be replaced by this run: choose another --model-dir"
        )
    if not is_first_process():
        return
    for number, final in enumerate(finals, 1):
        for path in (final, final.parent / f"stage{number}" / f"{arch}{CHECKPOINT_SUFFIX}"):
            move_aside(path, lambda stamp, stem=path.stem: f"{stem}.{stamp}.pth.bk")  # type: ignore[misc]


def _tell_changes(options: TrainOptions, before: dict[str, Any], title: str) -> None:
    """Warn where a stage that is done was trained with other options than the file says now."""
    for name, value in to_dict(options).items():
        # its epochs are all there is of it, so here they matter
        if (
            name in before
            and name not in options.UNREMARKABLE - {"max_epoch"}
            and before[name] != value
        ):
            flag = f"--{name.replace('_', '-')}"
            logger.warning(
                "%s was trained with %s %s, not %s: it is not trained again",
                title,
                flag,
                before[name],
                value,
            )


def choose_arch(
    arch: str | None,
    checkpoint_file: Path | str | None,
    resumed: Path | None = None,
    *,
    default: str = DEFAULT_ARCH,
) -> str:
    """The full name of the model: as asked for, or that of the file to start from, or the default.

    resumed: the folder of a run that goes on; where it holds one checkpoint, that tells the model.
    """
    if arch is not None:
        return full_name(arch)
    if checkpoint_file is not None:
        name = read_checkpoint(checkpoint_file, package="inpaint")["name"]
        if not name.startswith("inpaint."):
            raise UserError(
                f"{checkpoint_file} holds the model {name!r}, which is not one for inpainting"
            )
        return name
    paths = (
        list(resumed.glob(f"[!.]*{CHECKPOINT_SUFFIX}")) if resumed else []
    )  # without a dot, with which partial ones start
    names = [path.name.removesuffix(CHECKPOINT_SUFFIX) for path in paths]
    return names[0] if len(names) == 1 else full_name(default)


def create_task(model: Model, data: list[DataFolder], options: TrainOptions) -> "VideoInpaintTask":
    """Read the datasets' folders train/ and eval/; records that can't be used are named and left
    out.

    Raises:
        UserError: a folder is missing, or holds no usable record; the model can't take clips of
            that length.
    """
    if not model.num_parameters:
        raise UserError(
            f"{model.name} has nothing to train: choose another --arch, such as fusion_v1"
        )
    clip_length = clip_length_for(model, options)
    stream_length = stream_length_for(model, clip_length, options)
    cut = (stream_length, parse_tile(options.tile_size), parse_masks(options.mask))
    _check_folders(data)
    share = options.max_bad_share
    records = _share_out([(_scan(f.path / "train", *cut, share), f.weight) for f in data])
    train_set = TrainSet(records, *cut, parse_brightness(options.brightness))
    eval_set = None
    if not options.skip_eval:
        eval_set = EvalSet(
            [record for f in data for record in _scan(f.path / "eval", *cut, share)], *cut
        )
    adversary = None
    if options.discriminator is not None:
        network = DISCRIMINATORS[options.discriminator]()
        adversary = Adversary(
            network, options.discriminator_weight, options.generator_warmup_iteration
        )
    return VideoInpaintTask(
        model, train_set, eval_set, NamedLoss(options.loss), adversary, clip_length=clip_length
    )


def _check_folders(data: list[DataFolder]) -> None:
    for folder in data:
        if not folder.path.is_dir():
            raise UserError(
                f"{folder.path} does not exist: give the folder that holds train/ and eval/"
            )


def clip_length_for(model: Model, options: TrainOptions) -> int:
    """Frames of a training clip: as asked for, or the model's own; 1 without --video.

    Raises:
        UserError: the model has one length and no other.
    """
    own = model.clip_length
    wanted = options.clip_length or (own if options.video else 1)
    if wanted != own and not model.any_clip_length:
        how = f"--clip-length {wanted}" if options.video else "single pictures (without --video)"
        raise UserError(
            f"{model.name} takes clips of {own} frames only, not {how}: choose a memory_dstt "
            "model for that"
        )
    return wanted


def stream_length_for(model: Model, clip_length: int, options: TrainOptions) -> int:
    """Frames that are read of a record: those of a training clip, and those that fill the memory
    before it.

    Raises:
        UserError: less than a clip, or the model has no memory.
    """
    wanted = options.stream_length or clip_length
    if wanted < clip_length:
        raise UserError(
            f"--stream-length {wanted} is less than the {clip_length} frames of a training clip: "
            "give more"
        )
    if wanted > clip_length and not isinstance(model, StreamingModel):
        raise UserError(
            f"--stream-length {wanted}: {model.name} has no memory to fill: leave it out, or "
            "choose another --arch"
        )
    return wanted


def _scan(
    folder: Path,
    clip_length: int,
    tile_size: tuple[int, int],
    masks: dict[str, float],
    max_bad_share: float,
) -> list[Record]:
    records, bad = scan_records(folder, min_frames=clip_length, min_size=tile_size)
    for problem in bad:
        logger.warning("left out: %s", problem)
    total = len(records) + len(bad)
    if len(bad) > max_bad_share * total:
        first = ", ".join(f"{problem.record.name}: {problem.reason}" for problem in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise UserError(
            f"{folder}: {len(bad)} of {total} records can't be used: mend or remove them, or "
            "allow more with --max-bad-share "
            f"({first}{more})"
        )
    if bad:
        logger.warning("left out: %d of %d records in %s can't be used", len(bad), total, folder)
    usable = [record for record in records if kinds_for(record, masks)]
    advice = f"they have no masks, and --mask makes none up: add --mask {','.join(MADE_MASKS)}"
    if not usable:
        raise UserError(f"{folder}: none of its {len(records)} records can be used, {advice}")
    if len(usable) < len(records):
        logger.warning(
            "left out: %d of %d records in %s: %s",
            len(records) - len(usable),
            len(records),
            folder,
            advice,
        )
    return usable


def _share_out(folders: list[tuple[list[Record], float | None]]) -> list[Record]:
    """The records of all datasets, repeated so that each dataset is drawn as often as its weight
    says, within 5 %."""
    if len(folders) == 1 or folders[0][1] is None:
        return [record for records, _ in folders for record in records]
    wanted = np.array(
        [(weight or 0) / len(records) for records, weight in folders]
    )  # of each record
    tries = [
        np.outer(scale, wanted / wanted.min()) for scale in range(1, 11)
    ]  # ten copies of the rarest always do
    copies = (
        next(np.rint(x) for x in tries if (np.abs(np.rint(x) / x - 1) <= 0.05).all())
        .astype(int)
        .ravel()
        .tolist()
    )
    return [
        record
        for (records, _), num_copies in zip(folders, copies)
        for record in records * num_copies
    ]


class VideoInpaintTask:
    """Fill the holes of clips."""

    collate = staticmethod(stack)

    def __init__(
        self,
        model: Model,
        train_set: TrainSet,
        eval_set: EvalSet | None,
        loss: NamedLoss,
        adversary: Adversary | None = None,
        *,
        clip_length: int,
    ) -> None:
        """clip_length: frames of a sample, its last ones, that are learned from; those before fill
        the memory."""
        self.model, self.train_set, self.eval_set = model, train_set, eval_set
        self.loss, self.adversary, self.clip_length = loss, adversary, clip_length
        self.opponent = None if adversary is None else adversary.discriminator
        counts: Counter[Path] = Counter()
        self._copies: list[int] = []  # how many of the same record stand before each
        for record in train_set.records:
            self._copies.append(counts[record.path])
            counts[record.path] += 1

    def train_step(self, model: nn.Module, batch: Sample) -> TrainOutput:
        prediction, frames, holes = self._predict(model, batch)
        losses, parts = self.loss(prediction, frames, holes)
        loss, names = losses.mean(), {name: value.mean() for name, value in parts.items()}
        verdict = None
        if self.adversary is not None:
            verdict = self.adversary.judge(model, loss, compose(frames, holes, prediction), frames)
        if verdict is None:
            return TrainOutput(loss, losses.detach(), names)
        names |= {"adversarial": verdict[0], "discriminator": verdict[1]}
        return TrainOutput(loss + verdict[0], losses.detach(), names, opponent_loss=verdict[1])

    def eval_step(self, model: nn.Module, batch: Sample) -> EvalOutput:
        prediction, frames, holes = self._predict(model, batch)
        losses, _ = self.loss(prediction, frames, holes)
        filled = compose(frames, holes, prediction)
        scores: list[dict[str, float]] = [
            score_clip(f, t, h) for f, t, h in zip(filled, frames, holes)
        ]
        metrics = {name: mean_of(scores, name) for name in scores[0]}
        metrics = {"loss": losses.mean().item(), **metrics}
        return EvalOutput(metrics, lambda: preview(frames[0], holes[0], filled[0]))

    def _predict(self, model: nn.Module, batch: Sample) -> tuple[Tensor, Tensor, Tensor]:
        """Prediction, frames and holes of the end of every stream, its memory filled by what comes
        before."""
        frames, holes = batch["frames"], batch["holes"]
        before = frames.shape[1] - self.clip_length
        if before <= 0:
            return model(frames, holes)[0], frames, holes
        assert isinstance(self.model, StreamingModel)  # stream_length_for
        memory = self.model.remember(frames[:, :before], holes[:, :before])
        frames, holes = frames[:, before:], holes[:, before:]
        return model(frames, holes, memory)[0], frames, holes

    def sample_name(self, index: int) -> str:
        path = self.train_set.records[index].path
        copy = self._copies[index]
        return path.name if copy == 0 else f"{path.name} ({copy + 1})"


def preview(frames: Tensor, holes: Tensor, filled: Tensor) -> np.ndarray:
    """Three rows of one clip: the holes, what was made of them, the truth. Shapes as
    `score_clip`."""
    pick = np.linspace(0, len(frames) - 1, PREVIEW_COLUMNS).round().astype(int).tolist()
    truth, output = (to_uint8(x[pick].float().add(1).div(2)) for x in (frames, filled))
    masked = paint_holes(truth, (holes[pick, 0] > 0).cpu().numpy())
    rows: list[list[Any]] = [list(masked), list(output), list(truth)]
    for row, text in zip(rows, ("input", "output", "truth")):
        row[0] = label(row[0], text)
    return tile(rows)
