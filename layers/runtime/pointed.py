"""What is pointed at in a film, followed through it in a pass of its own: what is taken out instead
of people.

Axes: H W pixels.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from layers.options_remove import RemoveOptions
from layers.prompts import Prompt
from layers.runtime.holes import HoleRule
from layers.runtime.mask import follow_film, place_prompts
from layers.runtime.people import People
from nunif.errors import UserError
from nunif.runtime.film import open_source
from nunif.video.film import Film
from nunif.video.part import place_in_whole
from nunif.video.reader import BrokenVideo

GROW = 2.5  # pixels of a film of 240 rows: as with other masks that end where the object does


def rule_of_pointed(options: RemoveOptions) -> HoleRule:
    """How the user wants the holes of what was pointed at."""
    grow = GROW if options.grow is None else options.grow
    return HoleRule(128, 128, grow, down=options.shadow, hold=options.hold)


@contextmanager
def open_pointed(options: RemoveOptions) -> Iterator[People]:
    """Where it is in the film, or the part of it, that the options name. Where the film is damaged
    it ends; whoever reads it on will say so.

    Raises:
        UserError: see `place_prompts`; it isn't in the part.
    """
    with open_source(options) as film, tempfile.TemporaryFile() as file:
        prompts = _placed(options.prompts(), film)
        size = (film.info.height, film.info.width)
        found = People(file, size)
        pictures = tqdm(
            _pictures(film), total=len(film), unit="frame", desc="following", disable=None
        )
        followed = follow_film(pictures, prompts, size=size, find_cuts=options.find_cuts)
        for labels, starts_shot in followed:
            found.add(np.where(labels > 0, 255, 0).astype(np.uint8), starts_shot=starts_shot)
            found.end_shot(has_people=True)
        yield found


def _placed(prompts: Sequence[Prompt], film: Film) -> list[Prompt]:
    """The prompts, whose times are of the whole film, with the numbers of the film's own frames."""
    whole, first, stop = place_in_whole(film)
    placed = place_prompts(prompts, whole)
    for prompt in placed:
        assert prompt.frame is not None
        if not first <= prompt.frame < stop:
            raise UserError(
                f"{prompt.text} is frame {prompt.frame}, and --start and --end leave frames "
                f"{first} to {stop - 1}: point at it in one of them"
            )
    return [replace(prompt, frame=(prompt.frame or 0) - first) for prompt in placed]


def _pictures(film: Film) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB of each frame that can be read."""
    tone = film.info.tone_map
    try:
        for frame in film:
            picture = tone.to_sdr(frame.rgb) if tone else frame.rgb
            yield picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)
    except BrokenVideo:
        return
