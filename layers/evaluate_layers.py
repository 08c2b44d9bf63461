"""Score how rendered clips are taken apart: python -m layers evaluate --layers.

The options are read here and nowhere below.
"""

import logging
import math
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import layers
import nunif
import scene
from inpaint.runtime.apply import painted
from layers.evaluation.layer_methods import Apart, Method
from layers.evaluation.layer_truth import (
    LayerTruth,
    hidden_joints,
    id_scores,
    occluder_scores,
    scene_scores,
)
from layers.evaluation.methods import BASELINE_FILLS, ways_to_fill
from layers.options_evaluate import BASELINES, EvaluateOptions
from layers.runtime.hole_size import HoleSize
from layers.runtime.remove import FILLER
from nunif.errors import UserError
from nunif.evaluation.finished import key_of, key_of_code
from nunif.evaluation.judging import evaluate, evenly
from nunif.evaluation.names import name_models
from nunif.evaluation.report import Column, Headline, Report
from nunif.evaluation.views import Place, place_around
from nunif.options import parse_names, tell_no_effect
from nunif.record_scan import scan_records
from nunif.records import BadRecord, Record, read_info, read_plane
from scene.people.pose import read_pose
from scene.planes import ALPHA, BEHIND, COLOUR, DISPARITY, OCCLUDER

logger = logging.getLogger(__name__)

