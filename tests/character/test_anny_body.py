"""The body of the package anny in the poses of ours."""

import sys

import numpy as np
import pytest

from character.anny_body import DOWN, open_anny, part_of_bone, pose_anny, turn_between
from character.body import pose_body
from character.runtime.pose import read_movement
from character.runtime.regions import Run
from character.runtime.sampler import draw_body
from character.surface import draw_surface
from nunif.errors import UserError
from scene.people.body import NUM_PARTS, NUMBERS, PARTS
from scene.people.film import TRIANGLES

FRONT = np.array([[np.pi, 0, 0, 0, 0, 4.0]])  # upright, into the camera


def test_bones_belong_to_parts_and_a_direction_is_turned_into_another():
    names = {label: PARTS[part_of_bone(label)].name for label in ("wrist.R", "spine01", "toe2-1.L")}
    assert names == {"wrist.R": "right hand", "spine01": "chest", "toe2-1.L": "left foot"}
    turn = turn_between(np.array([1.0, -2, 0.5]), DOWN)
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) > 0
    assert np.allclose(turn @ [1, -2, 0.5], 5.25**0.5 * DOWN)


def test_without_the_package_a_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "anny", None)
    pose, shape = np.zeros((1, NUM_PARTS, 3)), np.array([1.7, 1.0])
    np.savez(tmp_path / "p.npz", pose=pose, shape=shape, root=FRONT, f=100, c=np.array([32, 32]))
    with pytest.raises(UserError, match=r"needs the package anny .*: pip install '\.\[anny\]'"):
        read_movement(tmp_path / "p.npz", "anny")
    of_world = {name: np.zeros(1) for name in ("vertices", "intrinsics", "extrinsics")}
    np.savez(tmp_path / "w.npz", **of_world)
    with pytest.raises(UserError, match="holds the skin of the world's people, which --body anny"):
        read_movement(tmp_path / "w.npz", "anny")


@pytest.mark.slow
def test_it_stands_where_ours_does_and_is_painted_alike(tmp_path):
    pytest.importorskip("anny", reason="the other body comes with the extra [anny]")
    body, shape = open_anny(), np.array([1.7, 1.0])
    pose = np.zeros((2, NUM_PARTS, 3))
    pose[1, NUMBERS["left upper arm"], 2] = np.pi / 2  # straight to the side
    root = np.tile(FRONT, (2, 1))
    skins, (ours, _) = list(pose_anny(body, pose, shape, root)), pose_body(pose, shape, root)
    for skin, own in zip(skins, ours):
        extents = [np.ptp(places, axis=0) for places in (skin, own)]
        assert np.allclose(*extents, atol=0.25) and skin.shape == (13718, 3)
        assert np.allclose(skin.min(axis=0), own.min(axis=0), atol=0.2)
    # y is down: the left arm is on the picture's right, and comes up
    assert skins[1][:, 0].max() > skins[0][:, 0].max() + 0.3
    np.savez(
        tmp_path / "p.npz", pose=pose, shape=shape, root=root, f=100, c=np.array([32.0, 32.0])
    )  # fmt: skip
    movement = read_movement(tmp_path / "p.npz", "anny")
    run = Run(0, 1, crop=type("Whole", (), {"moved": staticmethod(lambda points, size: points)})())
    face, bary = draw_body(movement, run, range(2), 64)
    own = read_movement(tmp_path / "p.npz")
    for moment in range(2):
        other, _ = draw_surface(own.points[moment], own.inverse[moment], TRIANGLES, (64, 64))
        here = face[moment].numpy()
        both = (here >= 0) & (other >= 0)
        assert both.sum() > 0.6 * (other >= 0).sum()
        per_part = len(TRIANGLES) // NUM_PARTS
        assert (here[both] // per_part == other[both] // per_part).mean() > 0.7
    assert (bary[face >= 0] > 0.33).all() and face.max() < len(TRIANGLES)
