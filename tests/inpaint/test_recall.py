"""The picture memory: it measures motion, brings back exactly what it saw, and says what it does
not know.

Rendered noise is the picture; where the truth stands in the past, recalling has no excuse.
"""

import pytest
import torch
import torch.nn.functional as F

from inpaint.models.candidates import AGE, COLOUR, TRUST
from inpaint.models.memory_rows import numbers_of_cell, pack, unpack
from inpaint.models.motion import enlarge, known_after, measure_motion, pyramid, warp
from inpaint.models.recall import (
    Ahead,
    Memory,
    empty_memory,
    overlay_later,
    recall,
)
from nunif.models import create_model
from scene.masks import smooth_fill
from tests.exam import KINDS, SIZE, noise, sit

WINDOW = (slice(30, 60), slice(50, 90))


@pytest.mark.parametrize("name", ["memory_dstt_v1_tiny", "fusion_v1"])
@pytest.mark.parametrize("kind", KINDS)
def test_exam_memory_on_beats_memory_off(kind, name):
    on, off = sit(create_model(f"inpaint.{name}").eval(), kind)
    assert on > off + 6 and on > 28, (on, off)


def hole_at(rows=WINDOW[0], columns=WINDOW[1]):
    hole = torch.zeros(1, 1, *SIZE)
    hole[..., rows, columns] = 1
    return hole


def motion_between(here, there, seen=None):
    seen = torch.ones(1, 1, *SIZE) if seen is None else seen
    return enlarge(
        measure_motion(pyramid(here, seen), pyramid(there, torch.ones(1, 1, *SIZE))), here
    )


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, 0.0), (-2.5, 1.25), (11.0, -7.0)])
def test_motion_of_a_shifted_picture_is_its_shift(shift):
    wide = noise(SIZE[0] + 60, SIZE[1] + 60, seed=3)
    motion = torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, *wide.shape[-2:])
    here, there = (x[..., 30:126, 30:174] for x in (warp(wide, motion), wide))
    found = motion_between(here, there)[..., 16:-16, 16:-16]
    assert (found - motion[..., :1, :1]).abs().mean() < 0.1


def test_motion_without_knowledge_is_none():
    empty = torch.zeros(1, 1, *SIZE)
    found = measure_motion(
        pyramid(noise(*SIZE), 1 - empty), pyramid(torch.zeros(1, 3, *SIZE), empty)
    )
    assert found.abs().max() == 0


def test_before_a_plain_wall_a_hole_takes_the_motion_of_what_has_contrast():
    """A gradient of light that falls onto a plain wall differs from frame to frame, and is no
    motion."""
    here, hole = noise(*SIZE), hole_at(slice(36, 60), slice(60, 84))
    here[..., 12:84, 32:112] = 0.3
    there = here.clone()
    there[..., 12:84, 32:112] += torch.linspace(-0.06, 0.06, 80)
    # was 0.42
    assert motion_between(here * (1 - hole), there, 1 - hole)[..., 36:60, 60:84].abs().mean() < 0.2


def test_known_stays_known_however_often_it_is_handed_on():
    known = torch.tensor(1 - 1e-6)
    for _ in range(2000):
        known = known_after(known * (1 - 1e-7))
    assert known == 1


def test_a_still_picture_is_brought_back_as_it_was():
    picture, hole = noise(*SIZE), hole_at()
    merged, memory = recall(picture, torch.zeros_like(hole), empty_memory(picture))
    torch.testing.assert_close(merged.picture, picture, atol=0, rtol=0)
    for _ in range(20):
        merged, memory = recall(picture * (1 - hole), hole, memory)
    torch.testing.assert_close(merged.picture, picture, atol=1e-4, rtol=0)
    assert merged.known.min() > 0.999 and merged.doubt.max() < 1e-4


def test_what_was_never_seen_is_smooth_and_not_known():
    picture, hole = noise(*SIZE), hole_at()
    memory = empty_memory(picture)
    for _ in range(3):
        merged, memory = recall(picture * (1 - hole), hole, memory)
    assert merged.known[hole > 0].max() == 0 and merged.known[hole == 0].min() == 1
    torch.testing.assert_close(merged.picture, smooth_fill(picture, hole), atol=1e-4, rtol=0)


def test_a_key_learns_what_it_lacks():
    picture, hole = noise(*SIZE), hole_at()
    memory = empty_memory(picture)
    for _ in range(3):
        _, memory = recall(picture * (1 - hole), hole, memory)
    assert memory.keys[:, 0, TRUST][hole > 0].max() == 0, "what was never seen is not trusted"
    _, memory = recall(picture, torch.zeros_like(hole), memory)
    key, inside = memory.keys[:, 0], hole.expand(1, 3, -1, -1) > 0
    torch.testing.assert_close(key[:, COLOUR][inside], picture[inside], atol=1e-4, rtol=0)
    assert key[:, TRUST].min() == 1 and key[:, AGE].max() == 0


def test_a_key_is_not_overwritten_by_what_is_painted_over_it():
    picture, hole = noise(*SIZE), hole_at()
    _, memory = recall(picture, torch.zeros_like(hole), empty_memory(picture))
    before = memory.keys[:, 0].clone()
    for _ in range(5):
        _, memory = recall(picture * (1 - hole), hole, memory)
    assert torch.equal(memory.keys[:, 0, :4], before[:, :4])
    assert memory.keys[:, 0, AGE][hole > 0].unique().item() == 5


