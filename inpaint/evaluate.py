"""Score models on films or on records, beside fills that need no training.

The options are read here and nowhere below.
"""

import logging

from inpaint.evaluation.clip import judge
from inpaint.evaluation.methods import methods_for_films, methods_for_records
from inpaint.evaluation.scores import HEADLINE, TITLE, open_perceptual
from inpaint.evaluation.sources import (
    GivenMasks,
    HoleSource,
    MadeUpHoles,
    film_clips,
    record_clips,
    usable_records,
)
from inpaint.options_evaluate import BASELINES, HOLE_FAMILIES, EvaluateOptions
from inpaint.options_run import parse_look_ahead
from nunif.device import create_device
from nunif.errors import UserError
from nunif.evaluation.report import Report
from nunif.files import make_folder, write_json
from nunif.options import changed, parse_names, parse_size
from nunif.runtime.options import parse_objects
from nunif.video.clips import list_clips

logger = logging.getLogger(__name__)


def main(options: EvaluateOptions) -> None:
    """The command `evaluate`."""
    if options.data_dir.is_dir() and any(options.data_dir.glob("*/*_C.png")):
        evaluate_records(options)
    else:
        evaluate_films(options)


def evaluate_records(options: EvaluateOptions) -> None:
    """Tiles of a folder of records with their own holes."""
    files = options.model_files
    if len(options.model) > len(files) or len(options.model) > 1 or options.masks is not None:
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
    methods = methods_for_records(files[0] if files else None, device=device)
    tile_size = (options.tile_size, options.tile_size)
    records = usable_records(options.data_dir, tile_size=tile_size)
    if options.output is not None:
        make_folder(options.output)
    report = Report(headline=HEADLINE, models=["model"] if files else [], title=TITLE)
    clips = record_clips(records, tile_size=tile_size, device=device)
    judge(clips, methods=methods, report=report, along_time=False)
    if not report.rows:
        raise UserError(
            f"{options.data_dir}: no record can be read to its end, there is nothing to score"
        )
    print(report.text())
    if options.output is not None:
        report.write_csv(options.output / "scores.csv")
        # programs read it in this layout: there is one kind of holes, so means go by method alone
        scores = {"clips": report.rows, "mean": report.means()[""]}
        write_json(options.output / "scores.json", scores)
        if report.pictures:  # those to be shown may be the ones that can't be read
            report.write_pictures(options.output / "clips.png")
        logger.info("scores.csv, scores.json and clips.png are in %s", options.output)


def evaluate_films(options: EvaluateOptions) -> None:
    """Films with masks that are given or made up."""
    _tell_no_effect(options, ("--tile-size",), "on films")
    if options.masks is not None:
        _tell_no_effect(options, ("--holes", "--seed"), "with --masks")
    else:
        _tell_no_effect(options, ("--objects", "--large-holes"), "without --masks")
    methods, models = methods_for_films(
        options.model,
        baselines=parse_names("--baselines", options.baselines, BASELINES),
        depths=[parse_look_ahead(word, shots=True) for word in options.look_ahead.split(",")],
        device=create_device(options.gpu),
    )
    paths = list_clips(options.data_dir)
    if options.masks is not None and not options.masks.is_dir():
        raise UserError(
            f"--masks {options.masks} is no folder: give one that holds a mask for each film, of "
            "its name"
        )
    if options.output is not None:
        make_folder(options.output)
    clips = film_clips(
        paths,
        start=options.start,
        num_frames=options.frames,
        size=parse_size(options.size) if options.size else None,
        deinterlace=options.deinterlace,
        hole_source=_hole_source(options),
        perceptual=open_perceptual(),
    )
    report = Report(headline=HEADLINE, models=models, title=TITLE)
    judge(clips, methods=methods, report=report, along_time=True)
    if not report.rows:
        raise UserError(
            f"-i {options.data_dir}: no film of it can be used, there is nothing to score"
        )
    if options.output is not None:
        report.write(options.output)
        logger.info("report.html, scores.csv, scores.json and clips.png are in %s", options.output)
    print(report.text())


def _hole_source(options: EvaluateOptions) -> HoleSource:
    """What gives the holes of films."""
    if options.masks is not None:
        return GivenMasks(
            options.masks,
            start=options.start,
            objects=parse_objects(options.objects),
            large_holes=options.large_holes,
            deinterlace=options.deinterlace,
        )
    families = parse_names("--holes", options.holes, HOLE_FAMILIES)
    if not families:
        raise UserError(
            f"--holes {options.holes}: there is nothing to fill: choose from "
            f"{', '.join(HOLE_FAMILIES)}"
        )
    return MadeUpHoles(families, seed=options.seed)


def _tell_no_effect(options: EvaluateOptions, flags: tuple[str, ...], where: str) -> None:
    for flag in changed(options):
        if flag in flags:
            logger.warning("%s has no effect %s", flag, where)
