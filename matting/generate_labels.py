"""Records of films in which a network has marked the people: C, and a mask of them as A.

    film -> runs of frames without a cut -> those with people -> where these are -> records

A record is called after the number of its first frame. Nothing is drawn at random. What the network
takes for people is a teacher's word and no truth.

Axes: T frames, H W pixels.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from matting.generate_import import divide, reduce_to
from matting.import_frames import NOBODY, PERSON
from matting.options_data import LabelOptions
from matting.runtime.person_finder import find_people, load_finder
from matting.runtime.person_gate import SURE, load_gate, person_scores
from nunif.device import create_device
from nunif.errors import UserError
from nunif.failures import Failures
from nunif.files import make_folder, remove_left
from nunif.parallel import ordered_map
from nunif.records import is_finished, record_name, write_record
from nunif.turns import in_turns, own_sources, tell_share, turn_for
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film, film_hash, list_films, open_film
from nunif.video.reader import BrokenVideo, Frame
from nunif.video.tone import describe_transfer
from scene.planes import ALPHA, COLOUR

logger = logging.getLogger(__name__)

VERSION = 1  # of how records are made
LABEL = "people"  # in the records' names, where video records have their depth model
NEEDED = 2  # frames in which somebody is surely seen
UNSURE = "runs of frames in which nobody was seen for sure"


@dataclass(frozen=True)
class Run:
    """Some frames in a row. start: the number of the first. pictures: (T, H, W, 3) uint8. seconds:
    the times of the first and the last."""

    start: int
    pictures: np.ndarray
    seconds: tuple[float, float]


def main(options: LabelOptions) -> None:
    """The command `label_people`.

    Raises:
        UserError: the network or a film is missing, or some films can't be used (the others are
            finished first).
    """
    films = [film for path in options.dataset_dir for film in list_films(path)]
    load_finder()
    if options.gate:
        load_gate()
    device = create_device(options.gpu)
    make_folder(options.data_dir)
    counts: Counter[str] = Counter()
    remove_left(options.data_dir)
    failures = Failures(len(films))
    own = own_sources(films, film_hash, options.share)
    for (path, _), turn in in_turns(own, lambda pair: turn_for(options, LABEL, pair[1])):
        with turn, failures.log(path.name):
            _label_film(path, options, device, counts)
    skipped = f", skipped {counts[UNSURE]} {UNSURE}: see --no-gate" if counts[UNSURE] else ""
    logger.info("%s: made %d, kept %d%s", LABEL, counts["made"], counts["kept"], skipped)
    if options.shard is not None:
        tell_share(options.shard, options.share, len(own), len(films), "films")
    failures.raise_if_any("films")


def _label_film(
    path: Path, options: LabelOptions, device: torch.device, counts: Counter[str]
) -> None:
    """Make the records of a film that do not stand yet.

    Raises:
        UserError: it can't be read to its end, or records made with other options stand there.
    """
    file_hash = film_hash(path)
    fps = "24" if path.is_dir() else None  # makes no difference here
    deinterlace = options.deinterlace and not path.is_dir()
    with open_film(path, fps=fps, deinterlace=deinterlace) as film:
        info = {"source": path.resolve().name, "file_hash": file_hash}
        info |= describe_transfer(film.info.color)
        recorded: dict[str, Any] = {"version": VERSION, "size": options.size, "seq": options.seq}
        recorded["gate"] = options.gate
        if deinterlace:
            recorded["deinterlace"] = True
        bar = tqdm(total=len(film), unit="frame", desc=path.name, disable=None)

        def todo() -> Iterator[tuple[Run, np.ndarray]]:
            for number, run in enumerate(runs_of(film, size=options.size, seq=options.seq)):
                name = record_name(options.prefix, LABEL, file_hash, run.start)
                if not options.share.has_clip(number):
                    pass
                elif is_finished(options.data_dir, name, recorded):
                    counts["kept"] += 1
                elif options.gate and not has_person(run.pictures, device):
                    counts[UNSURE] += 1
                else:
                    yield run, label(run.pictures, device)
                bar.update(len(run.pictures))

        def write(item: tuple[Run, np.ndarray]) -> None:
            run, masks = item
            record = options.data_dir / record_name(options.prefix, LABEL, file_hash, run.start)
            first, last = (round(seconds, 6) for seconds in run.seconds)
            own = {**info, "start_seconds": first, "end_seconds": last, "options": recorded}
            write_record(record, {COLOUR.letter: run.pictures, ALPHA.letter: masks}, own)

        with bar:
            try:
                for _ in ordered_map(write, todo(), workers=options.max_workers):
                    counts["made"] += 1
            except BrokenVideo as error:
                raise UserError(str(error)) from error


def has_person(pictures: np.ndarray, device: torch.device) -> bool:
    """Whether somebody is surely seen in pictures (T, H, W, 3) uint8: in `NEEDED` of them, as the
    score of one in a hundred may be anything."""
    gate = load_gate(device=device)
    needed = min(NEEDED, len(pictures))
    for picture in pictures:
        needed -= person_scores(_to_tensor(picture, device), gate).item() >= SURE
        if not needed:
            return True
    return False


def _to_tensor(picture: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255


def label(pictures: np.ndarray, device: torch.device) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T, H, W) uint8: 255 where a person is more probable than not."""
    masks = []
    for picture in pictures:
        frame = _to_tensor(picture, device)
        probable = find_people(frame, load_finder(device=device))[0, 0] > 0.5
        masks.append(np.where(probable.cpu().numpy(), np.uint8(PERSON), np.uint8(NOBODY)))
    return np.stack(masks)


def runs_of(film: Film, *, size: int, seq: int) -> Iterator[Run]:
    """All frames of a film, in runs without a cut of `seq` frames or more where a shot has so
    many, and fewer than twice as many; short sides of `size` pixels at most."""
    frames: list[tuple[float, np.ndarray]] = []
    start = 0
    for frame, starts_shot in mark_cuts(film, picture=_picture_of):
        is_full = len(frames) == 2 * seq
        if frames and (starts_shot or is_full):
            # of a shot that goes on, the rest may still become longer
            num_taken = seq if is_full and not starts_shot else len(frames)
            yield from _divided(frames[:num_taken], start, seq)
            frames, start = frames[num_taken:], start + num_taken
        frames.append((frame.time, reduce_to(frame.rgb, size)))
    if frames:
        yield from _divided(frames, start, seq)


def _picture_of(frame: Frame) -> np.ndarray:
    return frame.rgb


def _divided(frames: list[tuple[float, np.ndarray]], start: int, seq: int) -> Iterator[Run]:
    for first, stop in divide(len(frames), seq):
        times, pictures = zip(*frames[first:stop])
        yield Run(start + first, np.stack(pictures), (times[0], times[-1]))
