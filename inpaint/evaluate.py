"""Score a model on records, beside fills that need no training.

Axes: T frames, H W pixels. Clips are what the trainer evaluates on: the middle of a record and its hardest tile.
"""

import csv
import io
import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from inpaint.dataset import EvalSet
from inpaint.masks import compose, smooth_fill
from inpaint.metrics import mean_of, score_clip
from inpaint.models.memory_dstt import MemoryDSTT
from inpaint.options import FRAMES_PER_DRAW, OCCLUSION, EvaluateOptions
from inpaint.pictures import label, paint_holes, tile, to_uint8
from inpaint.records import scan_records
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import make_folder, write_json, write_whole
from nunif.image import save_png
from nunif.models import Model, load_model
from nunif.training.task import BadSample

logger = logging.getLogger(__name__)

RING = 5  # pixels around a hole whose mean colour fills it
PICTURES = 12  # clips that are shown

Fill = Callable[[Tensor, Tensor], Tensor]  # frames (T, 3, H, W) in [-1, 1], holes (T, 1, H, W) -> filled frames


def main(options: EvaluateOptions) -> None:
    """The command `evaluate`."""
    device = create_device(options.gpu)
    methods = dict(CLASSICAL)
    if options.model is not None:
        model, _ = load_model(options.model, device=device, expect="inpaint.")
        methods["model"] = lambda f, h: run_model(model, f, h)
        if isinstance(model, MemoryDSTT):
            methods["model, memory off"] = lambda f, h: run_frames(model, f, h)
    records, bad = scan_records(options.data_dir, min_frames=FRAMES_PER_DRAW, min_size=options.tile_size)
    for problem in bad:
        logger.warning("left out: %s", problem)
    clips = EvalSet(records, FRAMES_PER_DRAW, (options.tile_size, options.tile_size), {OCCLUSION: 1, "object": 1})
    if options.output is not None:
        make_folder(options.output)
    rows, pictures = [], []
    shown = set(np.linspace(0, len(clips) - 1, min(PICTURES, len(clips))).round().astype(int).tolist())
    for i in tqdm(range(len(clips)), unit="clip", desc="evaluate", disable=None):
        try:
            sample = clips.sample(i)
        except BadSample as problem:
            logger.warning("left out: %s", problem)
            continue
        frames, holes = sample["frames"].to(device), sample["holes"].to(device)
        outputs = {name: fill(frames, holes) for name, fill in methods.items()}
        for name, output in outputs.items():
            rows.append({"clip": records[i].path.name, "method": name, **score_clip(output, frames, holes)})
        if i in shown:
            pictures.append(_picture_row(frames, holes, outputs))
    if not rows:
        raise UserError(f"{options.data_dir}: no record can be read to its end, there is nothing to score")
    print(summary(rows))
    if options.output is not None:
        write_rows(options.output / "scores.csv", rows)
        write_json(options.output / "scores.json", {"clips": rows, "mean": means(rows)})
        save_png(options.output / "clips.png", tile(pictures))
        logger.info("scores.csv, scores.json and clips.png are in %s", options.output)


@torch.inference_mode()
def run_model(model: Model, frames: Tensor, holes: Tensor) -> Tensor:
    """The model on a clip, its memory, if it has one, carried from frame to frame."""
    prediction, _ = model(frames[None], holes[None])
    return compose(frames, holes, prediction[0])


@torch.inference_mode()
def run_frames(model: Model, frames: Tensor, holes: Tensor) -> Tensor:
    """The model on every frame by itself, as if each were the start of a stream."""
    prediction, _ = model(frames[:, None], holes[:, None])
    return compose(frames, holes, prediction[:, 0])


def fill_telea(frames: Tensor, holes: Tensor) -> Tensor:
    """OpenCV's inpainting after Telea (2004) with a radius of 3 pixels, frame by frame."""
    return _per_frame(frames, holes, lambda picture, hole: cv2.inpaint(picture, hole, 3, cv2.INPAINT_TELEA))


def fill_surround_mean(frames: Tensor, holes: Tensor) -> Tensor:
    """Every connected hole in the mean colour of the ring of 5 pixels around it, frame by frame."""
    kernel = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)

    def fill(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        count, parts = cv2.connectedComponents(hole)
        result = picture.copy()
        for part in range(1, count):
            inside = (parts == part).astype(np.uint8)
            ring = (cv2.dilate(inside, kernel) > 0) & (hole == 0)
            if ring.any():
                result[inside > 0] = picture[ring].mean(axis=0).round()
        return result

    return _per_frame(frames, holes, fill)


def fill_smooth(frames: Tensor, holes: Tensor) -> Tensor:
    """The smooth fill that the memory DSTT starts from, frame by frame."""
    return compose(frames, holes, smooth_fill(frames, holes))


CLASSICAL: dict[str, Fill] = {"surround mean": fill_surround_mean, "telea": fill_telea, "smooth fill": fill_smooth}


def means(rows: list[dict]) -> dict[str, dict[str, float]]:
    """The mean of each score over the clips, by method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    scores = [name for name in rows[0] if name not in ("clip", "method")]
    return {m: {score: mean_of([row for row in rows if row["method"] == m], score) for score in scores} for m in methods}


def summary(rows: list[dict]) -> str:
    """A table of the means, and the last method against every other in hole-PSNR, clip by clip."""
    table = means(rows)
    clips = len({row["clip"] for row in rows})
    lines = [f"{'mean over ' + str(clips) + ' clips':<22}" + "".join(f"{name:>12}" for name in next(iter(table.values())))]
    lines += [f"{method:<22}" + "".join(f"{value:12.3f}" for value in scores.values()) for method, scores in table.items()]
    if "model" in table:
        lines.append("hole-PSNR of the model, clip by clip:")
        by_method = {m: np.array([row["hole_psnr"] for row in rows if row["method"] == m]) for m in table}
        for method in table:
            if method != "model":
                gain = by_method["model"] - by_method[method]
                gain = gain[np.isfinite(gain)]
                if not len(gain):
                    continue  # no clip has a hole
                lines.append(
                    f"  against {method:<19} {gain.mean():+.2f} dB, standard deviation {gain.std():.2f}, "
                    f"better on {int((gain > 0).sum())} of {len(gain)}"
                )
    return "\n".join(lines)


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write the scores as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _per_frame(frames: Tensor, holes: Tensor, fill: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Tensor:
    masks = (holes[:, 0] > 0).cpu().numpy().astype(np.uint8)
    pictures = to_uint8(frames.add(1).div(2))
    pictures[masks > 0] = 0  # a fill must not see what it is to find
    filled = np.stack([fill(np.ascontiguousarray(p), m) for p, m in zip(pictures, masks)])
    result = torch.from_numpy(filled).to(frames.device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return compose(frames, holes, result)


def _picture_row(frames: Tensor, holes: Tensor, outputs: dict[str, Tensor]) -> list[np.ndarray]:
    """The middle frame of a clip: holes, each method, truth."""
    middle = slice(len(frames) // 2, len(frames) // 2 + 1)
    truth = to_uint8(frames[middle].add(1).div(2))
    masked = paint_holes(truth, (holes[middle, 0] > 0).cpu().numpy())
    filled = {name: to_uint8(output[middle].float().add(1).div(2)) for name, output in outputs.items()}
    named = {"input": masked, **filled, "truth": truth}
    return [label(picture[0], name) for name, picture in named.items()]
