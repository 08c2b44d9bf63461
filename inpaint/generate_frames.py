"""From folders of pictures or videos to records without masks, whose holes are made up while
training.

    sources -> groups of frames -> pictures of one size -> records

A source is a video, a folder of numbered pictures, or (with `stills`) a single picture that is
moved a little. The presets know how four public datasets are laid out. Everything random is drawn
from a generator named by seed, source and group.

Axes: T frames, H W pixels.
"""

import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from inpaint.options_data import PRESETS, FramesOptions, FramesPreset
from nunif.errors import OutputError, UserError
from nunif.files import files_below, make_folder, plain_text, raise_if_short
from nunif.image import PICTURE_SUFFIXES, read_rgb
from nunif.numbered import as_read, by_number, refuse_unread
from nunif.options import parse_size
from nunif.parallel import ordered_map
from nunif.records import INFO_NAME, is_finished, making, record_name, write_record
from nunif.seed import generator_for
from nunif.video.cuts import CUT_MARGIN, mark_cuts
from nunif.video.film import tell_of_pictures
from nunif.video.reader import VIDEO_SUFFIXES, BrokenVideo, VideoReader, content_hash, find_gaps
from nunif.video.tone import describe_transfer
from scene.planes import COLOUR

logger = logging.getLogger(__name__)

VERSION = 1  # of the recipe
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


class Skipped(Exception):
    """A group that gives no record, and why."""


def main(options: FramesOptions) -> None:
    """The command `frames`.

    Raises:
        UserError: nothing is found that fits, or some of several sources failed (the others are
            finished first).
    """
    preset = resolve(options)
    sources = find_sources(options.dataset_dir, preset)
    if options.deinterlace and any(source.kind != "videos" for source in sources):
        tell_of_pictures(options.dataset_dir)
    make_folder(options.data_dir)
    counts: Counter[str] = Counter()
    failed = 0
    bar = tqdm(
        sources, unit="source", desc=options.dataset_dir.name, disable=None, dynamic_ncols=True
    )
    with making(options.data_dir, options.prefix, label_of(options)), bar:
        for source in bar:
            try:
                counts += make_records(source, preset, options)
            except OutputError:
                raise
            except UserError as error:
                if len(sources) == 1:
                    raise
                logger.error("error: %s", error)
                failed += 1
            bar.set_postfix_str(f"made {counts['made']}, kept {counts['kept']}")
    skipped = {reason: n for reason, n in counts.items() if reason not in ("made", "kept")}
    details = (
        f" ({', '.join(f'{n} {reason}' for reason, n in sorted(skipped.items()))})"
        if skipped
        else ""
    )
    logger.info(
        "%d sources: made %d, kept %d, skipped %d%s",
        len(sources), counts["made"], counts["kept"], sum(skipped.values()), details,
    )  # fmt: skip
    if failed:
        raise UserError(f"{failed} of {len(sources)} sources failed; the others are finished")


def label_of(options: FramesOptions) -> str:
    """What the records' names have where those of video records have their depth model."""
    return options.preset or "frames"


def resolve(options: FramesOptions) -> FramesPreset:
    """The preset, with whatever was given by hand in its place."""
    preset = PRESETS[options.preset] if options.preset else FramesPreset()
    names = (
        "seq",
        "step",
        "groups",
        "skip_interval",
        "max_rotation",
        "max_shift",
        "max_brightness",
    )
    by_hand: dict[str, Any] = {
        name: getattr(options, name) for name in names if getattr(options, name) is not None
    }
    words = {
        name: tuple(word for word in getattr(options, name).split(",") if word)
        for name in ("include", "exclude")
    }
    by_hand |= {name: value for name, value in words.items() if value}
    if options.stills:
        by_hand["kind"] = "stills"
    return replace(preset, **by_hand)


def find_sources(folder: Path, preset: FramesPreset) -> list[Source]:
    """What the preset takes from a folder tree (or a single file), by name.

    Raises:
        UserError: there is nothing that fits; it says what was looked for.
    """
    files = find_files(folder)
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    # a file that is given by its name may be a video under any suffix
    videos = [
        file
        for file in files
        if file.suffix.lower() in VIDEO_SUFFIXES or file == folder and not pictures
    ]
    pictures = [file for file in pictures if re.fullmatch(preset.pictures, file.name)]
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
            sources.append(
                Source(
                    _below(folder, parent),
                    tuple(file for file in pictures if file.parent == parent),
                    "folders",
                )
            )
    chosen = [
        _in_order(source) if source.kind == "folders" else source
        for source in sources
        if _is_wanted(source.name, folder.resolve().name, preset)
    ]
    if not chosen:
        for place in sorted({file.parent for file in files}):
            refuse_unread(place, str(place))
        found = (
            f"it holds {len(videos)} videos and {len(pictures)} pictures, none in such a place"
            if files
            else "it is empty"
        )
        wanted = preset.layout or " or ".join(KINDS[kind] for kind in kinds)
        raise UserError(f"{folder}: {found}; looked for {wanted}")
    return chosen


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
    records = {
        file.parent for file in files if file.name == INFO_NAME
    }  # the records may go below the pictures
    return [file for file in files if file.parent not in records]


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path != folder else path.resolve().name


