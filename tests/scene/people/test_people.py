"""Bodies that hold together, stand on the floor and cover whole pixels; the camera by hand."""

import numpy as np
import pytest

from nunif.seed import generator_for
from scene.people.appearance import draw_clothes, draw_light, lit, paint
from scene.people.background import cut, draw_window, move_still, room_depth
from scene.people.body import (
    FEET,
    NUM_PARTS,
    NUM_VERTICES,
    NUMBERS,
    PARTS,
    joint_offsets,
    make_triangles,
    rest_normals,
    rest_vertices,
)
from scene.people.camera import Camera
from scene.people.film import Person, Troupe, moments
from scene.people.hair import LENGTHS, STRANDS, draw_hair, head_of, move_hair
from scene.people.motion import Gait, draw_gait, head_acceleration, joint_angles, move_body
from scene.people.pose import encode_pose, read_pose

TRIANGLES, PLACES = make_triangles()
TIMES = np.arange(24) / 24


def standing(heading=0.0):
    return Gait("still", 1.0, heading, 0.0, (0.0, -4.0))


def walking():
    for k in range(20):
        gait = draw_gait(generator_for("walk", k), 1.7)
        if gait.kind == "walk":
            gait.place = (0.0, -4.0)
            return gait
    raise AssertionError("six of ten walk")


def straight_camera(size=(96, 64), focal=100.0, frames=24):
    times = moments(frames, 24.0, 1)
    still = np.zeros((frames, 2))
    return Camera(size, focal, 0.9, 4.0, 0.0, "still", times, still, np.ones(frames))


def person(gait=None, seed=0):
    rng = generator_for("person", seed)
    clothes = draw_clothes(rng, *draw_light(rng))
    hair = draw_hair(rng, head_of(rest_vertices(1.7, 1.0)), 1.7)
    return Person(1.7, 1.0, gait or standing(), clothes, paint(clothes, None, 32), hair)


def test_17_parts_of_108_vertices():
    assert NUM_PARTS == 17 and rest_vertices(1.7, 1.0).size // 3 == 1836
    assert TRIANGLES.shape == (17 * 212, 3) and PLACES.min() == 0 and PLACES.max() == 1
    assert sorted(set(TRIANGLES.ravel().tolist())) == list(range(1836))


def test_the_skin_is_closed_and_looks_outward():
    """Every edge has a triangle on both sides, and the volume of every part is positive."""
    edges = np.concatenate([TRIANGLES[:, [i, (i + 1) % 3]] for i in range(3)])
    there = {tuple(edge) for edge in edges.tolist()}
    assert len(there) == len(edges) and there == {(b, a) for a, b in there}
    rest = rest_vertices(1.7, 1.0)
    a, b, c = (rest.reshape(-1, 3)[TRIANGLES[:, i]] for i in range(3))
    volumes = (np.cross(a, b) * c).sum(axis=1).reshape(NUM_PARTS, -1).sum(axis=1) / 6
    assert volumes.min() > 1e-5 and 0.03 < volumes.sum() < 0.12  # cubic metres
    normals = rest_normals(rest, TRIANGLES)
    assert np.allclose(np.linalg.norm(normals, axis=2), 1)
    outward = (normals * (rest - rest.mean(axis=1, keepdims=True))).sum(axis=2)
    assert (outward > 0).mean() > 0.95


@pytest.mark.parametrize("height", [1.5, 1.95])
def test_a_standing_body_has_its_height(height):
    vertices = move_body(standing(), height, 1.0, TIMES[:1]).vertices
    assert vertices[..., 1].min() == pytest.approx(0, abs=1e-12)
    assert vertices[..., 1].max() == pytest.approx(height, rel=0.02)
    sides = vertices[0, :, :, 0].max(axis=1)
    assert sides[NUMBERS["left hand"]] > 0 > vertices[0, NUMBERS["right hand"], :, 0].min()


