"""Holes from videos, folders and pictures: what is missing, in which order, and which masks are
refused.

Axes: H W pixels.
"""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from nunif.errors import UserError
from nunif.runtime.mask_pictures import Meaning
from nunif.runtime.mask_source import open_holes
from nunif.video.film import open_film
from nunif.video.reader import VideoReader
from tests.pictures import voc_palette
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
    assert_numbers(
        holes_of(write_mask_video(tmp_path / "m.mkv", map(mask, range(3))), film), [0, 1, 2]
    )
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
        (
            {"0.png": 0, "2.png": 0, "3.png": 0},
            r"m: there is no picture with the number 1: every frame needs one",
        ),
        ({"0.png": 0, "7.png": 0, "9.png": 0}, r"there is no picture with the number 1 and 6 more"),
        (
            {"1700000000000.png": 0, "5.png": 0},
            r"there is no picture with the number 6 and 1699999999993 more",
        ),
        (
            {"0.png": 0, "1.png": 0, "01.jpg": 0},
            r"m: 01\.jpg and 1\.png have one number: remove one of them",
        ),
        (
            {"0.png": 0, "1.png": 0},
            r"--mask .*m has 2 pictures, the film 3 frames: every frame needs one",
        ),
        (
            {},
            (
                r"m holds no numbered picture: expected one per frame, such as 00000\.png, "
                r"00001\.png"
            ),
        ),
    ],
)
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
    with pytest.raises(
        UserError, match=r"--mask .*m\.png can't be read \(not a readable picture\): make it again"
    ):
        holes_of(tmp_path / "m.png", film)
    write(tmp_path / "m.png", np.full((12, 12), 255, np.uint8))
    text = (
        r"m\.png is 12x12, the film 24x16: make masks of the film's size, or of another with its "
        r"aspect$"
    )
    with pytest.raises(UserError, match=text):
        holes_of(tmp_path / "m.png", film)
    write(tmp_path / "m.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(
        UserError, match=r"m\.png marks nothing as missing: white is missing, or use --invert-mask"
    ):
        holes_of(tmp_path / "m.png", film)
    write(tmp_path / "m.png", np.full(SIZE, 255, np.uint8))
    with pytest.raises(
        UserError,
        match=r"marks nothing as missing: black is missing with --invert-mask, leave it out",
    ):
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
    with pytest.raises(
        UserError, match=r"--mask .*m\.mkv has 2 frames, the film 3 frames: every frame needs one"
    ):
        holes_of(path, film)
    turned = [np.ascontiguousarray(grey.T) for grey in map(mask, range(3))]
    path = write_mask_video(tmp_path / "m.mkv", turned)
    text = (
        r"m\.mkv is 16x24, the film 24x16: .*; it lies on its side, and the film stands as players"
    )
    with pytest.raises(UserError, match=text):
        holes_of(path, film)
    for number_of_masks, apart in ((2, "0.04"), (5, "0.08")):
        path = write_mask_video(tmp_path / "m.mkv", map(mask, range(number_of_masks)), fps=12)
        text = (
            rf"m\.mkv has {number_of_masks} frames at 12 per second, the film 3 at 24, and "
            rf"their times part by {apart} s"
        )
        with pytest.raises(UserError, match=text):
            holes_of(path, film)


@pytest.mark.parametrize(
    "options", [{"fps": 12}, {"fps": 30}, {"fps": 1000}, {"times": [0, 5, 900]}]
)
def test_as_many_masks_as_frames_belong_together_whatever_their_times(
    tmp_path, film, caplog, options
):
    options = {"fps": 1000, **options}
    path = write_mask_video(tmp_path / "m.mkv", map(mask, range(3)), **options)
    assert_numbers(holes_of(path, film), [0, 1, 2])
    assert not caplog.messages