def _in_order(source: Source) -> Source:
    """The source with its pictures by number, or where that can't be, by name, and its gaps. It
    logs what isn't as expected."""
    folder = source.files[0].parent
    try:
        found = by_number(list(source.files), name=str(folder))
    except UserError as problem:
        logger.warning("%s: its pictures are taken in the order of their names", problem)
        return replace(source, files=tuple(sorted(source.files, key=as_read)))
    numbers = list(found)
    steps = [high - low for low, high in pairwise(numbers)]
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
        logger.warning(text, folder, numbers[gaps[0]], more)
    return replace(source, files=tuple(found.values()), gaps=gaps)


def _is_wanted(name: str, root: str, preset: FramesPreset) -> bool:
    """Words of `include` are whole folder names (`root`: the dataset folder's), those of `exclude`
    stand anywhere below."""
    folders = [root, *(name.split("/")[:-1] if preset.kind == "stills" else name.split("/"))]
    included = not preset.include or bool(
        {folder.lower() for folder in folders} & {word.lower() for word in preset.include}
    )
    return included and not any(word.lower() in name.lower() for word in preset.exclude)


def make_records(source: Source, preset: FramesPreset, options: FramesOptions) -> Counter[str]:
    """Make the records of one source that do not stand yet. Returns how many were made and kept,
    and skipped by reason.

    Raises:
        UserError: the source can't be read, or records made with other options stand there.
    """
    file_hash = hash_of(source)
    reader = (
        VideoReader(source.files[0], deinterlace=options.deinterlace)
        if source.kind == "videos"
        else None
    )
    try:
        num_frames = (
            len(reader)
            if reader is not None
            else 1
            if source.kind == "stills"
            else len(source.files)
        )
        groups = plan_groups(
            num_frames, preset, seed=options.seed, file_hash=file_hash, kind=source.kind
        )
        if not groups:
            return Counter({"too short": 1})
        counts: Counter[str] = Counter()
        color = {} if reader is None else describe_transfer(reader.info.color)
        recorded = {
            "version": VERSION,
            "preset": options.preset or "",
            "seed": options.seed,
            "size": options.size,
            "seq": preset.seq,
            "step": preset.step,
            "groups": preset.groups,
            "skip_interval": preset.skip_interval,
            "max_rotation": preset.max_rotation,
            "max_shift": preset.max_shift,
            "max_brightness": preset.max_brightness,
        }
        recorded |= {key: value for key, value in color.items() if key == "tone_mapped"}
        if options.deinterlace and reader is not None:
            recorded["deinterlace"] = True
        label = label_of(options)
        todo = []
        for number, frames in enumerate(groups):
            if is_finished(
                options.data_dir, record_name(options.prefix, label, file_hash, number), recorded
            ):
                counts["kept"] += 1
            else:
                todo.append((number, frames))
        size = parse_size(options.size)

        def write(item: tuple[int, list[int], np.ndarray | str]) -> str:
            number, numbers, frames = item
            if isinstance(frames, str):
                return frames
            if source.kind == "stills":
                rng = generator_for("frames-still", options.seed, file_hash, number)
                frames = wobble(frames[0], preset, size, rng)
            else:
                frames = np.stack([fit(frame, size) for frame in frames])
            info = {"source": source.name, **color, "frames": numbers, "options": recorded}
            write_record(
                options.data_dir / record_name(options.prefix, label, file_hash, number),
                {COLOUR.letter: frames},
                info,
            )
            return "made"

        counts.update(
            ordered_map(write, _read_groups(source, reader, todo), workers=options.max_workers)
        )
        return counts
    finally:
        if reader is not None:
            reader.close()


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


