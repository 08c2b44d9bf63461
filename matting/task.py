"""What training means for matting: the model, the samples, one step, one evaluation.

Axes: B batch, T frames, H W pixels. Batches are those of `matting.dataset`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matting.backgrounds import Backgrounds, split
from matting.dataset import (
    EvalSet,
    Passes,
    Sample,
    TrainSet,
    scan_labelled,
    scan_records,
)
from matting.losses import (
    composition_loss,
    gradient_loss,
    matting_losses,
    perceptual_loss,
    person_loss,
)
from matting.metrics import matte_scores
from matting.models import MattingNetwork
from matting.options_train import TrainOptions
from matting.persons import PersonSet, scan_persons
from nunif.errors import UserError
from nunif.pictures import label, tile, to_uint8
from nunif.places import may_be_folder
from nunif.record_list import Records, join
from nunif.record_scan import check_bad_share
from nunif.records import BadRecord
from nunif.training.distributed import first_process_does
from nunif.training.task import EvalOutput, Task, TrainOutput
from scene.perceptual import load_lite

logger = logging.getLogger(__name__)

PREVIEW_COLUMNS = 5
SMALLEST = 64  # that the loss's pyramid takes


@dataclass(frozen=True)
class Weights:
    """Of losses that are not everybody's, 0 for none."""

    composition: float
    gradient: float
    perceptual: float


class MattingTask(Task):
    """Find who is in a clip, and what they look like."""

    model: MattingNetwork
    train_set: TrainSet
    eval_set: EvalSet | None
    same_shapes = False  # each batch has a size of its own

    pictures_in_events = 4

    # updates of one window, in their order
    LOW, HIGH, PERSONS = range(3)

    def __init__(
        self,
        model: MattingNetwork,
        train_set: TrainSet,
        eval_set: EvalSet | None,
        options: TrainOptions,
    ) -> None:
        self.model, self.train_set, self.eval_set = model, train_set, eval_set
        self._ratio = options.downsample_ratio
        self._rates = {
            "encoder.": options.backbone_rate,
            "pool.": options.pool_rate,
            "refiner.": options.refiner_rate,
        }
        self._other_rate = options.decoder_rate
        self._freeze_norms = options.freeze_norms
        self._high_ratio = options.high_ratio
        self._weights = Weights(
            options.composition_weight, options.gradient_weight, options.perceptual_weight
        )
        self._likeness = load_lite() if options.perceptual_weight else None
        is_refined = self._ratio != 1 or (train_set.high is not None and self._high_ratio != 1)
        # what isn't used has no gradient
        used = {"person_head.": train_set.persons is not None, "refiner.": is_refined}
        # and what has no rate needs none, which saves its backward pass
        used["encoder."] = options.backbone_rate > 0
        idle = tuple(prefix for prefix, is_used in used.items() if not is_used)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(idle))

    def train_step(self, model: nn.Module, batch: Passes) -> TrainOutput | Iterator[TrainOutput]:
        if self._freeze_norms:
            self.model.encoder.eval()
        low = self._matting_pass(model, batch["low"], self._ratio)
        return low if len(batch) == 1 else self._all_passes(model, batch, low)

    def _all_passes(
        self, model: nn.Module, batch: Passes, low: TrainOutput
    ) -> Iterator[TrainOutput]:
        """Each pass has an update of its own, so that none moves what it does not use."""
        nothing = torch.zeros_like(low.sample_losses)  # that tells hard clips from easy ones
        yield low
        del low
        if "high" in batch:
            high = self._matting_pass(model, batch["high"], self._high_ratio)
            parts = {f"high_{name}": value for name, value in high.parts.items()}
            yield replace(high, sample_losses=nothing, parts=parts, update=self.HIGH)
            del high
        if "persons" in batch:
            loss = self._person_pass(model, batch["persons"])
            parts = {"person": loss.detach()}
            yield TrainOutput(loss, nothing, parts, update=self.PERSONS)

    def _matting_pass(self, model: nn.Module, batch: Sample, ratio: float) -> TrainOutput:
        batch = _resized(batch, torch.rand(2).tolist())  # seeded for each batch
        foreground, alpha, *_ = model(batch["frames"], downsample_ratio=ratio)
        parts = self._losses(foreground, alpha, batch)
        loss = torch.stack(list(parts.values())).sum()
        with torch.no_grad():
            per_clip = (alpha - batch["alpha"]).abs().mean((1, 2, 3, 4))
        return TrainOutput(loss, per_clip.float(), {n: p.detach() for n, p in parts.items()})

    def _person_pass(self, model: nn.Module, batch: Sample) -> Tensor:
        clips = {"frames": batch["frames"], "mask": batch["mask"]}
        clips = _resized(clips, torch.rand(2).tolist())
        if batch["still"].any():  # each is a clip of one frame
            clips = {name: x.flatten(0, 1)[:, None] for name, x in clips.items()}
        logits, *_ = model(clips["frames"], segmentation_pass=True)
        return person_loss(logits.float(), (clips["mask"] > 0.5).float())

    def _losses(self, foreground: Tensor, alpha: Tensor, batch: Sample) -> dict[str, Tensor]:
        foreground, alpha = foreground.float(), alpha.float()
        truth, true_alpha = batch["foreground"], batch["alpha"]
        parts = matting_losses(foreground, alpha, truth, true_alpha)
        weights = self._weights
        if weights.composition or self._likeness is not None:
            behind = batch["background"]
            frames = true_alpha * truth + (1 - true_alpha) * behind
        if weights.composition:
            error = composition_loss(alpha, foreground, behind, frames)
            parts["composition"] = weights.composition * error
        if weights.gradient:
            parts["gradient"] = weights.gradient * gradient_loss(alpha, true_alpha)
        if self._likeness is not None:
            error = perceptual_loss(alpha, foreground, behind, frames, self._likeness)
            parts["perceptual"] = weights.perceptual * error
        return parts

    def eval_step(self, model: nn.Module, batch: Sample) -> EvalOutput:
        foreground, alpha, *_ = model(batch["frames"], downsample_ratio=self._ratio)
        parts = self._losses(foreground, alpha, batch)
        loss = torch.stack(list(parts.values())).sum().item()
        pairs = zip(alpha[:, :, 0].float().cpu().numpy(), batch["alpha"][:, :, 0].cpu().numpy())
        scores = [matte_scores(a, t) for a, t in pairs]
        metrics = {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}
        first = [x[0] for x in (batch["frames"], foreground, alpha, batch["alpha"])]
        return EvalOutput({"loss": loss, **metrics}, partial(preview, *first))

    def sample_name(self, index: int) -> str:
        return self.train_set.records[index].path.name

    def sample_keys(self) -> np.ndarray:
        records = self.train_set.records
        return records.keys() if isinstance(records, Records) else super().sample_keys()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is counted or gathered here."""

    def rate_factor(self, name: str) -> float:
        return next(
            (f for start, f in self._rates.items() if name.startswith(start)), self._other_rate
        )


def check_folders(data_dir: Path) -> None:
    """
    Raises:
        UserError: there is no such folder.
    """
    if not may_be_folder(data_dir):
        raise UserError(f"{data_dir} does not exist: give the folder that holds train/ and eval/")


def create_task(model: MattingNetwork, data_dir: Path, options: TrainOptions) -> MattingTask:
    """Read the dataset's folders train/ and eval/.

    Raises:
        UserError: a folder is missing, or holds no record that can be used.
    """
    # what one process lists is what all draw from
    train_set, eval_set = first_process_does(lambda: read_sets(data_dir, options))
    return MattingTask(model, train_set, eval_set, options)


def read_sets(data_dir: Path, options: TrainOptions) -> tuple[TrainSet, EvalSet | None]:
    """What there is to train on and to evaluate by. Raises as `create_task`."""
    check_folders(data_dir)
    cut = (options.clip_length, options.size)
    high = None
    if options.high_size is not None:
        high = options.high_clip_length, options.high_size
    persons = _find_persons(options)
    people, behind = _people(data_dir, "train", options)
    train_set = TrainSet(people, *cut, high=high, persons=persons, backgrounds=behind)
    if options.skip_eval:
        return train_set, None
    people, behind = _people(data_dir, "eval", options)
    return train_set, EvalSet(people, *cut, backgrounds=behind)


def _people(data_dir: Path, half: str, options: TrainOptions) -> tuple[Records, Backgrounds]:
    """The records of people of one half of the dataset, and what they are put before."""
    others = Records()
    if options.backgrounds is not None:
        others = _scan(options.backgrounds / half, options)
    people, behind = split(data_dir / half, _scan(data_dir / half, options), others)
    if options.labelled is not None:
        folder = options.labelled / half
        found, bad = scan_labelled(folder, min_frames=options.clip_length, cache=options.cache)
        _check_share(folder, len(found), bad, options)
        people = join([people, found])
    return people, behind


def _scan(folder: Path, options: TrainOptions) -> Records:
    found, bad = scan_records(
        folder, min_frames=options.clip_length, quick=True, cache=options.cache
    )
    _check_share(folder, len(found), bad, options)
    return found


def _find_persons(options: TrainOptions) -> PersonSet | Literal["own"] | None:
    """What the head for persons learns from, if it learns."""
    folder = options.segmentation
    if folder is None:
        return "own" if options.segmentation_pass else None
    found, bad = scan_persons(
        folder, clip_length=options.clip_length, size=options.size, cache=options.cache
    )
    _check_share(folder, len(found.clips) + len(found.stills), bad, options)
    return found


def _check_share(folder: Path, num_found: int, bad: list[BadRecord], options: TrainOptions) -> None:
    """Tell of records that can't be used. Raises UserError if they are too many."""
    for problem in bad:
        logger.warning("left out: %s", problem)
    check_bad_share(folder, num_found, bad, options.max_bad_share)


