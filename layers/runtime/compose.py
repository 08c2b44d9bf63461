"""Put a film together again of its layers: python -m layers compose.

Axes: H W pixels, 3 = R G B.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from layers.options_split import ComposeOptions
from layers.runtime.provenance import note_generated, note_origin
from layers.runtime.put_back import Generated, find_export, open_generated
from nunif.errors import UserError
from nunif.runtime.film import (
    check_not_sources,
    open_output,
    open_source,
    process_frames,
    read_ahead,
)
from nunif.runtime.options import FilmOptions
from nunif.video import picture as pictures
from nunif.video.film import Film, open_film
from nunif.video.reader import Frame, content_hash
from scene.layers import folder as layer_folder
from scene.layers import planes
from scene.layers.exact import Layer
from scene.layers.formats import format_of, kind_of, read_layers, space_of
from scene.layers.spaces import compose

logger = logging.getLogger(__name__)

Pictures = Iterator[np.ndarray]
Composed = tuple[np.ndarray, np.ndarray | None]  # see `compose_frames`


def main(options: ComposeOptions) -> None:
    """The command `compose`.

    Raises:
        UserError: no layers are there, the film that was split is gone or another, or what is put
            in doesn't fit.
    """
    meta = layer_folder.read_meta(options.layers)
    reading = reading_of(options, meta["source"])
    others = [path for path in (options.person, options.scene) if path is not None]
    check_not_sources([options.output], [options.layers, reading.input, *others])
    with ExitStack() as stack:
        film = stack.enter_context(open_source(reading))
        check_frames(film, meta)
        export = find_export(options, meta)
        person = generated = None
        if options.person is not None and export is not None:
            generated = open_generated(options.person, export, film, stack)
        else:
            person = _open_other(options.person, "--person", film, stack)
        scene = _open_other(options.scene, "--scene", film, stack)
        composed = compose_frames(options, meta, film, person, scene, generated)
        num_changed = write_film(reading, film, composed)
    if options.person is None:
        note_origin(options.output, meta)
    else:
        note_generated(options.layers, meta, options.person, options.output, export)
    tell_of_loss(options, meta)
    logger.info("%s: %d frames, %d of them changed", options.output, len(film), num_changed)


def write_film(reading: FilmOptions, film: Film, composed: Iterator[Composed]) -> int:
    """Write the successor of a film: its samples wherever nothing is changed, its times and its
    sound. composed: see `compose_frames`.

    Returns: how many frames are changed.
    """
    num_changed = 0
    with ExitStack() as stack:
        size = (film.info.width, film.info.height)
        output = stack.enter_context(open_output(reading, film, size=size, kept=": it stays so"))
        frames = stack.enter_context(read_ahead(zip(film, composed), film))

        def write(item: tuple[Frame, Composed]) -> None:
            nonlocal num_changed
            frame, (rgb, place) = item
            if place is not None:
                rgb = np.where(place[..., None], rgb, frame.rgb)
            changed = (rgb != frame.rgb).any(axis=-1)
            num_changed += bool(changed.any())
            output.write(rgb, frame, frame.picture and pictures.paste(frame.picture, rgb, changed))

        process_frames(frames, film, write)
    return num_changed


def check_frames(film: Film, meta: dict[str, Any]) -> None:
    """
    Raises:
        UserError: a film hasn't as many frames as its layers.
    """
    if len(film) != len(meta["frames"]):
        raise UserError(
            f"{film.path} has {len(film)} frames, and the layers {len(meta['frames'])}: "
            "name the film that was split with --source"
        )


def tell_of_loss(options: ComposeOptions, meta: dict[str, Any]) -> None:
    """A line, where the layers aren't exactly those that were split."""
    if not format_of(meta).loses:
        return
    text = "%s is %s, which isn't exact: people and what is behind them may be off by %.1f of 255"
    rest = ", all else is the film's own" if options.scene is None else ""
    greatest = meta["recompose"]["greatest"]
    logger.warning(text + "%s", options.layers, meta["format"], greatest, rest)


def reading_of(options: ComposeOptions, source: dict[str, Any]) -> FilmOptions:
    """How the film that was split is read, and how its successor is written.

    Raises:
        UserError: it is gone, or another one now.
    """
    path = options.source or Path(source["path"])
    if not path.exists():
        raise UserError(
            f"{path}, which was split, isn't there any more: name it with --source, times and "
            "sound are taken from it"
        )
    if source["hash"] is not None and (path.is_dir() or content_hash(path) != source["hash"]):
        raise UserError(
            f"{path} isn't the film that was split: name that one with --source, or split again"
        )
    return FilmOptions(
        input=path,
        output=options.output,
        fps=source["fps"],
        start=source["start"],
        end=source["end"],
        deinterlace=source["deinterlace"],
        codec=options.codec,
        quality=options.quality,
        pixel_format=options.pixel_format,
        extras=options.extras,
    )


def _open_other(path: Path | None, flag: str, film: Film, stack: ExitStack) -> Pictures | None:
    """The pictures of another film, one for each frame of `film`; one picture stands still.

    Raises:
        UserError: it is of another size or has fewer frames.
    """
    if path is None:
        return None
    other = stack.enter_context(open_film(path, for_editing=True, is_still=True))
    info, mine = other.info, film.info
    if (info.width, info.height) != (mine.width, mine.height):
        raise UserError(
            f"{flag} {path} is {info.width}x{info.height}, the film {mine.width}x{mine.height}: "
            "make it of the film's size"
        )
    if 1 < len(other) < len(film) or not len(other):
        raise UserError(
            f"{flag} {path} has {len(other)} frames, the film {len(film)}: give every frame one"
        )
    if len(other) > len(film):
        text = "%s %s has %d frames, the film %d: those behind them are left out"
        logger.warning(text, flag, path, len(other), len(film))
    frames = (frame.rgb for frame in other)
    return frames if len(other) > 1 else chain.from_iterable(map(repeat, frames))


def compose_frames(
    options: ComposeOptions,
    meta: dict[str, Any],
    film: Film,
    person: Pictures | None,
    scene: Pictures | None,
    generated: Iterator[Generated | None] | None,
    *,
    stand_in: int | None = None,
) -> Iterator[Composed]:
    """The pictures of the film, in order, and where they are to be believed, (H, W) bool; None:
    everywhere. person, scene: what stands in for the layers' own; generated: what was made of an
    export, or in the place of one person, whose number, from 0, is `stand_in`."""
    layers = format_of(meta)
    space, kind = space_of(layers, film), kind_of(film)
    for people, occluder, behind, hole in read_layers(options.layers, meta, film):
        if scene is not None:
            behind = space.put_in(planes.in_bits(next(scene), kind))
        nearer: list[Layer] = []
        if stand_in is not None:
            nearer, people = people[:stand_in], people[stand_in + 1 :]
        picture = compose(space, people, behind)
        made = None if generated is None else next(generated)
        if person is not None:
            other = next(person)
            if hole is not None:
                made = Generated(other, hole, is_soft=False)
        before = None if occluder is None else space.alpha_of(occluder)
        if made is not None:
            made = made._replace(picture=planes.in_bits(made.picture, kind))
            picture = space.put_in(made.over(space.take_out(picture), before, film))
        picture = compose(space, nearer, picture)
        if options.occluder and occluder is not None:
            picture = space.over(occluder, picture)
        place = None
        if layers.loses and scene is None:
            place = np.zeros(picture.shape[:2], bool)
            if made is not None:
                place |= made.place(before, film)
            # whoever is put in leaves all else as the film has it
            if hole is not None and not (options.person and options.occluder):
                place |= hole
        yield space.take_out(picture), place
