"""Score models on films or on records, beside fills that need no training.

The options are read here and nowhere below.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch

import inpaint
import nunif
import scene
from inpaint.evaluation.clip import Clip
from inpaint.evaluation.methods import Methods, has_memory, open_methods
from inpaint.evaluation.scores import COLUMNS, HEADLINE, TITLE, open_perceptual
from inpaint.evaluation.sources import (
    GivenMasks,
    HoleSource,
    MadeUpHoles,
    film_clips,
    record_clips,
    usable_records,
)
from inpaint.options_evaluate import BASELINES, HOLE_FAMILIES, ZERO_MEMORY, EvaluateOptions
from inpaint.runtime.options import parse_look_ahead
from nunif.device import create_device
from nunif.errors import UserError
from nunif.evaluation.finished import key_of_code
from nunif.evaluation.judging import evaluate
from nunif.evaluation.report import Report
from nunif.options import parse_names, parse_size, tell_no_effect
from nunif.record_scan import holds_shards
from nunif.runtime.options import parse_objects
from nunif.video.clips import list_clips


def main(options: EvaluateOptions) -> None:
    """The command `evaluate`."""
    folder = options.data_dir
    if folder.is_dir() and (any(folder.glob("*/*_C.png")) or holds_shards(folder)):
        evaluate_records(options)
    else:
        evaluate_films(options)


def evaluate_records(options: EvaluateOptions) -> None:
    """Tiles of a folder of records with their own holes, scored as networks fill them, without
    rounding."""
    if options.masks is not None:
        raise UserError(
            f"-i {options.data_dir} holds records, which have holes of their own: leave --masks out"
        )
    tell_no_effect(
        options, ("--dilate", "--holes", "--size", "--frames", "--start", "--seed"), "on records"
    )  # fmt: skip
    words, files = options.model, options.model_files
    device = create_device(options.gpu)
    if files and ZERO_MEMORY not in words and has_memory(files[0], device=device):
        words = (*words, ZERO_MEMORY)  # what the memory is worth, always
    methods = _open_methods(options, words, device, rounded=False)
    tile_size = (options.tile_size, options.tile_size)
    records = usable_records(options.data_dir, tile_size=tile_size)
    perceptual = open_perceptual()
    clips = record_clips(records, tile_size=tile_size, perceptual=perceptual)
    _judge(
        clips,
        len(records),
        methods,
        options,
        scores=list(perceptual),
        note=f"Tiles of {tile_size[1]}x{tile_size[0]} pixels of the records in {options.data_dir}.",
        nothing=f"{options.data_dir}: no record can be read to its end, there is nothing to score",
    )


def evaluate_films(options: EvaluateOptions) -> None:
    """Films with masks that are given or made up."""
    tell_no_effect(options, ("--tile-size",), "on films")
    if options.masks is not None:
        tell_no_effect(options, ("--holes", "--seed"), "with --masks")
    else:
        tell_no_effect(options, ("--objects", "--large-holes", "--dilate"), "without --masks")
    methods = _open_methods(options, options.model, create_device(options.gpu), rounded=True)
    paths = list_clips(options.data_dir)
    if options.masks is not None and not options.masks.is_dir():
        raise UserError(
            f"--masks {options.masks} is no folder: give one that holds a mask for each film, of "
            "its name"
        )
    hole_source, perceptual = _hole_source(options), open_perceptual()
    clips = film_clips(
        paths,
        start=options.start,
        num_frames=options.frames,
        size=parse_size(options.size) if options.size else None,
        deinterlace=options.deinterlace,
        hole_source=hole_source,
        perceptual=perceptual,
    )
    size = f"scaled to {options.size} (height x width)" if options.size else "at their own size"
    _judge(
        clips,
        len(paths) * len(hole_source.families),
        methods,
        options,
        scores=list(perceptual),
        note=f"The films of {options.data_dir}, up to {options.frames} frames of each, {size}.",
        nothing=f"-i {options.data_dir}: no film of it can be used, there is nothing to score",
    )


def _open_methods(
    options: EvaluateOptions, words: Sequence[str], device: torch.device, *, rounded: bool
) -> Methods:
    return open_methods(
        words,
        baselines=parse_names("--baselines", options.baselines, BASELINES),
        depths=[parse_look_ahead(word, shots=True) for word in options.look_ahead.split(",")],
        device=device,
        rounded=rounded,
    )


def _judge(
    clips: Iterator[Clip],
    num_clips: int,
    methods: Methods,
    options: EvaluateOptions,
    *,
    scores: list[str],
    note: str,
    nothing: str,
) -> None:
    """Fill, score and report. scores: those that packages give. note: what is judged, for people.
    nothing: the error where nothing was."""
    evaluate(
        clips,
        num_clips=num_clips,
        methods=methods.by_name,
        report=Report(
            headline=HEADLINE, models=methods.judged, title=TITLE, columns=COLUMNS, note=note
        ),
        program=[key_of_code((inpaint, scene, nunif), (torch, cv2, np)), *scores],
        folder=options.output,
        nothing=nothing,
    )


def _hole_source(options: EvaluateOptions) -> HoleSource:
    """What gives the holes of films."""
    if options.masks is not None:
        return GivenMasks(
            options.masks,
            start=options.start,
            objects=parse_objects(options.objects),
            large_holes=options.large_holes,
            deinterlace=options.deinterlace,
            dilate=options.dilate,
        )
    families = parse_names("--holes", options.holes, HOLE_FAMILIES)
    if not families:
        raise UserError(
            f"--holes {options.holes}: there is nothing to fill: choose from "
            f"{', '.join(HOLE_FAMILIES)}"
        )
    return MadeUpHoles(families, seed=options.seed)
