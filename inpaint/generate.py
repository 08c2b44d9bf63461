"""From a video to training records: a chain of iterators.

    clips of the video -> depth -> holes of both views -> crops -> records

Every random draw has a generator named by seed, file and clip, so the records do not depend on the
number of workers, on the order in which work finishes, or on what an earlier run has already made.

Axes: T frames, H W pixels, h w pixels of the disparity.
"""

import glob
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from inpaint.clip_transforms import random_hard_tile
from inpaint.occlusion import MAPPINGS, drop_specks, find_hidden_in_both_views
from inpaint.options_data import GenerateOptions
from nunif import options as options_module
from nunif.device import create_device, keep_freed_memory
from nunif.errors import OutputError, UserError
from nunif.files import longer_name, make_folder, remove_partials, write_json
from nunif.parallel import ordered_map, prefetch
from nunif.records import is_finished, making, record_name, write_record
from nunif.seed import generator_for
from nunif.video.cuts import find_cuts
from nunif.video.film import Film, folder_hash, list_films, open_film
from nunif.video.reader import BrokenVideo, Frame, content_hash, find_gaps
from nunif.video.tone import describe_transfer
from scene.depth import ClipRejected, DepthEstimator, create_estimator
from scene.depth_models import MOTION_PARALLAX
from scene.masks import close_pinpricks
from scene.planes import COLOUR, HOLE

logger = logging.getLogger(__name__)

VERSION = 1  # of the recipe; records of another version are not mixed with new ones
CUT_MARGIN = 3  # frames on both sides of a clip that the cut detector looks at
MIN_HOLE_SHARE = (
    300 / 512**2
)  # iw3: records with fewer than 300 hole pixels per 512x512 frame teach nothing
SPECK_AREA = 40  # pixels; smaller holes are grain of the disparity
CROP_MARGIN = 16  # pixels around a crop that are looked at too when its holes are cleaned
VIEW_SIZES = {720: 1 / 3, 1080: 2 / 3}  # short side of the picture that is cropped, and how often
VIEWS = ("as is", "mirrored")
# iw3: by level, the usual values, the smallest and the largest, in per cent of the width
DIVERGENCES = {
    1: ((2.0, 2.5, 3.0, 4.0), 0.0, 5.0),
    2: ((4.0, 5.0, 6.0), 3.0, 8.0),
    3: ((7.0, 8.0, 9.0), 6.0, 11.0),
}

CUT, NO_HOLE, BROKEN, GAP = (
    "scene cut",
    "next to no hole",
    "frames that can't be decoded",
    "missing frames",
)


@dataclass(frozen=True)
class Recipe:
    """All that decides what the records of one video hold."""

    source: str  # the file's name, for record.json only
    file_hash: str
    options: GenerateOptions
    color: dict[str, str] = field(default_factory=dict)  # see `describe_transfer`

    @property
    def recorded(self) -> dict[str, Any]:
        """The options that shape a record and are not in its name; records that differ in them are
        not mixed."""
        values = options_module.to_dict(self.options)
        elsewhere = (
            "dataset_dir",
            "data_dir",
            "prefix",
            "model_type",
            "depth_model_dir",
            "allow_third_party_code",
        )
        no_matter = (
            "batch_size",
            "gpu",
            "max_workers",
            *(["fps"] if self.options.fps is None else []),
        )
        if not values["deinterlace"]:
            del values["deinterlace"]  # records of before it came are the same
        mapped = {k: v for k, v in self.color.items() if k == "tone_mapped"}
        return {
            "version": VERSION,
            **{k: v for k, v in values.items() if k not in elsewhere + no_matter},
            **mapped,
        }

    def number(self, clip: int, view: int, crop: int) -> int:
        """The SEQUENCE_NO of a record, from the clip's place in the video, the view and the
        crop."""
        return (clip * len(VIEWS) + view) * self.options.num_samples + crop

    def numbers(self, clip: int) -> list[int]:
        """The SEQUENCE_NOs of all records that a clip can give."""
        crops = range(self.options.num_samples)
        return [self.number(clip, view, crop) for view in range(len(VIEWS)) for crop in crops]

    def name(self, number: int) -> str:
        return record_name(self.options.prefix, self.options.model_type, self.file_hash, number)


@dataclass(frozen=True)
class Clip:
    """Some successive frames of a video without a cut in them. `number` is the clip's place in the
    video."""

    number: int
    frames: list[Frame]


