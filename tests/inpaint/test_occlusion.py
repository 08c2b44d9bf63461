"""Holes, with literal expectations. Rows are 12 pixels; # marks what the other eye misses."""

import numpy as np
import pytest
import torch

from inpaint.occlusion import (
    MAPPINGS,
    drop_specks,
    hidden,
    map_foreground,
    shift_in_pixels,
    shift_of_view,
)


def draw(row: torch.Tensor) -> str:
    return "".join("#" if hole else "." for hole in row)


def test_strip_stands_right_of_the_object_and_is_as_wide_as_the_shift():
    shift = torch.tensor([0, 0, 0, 3, 3, 3, 0, 0, 0, 0, 0, 0.0])
    assert draw(hidden(shift)) == "......###..."


@pytest.mark.parametrize("difference, width", [(1.0, 1), (2.5, 2), (4.0, 4)])
def test_width_of_the_strip(difference, width):
    shift = torch.zeros(32)
    shift[8:16] = difference
    assert draw(hidden(shift)) == "." * 16 + "#" * width + "." * (16 - width)


def test_convergence_changes_nothing():
    disparity = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
    masks = [
        hidden(shift_in_pixels(disparity, divergence=4.0, convergence=c, width=64))
        for c in (0.0, 0.5, 1.0)
    ]
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[0], masks[2])


def test_a_slope_gives_no_speckle_either_way():
    slope = torch.linspace(0, 20, 100)
    assert not hidden(slope).any()
    assert not hidden(slope.flip(0)).any()  # falls by 0.2 per pixel: compressed, but nothing folds


def test_rows_do_not_see_each_other():
    shift = torch.zeros(3, 12)
    shift[1, 3:6] = 2
    assert [draw(row) for row in hidden(shift)] == ["............", "......##....", "............"]


def test_mirrored_view_has_its_holes_on_the_same_side():
    shift = torch.zeros(16)
    shift[4:8] = 3
    assert draw(hidden(shift)) == "........###....."
    assert draw(hidden(shift.flip(-1))) == "............###."


def test_shift_in_pixels():
    shift = shift_in_pixels(
        torch.tensor([0.0, 0.5, 1.0]), divergence=4.0, convergence=0.5, width=1920
    )
    torch.testing.assert_close(shift, torch.tensor([-19.2, 0.0, 19.2]))


def test_shift_of_view_is_made_at_the_size_of_the_picture():
    disparity = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    shift = shift_of_view(disparity, size=(2, 8), divergence=50.0, convergence=0.5, edge_dilation=0)
    torch.testing.assert_close(shift, torch.tensor([[-1, -1, -1, -1, -1, -0.5, 0.5, 1.0]] * 2))
    wider = shift_of_view(disparity, size=(2, 8), divergence=50.0, convergence=0.5, edge_dilation=1)
    torch.testing.assert_close(wider, torch.tensor([[-1, -1, -1, -0.5, 0.5, 1, 1, 1.0]] * 2))
    bent = shift_of_view(
        torch.full((1, 4), 0.5), size=(2, 8), divergence=50.0, convergence=0.0, mapping="mul_2"
    )
    torch.testing.assert_close(
        bent, torch.full((2, 8), 2 * float(map_foreground(torch.tensor(0.5), "mul_2")))
    )


def test_drop_specks_keeps_what_is_large_enough():
    holes = np.zeros((2, 20, 20), bool)
    holes[0, 2:6, 2:6] = True
    holes[0, 6, 6] = True  # touches by a corner: belongs to the square
    holes[0, 10, 10:14] = True
    holes[1, 0, 0] = True
    kept = drop_specks(holes, min_area=5)
    assert kept[0].sum() == 17 and kept[0, 6, 6] and not kept[0, 10].any() and not kept[1].any()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_mappings_keep_the_ends_and_the_order(mapping):
    x = torch.linspace(0, 1, 101)
    y = map_foreground(x, mapping)
    torch.testing.assert_close(y[[0, -1]], torch.tensor([0.0, 1.0]), atol=1e-4, rtol=0)
    assert (y.diff() > 0).all()
    if mapping.startswith("mul"):
        assert y[50] < 0.45
    if mapping.startswith("inv"):
        assert y[50] > 0.55
