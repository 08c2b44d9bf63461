"""From a video to training records: a chain of iterators.

    clips of the video -> depth -> holes of both views -> crops -> records

Every random draw has a generator named by seed, file and clip, so the records do not depend on the
number of workers, on the order in which work finishes, or on what an earlier run has already made.

Axes: T frames, H W pixels.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from inpaint.generate_advice import advice_for_video, describe_none, is_nothing
from inpaint.generate_crops import Scene, write_scene
from inpaint.generate_plan import Outcome, RecordPlan, SkipList, split_finished
from inpaint.generate_views import draw_clip, is_enlarged, render_view
from inpaint.options_data import GenerateOptions
from nunif import options as options_module
from nunif.device import create_device, keep_freed_memory
from nunif.errors import UserError
from nunif.failures import Failures
from nunif.files import longer_name, make_folder, remove_left
from nunif.parallel import ordered_map, prefetch
from nunif.turns import in_turns, own_sources, tell_share, turn_for
from nunif.video.film import Film, film_hash, list_films, open_film
from nunif.video.reader import Frame, find_gaps
from nunif.video.shots import Interrupted, first_run
from nunif.video.tone import describe_transfer
from scene.depth import ClipRejected, DepthEstimator, create_estimator
from scene.depth_models import MOTION_PARALLAX

logger = logging.getLogger(__name__)

CUT_MARGIN = 3  # frames on both sides of a clip that the cut detector looks at


@dataclass
class Clip:
    """Some successive frames of a video without a cut in them, to be taken once.

    number: the clip's place in the video. wanted: numbers of the records that are to be made.
    """

    number: int
    wanted: tuple[int, ...]
    frames: list[Frame]

    def take_frames(self) -> Iterator[Frame]:
        """The frames, each of which the clip lets go when it is given out: all are 240 MB with
        what is made of them."""
        while self.frames:
            yield self.frames.pop(0)


def main(options: GenerateOptions) -> None:
    """The command `video_inpaint`.

    Raises:
        UserError: nothing could be done, no video gave a record and none stands there, or some of
            several videos failed (the others are finished first).
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
    remove_left(options.data_dir)
    own = own_sources(videos, film_hash, options.share)
    failures, total = Failures(len(videos)), Counter[str]()
    for (video, _), turn in in_turns(
        own, lambda pair: turn_for(options, options.model_type, pair[1])
    ):
        with turn, failures.log():
            counts = generate_from_video(video, estimator, options)
            total += counts
            if is_nothing(counts) and not options.share.divides_sources:
                alone = len(videos) == 1 and options.shard is None
                _tell_of_none(video, counts, options, alone=alone)
    failures.raise_if_any("videos")
    if options.shard is not None:
        tell_share(options.shard, options.share, len(own), len(videos), "videos")
    elif is_nothing(total):
        raise UserError(
            f"{options.dataset_dir}: none of its {len(videos)} videos gave a record, the reasons "
            "are above"
        )


def _tell_of_none(
    video: Path, counts: Counter[str], options: GenerateOptions, *, alone: bool
) -> None:
    """Warn that a video gives no records, with advice.

    Raises:
        UserError: the same, where it is the only one.
    """
    reasons = Counter(
        {what.partition(": ")[2]: n for what, n in counts.items() if what.startswith("skipped")}
    )
    line = describe_none(video, reasons, advice_for_video(options))
    if alone:
        raise UserError(line)
    logger.warning("%s", line)


