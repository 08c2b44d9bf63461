"""Fill the holes of a film: python -m inpaint apply.

Axes: H W pixels, 3 = R G B.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor
from tqdm import tqdm

from inpaint.options_run import ApplyOptions
from inpaint.runtime.look_ahead import ShotKeys, look_through
from inpaint.runtime.options import SHOT, FillOptions
from inpaint.runtime.stream import Filler, HoleFrame, InpaintStream, fill_in_sdr
from inpaint.runtime.windows import open_fillers
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import longer_name
from nunif.runtime.batch import for_each_film
from nunif.runtime.film import (
    check_not_sources,
    is_folder,
    open_again,
    open_output,
    open_plain_output,
    open_source,
    process_frames,
    read_ahead,
)
from nunif.runtime.mask_source import hole_advice, open_holes
from nunif.runtime.options import parse_objects
from nunif.video import picture as pictures
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film
from nunif.video.reader import BrokenVideo, Frame
from scene.masks import HOLE_COLOUR

logger = logging.getLogger(__name__)

FrameAndHole = tuple[Frame, np.ndarray]


def main(options: ApplyOptions) -> None:
    """The command `apply`."""
    open_once = cache(partial(open_filler, options, options.model))

    def work(one: ApplyOptions) -> None:
        open_masks = partial(masks_from, one.mask, one)
        filled = fill_film(
            one, one.model, open_filler=open_once, open_masks=open_masks, sources=[one.mask]
        )
        if not filled.num_holes:
            advice = hole_advice(invert=one.invert_mask)
            text = "--mask %s marks nothing as missing in any frame: %s"
            logger.warning(text, one.mask, advice)
        logger.info("%s: %d frames, %d with a hole", one.output, *filled)

    for_each_film(options, work, prepare=open_once, mask=options.mask)


def open_filler(options: FillOptions, model: Path, *, margin: float = 0.0) -> Filler:
    """What fills the holes. margin: see `InpaintStream`."""
    (filler,) = open_fillers(
        model,
        device=create_device(options.gpu),
        precision=options.precision,
        compiled=options.compile,
        max_width=options.max_width,
        look_ahead=None if options.look_ahead in (None, SHOT) else int(options.look_ahead),
        margin=margin,
    )
    return filler


class Filled(NamedTuple):
    """What came of a film. num_holes: frames with a hole."""

    num_frames: int
    num_holes: int


class OpenMasks(Protocol):
    """Opens the holes of a film, one for each frame in order: (H, W) bool, True = missing."""

    def __call__(
        self, film: Film, *, again: bool = False
    ) -> AbstractContextManager[Iterator[np.ndarray]]:
        """again: the same film is read a second time."""
        ...


class Watch(Protocol):
    """Is shown a film while it is filled."""

    def __call__(
        self, frame: np.ndarray, hole: np.ndarray, filled: np.ndarray, starts_shot: bool
    ) -> None:
        """frame, filled: (H, W, 3) uint8 or uint16, SDR. hole: (H, W) bool, True = missing.
        starts_shot: whether a new one starts with the frame, never with the first."""
        ...


def _itself(picture: np.ndarray) -> np.ndarray:
    return picture


def fill_film(
    options: FillOptions,
    model: Path,
    *,
    open_filler: Callable[[], Filler],
    open_masks: OpenMasks,
    sources: Sequence[Path] = (),
    watch: Watch | None = None,
) -> Filled:
    """Fill the holes of one film.

    Args:
        model: what the filler is of, for messages.
        open_filler: called once the film and its masks are known to be usable.
        sources: what is read beside the film, and isn't to be written over.
        watch: is shown every frame.
    """
    compare_path = comparison_path(options.output) if options.compare else None
    check_not_sources(filter(None, [options.output, compare_path]), [options.input, *sources])
    with ExitStack() as stack:
        film = stack.enter_context(open_source(options))
        holes = stack.enter_context(open_masks(film))
        size = (film.info.width, film.info.height)
        filler = open_filler()
        computed = filler.computed_size(*reversed(size))
        logger.info("%s, at %dx%d", filler.description, computed[1], computed[0])
        output = stack.enter_context(open_output(options, film, size=size))
        comparison = None
        if compare_path is not None:
            both = (2 * size[0], size[1])
            comparison = stack.enter_context(open_plain_output(compare_path, film, size=both))
        frames = stack.enter_context(read_ahead(zip(film, holes), film))
        num_holes = 0

        def write(item: tuple[tuple[FrameAndHole, bool], np.ndarray]) -> None:
            nonlocal num_holes
            ((frame, hole), starts_shot), filled = item
            num_holes += bool(hole.any())
            output.write(
                filled, frame, frame.picture and pictures.paste(frame.picture, filled, hole)
            )
            if comparison is not None:
                comparison.write(side_by_side(frame.rgb, hole, filled), frame)
            if watch is not None:
                seen = film.info.tone_map.to_sdr if film.info.tone_map else _itself
                watch(seen(frame.rgb), hole, seen(filled), starts_shot)

        shots = split_into_shots(frames, find_cuts=options.find_cuts)
        holed = (
            HoleFrame((item, starts_shot), item[0].rgb, item[1], starts_shot)
            for item, starts_shot in shots
        )
        fill: Callable[[Iterable[HoleFrame]], Iterator[tuple[Any, np.ndarray]]] = filler.fill
        if options.look_ahead == SHOT:
            stream = check_looks_ahead(filler, model)
            keys = stack.enter_context(keys_of_shots(options, film, stream, open_masks))
            fill = partial(stream.fill, keys=keys)
        process_frames(fill_in_sdr(fill, holed, film.info.tone_map), film, write)
    return Filled(len(film), num_holes)


def masks_from(
    path: Path, options: FillOptions, film: Film, *, again: bool = False
) -> AbstractContextManager[Iterator[np.ndarray]]:
    """The holes that masks in a file or folder make."""
    return open_holes(
        path,
        film,
        invert=options.invert_mask,
        dilate=options.dilate,
        objects=parse_objects(options.objects),
        large_holes=options.large_holes,
        deinterlace=options.deinterlace,
        again=again,
    )


def check_looks_ahead(filler: Filler, model: Path) -> InpaintStream:
    """
    Raises:
        UserError: the model can't be told of a whole shot.
    """
    if not isinstance(filler, InpaintStream) or filler.multiple is None:
        raise UserError(
            f"--look-ahead {SHOT} needs the model file (.pth) of a model with a memory, not "
            f"{model.name}"
        )
    return filler


@contextmanager
def keys_of_shots(
    options: FillOptions, first: Film, stream: InpaintStream, open_masks: OpenMasks
) -> Iterator[Iterator[ShotKeys]]:
    """The key pictures of every shot: the film `first` is read a second time, one shot ahead of its
    filling."""
    assert stream.multiple is not None
    with (
        open_again(options, first) as film,
        open_masks(film, again=True) as holes,
        tqdm(total=len(film), unit="frame", desc="looking ahead", disable=None) as bar,
    ):
        tone = film.info.tone_map

        def masked() -> Iterator[tuple[Tensor, bool]]:
            try:
                for (frame, hole), starts_shot in split_into_shots(
                    zip(film, holes), find_cuts=options.find_cuts
                ):
                    bar.update()
                    yield (
                        stream.masked(tone.to_sdr(frame.rgb) if tone else frame.rgb, hole),
                        starts_shot,
                    )
            except (
                BrokenVideo,
                UserError,
            ) as problem:  # which the filling meets too, and reports, once it gets there
                logger.debug("looking ahead ends early: %s", problem)

        with look_through(masked(), stream.multiple) as keys:
            yield keys


def split_into_shots(
    frames: Iterator[FrameAndHole], *, find_cuts: bool
) -> Iterator[tuple[FrameAndHole, bool]]:
    """Every frame with its hole, and whether a new shot starts with it; without `find_cuts` none
    does."""
    return (
        mark_cuts(frames, picture=lambda item: item[0].rgb)
        if find_cuts
        else ((item, False) for item in frames)
    )


def comparison_path(output: Path) -> Path:
    """NAME.compare.SUFFIX beside the output; .mp4 beside a folder."""
    if is_folder(output):
        return longer_name(output.absolute(), after=".compare", suffix=".mp4")
    return longer_name(output, after=".compare")


def side_by_side(frame: np.ndarray, hole: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """The frame with its hole painted half over, and the filled frame. (H, W, 3) each -> (H, 2 W,
    3)."""
    return np.concatenate([painted(frame, hole), filled], axis=1)


def painted(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A frame with its hole painted half over."""
    colour = np.array(HOLE_COLOUR, np.float32) * (np.iinfo(frame.dtype).max / 255)
    shown = frame.copy()
    shown[hole] = (frame[hole] / 2 + colour / 2).astype(frame.dtype)
    return shown