def test_limbs_stay_attached_and_feet_on_the_floor():
    for seed in range(12):
        gait = draw_gait(generator_for("gait", seed), 1.8)
        motion = move_body(gait, 1.8, 1.1, TIMES)
        for number, part in enumerate(PARTS):
            if part.parent >= 0:
                way = motion.joints[:, number] - motion.joints[:, part.parent]
                length = np.linalg.norm(joint_offsets(1.8, 1.1)[number])
                assert np.allclose(np.linalg.norm(way, axis=1), length)
        feet = motion.vertices[..., 1][:, list(FEET)].min(axis=(1, 2))
        assert np.allclose(feet, 0) and motion.vertices[..., 1].min() > -0.02
        angles = joint_angles(gait, TIMES)
        for side in ("left", "right"):
            assert angles[:, NUMBERS[f"{side} shank"], 0].min() >= 0
            assert angles[:, NUMBERS[f"{side} forearm"], 0].max() <= 0
        assert 0 <= gait.speed <= 1.5 and 0.5 <= gait.frequency <= 2


def test_who_walks_goes_where_they_look_and_swings_the_legs_in_turn():
    gait = walking()
    motion = move_body(gait, 1.7, 1.0, TIMES)
    way = motion.joints[-1, 0] - motion.joints[0, 0]
    assert np.allclose(way[[0, 2]], gait.speed * TIMES[-1] * np.array(
        [np.sin(gait.heading), np.cos(gait.heading)]
    ))  # fmt: skip
    forward = np.array([np.sin(gait.heading), 0, np.cos(gait.heading)])
    toes = motion.vertices[0, NUMBERS["left foot"]] @ forward
    assert toes.max() - motion.joints[0, NUMBERS["left foot"]] @ forward > 0.08
    left, right = (
        (motion.joints[:, NUMBERS[f"{side} foot"]] - motion.joints[:, 0]) @ forward
        for side in ("left", "right")
    )
    assert np.corrcoef(left, right)[0, 1] < -0.8


def test_the_camera_by_hand():
    camera = straight_camera()
    points = np.array([[[0, 0.9, -4.0], [1, 0.9, -4.0], [0, 1.9, -2.0], [0, 0.9, 1.0]]])
    pixels, inverse = camera.project(points, np.zeros(1))
    assert np.allclose(pixels[0, :3], [[32, 48], [57, 48], [32, -2]])
    assert np.allclose(inverse, [[0.25, 0.25, 0.5, 0]])
    tilted = Camera(
        (96, 64), 100.0, 0.9, 4.0, 0.2, "still", camera.frame_times, camera.shifts, camera.zooms
    )
    matrices = tilted.intrinsics(np.zeros(1))[0] @ tilted.extrinsics()
    rng = np.random.default_rng(0)
    floor = np.stack([rng.uniform(-1, 1, 50), np.zeros(50), rng.uniform(-6, -2, 50)], axis=1)
    by_hand = np.c_[floor, np.ones(50)] @ matrices.T
    pixels, inverse = tilted.project(floor[None], np.zeros(1))
    assert np.allclose(pixels[0], by_hand[:, :2] / by_hand[:, 2:])
    # the plane of the floor has the depth of its points
    plane = tilted.plane_inverse_depth(np.array([0.0, 1, 0, 0]), 0.0)
    slope = plane[0] - plane[1]
    x, y = pixels[0].T - 0.5
    assert np.allclose(plane[0, 0] - slope[0] * y, inverse[0])
    room = room_depth(tilted, 8.0, 0.0)
    assert room[-1].min() > room[0].max() > 0 and room.shape == (96, 64)


def test_a_person_covers_pixels_without_a_hole():
    camera = straight_camera()
    troupe = Troupe([person()], camera, moments(1, 24.0, 1))
    exposure = troupe.expose(range(1))
    cover, colour = exposure.coverage, exposure.colour
    assert cover.min() == 0 and cover.max() == 1
    assert (colour <= 255 * cover[..., None] + 1e-9).all()
    rows = np.flatnonzero(cover.max(axis=1))
    assert 40 <= len(rows) <= 46 and abs((rows[0] + rows[-1]) / 2 - 48) < 3
    trunk = cover[40:52, 30:34]
    assert trunk.min() == 1
    soft = (cover > 0) & (cover < 1)
    assert 0.1 < soft.sum() / (cover > 0).sum() < 0.9
    assert np.allclose(exposure.inverse_depth[40:52, 30:34], 0.25, atol=0.02)