def generate_from_video(
    video: Path, estimator: DepthEstimator, options: GenerateOptions
) -> Counter[str]:
    """Make all records of one video that do not stand in the output folder yet, in the process
    whose turn it is.

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
        file_hash = film_hash(video)
        name = video.resolve().name if video.is_dir() else video.name
        plan = RecordPlan(name, file_hash, options, describe_transfer(reader.info.color))
        starts = range(
            options.skip_first, len(reader) - options.seq + 1, options.seq + options.skip_interval
        )
        if not starts:
            after = f" after --skip-first {options.skip_first}" if options.skip_first else ""
            raise UserError(
                f"{video} has {max(0, len(reader) - options.skip_first)} frames{after} at up to "
                f"{options.max_fps:g} per "
                f"second, one record takes {options.seq}: choose a smaller --seq, or a longer video"
            )
        if is_enlarged(reader.info.height, reader.info.width):
            logger.warning(
                "%s is %dx%d: it is scaled up to 720 or 1080 lines and will look soft; 1080p "
                "sources are best",
                video.name,
                reader.info.width,
                reader.info.height,
            )
        counts = _make_missing(reader, plan, starts, estimator)
        if reader.broken_at is not None:
            logger.warning(
                "%s can't be decoded from %.2f s on (or in part): clips there were skipped",
                video,
                reader.broken_at,
            )
    logger.info("%s: %s", video.name, _summary(counts))
    return counts


def _make_missing(
    reader: Film, plan: RecordPlan, starts: range, estimator: DepthEstimator
) -> Counter[str]:
    """Make the records that are missing, and count as `generate_from_video` does."""
    folder = plan.options.data_dir
    path = longer_name(folder / f"{plan.name(0).rpartition('_')[0]}.json", before=".skipped-")
    share = plan.options.share
    skip_list = SkipList(path, plan.recorded, shared=share.divides_sources)
    clips = [number for number in range(len(starts)) if share.has_clip(number)]
    todo, kept = split_finished(plan, clips, skip_list)
    counts: Counter[str] = Counter(kept=kept)
    own = {number for clip in clips for number in plan.numbers(clip)}
    skipped = (reason for number, reason in skip_list.skipped.items() if number in own)
    counts.update(f"skipped: {reason}" for reason in skipped)
    work = read_clips(reader, starts, todo, plan)
    outcomes = make_records(work, estimator, plan)
    with tqdm(
        total=len(todo), unit="clip", desc=plan.source, disable=None, dynamic_ncols=True
    ) as bar:
        for outcome in outcomes:
            skip_list.add(outcome.skipped)
            counts["made"] += len(outcome.made)
            counts.update(f"skipped: {reason}" for reason in outcome.skipped.values())
            bar.set_postfix_str(_progress(counts))
            bar.update()
    return counts


def read_clips(
    reader: Film, starts: range, todo: dict[int, tuple[int, ...]], plan: RecordPlan
) -> Iterator[Clip | Outcome]:
    """The clips of a video in order, moved behind a cut or gap where there is room, or the reason
    why there is none.

    starts: where clips start if nothing interrupts them; each has room up to the next.
    todo: the clips that are wanted, with the numbers of their records.
    """
    gaps = find_gaps(reader.times)
    for number, wanted in todo.items():
        start, limit = starts[number], min(starts[number] + starts.step, len(reader))
        item: Clip | Outcome
        try:
            frames = first_run(
                reader, start, limit, length=plan.options.seq, gaps=gaps, margin=CUT_MARGIN
            )
            item = Clip(number, wanted, frames)
            del frames  # nothing here holds on to them while the next clip is decoded
        except Interrupted as problem:
            item = Outcome(number, skipped=dict.fromkeys(plan.numbers(number), problem.reason))
        yield item


def make_records(
    work: Iterable[Clip | Outcome], estimator: DepthEstimator, plan: RecordPlan
) -> Iterator[Outcome]:
    """Turn clips into records on the disk; the outcomes come in the order of the clips.

    Decoding, a depth network and the making of records run beside each other. An estimator that can
    work on several clips at once does so in the record makers' threads.
    """

    def prepare(item: Clip | Outcome) -> Scene | Outcome:
        if isinstance(item, Outcome):
            return item
        draws = draw_clip(plan, item.number)
        seconds = item.frames[0].time, item.frames[-1].time
        count = len(item.frames)
        view = render_view((frame.rgb for frame in item.take_frames()), draws, count=count)
        return Scene(item.number, item.wanted, seconds, draws, view)

    def with_disparity(item: Scene | Outcome) -> Scene | Outcome:
        return (
            item
            if isinstance(item, Outcome)
            else replace(item, disparity=_estimate(estimator, item.view))
        )

    def finish(item: Scene | Outcome) -> Outcome:
        return item if isinstance(item, Outcome) else write_scene(item, plan)

    if estimator.runs_in_workers:
        items: Iterable[Any] = work
        steps: list[Callable[[Any], Any]] = [prepare, with_disparity, finish]
    else:
        items, steps = map(with_disparity, prefetch(map(prepare, work))), [finish]
    yield from ordered_map(
        lambda item: reduce(lambda value, step: step(value), steps, item),
        items,
        workers=plan.options.max_workers,
        initializer=partial(torch.set_num_threads, 1),
    )


def _estimate(estimator: DepthEstimator, view: np.ndarray) -> Tensor | ClipRejected:
    try:
        return estimator(view)
    except ClipRejected as rejection:
        return rejection


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
