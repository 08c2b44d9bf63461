"""What stands before people, through a film: flashes are dropped, gaps closed, edges soft."""

import cv2
import numpy as np

from layers.commands import LAYERS
from layers.runtime.occluder import Found
from layers.runtime.occluders import soften, steady
from nunif.image import encode_grey
from nunif.video.reader import VideoReader
from tests.layers.test_occluder import H, W, draw_scene, iou
from tests.videos import write_clip


def boxes(*columns, near=()):
    """A square at that column in each frame, which touches somebody; None: nothing. near: frames
    in which it is there, but touches nobody."""
    found = []
    for number, column in enumerate(columns):
        mask = np.zeros((20, 60), bool)
        if column is not None:
            mask[5:15, column : column + 10] = True
        found.append(Found(mask & (number not in near), mask))
    return found


SOMEBODY = np.arange(60) > 50  # (60,), seen as (20, 60)


def held(found, place=2, *, there=SOMEBODY):
    return steady(found, place, [np.broadcast_to(there, (20, 60))] * len(found))


def test_a_flash_is_nothing_and_a_gap_is_closed():
    assert not held(boxes(None, None, 20, None, None)).any()
    stays = boxes(18, 19, 20, 21, 22)
    assert np.array_equal(held(stays), stays[2].before)
    gap = boxes(20, 20, None, 20, 20)
    assert np.array_equal(held(gap), gap[0].before)
    assert not held(gap, there=gap[0].before).any()  # now somebody is there
    begins = boxes(20, 20, 20)  # the first frames of a shot
    assert np.array_equal(held(begins, 0), begins[0].before)


def test_a_thing_that_is_there_counts_where_it_touches_somebody():
    """However short that is; and it stays where it lets go for two frames."""
    touches_once = boxes(20, 20, 20, 20, 20, near=(0, 1, 3, 4))
    assert np.array_equal(held(touches_once), touches_once[2].before)
    lets_go = boxes(20, 20, 20, 20, 20, near=(2,))
    assert np.array_equal(held(lets_go), lets_go[2].near)
    assert not held(boxes(20, 20, 20, 20, 20, near=(2, 3, 4))).any()
    # before somebody comes nothing can be near them
    comes, nobody = boxes(None, None, 20), np.zeros((20, 60), bool)
    assert np.array_equal(steady(comes, 2, [nobody, nobody, ~nobody]), comes[2].before)


def test_an_edge_is_soft_as_the_pictures_and_stays_where_it_is():
    rgb = np.full((96, 160, 3), 40, np.uint8)
    rgb[:, 78:] = 200
    mask = np.zeros((96, 160), bool)
    mask[:, 80:] = True
    alpha = soften(mask, rgb)
    assert (alpha[:, :75] == 0).all() and (alpha[:, 85:] == 255).all()
    assert np.array_equal(alpha > 127, mask) and 0 < alpha[50, 78] < 128 <= alpha[50, 80] < 255
    small = soften(mask[::2, ::2], rgb)
    assert small.shape == (96, 160) and (small[:, 83:] > 200).all() and (small[:, :76] == 0).all()
    assert not soften(np.zeros((48, 80), bool), rgb).any()


def test_split_finds_them_by_depth(run, tmp_path):
    """Nothing is left of a thing in the person's layer, and the film comes together again."""
    for name in ("masks", "depth"):
        (tmp_path / name).mkdir()
    frames, truths = [], []
    for number in range(4):
        disparity, person, truth = draw_scene(1002)
        disparity, person, truth = (np.roll(x, number, 1) for x in (disparity, person, truth))
        grey = np.where(truth, 220, np.where(person, 120, 40)).astype(np.uint8)
        frames.append(np.repeat(grey[..., None], 3, 2))
        truths.append(truth)
        name = f"{number:04d}.png"
        mask = encode_grey(person.astype(np.uint8) * 255)
        (tmp_path / "masks" / name).write_bytes(mask)
        samples = np.rint(disparity * 65535).astype(np.uint16)
        (tmp_path / "depth" / name).write_bytes(encode_grey(samples))
    film = tmp_path / "film.mkv"
    write_clip(film, frames, codec="ffv1", num_b_frames=0, pixel_format="bgr0")
    code, _, lines = run(
        LAYERS, "split", "-i", film, "-o", tmp_path / "out", "--masks", tmp_path / "masks",
        "--occluders", "depth", "--depth-in", tmp_path / "depth", "--gpu", -1, "--max-width", 64,
    )  # fmt: skip
    assert code == 0, lines
    shot = tmp_path / "out" / "shot0000"
    for number, truth in enumerate(truths):
        alpha = cv2.imread(str(shot / f"{number:05d}_O.png"), cv2.IMREAD_GRAYSCALE)
        assert iou(alpha > 127, truth) > 0.8
        near = cv2.imread(str(shot / f"{number:05d}_D.png"), cv2.IMREAD_UNCHANGED)
        assert near.dtype == np.uint16 and near.shape == (H, W)
    code, _, lines = run(LAYERS, "compose", tmp_path / "out", "-o", tmp_path / "again.mkv",
                         "--codec", "ffv1")  # fmt: skip
    assert code == 0, lines
    with VideoReader(tmp_path / "again.mkv") as again:
        assert np.array_equal(np.stack([frame.rgb for frame in again]), np.stack(frames))

    words = ("split", "-i", film, "-o", tmp_path / "b", "--masks", tmp_path / "masks")
    code, _, lines = run(LAYERS, *words, "--depth-in", tmp_path / "depth")
    assert code == 1 and "is for --occluders depth" in lines[-1]
    still = ("--occluders", "depth", "--model-type", "MotionParallax")
    code, _, lines = run(LAYERS, *words, *still)
    assert code == 1 and "knows nothing of what stands still" in lines[-1]
