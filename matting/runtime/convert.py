"""Cut people out of a film: python -m matting convert.

Axes: H W pixels, 3 = R G B.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import torch

from matting.models import as_network
from matting.options_run import GREEN, ConvertOptions, parse_colour
from matting.runtime.backends import open_engine
from matting.runtime.outputs import Outputs, in_folders, open_outputs
from matting.runtime.person_gate import somebody_is_seen
from matting.runtime.stream import Matte, MatteStream
from nunif.compiler import compile_in_place
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import make_folder
from nunif.image import decode
from nunif.models import load_model
from nunif.numbered import is_picture
from nunif.runtime.backends import is_exported
from nunif.runtime.batch import for_each_film
from nunif.runtime.film import (
    is_folder,
    open_output,
    open_plain_output,
    open_source,
    process_frames,
    read_ahead,
)
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film, open_film
from nunif.video.folder import FolderWriter, PlanesWriter
from nunif.video.picture import is_see_through
from nunif.video.reader import Frame
from nunif.video.tone import to_8_bits
from scene.planes import ALPHA, FOREGROUND

logger = logging.getLogger(__name__)

Write = Callable[[Matte[Frame]], None]

KEPT = ": all of it is computed as SDR BT.709"  # what is said of an HDR film
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main(options: ConvertOptions) -> None:
    """The command `convert`."""
    stream = cache(partial(open_stream, options))
    work = partial(convert_film, open_stream=stream)
    for_each_film(options, work, prepare=stream, each=in_folders)


def convert_film(
    options: ConvertOptions,
    *,
    open_stream: Callable[[], MatteStream],
    open_source: Callable[[ConvertOptions], AbstractContextManager[Film]] = open_source,
    has_composite: bool = True,
    bit_rate: int | None = None,
    bar: bool = True,
) -> None:
    """Cut the people out of one film.

    Args:
        open_stream: called once the film is known to be usable. open_source: opens the film.
        has_composite: write to -o. bit_rate: of the films, see `VideoWriter`.
        bar: show how far it is.
    """
    with open_outputs(options, has_composite=has_composite) as outputs, ExitStack() as stack:
        film = stack.enter_context(open_source(options))
        _check(outputs, options, film)
        if outputs.composite is None and film.info.tone_map is not None:
            logger.info("%s is %s%s", film.path, film.info.tone_map.name, KEPT)
        stream = open_stream()
        stream.reset()
        stream.check_size(film.info.height, film.info.width)
        writes = _open_writes(outputs, options, film, stack, bit_rate)
        was_clear = False

        def step(matte: Matte[Frame]) -> None:
            nonlocal was_clear
            picture = matte.item.picture
            was_clear |= picture is not None and is_see_through(picture)
            for write in writes:
                write(matte)

        is_empty = options.gate and _is_empty(options, open_source)
        frames = stack.enter_context(read_ahead(film, film))
        pictures = pictures_of(frames, film, cuts=options.cuts)
        found = stream.run(pictures, at_once=options.seq_chunk)
        mattes = _of_nobody(pictures) if is_empty else found
        process_frames(mattes, film, step, bar=bar)
    if was_clear:
        text = "%s is transparent in places (alpha): what is found in it takes the place of that"
        logger.warning(text, film.path)
    logger.info("%s: %d frames", options.output, len(film))


def _is_empty(
    options: ConvertOptions, open_source: Callable[[ConvertOptions], AbstractContextManager[Film]]
) -> bool:
    """Whether nobody's head is seen in the film, which is read as far as it takes; says so."""
    with open_source(options) as film, ExitStack() as stack:
        frames = stack.enter_context(read_ahead(film, film))
        pictures = (picture for _, picture, _ in pictures_of(frames, film, cuts=False))
        if somebody_is_seen(pictures, create_device(options.gpu)):
            return False
        logger.info("%s: nobody's head is seen in it (--gate), so nobody is cut out", film.path)
    return True


def _of_nobody(pictures: Iterable[tuple[Frame, np.ndarray, bool]]) -> Iterator[Matte[Frame]]:
    for frame, picture, _ in pictures:
        yield Matte(frame, picture, np.zeros(picture.shape[:2], np.uint8))


