"""Take people out of a film: python -m layers remove.

who is in it -> holes -> what stands behind, filled in
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from inpaint.runtime.apply import Filled, OpenMasks, fill_film, masks_from, open_filler
from inpaint.runtime.stream import Filler
from layers.options_remove import FinderOptions, FindOptions, RemoveOptions, parse_parts
from layers.runtime.finders import Finder, Gate, Mattes, PersonTiles
from layers.runtime.holes import HoleRule
from layers.runtime.people import People, find_people_in
from layers.runtime.pointed import open_pointed, rule_of_pointed
from layers.runtime.removal_page import FilmReport, write_page
from layers.runtime.segmenter import open_segmenter
from layers.runtime.stream import FILLER
from matting.runtime.stream import MatteStream
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import check_not_source, copy_whole, make_folder
from nunif.options import tell_no_effect
from nunif.runtime.batch import for_each_film
from nunif.runtime.film import is_folder, open_source
from nunif.video.clips import clips_of_folder
from nunif.video.film import Film

logger = logging.getLogger(__name__)

OF_MASKS = ("--objects", "--large-holes", "--dilate", "--invert-mask")
OF_FINDING = ("--no-gate", "--grow", "--hold", "--shadow")


def main(options: RemoveOptions) -> None:
    """The command `remove`."""
    if options.masks is None:
        tell_no_effect(options, OF_MASKS, "without --masks")
        if options.is_pointed:
            check_one_film(options)
            tell_no_effect(options, ("--no-gate",), f"with {options.prompts()[0].text}")
    else:
        tell_no_effect(options, OF_FINDING, "with --masks")
    model = options.model or FILLER
    filler = cache(partial(open_filler, options, model, margin=options.margin))
    finder = cache(partial(open_finder, options, options.gpu))

    def prepare() -> None:
        filler()
        if options.masks is None:
            finder()

    films: list[FilmReport] = []

    def work(one: RemoveOptions) -> None:
        if one.report is None:
            remove_from(one, model, open_filler=filler, open_finder=finder)
            return
        film = FilmReport(one.input, one.output)
        films.append(film)
        remove_from(one, model, open_filler=filler, open_finder=finder, report=film)
        # anew after each film: what is done is told whatever comes of the next one
        make_folder(one.report.parent)
        write_page(one.report, films)
        logger.info("%s shows what was removed", one.report)

    for_each_film(options, work, prepare=prepare, mask=options.masks, mask_option="masks")


def check_one_film(options: RemoveOptions) -> None:
    """
    Raises:
        UserError: something is pointed at, and there are several films.
    """
    if options.stills or clips_of_folder(options.input) is not None:
        raise UserError(
            f"{options.prompts()[0].text} is a place in one film, and --input {options.input} is "
            "a folder of several: name one of them"
        )


def open_finder(options: FinderOptions, gpu: int) -> tuple[Finder, Gate | None]:
    """What finds people, and what says whether there are any."""
    device = create_device(gpu)
    if options.matting is not None:
        # whom it was taught to find it finds, and nothing else
        return Mattes(MatteStream.open(options.matting, gpu=gpu)), None
    if options.segmenter is not None:
        return open_segmenter(options.segmenter, device), None
    return PersonTiles(device), Gate(device) if options.gate else None


def rule_for(finder: Finder, options: FinderOptions) -> HoleRule:
    """How the user wants the holes of a finder's maps."""
    return replace(
        finder.rule,
        grow=finder.rule.grow if options.grow is None else options.grow,
        down=options.shadow,
        hold=options.hold,
        keep=() if options.keep is None else parse_parts(options.keep),
    )


def remove_from(
    options: RemoveOptions,
    model: Path,
    *,
    open_filler: Callable[[], Filler],
    open_finder: Callable[[], tuple[Finder, Gate | None]],
    report: FilmReport | None = None,
) -> Filled:
    """Take out of one film who is in it, or what its masks mark. report: collects what is done."""
    if options.masks is not None:
        filled = fill_film(
            options,
            model,
            open_filler=open_filler,
            open_masks=partial(masks_from, options.masks, options),
            sources=[options.masks],
            watch=report,
        )
        logger.info("%s: %d frames, %d with a hole", options.output, *filled)
        return filled
    check_not_source(options.output, options.input)
    if options.is_pointed:
        with open_pointed(options) as pointed:
            filled = fill_film(
                options,
                model,
                open_filler=open_filler,
                open_masks=holes_of(pointed, rule_of_pointed(options)),
                watch=report,
            )
        logger.info("%s: %d frames, %d with a hole", options.output, *filled)
        return filled
    finder, gate = open_finder()
    with open_people(options, finder, gate, find_cuts=options.find_cuts) as people:
        rule = rule_for(finder, options)
        advice = "; --no-gate looks where no head is seen, too" if gate is not None else ""
        is_copied = not people.num_shots_with_people and people.is_whole and can_be_copied(options)
        if is_copied:
            make_folder(options.output.parent)
            copy_whole(options.input, options.output)
            logger.info("%s: nobody was found, copied as it is%s", options.output, advice)
            if report is not None:
                report.note = f"Nobody was found: copied as it is{advice}."
            return Filled(len(people), 0)
        filled = fill_film(
            options,
            model,
            open_filler=open_filler,
            open_masks=holes_of(people, rule),
            watch=report,
        )
    if filled.num_holes:
        logger.info("%s: %d frames, people in %d", options.output, *filled)
    else:
        text = "%s: %d frames, nobody was found%s"
        logger.info(text, options.output, filled.num_frames, advice)
        if report is not None:
            report.note = f"Nobody was found{advice}."
    return filled


@contextmanager
def open_people(
    options: FindOptions, finder: Finder, gate: Gate | None, *, find_cuts: bool
) -> Iterator[People]:
    """Who is in the film that the options name."""
    with (
        open_source(options) as film,
        find_people_in(film, finder, gate, find_cuts=find_cuts) as people,
    ):
        yield people


def holes_of(people: People, rule: HoleRule) -> OpenMasks:
    """The holes of a film's people."""

    @contextmanager
    def opened(film: Film, *, again: bool = False) -> Iterator[Iterator[np.ndarray]]:
        yield people.holes(rule)

    return opened


def can_be_copied(options: RemoveOptions) -> bool:
    """Whether the film's own file is what is asked for where nothing changes in it."""
    is_whole = options.start is None and options.end is None
    is_plain = (options.codec, options.quality, options.pixel_format) == (None, None, None)
    is_file = not options.input.is_dir() and not is_folder(options.output)
    is_same = options.input.suffix.lower() == options.output.suffix.lower()
    kept = is_whole and is_plain and options.extras and not options.deinterlace
    return kept and is_file and is_same and not options.compare
