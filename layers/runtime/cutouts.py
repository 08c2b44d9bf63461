"""Who is cut out of a film, frame by frame: of masks, by a matting model, or by the person finder.

Axes: H W pixels of the film, 3 = R G B.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from layers.options_split import SplitOptions
from layers.runtime.finders import Gate, PersonTiles
from layers.runtime.holes import drop_regions
from layers.runtime.people import find_people_in
from matting.runtime.stream import MatteStream
from nunif.device import create_device
from nunif.runtime.film import open_source
from nunif.runtime.mask_source import Paired, open_masks
from nunif.runtime.options import parse_objects
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film
from nunif.video.part import place_in_whole
from nunif.video.reader import Frame


class Cutout(NamedTuple):
    """alpha: (H, W) uint8, 255 = opaque. foreground: (H, W, 3) uint8 of SDR, what is known of its
    colours."""

    alpha: np.ndarray
    foreground: np.ndarray | None = None


class CutFrame(NamedTuple):
    """A frame, whether a new shot starts with it, and who is cut out of it, the nearest first."""

    frame: Frame
    starts_shot: bool
    persons: list[Cutout]


CutFrames = Iterator[CutFrame]


def open_cutouts(
    options: SplitOptions,
) -> tuple[str, Callable[[Film], AbstractContextManager[CutFrames]]]:
    """What cuts out, by name, and how it goes through a film."""
    if options.masks is not None:
        return options.masks.name, partial(_by_masks, options, options.masks)
    if options.matting is not None:
        stream = MatteStream.open(options.matting, gpu=options.gpu)
        return options.matting.name, partial(_by_matting, options, stream)
    return "the person finder", partial(_by_finder, options)


def _shots(film: Film, options: SplitOptions) -> Iterator[tuple[Frame, bool]]:
    if options.find_cuts:
        return mark_cuts(film, picture=lambda frame: frame.rgb)
    return ((frame, False) for frame in film)


@contextmanager
def _by_masks(options: SplitOptions, path: Path, film: Film) -> Iterator[CutFrames]:
    """Each of --objects a person of its own, or all that is marked one."""
    objects = parse_objects(options.objects)
    with ExitStack() as stack:
        chosen: list[tuple[int, ...]] = [objects]
        if objects and options.ids:
            chosen = [(number,) for number in objects]
        alphas = [stack.enter_context(open_alphas(path, film, options, one)) for one in chosen]
        yield (
            CutFrame(frame, starts_shot, [Cutout(alpha) for alpha in now])
            for (frame, starts_shot), *now in zip(_shots(film, options), *alphas)
        )


def open_alphas(
    path: Path, film: Film, options: SplitOptions, objects: tuple[int, ...] = ()
) -> AbstractContextManager[Iterator[np.ndarray]]:
    """Of every frame what a mask marks, (H, W) uint8."""
    whole, first, stop = place_in_whole(film)
    return open_masks(
        path,
        Paired.with_film(whole),
        name=f"--{'masks' if path == options.masks else 'occluders'} {path}",
        size=(film.info.height, film.info.width),
        start=first,
        stop=stop,
        objects=objects,
        large_holes=options.large_holes,
        deinterlace=options.deinterlace,
        soft=True,
    )


@contextmanager
def _by_matting(options: SplitOptions, stream: MatteStream, film: Film) -> Iterator[CutFrames]:
    def cut() -> CutFrames:
        for number, (frame, starts_shot) in enumerate(_shots(film, options)):
            if starts_shot or number == 0:
                stream.reset()
            foreground, alpha = stream([to_sdr8(frame, film)])[0]
            yield CutFrame(frame, starts_shot, [Cutout(alpha, foreground)])

    yield cut()


@contextmanager
def _by_finder(options: SplitOptions, film: Film) -> Iterator[CutFrames]:
    device = create_device(options.gpu)
    finder, gate = PersonTiles(device), Gate(device) if options.gate else None
    rule = finder.rule
    size = (film.info.height, film.info.width)
    with (
        open_source(options.film()) as first,
        find_people_in(first, finder, gate, find_cuts=options.find_cuts) as people,
    ):

        def cut() -> CutFrames:
            for frame, (found, starts_shot) in zip(film, people.maps()):
                found = cv2.resize(drop_regions(found, rule), size[::-1])
                # what is hardly seen is nobody, what is nearly sure is whole
                slope = 255 / (255 - 2 * rule.least)
                alpha = np.rint((found.astype(np.float32) - rule.least) * slope)
                yield CutFrame(frame, starts_shot, [Cutout(alpha.clip(0, 255).astype(np.uint8))])

        yield cut()


def to_sdr8(frame: Frame, film: Film) -> np.ndarray:
    """A frame as networks know pictures, (H, W, 3) uint8."""
    tone = film.info.tone_map
    rgb = tone.to_sdr(frame.rgb) if tone else frame.rgb
    return rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