def test_600_masks_at_30_for_a_film_at_29_97(tmp_path):
    """Their times part by more than half a frame after 500 frames."""
    film = write_clip(
        tmp_path / "film.mp4", [np.zeros((16, 16, 3), np.uint8)] * 600, fps=Fraction(30000, 1001)
    )
    masks = [np.zeros((16, 16), np.uint8) for _ in range(600)]
    for number, grey in enumerate(masks):
        grey[number % 16, number // 16 % 16] = 255
    path = write_mask_video(tmp_path / "m.mkv", masks, fps=30)
    with VideoReader(film) as reader:
        assert [np.argwhere(hole).tolist() for hole in holes_of(path, reader)] == [
            [[n % 16, n // 16 % 16]] for n in range(600)
        ]


def test_more_masks_than_frames_is_a_warning(tmp_path, film, caplog):
    path = write_mask_video(tmp_path / "m.mkv", map(mask, range(5)))
    assert_numbers(holes_of(path, film), [0, 1, 2])
    assert caplog.messages == [
        f"--mask {path} has 5 frames, the film 3 frames: the last ones are left out"
    ]
    caplog.clear()
    for number in range(4):
        write(tmp_path / "m" / f"{number}.png", mask(number))
    assert_numbers(holes_of(tmp_path / "m", film), [0, 1, 2])
    assert caplog.messages == [
        f"--mask {tmp_path / 'm'} has 4 pictures, the film 3 frames: the last ones are left out"
    ]


# Masks of another size


def doubled(grey):
    return grey.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("kind", ["folder", "video", "picture"])
def test_masks_of_another_size_are_scaled_and_a_line_says_so(tmp_path, film, caplog, kind):
    caplog.set_level("INFO")
    greys = [doubled(mask(number)) for number in range(NUM_FRAMES)]
    if kind == "folder":
        for number, grey in enumerate(greys):
            write(tmp_path / "m" / f"{number}.png", grey)
        path = tmp_path / "m"
    elif kind == "video":
        path = write_mask_video(tmp_path / "m.mkv", greys)
    else:
        path = write(tmp_path / "m.png", greys[0])
    assert_numbers(holes_of(path, film), [0, 0, 0] if kind == "picture" else [0, 1, 2])
    text = (
        f"--mask {path} is 48x32, the film 24x16: it is scaled to that, each pixel to the nearest"
    )
    assert caplog.messages == [text]
    caplog.clear()
    assert len(holes_of(path, film, again=True)) == NUM_FRAMES
    assert caplog.messages == []


def test_small_masks_become_blocks_and_numbers_stay_what_they_are(tmp_path, film):
    """Between 1 and 3, as of a soft edge, would lie object 2."""
    indices = np.zeros((8, 12), np.uint8)
    indices[2:5, 2:6], indices[2:5, 6:9] = 1, 3
    path = write_indexed(tmp_path / "m.png", indices, voc_palette())
    (both, *_), (second, *_) = holes_of(path, film), holes_of(path, film, objects=(3,))
    assert np.array_equal(both, doubled(indices) > 0)
    assert np.array_equal(second, doubled(indices) == 3)
    with pytest.raises(UserError, match="marks nothing as missing"):
        holes_of(path, film, objects=(2,))


def test_the_nearest_pixel_is_that_of_the_middle(tmp_path, film):
    """Of three columns the second."""
    grey = np.zeros((48, 72), np.uint8)
    grey[:, 30:32] = 255
    (hole, *_) = holes_of(write(tmp_path / "m.png", grey), film)
    assert np.flatnonzero(hole.any(axis=0)).tolist() == [10]
    grey[:, 31] = 0
    with pytest.raises(UserError, match="marks nothing"):
        holes_of(write(tmp_path / "m.png", grey), film)


@pytest.mark.parametrize(
    ("size", "aspect", "fits"),
    [
        ((8, 12), None, True),
        ((9, 12), None, True),  # rounded
        ((160, 245), None, True),  # two percent off
        ((160, 255), None, False),
        ((160, 320), Fraction(4, 3), True),  # as players show the film
        ((160, 240), Fraction(4, 3), True),
        ((160, 320), None, False),
    ],
)
def test_which_sizes_fit(tmp_path, size, aspect, fits):
    source = write_clip(
        tmp_path / "film.mp4", NUM_FRAMES, width=24, height=16, sample_aspect_ratio=aspect
    )
    grey = np.zeros(size, np.uint8)
    grey[: size[0] // 2] = 255
    path = write(tmp_path / "m.png", grey)
    with VideoReader(source) as film:
        if fits:
            assert holes_of(path, film)[0].sum(axis=0).tolist() in ([8] * 24, [7] * 24)
        else:
            with pytest.raises(UserError, match="or of another with its aspect"):
                holes_of(path, film)


# Numbers of objects and alpha: what is plain from single pictures is in test_mask_pictures


def write_indexed(path, indices, palette):
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(palette)
    picture.save(path)
    return path


def objects(number):
    """(H, W) uint8: object 1, object 8, and what belongs to none; moved by the number."""
    indices = np.zeros(SIZE, np.uint8)
    indices[2:6, 2 + number : 6 + number], indices[8:12, 8 + number : 14 + number] = 1, 8
    indices[7, :] = 255
    return indices


@pytest.mark.parametrize("kind", ["folder", "picture", "grey folder", "grey video", "colours"])
def test_objects_are_chosen_by_number(tmp_path, film, caplog, kind):
    """Object 8 is dark (64, 0, 0), and as grey next to black."""
    caplog.set_level("INFO")
    if kind == "folder":
        for number in range(NUM_FRAMES):
            write_indexed(tmp_path / "m" / f"{number}.png", objects(number), voc_palette())
    elif kind == "picture":
        write_indexed(tmp_path / "m.png", objects(0), voc_palette())
    elif kind == "grey folder":
        for number in range(NUM_FRAMES):
            write(tmp_path / "m" / f"{number}.png", objects(number))
    elif kind == "grey video":
        write_mask_video(tmp_path / "m.mkv", map(objects, range(NUM_FRAMES)))
    else:
        for number in range(NUM_FRAMES):
            write(
                tmp_path / "m" / f"{number}.png",
                np.array(voc_palette(), np.uint8).reshape(256, 3)[objects(number)][..., ::-1],
            )
    (path,) = tmp_path.glob("m*")
    moves = 0 if kind == "picture" else 1
    for words, wanted in (((), (1, 8)), ((8,), (8,)), ((1,), (1,)), ((8, 1), (1, 8))):
        caplog.clear()
        holes = holes_of(path, film, objects=words)
        assert len(holes) == NUM_FRAMES
        for number, hole in enumerate(holes):
            assert np.array_equal(hole, np.isin(objects(moves * number), wanted)), (words, number)
        told = f"--mask {path}: {Meaning.NUMBERS.value}"
        assert caplog.messages == ([] if words else [told])
    holes_of(path, film, objects=(8, 9))
    looked = "the picture" if kind == "picture" else "the 3 pictures looked at"
    assert (
        caplog.messages[-1] == f"--mask {path}: no object 9 is in {looked}, which hold 0, 1, 8, 255"
    )


def test_numbers_are_asked_for_where_there_are_none(tmp_path, film):
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    text = r"m\.png has no numbers for --objects 1 to choose from: give palette or grey PNGs"
    with pytest.raises(UserError, match=text):
        holes_of(write(tmp_path / "m.png", picture), film, objects=(1,))


def test_frames_without_an_object_do_not_change_how_the_others_are_meant(tmp_path, film, caplog):
    """The second frame has nothing but coding noise, which by itself could be numbers."""
    noise = np.zeros(SIZE, np.uint8)
    noise[2:10, 2:10] = 2
    for number, grey in enumerate([mask(0), noise, mask(2)]):
        write(tmp_path / "m" / f"{number}.png", grey)
    holes = holes_of(tmp_path / "m", film)
    assert [int(hole.sum()) for hole in holes] == [16, 0, 16]
    assert caplog.messages == [
        f"--mask {tmp_path / 'm'}: 1 of 3 pictures looked at could number objects, others are "
        "black and white: "
        "what is bright is missing; --objects chooses numbers"
    ]


def test_the_alpha_of_a_mask_video(tmp_path, film, caplog):
    caplog.set_level("INFO")
    frames = []
    for number in range(NUM_FRAMES):
        frames.append(np.full((*SIZE, 4), 255, np.uint8))
        frames[-1][..., 3] = mask(number)
    path = tmp_path / "m.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=24)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "argb"
        for number, rgba in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="argb")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert_numbers(holes_of(path, film), [0, 1, 2])
    assert caplog.messages == [
        f"--mask {path}: its colours say nothing, so what its alpha shows is missing"
    ]


@pytest.mark.parametrize("kind", ["folder", "video", "picture"])
def test_nearly_all_hole_in_most_frames_is_not_done_unasked(tmp_path, film, kind):
    def put(greys):
        if kind == "video":
            return write_mask_video(tmp_path / "m.mkv", greys)
        for number, grey in enumerate(greys):
            write(tmp_path / "m" / f"{number}.png", grey)
        return tmp_path / "m" if kind == "folder" else write(tmp_path / "m.png", greys[0])

    inverted = [255 - mask(number) for number in range(NUM_FRAMES)]
    path = put([inverted[0], inverted[1], mask(2)])
    which = "" if kind == "picture" else " in 2 of 3 pictures looked at"
    text = (
        f"--mask {path} marks more than 90% of the picture as missing{which} (what is bright is "
        "missing): "
        "use --invert-mask if it is the other way round, or add --large-holes if it is meant"
    )
    with pytest.raises(UserError) as error:
        holes_of(path, film)
    assert str(error.value) == text
    (hole, *_) = holes_of(path, film, large_holes=True)
    assert np.array_equal(hole, inverted[0] > 0)
    (hole, *_) = holes_of(put(inverted), film, invert=True)
    assert np.array_equal(hole, mask(0) > 0)
    path = put([mask(0), mask(1), mask(2)])
    with pytest.raises(
        UserError,
        match="missing: leave --invert-mask out, or add --large-holes if it is meant".replace(
            "missing", ".*missing.*"
        ),
    ):
        holes_of(path, film, invert=True)
    if kind != "picture":
        # one of three may be
        assert holes_of(put([inverted[0], mask(1), mask(2)]), film)[0].mean() > 0.9


def test_a_picture_of_a_row_is_taken_for_all_frames_and_said(tmp_path, film, caplog):
    for number in range(NUM_FRAMES):
        write(tmp_path / "m" / f"mask.{number:04d}.png", mask(number))
    path = tmp_path / "m" / "mask.0001.png"
    assert_numbers(holes_of(path, film), [1, 1, 1])
    assert caplog.messages == [
        f"--mask {path} is one picture of a row of 3: it is taken for all frames; name its folder "
        "if not"
    ]


def test_pictures_of_a_kind_that_is_not_read_are_named(tmp_path, film):
    (tmp_path / "m").mkdir()
    for number in range(NUM_FRAMES):
        (tmp_path / "m" / f"matte.{number}.exr").write_bytes(b"v/1\x01")
    text = (
        r"--mask .*m holds 3 \.exr pictures, which can't be read: convert to PNG or TIFF, with "
        r"16 bits"
    )
    with pytest.raises(UserError, match=text):
        holes_of(tmp_path / "m", film)
    with pytest.raises(
        UserError,
        match=r"--mask .*doesn't exist: name the folder .*m, whose numbered pictures are taken",
    ):
        holes_of(tmp_path / "m" / "matte.%d.exr", film)
    with pytest.raises(
        UserError,
        match=r"matte\.0\.exr is a \.exr picture, which can't be read: convert to PNG or TIFF",
    ):
        holes_of(tmp_path / "m" / "matte.0.exr", film)


def test_the_number_is_what_differs_in_the_names(tmp_path, film):
    for number in range(NUM_FRAMES):
        write(tmp_path / "m" / f"plate_{1001 + number}_4k_v2.png", mask(number))
    assert_numbers(holes_of(tmp_path / "m", film), [0, 1, 2])


def test_an_interlaced_mask_video_is_refused_or_made_whole(tmp_path):
    path = write_clip(
        tmp_path / "m.mkv",
        [np.full((*SIZE, 3), 255, np.uint8)] * NUM_FRAMES,
        options={"x264-params": "bff=1:qp=0"},
    )
    with open_film(write(tmp_path / "row" / "0.png", mask(0)).parent, fps="24") as pictures:
        with pytest.raises(UserError, match="use --deinterlace"):
            holes_of(path, pictures, large_holes=True)
        assert all(
            hole.all() for hole in holes_of(path, pictures, large_holes=True, deinterlace=True)
        )