@dataclass(frozen=True)
class Draws:
    """The random choices for one clip, as iw3's published generator draws them."""

    view_size: int
    angle: float | None  # degrees; None = not rotated
    enlargement: int  # cv2 interpolation where pixels are rotated or made more
    divergence: tuple[float, float]  # uniform in [0, 1]: see `pick_divergence`
    convergence: float
    mapping: str
    edge_dilation: int  # pixels of the disparity


@dataclass
class Outcome:
    """What became of one clip: the numbers of the records made, and of those skipped with the
    reason."""

    clip: int
    made: list[int] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)


class Journal:
    """Which records of a video were skipped and why, so that a second run does not work it out
    again."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self._path, self._options = path, options
        self.skipped: dict[int, str] = {}
        # no journal, or not one of ours: the work is done again
        with suppress(FileNotFoundError, ValueError, KeyError, AttributeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["options"] == options:
                self.skipped = {
                    int(number): reason for number, reason in content["skipped"].items()
                }

    def add(self, skipped: dict[int, str]) -> None:
        """Remember these records as skipped; on the disk when this returns."""
        if skipped:
            self.skipped.update(skipped)
            rows = {str(number): self.skipped[number] for number in sorted(self.skipped)}
            write_json(self._path, {"options": self._options, "skipped": rows})


def main(options: GenerateOptions) -> None:
    """The command `video_inpaint`.

    Raises:
        UserError: nothing could be done, or some of several videos failed (the others are finished
            first).
    """
    videos = list_films(options.dataset_dir)
    make_folder(options.data_dir)
    if options.model_type == MOTION_PARALLAX:
        for flag in options_module.changed(options):
            if flag in ("--gpu", "--batch-size", "--allow-third-party-code"):
                logger.warning("%s has no effect with --model-type %s", flag, MOTION_PARALLAX)
    device = (
        torch.device("cpu") if options.model_type == MOTION_PARALLAX else create_device(options.gpu)
    )
    estimator = create_estimator(
        options.model_type,
        resolution=options.resolution,
        model_dir=options.depth_model_dir,
        device=device,
        batch_size=options.batch_size,
        normalize=options.depth_normalize,
        allow_third_party=options.allow_third_party_code,
    )
    failed = 0
    for video in videos:
        try:
            generate_from_video(video, estimator, options)
        except OutputError:
            raise
        except UserError as error:
            if len(videos) == 1:
                raise
            logger.error("error: %s", error)
            failed += 1
    if failed:
        raise UserError(f"{failed} of {len(videos)} videos failed; the others are finished")


def generate_from_video(
    video: Path, estimator: DepthEstimator, options: GenerateOptions
) -> Counter[str]:
    """Make all records of one video that do not stand in the output folder yet.

    Returns: how many records were made, kept and skipped, the skipped ones by reason ("skipped:
        scene cut").
    Raises:
        UserError: the video can't be read, is shorter than a record, or records made with other
            options stand there.
    """
    keep_freed_memory()  # frames come and go
    with open_film(
        video, fps=options.fps, max_fps=options.max_fps, deinterlace=options.deinterlace
    ) as reader:
        file_hash = folder_hash(video) if video.is_dir() else content_hash(video)
        name = video.resolve().name if video.is_dir() else video.name
        recipe = Recipe(name, file_hash, options, describe_transfer(reader.info.color))
        plan = range(
            options.skip_first, len(reader) - options.seq + 1, options.seq + options.skip_interval
        )
        if not plan:
            after = f" after --skip-first {options.skip_first}" if options.skip_first else ""
            raise UserError(
                f"{video} has {max(0, len(reader) - options.skip_first)} frames{after} at up to "
                f"{options.max_fps:g} per "
                f"second, one record takes {options.seq}: choose a smaller --seq, or a longer video"
            )
        if min(reader.info.width, reader.info.height) < max(VIEW_SIZES):
            logger.warning(
                "%s is %dx%d: it is scaled up to 720 or 1080 lines and will look soft; 1080p "
                ""
                "sources are best",
                video.name,
                reader.info.width,
                reader.info.height,
            )
        with making(options.data_dir, options.prefix, options.model_type, recipe.file_hash):
            counts = _make_missing(reader, recipe, plan, estimator)
        if reader.broken_at is not None:
            logger.warning(
                "%s can't be decoded from %.2f s on (or in part): clips there were skipped",
                video,
                reader.broken_at,
            )
    logger.info("%s: %s", video.name, _summary(counts))
    return counts


def _make_missing(
    reader: Film, recipe: Recipe, plan: range, estimator: DepthEstimator
) -> Counter[str]:
    """Make the records that are missing, and count as `generate_from_video` does."""
    folder = recipe.options.data_dir
    path = longer_name(folder / f"{recipe.name(0).rpartition('_')[0]}.json", before=".skipped-")
    remove_partials(folder, f"*-{glob.escape(path.name)}")
    journal = Journal(path, recipe.recorded)
    todo, kept = split_finished(recipe, range(len(plan)), journal)
    counts: Counter[str] = Counter(kept=kept)
    counts.update(f"skipped: {reason}" for reason in journal.skipped.values())
    work = read_clips(reader, plan, todo, recipe)
    outcomes = make_records(work, estimator, recipe, journal.skipped)
    with tqdm(
        total=len(todo), unit="clip", desc=recipe.source, disable=None, dynamic_ncols=True
    ) as bar:
        for outcome in outcomes:
            journal.add(outcome.skipped)
            counts["made"] += len(outcome.made)
            counts.update(f"skipped: {reason}" for reason in outcome.skipped.values())
            bar.set_postfix_str(_progress(counts))
            bar.update()
    return counts


def split_finished(recipe: Recipe, clips: Iterable[int], journal: Journal) -> tuple[list[int], int]:
    """The clips that still want work, and the number of records that stand already.

    A record that was moved to the dataset's other half stands too: it must not be in train/ and
    eval/ at once.

    Raises:
        UserError: records of this video stand there that were made with other options.
    """
    todo, kept = [], 0
    for clip in clips:
        missing = False
        for number in recipe.numbers(clip):
            if is_finished(recipe.options.data_dir, recipe.name(number), recipe.recorded):
                kept += 1
            elif number not in journal.skipped:
                missing = True
        if missing:
            todo.append(clip)
    return todo, kept


def read_clips(
    reader: Film, plan: range, todo: list[int], recipe: Recipe
) -> Iterator[Clip | Outcome]:
    """The clips of a video in order, moved behind a cut or gap where there is room, or the reason
    why there is none."""
    gaps = find_gaps(reader.times)
    for number in todo:
        start, limit = plan[number], min(plan[number] + plan.step, len(reader))
        try:
            frames = _read_uncut(reader, gaps, start, limit, recipe.options.seq)
        except BrokenVideo:
            frames = BROKEN
        if isinstance(frames, str):
            yield Outcome(number, skipped=dict.fromkeys(recipe.numbers(number), frames))
        else:
            clip = Clip(number, frames)
            del frames  # nothing here holds on to them while the next clip is decoded
            yield clip


def _read_uncut(
    reader: Film, gaps: list[int], start: int, limit: int, seq: int
) -> list[Frame] | str:
    """The first `seq` successive frames from `start` on without a cut among them, or why there are
    none.

    All of them lie before `limit`, where the next clip begins; the reader then holds none that it
    has no use for.
    gaps: frames before which others are missing.
    """
    why = CUT
    while start + seq <= limit:
        missing = [gap for gap in gaps if start < gap < start + seq]
        if missing:
            start, why = max(missing), GAP
            continue
        first, last = max(0, start - CUT_MARGIN), min(len(reader), start + seq + CUT_MARGIN)
        try:
            frames = reader.read(first, last)
        except BrokenVideo:
            # only the margin may be broken
            first, last = start, start + seq
            frames = reader.read(first, last)
        inside = [
            first + cut
            for cut in find_cuts([frame.rgb for frame in frames])
            if start < first + cut < start + seq
        ]
        if not inside:
            reader.forget(max(start, limit - CUT_MARGIN))
            return frames[start - first : start - first + seq]
        start, why = max(inside), CUT
    return why


@dataclass(frozen=True)
class Scene:
    """A clip as it is cropped: (T, H, W, 3) uint8, its draws, and its disparity once that is
    known."""

    number: int
    seconds: tuple[float, float]  # of the first and the last frame
    draws: Draws
    view: np.ndarray
    disparity: Tensor | ClipRejected | None = None


def make_records(
    work: Iterable[Clip | Outcome],
    estimator: DepthEstimator,
    recipe: Recipe,
    skipped: dict[int, str],
) -> Iterator[Outcome]:
    """Turn clips into records on the disk; the outcomes come in the order of the clips.

    Decoding, a depth network and the making of records run beside each other. An estimator that can
    work on several clips at once does so in the record makers' threads.
    """

    def prepare(item: Clip | Outcome) -> Scene | Outcome:
        if isinstance(item, Outcome):
            return item
        draws = draw_clip(recipe, item.number)
        seconds = item.frames[0].time, item.frames[-1].time
        count = len(item.frames)
        frames = (
            item.frames.pop(0).rgb for _ in range(count)
        )  # let go one by one: they and the view are 240 MB
        return Scene(item.number, seconds, draws, render_view(frames, draws, count=count))

    def with_disparity(item: Scene | Outcome) -> Scene | Outcome:
        return (
            item
            if isinstance(item, Outcome)
            else replace(item, disparity=_estimate(estimator, item.view))
        )

    def finish(item: Scene | Outcome) -> Outcome:
        return item if isinstance(item, Outcome) else write_scene(item, recipe, skipped)

    if estimator.runs_in_workers:
        items: Iterable[Any] = work
        steps: list[Callable[[Any], Any]] = [prepare, with_disparity, finish]
    else:
        items, steps = map(with_disparity, prefetch(map(prepare, work))), [finish]
    yield from ordered_map(
        lambda item: reduce(lambda value, step: step(value), steps, item),
        items,
        workers=recipe.options.max_workers,
        initializer=partial(torch.set_num_threads, 1),
    )


def _estimate(estimator: DepthEstimator, view: np.ndarray) -> Tensor | ClipRejected:
    try:
        return estimator(view)
    except ClipRejected as rejection:
        return rejection


def draw_clip(recipe: Recipe, clip: int) -> Draws:
    """The random choices for a clip (distributions: nagadomi/nunif, iw3/training/inpaint, MIT)."""
    rng = generator_for("clip", recipe.options.seed, recipe.file_hash, clip)
    sizes = [size for size in VIEW_SIZES if size >= recipe.options.size]
    weights = np.array([VIEW_SIZES[size] for size in sizes])
    resolution = recipe.options.resolution
    dilations = (
        [0] * 6 + [1, 1, 1, 2, 3, 4] if resolution and resolution >= 512 else [0] * 3 + [1, 1, 2]
    )
    return Draws(
        view_size=int(rng.choice(sizes, p=weights / weights.sum())),
        angle=float(rng.uniform(-45, 45)) if rng.random() < 0.5 else None,
        enlargement=int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR])),
        divergence=(float(rng.random()), float(rng.random())),
        convergence=float(rng.choice([0.0, 0.5, 1.0]) if rng.random() < 0.7 else rng.random()),
        mapping="none" if rng.random() < 0.7 else str(rng.choice(MAPPINGS[1:])),
        edge_dilation=int(rng.choice(dilations)),
    )


def pick_divergence(level: int, width: int, draws: tuple[float, float]) -> float:
    """iw3's divergence in per cent of the width: seven times of ten a usual value, else any up to
    32 pixels' worth.

    level: 1 = 0 to 5, 2 = 3 to 8, 3 = 6 to 11. width: of the picture in pixels. draws: two uniform
        numbers in [0, 1).
    """
    usual, low, high = DIVERGENCES[level]
    if draws[0] < 0.7:
        return usual[int(draws[1] * len(usual))]
    high = min(32 / (width * 0.5) * 100, high)
    low = min(low, high - 0.1) if low else 0.0
    return low + draws[1] * (high - low)


def render_view(frames: Iterable[np.ndarray], draws: Draws, *, count: int) -> np.ndarray:
    """Scale `count` frames to the drawn short side; a drawn rotation takes the square in the middle
    that stays inside.

    Args: frames of (H, W, 3) uint8, taken one by one. Returns: (T, H', W', 3) uint8.
    """
    view = np.empty((0, 0, 0, 3), np.uint8)
    for t, frame in enumerate(frames):
        if t == 0:
            view = np.empty((count, *_view_size(frame, draws), 3), np.uint8)
        _render_frame(frame, draws, view[t])
    return view


def _view_size(frame: np.ndarray, draws: Draws) -> tuple[int, int]:
    """Height and width of a frame in `render_view`."""
    if draws.angle is not None:
        return draws.view_size, draws.view_size
    height, width = frame.shape[:2]
    scale = draws.view_size / min(height, width)
    return max(draws.view_size, int(height * scale)), max(draws.view_size, int(width * scale))


def _render_frame(frame: np.ndarray, draws: Draws, result: np.ndarray) -> None:
    """One frame of `render_view`, into (H', W', 3) uint8."""
    height, width = frame.shape[:2]
    size = draws.view_size
    if draws.angle is None:
        scale = size / min(height, width)
        if scale == 1:
            result[:] = frame
        else:
            way = cv2.INTER_AREA if scale < 1 else draws.enlargement
            cv2.resize(frame, result.shape[1::-1], result, interpolation=way)
        return
    # the square of side short/sqrt(2) turns freely inside the frame; it becomes size x size
    scale = size / (min(height, width) / 2**0.5)
    if scale < 1:
        frame = cv2.resize(
            frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
        )
        (height, width), scale = frame.shape[:2], 1.0
    matrix: np.ndarray = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), draws.angle, scale
    )
    matrix[:, 2] += (size - 1) / 2 - np.array([(width - 1) / 2, (height - 1) / 2])
    cv2.warpAffine(
        frame,
        matrix,
        (size, size),
        result,
        flags=draws.enlargement,
        borderMode=cv2.BORDER_REPLICATE,
    )


def write_scene(scene: Scene, recipe: Recipe, skipped: dict[int, str]) -> Outcome:
    """Find the holes of a scene in both views and write the crops with the most of them."""
    outcome = Outcome(scene.number)
    if isinstance(scene.disparity, ClipRejected):
        outcome.skipped = dict.fromkeys(recipe.numbers(scene.number), scene.disparity.reason)
        return outcome
    options, size = recipe.options, recipe.options.size
    width = scene.view.shape[2]
    divergence = pick_divergence(options.divergence_level, width, scene.draws.divergence)
    info = {
        "source": recipe.source,
        "file_hash": recipe.file_hash,
        **recipe.color,
        "start_seconds": round(scene.seconds[0], 6),
        "end_seconds": round(scene.seconds[1], 6),
        "model_type": options.model_type,
        "divergence": divergence,
        "convergence": scene.draws.convergence,
        "mapping": scene.draws.mapping,
        "edge_dilation": scene.draws.edge_dilation,
        "rotation": scene.draws.angle,
        "view_size": scene.draws.view_size,
        "options": recipe.recorded,
    }
    for view, (frames, holes) in enumerate(both_views(scene, divergence)):
        for crop in range(options.num_samples):
            number = recipe.number(scene.number, view, crop)
            path = options.data_dir / recipe.name(number)
            if number in skipped or is_finished(options.data_dir, recipe.name(number), {}):
                continue
            rng = generator_for("crop", options.seed, recipe.file_hash, scene.number, view, crop)
            top, left = random_hard_tile(holes, (size, size), rng)
            hole = clean_crop(holes, top, left, size)
            if hole.mean() < MIN_HOLE_SHARE:
                outcome.skipped[number] = NO_HOLE
                continue
            pictures = frames[:, top : top + size, left : left + size]
            planes = {COLOUR.letter: pictures, HOLE.letter: hole}
            write_record(path, planes, {**info, "view": VIEWS[view], "crop": [left, top]})
            outcome.made.append(number)
    return outcome


def clean_crop(holes: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """A square of the holes, closed of pin-pricks and without specks: (T, H, W) bool -> (T, size,
    size) bool.

    It is worked out with some margin, so that the edge of the crop is treated as the inside of the
    picture it is.
    """
    first_row, first_column = max(0, top - CROP_MARGIN), max(0, left - CROP_MARGIN)
    part = holes[:, first_row : top + size + CROP_MARGIN, first_column : left + size + CROP_MARGIN]
    clean = drop_specks(close_pinpricks(torch.from_numpy(part)).numpy(), min_area=SPECK_AREA)
    return clean[:, top - first_row :, left - first_column :][:, :size, :size]


def both_views(scene: Scene, divergence: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scene as it is and mirrored, each with the pixels that the other eye misses.

    Yields: frames (T, H, W, 3) uint8 and holes (T, H, W) bool. All holes stand to the right of
        their foreground.
    """
    assert isinstance(scene.disparity, Tensor)
    holes = torch.zeros((len(VIEWS), *scene.view.shape[:3]), dtype=torch.bool)
    for t, disparity in enumerate(scene.disparity):
        find_hidden_in_both_views(
            disparity,
            holes[:, t],
            size=scene.view.shape[1:3],
            divergence=divergence,
            convergence=scene.draws.convergence,
            mapping=scene.draws.mapping,
            edge_dilation=scene.draws.edge_dilation,
        )
    yield scene.view, holes[0].numpy()
    yield scene.view[:, :, ::-1], holes[1].numpy()


def _progress(counts: Counter[str]) -> str:
    skipped = sum(count for what, count in counts.items() if what.startswith("skipped"))
    return f"made {counts['made']}, skipped {skipped}, kept {counts['kept']}"


def _summary(counts: Counter[str]) -> str:
    reasons = [
        f"{count} {what.partition(': ')[2]}"
        for what, count in counts.most_common()
        if what.startswith("skipped")
    ]
    return _progress(counts) + (f" ({', '.join(reasons)})" if reasons else "")
