"""What commands that make one film of another share: the film, where the new one is written, and
the loop over the frames.

Axes: H W pixels, 3 = R G B.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nunif.errors import UserError
from nunif.files import check_not_source, make_folder
from nunif.numbered import is_picture
from nunif.parallel import prefetch
from nunif.runtime.options import FilmOptions, parse_part
from nunif.video.film import Film, open_film
from nunif.video.folder import FolderWriter
from nunif.video.mastering import Mastering
from nunif.video.part import PartOfFilm, part_of
from nunif.video.picture import Picture, alpha_of
from nunif.video.probe import ICC_PROFILE
from nunif.video.reader import BrokenVideo, Frame
from nunif.video.signalling import as_ratio
from nunif.video.stereo_metadata import StereoMark
from nunif.video.still import StillWriter
from nunif.video.writer import VideoWriter

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

_UNEVEN = 0.005  # seconds; files round times by less


class Output(Protocol):
    """Takes pictures with their times."""

    def write(self, rgb: np.ndarray, frame: Frame, picture: Picture | None = None) -> None:
        """rgb: (H, W, 3). frame: whose time it takes. picture: the same in the source's own planes,
        if there is one."""
        ...


class _Video:
    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer

    def write(self, rgb: np.ndarray, frame: Frame, picture: Picture | None = None) -> None:
        self._writer.write(rgb if picture is None else picture, frame.pts, frame.duration)


class _Pictures:
    def __init__(self, writer: FolderWriter | StillWriter) -> None:
        self._writer = writer

    def write(self, rgb: np.ndarray, frame: Frame, picture: Picture | None = None) -> None:
        alpha = None if picture is None else alpha_of(picture)
        self._writer.write(rgb if alpha is None else np.dstack([rgb, alpha]))


@contextmanager
def open_source(options: FilmOptions) -> Iterator[Film]:
    """The film that is asked for, or the part of it, with what is needed to write it again.

    Raises:
        UserError: see `open_film` and `part_of`; it doesn't fit into one picture, which is to be
            written.
    """
    start, end = parse_part(options.start, options.end)
    if is_picture(options.input) and (options.start or options.end):
        raise UserError(
            f"--start and --end are for films, and {options.input} is one picture: leave them out"
        )
    with _open_whole(options, options.fps) as whole:
        film = part_of(whole, start, end)
        if is_picture(options.output) and len(film) > 1:
            raise UserError(
                f"--output {options.output} is one picture, and {options.input} has {len(film)} "
                "frames: name a video, or a folder of pictures (a name without suffix)"
            )
        yield film


@contextmanager
def open_again(options: FilmOptions, film: Film) -> Iterator[Film]:
    """What `open_source` gave, to be read a second time."""
    rate = str(film.info.rate) if options.input.is_dir() else None  # it isn't told again
    with _open_whole(options, rate) as whole:
        if isinstance(film, PartOfFilm):
            yield PartOfFilm(whole, first=film.first, stop=film.stop)
        else:
            yield whole


def _open_whole(options: FilmOptions, fps: str | None) -> Film:
    return open_film(
        options.input,
        fps=fps,
        for_editing=True,
        deinterlace=options.deinterlace,
        is_still=options.stills,
    )


def is_folder(output: Path) -> bool:
    """Whether an --output stands for a folder of pictures and not for a video."""
    return not output.suffix or output.is_dir()


def check_not_sources(outputs: Iterable[Path], sources: Iterable[Path]) -> None:
    """
    Raises:
        UserError: an output would take the place of something that is read.
    """
    for output, source in product(outputs, sources):
        check_not_source(output, source)


@contextmanager
def open_output(
    options: FilmOptions,
    film: Film,
    *,
    size: tuple[int, int],
    stereo: StereoMark | None = None,
    kept: str = ": the model sees it as SDR BT.709, outside the holes the film stays as it is",
    bit_rate: int | None = None,
) -> Iterator[Output]:
    """A video with the film's sound, subtitles, times and colours, a folder of PNGs where the
    name has no suffix, or one picture.

    Args:
        size: (width, height) of what will be written, as encoders have it.
        stereo: how both eyes stand in it; None: they see one picture.
        kept: what is said of an HDR film behind its name.
        bit_rate: see VideoWriter.
    Raises:
        UserError: see VideoWriter and FolderWriter; an option that a folder has no use for.
    """
    path = options.output
    if (tone := film.info.tone_map) is not None:
        logger.info("%s is %s%s", film.path, tone.name, kept)
    # a picture of a picture keeps it
    carried = {ICC_PROFILE} if is_picture(path) else set()
    if lost := [name for name in film.info.dynamic if name not in carried]:
        logger.warning("%s has %s, which can't be carried over", film.path, ", ".join(lost))
    if is_picture(path):
        _refuse_encoding(options, "a picture")
        with open_plain_output(path, film, size=size) as still:
            _warn_of_tone(path, film)
            yield still
    elif is_folder(path):
        _refuse_encoding(options, "a folder of pictures")
        with FolderWriter(path) as folder:
            _tell_of_kind(path, film, "a folder of one")
            _warn_of_losses(path, film, extras=options.extras)
            yield _Pictures(folder)
    else:
        make_folder(path.parent)
        with video_writer(
            path, film, size=size, options=options, sound=True, stereo=stereo, bit_rate=bit_rate
        ) as video:
            _tell_of_kind(path, film, "a film of one frame")
            yield _Video(video)


@contextmanager
def open_plain_output(
    path: Path, film: Film, *, size: tuple[int, int], bit_rate: int | None = None
) -> Iterator[Output]:
    """A picture, or a video with no more of the film than its pictures, in the suffix's usual
    codec. size, bit_rate: as of `open_output`."""
    if is_picture(path):
        with StillWriter(path, source=film.path) as still:
            yield _Pictures(still)
    else:
        with video_writer(path, film, size=size, bit_rate=bit_rate) as video:
            yield _Video(video)


def _tell_of_kind(path: Path, film: Film, kind: str) -> None:
    """Log what a picture becomes that isn't asked to become a picture."""
    if is_picture(film.path) and len(film) == 1:  # and no APNG
        text = "%s is one picture, and %s is %s; a name that ends in .png makes a picture"
        logger.info(text, film.path, path, kind)


