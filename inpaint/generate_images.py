"""From pictures (or single frames of videos) to records of one frame with a made-up hole, for
training on single pictures.

Axes: H W pixels.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from inpaint.generate_sources import find_files
from inpaint.hole_shapes import SHAPES
from inpaint.options_data import ImagesOptions
from inpaint.options_holes import parse_masks
from nunif.errors import UserError
from nunif.files import make_folder, raise_if_short, remove_left
from nunif.image import PICTURE_SUFFIXES, read_rgb
from nunif.parallel import ordered_map
from nunif.record_options import Share
from nunif.records import is_finished, record_name, write_record
from nunif.seed import generator_for
from nunif.turns import AnyTurn, Turn, in_turns, tell_share, turn_for
from nunif.video.film import tell_of_pictures
from nunif.video.reader import VIDEO_SUFFIXES, BrokenVideo, VideoReader, content_hash
from nunif.video.tone import describe_transfer
from scene.planes import COLOUR, HOLE

logger = logging.getLogger(__name__)

VERSION = 1  # of how records are made
OWN = "of the share"  # what is counted so
LABEL = "image"  # in the records' names, where video records have their depth model


def main(options: ImagesOptions) -> None:
    """The command `inpaint`.

    Raises:
        UserError: there is no picture and no video that can be read, or records made with other
            options stand there.
    """
    known = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)
    files = find_files(options.dataset_dir)
    files = [file for file in files if file.suffix.lower() in known or file == options.dataset_dir]
    if not files:
        known_pictures = " ".join(sorted(PICTURE_SUFFIXES))
        raise UserError(
            f"{options.dataset_dir} holds neither {known_pictures} nor a video: choose another "
            "folder"
        )
    if options.deinterlace and any(file.suffix.lower() in PICTURE_SUFFIXES for file in files):
        tell_of_pictures(options.dataset_dir)
    make_folder(options.data_dir)
    remove_left(options.data_dir)
    bar = tqdm(files, unit="file", desc=options.dataset_dir.name, disable=None, dynamic_ncols=True)
    counts: Counter[str] = Counter()

    def make(item: tuple[tuple[Path, str | None], AnyTurn]) -> Counter[str]:
        (file, file_hash), turn = item
        with turn:
            return _make_records(file, file_hash, options)

    with bar:
        own = _of_share(_without_twins(bar), options.share, counts)
        turns = in_turns(own, lambda pair: _turn(pair[1], options))
        for results in ordered_map(make, turns, workers=options.max_workers):
            counts += results
            bar.set_postfix_str(f"made {counts['made']}, kept {counts['kept']}")
    if options.shard is not None:
        tell_share(options.shard, options.share, counts[OWN], len(files), "files")
    elif not counts["made"] + counts["kept"]:
        raise UserError(
            f"{options.dataset_dir}: none of its {len(files)} files gave a record, the reasons "
            "are above"
        )
    logger.info(
        "%d files: made %d, kept %d, left out %d",
        len(files),
        counts["made"],
        counts["kept"],
        counts["left out"],
    )


def _of_share(
    pairs: Iterable[tuple[Path, str | None]], share: Share, counts: Counter[str]
) -> Iterator[tuple[Path, str | None]]:
    """Those of a share, which are counted."""
    for file, file_hash in pairs:
        is_single = file.suffix.lower() in PICTURE_SUFFIXES
        if (share.has_single if is_single else share.has_source)(file_hash or ""):
            counts[OWN] += 1
            yield file, file_hash


def _turn(file_hash: str | None, options: ImagesOptions) -> Turn | None:
    return None if file_hash is None else turn_for(options, LABEL, file_hash)


def _without_twins(files: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
    """Each file and its hash, None if it can't be read or has the content of an earlier one (it
    would be its record)."""
    first: dict[str, Path] = {}
    for file in files:
        try:
            file_hash = content_hash(file)
        except UserError as error:
            logger.warning("left out: %s", error)
            yield file, None
            continue
        twin = first.setdefault(file_hash, file)
        if twin != file:
            logger.info("left out: %s is the same as %s", file, twin)
        yield file, file_hash if twin == file else None


def _make_records(file: Path, file_hash: str | None, options: ImagesOptions) -> Counter[str]:
    """The records of one file that do not stand yet, one crop of a picture after the other."""
    if file_hash is None:
        return Counter({"left out": 1})
    recorded = {
        "version": VERSION, "seed": options.seed, "size": options.size, "mask": options.mask,
        "num_samples": options.num_samples, "every": options.every,
    }  # fmt: skip
    if options.deinterlace and file.suffix.lower() not in PICTURE_SUFFIXES:
        recorded["deinterlace"] = True
    kinds = parse_masks(options.mask)
    weights = np.array(list(kinds.values())) / sum(kinds.values())
    counts: Counter[str] = Counter()
    try:
        for place, color, read in _pictures_of(
            file, options.every, deinterlace=options.deinterlace
        ):
            if not (file.suffix.lower() in PICTURE_SUFFIXES or options.share.has_clip(place)):
                continue
            recorded |= {key: value for key, value in color.items() if key == "tone_mapped"}
            numbers = range(place * options.num_samples, (place + 1) * options.num_samples)
            names = {
                number: record_name(options.prefix, LABEL, file_hash, number) for number in numbers
            }
            todo = [
                number
                for number in numbers
                if not is_finished(options.data_dir, names[number], recorded)
            ]
            counts["kept"] += len(numbers) - len(todo)
            if not todo:
                continue  # before reading, which is most of the work
            picture = read()
            for number in todo:
                rng = generator_for("images", options.seed, file_hash, number)
                part = random_crop(picture, options.size, rng)
                kind = str(rng.choice(list(kinds), p=weights))
                holes = SHAPES[kind](1, part.shape[:2], rng)
                info = {
                    "source": file.name,
                    **color,
                    "frame": place,
                    "holes": kind,
                    "options": recorded,
                }
                planes = {COLOUR.letter: part[None], HOLE.letter: holes}
                write_record(options.data_dir / names[number], planes, info)
                counts["made"] += 1
    except (OSError, ValueError, BrokenVideo) as error:
        raise_if_short(error, file)
        logger.warning("left out: %s can't be read (%s)", file, error)
        counts["left out"] += 1
    return counts


def _pictures_of(
    file: Path, every: float, *, deinterlace: bool
) -> Iterator[tuple[int, dict[str, str], Callable[[], np.ndarray]]]:
    """How to read the picture of a file, or a frame every so many seconds of a video, with its
    number among those.

    Between them, for a video, its transfer: see `describe_transfer`.

    Raises:
        ValueError: a video that can't be opened. Reading raises as `read_rgb` and
            `VideoReader.read` do.
    """
    if file.suffix.lower() in PICTURE_SUFFIXES:
        yield 0, {}, partial(read_rgb, file)
        return
    try:
        reader = VideoReader(file, max_fps=1 / every, deinterlace=deinterlace)
    except UserError as error:
        raise ValueError(error) from error
    with reader:
        for i in range(len(reader)):
            yield i, describe_transfer(reader.info.color), partial(_read_frame, reader, i)


def _read_frame(reader: VideoReader, number: int) -> np.ndarray:
    try:
        return reader.read(number, number + 1)[0].rgb
    except UserError as error:  # from here on it is interlaced
        raise ValueError(error) from error


def random_crop(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of `size` pixels, of a picture that was scaled down by up to half its way to
    just fitting.

    Smaller pictures are enlarged to fit.
    """
    short = min(picture.shape[:2])
    smallest = size / short
    scale = smallest if smallest >= 1 else float(rng.uniform(smallest, (1 + smallest) / 2))
    height, width = (max(size, round(side * scale)) for side in picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (width, height), interpolation=how)
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    return scaled[top : top + size, left : left + size]
