"""Score removals where what stood behind people is known, or who they are: python -m layers
evaluate.

The options are read here and nowhere below.
"""

import logging
import math
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np
import torch

import layers
import nunif
import scene
from layers.evaluate_layers import evaluate_layers
from layers.evaluation.clip import Clip, film_clips, record_clips
from layers.evaluation.methods import BASELINE_FILLS, Method, Search, ways_to_fill
from layers.options_evaluate import BASELINES, EvaluateOptions
from layers.runtime.remove import FILLER, open_finder, rule_for
from matting.runtime.person_finder import RELEASED
from nunif.errors import UserError
from nunif.evaluation.finished import key_of_code
from nunif.evaluation.judging import evaluate
from nunif.evaluation.names import name_models
from nunif.evaluation.report import Column, Report
from nunif.files import file_sha256
from nunif.numbered import check_exists
from nunif.options import parse_names, parse_size, tell_no_effect
from nunif.record_scan import holds_shards, scan_records
from nunif.runtime.options import parse_objects
from nunif.video.clips import BadClip, list_clips, read_clip
from nunif.video.reader import VIDEO_SUFFIXES
from scene.planes import ALPHA, BEHIND, BLIND_HOLE, COLOUR, OCCLUDER

logger = logging.getLogger(__name__)

LOW = -math.inf
COLUMNS = {
    "inside": Column("PSNR in dB where the person was (alpha above 1/2), against the scene."),
    "ring": Column("PSNR in dB around it: ghosts and halos."),
    "outside": Column("PSNR in dB of all else, which is to stay as it is."),
    "hole": Column("PSNR in dB in the hole, against the empty room seen nearest in time."),
    "lit": Column("The same, against that room in the light of the frame: exposure, contrast."),
    "before": Column("The same, against the room before; its light may have changed since."),
    "after": Column("The same, against the room after."),
    "residue": Column("Share of the hole's pixels more than 25 grey levels off.", best=LOW),
    "flicker": Column("Grey levels that change from frame to frame and shouldn't.", best=LOW),
    "fade": Column(
        "dB by which the hole is worse in the last quarter of a visit than in the first.", best=0
    ),
    "recall": Column("Share of a person that is hole, mean over frames."),
    "recall_min": Column("The same of the worst frame."),
    "hole_area": Column("Area of the hole over that of the person.", best=1),
    "touched": Column("Pixels changed outside the hole.", best=LOW),
    "empty_equal": Column("Share of the frames without anybody that stay as they are."),
    "iou": Column("Intersection over union of what the finder is sure of and the person."),
    "iou_min": Column("The same of the worst frame."),
    "fps": Column("Frames in a second, on the machine where this was made."),
}


def main(options: EvaluateOptions) -> None:
    """The command `evaluate`."""
    folder = options.data_dir
    if options.layers:
        evaluate_layers(options)
    elif folder.is_dir() and (any(folder.glob("*/*_C.png")) or holds_shards(folder)):
        evaluate_records(options)
    else:
        evaluate_films(options)


def evaluate_records(options: EvaluateOptions) -> None:
    """Rendered people: the scene without them is known."""
    if options.masks is not None:
        raise UserError(
            f"-i {options.data_dir} holds records, which have alpha of their own: leave --masks out"
        )
    tell_no_effect(options, ("--size", "--objects", "--deinterlace"), "on records")
    planes = (COLOUR, ALPHA, BEHIND, OCCLUDER)
    found, bad = scan_records(options.data_dir, (*planes, BLIND_HOLE), min_frames=options.start + 2)
    for problem in bad:
        logger.warning("left out: %s", problem)
    num_found = len(found)
    found = found.where(
        lambda record: (
            all(record.has(p.letter) for p in planes) and not record.has(BLIND_HOLE.letter)
        )
    )
    if unknown := num_found - len(found):
        text = "left out: %d records in which what is behind people isn't known (%s, without _%s)"
        names = " ".join(f"_{plane.letter}" for plane in planes)
        logger.warning(text, unknown, names, BLIND_HOLE.letter)
    clips = record_clips(found, start=options.start, num_frames=options.frames)
    _evaluate(
        clips,
        len(found),
        options,
        note=f"The records in {options.data_dir}: rendered people, up to {options.frames} frames.",
    )


