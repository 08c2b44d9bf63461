"""Score models on films or on records, beside fills that need no training.

Axes: T frames, H W pixels. Of records, clips are what the trainer evaluates on: the middle and its
    hardest tile.
"""

import csv
import io
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from inpaint.dataset import EvalSet, scan_records
from inpaint.evaluation.films import make_holes
from inpaint.evaluation.methods import BASELINES, Method, open_model, surround_mean, telea
from inpaint.evaluation.scores import (
    Motion,
    Score,
    by_thirds,
    curve_of,
    never_seen,
    open_perceptual,
    score_film,
)
from inpaint.models.streaming import StreamingModel
from inpaint.options_evaluate import HOLE_FAMILIES, LONG, UNTRAINED, ZERO_MEMORY, EvaluateOptions
from inpaint.options_holes import OCCLUSION
from inpaint.options_run import parse_look_ahead
from inpaint.options_train import FRAMES_PER_DRAW
from nunif.device import create_device
from nunif.errors import UserError
from nunif.evaluation.report import Report, mean_of
from nunif.files import make_folder, write_json, write_text
from nunif.image import save_png
from nunif.models import Model, load_model
from nunif.options import changed, parse_names, parse_size
from nunif.pictures import label, tile, to_uint8
from nunif.runtime.options import parse_objects
from nunif.training.task import BadSample
from nunif.video.clips import BadClip, clip_name, list_clips, read_clip, read_masks
from scene.flow import motion_of
from scene.masks import compose, paint_holes, smooth_fill
from scene.metrics import score_clip

logger = logging.getLogger(__name__)

PICTURES = 12  # clips that are shown
LONG_ENOUGH = 120  # frames in which a memory can age

Fill = Callable[
    [Tensor, Tensor], Tensor
]  # frames (T, 3, H, W) in [-1, 1], holes (T, 1, H, W) -> filled frames


def main(options: EvaluateOptions) -> None:
    """The command `evaluate`."""
    if options.data_dir.is_dir() and any(options.data_dir.glob("*/*_C.png")):
        score_records(options)
    else:
        score_films(options)


def score_records(options: EvaluateOptions) -> None:
    """Tiles of a folder of records with their own holes."""
    if (
        len(options.model) > len(options.model_files)
        or len(options.model) > 1
        or options.masks is not None
    ):
        raise UserError(
            f"-i {options.data_dir} holds records: give at most one -m, a model file, and no "
            "--masks"
        )
    _tell_no_effect(
        options,
        ("--baselines", "--holes", "--size", "--frames", "--start", "--seed", "--look-ahead"),
        "on records",
    )
    device = create_device(options.gpu)
    methods = dict(CLASSICAL)
    if options.model_files:
        model, _ = load_model(options.model_files[0], device=device, expect="inpaint.")
        methods["model"] = lambda f, h: run_model(model, f, h)
        if isinstance(model, StreamingModel):
            methods["model, memory off"] = lambda f, h: run_frames(model, f, h)
    records, bad = scan_records(
        options.data_dir, min_frames=FRAMES_PER_DRAW, min_size=options.tile_size
    )
    for problem in bad:
        logger.warning("left out: %s", problem)
    clips = EvalSet(
        records,
        FRAMES_PER_DRAW,
        (options.tile_size, options.tile_size),
        {OCCLUSION: 1, "object": 1},
    )
    if options.output is not None:
        make_folder(options.output)
    rows, pictures = [], []
    shown = set(
        np.linspace(0, len(clips) - 1, min(PICTURES, len(clips))).round().astype(int).tolist()
    )
    for i in tqdm(range(len(clips)), unit="clip", desc="evaluate", disable=None):
        try:
            sample = clips.sample(i)
        except BadSample as problem:
            logger.warning("left out: %s", problem)
            continue
        frames, holes = sample["frames"].to(device), sample["holes"].to(device)
        outputs = {name: fill(frames, holes) for name, fill in methods.items()}
        for name, output in outputs.items():
            rows.append(
                {"clip": records[i].path.name, "method": name, **score_clip(output, frames, holes)}
            )
        if i in shown:
            pictures.append(_picture_row(frames, holes, outputs))
    if not rows:
        raise UserError(
            f"{options.data_dir}: no record can be read to its end, there is nothing to score"
        )
    print(summary(rows))
    if options.output is not None:
        write_rows(options.output / "scores.csv", rows)
        write_json(options.output / "scores.json", {"clips": rows, "mean": means(rows)})
        if pictures:  # those to be shown may be the ones that can't be read
            save_png(options.output / "clips.png", tile(pictures))
        logger.info("scores.csv, scores.json and clips.png are in %s", options.output)


