"""The other eye's view, with literal expectations. Rows are 12 pixels; # marks a hole."""

import numpy as np
import pytest
import torch

from inpaint.occlusion import hidden, shift_of_view
from inpaint.runtime.stereo_views import (
    VIEWS,
    Eye,
    forward_warp,
    source_columns,
    turn,
    view_of_eye,
)
from scene.world import render_scene

RIGHT, LEFT = VIEWS["right"][1], VIEWS["left"][0]


def noise(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(
        1, np.iinfo(dtype).max, (height, width, 3), dtype=dtype
    )


def row(letters: str) -> np.ndarray:
    return np.frombuffer(letters.encode(), np.uint8)[None, :, None].repeat(3, 2).copy()


def warp(letters: str, shift: list[float], *, near_to_right: bool) -> str:
    """A row of letters after the warp, with # for its holes."""
    picture, hole = forward_warp(
        row(letters), torch.tensor([shift], dtype=torch.float32), near_to_right=near_to_right
    )
    assert not picture[hole.numpy()].any()
    return "".join("#" if hole else chr(value) for value, hole in zip(picture[0, :, 0], hole[0]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("near_to_right", [True, False])
def test_no_shift_gives_the_frame_back(dtype, near_to_right):
    frame = noise(5, 33, dtype)
    picture, hole = forward_warp(frame, torch.zeros(5, 33), near_to_right=near_to_right)
    assert picture.dtype == dtype and (picture == frame).all() and not hole.any()
    shift = torch.zeros(5, 33)
    shift[4] = 1  # the rows above go the long way and come out the same
    picture, hole = forward_warp(frame, shift, near_to_right=near_to_right)
    assert (picture[:4] == frame[:4]).all() and not hole[:4].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("near_to_right", [True, False])
def test_whole_pixels_are_copied_and_the_bared_border_is_a_hole(dtype, near_to_right):
    frame = noise(5, 33, dtype)
    picture, hole = forward_warp(frame, torch.full((5, 33), 3.0), near_to_right=near_to_right)
    assert (picture[:, 3:] == frame[:, :-3]).all()
    assert hole[:, :3].all() and not hole[:, 3:].any()
    picture, hole = forward_warp(frame, torch.full((5, 33), -2.0), near_to_right=near_to_right)
    assert (picture[:, :-2] == frame[:, 2:]).all()
    assert hole[:, -2:].all() and not hole[:, :-2].any()


@pytest.mark.parametrize("near_to_right", [True, False])
def test_parts_of_a_pixel_are_interpolated(near_to_right):
    frame = row("\x0a\x14\x28\x50\x64\x78")
    picture, hole = forward_warp(frame, torch.full((1, 6), 0.5), near_to_right=near_to_right)
    assert picture[0, 1:, 0].tolist() == [15, 30, 60, 90, 110] and not hole[:, 1:].any()
    picture, _ = forward_warp(frame, torch.full((1, 6), -1.25), near_to_right=near_to_right)
    assert picture[0, :4, 0].tolist() == [25, 50, 85, 105]


def test_a_near_box_covers_one_side_and_bares_the_other_by_the_difference_of_the_shifts():
    box = [0, 0, 0, 0, 0, 3, 3, 3, 0, 0, 0, 0]
    assert warp("abcdeFGHijkl", [-s for s in box], near_to_right=False) == "abFGH###ijkl"
    assert warp("abcdeFGHijkl", box, near_to_right=True) == "abcde###FGHl"
    shifted = [s - 1 for s in box]  # the screen stands between the box and the wall
    assert warp("abcdeFGHijkl", [-s for s in shifted], near_to_right=False) == "#abFGH###ijk"
    assert warp("abcdeFGHijkl", shifted, near_to_right=True) == "bcde###FGHl#"


def test_things_of_one_pixel_do_not_get_lost_and_hide_only_what_is_behind_them():
    pole = [0, 0, 0, 0, 0, 3.4, 0, 0, 0, 0, 0, 0]
    assert warp("abcdeFghijkl", [-s for s in pole], near_to_right=False) == "abFde#ghijkl"
    assert warp("abcdeFghijkl", pole, near_to_right=True) == "abcde#ghFjkl"


def test_the_nearest_of_several_wins():
    shift = [0, 0, 0, 0, 2, 2, 2, 4, 4, 0, 0, 0]
    assert warp("abcdEFGHIjkl", [-s for s in shift], near_to_right=False) == "abEHI####jkl"
    shift = [0, 0, 0, 4, 4, 2, 2, 2, 0, 0, 0, 0]
    assert warp("abcDEFGHijkl", shift, near_to_right=True) == "abc####DEHkl"


@pytest.mark.parametrize("near_to_right", [True, False])
def test_it_is_a_z_buffer(near_to_right):
    """Against a loop over all pixels that keeps the nearest, with shifts of whole pixels."""
    near = torch.randint(-3, 9, (30, 50), generator=torch.Generator().manual_seed(0))
    near = near.repeat_interleave(2, 1)[:, :50]
    shift = near if near_to_right else -near
    columns, hole = source_columns(shift.float(), near_to_right=near_to_right)
    for y in range(30):
        seen: dict[int, tuple[int, int]] = {}
        for x in range(50):
            target = x + int(shift[y, x])
            seen[target] = max(seen.get(target, (-99, 0)), (int(near[y, x]), x))
        for target in range(50):
            assert bool(hole[y, target]) == (target not in seen)
            assert columns[y, target] == seen.get(target, (0, 0))[1]


def test_both_directions_are_mirror_images():
    shift = 4 * torch.rand(20, 40, generator=torch.Generator().manual_seed(0)).cumsum(1).sin()
    columns, hole = source_columns(-shift, near_to_right=False)
    mirrored, mirrored_hole = source_columns(shift.flip(-1), near_to_right=True)
    assert torch.equal(mirrored_hole.flip(-1), hole) and hole.any()
    torch.testing.assert_close((39 - mirrored.flip(-1))[~hole], columns[~hole])


@pytest.mark.parametrize("slope", [-0.9, -0.5, -0.05, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("near_to_right", [True, False])
def test_a_slope_gives_no_speckle_and_is_interpolated(slope, near_to_right):
    """Squeezed or stretched up to twice, every target comes from where it lies on the slope."""
    shift = slope * torch.arange(200.0)[None] - 70 * slope
    columns, hole = source_columns(shift, near_to_right=near_to_right)
    target = torch.arange(200.0)
    expected = (target + 70 * slope) / (1 + slope)  # x + slope (x - 70) = target
    inside = (expected > 0) & (expected < 199)
    assert not hole[0, inside].any() and inside.sum() > 15
    torch.testing.assert_close(columns[0, inside], expected[inside], atol=1e-3, rtol=0)


def test_colours_do_not_mix_across_an_edge():
    frame = np.full((1, 40, 3), 10, np.uint8)
    frame[:, 15:25] = 200
    for part in (0.25, 0.5, 3.3, 7.75):
        shift = torch.zeros(1, 40)
        shift[:, 15:25] = -2 - part
        picture, _ = forward_warp(frame, shift, near_to_right=False)
        assert set(picture.ravel().tolist()) == {0, 10, 200}


def test_a_hole_bares_what_the_criterion_of_the_training_data_says():
    """What the right eye sees and the left eye doesn't is `hidden` in the right eye's own view."""
    near = torch.zeros(1, 60)
    near[:, 20:30] = 6  # in the left eye; the right eye has it 6 px further left
    _, hole = forward_warp(noise(1, 60), -near, near_to_right=False)
    right = torch.zeros(1, 60)
    right[:, 14:24] = 6
    assert torch.equal(hole, hidden(right))


@pytest.mark.parametrize("view", VIEWS)
def test_after_turning_all_holes_stand_right_of_what_is_near(view):
    frame = np.full((20, 60, 3), 50, np.uint8)
    frame[5:15, 25:35] = 200
    near = torch.zeros(20, 60)
    near[5:15, 25:35] = 4
    for eye in filter(None, VIEWS[view]):
        picture, hole = view_of_eye(frame, near, eye)
        picture, hole = turn(picture, eye), turn(hole, eye)
        holes, box = np.flatnonzero(hole[10]), np.flatnonzero(picture[10, :, 0] == 200)
        assert len(holes) == 4 * abs(eye.shift)
        assert (box[-1] + 1, box[-1] + len(holes)) == (holes[0], holes[-1])
        assert not hole[:5].any() and not hole[15:].any()


def test_the_divergence_lies_between_both_eyes():
    between = {
        name: (right.shift if right else 0) - (left.shift if left else 0)
        for name, (left, right) in VIEWS.items()
    }
    assert between == {"right": -2, "left": -2, "both": -2}
    assert VIEWS["right"][0] is None and VIEWS["left"][1] is None
    assert [eye.is_mirrored for eye in VIEWS["both"]] == [True, False]


@pytest.mark.parametrize("eye", [LEFT, RIGHT])
def test_turning_twice_is_nothing(eye):
    frame = noise(3, 5)
    assert (turn(turn(frame, eye), eye) == frame).all()


def test_holes_grow_away_from_what_is_near():
    near = torch.zeros(20, 60)
    near[5:15, 25:35] = 4
    for eye, grown in ((RIGHT, slice(35, 38)), (LEFT, slice(22, 25))):
        _, hole = view_of_eye(noise(20, 60), near, eye)
        _, larger = view_of_eye(noise(20, 60), near, eye, hole_growth=3)
        assert (larger & ~hole)[10].nonzero()[0].tolist() == list(range(60))[grown]
        assert not (hole & ~larger).any()


def test_holes_are_closed_and_what_nobody_sees_stays_a_hole():
    near = torch.zeros(20, 60)
    near[5:15, 25:35] = 4
    near[10, 33] = 0  # a gap in the box, of which grain is left in the hole
    near[2, 50] = 0.6  # one single uncovered pixel, less than the generator's specks
    frame = noise(20, 60)
    _, raw = forward_warp(frame, -2 * near, near_to_right=False)
    _, hole = view_of_eye(frame, near, RIGHT)
    assert not (raw.numpy() & ~hole).any() and raw[2].sum() == 1 and hole[2].sum() == 1
    assert not raw[10, 33] and hole[10, 33]


def test_a_rendered_scene_is_warped_by_its_true_disparity():
    """Seen pixels carry their colours to where they belong, and a smooth ground has no holes."""
    *_, (frame, disparity) = render_scene(192, 108, 5)
    shift = shift_of_view(
        torch.from_numpy(disparity), size=(108, 192), divergence=8.0, convergence=0.0
    )
    for eye in (RIGHT, LEFT):
        picture, hole = view_of_eye(frame, shift, eye)
        columns, raw = source_columns(shift * eye.shift, near_to_right=eye.is_mirrored)
        seen = ~raw
        assert 0.01 < raw.float().mean() < 0.2 and hole[raw].all()
        x = columns.floor().long()
        part, after = columns - x, (x + 1).clamp(max=191)
        there = columns + eye.shift * torch.lerp(shift.gather(1, x), shift.gather(1, after), part)
        assert (there - torch.arange(192))[
            seen
        ].abs().max() < 0.51  # at an end of a surface, else 0
        assert (there - torch.arange(192))[seen].abs().quantile(0.9) < 1e-3
        left, right = (
            np.take_along_axis(frame, i.numpy()[..., None].repeat(3, 2), axis=1) for i in (x, after)
        )
        expected = left + (right.astype(float) - left) * part.numpy()[..., None]
        # old OpenCVs know only 32nds of a pixel
        assert np.abs(picture - expected)[seen.numpy()].max() < 4.1
        wrong = source_columns(-shift * eye.shift, near_to_right=eye.is_mirrored)[1]
        assert not torch.equal(wrong, raw)


def test_an_eye_is_only_a_multiple_of_the_shift():
    near = 3 * torch.rand(6, 40, generator=torch.Generator().manual_seed(0)).cumsum(1).cos().abs()
    picture, hole = view_of_eye(noise(6, 40), near, Eye(-2.0))
    again, same = view_of_eye(noise(6, 40), 2 * near, Eye(-1.0))
    assert (picture == again).all() and (hole == same).all()
