"""Records of films that were taken apart: the world's planes, of real people.

    film -> who is cut out -> hole -> the scene, filled in -> the exact split -> records

C the film, A and F whoever is cut out, O what is before them, B the scene, H where it was filled
in, D how near things are. As in the world's records A is what an occluder leaves to see: with
R = Oa Oc + (1 - Oa) B, C = R + A (F - B), to a grey level. What is in the hole is no truth.

A record is called after the number of its first frame. Nothing is drawn at random. A film that
isn't finished is looked through from its beginning again.

Axes: T frames, H W pixels.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from layers.options_records import LayerRecordOptions
from layers.options_split import DEPTH, SplitOptions
from layers.runtime.cutouts import CutFrames, Cutout, open_cutouts
from layers.runtime.hole_size import HoleSize
from layers.runtime.remove import FILLER
from layers.runtime.split import Parts, filled, find_holes, open_filler, with_occluders
from nunif.errors import UserError
from nunif.failures import Failures
from nunif.files import make_folder, remove_left
from nunif.parallel import ordered_map
from nunif.records import is_finished, read_info, record_name, write_record
from nunif.turns import in_turns, own_sources, tell_share, turn_for
from nunif.video.clips import find_mask
from nunif.video.color import BT709
from nunif.video.film import Film, film_hash, list_films, open_film
from nunif.video.part import PartOfFilm
from nunif.video.reader import BrokenVideo, Frame
from nunif.video.tone import describe_transfer
from scene.layers.exact import split_all
from scene.planes import ALPHA, BEHIND, BLIND_HOLE, COLOUR, DISPARITY, FOREGROUND, OCCLUDER

logger = logging.getLogger(__name__)

VERSION = 1  # of how records are made
LABEL = "layers"  # in the records' names, where video records have their depth model
Planes = dict[str, np.ndarray]  # of a frame, by letters


class SmallFilm(PartOfFilm):
    """A film whose frames are reduced to a short side."""

    def __init__(self, whole: Film, side: int) -> None:
        super().__init__(whole, first=0, stop=len(whole))
        height, width = whole.info.height, whole.info.width
        share = min(1.0, side / min(height, width))
        self._size = (round(width * share), round(height * share))
        # the reader has made SDR of it
        self.info = replace(
            whole.info, width=self._size[0], height=self._size[1], color=BT709, bit_depth=8
        )

    def _moved(self, frame: Frame) -> Frame:
        rgb = cv2.resize(frame.rgb, self._size, interpolation=cv2.INTER_AREA)
        return replace(super()._moved(frame), rgb=rgb, picture=None)


@dataclass
class Run:
    """Some frames of a shot in a row. start: the number of the first. seconds: the times of the
    first and the last. is_last: of its film."""

    start: int
    frames: list[Planes]
    seconds: tuple[float, float]
    is_last: bool = False


def main(options: LayerRecordOptions) -> None:
    """The command `create_training_data.py layers`.

    Raises:
        UserError: a film, its masks or a model is missing or can't be used (other films are
            finished first).
    """
    films = [film for path in options.dataset_dir for film in list_films(path)]
    make_folder(options.data_dir)
    counts: Counter[str] = Counter()
    remove_left(options.data_dir)
    failures = Failures(len(films))
    own = own_sources(films, film_hash, options.share)
    for (path, _), turn in in_turns(own, lambda pair: turn_for(options, LABEL, pair[1])):
        with turn, failures.log(path.name):
            how = _split_options(
                path, options, alone=len(films) == 1 and films == [*options.dataset_dir]
            )
            _make_of_film(path, how, options, counts)
    nobody = f", {counts['nobody']} of them without anybody" if counts["nobody"] else ""
    logger.info("%s: made %d%s, kept %d", LABEL, counts["made"], nobody, counts["kept"])
    if options.shard is not None:
        tell_share(options.shard, options.share, len(own), len(films), "films")
    failures.raise_if_any("films")


def _split_options(film: Path, options: LayerRecordOptions, *, alone: bool) -> SplitOptions:
    """Of one film. alone: masks are its own; else those of its name.

    Raises:
        UserError: it has none.
    """

    def own(flag: str, path: Path) -> Path:
        return path if alone else find_mask(path, film, name=f"--{flag} {path}")

    occluders = options.occluders
    if occluders not in (None, DEPTH):
        occluders = str(own("occluders", Path(occluders)))
    return options.split(film, options.masks and own("masks", options.masks), occluders)


def _make_of_film(
    path: Path, how: SplitOptions, options: LayerRecordOptions, counts: Counter[str]
) -> None:
    """Make the records of a film that do not stand yet.

    Raises:
        UserError: it can't be read to its end, or records made with other options stand there.
    """
    file_hash, share = film_hash(path), options.share
    recorded = _recorded(how, options)

    def name_of(start: int) -> str:
        return record_name(options.prefix, LABEL, file_hash, start)

    num_there = _count_if_whole(options.data_dir, name_of, recorded)
    if num_there and not share.divides_sources:
        counts["kept"] += num_there
        return
    with ExitStack() as stack:
        fps = "24" if path.is_dir() else None  # makes no difference here
        deinterlace = options.deinterlace and not path.is_dir()
        whole = stack.enter_context(open_film(path, fps=fps, deinterlace=deinterlace))
        film = SmallFilm(whole, options.size)
        by, planes = _planes_of(film, how, stack)
        info = {"source": path.resolve().name, "file_hash": file_hash, "cut_out_by": by}
        info |= describe_transfer(whole.info.color)

        def todo() -> Iterator[Run]:
            for number, run in enumerate(_runs_of(planes, film, options.seq)):
                if not share.has_clip(number):
                    continue
                if is_finished(options.data_dir, name_of(run.start), recorded):
                    counts["kept"] += 1
                else:
                    yield run

        def write(run: Run) -> None:
            first, last = (round(seconds, 6) for seconds in run.seconds)
            own = {**info, "start_seconds": first, "end_seconds": last, "is_last": run.is_last}
            own |= {"frames": len(run.frames), "options": recorded}
            record = options.data_dir / name_of(run.start)
            letters = run.frames[0]
            stacked = {one: np.stack([frame[one] for frame in run.frames]) for one in letters}
            write_record(record, stacked, own)
            counts["made"] += 1
            counts["nobody"] += not stacked[ALPHA.letter].any()

        try:
            for _ in ordered_map(write, todo(), workers=options.max_workers):
                pass
        except BrokenVideo as error:
            raise UserError(str(error)) from error


def _recorded(how: SplitOptions, options: LayerRecordOptions) -> dict[str, Any]:
    """The options that a record depends on."""
    sources = {"masks": how.masks, "matting": how.matting, "occluders": how.occluders}
    named = {name: None if path is None else Path(path).name for name, path in sources.items()}
    rest = {name: getattr(how, name) for name in ("gate", "objects", "look_ahead")}
    rest |= {"size": options.size, "seq": options.seq, "filler": (how.model or FILLER).name}
    if options.deinterlace:
        rest["deinterlace"] = True
    return {"version": VERSION} | named | rest


def _count_if_whole(
    folder: Path, name_of: Callable[[int], str], recorded: dict[str, Any]
) -> int | None:
    """How many records a film has, if all of them stand; else None."""
    halves = [folder.parent / half for half in ("train", "eval")]
    start = number = 0
    while is_finished(folder, name_of(start), recorded):
        paths = (place / name_of(start) for place in [folder, *halves])
        info = read_info(next(path for path in paths if path.exists()))
        number += 1
        if info["is_last"]:
            return number
        start += info["frames"]
    return None


def _planes_of(
    film: Film, how: SplitOptions, stack: ExitStack
) -> tuple[str, Iterator[tuple[Frame, bool, Planes]]]:
    """What cuts out, by name; and every frame, whether a shot starts with it, and its planes."""
    by, cut_out = open_cutouts(how)
    filler = open_filler(how)
    cut = _as_one(stack.enter_context(cut_out(film)))
    size = HoleSize(how.hole_threshold, how.dilate)
    parts = find_holes(with_occluders(cut, how, film, stack), size)

    def planes() -> Iterator[tuple[Frame, bool, Planes]]:
        for part, scene in filled(parts, filler, film):
            yield part.cut.frame, part.cut.starts_shot, _split(part, scene)

    return by, planes()


def _as_one(frames: CutFrames) -> CutFrames:
    """All who are cut out as one layer."""
    for cut in frames:
        if len(cut.persons) > 1:
            behind = np.ones(cut.frame.rgb.shape[:2], np.float32)
            for person in cut.persons:
                behind *= 1 - person.alpha.astype(np.float32) / 255
            alpha = np.rint(255 * (1 - behind)).astype(np.uint8)
            cut = cut._replace(persons=[Cutout(alpha)])
        yield cut


def _split(part: Parts, scene: np.ndarray) -> Planes:
    """The planes of a frame, as the world's records have them."""
    picture, (person,) = part.cut.frame.rgb, part.cut.persons
    before = [] if part.occluder is None else [part.occluder[..., None]]
    alphas = [*before, person.alpha[..., None]]
    guesses = [None] * len(before) + [person.foreground]
    (*occluders, layer), scene = split_all(picture, alphas, scene, guesses)
    alpha = layer.alpha[..., 0]
    planes = {COLOUR.letter: picture, FOREGROUND.letter: layer.foreground, BEHIND.letter: scene}
    for occluder in occluders:
        planes[OCCLUDER.letter] = np.dstack(occluder)
        seen = 1 - occluder.alpha[..., 0].astype(np.float32) / 255
        alpha = np.rint(alpha * seen).astype(np.uint8)
    planes |= {ALPHA.letter: alpha, BLIND_HOLE.letter: part.hole}
    if part.disparity is not None:
        near = cv2.resize(part.disparity, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        planes[DISPARITY.letter] = np.rint(near.clip(0, 1) * 65535).astype(np.uint16)
    return planes


def _runs_of(planes: Iterator[tuple[Frame, bool, Planes]], film: Film, seq: int) -> Iterator[Run]:
    """All frames of a film, in runs without a cut of `seq` frames or more where a shot has so
    many, and fewer than twice as many."""
    frames: list[tuple[float, Planes]] = []
    start = 0

    def taken(num: int, *, is_last: bool = False) -> Run:
        times, every = zip(*frames[:num])
        return Run(start, list(every), (times[0], times[-1]), is_last)

    with tqdm(total=len(film), unit="frame", desc=film.path.name, disable=None) as bar:
        for frame, starts_shot, now in planes:
            # so many as that make two; of fewer, the rest may still become longer
            if len(frames) == 2 * seq:
                yield taken(seq)
                frames, start = frames[seq:], start + seq
            if starts_shot and frames:
                yield taken(len(frames))
                frames, start = [], start + len(frames)
            frames.append((frame.time, now))
            bar.update()
        if len(frames) == 2 * seq:
            yield taken(seq)
            frames, start = frames[seq:], start + seq
        if frames:
            yield taken(len(frames), is_last=True)
