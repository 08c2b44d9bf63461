"""Score models on records or films whose mattes are known, beside what needs no model.

The options are read here and nowhere below.
"""

from collections.abc import Iterator
from itertools import chain, islice

import cv2
import numpy as np
import timm
import torch

import matting
import nunif
import scene
from matting.evaluation.clip import Clip
from matting.evaluation.methods import Methods, open_methods
from matting.evaluation.scores import COLUMNS, OF_MASKS, OF_MATTES, TITLE
from matting.evaluation.sources import film_clips, record_clips, usable_records
from matting.options_evaluate import BASELINES, EvaluateOptions
from nunif.device import create_device
from nunif.errors import UserError
from nunif.evaluation.finished import key_of_code
from nunif.evaluation.judging import evaluate
from nunif.evaluation.report import Report
from nunif.numbered import check_exists
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
    """Whole frames of records, whose alpha and foreground are known."""
    if options.alpha is not None:
        raise UserError(
            f"-i {options.data_dir} holds records, which have alpha of their own: leave --alpha out"
        )
    tell_no_effect(options, ("--size", "--objects", "--deinterlace"), "on records")
    found = usable_records(options.data_dir, start=options.start)
    methods = _open_methods(options)
    _evaluate(
        record_clips(found, start=options.start, num_frames=options.frames),
        len(found),
        methods,
        options,
        note=f"The records in {options.data_dir}, up to {options.frames} frames of each.",
        nothing=f"{options.data_dir}: no record can be read, there is nothing to score",
    )


def evaluate_films(options: EvaluateOptions) -> None:
    """Films with mattes or masks."""
    paths = list_clips(options.data_dir)
    is_one = paths == [options.data_dir]
    if options.alpha is None:
        raise UserError(
            f"-i {options.data_dir}: how good a matte of a film is can be told only beside the "
            "true one: add --alpha, a folder with mattes or masks of the films' names"
        )
    check_exists(options.alpha, f"--alpha {options.alpha}")
    if not options.alpha.is_dir() and not is_one:
        raise UserError(
            f"--alpha {options.alpha} is no folder: give one that holds mattes or masks for each "
            "film, of its name"
        )
    methods = _open_methods(options)
    clips = film_clips(
        paths,
        options.alpha,
        is_one=is_one,
        start=options.start,
        num_frames=options.frames,
        size=parse_size(options.size) if options.size else None,
        objects=parse_objects(options.objects),
        deinterlace=options.deinterlace,
    )
    size = f"scaled to {options.size} (height x width)" if options.size else "at their own size"
    _evaluate(
        clips,
        len(paths),
        methods,
        options,
        note=f"The films of {options.data_dir}, up to {options.frames} frames of each, {size}.",
        nothing=f"-i {options.data_dir}: no film of it can be used, there is nothing to score",
    )


def _open_methods(options: EvaluateOptions) -> Methods:
    return open_methods(
        options.model,
        baselines=parse_names("--baselines", options.baselines, BASELINES),
        downsample_ratio=options.downsample_ratio,
        device=create_device(options.gpu),
    )


def _evaluate(
    clips: Iterator[Clip],
    num_clips: int,
    methods: Methods,
    options: EvaluateOptions,
    *,
    note: str,
    nothing: str,
) -> None:
    """Matte, score and report. note: what is judged, for people. nothing: the error where nothing
    was."""
    first = list(islice(clips, 1))
    headline = first[0].headline if first else OF_MATTES
    if headline is OF_MASKS:
        note += " The truth is masks: they say where people are, not how soft their edges are."
    evaluate(
        chain(first, clips),
        num_clips=num_clips,
        methods=methods.by_name,
        report=Report(
            headline=headline,
            models=methods.judged,
            title=TITLE,
            columns=COLUMNS,
            note=note,
        ),
        program=key_of_code((matting, scene, nunif), (torch, cv2, np, timm)),
        folder=options.output,
        nothing=nothing,
    )
