"""A body by numbers, which frames are made together, and which part of them.

Axes: T frames, V vertices.
"""

import cv2
import numpy as np
import pytest

from character.body import pose_body
from character.runtime.pose import Movement, read_movement
from character.runtime.regions import find_runs
from nunif.errors import UserError
from scene.people.body import NUM_PARTS
from scene.people.camera import draw_camera
from scene.people.motion import draw_gait, joint_angles, move_body, rotation_of

SIZE = (100, 200)


def test_the_body_is_the_worlds_and_its_movement_reads_as_a_record_of_it(tmp_path):
    rng, times = np.random.default_rng(3), np.arange(4) / 24
    gait = draw_gait(rng, 1.7)
    gait.place = (0.3, -4.0)
    motion = move_body(gait, 1.7, 1.1, times)
    turned = rotation_of(joint_angles(gait, times)).reshape(-1, 3, 3)
    pose = np.stack([cv2.Rodrigues(one)[0][:, 0] for one in turned]).reshape(4, NUM_PARTS, 3)
    root = np.concatenate([np.zeros((4, 3)), motion.joints[:, 0]], axis=1)
    vertices, joints = pose_body(pose, np.array([1.7, 1.1]), root)
    assert np.allclose(joints, motion.joints, atol=1e-9)
    assert np.allclose(vertices, motion.vertices.reshape(4, -1, 3), atol=1e-9)

    camera = draw_camera(rng, SIZE, times, 1.7)
    outside, inside = camera.extrinsics(), camera.intrinsics(times)
    np.savez(
        tmp_path / "record.npz",
        vertices=motion.vertices.reshape(4, 1, -1, 3), intrinsics=inside, extrinsics=outside,
    )  # fmt: skip
    root[:, :3] = cv2.Rodrigues(outside[:, :3])[0][:, 0]
    root[:, 3:] = motion.joints[:, 0] @ outside[:, :3].T + outside[:, 3]
    np.savez(
        tmp_path / "body.npz",
        pose=pose, shape=np.array([1.7, 1.1]), root=root, f=inside[:, 0, 0], c=inside[:, :2, 2],
    )  # fmt: skip
    record, body = (read_movement(tmp_path / f"{name}.npz") for name in ("record", "body"))
    assert np.allclose(record.points, body.points, atol=1e-6)
    assert np.allclose(record.inverse, body.inverse) and (body.inverse > 0).all()


def test_files_without_a_movement_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", points=np.zeros(3))
    with pytest.raises(UserError, match="holds nothing that is known: it needs vertices, intrins"):
        read_movement(tmp_path / "other.npz")
    pose, root = np.zeros((2, 5, 3)), np.zeros((2, 6))
    np.savez(tmp_path / "few.npz", pose=pose, shape=np.ones(2), root=root, f=1, c=np.zeros(2))
    with pytest.raises(UserError, match=r"pose is of the shape \(2, 5, 3\), which should end in"):
        read_movement(tmp_path / "few.npz")
    pose, c = np.zeros((2, NUM_PARTS, 3)), np.zeros((3, 2))
    np.savez(tmp_path / "three.npz", pose=pose, shape=np.ones(2), root=root, f=1, c=c)
    with pytest.raises(UserError, match="three.npz: its arrays don't fit each other"):
        read_movement(tmp_path / "three.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"torn\.npz can't be read as \.npz"):
        read_movement(tmp_path / "torn.npz")


def moving(*boxes):
    """Bodies that are boxes: left, top, right, bottom; None: out of sight."""
    points = np.zeros((len(boxes), 2, 2))
    inverse = np.zeros((len(boxes), 2))
    for number, box in enumerate(boxes):
        if box is not None:
            points[number], inverse[number] = np.reshape(box, (2, 2)), 0.5
    return Movement(points, inverse)


def runs_of(*boxes, shots=None):
    found = find_runs(moving(*boxes), shots or [(0, len(boxes) - 1)], SIZE)
    return [(run.first, run.last) for run in found], [run.crop for run in found]


def test_a_run_holds_the_body_in_all_its_frames():
    numbers, (crop,) = runs_of((50, 20, 60, 50), (55, 22, 65, 52))
    assert numbers == [(0, 1)]
    # 32 high in both together, half as much again, in the middle
    assert (crop.side, crop.left, crop.top) == (48, 34, 12)


def test_a_run_ends_where_one_is_much_smaller_goes_far_or_is_out_of_sight_and_at_cuts():
    wide = (50, 20, 60, 50)
    assert runs_of(wide, (50, 20, 60, 34))[0] == [(0, 0), (1, 1)]  # less than half as high
    assert runs_of(wide, (50, 20, 60, 36))[0] == [(0, 1)]
    assert runs_of(wide, (80, 20, 90, 50), (110, 20, 120, 50))[0] == [(0, 1), (2, 2)]
    assert runs_of(wide, None, None, wide)[0] == [(0, 0), (3, 3)]
    assert runs_of(wide, (300, 0, 310, 50))[0] == [(0, 0)]
    assert runs_of(None, None)[0] == []
    assert runs_of(wide, wide, wide, shots=[(0, 0), (1, 2)])[0] == [(0, 0), (1, 2)]
    # higher than the picture, or nearly so: it is never split for that
    assert runs_of((50, -9, 60, 120), (52, -9, 62, 120))[0] == [(0, 1)]
    assert runs_of((50, 10, 60, 90), (52, 12, 62, 93), (52, 9, 62, 91))[0] == [(0, 2)]
    upright = find_runs(moving((50, 10, 60, 160), (52, 12, 62, 170)), [(0, 1)], (200, 100))
    assert [(run.first, run.last) for run in upright] == [(0, 1)]
    assert runs_of((50, 10, 60, 90), (120, 10, 130, 90), (160, 10, 170, 90))[0] == [(0, 1), (2, 2)]
