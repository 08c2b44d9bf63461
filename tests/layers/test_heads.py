"""Heads tell people who touch apart.

Axes: H W pixels.
"""

import numpy as np

from layers.runtime.heads import Head, find_heads, parted
from tests.matting.test_person_finder import portrait


def test_a_head_is_found_where_somebody_stands():
    """Of a drawing, whose chest is taken for one too: it moves as the drawing does."""
    found = [find_heads(portrait(200, 400, middle), (0, 0, 400, 200))[0] for middle in (120, 290)]
    assert abs(found[1].x - found[0].x - 170) < 20 and abs(found[1].y - found[0].y) < 20
    assert abs(found[0].x - 120) < 20


def test_what_is_pointed_at_goes_with_the_head_above_it_and_others_do_not():
    region = np.zeros((100, 100), bool)
    region[10:95, 20:80] = True
    seed = np.zeros_like(region)
    seed[58:63, 34:37] = True
    left, right, above = Head(35, 20, 0.9), Head(65, 22, 0.9), Head(36, 5, 0.9)
    own, others = parted(region, seed, [left, right])
    assert own[20:58, 35].all() and not own[:, 60:].any()
    assert others[22:50, 65].all() and not others[:, :60].any() and not others[70:].any()
    own, others = parted(region, seed, [left, above])  # behind the one who was pointed at
    assert own.any() and not others.any()
    assert not any(part.any() for part in parted(region, seed, []))
