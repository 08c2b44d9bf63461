"""Take a film apart into who is in it, what stands before them and the scene behind, of which it
comes together again exactly: python -m layers split.

frame -> who is cut out -> hole -> the scene, filled in -> the exact split -> planes

Axes: H W pixels, 3 = R G B.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from inpaint.runtime.depth_files import open_depth_in
from inpaint.runtime.depth_stream import stream_disparity
from inpaint.runtime.stream import Filler, HoleFrame, fill_in_sdr
from inpaint.runtime.windows import open_fillers
from layers.options_split import DEPTH, SplitOptions
from layers.runtime.apart import MOST, Ids, Roll
from layers.runtime.cutouts import CutFrame, CutFrames, open_alphas, open_cutouts, to_sdr8
from layers.runtime.export_films import export_beside
from layers.runtime.film_export import plan_exports
from layers.runtime.hole_size import HoleSize
from layers.runtime.occluders import WithDisparity, occluders_of
from layers.runtime.order import Order
from layers.runtime.outline import with_outlines
from layers.runtime.provenance import origin_of
from layers.runtime.remove import FILLER
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import file_sha256, write_json
from nunif.runtime.film import (
    check_not_sources,
    is_folder,
    open_again,
    open_source,
    process_frames,
    read_ahead,
)
from nunif.runtime.options import parse_objects
from nunif.video.film import Film
from nunif.video.folder import folder_of_outputs
from nunif.video.reader import content_hash
from scene.depth import create_estimator
from scene.layers import folder as layer_folder
from scene.layers import planes
from scene.layers.formats import FORMATS, format_of, measure_loss, space_of
from scene.layers.planes import PlanesOfFilm
from scene.layers.spaces import Linear, Space

logger = logging.getLogger(__name__)

VERSION = 1


class Parts(NamedTuple):
    """A frame with all that is cut out of it. occluder: (H, W) uint8, or None. disparity: (h, w)
    float32 in [0, 1], or None."""

    cut: CutFrame
    occluder: np.ndarray | None
    hole: np.ndarray
    disparity: np.ndarray | None


def main(options: SplitOptions) -> None:
    """The command `split`.

    Raises:
        UserError: the film, the masks or the model can't be used; something stands at --output.
    """
    if not is_folder(options.output):
        raise UserError(
            f"--output {options.output} is one file, and layers are a folder: name a folder"
        )
    named = options.occluders if options.occluders != DEPTH else None
    sources = [options.input, options.masks, options.depth_in, Path(named) if named else None]
    check_not_sources([options.output], filter(None, sources))
    model = options.model or FILLER
    with ExitStack() as stack:
        film = stack.enter_context(open_source(options.film()))
        exports = plan_exports(options, film)
        by, cut_out = open_cutouts(options)
        filler = open_filler(options)
        size = filler.computed_size(film.info.height, film.info.width)
        logger.info("cut out by %s; %s, at %dx%d", by, filler.description, *reversed(size))
        folder = stack.enter_context(folder_of_outputs(options.output))
        cut = stack.enter_context(cut_out(film))
        ids = Ids(lambda cut: to_sdr8(cut.frame, film))
        if options.ids and options.objects is None:
            cut = ids(cut)
        before = with_occluders(cut, options, film, stack)
        size_of_hole = HoleSize(options.hole_threshold, options.dilate, options.reaches)
        parts = stack.enter_context(read_ahead(find_holes(before, size_of_hole), film))
        layers, roll, order = FORMATS[options.format], Roll(), Order()
        space = space_of(layers, film)
        with PlanesOfFilm(folder, lambda shot: layers.open_shot(shot, film)) as written:
            write = partial(write_frame, written, roll, order, space)
            done = to_their_outlines(filled(parts, filler, film), size_of_hole)
            process_frames(done, film, write)
        about = {"filler": model.name, "filler_sha256": file_sha256(model), "cut_out_by": by}
        objects = parse_objects(options.objects) if options.ids else ()
        persons = roll.told(ids, objects)
        meta = {**meta_of(options, film, written), "persons": persons, "models": about}
        meta["order"] = [] if options.objects else order.changes
        meta |= told_of_format(options, folder, meta, film)
        write_json(folder / layer_folder.META, meta)
        export_beside(exports, folder, meta, options.film(), film)
    if ids.crowded:
        text = "in %d shots there are more than %d people: who came later shares layers with others"
        logger.warning(text, len(ids.crowded), MOST)
    empty = sum("A" not in kept for kept in written.planes)
    logger.info(
        "%s: %d frames in %d shots%s",
        options.output,
        written.num_frames,
        len(written.shots),
        f", nobody in {empty} of them" if empty else "",
    )


def open_filler(options: SplitOptions) -> Filler:
    """What fills the scene in."""
    (filler,) = open_fillers(
        options.model or FILLER,
        device=create_device(options.gpu),
        precision=options.precision,
        max_width=options.max_width,
        look_ahead=options.look_ahead,
    )
    return filler


def with_occluders(
    frames: CutFrames, options: SplitOptions, film: Film, stack: ExitStack
) -> Iterator[tuple[WithDisparity, np.ndarray | None]]:
    """Each frame with the alpha of what stands before its people, where that is asked for, and its
    disparity, where that is needed for it."""
    if options.occluders is None:
        return ((WithDisparity(cut, None), None) for cut in frames)
    if options.occluders != DEPTH:
        path = Path(options.occluders)
        alphas = stack.enter_context(open_alphas(path, film, options))
        return ((WithDisparity(cut, None), alpha) for cut, alpha in zip(frames, alphas))
    if options.depth_in is not None:
        maps = stack.enter_context(open_depth_in(options.depth_in, film))
        near = (WithDisparity(cut, disparity.numpy()) for cut, disparity in zip(frames, maps))
        return occluders_of(near)
    estimator = create_estimator(
        options.model_type,
        resolution=options.resolution,
        model_dir=options.depth_model_dir,
        device=create_device(options.gpu),
        batch_size=1,
        allow_third_party=options.allow_third_party_code,
    )
    marked = ((cut, cut.starts_shot) for cut in frames)
    depths = stream_disparity(marked, estimator, rgb=lambda cut: to_sdr8(cut.frame, film))
    return occluders_of(WithDisparity(depth.item, depth.disparity.numpy()) for depth in depths)


def find_holes(
    frames: Iterator[tuple[WithDisparity, np.ndarray | None]], size: HoleSize
) -> Iterator[Parts]:
    """Each frame with the hole that is filled in."""
    for (cut, disparity), occluder in frames:
        hole = size.of(_alphas_of(cut, occluder), size.reach)
        yield Parts(cut, occluder, hole, disparity)


def _alphas_of(cut: CutFrame, occluder: np.ndarray | None) -> list[np.ndarray]:
    return [person.alpha for person in cut.persons] + ([] if occluder is None else [occluder])


def to_their_outlines(
    frames: Iterator[tuple[Parts, np.ndarray]], size: HoleSize
) -> Iterator[tuple[Parts, np.ndarray]]:
    """Frames, filled in, with people's alphas as far as they go: what shows within `reach` of them
    and isn't the scene that was filled in is theirs; the hole becomes that of these alphas."""
    for part, scene in frames:
        cut = part.cut
        if size.reach and cut.persons:
            alphas = [person.alpha for person in cut.persons]
            wider = with_outlines(cut.frame.rgb, scene, alphas, part.hole, part.occluder)
            persons = [one._replace(alpha=alpha) for one, alpha in zip(cut.persons, wider)]
            cut = cut._replace(persons=persons)
            part = part._replace(cut=cut, hole=size.of(_alphas_of(cut, part.occluder)))
            scene = np.where(part.hole[..., None], scene, cut.frame.rgb)
        yield part, scene


