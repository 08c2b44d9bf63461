"""Where clips come from whose mattes are known: records, and films with mattes or masks beside
them.

Axes: T frames, H W pixels. Colours are (T, H, W, 3) uint8, alpha is (T, H, W) uint8, 255 = opaque.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from matting.evaluation.clip import Clip
from matting.evaluation.scores import OF_MASKS, OF_MATTES
from nunif.errors import UserError
from nunif.evaluation.judging import evenly
from nunif.numbered import pictures_in
from nunif.record_list import Records
from nunif.record_scan import scan_records
from nunif.records import BadRecord, Record, read_plane
from nunif.video.clips import BadClip, clip_name, find_mask, read_clip, read_mattes
from scene.planes import ALPHA, COLOUR, FOREGROUND

logger = logging.getLogger(__name__)


def usable_records(folder: Path, *, start: int) -> Records:
    """The records that have alpha, and frames behind `start`; a line for each that isn't.

    Raises:
        UserError: there is none.
    """
    planes = (COLOUR, ALPHA, FOREGROUND)
    found, bad = scan_records(folder, planes, min_frames=start + 1)
    lacking = found.where(lambda record: not record.has(ALPHA.letter))
    bad += [BadRecord(record.path, f"it has no {ALPHA.name}") for record in lacking]
    for problem in bad:
        logger.warning("left out: %s", problem)
    usable = found.where(lambda record: record.has(ALPHA.letter))
    if not usable:
        raise UserError(
            f"{folder}: none of its records has alpha: make some with create_training_data.py world"
        )
    return usable


def record_clips(found: Sequence[Record], *, start: int, num_frames: int) -> Iterator[Clip]:
    """Up to `num_frames` whole frames of each record. One that can't be read is left out, and a
    line says why. Some, evenly spread, are shown."""
    shown = evenly(len(found))
    for i, record in enumerate(found):
        numbers = record.numbers[start : start + num_frames]
        try:
            frames, alpha = (read_plane(record, p.letter, numbers) for p in (COLOUR, ALPHA))
            colours = None
            if record.has(FOREGROUND.letter):
                colours = read_plane(record, FOREGROUND.letter, numbers)
        except BadRecord as problem:
            logger.warning("left out: %s", problem)
            continue
        name = record.path.name
        yield Clip(name, record.path, i, frames, alpha, colours, is_shown=i in shown)


def film_clips(
    paths: Sequence[Path],
    mattes: Path,
    *,
    is_one: bool,
    start: int,
    num_frames: int,
    size: tuple[int, int] | None,
    objects: tuple[int, ...],
    deinterlace: bool,
) -> Iterator[Clip]:
    """Every film with its mattes, compared as those of the first one let it: by MAD, or by IoU
    where they are masks. One that can't be used is left out, and a line says why. Some, evenly
    spread, are shown.

    mattes: as --alpha. is_one: it may be those of the one film. size: (H, W) to which films are
        scaled, None for their own.
    """
    shown = evenly(len(paths))
    part: dict[str, Any] = {"start": start, "deinterlace": deinterlace}
    headline = None
    for i, path in enumerate(paths):
        try:
            frames = read_clip(path, num_frames=num_frames, size=None, **part)
            source = _mattes_of(path, mattes, is_one=is_one)
            own_size = (frames.shape[1], frames.shape[2])
            alpha = read_mattes(
                source,
                path,
                name=f"--alpha {source}",
                num_frames=len(frames),
                size=own_size,
                objects=objects,
                **part,
            )
        except BadClip as problem:
            logger.warning("left out: %s: %s", path, problem)
            continue
        is_mask = not ((alpha > 0) & (alpha < 255)).any()
        if size is not None and size != own_size:
            frames, alpha = _scaled(frames, size), _scaled(alpha, size)
            if is_mask:
                alpha = np.where(alpha > 127, np.uint8(255), np.uint8(0))
        headline = headline or (OF_MASKS if is_mask else OF_MATTES)
        yield Clip(clip_name(path), path, i, frames, alpha, headline=headline, is_shown=i in shown)


def _mattes_of(film: Path, mattes: Path, *, is_one: bool) -> Path:
    """What in a folder has the film's name; of one film else the folder of pictures itself. Raises
    BadClip where there are none."""
    if mattes.is_file():
        return mattes
    try:
        return find_mask(mattes, film, name=f"--alpha {mattes}", what="mattes")
    except UserError as problem:
        if is_one and pictures_in(mattes):
            return mattes
        raise BadClip(str(problem)) from problem


def _scaled(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    scaled = [cv2.resize(x, size[::-1], interpolation=cv2.INTER_AREA) for x in pictures]
    return np.stack(scaled)
