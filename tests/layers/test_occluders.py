"""What stands before people, through a film: flashes are dropped, gaps closed, edges soft."""

import cv2
import numpy as np

from layers.commands import LAYERS
from layers.runtime.occluders import soften, steady
from nunif.image import encode_grey
from nunif.video.reader import VideoReader
from tests.layers.test_occluder import H, W, draw_scene, iou
from tests.videos import write_clip


def boxes(*columns):
    """A square at that column in each frame; None: nothing."""
    found = []
    for column in columns:
        mask = np.zeros((20, 60), bool)
        if column is not None:
            mask[5:15, column : column + 10] = True
        found.append(mask)
    return found


def test_a_flash_is_nothing_and_a_gap_is_closed():
    flash = boxes(None, None, 20, None, None)
    assert not steady(flash, 2).any()
    stays = boxes(18, 19, 20, 21, 22)
    assert np.array_equal(steady(stays, 2), stays[2] | stays[0] & stays[3] | stays[1] & stays[4])
    gap = boxes(20, 20, None, 20, 20)
    assert np.array_equal(steady(gap, 2), gap[0])
    begins = boxes(20, 20, 20)  # the first frames of a shot
    assert np.array_equal(steady(begins, 0), begins[0])


def test_an_edge_is_soft_along_the_pictures():
    rgb = np.full((96, 160, 3), 40, np.uint8)
    rgb[:, 83:] = 200
    mask = np.zeros((48, 80), bool)
    mask[:, 40:] = True  # three pixels of the film off the picture's edge
    alpha = soften(mask, rgb)
    assert alpha.shape == (96, 160) and (alpha[:, :70] == 0).all() and (alpha[:, 92:] == 255).all()
    assert alpha[:, 83].min() - int(alpha[:, 82].max()) > 70  # 25 a pixel without it
    assert alpha[:, 84:].min() > 200 and alpha[:, 78].max() < 100
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
