"""Records of people that are known exactly, before films without people.

    background of a record -> people before it -> planes -> record

Every random draw has a generator named by seed, the content of all films and the record's number,
so the records do not depend on the number of workers nor on what an earlier run has already made.

Axes: T frames, H W pixels.
"""

import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from matting.options_data import WorldOptions
from matting.world_sources import NO_RUN, Backdrop, Background, find_sources
from nunif.files import make_folder, remove_left
from nunif.image import encode_rgb
from nunif.options import parse_size
from nunif.parallel import ordered_map
from nunif.records import is_finished, record_name, write_record
from nunif.seed import generator_for
from nunif.turns import Turn, tell_share
from scene.people.clip import make_clip
from scene.people.portrait import portrait_name
from scene.people.pose import POSE_NAME, encode_pose

logger = logging.getLogger(__name__)

VERSION = 1  # of how records are made
BUSY = "another process is at it"
LABEL = "world"  # in the records' names, where video records have their depth model


def main(options: WorldOptions) -> None:
    """The command `world`.

    Raises:
        UserError: no film can be used, or some of several can't (all records are made of the
            others first).
    """
    sources, failures = find_sources(
        options.dataset_dir,
        seq=options.seq,
        stills=options.stills,
        deinterlace=options.deinterlace,
    )
    backdrop = Backdrop(sources, options.seed, parse_size(options.size), options.seq)
    make_folder(options.data_dir)
    remove_left(options.data_dir)
    recorded = _recorded(options)
    own = [number for number in range(options.num) if options.share.has_record(number)]
    paths = {number: _path(options, backdrop, number) for number in own}
    todo = [
        number
        for number, path in paths.items()
        if not is_finished(options.data_dir, path.name, recorded)
    ]
    counts = Counter(kept=len(paths) - len(todo))
    with tqdm(total=len(todo), unit="record", desc=LABEL, disable=None) as bar:
        for waits in (False, True):  # those that other processes are at come last
            work = partial(
                _make, options=options, backdrop=backdrop, recorded=recorded, waits=waits
            )
            items, todo = backdrop.backgrounds(todo, failures), []
            for number, outcome in ordered_map(work, items, workers=options.max_workers):
                if outcome == BUSY:
                    todo.append(number)
                    continue
                counts[outcome] += 1
                bar.set_postfix_str(f"made {counts['made']}, kept {counts['kept']}")
                bar.update()
            if not todo:
                break
    skipped = f" ({counts['skipped']} found no {NO_RUN})" if counts["skipped"] else ""
    logger.info(
        "%s: made %d, kept %d, skipped %d%s",
        LABEL, counts["made"], counts["kept"], counts["skipped"], skipped,
    )  # fmt: skip
    if options.shard is not None:
        tell_share(options.shard, options.share, len(own), options.num, "records")
    failures.raise_if_any("films")


def _recorded(options: WorldOptions) -> dict[str, Any]:
    """What shapes a record and isn't in its name; records that differ in it are not mixed."""
    recorded: dict[str, Any] = {
        "version": VERSION,
        "seed": options.seed,
        "size": options.size,
        "seq": options.seq,
        "people": options.people,
        "shadow": options.shadow,
    }
    if options.deinterlace:
        recorded["deinterlace"] = True
    return recorded


def _path(options: WorldOptions, backdrop: Backdrop, number: int) -> Path:
    return options.data_dir / record_name(options.prefix, LABEL, backdrop.set_hash, number)


def _make(
    item: tuple[int, Background | None],
    *,
    options: WorldOptions,
    backdrop: Backdrop,
    recorded: dict[str, Any],
    waits: bool,
) -> tuple[int, str]:
    """Make a record: its number, and what became of it. waits: for a process that is at it; else
    it is `BUSY` then."""
    number, background = item
    if background is None:
        return number, "skipped"
    path = _path(options, backdrop, number)
    turn = Turn(options.data_dir, path.name, options.share, seconds=options.lock_seconds)
    if waits:
        turn.wait()
    elif not turn.take():
        return number, BUSY
    with turn:
        if is_finished(options.data_dir, path.name, recorded):  # by another process, by now
            return number, "kept"
        _write(path, number, background, options, backdrop, recorded)
    return number, "made"


def _write(
    path: Path,
    number: int,
    background: Background,
    options: WorldOptions,
    backdrop: Backdrop,
    recorded: dict[str, Any],
) -> None:
    clip = make_clip(
        generator_for("world", options.seed, backdrop.set_hash, number),
        background.pictures,
        depth=background.depth,
        other=partial(backdrop.other_picture, number),
        num_people=options.people,
        with_shadow=options.shadow,
    )
    info = {**background.info, **clip.info, "options": recorded}
    portraits = {portrait_name(i): encode_rgb(p) for i, p in enumerate(clip.portraits)}
    write_record(path, clip.planes, info, {POSE_NAME: encode_pose(clip.pose), **portraits})