def score_films(options: EvaluateOptions) -> None:
    """Films with masks that are given or made up."""
    _tell_no_effect(options, ("--tile-size",), "on films")
    if options.masks is not None:
        _tell_no_effect(options, ("--holes", "--seed"), "with --masks")
    else:
        _tell_no_effect(options, ("--objects", "--large-holes"), "without --masks")
    methods, models = _methods(options)
    size = parse_size(options.size) if options.size else None
    clips = list_clips(options.data_dir)
    if options.masks is not None and not options.masks.is_dir():
        raise UserError(
            f"--masks {options.masks} is no folder: give one that holds a mask for each film, of "
            "its name"
        )
    if options.output is not None:
        make_folder(options.output)
    families = ("masks",) if options.masks else parse_names("--holes", options.holes, HOLE_FAMILIES)
    if not families:
        raise UserError(
            f"--holes {options.holes}: there is nothing to fill: choose from "
            f"{', '.join(HOLE_FAMILIES)}"
        )
    report = Report(models=models)
    perceptual = open_perceptual()
    for path in tqdm(clips, unit="clip", desc="evaluate", disable=None):
        try:
            frames = read_clip(
                path,
                start=options.start,
                num_frames=options.frames,
                size=size,
                deinterlace=options.deinterlace,
            )
            if LONG in families and len(frames) < LONG_ENOUGH:
                logger.warning(
                    "%s has %d frames: --holes long is meant for %d or more (--frames)",
                    path,
                    len(frames),
                    LONG_ENOUGH,
                )
            motion, motion_reversed = motion_of(frames), motion_of(frames[::-1])
            for family in families:
                _score_holes(
                    report,
                    options,
                    methods,
                    path,
                    family,
                    frames,
                    motion,
                    motion_reversed,
                    perceptual,
                )
        except BadClip as problem:
            logger.warning("left out: %s: %s", path, problem)
    if not report.rows:
        raise UserError(
            f"-i {options.data_dir}: no film of it can be used, there is nothing to score"
        )
    if options.output is not None:
        report.write(options.output)
        logger.info("report.html, scores.csv, scores.json and clips.png are in %s", options.output)
    print(report.text())


def _tell_no_effect(options: EvaluateOptions, flags: tuple[str, ...], where: str) -> None:
    for flag in changed(options):
        if flag in flags:
            logger.warning("%s has no effect %s", flag, where)


def _methods(options: EvaluateOptions) -> tuple[dict[str, Method], list[str]]:
    """All that runs, by name, and which of them were asked for with -m."""
    device, names = create_device(options.gpu), []
    methods = {
        name: BASELINES[name]
        for name in parse_names("--baselines", options.baselines, tuple(BASELINES))
    }
    depths = [parse_look_ahead(word, shots=True) for word in options.look_ahead.split(",")]
    for word in options.model:
        if word in BASELINES:
            methods[word] = BASELINES[word]
            names.append(word)
            continue
        special = word in (ZERO_MEMORY, UNTRAINED)
        path = options.model_files[0] if special else Path(word)
        for depth in [0] if word == ZERO_MEMORY else depths:
            name = (word if special else path.stem) + (f"+{depth}" if depth else "")
            while not special and name in methods:
                name += "'"
            methods[name] = open_model(
                path,
                device=device,
                forgets=word == ZERO_MEMORY,
                untrained=word == UNTRAINED,
                look_ahead=depth,
            )
            if not special:  # they are what a model is compared with
                names.append(name)
    if not methods:
        raise UserError(
            "there is nothing to judge: give -m a model file or a method, or leave --baselines out"
        )
    return methods, list(dict.fromkeys(names))