PLANES = (COLOUR, ALPHA, BEHIND, OCCLUDER, DISPARITY)
GROWN = {"masks 2 pixels wider": 2, "masks 2 pixels narrower": -2}
LOW = -math.inf
COLUMNS = {
    "occluder": Column("Intersection over union of what stands before people and touches them."),
    "occluder_false": Column("Share of the picture taken for such a thing where none is.", LOW),
    "occluder_change": Column("Share of it that changes in a frame beside its own motion.", LOW),
    "occluder_change_true": Column("The same of the true one: pixels and rounding.", LOW),
    "rule_ms": Column("CPU time in ms that finding it takes a frame.", LOW),
    "scene": Column("PSNR in dB of the scene in the hole."),
    "touched": Column("Pixels of the scene changed outside the hole.", LOW),
    "id_switches": Column("How often a person's layer changes, of two who don't cross.", LOW),
    "id_switches_crossing": Column("The same of two who cross.", LOW),
    "ids_shared": Column("Share of frames in which two who don't cross are in one layer.", LOW),
}
NO_EFFECT = (
    "--masks", "--objects", "--size", "--deinterlace", "--matting", "--segmenter", "--no-gate",
    "--keep", "--hold", "--shadow", "--margin", "--grow",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """A record with its truth; see `nunif.evaluation.judging.Clip`."""

    name: str
    path: Path
    number: int
    frames: np.ndarray
    truth: LayerTruth
    family: str
    is_shown: bool

    @property
    def title(self) -> str:
        return self.name

    def key(self, program: Any) -> str:
        return key_of(self.frames, *self.truth.arrays(), "layers", program)

    def open(self) -> "Case":
        return Case(self)


@dataclass
class Case:
    """A record, ready for methods."""

    clip: Clip
    made_of: str | None = None

    @cached_property
    def place(self) -> Place:
        return place_around(self.clip.truth.persons())

    def shown(self) -> dict[str, np.ndarray]:
        return {"input": self.clip.frames, "truth": self.clip.truth.behind}

    def run(self, method: Method) -> tuple[dict[str, Any], np.ndarray]:
        """Take it apart and score; shown is the scene, or what was found to stand before people."""
        frames, truth = self.clip.frames, self.clip.truth
        apart = method.apart(frames, truth)
        scores = {name: math.nan for name in COLUMNS}
        if method.tells_parts:
            scores |= occluder_scores(truth, apart) | id_scores(truth, apart)
        result: dict[str, Any] = {"scores": scores, "frames": len(frames)}
        if method.fill is None:
            return result, np.stack([painted(*x) for x in zip(frames, apart.occluder > 127)])
        made = method.fill(frames, apart.hole)
        of_scene, curve = scene_scores(truth, apart, frames, made)
        result["scores"] = scores | of_scene
        return result | {"curve": curve}, made


def evaluate_layers(options: EvaluateOptions) -> None:
    """
    Raises:
        UserError: no record can be used.
    """
    tell_no_effect(options, NO_EFFECT, "with --layers: people are given, and nobody is removed")
    found, bad = scan_records(options.data_dir, PLANES, min_frames=options.start + 2)
    for problem in bad:
        logger.warning("left out: %s", problem)
    found = found.where(lambda record: all(record.has(plane.letter) for plane in PLANES))
    nothing = (
        f"-i {options.data_dir}: no record has all of "
        f"{', '.join('_' + plane.letter for plane in PLANES)}: make some with "
        "create_training_data.py world"
    )
    if not found:
        raise UserError(nothing)
    methods, judged = open_methods(options)
    report = Report(
        headline=Headline("scene", name="PSNR of the scene in the hole", unit="dB"),
        models=judged,
        title="Layer scores",
        columns=COLUMNS,
        note=f"The records in {options.data_dir}: rendered people, who are given, up to "
        f"{options.frames} frames of each.",
    )
    # of whose sources results follow; what lies above runtime is reached through it alone
    tasks = (sys.modules["inpaint"], sys.modules["matting"])
    evaluate(
        clips_of(found, start=options.start, num_frames=options.frames),
        num_clips=len(found),
        methods=methods,
        report=report,
        program=key_of_code((layers, *tasks, scene, nunif), (torch, cv2, np)),
        folder=options.output,
        nothing=nothing,
    )
    for line in spread(report.rows, methods):
        print(line)


def clips_of(found: Sequence[Record], *, start: int, num_frames: int) -> Iterator[Clip]:
    """Up to `num_frames` whole frames of each record. Raises BadRecord."""
    shown = evenly(len(found))
    for number, record in enumerate(found):
        numbers = record.numbers[start : start + num_frames]
        frames, alpha, behind, occluder, near = (
            read_plane(record, plane.letter, numbers) for plane in PLANES
        )
        disparity = near.astype(np.float32) / 65535
        joints, hidden = _joints(record, slice(start, start + num_frames), disparity)
        truth = LayerTruth(alpha, behind, occluder, disparity, joints, hidden)
        family, is_shown = truth.family(), number in shown
        yield Clip(record.path.name, record.path, number, frames, truth, family, is_shown)


def _joints(record: Record, frames: slice, disparity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In pixels (T, P, J, 2), and which are hidden, (T, P, J). Raises BadRecord."""
    try:
        pose = {name: values[frames] for name, values in _pose_of(record).items()}
        far, near = read_info(record.path)["inverse_depth"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadRecord(record.path, f"its pose can't be read: {error}") from error
    depth = 1 / (far + disparity * (near - far))
    return pose["pixels"], hidden_joints(pose["pixels"], pose["distance"], depth)


def _pose_of(record: Record) -> dict[str, np.ndarray]:
    """pixels (T, P, J, 2) of joints, and their distance (T, P, J) from the camera in metres."""
    pose = read_pose(record.path)
    rotation, shift = pose["extrinsics"][:, :3], pose["extrinsics"][:, 3]
    return {"pixels": pose["pixels"], "distance": pose["joints"] @ rotation[2] + shift[2]}


def open_methods(options: EvaluateOptions) -> tuple[dict[str, Method], list[str]]:
    """All methods by name, and which are judged."""
    apart = Apart(0, HoleSize())
    made_of = [apart.mask_grows, vars(apart.hole_size)]
    methods = {}
    for name in parse_names("--baselines", options.baselines, BASELINES):
        methods[name] = Method(apart, BASELINE_FILLS[name], [made_of, name])
    judged = {}
    for name, path in name_models(options.model or (str(FILLER),), BASELINES).items():
        assert path is not None
        filled = ways_to_fill(
            path, gpu=options.gpu, look_ahead=options.look_ahead, max_width=options.max_width,
            margin=0.0,
        )  # fmt: skip
        for way, fill, its in filled:
            judged[f"{name}, {way}"] = Method(apart, fill, [made_of, its], tells_parts=True)
    for name, grows in GROWN.items():
        other = Apart(grows, HoleSize())
        methods[name] = Method(other, None, [grows, vars(other.hole_size)], tells_parts=True)
    return methods | judged, list(judged)


def spread(rows: Sequence[Mapping[str, Any]], methods: Mapping[str, Method]) -> Iterator[str]:
    """Of the overlap with occluders what a mean doesn't tell, in a line for each way of masks."""
    told: set[int] = set()
    for name, method in methods.items():
        if not method.tells_parts or id(method.apart) in told:
            continue
        told.add(id(method.apart))
        all_of_it = [row["occluder"] for row in rows if row["method"] == name]
        values = [value for value in all_of_it if not math.isnan(value)]
        if values:
            low, middle = np.percentile(values, (10, 50))
            way = next((n for n, g in GROWN.items() if g == method.apart.mask_grows), "true masks")
            yield (
                f"occluders by {way}: IoU mean {np.mean(values):.3f}, median {middle:.3f}, "
                f"10th percentile {low:.3f}, of {len(values)} records"
            )
