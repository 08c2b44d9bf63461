"""A body in the picture, the part that is cut out around it, and how what is made is measured."""

import numpy as np
import pytest
import torch

from character.crop import Crop, draw_crop
from character.metrics import (
    colour_error,
    grown,
    overlap,
    part_colours,
    psnr,
    silhouette,
    squared_error,
)
from character.models.pose import Surface, paint
from character.surface import draw_surface
from scene.people.body import NUMBERS
from scene.people.film import TRIANGLES


def test_shares_of_corners_are_right_in_perspective():
    """A triangle whose last corner is four times as far away: in the middle between the picture's
    places of two corners, the nearer one counts four times as much."""
    points = np.array([[0.0, 0.0], [40.0, 0.0], [0.0, 40.0]])
    inverse = np.array([1.0, 1.0, 0.25])
    face, bary = draw_surface(points, inverse, np.array([[0, 1, 2]]), (40, 40))
    assert face[0, 0] == 0 and face[39, 39] == -1
    assert not bary[39, 39].any()
    # (.5, 19.5): the weights in the picture are .5, .0125, .4875
    deep = np.array([0.5, 0.0125, 0.4875]) * inverse
    assert bary[19, 0] == pytest.approx(deep / deep.sum(), abs=1e-6)
    assert bary[face == 0].sum(axis=-1) == pytest.approx(1, abs=1e-6)


def test_the_nearer_triangle_is_seen_and_none_behind_the_camera():
    points = np.array([[0, 0], [20, 0], [0, 20], [0, 0], [20, 0], [0, 20]], float)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    near = draw_surface(points, np.array([1, 1, 1, 2, 2, 2.0]), faces, (20, 20))[0]
    assert set(near[near >= 0]) == {1}
    behind = draw_surface(points, np.array([1, 1, 1, 2, 2, 0.0]), faces, (20, 20))[0]
    assert set(behind[behind >= 0]) == {0}


def test_a_part_holds_the_body_and_lies_in_the_frame():
    rng = np.random.default_rng(0)
    points = rng.uniform((60, 20), (80, 70), (3, 50, 2))
    crops = [draw_crop(rng, points, np.ones((3, 50), bool), (96, 160)) for _ in range(200)]
    for crop in crops:
        assert crop.left <= 61 and crop.left + crop.side >= 79
        assert crop.top <= 21 and crop.top + crop.side >= 69
        assert 0 <= crop.top <= 96 - crop.side and 0 <= crop.left <= 160 - crop.side
    assert len({crop.side for crop in crops}) > 10 and len({crop.left for crop in crops}) > 10
    part = Crop(top=10, left=20, side=32)
    assert part.moved(np.array([20.0, 26.0]), 64).tolist() == [0, 32]
    film = np.zeros((1, 96, 160), np.uint8)
    film[0, 10:42, 20:52] = 200
    assert (part.scaled(film, 64) == 200).all()


def test_scores_of_what_is_known():
    scene = np.full((1, 12, 12, 3), 0.5, np.float32)
    film = scene.copy()
    film[0, 2:8, 2:8] = (1.0, 0.5, 0.5)
    film[0, 10, 10] = (0.55, 0.5, 0.5)  # noise
    shape = silhouette(film, scene)
    assert shape[0, 3:7, 3:7].all() and not shape[0, 9:].any()
    every = np.ones((1, 12, 12), bool)
    assert overlap(shape, shape, every) == 1 and np.isnan(overlap(~every, ~every, every))
    total, count = squared_error(film, scene, every)
    assert count == 3 * 144 and psnr(total, count) == pytest.approx(16.81, abs=0.01)
    total, count = squared_error(film, scene, ~grown(shape, 1))
    assert psnr(total, count) > 40  # the noise alone


def test_colours_of_the_parts_of_a_body():
    per_part = len(TRIANGLES) // len(NUMBERS)
    face = np.full((1, 8, 8), -1)
    face[0, :4] = NUMBERS["chest"] * per_part
    face[0, 4:6] = NUMBERS["left shank"] * per_part + per_part - 1
    face[0, 6, :5] = NUMBERS["head"] * per_part  # five pixels are too few
    film = np.zeros((1, 8, 8, 3), np.float32)
    film[0, :4] = (1, 0, 0)
    film[0, 4:6] = (0, 0, 1)
    colours = part_colours(film, face, np.ones((1, 8, 8), bool))
    assert colours[1].tolist() == [1, 0, 0] and colours[5].tolist() == [0, 0, 1]
    assert np.isnan(colours[[0, 2, 3, 4]]).all()
    other = colours.copy()
    other[1] = (0.7, 0, 0)
    other[5] = np.nan
    assert colour_error(colours, other) == pytest.approx(0.1)


def test_gradients_reach_the_codes_of_the_seen_corners():
    points = np.array([[0, 0], [8, 0], [0, 8], [8, 8], [30, 30], [31, 31]], float)
    faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 5]])
    face, bary = draw_surface(points, np.array([1, 0.5, 2, 1, 1, 1.0]), faces, (8, 8))
    surface = Surface(torch.from_numpy(face)[None, None], torch.from_numpy(bary)[None, None])
    triangles = torch.from_numpy(faces)
    codes = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: paint(surface, triangles, c), (codes,))
    paint(surface, triangles, codes).sum().backward()
    assert codes.grad is not None
    assert codes.grad[:4].all() and not codes.grad[4:].any()  # these are out of the picture