def evaluate_films(options: EvaluateOptions) -> None:
    """Films with masks of people, or whose empty room is seen."""
    paths = list_clips(options.data_dir)
    if options.masks is not None:
        check_exists(options.masks, f"--masks {options.masks}")
        unused = ("--model", "--look-ahead", "--baselines", "--max-width")
        tell_no_effect(options, unused, "with --masks: nothing is filled")
    else:
        tell_no_effect(options, ("--objects",), "without --masks")
    clips = film_clips(
        paths,
        options.masks,
        is_one=paths == [options.data_dir],
        start=options.start,
        num_frames=options.frames,
        size=parse_size(options.size) if options.size else None,
        objects=parse_objects(options.objects),
        deinterlace=options.deinterlace,
    )
    if options.masks is not None:
        truth = f"The truth is the masks in {options.masks}."
    else:
        truth = (
            "The truth is the empty room before and after somebody: its light may change, and who "
            "is to be removed is what differs from it, with their darker shadows."
        )
    note = f"The films of {options.data_dir}, up to {options.frames} frames of each. {truth}"
    _evaluate(_usable(clips), len(paths), options, note=note)


def _usable(clips: Iterable[Clip | BadClip]) -> Iterator[Clip]:
    for clip in clips:
        if isinstance(clip, BadClip):
            logger.warning("left out: %s", clip)
        else:
            yield clip


def _evaluate(
    clips: Iterator[Clip], num_clips: int, options: EvaluateOptions, *, note: str
) -> None:
    first = list(islice(clips, 1))
    if not first:
        raise UserError(f"-i {options.data_dir}: no clip can be used, there is nothing to score")
    methods, judged = open_methods(options, first[0])
    # of whose sources results follow; what lies above runtime is reached through it alone
    tasks = (sys.modules["inpaint"], sys.modules["matting"])
    evaluate(
        chain(first, clips),
        num_clips=num_clips,
        methods=methods,
        report=Report(
            headline=first[0].truth.headline,
            models=judged,
            title="Removal scores",
            columns=COLUMNS,
            note=note,
        ),
        program=key_of_code((layers, *tasks, scene, nunif), (torch, cv2, np)),
        folder=options.output,
        nothing=f"-i {options.data_dir}: no clip can be used, there is nothing to score",
    )


def open_methods(options: EvaluateOptions, clip: Clip) -> tuple[dict[str, Method], list[str]]:
    """All methods by name, and which are judged. clip: the first; others are like it."""
    finder, gate = open_finder(options, options.gpu)
    rule = rule_for(finder, options)
    finds = RELEASED if options.matting is None else options.matting
    made_of = [options.segmenter or file_sha256(finds), gate is not None, vars(rule)]
    search = Search(finder, gate, rule, made_of)
    if not clip.truth.needs_fill:
        name = options.segmenter or (
            "person finder" if options.matting is None else options.matting.stem
        )
        return {name: Method(search, None, made_of)}, [name]
    methods = {}
    for name in parse_names("--baselines", options.baselines, BASELINES):
        methods[name] = Method(search, BASELINE_FILLS[name], [made_of, name])
    judged = {}
    has_alpha = clip.truth.headline.score == "inside"
    for name, path in name_models(options.model or (str(FILLER),), BASELINES).items():
        assert path is not None
        if path.suffix.lower() in VIDEO_SUFFIXES:
            judged[name] = _film_of_others(path, search, options)
        else:
            judged |= _filled_ways(name, path, search, options, has_alpha=has_alpha)
    return methods | judged, [name for name in judged if not judged[name].takes_true_holes]


def _filled_ways(
    name: str, path: Path, search: Search, options: EvaluateOptions, *, has_alpha: bool
) -> dict[str, Method]:
    """A filler with each --look-ahead; where alpha is known with the true holes too."""
    ways = {}
    filled = ways_to_fill(
        path,
        gpu=options.gpu,
        look_ahead=options.look_ahead,
        max_width=options.max_width,
        margin=options.margin,
    )
    for way, fill, made_of in filled:
        all_of_it = [search.made_of, *made_of]
        ways[f"{name}, {way}"] = Method(search, fill, all_of_it)
        if has_alpha:
            true = Method(search, fill, [*all_of_it, "true"], takes_true_holes=True)
            ways[f"{name}, {way}, true holes"] = true
    return ways


def _film_of_others(path: Path, search: Search, options: EvaluateOptions) -> Method:
    """A film in which somebody else removed them."""

    def fill(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
        size = (frames.shape[1], frames.shape[2])
        result = read_clip(path, start=options.start, num_frames=len(frames), size=size)
        if len(result) < len(frames):
            raise BadClip(f"{path} has {len(result)} frames, and the film {len(frames)}")
        return result

    check_exists(path, f"-m {path}")
    return Method(search, fill, [file_sha256(path), options.start], is_film=True)
