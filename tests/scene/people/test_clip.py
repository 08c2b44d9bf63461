"""The planes of a clip add up exactly, and the same draws give the same clip."""

import numpy as np
import pytest

from nunif.seed import generator_for
from scene.people.clip import make_clip
from scene.people.compose import (
    compose,
    defocus,
    disc,
    straight_colour,
    visible_alpha,
    without_people,
)
from scene.people.occluder import draw_occluder, draw_over

BEHIND = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)


def clip(seed, **options):
    return make_clip(generator_for("clip", seed), BEHIND, **options)


def recomposed(planes):
    """C in 255ths, worked out another way."""
    c = {letter: plane.astype(np.float64) for letter, plane in planes.items()}
    cover, alpha = c["O"][..., 3:] / 255, c["A"][..., None] / 255
    light = 1 - c["S"][..., None] / 255 if "S" in c else 1
    behind = c["B"] * light
    without = cover * c["O"][..., :3] + (1 - cover) * behind
    return without + alpha * (c["F"] - behind)


def test_every_frame_adds_up_to_half_a_grey_level():
    some = set()
    for seed in range(12):
        made = clip(seed, with_shadow=seed % 2 == 0)
        planes = made.planes
        assert np.abs(recomposed(planes) - planes["C"]).max() <= 0.5 + 1e-9
        assert np.array_equal(planes["B"], BEHIND)
        some |= {letter for letter in "ASO" if letter in planes and planes[letter].any()}
    assert some == {"A", "S", "O"}


def test_compose_by_hand():
    colours = [np.array(value, np.uint8) for value in ((200, 100, 0), (100, 50, 200))]
    foreground, behind = colours
    cover = np.array([10, 20, 30, 51], np.uint8)  # a fifth
    alpha = visible_alpha(np.array(0.5), cover)
    assert alpha == 102  # .5 (1 - .2) 255
    # .2 O + .8 B = 82 44 166; + .4 (F - B)
    assert compose(foreground, alpha, behind, cover).tolist() == [122, 64, 86]
    assert without_people(behind, cover).tolist() == [82, 44, 166]
    # a shadow of .2: B is 80 40 160, .2 O + .8 B = 66 36 134
    dark = compose(foreground, alpha, behind, cover, np.array(51, np.uint8))
    assert dark.tolist() == [114, 60, 70]


def test_a_foreground_goes_on_beyond_its_edge():
    colour, coverage = np.zeros((4, 6, 3)), np.zeros((4, 6))
    coverage[1, 1], coverage[2, 4] = 0.5, 1.0
    colour[1, 1], colour[2, 4] = (100, 50, 25), (10, 20, 30)
    straight = straight_colour(colour, coverage, np.zeros((4, 6, 3), np.uint8))
    assert straight[1, 1].tolist() == straight[0, 0].tolist() == [200, 100, 50]
    assert straight[2, 4].tolist() == straight[3, 5].tolist() == [10, 20, 30]
    empty = np.full((4, 6, 3), 7, np.uint8)
    assert np.array_equal(straight_colour(0 * colour, 0 * coverage, empty), empty)


def test_defocus_keeps_colour_and_coverage_together():
    rng = np.random.default_rng(1)
    coverage = (rng.random((20, 30)) < 0.3).astype(float)
    colour = coverage[..., None] * np.array([250.0, 120, 60])
    soft, soft_colour = defocus(coverage, 2.2), defocus(colour, 2.2)
    assert disc(2.2).sum() == pytest.approx(1) and disc(0.0).max() == 1
    assert np.allclose(soft_colour, soft[..., None] * [250, 120, 60])
    assert soft.std() < 0.5 * coverage.std() and defocus(coverage, 0) is coverage


def test_the_same_draws_give_the_same_clip():
    first, second, other = clip(3), clip(3), clip(4)
    assert first.info == second.info
    for one, two in ((first.planes, second.planes), (first.pose, second.pose)):
        assert list(one) == list(two)
        assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(first.planes["C"], other.planes["C"])


def test_a_clip_with_nobody_in_it():
    made = clip(5, num_people=0)
    planes = made.planes
    assert made.info["people"] == [] and made.pose["joints"].shape == (3, 0, 17, 3)
    assert not planes["A"].any() and np.array_equal(planes["F"], BEHIND)
    without = np.rint(without_people(BEHIND, planes["O"]))
    assert np.array_equal(planes["C"], without)


def test_two_people_and_their_pose():
    made = clip(6, num_people=2)
    shapes = {name: array.shape for name, array in made.pose.items()}
    assert shapes == {
        "joints": (3, 2, 17, 3),
        "pixels": (3, 2, 17, 2),
        "vertices": (3, 2, 1836, 3),
        "intrinsics": (3, 3, 3),
        "extrinsics": (3, 4),
    }
    pose = made.pose
    own = pose["joints"] @ pose["extrinsics"][:, :3].T + pose["extrinsics"][:, 3]
    pixels = np.einsum("tij,tpkj->tpki", pose["intrinsics"], own)
    assert np.allclose(pixels[..., :2] / pixels[..., 2:], pose["pixels"], atol=1e-2)
    assert pose["vertices"][..., 1].min() == pytest.approx(0, abs=0.02)


def test_depth_is_near_where_people_are():
    depth = np.linspace(0, 1, 3 * 48 * 80).reshape(3, 48, 80)
    for options in ({}, {"depth": depth}):
        made = clip(7, num_people=1, **options)
        deep, alpha = made.planes["D"], made.planes["A"]
        assert deep.dtype == np.uint16 and deep.min() == 0 and deep.max() == 65535
        far, near = made.info["inverse_depth"]
        inside = alpha == 255
        assert inside.any()
        metres = 1 / (far + (near - far) * deep[inside] / 65535)
        z = -made.pose["vertices"][..., 2]
        assert z.min() - 1 < metres.min() and metres.max() < z.max() + 1


def test_an_occluder_is_soft_straight_and_moves():
    other = np.full((40, 60, 3), (10, 200, 30), np.uint8)
    found = set()
    for seed in range(8):
        occluder = draw_occluder(generator_for("o", seed), (40, 60), lambda: other)
        pictures = [draw_over(occluder, share) for share in (0.0, 0.5, 1.0)]
        middle = pictures[1]
        cover = middle[..., 3]
        assert middle.shape == (40, 60, 4) and cover.max() > 200
        assert ((cover > 0) & (cover < 255)).any()
        seen = middle[cover > 0][:, :3]
        found.add("cut out" if (seen == other[0, 0]).all() else "noise")
        found.add("moves" if not np.array_equal(pictures[0], pictures[2]) else "still")
        assert seen.max(axis=1).min() > 0  # no black under its soft edge
    assert found == {"cut out", "noise", "moves", "still"}
