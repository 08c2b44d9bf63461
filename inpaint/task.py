"""What training means for video inpainting: the model, the samples, one step, one evaluation.

Axes: B batch, T frames, H W pixels. Steps get `frames` (B, T, 3, H, W) in [-1, 1] and `holes` (B,
    T, 1, H, W).
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from inpaint.adversarial import Adversary
from inpaint.curriculum import DataFolder
from inpaint.dataset import EvalSet, Sample, TrainSet, kinds_for, scan_records, unpack
from inpaint.losses import NamedLoss
from inpaint.models.discriminator import DISCRIMINATORS
from inpaint.models.streaming import StreamingModel
from inpaint.options_holes import MADE_MASKS, parse_masks
from inpaint.options_train import TrainOptions, parse_brightness, parse_tile
from nunif.errors import UserError
from nunif.evaluation.report import mean_of
from nunif.models import Model
from nunif.pictures import label, tile, to_uint8
from nunif.places import may_be_folder, text_of
from nunif.record_list import Records, join
from nunif.record_scan import check_bad_share
from nunif.seed import derive_seed
from nunif.training.distributed import first_process_does
from nunif.training.task import EvalOutput, Task, TrainOutput
from scene.masks import compose, paint_holes
from scene.metrics import score_clip

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]

PREVIEW_COLUMNS = 6

# seconds of a CPU core for a training step of 12 frames of 256x256, by benchmarks/step.py
CPU_STEPS = {
    "inpaint.memory_dstt_v1": 34.4,
    "inpaint.memory_dstt_v1_small": 9.8,
    "inpaint.memory_dstt_v1_tiny": 2.8,
    "inpaint.dstt_v1": 32.6,
    "inpaint.light_video_inpaint_v1_medium": 11.8,
    "inpaint.light_video_inpaint_v1_large": 22.8,
}
QUICK = "inpaint.memory_dstt_v1_tiny"
WORTH_A_WORD = 3.0  # times as fast


def create_task(model: Model, data: list[DataFolder], options: TrainOptions) -> "VideoInpaintTask":
    """Read the datasets' folders train/ and eval/; records that can't be used are named and left
    out.

    Raises:
        UserError: a folder is missing, or holds no usable record; the model can't take clips of
            that length.
    """
    # what one process lists is what all draw from
    train_set, eval_set = first_process_does(
        lambda: read_sets(model, data, options, tell=logger.warning)
    )
    adversary = None
    if options.discriminator is not None:
        network = DISCRIMINATORS[options.discriminator]()
        adversary = Adversary(
            network, options.discriminator_weight, options.generator_warmup_iteration
        )
    return VideoInpaintTask(
        model,
        train_set,
        eval_set,
        NamedLoss(options.loss),
        adversary,
        clip_length=clip_length_for(model, options),
        is_fresh=options.checkpoint_file is None and not options.resume,
    )


def read_sets(
    model: Model, data: list[DataFolder], options: TrainOptions, *, tell: Callable[[str], None]
) -> tuple[TrainSet, EvalSet | None]:
    """What there is to train on and to evaluate by. tell: takes a line about each record that is
    left out. Raises as `create_task`."""
    if not model.num_parameters:
        raise UserError(
            f"{model.name} has nothing to train: choose another --arch, such as fusion_v1"
        )
    stream_length = stream_length_for(model, clip_length_for(model, options), options)
    cut = (stream_length, parse_tile(options.tile_size), parse_masks(options.mask))
    check_folders(data)

    def scan(half: str) -> list[Records]:
        return [_scan(f.path / half, *cut, options, tell) for f in data]

    weights = [folder.weight for folder in data]
    records = share_out(list(zip(scan("train"), weights, strict=True)))
    train_set = TrainSet(records, *cut, parse_brightness(options.brightness))
    if options.skip_eval:
        return train_set, None
    return train_set, EvalSet(join(scan("eval")), *cut)


def check_folders(data: list[DataFolder]) -> None:
    for folder in data:
        if not may_be_folder(folder.path):
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
    options: TrainOptions,
    tell: Callable[[str], None],
) -> Records:
    records, bad = scan_records(
        folder, min_frames=clip_length, min_size=tile_size, quick=True, cache=options.cache
    )
    folder_text, num_bad = text_of(folder), sum(problem.count for problem in bad)
    for problem in bad:
        tell(f"left out: {problem}")
    check_bad_share(folder, len(records), bad, options.max_bad_share)
    if bad:
        total = len(records) + num_bad
        tell(f"left out: {num_bad} of {total} records in {folder_text} can't be used")
    usable = records.where(lambda record: kinds_for(record, masks))
    advice = f"they have no masks, and --mask makes none up: add --mask {','.join(MADE_MASKS)}"
    if not usable:
        raise UserError(f"{folder_text}: none of its {len(records)} records can be used, {advice}")
    if len(usable) < len(records):
        num_left_out = len(records) - len(usable)
        tell(f"left out: {num_left_out} of {len(records)} records in {folder_text}: {advice}")
    return usable


def share_out(folders: Sequence[tuple[Records, float | None]]) -> Records:
    """The records of all datasets, repeated so that each dataset is drawn as often as its weight
    says, within 5 %."""
    if len(folders) == 1 or folders[0][1] is None:
        return join([records for records, _ in folders])
    # of each record
    wanted = np.array([(weight or 0) / len(records) for records, weight in folders])
    # ten copies of the rarest always do
    tries = [np.outer(scale, wanted / wanted.min()) for scale in range(1, 11)]
    copies = (
        next(np.rint(x) for x in tries if (np.abs(np.rint(x) / x - 1) <= 0.05).all())
        .astype(int)
        .ravel()
        .tolist()
    )
    return join([records.times(number) for (records, _), number in zip(folders, copies)])


class VideoInpaintTask(Task):
    """Fill the holes of clips."""

    model: Model
    train_set: TrainSet
    eval_set: EvalSet | None

    def __init__(
        self,
        model: Model,
        train_set: TrainSet,
        eval_set: EvalSet | None,
        loss: NamedLoss,
        adversary: Adversary | None = None,
        *,
        clip_length: int,
        is_fresh: bool = True,
    ) -> None:
        """clip_length: frames of a sample, its last ones, that are learned from; those before fill
        the memory. is_fresh: nothing is learned yet, so that another model would do as well."""
        self.model, self.train_set, self.eval_set = model, train_set, eval_set
        self.loss, self.adversary, self.clip_length = loss, adversary, clip_length
        self.is_fresh = is_fresh
        self.opponent = None if adversary is None else adversary.discriminator
        assert isinstance(train_set.records, Records)
        self._records, self._copies = train_set.records, train_set.records.copies()

    def unpack(self, batch: Sample) -> Batch:
        return unpack(batch)

    def train_step(self, model: nn.Module, batch: Batch) -> TrainOutput:
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

    def eval_step(self, model: nn.Module, batch: Batch) -> EvalOutput:
        prediction, frames, holes = self._predict(model, batch)
        losses, _ = self.loss(prediction, frames, holes)
        filled = compose(frames, holes, prediction)
        scores: list[dict[str, float]] = [
            score_clip(f, t, h) for f, t, h in zip(filled, frames, holes)
        ]
        metrics = {name: mean_of(scores, name) for name in scores[0]}
        metrics = {"loss": losses.mean().item(), **metrics}
        return EvalOutput(metrics, lambda: preview(frames[0], holes[0], filled[0]))

    def _predict(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
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

    def yardstick(self) -> str:
        if self.eval_set is None:
            return ""
        records = self.eval_set.records
        assert isinstance(records, Records)
        names = sorted(records.name(index) for index in range(len(records)))
        masks = ",".join(f"{kind}={weight:g}" for kind, weight in self.eval_set.masks.items())
        height, width = self.eval_set.tile_size
        return (
            f"{'_'.join(self.loss.losses)} of {masks}, {self.clip_length} of "
            f"{self.eval_set.clip_length} frames of {height}x{width}, records "
            f"{derive_seed(*names):x}"
        )

    def faster_on_cpu(self) -> str | None:
        times = CPU_STEPS.get(self.model.name, 0.0) / CPU_STEPS[QUICK]
        if not self.is_fresh or times < WORTH_A_WORD:
            return None
        return (
            f"--arch {QUICK.removeprefix('inpaint.')} is about {times:.0f} times as fast on a CPU"
        )

    def state_dict(self) -> dict[str, Any]:
        return {} if self.adversary is None else {"iterations": self.adversary.iterations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.adversary is not None:
            self.adversary.iterations = int(state["iterations"])

    def upgrade(self, training: dict[str, Any]) -> dict[str, Any]:
        """Checkpoints once held the count of the batches among the discriminator's tensors."""
        opponent = training.get("opponent", {})
        if "iterations" not in opponent:
            return training
        rest = {name: tensor for name, tensor in opponent.items() if name != "iterations"}
        own = {"iterations": int(opponent["iterations"])}
        return training | {"opponent": rest, "task": own}

    def sample_name(self, index: int) -> str:
        name, copy = self._records.name(index), int(self._copies[index])
        return name if copy == 0 else f"{name} ({copy + 1})"

    def sample_keys(self) -> np.ndarray:
        keys = self._records.keys()
        for index in np.flatnonzero(self._copies).tolist():
            keys[index] = derive_seed(self.sample_name(index))
        return keys


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