def plan_groups(
    num_frames: int, preset: FramesPreset, *, seed: int, file_hash: str, kind: str = "folders"
) -> list[list[int]]:
    """Which frames make up each record, by their place in the source.

    All successive groups, or `groups` of them at random; none overlap. A still is one group of the
    same frame.
    """
    if kind == "stills":
        return [[0] * preset.seq]
    span = (preset.seq - 1) * preset.step + 1
    starts = list(range(0, num_frames - span + 1, preset.seq * preset.step + preset.skip_interval))
    if preset.groups is not None and preset.groups < len(starts):
        rng = generator_for("frames-groups", seed, file_hash)
        starts = sorted(int(start) for start in rng.choice(starts, preset.groups, replace=False))
    return [list(range(start, start + span, preset.step)) for start in starts]


def _read_groups(
    source: Source, reader: VideoReader | None, todo: list[tuple[int, list[int]]]
) -> Iterator[tuple[int, list[int], np.ndarray | str]]:
    """Each group's number, its frames' numbers and pictures (T, H, W, 3), or why there are none."""
    gaps = find_gaps(reader.times) if reader is not None else source.gaps
    for number, frames in todo:
        pictures: np.ndarray | str
        try:
            if any(frames[0] < gap <= frames[-1] for gap in gaps):
                raise Skipped("missing frames")
            if reader is not None:
                pictures = _read_uncut(reader, frames)
            else:
                pictures = _read_pictures(
                    [source.files[i] for i in (frames if source.kind == "folders" else [0])]
                )
        except Skipped as reason:
            pictures = str(reason)
        yield number, frames, pictures


def _read_uncut(reader: VideoReader, frames: list[int]) -> np.ndarray:
    first, last = max(0, frames[0] - CUT_MARGIN), min(len(reader), frames[-1] + 1 + CUT_MARGIN)
    try:
        run = reader.read(first, last)
    except BrokenVideo:
        raise Skipped("frames that can't be decoded") from None
    marked = enumerate(mark_cuts(frame.rgb for frame in run))
    if any(is_cut and frames[0] < first + i <= frames[-1] for i, (_, is_cut) in marked):
        raise Skipped("scene cut")
    return np.stack([run[i - first].rgb for i in frames])


def _read_pictures(files: list[Path]) -> np.ndarray:
    pictures = []
    for file in files:
        try:
            pictures.append(read_rgb(file))
        except (OSError, ValueError) as error:
            raise_if_short(error, file)
            logger.warning("left out: %s can't be read (%s)", file, error)
            raise Skipped("unreadable picture") from error
    if len({picture.shape for picture in pictures}) > 1:
        logger.warning("left out: the pictures beside %s have different sizes", files[0])
        raise Skipped("different sizes")
    return np.stack(pictures)


def fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture with the wanted aspect, scaled to the wanted size (H, W); smaller
    pictures are enlarged."""
    height, width = picture.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    high, wide = min(height, round(size[0] / scale)), min(width, round(size[1] / scale))
    top, left = (height - high) // 2, (width - wide) // 2
    part = picture[top : top + high, left : left + wide]
    return cv2.resize(
        part, size[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )


def wobble(
    picture: np.ndarray, preset: FramesPreset, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A still as (seq, H, W, 3) uint8: every frame turned, moved and lit a little otherwise.

    The picture is enlarged by just as much as keeps its border out of sight at the largest
    movement. Degrees, pixels of the result and per cent of brightness are drawn evenly up to the
    preset's bounds, in both directions.
    """
    height, width = size
    angle = math.radians(preset.max_rotation)
    shift = preset.max_shift
    # half sides of the upright rectangle that holds the turned and moved frame
    need = [
        a / 2 * math.cos(angle)
        + b / 2 * math.sin(angle)
        + shift * (math.cos(angle) + math.sin(angle))
        for a, b in ((width, height), (height, width))
    ]
    source_height, source_width = picture.shape[:2]
    # of the picture; its outermost pixels, which interpolation needs, stay out of sight
    scale = max(2 * need[0] / max(1, source_width - 4), 2 * need[1] / max(1, source_height - 4))
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        scale = 1.0
    frames = []
    for _ in range(preset.seq):
        turn = rng.uniform(-preset.max_rotation, preset.max_rotation)
        moved = rng.uniform(-shift, shift, 2)
        light = 1 + rng.uniform(-preset.max_brightness, preset.max_brightness) / 100
        matrix: np.ndarray = cv2.getRotationMatrix2D(
            (picture.shape[1] / 2 - 0.5, picture.shape[0] / 2 - 0.5), turn, scale
        )
        matrix[:, 2] += np.array([width - picture.shape[1], height - picture.shape[0]]) / 2 + moved
        frame = cv2.warpAffine(
            picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        frames.append(np.clip(np.rint(frame * light), 0, 255).astype(np.uint8))
    return np.stack(frames)
