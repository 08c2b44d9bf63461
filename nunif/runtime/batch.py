"""The films of a folder one by one, each into a file of its own; or just one film."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from nunif.errors import UserError
from nunif.failures import Failures
from nunif.files import check_not_source, make_folder
from nunif.numbered import check_exists, is_picture, pictures_in, refuse_unread
from nunif.runtime.options import FilmOptions, parse_part
from nunif.video.clips import clip_name, clips_of_folder, find_mask
from nunif.video.encoders import can_write

logger = logging.getLogger(__name__)

Options = TypeVar("Options", bound=FilmOptions)

_USUAL = ".mp4"


def for_each_film(
    options: Options,
    work: Callable[[Options], None],
    *,
    prepare: Callable[[], Any],
    each: Callable[[Options], Options] = lambda options: options,
    mask: Path | None = None,
    mask_option: str = "mask",
) -> None:
    """Do a command's work for its film; where --input is a folder of films, for each of them.

    Those of a folder go into the folder --output under their own names; what is there already is
    left as it is. One that fails doesn't keep the others from being done.

    Args:
        work: what is done with one film: makes options.output of options.input.
        prepare: opens what all films need; called once before the first of several, so that what is
            wrong with it is said once.
        each: the options for one film of a folder, with what else has a name of its own.
        mask: where the films have masks, the option `mask_option`: a folder with one for each, of
            its name, or one picture for all.

    Raises:
        UserError: the options don't go together, or some films failed: they are named.
    """
    parse_part(options.start, options.end)
    films = _stills(options.input) if options.stills else clips_of_folder(options.input)
    if films is None:
        if options.suffix is not None:
            raise UserError(
                f"--suffix {options.suffix} is for a folder of videos, and {options.input} is "
                "none: name what is to be written"
            )
        work(options)
        return
    _check(options, mask, f"--{mask_option}")
    jobs = [each(job) for job in _jobs(films, options)]
    _check_apart(jobs)
    done = [job for job in jobs if _is_there(job.output)]
    for job in done:
        logger.info("%s is there already: left as it is", job.output)
    todo, failures = [job for job in jobs if job not in done], Failures(len(jobs))
    if mask is not None:
        todo = _with_masks(todo, mask, mask_option, failures)
    if todo:
        prepare()
        make_folder(options.output)
    what = "pictures" if options.stills else "films"
    num_made = _work_through(todo, work, failures, what)
    before = f", {len(done)} were there already" if done else ""
    logger.info("%s: %d %s made%s", options.output, num_made, what, before)
    failures.raise_if_any(what)


def _stills(folder: Path) -> list[Path]:
    """The pictures of a folder, whatever their names.

    Raises:
        UserError: there is none.
    """
    if folder.is_dir():
        refuse_unread(folder, str(folder))
        if pictures := pictures_in(folder):
            return pictures
    else:
        check_exists(folder, str(folder))
    raise UserError(f"--stills is for a folder of pictures, and {folder} is none: leave it out")


def _jobs(films: list[Path], options: Options) -> list[Options]:
    """The options for each film alone. Raises as `_check_apart`."""
    takes_rate = any(film.is_dir() for film in films)
    jobs: list[Options] = []
    for film in films:
        suffix = "" if film.is_dir() else options.suffix or film.suffix
        if suffix and not (can_write(suffix) or _is_pictures(suffix)):
            suffix = _USUAL
        output = options.output / (clip_name(film) + suffix)
        # of a rate only folders of pictures know nothing
        fps = options.fps if film.is_dir() or not takes_rate else None
        jobs.append(replace(options, input=film, output=output, fps=fps, suffix=None))
    _check_apart(jobs)
    return jobs


def _check_apart(jobs: list[Options]) -> None:
    """
    Raises:
        UserError: the same is to be made of two films.
    """
    made: dict[Path, Options] = {}
    for job in jobs:
        if (first := made.setdefault(job.output, job)) is not job:
            raise UserError(
                f"{first.input} and {job.input} would both become {job.output}: rename one of them"
            )


def _with_masks(
    jobs: list[Options], mask: Path, mask_option: str, failures: Failures
) -> list[Options]:
    """Those of which the film has a mask, with it."""
    found = []
    for job in jobs:
        with failures.log(job.input.name):
            its_own: dict[str, Any] = {mask_option: _mask_of(job.input, mask, f"--{mask_option}")}
            found.append(replace(job, **its_own))
    return found


def _work_through(
    jobs: list[Options], work: Callable[[Options], None], failures: Failures, what: str
) -> int:
    """How many were made. what: films or pictures."""
    num_made = 0
    try:
        for number, job in enumerate(jobs, start=1):
            logger.info("%d of %d: %s", number, len(jobs), job.input)
            with failures.log(job.input.name):
                work(job)
                num_made += 1
    except KeyboardInterrupt:
        text = "%d of %d %s are made; the same command goes on from there"
        logger.warning(text, num_made, len(jobs), what)
        raise
    return num_made


def _check(options: FilmOptions, mask: Path | None, flag: str) -> None:
    """Raises UserError where the options can't be meant for a folder of films."""
    source, output = options.input, options.output
    if can_write(output.suffix) or is_picture(output):
        raise UserError(
            f"--output {output} is one file, and {source} is a folder of films: name a folder"
        )
    is_written = _is_pictures if options.stills else can_write
    if options.suffix is not None and not is_written(options.suffix):
        known = ".png, .jpg, .webp" if options.stills else ".mp4, .mkv, .mov, .webm, .avi"
        raise UserError(
            f"--suffix {options.suffix} can't be written: choose {known} or another, or leave it "
            "out"
        )
    check_not_source(output, source)
    if mask is None:
        return
    check_not_source(output, mask)
    if mask.exists() and not mask.is_dir() and not is_picture(mask):
        raise UserError(
            f"{flag} {mask} is one film, and {source} is a folder of them: give a folder that "
            "holds a mask for each, of its name, or one picture for all"
        )


def _is_pictures(suffix: str) -> bool:
    return is_picture(Path(f"a{suffix}"))


def _is_there(output: Path) -> bool:
    """Whether a film was made before: files and folders have their names only when they are
    whole."""
    return any(output.iterdir()) if output.is_dir() else output.exists()


def _mask_of(film: Path, mask: Path, flag: str) -> Path:
    if not mask.is_dir():
        return mask
    return find_mask(mask, film, name=f"{film}: {flag} {mask}")
