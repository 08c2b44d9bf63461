"""Cut people out of a film: python -m matting convert.

Axes: H W pixels, 3 = R G B.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import torch

from matting.models import as_network
from matting.options_run import GREEN, ConvertOptions, parse_colour
from matting.runtime.stream import Matte, MatteStream
from nunif.compiler import compile_in_place
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import make_folder
from nunif.models import load_model
from nunif.numbered import is_picture
from nunif.runtime.batch import for_each_film
from nunif.runtime.film import (
    check_not_sources,
    is_folder,
    open_output,
    open_plain_output,
    open_source,
    process_frames,
    read_ahead,
)
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film, open_film
from nunif.video.folder import FolderWriter
from nunif.video.picture import is_see_through
from nunif.video.reader import Frame
from nunif.video.tone import to_8_bits

logger = logging.getLogger(__name__)

Write = Callable[[np.ndarray, Frame], None]

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main(options: ConvertOptions) -> None:
    """The command `convert`."""
    stream = cache(partial(open_stream, options))
    work = partial(convert_film, open_stream=stream)
    for_each_film(options, work, prepare=stream, each=in_folders)


def in_folders(options: ConvertOptions) -> ConvertOptions:
    """The options for one film of a folder: alpha and foreground go into folders too, under the
    film's name.

    Raises:
        UserError: they have one name for all films.
    """
    for flag, path in (("--alpha", options.alpha), ("--foreground", options.foreground)):
        if path is not None and not is_folder(path):
            raise UserError(
                f"{flag} {path} is one file, and there are several films: name a folder"
            )
    name = options.output.name
    return replace(
        options,
        alpha=options.alpha and options.alpha / name,
        foreground=options.foreground and options.foreground / name,
    )


def convert_film(options: ConvertOptions, *, open_stream: Callable[[], MatteStream]) -> None:
    """Cut the people out of one film. open_stream: called once the film is known to be usable."""
    check_files(options)
    with ExitStack() as stack:
        film = stack.enter_context(open_source(options))
        stream = open_stream()
        stream.reset()
        size = (film.info.width, film.info.height)
        behind = background_frames(options.background or GREEN, size, len(film), stack)
        output = stack.enter_context(
            open_output(options, film, size=size, kept=": all of it is computed as SDR BT.709")
        )
        alphas, colours = (
            None if path is None else stack.enter_context(_open(path, film, size))
            for path in (options.alpha, options.foreground)
        )
        transparent = is_folder(options.output) and options.background is None
        tone = film.info.tone_map
        was_clear = False

        def write(item: tuple[Matte[Frame], np.ndarray]) -> None:
            nonlocal was_clear
            matte, background = item
            frame = matte.item
            was_clear |= frame.picture is not None and is_see_through(frame.picture)
            if transparent:
                result = np.dstack([matte.foreground, matte.alpha])
            else:
                result = compose(matte.foreground, matte.alpha, background)
                result = tone.from_sdr(result) if tone else result
            output.write(result, frame)
            if alphas is not None:
                alphas(np.repeat(matte.alpha[..., None], 3, 2), frame)
            if colours is not None:
                colours(np.where(matte.alpha[..., None] > 0, matte.foreground, 0), frame)

        frames = stack.enter_context(read_ahead(film, film))
        mattes = stream.run(pictures_of(frames, film, cuts=options.cuts), at_once=options.seq_chunk)
        process_frames(zip(mattes, behind), film, write)
    if was_clear:
        text = "%s is transparent in places (alpha): what is found in it takes the place of that"
        logger.warning(text, film.path)
    logger.info("%s: %d frames", options.output, len(film))


def check_files(options: ConvertOptions) -> None:
    """
    Raises:
        UserError: one file is to be two, or to take the place of what is read.
    """
    written = [path for path in (options.output, options.alpha, options.foreground) if path]
    behind = Path(options.background) if options.background else options.input
    check_not_sources(written, [options.input, options.model, behind])
    if len({os.path.realpath(path) for path in written}) < len(written):
        raise UserError(
            "-o, --alpha and --foreground name one file twice: choose a name for each of them"
        )


def open_stream(options: ConvertOptions) -> MatteStream:
    """The model, ready to run."""
    device = create_device(options.gpu)
    loaded, _ = load_model(options.model, expect="matting.")
    model = as_network(loaded, options.model)
    if options.compile:
        compile_in_place(model)
    return MatteStream(
        model,
        max_width=options.max_width,
        downsample_ratio=options.downsample_ratio,
        device=device,
        dtype=PRECISIONS[options.precision or "fp32"],
        temporal=options.temporal_filter,
    )


def pictures_of(
    frames: Iterable[Frame], film: Film, *, cuts: bool
) -> Iterator[tuple[Frame, np.ndarray, bool]]:
    """Each frame as the network knows pictures, and whether a new shot starts with it."""
    tone = film.info.tone_map
    marked = mark_cuts(frames, picture=lambda frame: frame.rgb)
    for frame, starts_shot in marked:
        rgb = to_8_bits(tone.to_sdr(frame.rgb) if tone else frame.rgb)
        yield frame, rgb, starts_shot and cuts


def compose(foreground: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The foreground over the background, by alpha: (H, W, 3) and (H, W) uint8 -> (H, W, 3)
    uint8."""
    share = alpha[..., None].astype(np.float32) / 255
    mixed = share * foreground + (1 - share) * background
    return np.rint(mixed).astype(np.uint8)


def background_frames(
    text: str, size: tuple[int, int], num_frames: int, stack: ExitStack
) -> Iterator[np.ndarray]:
    """What stands behind each frame, (H, W, 3) uint8: a colour, a picture, or a film whose last
    picture stays where it is too short. size: (width, height)."""
    colour = parse_colour(text)
    if colour is not None:
        return repeat(np.full((size[1], size[0], 3), colour, np.uint8), num_frames)
    path = Path(text)
    if is_picture(path):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise UserError(f"--background {path} can't be read as a picture: save it as PNG")
        return repeat(_fitted(picture[..., ::-1], size), num_frames)
    film = stack.enter_context(open_film(path))
    if len(film) < num_frames:
        logger.warning(
            "--background %s has %d frames, fewer than the film's %d: its last one stays",
            path,
            len(film),
            num_frames,
        )
    return _held(film, size)


def _held(film: Film, size: tuple[int, int]) -> Iterator[np.ndarray]:
    tone = film.info.tone_map
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for frame in film:
        picture = _fitted(to_8_bits(tone.to_sdr(frame.rgb) if tone else frame.rgb), size)
        yield picture
    yield from repeat(picture)


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scaled to cover (width, height), its middle kept."""
    height, width = picture.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    scaled = (max(size[0], round(width * scale)), max(size[1], round(height * scale)))
    if scaled != (width, height):
        shrinks = scale < 1
        picture = cv2.resize(
            np.ascontiguousarray(picture),
            scaled,
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
        )
    left, top = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    return picture[top : top + size[1], left : left + size[0]]


@contextmanager
def _open(path: Path, film: Film, size: tuple[int, int]) -> Iterator[Write]:
    """A film, a picture or a folder of PNGs in the making."""
    if is_folder(path):
        make_folder(path.parent)
        with FolderWriter(path) as folder:
            yield lambda rgb, frame: folder.write(rgb)
    else:
        make_folder(path.parent)
        with open_plain_output(path, film, size=size) as output:
            yield output.write
