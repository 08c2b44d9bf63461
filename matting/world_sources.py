"""Where the backgrounds of the world come from: films without people, stills, rendered clips.

Axes: T frames, H W pixels.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from nunif.errors import UserError
from nunif.failures import Failures
from nunif.files import files_below
from nunif.image import PICTURE_SUFFIXES, read_rgb
from nunif.records import INFO_NAME
from nunif.seed import derive_seed, generator_for
from nunif.video.cuts import CUT_MARGIN
from nunif.video.film import Film, folder_hash, list_films, open_film, tell_of_pictures
from nunif.video.reader import BrokenVideo, content_hash, find_gaps
from nunif.video.shots import Interrupted, read_run
from nunif.video.tone import describe_transfer
from scene.people.background import cut, draw_window, move_still
from scene.world import render_scene

logger = logging.getLogger(__name__)

ATTEMPTS = 4  # to find frames without a cut, a gap and damage among them
NO_RUN = f"frames without a cut, a gap or damage, at {ATTEMPTS} places"
RENDERED_HASH = "0" * 8
OPEN_PICTURES = 16  # that occluders are cut out of, kept


@dataclass(frozen=True)
class Source:
    """A film, or a picture, of which nothing but its content counts."""

    path: Path
    file_hash: str
    num_frames: int
    deinterlace: bool = False

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def open(self) -> Film:
        return _open(self.path, deinterlace=self.deinterlace)


@dataclass(frozen=True)
class Background:
    """pictures: (T, H, W, 3) uint8. depth: (T, H, W) float32, 1 = near, where it is known. info: of
    where they come from, for record.json."""

    pictures: np.ndarray
    info: Mapping[str, object]
    depth: np.ndarray | None = None


@dataclass(frozen=True)
class Backdrop:
    """Draws and reads the background of every record, by its number.

    sources: none for rendered backgrounds.
    """

    sources: Sequence[Source]
    seed: int
    size: tuple[int, int]
    seq: int

    @cached_property
    def set_hash(self) -> str:
        """8 hex digits of the content of all sources."""
        digest = hashlib.blake2b(digest_size=4)
        for source in self.sources:
            digest.update(source.file_hash.encode())
        return digest.hexdigest() if self.sources else RENDERED_HASH

    def _generator(self, name: str, *parts: int) -> np.random.Generator:
        return generator_for(f"world-{name}", self.seed, self.set_hash, *parts)

    def backgrounds(
        self, numbers: Sequence[int], failures: Failures
    ) -> Iterator[tuple[int, Background | None]]:
        """Each record's number and its background, source by source; None if its source has no
        place for it.

        A source that can't be read is told to `failures`.
        """
        if not self.sources:
            yield from ((number, self._render(number)) for number in numbers)
        places = [
            (int(self._generator("source", number).integers(len(self.sources))), number)
            for number in (numbers if self.sources else ())
        ]
        for index, source in enumerate(self.sources):
            own = [number for place, number in places if place == index]
            with failures.log():
                yield from (
                    self._still(source, own) if source.num_frames == 1 else self._runs(source, own)
                )

    def _render(self, number: int) -> Background:
        height, width = self.size
        seed = derive_seed("world-rendered", self.seed, number)
        scene = list(render_scene(width, height, self.seq, seed=seed, walkers=False))
        pictures, depth = (np.stack(part) for part in zip(*scene))
        return Background(pictures, {"source": "rendered"}, depth)

    def _still(self, source: Source, numbers: list[int]) -> Iterator[tuple[int, Background]]:
        picture = _read_one(source) if numbers else None
        for number in numbers:
            assert picture is not None
            pictures = move_still(self._generator("still", number), picture, self.size, self.seq)
            info = {"source": source.name, "file_hash": source.file_hash}
            yield number, Background(pictures, info)

    def _runs(self, source: Source, numbers: list[int]) -> Iterator[tuple[int, Background | None]]:
        for attempt in range(ATTEMPTS):
            starts = []
            for number in numbers:
                rng = self._generator("start", number, attempt)
                starts.append((int(rng.integers(source.num_frames - self.seq + 1)), number))
            numbers = []
            if not starts:
                return
            with source.open() as film:
                gaps = find_gaps(film.times)
                for start, number in sorted(starts):
                    try:
                        yield number, self._run(film, source, gaps, start, number)
                    except Interrupted:
                        numbers.append(number)
        yield from ((number, None) for number in numbers)

    def _run(
        self, film: Film, source: Source, gaps: list[int], start: int, number: int
    ) -> Background:
        stop = start + self.seq
        frames = read_run(film, start, stop, gaps=gaps, margin=CUT_MARGIN, strict=True)
        height, width = frames[0].rgb.shape[:2]
        window = draw_window(self._generator("window", number), (height, width), self.size)
        info = {
            "source": source.name,
            "file_hash": source.file_hash,
            **describe_transfer(film.info.color),
            "start_seconds": round(frames[0].time, 6),
            "end_seconds": round(frames[-1].time, 6),
        }
        return Background(np.stack([cut(frame.rgb, window, self.size) for frame in frames]), info)

    def other_picture(self, number: int) -> np.ndarray | None:
        """A picture of another source, of the records' size, for an occluder of a record; None if
        there is no other."""
        if len(self.sources) < 2:
            return None
        own = int(self._generator("source", number).integers(len(self.sources)))
        rng = self._generator("other", number)
        source = self.sources[(own + int(rng.integers(1, len(self.sources)))) % len(self.sources)]
        try:
            picture = _read_one(source)
        except (UserError, BrokenVideo, ValueError, OSError):
            return None  # it is told of when its own records are made
        window = draw_window(rng, (picture.shape[0], picture.shape[1]), self.size)
        return cut(picture, window, self.size)


@lru_cache(OPEN_PICTURES)
def _read_one(source: Source) -> np.ndarray:
    """The picture in the middle of a source."""
    if source.num_frames == 1 and source.path.suffix.lower() in PICTURE_SUFFIXES:
        return read_rgb(source.path)
    with source.open() as film:
        middle = source.num_frames // 2
        return film.read(middle, middle + 1)[0].rgb


def _open(path: Path, *, deinterlace: bool) -> Film:
    # the rate of a folder makes no difference here
    is_folder = path.is_dir()
    return open_film(
        path, fps="24" if is_folder else None, deinterlace=deinterlace and not is_folder
    )


def find_sources(
    paths: Sequence[Path], *, seq: int, stills: bool, deinterlace: bool
) -> tuple[list[Source], Failures]:
    """The films (or pictures) that paths stand for, in the order of their hashes, each content
    once; and those that can't be used, logged.

    Raises:
        UserError: there is nothing, or none can be used.
    """
    files = [file for path in paths for file in (_pictures(path) if stills else list_films(path))]
    failures = Failures(len(files))
    found: dict[str, Source] = {}
    for file in files:
        with failures.log():
            try:
                source = _source(file, seq, stills=stills, deinterlace=deinterlace)
            except UserError as error:
                if stills or not file.is_dir():
                    raise
                raise UserError(f"{error}; --stills takes every picture by itself") from error
            twin = found.setdefault(source.file_hash, source)
            if twin is not source:
                logger.info("left out: %s is the same as %s", file, twin.path)
    if files and not found:
        failures.raise_if_any("films")
    return [found[file_hash] for file_hash in sorted(found)], failures


def _pictures(path: Path) -> list[Path]:
    """The pictures of a folder tree, without those of records."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} does not exist: check the path")
    files = files_below(path)
    records = {file.parent for file in files if file.name == INFO_NAME}
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    pictures = [file for file in pictures if file.parent not in records]
    if not pictures:
        raise UserError(
            f"{path} holds no picture: expected files ending in "
            f"{' '.join(sorted(PICTURE_SUFFIXES))}"
        )
    return pictures


def _source(file: Path, seq: int, *, stills: bool, deinterlace: bool) -> Source:
    """Raises UserError where it is of no use."""
    if deinterlace and file.is_dir():
        tell_of_pictures(file)
    if stills:
        try:
            read_rgb(file)
        except (ValueError, OSError) as error:
            raise UserError(
                f"{file} can't be read ({error}): convert it, or take it out"
            ) from error
        return Source(file, content_hash(file), 1)
    with _open(file, deinterlace=deinterlace) as film:
        count = len(film)
    if 1 < count < seq:
        raise UserError(
            f"{file} has {count} frames, one record takes {seq}: choose a smaller --seq, or a "
            "longer film"
        )
    file_hash = folder_hash(file) if file.is_dir() else content_hash(file)
    return Source(file, file_hash, count, deinterlace)