def test_a_key_gives_up_what_is_contradicted_for_some_frames():
    """Something that stood there in the first frame and left is not put back when a hole comes over
    the place later."""
    picture, hole = noise(*SIZE) * 0.5, hole_at()
    stood = picture.clone()
    stood[..., 34:56, 56:84] = 0.9
    _, memory = recall(stood, torch.zeros_like(hole), empty_memory(picture))
    for _ in range(8):
        _, memory = recall(picture, torch.zeros_like(hole), memory)
    for _ in range(60):
        merged, memory = recall(picture * (1 - hole), hole, memory)
    assert (merged.picture - picture)[..., 34:56, 56:84].abs().mean() < 0.03


def test_a_change_of_light_is_carried_into_the_hole():
    picture, hole = noise(*SIZE) * 0.5, hole_at(slice(40, 56), slice(60, 84))
    _, memory = recall(picture, torch.zeros_like(hole), empty_memory(picture))
    brighter = picture + 0.1
    merged, _ = recall(brighter * (1 - hole), hole, memory)
    errors = [
        (x - brighter)[hole.expand(1, 3, -1, -1) > 0].abs().mean().item()
        for x in (picture, merged.candidates[0].colour, merged.picture)
    ]
    assert errors == [pytest.approx(0.1, abs=1e-5)] + 2 * [pytest.approx(0, abs=1e-4)]


def test_weights_by_hand_make_the_picture():
    picture, hole = noise(*SIZE), hole_at()
    _, memory = recall(picture, torch.zeros_like(hole), empty_memory(picture))
    other = hole_at(columns=slice(30, 70))
    _, memory = recall(picture * (1 - hole) + 0.05, hole, memory)
    canvas = overlay_later(picture, torch.zeros_like(hole), None, None)
    seen = picture * (1 - other)
    merged, _ = recall(
        seen, other, memory, Ahead(canvas, torch.zeros(1, 2, SIZE[0] // 2, SIZE[1] // 2))
    )
    total = sum(weight * colour for weight, colour in zip(merged.weights, merged.colours))
    inside = other.expand(1, 3, -1, -1) > 0
    torch.testing.assert_close(total[inside], merged.picture[inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(sum(merged.weights), torch.ones_like(hole), atol=1e-5, rtol=0)


def test_where_all_is_in_doubt_nothing_turns_grey():
    """After a jump of light, or very fast motion, weights that all vanish left no colour but the
    middle of the range."""
    hole = hole_at()
    dark, bright = (torch.full((1, 3, *SIZE), value) for value in (-0.6, 1.0))
    _, memory = recall(dark, torch.zeros_like(hole), empty_memory(dark))
    merged, _ = recall(bright * (1 - hole), hole, memory)
    torch.testing.assert_close(sum(merged.weights), torch.ones_like(hole), atol=1e-4, rtol=0)
    inside = hole.expand(1, 3, -1, -1) > 0
    # a smooth fill is never off where all around is one colour
    torch.testing.assert_close(merged.picture[inside].mean(), torch.tensor(1.0), atol=0.02, rtol=0)


def test_a_smooth_fill_takes_the_place_of_a_memory_that_is_off_by_more():
    """Of one and the same memory, which brings what doesn't fit: before a soft wall the smooth fill
    stands in the hole, before a rough one, of which it knows nothing, what is remembered."""
    hole = hole_at()
    soft = F.avg_pool2d(noise(*SIZE), 15, 1, 7, count_include_pad=False) * 0.5
    rough = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    shares = []
    for scene, change in [(soft, 0.3), (rough, 0.3), (soft, 0.0)]:
        _, memory = recall(scene, torch.zeros_like(hole), empty_memory(scene))
        merged, _ = recall((scene + change) * (1 - hole), hole, memory)
        shares.append(merged.weights[-1][hole > 0].mean().item())
    assert shares[0] > 0.9 and shares[1] < 0.3 and shares[2] < 0.05, shares


def test_what_is_seen_only_later_fills_the_hole():
    picture, hole = noise(*SIZE), hole_at()
    canvas = overlay_later(picture, torch.zeros_like(hole), None, None)
    still = torch.zeros(1, 2, SIZE[0] // 2, SIZE[1] // 2)
    merged, memory = recall(picture * (1 - hole), hole, empty_memory(picture), Ahead(canvas, still))
    torch.testing.assert_close(merged.picture, picture, atol=1e-5, rtol=0)
    assert memory.canvas[:, TRUST][hole > 0].max() == 0, (
        "what comes later is not remembered as though it had been seen"
    )


def test_a_memory_fits_into_rows_and_comes_back():
    memory = Memory(
        torch.rand(2, 5, 24, 48), torch.rand(2, 2, 5, 24, 48), torch.rand(2, 2, 3, 12, 24)
    )
    assert numbers_of_cell(12, 2) == 15 * 144 + 6 * 36
    rows = pack(memory, 12, 2400)
    assert rows.shape == (2, 8, 2400) and rows[..., 2376:].abs().max() == 0
    assert all(torch.equal(a, b) for a, b in zip(unpack(rows, 12, (2, 4), 2), memory))


def test_first_pixel_of_a_row_is_the_first_cell():
    memory = empty_memory(torch.zeros(1, 3, 24, 24))
    memory.canvas[0, :4, 0, 12] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    rows = pack(memory, 12, 2376)
    assert (
        rows[0, 1].nonzero().flatten().tolist() == [0, 144, 288, 432]
        and rows[0, [0, 2, 3]].abs().max() == 0
    )