def test_the_mean_of_subframes_is_softer():
    gait = walking()
    gait.speed, gait.heading = 1.5, np.pi / 2
    camera = straight_camera()
    sharp = Troupe([person(gait)], camera, moments(1, 24.0, 1)).expose(range(1)).coverage
    blurred = Troupe([person(gait)], camera, moments(1, 24.0, 8)).expose(range(8)).coverage
    share = [((c > 0) & (c < 1)).sum() for c in (sharp, blurred)]
    assert share[1] > 1.1 * share[0] and abs(blurred.sum() / sharp.sum() - 1) < 0.05


def test_the_nearer_one_is_seen():
    far, near = standing(), standing()
    near.place = (0.0, -3.0)
    people = [person(far, 1), person(near, 2)]
    camera = straight_camera()
    one = Troupe(people[1:], camera, moments(1, 24.0, 1)).expose(range(1))
    both = Troupe(people, camera, moments(1, 24.0, 1)).expose(range(1))
    full = one.coverage == 1
    assert full.sum() > 100 and np.allclose(both.colour[full], one.colour[full])


def test_hair_is_thin_hangs_on_the_head_and_swings():
    head = head_of(rest_vertices(1.7, 1.0))
    for seed in range(5):
        hair = draw_hair(generator_for("hair", seed), head, 1.7)
        assert STRANDS[0] <= len(hair.widths) <= STRANDS[1]
        assert 0.4 <= hair.widths.min() and hair.widths.max() <= 1.2
        assert LENGTHS[0] * 1.7 <= hair.length <= LENGTHS[1] * 1.7
        motion = move_body(standing(), 1.7, 1.0, TIMES[:2])
        still = move_hair(hair, motion, np.zeros((2, 3)))
        moved = move_hair(hair, motion, np.array([[0, 0, 0], [5.0, 0, 0]]))
        assert still.shape == (2, len(hair.widths), 8, 3) and np.array_equal(moved[0], still[0])
        assert np.allclose(moved[1, :, 0], still[1, :, 0])
        assert (moved[1, :, -1, 0] < still[1, :, -1, 0]).all()
    fast = head_acceleration(walking(), 1.7, 1.0, TIMES)
    assert fast.shape == (24, 3) and 0.05 < np.abs(fast).max() < 40


def test_light_and_clothes():
    rng = generator_for("clothes", 0)
    light, ambient = draw_light(rng)
    clothes = draw_clothes(rng, light, ambient)
    assert lit(light, clothes) == pytest.approx(1) and lit(-light, clothes) == ambient
    textures = paint(clothes, np.array([1.0, 2.0, 3.0]), 16)
    assert textures.shape == (18, 16, 16, 3)
    assert textures[NUMBERS["chest"]].max(axis=(0, 1)).tolist() == [1, 2, 3]


def test_windows_and_stills_stay_inside():
    film = np.zeros((90, 200, 3), np.uint8)
    film[...] = np.arange(200)[:, None]
    for seed in range(20):
        window = draw_window(generator_for("w", seed), (90, 200), (32, 48))
        assert 0 <= window.top and window.top + window.height <= 90
        assert 0 <= window.left and window.left + window.width <= 200
        picture = cut(film, window, (32, 48))
        assert picture.shape == (32, 48, 3)
        assert (picture[0, 0, 0] > picture[0, -1, 0]) == window.mirrored
        moved = move_still(generator_for("s", seed), film + 20, (32, 48), 5)
        assert moved.shape == (5, 32, 48, 3) and moved.min() >= 18
        assert not np.array_equal(moved[0], moved[-1])


def test_a_pose_is_the_same_file_each_time(tmp_path):
    arrays = {"joints": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "none": np.zeros((0, 3))}
    data = encode_pose(arrays)
    assert encode_pose(arrays) == data and len(set(data)) > 10
    (tmp_path / "pose.npz").write_bytes(data)
    back = read_pose(tmp_path)
    assert list(back) == ["joints", "none"]
    assert all(np.array_equal(back[name], array) for name, array in arrays.items())


def test_vertices_of_a_part_follow_its_frame():
    motion = move_body(walking(), 1.7, 1.2, TIMES[:3])
    rest = rest_vertices(1.7, 1.2)
    assert motion.vertices.shape == (3, NUM_PARTS, NUM_VERTICES, 3)
    hand = NUMBERS["left hand"]
    placed = rest[hand] @ motion.rotations[2, hand].T + motion.joints[2, hand]
    assert np.allclose(placed, motion.vertices[2, hand])