def filled(
    parts: Iterator[Parts], filler: Filler, film: Film
) -> Iterator[tuple[Parts, np.ndarray]]:
    """Every frame's parts, and the frame with its hole filled in."""
    frames = (
        HoleFrame(part, part.cut.frame.rgb, part.hole, part.cut.starts_shot) for part in parts
    )
    return fill_in_sdr(filler.fill, frames, film.info.tone_map)


def told_of_format(
    options: SplitOptions, folder: Path, meta: dict[str, Any], film: Film
) -> dict[str, Any]:
    """What meta.json says of how the layers are kept. A line tells what that costs."""
    layers, space = format_of(meta), space_of(format_of(meta), film)
    if isinstance(space, Linear):
        text = "%s: linear light (%s), premultiplied, in %s: exact where it is laid over in that"
        bits = 8 * np.dtype(space.stored).itemsize
        logger.info(text, options.output, space.curve, f"{bits} bits")
        return {"transfer": "linear", "curve": space.curve}
    if not layers.loses:
        return {}
    with open_again(options.film(), film) as again:
        greatest, mean = measure_loss(folder, meta, again)
    logger.info(
        "%s: %s: composed again the film is off by %.1f of 255 at most, by %.2f on average",
        options.output,
        layers.loses,
        greatest,
        mean,
    )
    return {"recompose": {"greatest": round(greatest, 2), "mean": round(mean, 3)}}


