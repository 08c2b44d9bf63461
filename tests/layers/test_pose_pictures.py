"""What Wan-Animate is told of a person's movement."""

import json

import numpy as np
import pytest

from layers.runtime.film_fit import Fit
from layers.runtime.pose_pictures import cut_face, draw_skeleton, laid, read_points
from nunif.errors import UserError


def points(**places):
    made = np.zeros((133, 3))
    for name, place in places.items():
        made[int(name[1:])] = *place, 1
    return made


def test_a_skeleton_has_the_readers_colours_and_widths():
    picture = draw_skeleton(points(p5=(140, 40), p6=(60, 40), p0=(100, 10)), (600, 600))
    assert picture[40, 100].tolist() == [255, 85, 0]  # the neck, between the shoulders
    assert picture[40, 60].tolist() == [255, 170, 0] and picture[40, 140].tolist() == [85, 255, 0]
    assert picture[40, 80].tolist() == [153, 0, 0] and picture[40, 120].tolist() == [153, 51, 0]
    assert picture[25, 100].tolist() == [0, 0, 153] and picture[10, 100].tolist() == [255, 0, 0]
    assert (picture[:, 80] > 0).any(axis=1).sum() == 5  # 2 pixels to both sides
    half = points(p5=(140, 40), p6=(60, 40))
    half[6, 2] = 0.4  # not seen, and half of the neck, which is
    rest = draw_skeleton(half, (600, 600))
    assert not rest[40, 60].any() and not rest[40, 80].any() and rest[40, 120].any()
    toes = draw_skeleton(points(p15=(50, 50), p17=(70, 60), p18=(80, 60)), (100, 100))
    assert toes[60, 75].tolist() == [200, 200, 0]
    assert toes[55, 62].tolist() == [153, 0, 51]
    hand = draw_skeleton(points(p91=(20, 20), p92=(60, 20)), (100, 100))
    assert hand[20, 40].tolist() == [255, 0, 0] and hand[20, 60].tolist() == [0, 0, 255]


def test_a_face_is_cut_wider_and_higher_than_its_points():
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[:, :, 0], frame[:, :, 1] = np.arange(200), np.arange(200)[:, None]
    face = points(**{f"p{number}": (100, 100) for number in range(23, 91)})
    face[23, :2], face[24, :2] = (80, 60), (120, 140)
    cut = cut_face(frame, face)
    assert cut.shape == (512, 512, 3)
    # half of 14 % (sqrt 1.3) of 40 columns to both sides; of 80 rows a quarter below, three above
    assert cut[0, 0].tolist() == [77, 51, 0] and cut[-1, -1].tolist() == [121, 141, 0]
    assert not cut_face(frame, np.zeros((133, 3))).any()


def test_points_go_where_the_film_does():
    fit = Fit(film=(100, 200), scaled=(50, 100), crop=(1, 2), size=(48, 96))
    assert laid(np.array([[9.5, 19.5, 0.7]]), fit).tolist() == [[2.5, 8.5, 0.7]]


def test_points_are_read_and_checked(tmp_path):
    made = np.random.default_rng(0).random((2, 133, 3)).round(3)
    np.save(tmp_path / "a.npy", made)
    np.savez(tmp_path / "a.npz", points=made)
    (tmp_path / "a.json").write_text(json.dumps(made.tolist()))
    for name in ("a.npy", "a.npz", "a.json"):
        assert np.array_equal(read_points(tmp_path / name, 2), made)
    with pytest.raises(UserError, match=r"of shape \(2, 133, 3\), and \(3, 133, 3\) is needed"):
        read_points(tmp_path / "a.npy", 3)
    with pytest.raises(UserError, match="is no file"):
        read_points(tmp_path / "b.npy", 2)
    np.savez(tmp_path / "two.npz", a=made, b=made)
    np.save(tmp_path / "nan.npy", made * np.nan)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "torn.json").write_text("[[[1, 2")
    for name in ("two.npz", "objects.npy", "torn.json"):
        with pytest.raises(UserError, match="can't be read"):
            read_points(tmp_path / name, 2)
    with pytest.raises(UserError, match="not finite"):
        read_points(tmp_path / "nan.npy", 2)
