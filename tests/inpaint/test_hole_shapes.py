"""Made-up holes: their area over a thousand draws, and how they move."""

import math

import numpy as np
import pytest

from inpaint.hole_shapes import SHAPES, visiting_shape
from inpaint.options_holes import MADE_MASKS

SIZE = (64, 80)
AREAS = {"rectangle": (0.05, 0.20), "strokes": (0.05, 0.20), "object": (0.04, 0.12)}


def draw(kind, seed, num_frames=6, size=SIZE, **more):
    return SHAPES[kind](num_frames, size, np.random.default_rng(seed), **more)


def test_the_command_line_knows_all_kinds():
    assert tuple(SHAPES) == MADE_MASKS == (*AREAS, "strips")


@pytest.mark.parametrize("kind", AREAS)
def test_a_thousand_draws_stay_inside_the_bounds_and_fill_them(kind):
    masks = [draw(kind, seed) for seed in range(1000)]
    areas = np.array([mask[0].mean() for mask in masks])
    low, high = AREAS[kind]
    assert low <= areas.min() and areas.max() <= high
    assert areas.min() < low + 0.2 * (high - low) and areas.max() > high - 0.2 * (high - low)
    num_still = sum(bool((mask == mask[0]).all()) for mask in masks)
    assert 430 < num_still < 570  # half of them, and no moving one stands still
    assert all(mask.shape == (6, *SIZE) and mask.dtype == bool for mask in masks)


@pytest.mark.parametrize("kind", AREAS)
def test_still_ones_stand_and_moving_ones_go_on_smoothly(kind):
    for seed in range(30):
        still, moving = (draw(kind, seed, num_frames=12, still=value) for value in (True, False))
        assert (still == still[0]).all()
        middles = np.array([np.argwhere(mask).mean(axis=0) for mask in moving])
        steps = np.diff(middles, axis=0)
        # pixels, with what leaves the picture and rounding
        assert np.abs(steps).max() <= 0.04 * max(SIZE) + 1.5
        assert np.abs(middles[-1] - middles[0]).max() > 0.3
        assert moving.any(axis=(1, 2)).all()


@pytest.mark.parametrize("kind", ["rectangle", "strokes"])
def test_a_shape_is_shifted_and_not_changed(kind):
    """Each frame is the first one at another place, cut off at the edges."""
    masks = draw(kind, 3, num_frames=12, still=False)
    height, width = SIZE
    wide = np.pad(masks[0], ((height, height), (width, width)))
    window = range(-40, 41)
    for mask in masks:
        places = ((height + y, width + x) for y in window for x in window)
        assert any(
            (wide[top : top + height, left : left + width] == mask).all() for top, left in places
        )


@pytest.mark.parametrize("kind", AREAS)
def test_at_least_half_of_a_shape_stays_in_the_picture(kind):
    """However long it goes on; strokes too, which are not where the middle of their box is."""
    for seed in range(100):
        areas = draw(kind, seed, num_frames=100, still=False).mean(axis=(1, 2))
        assert areas.min() >= 0.5 * areas[0]


def test_rectangles_are_rectangles():
    for seed in range(50):
        mask = draw("rectangle", seed)[0]
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert mask.sum() == rows.sum() * columns.sum()


@pytest.mark.parametrize("kind", AREAS)
def test_the_seed_decides(kind):
    assert (draw(kind, 5) == draw(kind, 5)).all()
    assert (draw(kind, 5) != draw(kind, 6)).any()


@pytest.mark.parametrize("kind", AREAS)
@pytest.mark.parametrize("size", [(32, 32), (360, 640), (40, 400)])
def test_any_size_of_picture(kind, size):
    for seed in range(5):
        assert (
            AREAS[kind][0] <= draw(kind, seed, num_frames=1, size=size)[0].mean() <= AREAS[kind][1]
        )


@pytest.mark.parametrize("size", [(256, 256), (180, 320), (40, 400)])
def test_strips_stand_beside_things_in_every_clip(size):
    """Narrow and mostly upright, as what another eye can't see: a few per cent of the picture."""
    masks = [draw("strips", seed, num_frames=3, size=size) for seed in range(12)]
    assert all(mask.shape == (3, *size) and mask.dtype == bool for mask in masks)
    shares = np.array([mask.mean(axis=(1, 2)) for mask in masks])
    assert 0.001 < shares.min() and shares.max() < 0.08
    for mask in masks:
        # where a strip begins
        runs = np.diff(np.pad(mask[0].astype(int), ((0, 0), (1, 1))), axis=1) > 0
        widths = mask[0].sum() / runs.sum()
        assert widths < 0.12 * size[1]
    num_still = sum(bool((mask == mask[0]).all()) for mask in masks)
    assert 0 < num_still < 12
    assert (draw("strips", 5, size=size) == draw("strips", 5, size=size)).all()
    assert (draw("strips", 5, size=size) != draw("strips", 6, size=size)).any()
    still = draw("strips", 5, size=size, still=True)
    assert (still == still[0]).all() and (draw("strips", 5, size=size, still=False) != still).any()


def visit(seed, num_frames=120, size=SIZE):
    return visiting_shape(num_frames, size, np.random.default_rng(seed))


@pytest.mark.parametrize("num_frames", [24, 120])
@pytest.mark.parametrize("size", [(64, 80), (32, 32), (40, 400), (120, 68)])
def test_a_visitor_comes_stands_and_goes(num_frames, size):
    for seed in range(20):
        masks = visit(seed, num_frames, size)
        assert masks.shape == (num_frames, *size) and masks.dtype == bool
        present = np.flatnonzero(masks.any(axis=(1, 2))) / num_frames
        assert 0.08 <= present.min() <= 0.13 and 0.83 <= present.max() <= 0.92
        standing = masks[math.ceil(num_frames / 5) : num_frames * 4 // 5]
        assert 0.04 <= standing.mean(axis=(1, 2)).min() and standing.mean(axis=(1, 2)).max() <= 0.12
        assert not standing[:, [0, -1]].any() and not standing[:, :, [0, -1]].any()
        middles = np.array([np.argwhere(mask).mean(axis=0) for mask in standing])
        # pixels: two to each side, and what rounding and breathing add
        assert 0 < np.ptp(middles, axis=0).max() < 6


def test_a_visitor_uses_both_sides_and_all_sizes():
    masks = [visit(seed, size=(48, 64)) for seed in range(100)]
    first = np.array([mask[np.flatnonzero(mask.any(axis=(1, 2)))[0]] for mask in masks])
    last = np.array([mask[np.flatnonzero(mask.any(axis=(1, 2)))[-1]] for mask in masks])
    for side in (first, last):
        left, right = side[:, :, 0].any(axis=1), side[:, :, -1].any(axis=1)
        assert (left ^ right).all() and 30 < left.sum() < 70  # it stands in the door of one of them
    areas = np.array([mask[60].mean() for mask in masks])
    assert areas.min() < 0.055 and areas.max() > 0.105


def test_a_visitor_is_the_same_for_the_same_seed():
    assert (visit(5) == visit(5)).all()
    assert (visit(5) != visit(6)).any()


def test_strips_leave_something_to_fill_in_the_smallest_tiles():
    assert all(
        SHAPES["strips"](4, (32, 32), np.random.default_rng(seed)).any() for seed in range(10)
    )
