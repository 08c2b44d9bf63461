"""People whom the finder sees in some frames and loses in those beside them."""

import cv2
import numpy as np

from layers.runtime.carry import Carrying
from layers.runtime.holes import HoleRule
from layers.runtime.people import People, look_through

H, W, SIDE, STEP = 144, 192, 48, 6


def texture(size, seed):
    rough = np.random.default_rng(seed).integers(0, 255, (size[0] // 6, size[1] // 6, 3), np.uint8)
    return cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC)


def coming_in(num, *, step=STEP):
    """Somebody comes in from below before a room, a head first. Frames, and where they are."""
    room, somebody = texture((H, W), 1), texture((H, SIDE), 2)
    frames = np.repeat(room[None], num, axis=0)
    there = np.zeros((num, H, W), bool)
    for i in range(num):
        top = H - 12 - i * step
        frames[i, top:, 60 : 60 + SIDE] = somebody[: H - top]
        there[i, top:, 60 : 60 + SIDE] = True
    return frames, there


def carried(frames, maps):
    carrying = Carrying(least=26, surely=128)
    given = [found for pair in zip(frames, maps) for found in carrying.add(*pair)]
    return np.stack([*given, *carrying.end()])


def covered(found, there):
    return (found[there] >= 26).mean()


def test_who_comes_in_is_known_from_the_first_frame_on():
    frames, there = coming_in(9)
    seen = np.where(there, 255, 0).astype(np.uint8)
    seen[:4] = 0
    found = carried(frames, seen)
    for i in range(4):
        assert covered(found[i], there[i]) > (0.8 if i else 0.5), i
        assert (found[i] >= 26).mean() < 1.3 * there[i].mean() + 0.005, i
    assert np.array_equal(found[4:], seen[4:]), "what the finder saw stays as it was"


def test_who_goes_out_is_known_to_the_last_frame():
    frames, there = (frames[::-1] for frames in coming_in(9))
    seen = np.where(there, 255, 0).astype(np.uint8)
    seen[5:] = 0
    found = carried(frames, seen)
    assert min(covered(found[i], there[i]) for i in range(5, 8)) > 0.8
    assert covered(found[8], there[8]) > 0.5, "of the last 12 rows"


def test_it_is_carried_over_few_frames():
    frames, there = coming_in(12, step=3)
    seen = np.where(there, 255, 0).astype(np.uint8)
    seen[:11] = 0
    found = carried(frames, seen)
    assert covered(found[3], there[3]) > 0.9 and not found[:3].any()


def test_what_stands_still_and_is_lost_is_not_carried():
    frames, there = coming_in(6, step=0)
    seen = np.where(there, 255, 0).astype(np.uint8)
    seen[:4] = 0
    assert not carried(frames, seen)[:4].any()


class Finder:
    """Sees somebody in the frames of a shot from the fourth on."""

    rule = HoleRule(least=26, surely=128, grow=0)
    remembers = False

    def __init__(self, there):
        self.there = there

    def reset(self):
        self.number = -1

    def __call__(self, frame):
        self.number += 1
        seen = self.there[self.number] & (self.number > 3)
        return np.where(seen, 255, 0).astype(np.uint8)


def test_nobody_is_carried_over_a_cut(tmp_path):
    frames, there = coming_in(8)
    empty = np.repeat(texture((H, W), 3)[None], 3, axis=0)
    shots = [(f, i == 0) for i, f in enumerate(empty)] + [(f, i == 0) for i, f in enumerate(frames)]
    finder = Finder(there)
    with (tmp_path / "maps").open("w+b") as file:
        people = People(file, (H, W))
        look_through(shots, people, finder, None)
        found = list(people.maps())
    assert [starts for _, starts in found] == [True, False, False, True] + [False] * 7
    assert not np.any([one for one, _ in found[:3]])
    assert covered(found[3][0], there[0]) > 0.5 and covered(found[4][0], there[1]) > 0.8
