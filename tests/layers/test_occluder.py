"""What stands before a person is told from the floor, from the person and from what is beside.

Axes: h w pixels.
"""

import cv2
import numpy as np
import pytest

from layers.runtime.occluder import find_floor, find_occluder

H, W = 192, 320
ROWS, COLUMNS = np.mgrid[:H, :W]


def draw_scene(seed, *, occluders=1):
    """(disparity, person, truth): a room with a wall and a floor, somebody on the floor, things
    that stand before him, and others nearer and farther beside."""
    rng = np.random.default_rng(seed)
    horizon = int(rng.integers(H // 4, H // 2))
    wall = rng.uniform(0.05, 0.2)
    slope = rng.uniform(0.5, 0.8)

    def floor_at(row):
        return wall + slope * max(0, row - horizon) / (H - horizon)

    disparity = np.maximum(wall, wall + slope * (ROWS - horizon) / (H - horizon))
    feet = int(rng.integers(H * 6 // 10, H * 8 // 10))
    middle = int(rng.integers(W * 4 // 10, W * 6 // 10))
    body = (np.abs(COLUMNS - middle) < 18) & (ROWS < feet) & (ROWS >= feet - 100)
    disparity[body] = floor_at(feet)
    truth = np.zeros((H, W), bool)
    for side in (-1, 1):  # decoys: one as near as the things before him, one farther
        foot = feet + 26 if side > 0 else feet - 20
        left = middle + side * 92
        box = (np.abs(COLUMNS - left) < 16) & (ROWS < foot) & (ROWS > foot - 52)
        disparity[box] = np.maximum(disparity, floor_at(foot))[box]
    for number in range(occluders):
        foot = feet + int(rng.integers(20, 34))
        shift = int(rng.integers(-13, 14)) + 16 * number
        height = int(rng.integers(40, 66))
        box = np.abs(COLUMNS - middle - shift) < rng.integers(10, 18)
        box &= (ROWS < foot) & (ROWS > foot - height)
        disparity[box] = floor_at(foot)
        truth |= box
    person = body & ~truth
    disparity = cv2.GaussianBlur(disparity, (0, 0), rng.uniform(0.5, 1.5))
    coarse = cv2.resize(rng.normal(0, 0.015, (4, 6)), (W, H), interpolation=cv2.INTER_CUBIC)
    disparity = disparity + coarse + rng.normal(0, 0.005, (H, W))
    return disparity.clip(0, 1).astype(np.float32), person, truth


def iou(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


def test_things_before_a_person_are_found():
    scores, by_threshold = [], []
    for seed in range(24):
        disparity, person, truth = draw_scene(seed, occluders=1 + seed % 2)
        found = find_occluder(disparity, person).before
        assert not (found & person).any()
        scores.append(iou(found, truth))
        by_threshold.append(iou((disparity > np.median(disparity[person])) & ~person, truth))
    assert np.mean(scores) > 0.85 and np.percentile(scores, 10) > 0.7
    assert np.mean(by_threshold) < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_where_nothing_is_before_a_person_nothing_is_found(seed):
    disparity, person, _ = draw_scene(seed, occluders=0)
    assert find_occluder(disparity, person).before.mean() <= 0.005


@pytest.mark.parametrize("by", [-2, 2])
def test_a_mask_may_be_off_by_pixels(by):
    scores = []
    for seed in range(12):
        disparity, person, truth = draw_scene(seed)
        change = cv2.erode if by < 0 else cv2.dilate
        mask = change(person.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=abs(by)) > 0
        scores.append(iou(find_occluder(disparity, mask).before, truth))
    assert np.mean(scores) > 0.75


def test_a_stick_before_a_person_is_found():
    """Two pixels wide: no pixel of it has only pixels of its own around."""
    disparity = np.full((H, W), 0.1, np.float32)
    person = (np.abs(COLUMNS - 160) < 20) & (ROWS > 40) & (ROWS < 150)
    disparity[person] = 0.4
    stick = (np.abs(ROWS - 90 - (COLUMNS - 160) // 4) < 2) & (np.abs(COLUMNS - 160) < 60)
    disparity[stick] = 0.8
    found = find_occluder(disparity, person & ~stick)
    assert iou(found.before, stick) > 0.9
    disparity[:, :100], disparity[person & ~stick] = 0.4, 0.1  # somebody far away from it
    away = find_occluder(disparity, COLUMNS < 60)
    assert not away.before.any() and iou(away.near, stick & (COLUMNS >= 100)) > 0.9


def test_the_floor_is_a_plane():
    disparity, person, _ = draw_scene(2, occluders=0)
    plane = find_floor(disparity, person, 1)
    floor = (ROWS > H * 0.85) & (np.abs(COLUMNS - W // 2) > 120)
    wall = ROWS < H // 6
    off = np.abs(plane - disparity)
    assert off[floor].mean() < 0.02 and off[wall].mean() > 0.06
    flat = np.full((H, W), 0.5, np.float32)
    assert find_floor(flat, person, 1) is None


def test_too_little_of_a_person():
    disparity, person, _ = draw_scene(1)
    person[:] = False
    person[50, 50:60] = True
    assert not find_occluder(disparity, person).before.any()