def _check(outputs: Outputs, options: ConvertOptions, film: Film) -> None:
    """
    Raises:
        UserError: of many frames one picture is to be made.
    """
    for path in outputs.paths:
        if is_picture(path) and len(film) > 1 and path != options.output:
            raise UserError(
                f"{path} is one picture, and {options.input} has {len(film)} frames: name a "
                "video, or a folder of pictures (a name without suffix)"
            )


def _open_writes(
    outputs: Outputs, options: ConvertOptions, film: Film, stack: ExitStack, bit_rate: int | None
) -> list[Write]:
    """What writes a frame to each of the outputs."""
    writes = (
        _open_composite(outputs.composite, options, film, stack, bit_rate),
        _open_alpha(outputs.alpha, film, stack, bit_rate),
        _open_foreground(outputs.foreground, film, stack, bit_rate),
        _open_planes(outputs.planes, options, film, stack),
    )
    return [write for write in writes if write is not None]


def _open_composite(
    path: Path | None,
    options: ConvertOptions,
    film: Film,
    stack: ExitStack,
    bit_rate: int | None,
) -> Write | None:
    """The person before a background, or a cut-out with alpha."""
    if path is None:
        return None
    size = (film.info.width, film.info.height)
    behind = background_frames(options.background or GREEN, size, len(film), stack)
    named = replace(options, output=path)
    output = stack.enter_context(open_output(named, film, size=size, kept=KEPT, bit_rate=bit_rate))
    is_cut_out = is_folder(path) and options.background is None
    tone = film.info.tone_map

    def write(matte: Matte[Frame]) -> None:
        if is_cut_out:
            output.write(np.dstack([matte.foreground, matte.alpha]), matte.item)
            return
        result = compose(matte.foreground, matte.alpha, next(behind))
        output.write(tone.from_sdr(result) if tone else result, matte.item)

    return write


def _open_alpha(
    path: Path | None, film: Film, stack: ExitStack, bit_rate: int | None
) -> Write | None:
    if path is None:
        return None
    write = stack.enter_context(_open(path, film, bit_rate))
    return lambda matte: write(np.repeat(matte.alpha[..., None], 3, 2), matte.item)


def _open_foreground(
    path: Path | None, film: Film, stack: ExitStack, bit_rate: int | None
) -> Write | None:
    if path is None:
        return None
    write_colours = stack.enter_context(_open(path, film, bit_rate))
    # a film says that it has the source's curve, which PNGs can't
    tone = None if is_folder(path) or is_picture(path) else film.info.tone_map

    def write(matte: Matte[Frame]) -> None:
        colours = np.where(matte.alpha[..., None] > 0, matte.foreground, np.uint8(0))
        write_colours(tone.from_sdr(colours) if tone else colours, matte.item)

    return write


def _open_planes(
    path: Path | None, options: ConvertOptions, film: Film, stack: ExitStack
) -> Write | None:
    """Alpha and foreground, whose colours go on where nobody is, so that nothing bleeds in when it
    is scaled."""
    if path is None:
        return None
    info = {"film": film.path.name, "fps": str(film.info.rate), "model": options.model.name}
    writer = stack.enter_context(PlanesWriter(path, info))
    letters = (ALPHA.letter, FOREGROUND.letter)
    return lambda matte: writer.write_planes(dict(zip(letters, (matte.alpha, matte.foreground))))


def open_stream(options: ConvertOptions) -> MatteStream:
    """The model, ready to run."""
    device = create_device(options.gpu)
    if is_exported(options.model):
        return MatteStream(open_engine(options, device), temporal=options.temporal_filter)
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
        try:
            picture = decode(path.read_bytes(), cv2.IMREAD_COLOR)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"--background {path} can't be read as a picture ({reason}): save it as PNG"
            ) from error
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
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for frame in film:
        picture = _fitted(frame.rgb, size)  # 8 bits of SDR, whatever the film is
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
def _open(
    path: Path, film: Film, bit_rate: int | None
) -> Iterator[Callable[[np.ndarray, Frame], None]]:
    """A film, a picture or a folder of PNGs in the making."""
    if is_folder(path):
        make_folder(path.parent)
        with FolderWriter(path) as folder:
            yield lambda rgb, frame: folder.write(rgb)
    else:
        make_folder(path.parent)
        size = (film.info.width, film.info.height)
        with open_plain_output(path, film, size=size, bit_rate=bit_rate) as output:
            yield output.write
