"""Mask functions, with literal expectations."""

import pytest
import torch

from scene.masks import close_pinpricks, compose, dilate_sideways, smooth_fill


def row(text: str) -> torch.Tensor:
    return torch.tensor([[c == "#" for c in text]])


def test_dilate_sideways():
    assert torch.equal(dilate_sideways(row("....#...."), right=2), row("....###.."))
    assert torch.equal(dilate_sideways(row("....#...."), left=3), row(".####...."))
    assert torch.equal(dilate_sideways(row("#......#."), left=1, right=2), row("###...###"))
    holes = torch.rand(2, 3, 40, generator=torch.Generator().manual_seed(1)) < 0.1
    for left, right in ((0, 20), (4, 0), (3, 45), (0, 0)):
        grown = dilate_sideways(holes, left=left, right=right)
        other = dilate_sideways(holes.float(), left=left, right=right)
        assert grown.dtype == torch.bool and torch.equal(grown.float(), other)


def test_close_pinpricks_fills_small_gaps_and_loses_nothing():
    holes = torch.zeros(1, 9, 9, dtype=torch.bool)
    holes[0, 2:7, 2:7] = True
    holes[0, 4, 4] = False
    holes[0, 0, 8] = True
    closed = close_pinpricks(holes, radius=1)
    assert closed[0, 4, 4] and closed[0, 0, 8]
    assert closed.sum() == 26


def test_compose_leaves_seen_pixels_alone():
    frames, prediction = torch.full((1, 3, 2, 2), 0.25), torch.full((1, 3, 2, 2), -1.0)
    holes = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    assert compose(frames, holes, prediction)[0, 0].tolist() == [[0.25, -1.0], [0.25, 0.25]]


def test_smooth_fill_of_a_plain_picture_is_plain_and_ignores_the_hole():
    frames = torch.full((2, 3, 40, 56), 0.3)
    holes = torch.zeros(2, 1, 40, 56)
    holes[:, :, 10:30, 5:50] = 1
    frames[:, :, 12, 20] = 99
    torch.testing.assert_close(smooth_fill(frames, holes), torch.full_like(frames, 0.3))


def test_smooth_fill_keeps_what_is_seen_and_stays_between_its_surroundings():
    frames = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64).clone()
    holes = torch.zeros(1, 1, 64, 64)
    holes[..., 28:36] = 1
    filled = smooth_fill(frames, holes)
    torch.testing.assert_close(filled[..., :28], frames[..., :28])
    torch.testing.assert_close(filled[..., 36:], frames[..., 36:])
    assert filled[..., 28:36].min() > -0.2 and filled[..., 28:36].max() < 0.2


def test_smooth_fill_where_nothing_is_seen_is_zero():
    assert smooth_fill(torch.ones(1, 3, 16, 24), torch.ones(1, 1, 16, 24)).abs().max() == 0


@pytest.mark.parametrize("radius", [1, 2])
def test_close_pinpricks_is_the_same_for_every_type(radius):
    holes = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(1)) < 0.3
    assert torch.equal(
        close_pinpricks(holes, radius=radius), close_pinpricks(holes.float(), radius=radius).bool()
    )
