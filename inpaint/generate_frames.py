"""From folders of pictures or videos to records without masks, whose holes are made up while
training.

    sources -> groups of frames -> pictures of one size -> records

A source is a video, a folder of numbered pictures, or (with `stills`) a single picture that is
moved a little. The presets know how four public datasets are laid out. Everything random is drawn
from a generator named by seed, source and group.

Axes: T frames, H W pixels.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from inpaint.generate_advice import (
    SIZES_DIFFER,
    TOO_SHORT,
    UNREADABLE,
    advice_for_frames,
    describe_none,
    is_nothing,
)
from inpaint.generate_sources import Source, find_sources, hash_of
from inpaint.options_data import PRESETS, FramesOptions, FramesPreset
from nunif.errors import UserError
from nunif.failures import Failures
from nunif.files import make_folder, raise_if_short, remove_left
from nunif.image import read_rgb
from nunif.options import parse_size
from nunif.parallel import ordered_map
from nunif.record_options import Share
from nunif.records import is_finished, record_name, write_record
from nunif.seed import generator_for
from nunif.turns import hashed, in_turns, tell_share, turn_for
from nunif.video.cuts import CUT_MARGIN
from nunif.video.film import tell_of_pictures
from nunif.video.reader import VideoReader, find_gaps
from nunif.video.shots import Interrupted, check_gaps, read_run
from nunif.video.tone import describe_transfer
from scene.planes import COLOUR

logger = logging.getLogger(__name__)

VERSION = 1  # of how records are made


def main(options: FramesOptions) -> None:
    """The command `frames`.

    Raises:
        UserError: nothing is found that fits, no source gave a record and none stands there, or
            some of several sources failed (the others are finished first).
    """
    preset = resolve(options)
    sources = find_sources(options.dataset_dir, preset)
    if options.deinterlace and any(source.kind != "videos" for source in sources):
        tell_of_pictures(options.dataset_dir)
    make_folder(options.data_dir)
    remove_left(options.data_dir)
    counts: Counter[str] = Counter()
    failures, lines = Failures(len(sources)), list[str]()  # of sources that give no records
    own = [pair for pair in hashed(sources, hash_of) if is_own(*pair, options.share)]
    turns = in_turns(own, lambda pair: turn_for(options, label_of(options), pair[1]))
    bar = tqdm(
        turns,
        total=len(own),
        unit="source",
        desc=options.dataset_dir.name,
        disable=None,
        dynamic_ncols=True,
    )
    with bar:
        for (source, _), turn in bar:
            with turn, failures.log():
                found = make_records(source, preset, options)
                counts += found
                # pictures are named already, and a part of a film says nothing of the rest
                is_told = source.kind == "stills" or options.share.divides_sources
                if is_nothing(found) and not is_told:
                    lines.append(describe_none(source.name, found, advice_for_frames(preset)))
                    if len(sources) > 1:
                        logger.warning("%s", lines[-1])
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
    failures.raise_if_any("sources")
    if options.shard is not None:
        tell_share(options.shard, options.share, len(own), len(sources), "sources")
    elif is_nothing(counts):
        all_of_it = (
            f"{options.dataset_dir}: none of its {len(sources)} sources gave a record, the reasons "
            "are above"
        )
        raise UserError(lines[0] if len(lines) == len(sources) == 1 else all_of_it)


def is_own(source: Source, file_hash: str, share: Share) -> bool:
    """Whether any records of a source belong to a share."""
    return share.has_single(file_hash) if source.kind == "stills" else share.has_source(file_hash)


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


def make_records(source: Source, preset: FramesPreset, options: FramesOptions) -> Counter[str]:
    """Make the records of one source that do not stand yet. Returns how many were made and kept,
    and skipped by reason.

    Raises:
        UserError: the source can't be read, or records made with other options stand there.
    """
    file_hash = hash_of(source)
    with _open_video(source, deinterlace=options.deinterlace) as reader:
        num_frames = len(source.files if reader is None else reader)
        groups = plan_groups(
            num_frames, preset, seed=options.seed, file_hash=file_hash, kind=source.kind
        )
        if not groups:
            return Counter({TOO_SHORT: 1})
        color = {} if reader is None else describe_transfer(reader.info.color)
        recorded = _recorded(preset, options, color, is_video=reader is not None)
        stem = options.prefix, label_of(options), file_hash
        names = [record_name(*stem, number) for number in range(len(groups))]
        share = options.share
        own = [
            number
            for number in range(len(groups))
            if source.kind == "stills" or share.has_clip(number)
        ]
        todo = {
            number: groups[number]
            for number in own
            if not is_finished(options.data_dir, names[number], recorded)
        }
        size = parse_size(options.size)

        def write(item: tuple[int, np.ndarray | str]) -> str:
            number, pictures = item
            if isinstance(pictures, str):
                return pictures
            if source.kind == "stills":
                rng = generator_for("frames-still", options.seed, file_hash, number)
                frames = wobble(pictures[0], preset, size, rng)
            else:
                frames = np.stack([fit(picture, size) for picture in pictures])
            info = {"source": source.name, **color, "frames": groups[number], "options": recorded}
            write_record(options.data_dir / names[number], {COLOUR.letter: frames}, info)
            return "made"

        counts = Counter(kept=len(own) - len(todo))
        items = _read_groups(source, reader, todo)
        counts.update(ordered_map(write, items, workers=options.max_workers))
        return counts


def _open_video(source: Source, *, deinterlace: bool) -> AbstractContextManager[VideoReader | None]:
    """The reader of a video; None for pictures."""
    if source.kind != "videos":
        return nullcontext()
    return VideoReader(source.files[0], deinterlace=deinterlace)


def _recorded(
    preset: FramesPreset, options: FramesOptions, color: dict[str, str], *, is_video: bool
) -> dict[str, Any]:
    """What shapes a record and isn't in its name; records that differ in it are not mixed."""
    recorded: dict[str, Any] = {
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
    if options.deinterlace and is_video:
        recorded["deinterlace"] = True
    return recorded


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
    source: Source, reader: VideoReader | None, groups: dict[int, list[int]]
) -> Iterator[tuple[int, np.ndarray | str]]:
    """Each group's number and its pictures (T, H, W, 3), or why there are none."""
    gaps = find_gaps(reader.times) if reader is not None else source.gaps
    for number, places in groups.items():
        start, stop = places[0], places[-1] + 1
        pictures: np.ndarray | str
        try:
            if reader is not None:
                run = read_run(reader, start, stop, gaps=gaps, margin=CUT_MARGIN, strict=True)
                pictures = np.stack([run[place - start].rgb for place in places])
            else:
                check_gaps(gaps, start, stop)
                wanted = places if source.kind == "folders" else places[:1]
                pictures = _read_pictures([source.files[place] for place in wanted])
        except Interrupted as problem:
            pictures = problem.reason
        yield number, pictures


def _read_pictures(files: list[Path]) -> np.ndarray | str:
    """The pictures of these files, or why they can't be used."""
    pictures = []
    for file in files:
        try:
            pictures.append(read_rgb(file))
        except (OSError, ValueError) as error:
            raise_if_short(error, file)
            logger.warning("left out: %s can't be read (%s)", file, error)
            return UNREADABLE
    if len({picture.shape for picture in pictures}) > 1:
        logger.warning("left out: the pictures beside %s have different sizes", files[0])
        return SIZES_DIFFER
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
