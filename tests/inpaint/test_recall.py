"""The picture memory: it measures motion, brings back exactly what it saw, and says what it does not know.

Rendered noise is the picture; where the truth stands in the past, recalling has no excuse.
"""

import pytest
import torch

from inpaint.masks import smooth_fill
from inpaint.models.recall import measure_motion, pack, recall, unpack, warp
from nunif.models import create_model
from tests.exam import KINDS, SIZE, noise, sit


@pytest.mark.parametrize("kind", KINDS)
def test_exam_memory_on_beats_memory_off(kind):
    on, off = sit(create_model("inpaint.memory_dstt_v1_tiny").eval(), kind)
    assert on > off + 6 and on > 28, (on, off)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, 0.0), (-2.5, 1.25), (11.0, -7.0)])
def test_motion_of_a_shifted_picture_is_its_shift(shift):
    wide = noise(SIZE[0] + 60, SIZE[1] + 60, seed=3)
    motion = torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, *wide.shape[-2:])
    here, there = (x[..., 30:126, 30:174] for x in (warp(wide, motion), wide))
    seen = torch.ones(1, 1, *SIZE)
    found = measure_motion(here, seen, there, seen)[..., 16:-16, 16:-16]
    assert (found - motion[..., :1, :1]).abs().mean() < 0.1


def test_motion_without_knowledge_is_none():
    empty = torch.zeros(1, 1, *SIZE)
    assert measure_motion(noise(*SIZE), 1 - empty, torch.zeros(1, 3, *SIZE), empty).abs().max() == 0


def test_a_still_picture_is_brought_back_as_it_was():
    picture, hole = noise(*SIZE), torch.zeros(1, 1, *SIZE)
    hole[..., 30:60, 50:90] = 1
    first = recall(picture, torch.zeros_like(hole), torch.zeros(1, 4, *SIZE))
    torch.testing.assert_close(first.picture, picture, atol=0, rtol=0)
    for _ in range(20):
        first = recall(picture * (1 - hole), hole, first.canvas)
    torch.testing.assert_close(first.picture, picture, atol=1e-4, rtol=0)
    assert first.known.min() > 0.999 and first.doubt.max() < 1e-4


def test_what_was_never_seen_is_smooth_and_not_known():
    picture, hole = noise(*SIZE), torch.zeros(1, 1, *SIZE)
    hole[..., 30:60, 50:90] = 1
    canvas = torch.zeros(1, 4, *SIZE)
    for _ in range(3):
        recalled = recall(picture * (1 - hole), hole, canvas)
        canvas = recalled.canvas
    assert recalled.known[hole > 0].max() == 0 and recalled.known[hole == 0].min() == 1
    torch.testing.assert_close(recalled.picture, smooth_fill(picture, hole), atol=1e-6, rtol=0)


def test_a_change_of_light_is_carried_into_the_hole():
    picture, hole = noise(*SIZE) * 0.5, torch.zeros(1, 1, *SIZE)
    hole[..., 40:56, 60:84] = 1
    canvas = recall(picture, torch.zeros_like(hole), torch.zeros(1, 4, *SIZE)).canvas
    brighter = picture + 0.1
    recalled = recall(brighter * (1 - hole), hole, canvas)
    errors = [(x - brighter)[hole.expand(1, 3, -1, -1) > 0].abs().mean().item() for x in (recalled.picture, picture)]
    assert errors[0] == pytest.approx(0.05, abs=0.02) and errors[1] == pytest.approx(0.1, abs=1e-5)


def test_canvas_fits_into_rows_and_comes_back():
    canvas = torch.rand(2, 4, 24, 48)
    rows = pack(canvas, 12, 640)
    assert rows.shape == (2, 8, 640) and rows[..., 576:].abs().max() == 0
    assert torch.equal(unpack(rows, 12, (2, 4)), canvas)


def test_first_pixel_of_a_row_is_the_first_cell():
    canvas = torch.zeros(1, 4, 24, 24)
    canvas[0, :, 0, 12] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    rows = pack(canvas, 12, 576)
    assert rows[0, 1].nonzero().flatten().tolist() == [0, 144, 288, 432] and rows[0, [0, 2, 3]].abs().max() == 0