def _refuse_encoding(options: FilmOptions, output: str) -> None:
    """
    Raises:
        UserError: an option that is for videos, which the output isn't.
    """
    for name in ("codec", "quality", "pixel_format"):
        if (value := getattr(options, name)) is not None:
            flag = name.replace("_", "-")
            raise UserError(
                f"--{flag} {value} is for videos, but --output {options.output} is {output}: "
                "leave it out"
            )


def _warn_of_losses(folder: Path, film: Film, *, extras: bool) -> None:
    """Log what of a film a folder of pictures doesn't keep."""
    if film.info.has_sound:
        logger.warning("%s has sound, a folder of pictures has none", film.path)
    _warn_of_tone(folder, film)
    if (aspect := film.info.sample_aspect_ratio) not in (None, 1):
        text = "%s: the aspect of the film's pixels is %s, and a folder of pictures doesn't say so"
        logger.warning(text, folder, as_ratio(aspect))
    steps = np.diff(film.times)
    if len(steps) and np.ptp(steps) > _UNEVEN:
        text = (
            "%s: the film's pictures come at uneven times (%.3f to %.3f s apart), a "
            "folder of pictures keeps none"
        )
        logger.warning(text, folder, steps.min(), steps.max())
    if extras and film.info.extras:
        logger.warning(
            "%s has %s, a folder of pictures has none of it",
            film.path,
            ", ".join(film.info.extras),
        )


def _warn_of_tone(path: Path, film: Film) -> None:
    if (tone := film.info.tone_map) is not None:
        text = (
            "%s: the pictures are %s like the film, and PNGs don't say so: tell the "
            "program that reads them"
        )
        logger.warning(text, path, tone.name)


def video_writer(
    path: Path,
    film: Film,
    *,
    size: tuple[int, int],
    options: FilmOptions | None = None,
    sound: bool = False,
    stereo: StereoMark | None = None,
    bit_rate: int | None = None,
) -> VideoWriter:
    """A writer of a video with the film's times and colours; without `options` in the suffix's
    usual codec.

    size: (width, height), as encoders have it. sound: carry over all that is no picture as well.
    stereo, bit_rate: see `open_output`.
    """
    info = film.info
    mastering = info.mastering
    if not info.orientation.is_upright:  # a turned picture has its chroma elsewhere
        mastering = replace(mastering, chroma_location=None)
    return VideoWriter(
        path,
        width=size[0],
        height=size[1],
        rate=info.rate,
        time_base=info.time_base,
        codec=options.codec if options else None,
        pixel_format=options.pixel_format if options else None,
        quality=options.quality if options else None,
        bit_rate=bit_rate,
        color=info.color,
        like_pixel_format=info.picture_format,
        # what is projected anew has square pixels
        sample_aspect_ratio=None if stereo and stereo.is_vr180 else info.sample_aspect_ratio,
        stereo=stereo,
        sound_from=film.path if sound and not film.path.is_dir() else None,
        span=film.span if isinstance(film, PartOfFilm) else None,
        mastering=mastering if sound else Mastering(),
        extras=bool(sound and options and options.extras),
    )


@contextmanager
def read_ahead(items: Iterable[Item], film: Film) -> Iterator[Iterator[Item]]:
    """The same items, the next one read in a thread while one is in use.

    Where the film or its mask is damaged the items end, so that all before it get done; the block
    then raises.

    Args:
        items: made from the frames of `film`.
    Raises:
        UserError: as the block ends well: the film or its mask is damaged or cut off.
    """
    damage: list[UserError] = []

    def readable() -> Iterator[Item]:
        try:
            yield from items
        except BrokenVideo as error:
            damage.append(UserError(str(error)))
        except UserError as error:
            damage.append(error)

    yield prefetch(readable())
    if damage:
        raise damage[0]
    if film.broken_at is not None:
        raise UserError(
            f"{film.path} is cut off or damaged at {film.broken_at:.2f} s: copy or download it "
            "again"
        )


def process_frames(
    items: Iterable[Item], film: Film, step: Callable[[Item], None], *, bar: bool = True
) -> None:
    """Call `step` with every item, one per frame of the film, while a bar shows frames and frames
    per second, on a terminal and unless it is not wanted."""
    is_hidden = None if bar else True
    with (
        logging_redirect_tqdm(),
        tqdm(total=len(film), unit="frame", desc=film.path.name, disable=is_hidden) as shown,
    ):
        for item in items:
            step(item)
            shown.update()