def _score_holes(
    report: Report,
    options: EvaluateOptions,
    methods: dict[str, Method],
    path: Path,
    family: str,
    frames: np.ndarray,
    motion: Motion,
    motion_reversed: Motion,
    perceptual: dict[str, Score],
) -> None:
    size = (frames.shape[1], frames.shape[2])
    if options.masks is not None:
        holes = read_masks(
            options.masks,
            path,
            start=options.start,
            num_frames=len(frames),
            size=size,
            objects=parse_objects(options.objects),
            large_holes=options.large_holes,
            deinterlace=options.deinterlace,
        )
        made_of = "masks"
    else:
        holes, made_of = make_holes(family, clip_name(path), frames, seed=options.seed)
    if not holes.any():
        logger.warning("left out: %s: no %s holes came about", path, family)
        return
    unseen = never_seen(holes, motion, motion_reversed)
    emptied = np.where(
        holes[..., None], np.uint8(0), frames
    )  # a fill must not see what it is to find
    shown = {"input": paint_holes(frames, holes)}
    for name, fill in methods.items():
        begin = time.perf_counter()
        output = fill(emptied, holes)
        seconds = time.perf_counter() - begin
        output = np.where(holes[..., None], output, frames)
        scores = score_film(output, frames, holes, motion, unseen)
        if family == LONG:
            scores |= by_thirds(output, frames, holes)
        scores |= {column: score(output, frames) for column, score in perceptual.items()}
        report.add(
            clip_name(path),
            family,
            made_of,
            name,
            scores,
            len(frames) / seconds,
            curve_of(output, frames, holes),
        )
        shown[name] = output
    middle = len(frames) // 2
    shown["truth"] = frames
    report.pictures.append([label(picture[middle], name) for name, picture in shown.items()])
    report.titles.append(f"{clip_name(path)}, {family} ({made_of})")


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


def fill_smooth(frames: Tensor, holes: Tensor) -> Tensor:
    """The smooth fill that the memory DSTT starts from, frame by frame."""
    return compose(frames, holes, smooth_fill(frames, holes))


CLASSICAL: dict[str, Fill] = {
    "surround mean": lambda frames, holes: _per_frame(frames, holes, surround_mean),
    "telea": lambda frames, holes: _per_frame(frames, holes, telea),
    "smooth fill": fill_smooth,
}


def means(rows: list[dict]) -> dict[str, dict[str, float]]:
    """The mean of each score over the clips, by method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    scores = [name for name in rows[0] if name not in ("clip", "method")]
    return {
        m: {score: mean_of([row for row in rows if row["method"] == m], score) for score in scores}
        for m in methods
    }


def summary(rows: list[dict]) -> str:
    """A table of the means, and the last method against every other in hole-PSNR, clip by clip."""
    table = means(rows)
    clips = len({row["clip"] for row in rows})
    lines = [
        f"{'mean over ' + str(clips) + ' clips':<22}"
        + "".join(f"{name:>12}" for name in next(iter(table.values())))
    ]
    lines += [
        f"{method:<22}" + "".join(f"{value:12.3f}" for value in scores.values())
        for method, scores in table.items()
    ]
    if "model" in table:
        lines.append("hole-PSNR of the model, clip by clip:")
        by_method = {
            m: np.array([row["hole_psnr"] for row in rows if row["method"] == m]) for m in table
        }
        for method in table:
            if method != "model":
                gain = by_method["model"] - by_method[method]
                gain = gain[np.isfinite(gain)]
                if not len(gain):
                    continue  # no clip has a hole
                lines.append(
                    f"  against {method:<19} {gain.mean():+.2f} dB, standard deviation "
                    f"{gain.std():.2f}, "
                    f"better on {int((gain > 0).sum())} of {len(gain)}"
                )
    return "\n".join(lines)


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write the scores as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _per_frame(
    frames: Tensor, holes: Tensor, fill: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Tensor:
    masks = (holes[:, 0] > 0).cpu().numpy()
    pictures = to_uint8(frames.add(1).div(2))
    pictures[masks] = 0  # a fill must not see what it is to find
    filled = np.stack([fill(np.ascontiguousarray(p), m) for p, m in zip(pictures, masks)])
    result = (
        torch.from_numpy(filled).to(frames.device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    )
    return compose(frames, holes, result)


def _picture_row(frames: Tensor, holes: Tensor, outputs: dict[str, Tensor]) -> list[np.ndarray]:
    """The middle frame of a clip: holes, each method, truth."""
    middle = slice(len(frames) // 2, len(frames) // 2 + 1)
    truth = to_uint8(frames[middle].add(1).div(2))
    masked = paint_holes(truth, (holes[middle, 0] > 0).cpu().numpy())
    filled = {
        name: to_uint8(output[middle].float().add(1).div(2)) for name, output in outputs.items()
    }
    named = {"input": masked, **filled, "truth": truth}
    return [label(picture[0], name) for name, picture in named.items()]
