"""How holes are cut from where people were found. Maps and holes are drawn as text: a letter is a
pixel."""

import io

import numpy as np
import pytest

from layers.runtime.holes import HoleRule, LiveHoles, cut_hole, drop_regions, hold_holes
from layers.runtime.people import People

LEVELS = {".": 0, "o": 50, "#": 200}
RULE = HoleRule(least=26, surely=128, grow=0)


def drawn(*rows):
    """(h, w) uint8: # surely a person, o perhaps one."""
    return np.array([[LEVELS[letter] for letter in row] for row in rows], np.uint8)


def text(hole):
    return ["".join("#" if missing else "." for missing in row) for row in hole]


def hole_of(found, *, height=None, **rule):
    height = height or found.shape[0]
    size = (height, round(found.shape[1] * height / found.shape[0]))
    return cut_hole(found, size, HoleRule(**{**vars(RULE), **rule}))


def test_soft_edges_belong_to_a_hole_where_a_person_is_sure():
    found = drawn(
        "........",
        ".oo...o.",
        ".o#..oo.",
        "..oo....",
        "........",
    )
    assert text(hole_of(found)) == [
        "........",
        ".##.....",
        ".##.....",
        "..##....",
        "........",
    ]
    # corners touch: it is one region
    assert hole_of(drawn("o..", ".#.", "..o")).sum() == 3
    assert not hole_of(found, surely=201).any()
    assert not hole_of(np.zeros((4, 4), np.uint8)).any()


def test_a_hole_grows_with_the_films_rows():
    found = np.zeros((24, 32), np.uint8)
    found[12, 16] = 255
    small = hole_of(found, grow=20)  # 20 of 240 rows are 2 of 24
    assert text(small[9:16, 13:20]) == [
        ".......",
        "...#...",
        ".#####.",
        ".#####.",
        ".#####.",
        "...#...",
        ".......",
    ]
    assert small.sum() == 17
    large = hole_of(found, height=240, grow=20)
    assert large.shape == (240, 320)
    rows, columns = (np.flatnonzero(large.any(axis=axis)) for axis in (1, 0))
    assert len(rows) == len(columns) == 40 + np.count_nonzero(hole_of(found, height=240)[125])


def test_a_shadows_room_is_below_and_nowhere_else():
    found = np.zeros((24, 5), np.uint8)
    found[4:6, 2] = 255
    rows, columns = np.nonzero(hole_of(found, down=50))  # 5 of 24 rows
    assert (rows.min(), rows.max()) == (4, 10)
    assert set(columns.tolist()) == {2}
    found = np.zeros((24, 5), np.uint8)
    found[22, 2] = 255
    assert np.flatnonzero(hole_of(found, down=50)[:, 2]).tolist() == [22, 23]


@pytest.mark.parametrize(
    ("keep", "columns"),
    [((), [1, 5, 9]), (("left",), [5, 9]), (("middle", "right"), [1]), (("right",), [1, 5])],
)
def test_who_stands_in_a_kept_third_stays(keep, columns):
    found = np.zeros((4, 12), np.uint8)
    found[1:3, [1, 5, 9]] = 255
    left = drop_regions(found, HoleRule(**{**vars(RULE), "keep": keep}))
    assert np.flatnonzero(left.any(axis=0)).tolist() == columns
    # it is the middle of somebody that counts
    found[:] = 0
    found[2, 0:7] = 255
    assert hole_of(found, keep=("left",)).any() == ("left" not in ("left",))


def one(place, length=6):
    hole = np.zeros((1, length), bool)
    hole[0, place] = True
    return hole


def test_a_place_stays_hole_before_and_after_but_not_across_a_cut():
    empty = np.zeros((1, 6), bool)
    film = [(empty, True), (empty, False), (one(2), False), (empty, False), (empty, False)]
    held = [np.flatnonzero(hole[0]).tolist() for hole in hold_holes(film, 1)]
    assert held == [[], [2], [2], [2], []]
    assert [hole.any() for hole in hold_holes(film, 2)] == [True] * 5
    assert [hole.any() for hole in hold_holes(film, 0)] == [False, False, True, False, False]
    # each frame's own, and its neighbours', of its shot alone
    film = [(one(i), i in (0, 3)) for i in range(6)]
    held = [np.flatnonzero(hole[0]).tolist() for hole in hold_holes(film, 1)]
    assert held == [[0, 1], [0, 1, 2], [1, 2], [3, 4], [3, 4, 5], [4, 5]]
    held = [np.flatnonzero(hole[0]).tolist() for hole in hold_holes(film, 9)]
    assert held == [[0, 1, 2]] * 3 + [[3, 4, 5]] * 3
    assert list(hold_holes([], 2)) == []


def test_only_some_frames_are_held_in_memory():
    taken = []

    def film():
        for i in range(100):
            taken.append(i)
            yield one(i % 6), i == 0

    holes = hold_holes(film(), 2)
    next(holes)
    assert taken == [0, 1, 2]


def test_live_a_place_stays_hole_afterwards_alone():
    live = LiveHoles(HoleRule(least=26, surely=128, grow=0, hold=1))
    nobody = np.zeros((1, 6), np.uint8)

    def found(place):
        hole = live(nobody if place is None else one(place).astype(np.uint8) * 255, (1, 6))
        return np.flatnonzero(hole[0]).tolist()

    assert [found(place) for place in (None, 2, None, None)] == [[], [2], [2], []]
    assert found(4) == [4]
    live.reset()
    assert found(1) == [1]


def test_maps_come_back_from_their_file_shot_by_shot():
    people = People(io.BytesIO(), (2, 6))
    maps = [one(i).astype(np.uint8) * 200 for i in range(5)]
    for i, found in enumerate(maps):
        if i in (2, 4):
            people.end_shot(has_people=i == 4)
        people.add(found, starts_shot=i in (2, 4))
    people.end_shot(has_people=True)
    assert (len(people), people.num_shots, people.num_shots_with_people) == (5, 3, 2)
    read = list(people.maps())
    assert [starts for _, starts in read] == [True, False, True, False, True]
    # nobody was in the first shot
    assert [np.flatnonzero(found[0]).tolist() for found, _ in read] == [[], [], [2], [3], [4]]
    assert read[2][0].max() == 200
    # two readers don't get into each other's way
    first, second = people.maps(), people.maps()
    next(first), next(second), next(first)
    assert np.array_equal(next(first)[0], maps[2])
    hole = next(h for i, h in enumerate(people.holes(RULE)) if i == 3)
    assert hole.shape == (2, 6) and np.flatnonzero(hole[1]).tolist() == [3]
