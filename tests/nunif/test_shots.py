"""Runs: frames without a cut, a gap or damage among them, and how far the search looks beside them.

The films here are a grey that brightens by a shot's own share; every shot has another.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest

from nunif.video.cuts import find_cuts, mark_cuts
from nunif.video.reader import BrokenVideo
from nunif.video.shots import BROKEN, CUT, GAP, Interrupted, check_gaps, first_run, read_run

LEVELS = (40, 200, 120)


@dataclass
class Picture:
    rgb: np.ndarray
    number: int


@dataclass
class FilmOfGreys:
    """A film with a new shot at each of `cuts`, of which the frames `broken` can't be decoded."""

    length: int
    cuts: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()
    forgotten: list[int] = field(default_factory=list)

    def __len__(self):
        return self.length

    def read(self, start, stop):
        if any(start <= number < stop for number in self.broken):
            raise BrokenVideo("film", 0.0, "damaged")
        return [Picture(self.picture(number), number) for number in range(start, stop)]

    def picture(self, number):
        level = LEVELS[sum(cut <= number for cut in self.cuts) % len(LEVELS)]
        return np.full((18, 32, 3), level + number % 2, np.uint8)

    def forget(self, stop):
        self.forgotten.append(stop)


def run(film, start, stop, *, gaps=(), margin=3, strict=False):
    frames = read_run(film, start, stop, gaps=gaps, margin=margin, strict=strict)
    return [frame.number for frame in frames]


def reason(film, start, stop, **more):
    with pytest.raises(Interrupted) as problem:
        run(film, start, stop, **more)
    return problem.value.reason, problem.value.resume


def test_a_run_holds_the_frames_that_were_asked_for():
    assert run(FilmOfGreys(40), 10, 18) == list(range(10, 18))
    assert run(FilmOfGreys(8), 0, 8) == list(range(8))


@pytest.mark.parametrize("margin, strict", [(3, False), (2, True)])
def test_a_cut_inside_interrupts_and_one_beside_does_not(margin, strict):
    more = {"margin": margin, "strict": strict}
    for cut in (11, 14, 17):
        assert reason(FilmOfGreys(40, (cut,)), 10, 18, **more) == (CUT, cut)
    for cut in (10, 18):
        assert run(FilmOfGreys(40, (cut,)), 10, 18, **more) == list(range(10, 18))
    assert reason(FilmOfGreys(40, (12, 16)), 10, 18, **more) == (CUT, 16)


@pytest.mark.parametrize("cut", [1, 7])
def test_next_to_the_films_ends_only_strict_reading_finds_a_cut(cut):
    film = FilmOfGreys(8, (cut,))
    assert run(film, 0, 8) == list(range(8))
    assert reason(film, 0, 8, strict=True) == (CUT, cut)


def test_only_strict_reading_is_spoilt_by_a_broken_margin():
    film = FilmOfGreys(40, broken=(8,))
    assert run(film, 10, 18) == list(range(10, 18))
    assert run(film, 10, 18, margin=1, strict=True) == list(range(10, 18))
    assert reason(film, 10, 18, strict=True) == (BROKEN, None)
    assert reason(FilmOfGreys(40, broken=(12,)), 10, 18) == (BROKEN, None)


def test_gaps():
    assert reason(FilmOfGreys(40), 10, 18, gaps=[3, 12, 15, 30]) == (GAP, 15)
    check_gaps([10, 18], 10, 18)  # a gap before the first frame and one behind the last do no harm
    with pytest.raises(Interrupted, match="missing frames"):
        check_gaps([17], 10, 18)


def test_the_first_run_starts_behind_what_interrupts_it():
    film = FilmOfGreys(60, (14,))
    frames = first_run(film, 10, 40, length=8, gaps=[20], margin=3)
    assert [frame.number for frame in frames] == list(range(20, 28))
    assert film.forgotten == [37]  # what the next run's margin needs is kept


@pytest.mark.parametrize(
    "film, gaps, why",
    [
        (FilmOfGreys(60, (14,)), [], CUT),
        (FilmOfGreys(60), [16], GAP),
        (FilmOfGreys(60, broken=(12,)), [], BROKEN),
        (FilmOfGreys(60, (14,), broken=(16,)), [], BROKEN),
        (FilmOfGreys(60, (16,)), [12], CUT),
    ],
)
def test_without_room_for_a_run_the_last_reason_is_told(film, gaps, why):
    with pytest.raises(Interrupted) as problem:
        first_run(film, 10, 21, length=8, gaps=gaps, margin=3)
    assert problem.value.reason == why and film.forgotten == []


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_still_ends_decide_as_marks_do(length):
    for cut in range(length):
        frames = [frame.rgb for frame in FilmOfGreys(length, (cut,)).read(0, length)]
        marked = [place for place, (_, is_cut) in enumerate(mark_cuts(frames)) if is_cut]
        assert find_cuts(frames, still_ends=True) == marked == ([cut] if cut else [])
    assert find_cuts([], still_ends=True) == []
