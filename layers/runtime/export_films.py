"""Write the films and masks that programs which generate or remove people read, of the layers of a
film: python -m layers export-films, and split --export."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from layers.options_films import REMOVAL, WAN_ANIMATE, ExportFilmsOptions, FilmExportOptions
from layers.options_split import ComposeOptions
from layers.runtime.compose import check_frames, reading_of
from layers.runtime.film_export import (
    FOLDER,
    INFO,
    Plan,
    info_of,
    layers_of_frames,
    plan_exports,
    write_export,
)
from nunif.errors import UserError
from nunif.files import make_folder, write_json
from nunif.runtime.film import check_not_sources, open_again, open_source
from nunif.runtime.mask_source import Paired, open_masks
from nunif.runtime.options import FilmOptions
from nunif.video.film import Film
from nunif.video.folder import folder_of_outputs
from nunif.video.part import place_in_whole
from nunif.video.reader import BrokenVideo
from scene.layers import folder as layer_folder
from scene.layers.formats import format_of, read_layers, space_of

logger = logging.getLogger(__name__)


def main(options: ExportFilmsOptions) -> None:
    """The command `export-films`.

    Raises:
        UserError: no layers are there, the film that was split is gone or another, it can't be
            exported, or something stands where an export would be written.
    """
    meta = layer_folder.read_meta(options.layers)
    output = options.output or options.layers / FOLDER
    like = ComposeOptions(layers=options.layers, output=output, source=options.source)
    reading = reading_of(like, meta["source"])
    check_not_sources([output], [options.layers, reading.input])
    with open_source(reading) as film:
        check_frames(film, meta)
        for plan in plan_exports(options, film):
            folder = output / plan.name
            with folder_of_outputs(folder) as unfinished:
                with open_again(reading, film) as again:
                    export(plan, unfinished, options.layers, meta, again, called=folder)


def export_beside(
    plans: list[Plan], layers: Path, meta: dict[str, Any], reading: FilmOptions, film: Film
) -> None:
    """Write exports into a folder of layers that is being made.

    meta: of the layers. reading: how the film was read; messages call the folder by its output.
    """
    for plan in plans:
        folder = make_folder(layers / FOLDER / plan.name)
        with open_again(reading, film) as again:
            called = reading.output / FOLDER / plan.name
            export(plan, folder, layers, meta, again, called=called)


def export(
    plan: Plan, folder: Path, layers: Path, meta: dict[str, Any], film: Film, *, called: Path
) -> None:
    """Write one export into an empty folder, and log what was done to the film, which is at its
    beginning.

    Raises:
        UserError: the film, a mask or a layer is damaged or missing.
    """
    tone = film.info.tone_map
    with ExitStack() as stack:
        effects = _open_effects(plan.options, film, stack) if plan.name == REMOVAL else None
        read = read_layers(layers, meta, film)
        space = space_of(format_of(meta), film)
        frames = layers_of_frames(plan, film, read, space, effects)
        shown = tqdm(frames, total=len(plan.frames), unit="frame", desc=plan.name, disable=None)
        threshold = float(meta["options"]["hole_threshold"])
        try:
            seen = write_export(plan, folder, shown, threshold=threshold)
        except BrokenVideo as error:
            raise UserError(str(error)) from error
    info = info_of(plan, meta, tone, seen)
    write_json(folder / INFO, info)
    _tell(plan, info, meta, called)


def _open_effects(
    options: FilmExportOptions, film: Film, stack: ExitStack
) -> Iterator[np.ndarray] | None:
    """The masks of --effects, (H, W) uint8 for each frame."""
    if options.effects is None:
        return None
    whole, first, stop = place_in_whole(film)
    masks = open_masks(
        options.effects,
        Paired.with_film(whole),
        name=f"--effects {options.effects}",
        size=(film.info.height, film.info.width),
        start=first,
        stop=stop,
        soft=True,
    )
    return stack.enter_context(masks)


def _tell(plan: Plan, info: dict[str, Any], meta: dict[str, Any], called: Path) -> None:
    """Log what was written, and all that the reader may not expect."""
    height, width = plan.fit.size
    notes = "; ".join(info["notes"]) or "nothing of the film was changed"
    logger.info(
        "%s: %d frames of %dx%d at %g fps: %s",
        called,
        len(plan.frames),
        width,
        height,
        float(plan.rate),
        notes,
    )
    if info["frames_without_anybody"] == len(plan.frames):
        logger.warning("%s: nobody is in the film, so its masks are empty", called)
    if cut := info["frames_with_people_cut"]:
        text = "%s: people reach into what was cut off in %d frames; there they stay in the film"
        logger.warning(text, called, cut)
    if plan.name == REMOVAL:
        return
    if len(meta["shots"]) > 1:
        logger.warning(
            "%s: there are %d shots, and programs that generate know of no cuts: split and export "
            "them one by one (--start, --end)",
            called,
            len(meta["shots"]),
        )
    if plan.name == WAN_ANIMATE and (many := max(map(_num_people, meta["planes"]))) > 1:
        logger.warning("%s: up to %d people are in a shot, and Wan-Animate knows one", called, many)
    for name, origin in info["missing"].items():
        logger.info("%s: %s is still missing: %s", called, name, origin)


def _num_people(letters: list[str]) -> int:
    return sum(each[0] == "A" for each in letters)
