"""Holes from videos, folders and pictures: what is missing, in which order, and which masks are refused.

Axes: H W pixels.
"""

import cv2
import numpy as np
import pytest

from inpaint.runtime.hole_source import open_holes
from nunif.errors import UserError
from nunif.video.reader import VideoReader
from tests.videos import write_clip

SIZE = (16, 24)
NUM_FRAMES = 3


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = write_clip(tmp_path_factory.mktemp("film") / "film.mp4", NUM_FRAMES, width=24, height=16)
    with VideoReader(path) as reader:
        yield reader


def mask(number: int) -> np.ndarray:
    """(H, W) uint8: a white square that tells the number by its place."""
    grey = np.zeros(SIZE, np.uint8)
    grey[4:8, 2 * number : 2 * number + 4] = 255
    return grey


def write(path, grey):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), grey)
    return path


def holes_of(path, film, **options):
    with open_holes(path, film, **options) as holes:
        return list(holes)


def write_mask_video(path, masks, **options):
    frames = [np.repeat(grey[..., None], 3, axis=2) for grey in masks]
    return write_clip(path, frames, codec="ffv1", pixel_format="gray", num_b_frames=0, **options)


def assert_numbers(holes, numbers):
    assert len(holes) == len(numbers)
    for hole, number in zip(holes, numbers):
        assert hole.dtype == bool and np.array_equal(hole, mask(number) > 0), number


def test_a_folder_is_ordered_by_the_last_number_from_wherever_it_starts(tmp_path, film):
    for number in (9, 10, 11):
        write(tmp_path / "m" / f"take2_{number}.png", mask(number - 9))
    (tmp_path / "m" / "notes_12.txt").write_text("no picture")
    write(tmp_path / "m" / ".hidden_9.png", mask(7))
    write(tmp_path / "m" / "cover.png", mask(7))
    assert_numbers(holes_of(tmp_path / "m", film), [0, 1, 2])


def test_a_video_and_a_picture(tmp_path, film):
    assert_numbers(holes_of(write_mask_video(tmp_path / "m.mkv", map(mask, range(3))), film), [0, 1, 2])
    assert_numbers(holes_of(write(tmp_path / "m.png", mask(4)), film), [4, 4, 4])


def test_bright_in_any_colour_is_missing(tmp_path, film):
    bgr = np.zeros((*SIZE, 3), np.uint8)
    bgr[2, 3], bgr[2, 4], bgr[2, 5] = (128, 0, 0), (0, 127, 0), (0, 0, 255)
    (hole, *_) = holes_of(write(tmp_path / "m.png", bgr), film)
    assert np.argwhere(hole).tolist() == [[2, 3], [2, 5]]


def test_dilate_and_invert(tmp_path, film):
    grey = np.zeros(SIZE, np.uint8)
    grey[5, 7] = 255
    (hole, *_) = holes_of(write(tmp_path / "m.png", grey), film, dilate=2)
    assert ["".join(".#"[int(pixel)] for pixel in row[5:10]) for row in hole[3:8]] == [
        "..#..",
        ".###.",
        "#####",
        ".###.",
        "..#..",
    ]
    assert hole.sum() == 13
    (hole, *_) = holes_of(write(tmp_path / "n.png", 255 - grey), film, dilate=1, invert=True)
    assert hole.sum() == 5 and hole[5, 6:9].all()  # what grows is the hole, not the white


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"0.png": 0, "2.png": 0, "3.png": 0}, r"m: there is no picture with the number 1: every frame needs one"),
        ({"0.png": 0, "7.png": 0, "9.png": 0}, r"there is no picture with the number 1 and 6 more"),
        ({"1700000000000.png": 0, "5.png": 0}, r"there is no picture with the number 6 and 1699999999993 more"),
        ({"0.png": 0, "1.png": 0, "01.jpg": 0}, r"m: 01\.jpg and 1\.png have one number: remove one of them"),
        ({"0.png": 0, "1.png": 0}, r"--mask .*m has 2 pictures, the film 3 frames: every frame needs one"),
        ({}, r"m holds no numbered picture: expected one per frame, such as 00000\.png, 00001\.png"),
    ],
)  # fmt: skip
def test_folders_that_are_refused(tmp_path, film, files, text):
    (tmp_path / "m").mkdir()
    for name, number in files.items():
        write(tmp_path / "m" / name, mask(number))
    with pytest.raises(UserError, match=text):
        holes_of(tmp_path / "m", film)


def test_pictures_that_are_refused(tmp_path, film):
    with pytest.raises(UserError, match=r"--mask .*m\.png doesn't exist: check the path"):
        holes_of(tmp_path / "m.png", film)
    (tmp_path / "m.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"--mask .*m\.png can't be read \(not a readable picture\): make it again"):
        holes_of(tmp_path / "m.png", film)
    write(tmp_path / "m.png", np.full((8, 12), 255, np.uint8))
    with pytest.raises(UserError, match=r"m\.png is 12x8, the film 24x16: scale it to the film"):
        holes_of(tmp_path / "m.png", film)
    write(tmp_path / "m.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(UserError, match=r"m\.png marks nothing as missing: white is missing, or use --invert-mask"):
        holes_of(tmp_path / "m.png", film)
    write(tmp_path / "m.png", np.full(SIZE, 255, np.uint8))
    with pytest.raises(UserError, match=r"marks nothing as missing: black is missing with --invert-mask, leave it out"):
        holes_of(tmp_path / "m.png", film, invert=True)


def test_a_picture_is_read_when_it_is_needed(tmp_path, film):
    for number in range(NUM_FRAMES):
        write(tmp_path / "m" / f"{number}.png", mask(number))
    (tmp_path / "m" / "2.png").write_bytes((tmp_path / "m" / "2.png").read_bytes()[:-8])
    with open_holes(tmp_path / "m", film) as holes:
        assert_numbers([next(holes), next(holes)], [0, 1])
        with pytest.raises(UserError, match=r"2\.png can't be read \(truncated\): make it again"):
            next(holes)


def test_videos_that_are_refused(tmp_path, film):
    with pytest.raises(UserError, match=r"--mask .*m\.mkv doesn't exist: check the path"):
        holes_of(tmp_path / "m.mkv", film)
    path = write_mask_video(tmp_path / "m.mkv", map(mask, range(2)))
    with pytest.raises(UserError, match=r"--mask .*m\.mkv has 2 frames, the film 3 frames: every frame needs one"):
        holes_of(path, film)
    path = write_mask_video(tmp_path / "m.mkv", [grey[:8, :12] for grey in map(mask, range(3))])
    with pytest.raises(UserError, match=r"m\.mkv is 12x8, the film 24x16: scale it to the film"):
        holes_of(path, film)
    path = write_mask_video(tmp_path / "m.mkv", map(mask, range(3)), fps=12)
    text = r"m\.mkv has (12|11\.\d+) frames per second, the film 24, and their times part by 0\.08 s"
    with pytest.raises(UserError, match=text):
        holes_of(path, film)


def test_more_masks_than_frames_is_a_warning(tmp_path, film, caplog):
    path = write_mask_video(tmp_path / "m.mkv", map(mask, range(5)))
    assert_numbers(holes_of(path, film), [0, 1, 2])
    assert caplog.messages == [f"--mask {path} has 5 frames, the film 3 frames: the last ones are left out"]
    caplog.clear()
    for number in range(4):
        write(tmp_path / "m" / f"{number}.png", mask(number))
    assert_numbers(holes_of(tmp_path / "m", film), [0, 1, 2])
    assert caplog.messages == [f"--mask {tmp_path / 'm'} has 4 pictures, the film 3 frames: the last ones are left out"]
