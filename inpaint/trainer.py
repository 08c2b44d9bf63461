"""What training means for video inpainting: the model, the samples, one step, one evaluation.

Axes: B batch, T frames, H W pixels. Batches hold `frames` (B, T, 3, H, W) in [-1, 1] and `holes` (B, T, 1, H, W).
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from inpaint.dataset import EvalSet, Sample, TrainSet
from inpaint.export import check_packages, export_model
from inpaint.losses import hole_valid_l1, temporal_l1
from inpaint.masks import compose
from inpaint.metrics import mean_of, score_clip
from inpaint.options import TrainOptions, full_name, parse_formats
from inpaint.pictures import label, paint_holes, tile, to_uint8
from inpaint.records import Record, scan_records
from inpaint.releases import RELEASES
from nunif.device import create_device
from nunif.download import find_file
from nunif.errors import UserError
from nunif.models import Model, create_model, load_model, read_checkpoint
from nunif.seed import seed_everything
from nunif.training.distributed import is_first_process
from nunif.training.task import EvalOutput, TrainOutput, stack
from nunif.training.trainer import CHECKPOINT_SUFFIX, train

logger = logging.getLogger(__name__)

DEFAULT_ARCH = "inpaint.memory_dstt_v1"
PREVIEW_COLUMNS = 6
TEMPORAL_WEIGHT = 0.5


def main(options: TrainOptions) -> None:
    """The command `train.py inpaint`."""
    formats = parse_formats(options.export) if options.export is not None else []
    check_packages(formats)  # not after days of training
    # with --resume its weights are not needed, though perhaps its arch
    if options.checkpoint_file is not None and not (options.resume and options.arch is not None):
        options = replace(options, checkpoint_file=str(find_file(options.checkpoint_file, releases=RELEASES)))
    seed_everything(options.seed)
    model = create_model(choose_arch(options.arch, options.checkpoint_file, options.model_dir if options.resume else None))
    task = create_task(model, options.data_dir, tile_size=options.tile_size, skip_eval=options.skip_eval)
    result = train(task, options)
    if formats and is_first_process():
        best, _ = load_model(result.model_path, expect="inpaint.")
        device = create_device(options.gpu)
        export_model(best, result.model_path, options.model_dir / "export", formats=formats, device=device)


def choose_arch(arch: str | None, checkpoint_file: Path | str | None, resumed: Path | None = None) -> str:
    """The full name of the model: as asked for, or that of the file to start from, or the default.

    resumed: the folder of a run that goes on; where it holds one checkpoint, that tells the model.
    """
    if arch is not None:
        return full_name(arch)
    if checkpoint_file is not None:
        name = read_checkpoint(checkpoint_file, package="inpaint")["name"]
        if not name.startswith("inpaint."):
            raise UserError(f"{checkpoint_file} holds the model {name!r}, which is not one for inpainting")
        return name
    names = [path.name.removesuffix(CHECKPOINT_SUFFIX) for path in resumed.glob(f"*{CHECKPOINT_SUFFIX}")] if resumed else []
    return names[0] if len(names) == 1 else DEFAULT_ARCH


def create_task(model: Model, data_dir: Path, *, tile_size: int, skip_eval: bool = False) -> "VideoInpaintTask":
    """Read the dataset's folders train/ and eval/; records that can't be used are named and left out.

    Raises:
        UserError: a folder is missing, or holds no usable record.
    """
    if not data_dir.is_dir():
        raise UserError(f"{data_dir} does not exist: give the folder that holds train/ and eval/")
    train_set = TrainSet(_scan(data_dir / "train", model, tile_size), model.clip_length, tile_size)
    eval_set = None if skip_eval else EvalSet(_scan(data_dir / "eval", model, tile_size), model.clip_length, tile_size)
    return VideoInpaintTask(model, train_set, eval_set)


def _scan(folder: Path, model: Model, tile_size: int) -> list[Record]:
    records, bad = scan_records(folder, min_frames=model.clip_length, min_size=tile_size)
    for problem in bad:
        logger.warning("left out: %s", problem)
    return records


class VideoInpaintTask:
    """Fill the recorded holes of clips."""

    collate = staticmethod(stack)

    def __init__(self, model: Model, train_set: TrainSet, eval_set: EvalSet | None) -> None:
        self.model, self.train_set, self.eval_set = model, train_set, eval_set

    def train_step(self, model: nn.Module, batch: Sample) -> TrainOutput:
        frames, holes = batch["frames"], batch["holes"]
        prediction, _ = model(frames, holes)
        image, temporal = hole_valid_l1(prediction, frames, holes), temporal_l1(prediction, frames, holes)
        losses = image + TEMPORAL_WEIGHT * temporal
        return TrainOutput(losses.mean(), losses.detach(), {"l1": image.mean(), "temporal": temporal.mean()})

    def eval_step(self, model: nn.Module, batch: Sample) -> EvalOutput:
        frames, holes = batch["frames"], batch["holes"]
        prediction, _ = model(frames, holes)
        losses = hole_valid_l1(prediction, frames, holes) + TEMPORAL_WEIGHT * temporal_l1(prediction, frames, holes)
        filled = compose(frames, holes, prediction)
        scores: list[dict[str, float]] = [score_clip(f, t, h) for f, t, h in zip(filled, frames, holes)]
        metrics = {name: mean_of(scores, name) for name in scores[0]}
        metrics = {"loss": losses.mean().item(), **metrics}
        return EvalOutput(metrics, lambda: preview(frames[0], holes[0], filled[0]))

    def sample_name(self, index: int) -> str:
        return self.train_set.records[index].path.name


def preview(frames: Tensor, holes: Tensor, filled: Tensor) -> np.ndarray:
    """Three rows of one clip: the holes, what was made of them, the truth. Shapes as `score_clip`."""
    pick = np.linspace(0, len(frames) - 1, PREVIEW_COLUMNS).round().astype(int).tolist()
    truth, output = (to_uint8(x[pick].float().add(1).div(2)) for x in (frames, filled))
    masked = paint_holes(truth, (holes[pick, 0] > 0).cpu().numpy())
    rows: list[list[Any]] = [list(masked), list(output), list(truth)]
    for row, text in zip(rows, ("input", "output", "truth")):
        row[0] = label(row[0], text)
    return tile(rows)
