"""Where the people of a film are, found in a pass over it of its own, so that what is seen later
counts earlier.

A frame's map takes some kilobytes, on the disk; memory doesn't grow with the film but for the
places of its maps.
"""

import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from layers.runtime.carry import Carrying
from layers.runtime.finders import Finder, Gate
from layers.runtime.holes import HoleRule, cut_hole, hold_holes
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film
from nunif.video.reader import BrokenVideo, Frame


class People:
    """Maps of a film's frames, in order."""

    def __init__(self, file: BinaryIO, size: tuple[int, int]) -> None:
        """size: (H, W) of the film."""
        self._file, self._size = file, size
        self._lengths: list[int] = []  # of the maps in the file
        self._starts: list[int] = []  # the first frames of shots
        self._with_people: list[bool] = []  # of shots
        self._shape: tuple[int, int] = size  # of a map
        self.is_whole = True  # unless the film breaks off

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def num_shots(self) -> int:
        return len(self._starts)

    @property
    def num_shots_with_people(self) -> int:
        return sum(self._with_people)

    def add(self, found: np.ndarray, *, starts_shot: bool) -> None:
        """The next frame's map. Whoever is in its shot is told of by `end_shot`."""
        if starts_shot or not self._lengths:
            self._starts.append(len(self))
            self._with_people.append(False)
        self._shape = found.shape[:2]
        data = zlib.compress(found.tobytes(), level=1)
        self._file.write(data)
        self._lengths.append(len(data))

    def end_shot(self, *, has_people: bool) -> None:
        """Without, its maps say nothing."""
        if self._with_people:
            self._with_people[-1] = has_people

    def maps(self) -> Iterator[tuple[np.ndarray, bool]]:
        """Of every frame, and whether a new shot starts with it."""
        starts = dict(zip(self._starts, self._with_people))
        place, has_people = 0, False
        for number, length in enumerate(self._lengths):
            has_people = starts.get(number, has_people)
            self._file.seek(place)  # others may read from it too
            data = self._file.read(length)
            place += length
            found = np.frombuffer(zlib.decompress(data), np.uint8).reshape(self._shape)
            yield (found if has_people else np.zeros_like(found)), number in starts

    def holes(self, rule: HoleRule) -> Iterator[np.ndarray]:
        """Of every frame, (H, W) bool of the film's size, True = missing."""
        cut = ((cut_hole(found, self._size, rule), starts) for found, starts in self.maps())
        return hold_holes(cut, rule.hold)


@contextmanager
def find_people_in(
    film: Film, finder: Finder, gate: Gate | None, *, find_cuts: bool = True
) -> Iterator[People]:
    """Who is in a film, shot by shot: one in which a head was seen is looked through, others are as
    they were. Where the film is damaged it ends; whoever reads it on will say so.

    Args:
        film: read to its end.
        gate: None: everything that is found counts.
    """
    info = film.info
    with tempfile.TemporaryFile() as file:
        people = People(file, (info.height, info.width))
        with tqdm(total=len(film), unit="frame", desc="finding people", disable=None) as bar:

            def pictures() -> Iterator[tuple[np.ndarray, bool]]:
                for frame, starts_shot in _shots(film, find_cuts=find_cuts):
                    tone = info.tone_map
                    yield tone.to_sdr(frame.rgb) if tone else frame.rgb, starts_shot
                    bar.update()

            look_through(pictures(), people, finder, gate)
        people.is_whole = len(people) == len(film) and film.broken_at is None
        yield people


def look_through(
    pictures: Iterable[tuple[np.ndarray, bool]], people: People, finder: Finder, gate: Gate | None
) -> None:
    """Add the people of each picture, (H, W, 3) uint8 or uint16 RGB; whether a shot starts with
    it. Where a finder that doesn't remember lost somebody whom it saw some frames before or after,
    they are carried over."""
    carrying = Carrying(finder.rule.least, finder.rule.surely)
    is_found, starts = False, True  # in this shot; whether the next map to be added starts one

    def add(maps: Iterable[np.ndarray]) -> None:
        nonlocal starts
        for found in maps:
            people.add(found, starts_shot=starts)
            starts = False

    def end_shot() -> None:
        add(carrying.end())
        people.end_shot(has_people=is_found and (gate is None or gate.is_open))

    def reset() -> None:
        finder.reset()
        if gate is not None:
            gate.reset()

    reset()
    for picture, starts_shot in pictures:
        if starts_shot:
            end_shot()
            reset()
            is_found, starts = False, True
        if gate is not None:
            gate.look(picture)
        found = finder(picture)
        is_found |= bool((found >= finder.rule.surely).any())
        add([found] if finder.remembers else carrying.add(picture, found))
    end_shot()


def _shots(film: Iterable[Frame], *, find_cuts: bool) -> Iterator[tuple[Frame, bool]]:
    def readable() -> Iterator[Frame]:
        try:
            yield from film
        except BrokenVideo:
            return

    if find_cuts:
        yield from mark_cuts(readable(), picture=lambda frame: frame.rgb)
    else:
        yield from ((frame, False) for frame in readable())
