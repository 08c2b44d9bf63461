"""The sources of records in a folder tree: videos, folders of pictures in order, single
pictures."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from inpaint.options_data import FramesPreset
from nunif.errors import UserError
from nunif.files import files_below, plain_text
from nunif.image import PICTURE_SUFFIXES
from nunif.numbered import in_order, refuse_unread
from nunif.records import INFO_NAME
from nunif.video.reader import VIDEO_SUFFIXES, content_hash

logger = logging.getLogger(__name__)

SHOWN = 3  # places that are named where nothing fits
KINDS = {"folders": "folders of pictures", "stills": "pictures", "videos": "videos"}


@dataclass(frozen=True)
class Source:
    """A video, the pictures of a folder in order, or one picture.

    name: below the dataset folder, for record.json. gaps: of a folder, places of pictures before
        which some are missing.
    """

    name: str
    files: tuple[Path, ...]
    kind: str
    gaps: tuple[int, ...] = ()


def find_sources(folder: Path, preset: FramesPreset) -> list[Source]:
    """What the preset takes from a folder tree (or a single file), by name.

    Raises:
        UserError: there is nothing that fits; it says what was looked for.
    """
    files = find_files(folder)
    every = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    # a file that is given by its name may be a video under any suffix
    videos = [
        file
        for file in files
        if file.suffix.lower() in VIDEO_SUFFIXES or file == folder and not every
    ]
    pictures = [file for file in every if re.fullmatch(preset.pictures, file.name)]
    kinds = [preset.kind] if preset.kind else ["videos", "folders"]
    sources = []
    if "videos" in kinds:
        sources += [Source(_below(folder, file), (file,), "videos") for file in videos]
    if "stills" in kinds:
        sources += [Source(_below(folder, file), (file,), "stills") for file in pictures]
    if "folders" in kinds:
        parents = sorted(
            {file.parent for file in pictures if re.fullmatch(preset.folders, file.parent.name)}
        )
        for parent in parents:
            inside = tuple(file for file in pictures if file.parent == parent)
            sources.append(Source(_below(folder, parent), inside, "folders"))
    chosen = [
        _in_order(source) if source.kind == "folders" else source
        for source in sources
        if _is_wanted(source.name, folder.resolve().name, preset)
    ]
    if not chosen:
        for place in sorted({file.parent for file in files}):
            refuse_unread(place, str(place))
        counted = f"it holds {len(videos)} videos and {len(every)} pictures, none in such a place"
        wanted = preset.layout or " or ".join(KINDS[kind] for kind in kinds)
        what = f"{counted}; looked for {wanted}; found {_describe(folder, files)}"
        raise UserError(
            f"{folder}: {what}" if files else f"{folder}: it is empty; looked for {wanted}"
        )
    return chosen


def _describe(folder: Path, files: Sequence[Path]) -> str:
    """What lies below a folder: "walk/*.png (120), depth/*.jpg (3) and files in 7 more places"."""
    if folder.is_file():
        return folder.name
    counts = Counter((file.parent, file.suffix.lower()) for file in files)
    told = [
        f"{_below(folder, parent / f'*{suffix}')} ({count})"
        for (parent, suffix), count in counts.most_common(SHOWN)
    ]
    more = len(counts) - len(told)
    return ", ".join(told) + (f" and files in {more} more places" if more else "")


def find_files(folder: Path) -> list[Path]:
    """The files of a folder tree in order (or the one file), without hidden ones and without those
    of finished records.

    Raises:
        UserError: it does not exist.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: check the path")
    files = files_below(folder)
    # the records may go below the pictures
    records = {file.parent for file in files if file.name == INFO_NAME}
    return [file for file in files if file.parent not in records]


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path != folder else path.resolve().name


def _in_order(source: Source) -> Source:
    """The source with its pictures by number, or where that can't be, by name, and its gaps. It
    logs what isn't as expected."""
    folder = source.files[0].parent
    row = in_order(list(source.files), name=str(folder))
    if row.numbers is None:
        logger.warning("%s: its pictures are taken in the order of their names", row.problem)
        return replace(source, files=row.files)
    steps = [high - low for low, high in pairwise(row.numbers)]
    usual = sorted(steps)[(len(steps) - 1) // 2] if steps else 1
    gaps: tuple[int, ...] = ()
    if 2 * steps.count(usual) < len(steps):  # times, more likely
        logger.warning(
            "%s: the numbers of its pictures come in uneven steps: none is taken to be missing",
            folder,
        )
    else:
        gaps = tuple(place for place, step in enumerate(steps, 1) if 2 * step >= 3 * usual)
    if gaps:
        more = f" and before {len(gaps) - 1} more" if len(gaps) > 1 else ""
        text = "%s: pictures are missing before the number %d%s: no record goes across"
        logger.warning(text, folder, row.numbers[gaps[0]], more)
    return replace(source, files=row.files, gaps=gaps)


def _is_wanted(name: str, root: str, preset: FramesPreset) -> bool:
    """Words of `include` are whole folder names (`root`: the dataset folder's), those of `exclude`
    stand anywhere below."""
    folders = [root, *(name.split("/")[:-1] if preset.kind == "stills" else name.split("/"))]
    included = not preset.include or bool(
        {folder.lower() for folder in folders} & {word.lower() for word in preset.include}
    )
    return included and not any(word.lower() in name.lower() for word in preset.exclude)


def hash_of(source: Source) -> str:
    """8 hex digits: of a file's content; of a folder's names and sizes, and the content of its
    first, middle and last."""
    if len(source.files) == 1:
        return content_hash(source.files[0])
    digest = hashlib.blake2b(digest_size=4)
    for file in source.files:
        digest.update(f"{plain_text(file.name)}\0{file.stat().st_size}\0".encode())
    for index in sorted({0, len(source.files) // 2, len(source.files) - 1}):
        digest.update(content_hash(source.files[index]).encode())
    return digest.hexdigest()
