"""Records of published datasets: foregrounds with alpha, backgrounds, and masks of people.

    folder -> sources (`import_layouts`) -> parts of them -> planes -> records

A foreground has the planes F and A, a background B alone, and what people are marked in has C and
a mask of them as A, 255 = person. Nothing is drawn at random.

Axes: T frames, H W pixels.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from matting.import_frames import NOBODY, PERSON, Opened, Source
from matting.import_layouts import find_sources
from matting.options_data import ImportOptions
from nunif.errors import OutputError, UserError
from nunif.failures import Failures
from nunif.files import make_folder, remove_left
from nunif.parallel import ordered_map
from nunif.records import is_finished, record_name, write_record
from nunif.turns import AnyTurn, Turn, in_turns, tell_share, turn_for
from nunif.video.reader import BrokenVideo
from scene.planes import ALPHA, COLOUR

logger = logging.getLogger(__name__)

VERSION = 1  # of how records are made
TWICE = "of the same content as another"


def main(options: ImportOptions) -> None:
    """The command `import_matte`.

    Raises:
        UserError: the folder isn't laid out like that, or some of what it holds can't be used (all
            else is finished first).
    """
    found = find_sources(
        options.dataset_dir,
        options.layout,
        split=options.split,
        deinterlace=options.deinterlace,
    )
    make_folder(options.data_dir)
    remove_left(options.data_dir)
    counts, failures = Counter(found.skipped), Failures(len(found.sources))
    own = [item for item in _with_hashes(found.sources) if _is_own(item[1], options)]
    bar = tqdm(total=len(own), unit="source", desc=options.layout, disable=None)
    with bar:
        outcomes = ordered_map(
            partial(_import, options=options, extra=found.extra),
            in_turns(own, lambda item: _turn(item[1], options)),
            workers=options.max_workers,
        )
        for outcome in outcomes:
            with failures.log():
                if isinstance(outcome, UserError):
                    raise outcome
                counts.update(outcome)
            bar.set_postfix_str(f"made {counts['made']}, kept {counts['kept']}")
            bar.update()
    _tell(options.layout, counts)
    if options.shard is not None:
        tell_share(options.shard, options.share, len(own), len(found.sources), "sources")
    failures.raise_if_any("sources")


def _is_own(file_hash: str | UserError, options: ImportOptions) -> bool:
    """Whether any records of a source belong to this share."""
    return options.share.has_source("" if isinstance(file_hash, UserError) else file_hash)


def _turn(file_hash: str | UserError, options: ImportOptions) -> Turn | None:
    if isinstance(file_hash, UserError) or not file_hash:
        return None
    return turn_for(options, options.layout, file_hash)


def _tell(layout: str, counts: Counter[str]) -> None:
    skipped = {reason: n for reason, n in counts.items() if reason not in ("made", "kept")}
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))
    logger.info(
        "%s: made %d, kept %d, skipped %d%s",
        layout, counts["made"], counts["kept"], sum(skipped.values()),
        f" ({reasons})" if reasons else "",
    )  # fmt: skip


def _with_hashes(sources: list[Source]) -> Iterator[tuple[Source, str | UserError]]:
    """Each source with the hash of its content, or why it has none; "" if one before it has the
    same, as they would be one record."""
    seen = set()
    for source in sources:
        try:
            if source.problem:
                raise UserError(source.problem)
            file_hash = source.file_hash()
        except UserError as error:
            yield source, error
            continue
        yield source, "" if file_hash in seen else file_hash
        seen.add(file_hash)


def _import(
    item: tuple[tuple[Source, str | UserError], AnyTurn],
    *,
    options: ImportOptions,
    extra: dict[str, str],
) -> Counter[str] | UserError:
    """What became of the records of a source, or why there are none."""
    (source, file_hash), turn = item
    if isinstance(file_hash, UserError):
        return file_hash
    if not file_hash:
        return Counter({TWICE: 1})
    try:
        with turn:
            return make_records(source, file_hash, options, extra)
    except OutputError:
        raise
    except UserError as error:
        return error
    except (BrokenVideo, ValueError, OSError) as error:
        return UserError(str(error))


def make_records(
    source: Source, file_hash: str, options: ImportOptions, extra: dict[str, str]
) -> Counter[str]:
    """Make the records of one source that do not stand yet. Returns how many were made and kept.

    Raises:
        UserError: the source can't be used. OutputError: records made with other options stand
            there.
    """
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        opened = {
            letter: stack.enter_context(frames.open()) for letter, frames in source.planes.items()
        }
        num_frames = _common_length(source, opened)
        recorded: dict[str, Any] = {"version": VERSION, "size": options.size, **extra}
        if num_frames > 1:
            recorded["seq"] = options.seq
        for number, (start, stop) in enumerate(divide(num_frames, options.seq)):
            if not options.share.has_clip(number):
                continue
            name = record_name(options.prefix, options.layout, file_hash, number)
            if _stands(options.data_dir, name, recorded):
                counts["kept"] += 1
                continue
            planes = _read_planes(source, opened, start, stop, options.size)
            info = {"source": source.name, "frames": [start, stop], "options": recorded}
            write_record(options.data_dir / name, planes, info)
            counts["made"] += 1
    return counts


def _stands(folder: Path, name: str, recorded: dict[str, Any]) -> bool:
    """Raises OutputError, which ends the run, where it was made with other options: so it is with
    all the others."""
    try:
        return is_finished(folder, name, recorded)
    except UserError as error:
        raise OutputError(str(error)) from error


def _common_length(source: Source, opened: dict[str, Opened]) -> int:
    """Raises UserError where the planes are not in step."""
    lengths = [one.num_frames for one in opened.values()]
    if len(set(lengths)) > 1:
        raise UserError(
            f"{source.name}: its colours have {lengths[0]} frames, its alpha {lengths[1]}: they "
            "must be as many"
        )
    if not lengths[0]:
        raise UserError(f"{source.name} has no frames: copy or download it again")
    return lengths[0]


def divide(num_frames: int, least: int) -> list[tuple[int, int]]:
    """Parts of much the same length that hold all frames, each `least` or more where there are so
    many: [start, stop) of each."""
    num_parts = max(1, num_frames // least)
    ends = [num_frames * part // num_parts for part in range(num_parts + 1)]
    return list(zip(ends, ends[1:]))


def _read_planes(
    source: Source, opened: dict[str, Opened], start: int, stop: int, size: int
) -> dict[str, np.ndarray]:
    """The pictures of some frames by their plane's letter, all of one size.

    Raises:
        UserError: they differ in size, or can't be read.
    """
    is_mask = COLOUR.letter in opened  # what has alpha has no C
    planes = {}
    first: tuple[int, int] | None = None
    for letter, one in opened.items():
        pictures = one.read(start, stop)
        for number, picture in enumerate(pictures, start):
            own = (picture.shape[0], picture.shape[1])
            first = first or own
            if own != first:
                raise UserError(
                    f"{source.name}: {'alpha' if letter == ALPHA.letter else 'colour'} {number} is "
                    f"{own[1]}x{own[0]}, others are {first[1]}x{first[0]}: make all of one size"
                )
        fitted = np.stack([reduce_to(picture, size) for picture in pictures])
        if is_mask and letter == ALPHA.letter:
            fitted = np.where(fitted > (PERSON + NOBODY) // 2, np.uint8(PERSON), np.uint8(NOBODY))
        planes[letter] = fitted
    return planes


def reduce_to(picture: np.ndarray, short_side: int) -> np.ndarray:
    """A picture whose short side has no more than that many pixels; smaller ones stay as they
    are."""
    height, width = picture.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return picture
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