def _resized(batch: Sample, shares: list[float]) -> Sample:
    """Height and width, each between half of the size and all of it: pictures are scaled to the
    longer one, and their middle is cut out. shares: two numbers in [0, 1)."""
    size = batch["frames"].shape[-1]
    height, width = (max(SMALLEST, int(size / 2 + share * (size - size / 2))) for share in shares)
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2

    def cut(x: Tensor) -> Tensor:
        small = F.interpolate(
            x.flatten(0, 1), (side, side), mode="bilinear", align_corners=False, antialias=True
        )
        part = small[..., top : top + height, left : left + width]
        return part.unflatten(0, x.shape[:2]).clamp(0, 1)

    return {name: cut(value) for name, value in batch.items()}


def preview(frames: Tensor, foreground: Tensor, alpha: Tensor, truth: Tensor) -> np.ndarray:
    """Four rows of one clip: the frames, the person before green, alpha and its truth. (T, C, H, W)
    in [0, 1]."""
    pick = np.linspace(0, len(frames) - 1, PREVIEW_COLUMNS).round().astype(int).tolist()
    green = torch.tensor([0.2, 0.7, 0.3], device=frames.device).view(3, 1, 1)
    cut_out = alpha * foreground + (1 - alpha) * green
    rows = []
    for text, x in (("input", frames), ("cut-out", cut_out), ("alpha", alpha), ("truth", truth)):
        row: list[np.ndarray] = list(to_uint8(x[pick].float().expand(-1, 3, -1, -1)))
        row[0] = label(row[0], text)
        rows.append(row)
    return tile(rows)