def write_frame(
    written: PlanesOfFilm,
    roll: Roll,
    order: Order,
    space: Space,
    item: tuple[Parts, np.ndarray],
) -> None:
    """Split a frame and write its planes."""
    (cut, occluder, hole, disparity), scene = item
    if cut.starts_shot or not written.num_frames:
        written.start_shot()
        order.start_shot()
    picture = cut.frame.rgb
    letters = [layer_folder.person_letters(number) for number in range(len(cut.persons))]
    alphas = [person.alpha for person in cut.persons]
    roll.see(len(written.shots) - 1, written.num_frames, alphas)
    if disparity is not None:
        order.see(written.num_frames, alphas, disparity)
    guesses: Sequence[np.ndarray | None] = [
        None if person.foreground is None else planes.in_bits(person.foreground, picture.dtype)
        for person in cut.persons
    ]
    if occluder is not None:
        letters, alphas, guesses = (
            [layer_folder.OCCLUDER, *letters],
            [occluder, *alphas],
            [None, *guesses],
        )
    wide = [planes.in_bits(alpha[..., None], picture.dtype) for alpha in alphas]
    layers, scene = space.split(picture, wide, scene, guesses)
    pictures: dict[str, np.ndarray] = {layer_folder.FILM: space.put_in(picture)}
    for (alpha_letters, colour_letters), layer in zip(letters, layers):
        pictures[alpha_letters] = layer.alpha[..., 0]
        pictures[colour_letters] = layer.foreground
    if disparity is not None:
        near = cv2.resize(disparity, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)
        pictures[layer_folder.DISPARITY] = np.rint(near.clip(0, 1) * 65535).astype(np.uint16)
    written.write({**pictures, layer_folder.SCENE: scene, layer_folder.HOLE: hole}, cut.frame)


def meta_of(options: SplitOptions, film: Film, written: PlanesOfFilm) -> dict[str, Any]:
    """What meta.json says."""
    info = film.info
    source = {
        "path": str(options.input.absolute()),
        "name": options.input.name,
        "hash": None if options.input.is_dir() else content_hash(options.input),
        "start": options.start,
        "end": options.end,
        "fps": options.fps,
        "deinterlace": options.deinterlace,
        "time_base": str(info.time_base),
    }
    depth = None
    if options.occluders == DEPTH:
        depth = options.model_type if options.depth_in is None else str(options.depth_in)
    empty = [
        {"shot": number, "person": f"alpha never above {options.hole_threshold}"}
        for number, kept in enumerate(written.planes)
        if "A" not in kept
    ]
    return {
        "version": VERSION,
        "format": options.format,
        "source": source,
        "size": [info.height, info.width],
        "frames": [int(pts) for pts in film.pts[: written.num_frames]],
        "shots": written.shots,
        "planes": written.planes,
        "empty": empty,
        "transfer": "encoded",
        "depth": depth,
        "recompose": "exact",
        **origin_of(options.input),
        "options": {
            "hole_threshold": options.hole_threshold,
            "dilate": options.dilate,
            "reach": options.reaches,
            "look_ahead": options.look_ahead,
            "objects": options.objects,
        },
    }
