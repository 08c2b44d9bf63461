"""Editing a film: its own numbers, times, tags and sound go through reading and writing."""

import logging
import os
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nunif import image
from nunif.errors import UserError
from nunif.video import picture as pictures
from nunif.video.color import BT709, ColorTags
from nunif.video.cuts import CUT_MARGIN, find_cuts, mark_cuts
from nunif.video.orientation import Orientation
from nunif.video.picture import Picture
from nunif.video.pixel_format import layout_of, nearest_format, planar_format
from nunif.video.reader import BrokenVideo, VideoReader
from nunif.video.writer import VideoWriter
from tests import videos
from tests.videos import heard, number_of, sound_of, times_of, write_clip

UNTAGGED = ColorTags()


def noise(
    pixel_format: str, height: int, width: int, *, seed: int = 0, color: ColorTags = UNTAGGED
) -> Picture:
    """A picture of random numbers over the whole of their range."""
    rng = np.random.default_rng(seed)
    layout = layout_of(pixel_format)
    num_planes = len(layout.planes) + (layout.alpha is not None)
    shapes = [layout.shape_of(plane, height, width) for plane in range(num_planes)]
    planes = tuple(rng.integers(0, 2**layout.bits, shape).astype(layout.dtype) for shape in shapes)
    return Picture(planes, pixel_format, color)


def flat(
    pixel_format: str, values: tuple[int, ...], color: ColorTags = UNTAGGED, size: int = 16
) -> Picture:
    layout = layout_of(pixel_format)
    planes = (
        np.full(layout.shape_of(plane, size, size), value, layout.dtype)
        for plane, value in enumerate(values)
    )
    return Picture(tuple(planes), pixel_format, color)


def assert_same(one: Picture, other: Picture) -> None:
    assert one.pixel_format == other.pixel_format
    for plane, other_plane in zip(one.planes, other.planes, strict=True):
        np.testing.assert_array_equal(plane, other_plane)


def copy_film(
    source: Path,
    target: Path,
    *,
    change=lambda frame: frame.picture,
    deinterlace: bool = False,
    **options,
) -> VideoWriter:
    """Read a film for editing and write what `change` makes of its frames, as the commands do."""
    with VideoReader(source, for_editing=True, deinterlace=deinterlace) as reader:
        info = reader.info
        same = dict(
            width=info.width,
            height=info.height,
            rate=info.rate,
            time_base=info.time_base,
            color=info.color,
        )
        same |= dict(
            like_pixel_format=info.picture_format, sample_aspect_ratio=info.sample_aspect_ratio
        )
        with VideoWriter(
            target, **(same | dict(sound_from=source if info.has_sound else None) | options)
        ) as writer:
            for frame in reader:
                writer.write(change(frame), frame.pts, frame.duration)
    return writer


def planes_of(path: Path) -> list[Picture]:
    with VideoReader(path, for_editing=True) as reader:
        return [frame.picture for frame in reader]


def info_of(path: Path):
    with VideoReader(path) as reader:
        return reader.info


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Pictures

FORMATS = [
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuv411p",
    "yuv440p",
    "yuv420p10le",
    "yuv422p10le",
    "yuv444p12le",
    "gray",
    "gray10le",
    "gbrp",
    "gbrp10le",
    "gbrp16le",
    "yuva420p",
    "yuva444p10le",
    "gbrap",
]


@pytest.mark.parametrize(
    ("pixel_format", "planar"),
    [
        ("yuv420p", "yuv420p"),
        ("yuvj420p", "yuv420p"),
        ("yuvj444p", "yuv444p"),
        ("nv12", "yuv420p"),
        ("nv16", "yuv422p"),
        ("p010le", "yuv420p10le"),
        ("p016le", "yuv420p16le"),
        ("yuyv422", "yuv422p"),
        ("rgb24", "gbrp"),
        ("bgr0", "gbrp"),
        ("rgba", "gbrap"),
        ("rgb48le", "gbrp16le"),
        ("pal8", "gbrap"),
        ("gray", "gray"),
        ("yuv420p10be", "yuv420p10le"),
        ("monow", "gray"),
        ("yuv411p", "yuv411p"),
    ],
)
def test_planar_formats(pixel_format, planar):
    assert planar_format(pixel_format) == planar


@pytest.mark.parametrize(
    ("wanted", "candidates", "nearest"),
    [
        (
            "yuv422p10le",
            ["yuv420p", "yuv422p", "yuv420p10le", "yuv444p10le", "yuv444p12le"],
            "yuv444p10le",
        ),
        ("yuv422p10le", ["yuv420p10le", "yuv444p"], "yuv420p10le"),
        ("yuv420p", ["nv12", "yuvj420p", "yuv444p", "yuv420p"], "yuv420p"),
        ("gbrp", ["gray", "yuv420p", "yuv444p"], "yuv444p"),
        ("gbrp", ["bgr0", "yuv444p", "gbrp9le"], "bgr0"),
        ("gray", ["yuv444p", "yuv420p"], "yuv420p"),
        ("yuv420p", ["gray", "cuda", "yuv444p16le"], "yuv444p16le"),
        ("yuv420p9le", ["yuv420p", "yuv420p12le", "yuv420p10le"], "yuv420p10le"),
    ],
)
def test_nearest_format(wanted, candidates, nearest):
    assert nearest_format(wanted, candidates) == nearest


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(("height", "width"), [(16, 32), (13, 35)])
def test_frames_and_pictures_hold_the_same_numbers(pixel_format, height, width):
    picture = noise(pixel_format, height, width)
    frame = pictures.to_frame(picture)
    assert (frame.width, frame.height, frame.format.name) == (width, height, pixel_format)
    assert_same(pictures.from_frame(frame, color=UNTAGGED, width=width, height=height), picture)


@pytest.mark.parametrize(
    ("packed", "planar"),
    [
        ("nv12", "yuv420p"),
        ("p010le", "yuv420p10le"),
        ("bgr0", "gbrp"),
        ("nv16", "yuv422p"),
        ("nv24", "yuv444p"),
    ],
)
def test_repacking_is_exact(packed, planar):
    for seed in range(100):
        picture = noise(planar, 18, 34, seed=seed, color=ColorTags(matrix=1, range=1))
        frame = pictures.to_frame(picture, pixel_format=packed)
        assert frame.format.name == packed
        assert_same(pictures.from_frame(frame, color=picture.color, width=34, height=18), picture)


@pytest.mark.parametrize(
    ("pixel_format", "values", "color", "rgb"),
    [
        # 8 bits as swscale does it, so near; more bits by BT.601 and BT.709's formulas
        ("yuv420p", (81, 90, 240), UNTAGGED, (255, 0, 0)),
        ("yuv444p", (63, 102, 240), ColorTags(matrix=1, range=1), (255, 0, 0)),
        ("yuv420p", (76, 85, 255), ColorTags(matrix=6, range=2), (255, 0, 0)),
        ("gray", (200,), UNTAGGED, (200, 200, 200)),
        ("gbrp", (20, 30, 10), UNTAGGED, (10, 20, 30)),
        ("yuv420p10le", (940, 512, 512), UNTAGGED, (65535, 65535, 65535)),
        ("yuv420p10le", (64, 512, 512), UNTAGGED, (0, 0, 0)),
        ("yuv444p10le", (250, 409, 960), ColorTags(matrix=1, range=1), (65535, 0, 0)),
        ("yuv422p10le", (326, 361, 960), UNTAGGED, (65535, 0, 0)),
        ("yuv444p10le", (1023, 512, 512), ColorTags(range=2), (65535, 65535, 65535)),
        ("yuv444p12le", (0, 2048, 2048), ColorTags(range=2), (0, 0, 0)),
        ("gray10le", (1023,), UNTAGGED, (65535, 65535, 65535)),
        ("gbrp10le", (1023, 0, 341), UNTAGGED, (21845, 65535, 0)),
    ],
)
def test_to_rgb(pixel_format, values, color, rgb):
    found = pictures.to_rgb(flat(pixel_format, values, color))
    assert found.dtype == (np.uint8 if layout_of(pixel_format).bits == 8 else np.uint16)
    assert found.shape == (16, 16, 3) and (found == found[0, 0]).all()
    tolerance = 2 if found.dtype == np.uint8 else 90
    np.testing.assert_allclose(found[0, 0].astype(int), rgb, atol=tolerance)


@pytest.mark.parametrize("matrix", [1, 2, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("color_range", [0, 1, 2])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_there_and_back_with_every_matrix_and_range(matrix, color_range, pixel_format):
    color = ColorTags(matrix=matrix, range=color_range)
    rgb = np.full((16, 16, 3), (180, 90, 40), dtype=np.uint8)
    picture = pictures.from_rgb(rgb, pixel_format=pixel_format, color=color)
    assert picture.color == color
    back = pictures.to_rgb(picture)
    if back.dtype == np.uint16:
        back = back / 257
    np.testing.assert_allclose(back[8, 8], (180, 90, 40), atol=2.5)


@pytest.mark.parametrize(
    ("pixel_format", "color", "values"),
    [
        ("yuv444p", UNTAGGED, (81, 90, 240)),
        ("yuv420p", replace(UNTAGGED, matrix=6, range=2), (76, 85, 255)),
        ("yuv422p10le", BT709, (250, 409, 960)),
        ("gray", BT709, (54,)),
        ("gbrp", UNTAGGED, (0, 0, 255)),
        ("gbrp10le", UNTAGGED, (0, 0, 1023)),
        ("yuva420p", UNTAGGED, (81, 90, 240, 255)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_from_rgb(pixel_format, color, values, dtype):
    rgb = np.zeros((5, 7, 3), dtype=dtype)
    rgb[..., 0] = np.iinfo(dtype).max
    picture = pictures.from_rgb(rgb, pixel_format=pixel_format, color=color)
    assert [int(plane[0, 0]) for plane in picture.planes] == list(values)
    assert all((plane == plane[0, 0]).all() for plane in picture.planes)


def test_rgb_has_no_matrix_and_what_was_rgb_becomes_bt709():
    grey = np.full((4, 4, 3), 100, dtype=np.uint8)
    from_rgb = pictures.from_rgb(grey, pixel_format="gbrp", color=BT709)
    assert from_rgb.color == ColorTags(matrix=0, range=2, primaries=1, transfer=1)
    assert pictures.convert(from_rgb, "yuv444p").color == BT709


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(
    ("pixel_format", "size", "turned"),
    [
        ("yuv420p", (16, 24), {90: "yuv420p", 180: "yuv420p"}),
        ("yuv422p", (16, 24), {90: "yuv444p", 180: "yuv422p"}),
        ("yuv420p", (15, 25), {90: "yuv444p", 180: "yuv444p"}),
        ("yuv422p10le", (16, 24), {90: "yuv444p10le", 180: "yuv422p10le"}),
        ("gbrp", (15, 25), {90: "gbrp", 180: "gbrp"}),
        ("gray10le", (15, 25), {90: "gray10le", 180: "gray10le"}),
        ("yuva422p", (16, 24), {90: "yuva444p", 180: "yuva422p"}),
    ],
)
def test_turning_upright(degrees, mirrored, pixel_format, size, turned):
    if not (degrees or mirrored):
        pytest.skip("upright as it is")
    picture = noise(pixel_format, *size)
    upright = pictures.turn_upright(picture, Orientation(degrees, mirrored))
    assert upright.pixel_format == turned[90 if degrees % 180 else 180]
    luma = layout_of(pixel_format).planes[0]
    turn = lambda plane: np.rot90(np.fliplr(plane) if mirrored else plane, -degrees // 90)  # noqa: E731
    np.testing.assert_array_equal(upright.planes[luma], turn(picture.planes[luma]))
    back = pictures.turn_upright(
        upright, Orientation(degrees if mirrored else 360 - degrees, mirrored)
    )
    assert_same(back, pictures.convert(picture, back.pixel_format))
    assert (
        np.abs(pictures._to_rgb16(upright).astype(int) - turn(pictures._to_rgb16(picture))).max()
        == 0
    )


def test_no_turning_and_no_conversion_is_the_same_object():
    picture = noise("yuv420p", 8, 8)
    assert (
        pictures.turn_upright(picture, Orientation()) is picture
        and pictures.convert(picture, "yuv420p") is picture
    )


def test_conversion_keeps_luma_and_scales_depth():
    picture = flat("yuv420p", (235, 128, 240))
    assert [int(plane[0, 0]) for plane in pictures.convert(picture, "yuv444p10le").planes] == [
        940,
        512,
        960,
    ]
    full = replace(
        picture, color=ColorTags(range=2), planes=tuple(plane * 0 + 255 for plane in picture.planes)
    )
    assert [int(plane[0, 0]) for plane in pictures.convert(full, "yuv444p10le").planes] == [
        1023,
        1021,
        1021,
    ]
    picture = noise("yuv422p", 7, 9)
    assert pictures.convert(picture, "yuv444p").planes[0] is picture.planes[0]


# Pasting


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(16, 32), (13, 35)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_paste_changes_the_hole_and_nothing_else(pixel_format, size, dtype):
    (height, width), layout = size, layout_of(pixel_format)
    picture = noise(pixel_format, height, width)
    rgb = (
        np.random.default_rng(1)
        .integers(0, np.iinfo(dtype).max + 1, (height, width, 3))
        .astype(dtype)
    )
    hole = np.zeros(size, dtype=bool)
    hole[5:8, 3:9] = hole[-1, -1] = hole[2, 20] = True
    before = [plane.copy() for plane in picture.planes]
    pasted = pictures.paste(picture, rgb, hole)
    everywhere = pictures.from_rgb(rgb, pixel_format=pixel_format, color=UNTAGGED)
    for plane in range(len(picture.planes)):
        # the argument is left alone
        np.testing.assert_array_equal(picture.planes[plane], before[plane])
        down, right = layout.step_of(plane)
        h, w = picture.planes[plane].shape
        for y in range(h):
            for x in range(w):
                is_hit = (
                    hole[y * down : (y + 1) * down, x * right : (x + 1) * right].any()
                    and plane != layout.alpha
                )
                wanted = everywhere if is_hit else picture
                assert pasted.planes[plane][y, x] == wanted.planes[plane][y, x], (plane, y, x)


def test_paste_without_a_hole_is_the_same_object():
    picture = noise("yuv420p", 8, 8)
    assert pictures.paste(picture, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool)) is picture
    with pytest.raises(ValueError, match=r"hole \(8, 9\) don't fit a picture of \(8, 8\)"):
        pictures.paste(picture, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9), bool))


def test_paste_of_the_pictures_own_rgb_hardly_changes_it():
    smooth = np.stack(np.meshgrid(np.arange(64) * 3, np.arange(48) * 4), axis=-1)
    rgb = np.concatenate([smooth, smooth[..., :1]], axis=-1).astype(np.uint8)
    for pixel_format in ("yuv420p", "yuv422p10le", "yuv444p"):
        picture = pictures.from_rgb(rgb, pixel_format=pixel_format, color=UNTAGGED)
        again = pictures.paste(picture, pictures.to_rgb(picture), np.ones((48, 64), bool))
        for old, new in zip(picture.planes, again.planes, strict=True):
            assert np.abs(old.astype(int) - new).max() <= 2


# Reading for editing


@pytest.mark.parametrize(
    ("pixel_format", "codec"),
    [
        ("yuv420p", "libx264"),
        ("yuv422p10le", "libx264"),
        ("gray", "ffv1"),
        ("bgr0", "ffv1"),
        ("gbrp10le", "ffv1"),
    ],
)
def test_frames_for_editing(tmp_path, pixel_format, codec):
    path = write_clip(tmp_path / "a.mkv", 4, codec=codec, pixel_format=pixel_format)
    with VideoReader(path) as reader, VideoReader(path, for_editing=True) as editor:
        info = editor.info
        assert info == reader.info
        assert info.bit_depth == (10 if "10" in pixel_format else 8)
        assert info.picture_format == ("gbrp" if pixel_format == "bgr0" else pixel_format)
        assert (info.time_base, info.rate, info.has_sound) == (Fraction(1, 1000), 24, False)
        for frame, edited in zip(reader, editor, strict=True):
            assert frame.picture is None and frame.rgb.dtype == np.uint8
            assert edited.picture.pixel_format == info.picture_format and edited.pts == frame.pts
            np.testing.assert_array_equal(pictures.to_rgb(edited.picture), edited.rgb)
            if info.bit_depth == 8:
                np.testing.assert_array_equal(frame.rgb, edited.rgb)
            else:
                assert edited.rgb.dtype == np.uint16
                np.testing.assert_allclose(edited.rgb / 257, frame.rgb, atol=8)


@pytest.mark.parametrize("matrix", videos.DISPLAY_MATRICES, ids=str)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p"])
def test_turned_pictures_show_what_rgb_shows(tmp_path, matrix, pixel_format):
    path = write_clip(
        tmp_path / "a.mp4", 2, pixel_format=pixel_format, sample_aspect_ratio=Fraction(4, 3)
    )
    videos.set_display_matrix(path, *matrix)
    with VideoReader(path, for_editing=True) as reader:
        frame = reader.read(1, 2)[0]
        assert frame.picture.size == (reader.info.height, reader.info.width) == frame.rgb.shape[:2]
        assert frame.picture.pixel_format == reader.info.picture_format
        np.testing.assert_allclose(pictures.to_rgb(frame.picture).astype(int), frame.rgb, atol=3)
        assert reader.info.sample_aspect_ratio == (Fraction(4, 3) if matrix[0] else Fraction(3, 4))


@pytest.mark.parametrize("matrix", videos.DISPLAY_MATRICES, ids=str)
def test_pictures_stand_as_ffmpeg_shows_them(tmp_path, matrix):
    """Against libavfilter's own filters, those that ffmpeg puts in for a display matrix."""
    path = videos.set_display_matrix(write_clip(tmp_path / "a.mp4", 3), *matrix)
    copy_film(path, tmp_path / "a.mkv", codec="ffv1")
    shown = planes_of(tmp_path / "a.mkv")
    for picture, expected in zip(shown, videos.autorotated(path), strict=True):
        assert_same(picture, Picture(expected, "yuv420p", picture.color))


def test_an_odd_angle_is_told(tmp_path, caplog):
    # 20 degrees
    path = videos.set_display_matrix(write_clip(tmp_path / "a.mp4", 2), 0.94, 0.34, -0.34, 0.94)
    assert info_of(path).orientation.is_upright
    assert caplog.messages == [
        f"{path} asks to be turned by an odd angle; it is turned by 0 degrees"
    ]


def test_reading_on_and_on_holds_one_frame(tmp_path):
    with VideoReader(write_clip(tmp_path / "a.mp4", 40), for_editing=True) as reader:
        found = []
        for frame in reader:
            found.append(number_of(frame.rgb))
            assert len(reader._ready) == 1 and len(reader._decoded) <= 8
        assert found == list(range(40))


# Writing: numbers, tags and times

PIXEL_FORMATS = ("yuv420p", "yuv422p10le", "yuv444p", "gray", "gbrp", "gbrp10le", "yuva420p")


@pytest.mark.parametrize(
    ("pixel_format", "size"),
    [
        *((name, (32, 48)) for name in PIXEL_FORMATS),
        ("yuv420p", (31, 47)),
    ],
)
def test_what_is_outside_the_hole_goes_through_bit_for_bit(tmp_path, pixel_format, size):
    color = (
        ColorTags(matrix=0, range=2)
        if pixel_format.startswith("gbr")
        else ColorTags(matrix=1, range=1)
    )
    originals = [noise(pixel_format, *size, seed=seed, color=color) for seed in range(4)]
    height, width = size
    same = dict(
        width=width, height=height, codec="ffv1", like_pixel_format=pixel_format, color=color
    )
    times = dict(rate=Fraction(25), time_base=Fraction(1, 1000))
    with VideoWriter(tmp_path / "source.mkv", **same, **times) as writer:
        for number, picture in enumerate(originals):
            writer.write(picture, number * 40)
    hole = np.zeros(size, dtype=bool)
    hole[8:16, 8:16] = True
    black = np.zeros((*size, 3), dtype=np.uint8)
    change = lambda frame: pictures.paste(frame.picture, black, hole)  # noqa: E731
    copy_film(tmp_path / "source.mkv", tmp_path / "a.mkv", codec="ffv1", change=change)
    for original, source, edited in zip(
        originals, planes_of(tmp_path / "source.mkv"), planes_of(tmp_path / "a.mkv"), strict=True
    ):
        assert_same(source, original)
        for before, after in list(zip(original.planes, edited.planes, strict=True))[
            :3
        ]:  # alpha never changes
            step = np.rint(np.array(size) / before.shape)
            changed = np.argwhere(before != after) * step
            assert len(changed) and (changed >= 8).all() and (changed < 16).all()
        luma = layout_of(pixel_format).planes[0]
        expected = pictures.from_rgb(black, pixel_format=pixel_format, color=color).planes[luma]
        np.testing.assert_array_equal(edited.planes[luma][hole], expected[hole])


@pytest.mark.parametrize(
    "tags",
    [(2, 0, 2, 2), (1, 1, 1, 1), (1, 2, 1, 1), (6, 1, 6, 6), (5, 2, 5, 6), (9, 1, 9, 16)],
    ids=str,
)
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "ffv1"), ("a.mp4", "libx265")]
)
def test_tags_are_carried_over(tmp_path, tags, name, codec):
    if codec == "libx265" and not videos.HAS_X265:
        pytest.skip("this libav has no such encoder")
    source = write_clip(tmp_path / "source.mp4", 3, tags=tags, width=64, height=64)
    expected = ColorTags(*tags)
    assert info_of(source).color == expected
    copy_film(source, tmp_path / name, codec=codec)
    if codec == "libx265" and expected == UNTAGGED:
        # libav's decoder takes a silent H.265 stream for limited
        expected = replace(expected, range=1)
    assert info_of(tmp_path / name).color == expected
    with VideoReader(source) as before, VideoReader(tmp_path / name) as after:
        difference = np.abs(before.read(0, 1)[0].rgb.astype(int) - after.read(0, 1)[0].rgb)
        assert np.median(difference) <= (0 if codec == "ffv1" else 6)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("first", [0, 1500])
def test_variable_times_are_kept(tmp_path, name, first):
    times = (first + np.cumsum([0] + [10, 35, 120, 33] * 5)).tolist()  # ms
    source = write_clip(
        tmp_path / "source.mkv", len(times), times=times, time_base=Fraction(1, 1000)
    )
    copy_film(source, tmp_path / name)
    assert times_of(tmp_path / name) == [Fraction(time, 1000) for time in times]
    with VideoReader(tmp_path / name) as reader:
        assert [number_of(frame.rgb) for frame in reader] == list(range(21))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_ntsc_times_are_kept(tmp_path, name):
    source = write_clip(tmp_path / "source.mp4", 30, fps=Fraction(30000, 1001), sound="aac")
    copy_film(source, tmp_path / name)
    expected = [number * Fraction(1001, 30000) for number in range(30)]
    if name == "a.mp4":
        assert times_of(tmp_path / name) == expected
    elif name == "a.mkv":
        assert [
            abs(a - b) <= Fraction(1, 2000)
            for a, b in zip(times_of(tmp_path / name), expected, strict=True)
        ]
    with VideoReader(tmp_path / name) as reader:
        assert [number_of(frame.rgb) for frame in reader] == list(range(30))
        np.testing.assert_allclose(reader.times, [float(time) for time in expected], atol=0.0011)


def test_times_finer_than_mpeg4_can_say(tmp_path):
    times = [number * 3003 for number in range(12)]
    source = write_clip(
        tmp_path / "source.ts", 12, times=times, time_base=Fraction(1, 90000), num_b_frames=0
    )
    copy_film(source, tmp_path / "a.mp4", codec="mpeg4")
    found = times_of(tmp_path / "a.mp4")
    np.testing.assert_allclose(
        [float(time - found[0]) for time in found],
        [number * 1001 / 30000 for number in range(12)],
        atol=2e-5,
    )


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("a.mpg", "mpeg2video"), ("a.mkv", "mpeg2video")]
)
def test_constant_rates_where_nothing_else_goes(tmp_path, name, codec):
    times = [number * 3003 for number in range(12)]
    source = write_clip(
        tmp_path / "source.ts",
        12,
        fps=Fraction(30000, 1001),
        times=times,
        time_base=Fraction(1, 90000),
    )
    copy_film(source, tmp_path / name, codec=codec)
    with VideoReader(tmp_path / name) as reader:
        assert [number_of(frame.rgb) for frame in reader] == list(range(12))
        np.testing.assert_allclose(
            reader.times, [number * 1001 / 30000 for number in range(12)], atol=0.0011
        )


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_shape_of_pixels_is_kept(tmp_path, name):
    source = write_clip(tmp_path / "source.mp4", 2, sample_aspect_ratio=Fraction(16, 11))
    copy_film(source, tmp_path / name)
    assert info_of(tmp_path / name).sample_aspect_ratio == Fraction(16, 11)


def test_h265_can_be_opened_by_apples_players(tmp_path):
    if not videos.HAS_X265:
        pytest.skip("this libav has no such encoder")
    copy_film(write_clip(tmp_path / "source.mp4", 3), tmp_path / "a.mp4", codec="libx265")
    assert b"hvc1" in (tmp_path / "a.mp4").read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "like", "size", "codec", "pixel_format"),
    [
        ("a.mp4", {}, "yuv420p", (64, 96), "libx264", "yuv420p"),
        ("a.mp4", {}, "nv12", (64, 96), "libx264", "yuv420p"),
        ("a.mp4", {}, "yuv422p10le", (64, 96), "libx264", "yuv422p10le"),
        ("a.mp4", {}, "yuv420p12le", (64, 96), "libx264", "yuv420p10le"),
        ("a.mp4", {}, "gbrp", (64, 96), "libx264", "yuv444p"),
        ("a.mp4", {}, "yuv420p", (63, 95), "libx264", "yuv444p"),
        ("a.webm", {}, "yuv420p", (63, 95), "libvpx-vp9", "yuv420p"),
        ("a.avi", {}, "yuv420p10le", (64, 96), "mpeg4", "yuv420p"),
        ("a.mov", dict(codec="prores_ks"), "yuv420p", (64, 96), "prores_ks", "yuv422p10le"),
        ("a.mkv", dict(codec="ffv1"), "gbrp", (63, 95), "ffv1", "bgr0"),
        ("a.mp4", dict(pixel_format="yuv444p10le"), "yuv420p", (64, 96), "libx264", "yuv444p10le"),
        ("a.mp4", dict(codec="libsvtav1", quality=40), "yuv444p", (64, 96), "libsvtav1", "yuv420p"),
    ],
)
def test_codec_and_pixel_format(tmp_path, name, options, like, size, codec, pixel_format):
    if codec not in av.codecs_available:
        pytest.skip("this libav has no such encoder")
    height, width = size
    times = dict(rate=Fraction(25), time_base=Fraction(1, 25))
    with VideoWriter(
        tmp_path / name, width=width, height=height, like_pixel_format=like, **times, **options
    ) as writer:
        for number in range(3):
            writer.write(videos.numbered_frame(number, width=width, height=height), number)
    assert (writer.codec, writer.pixel_format) == (codec, pixel_format)
    with VideoReader(tmp_path / name) as reader:
        assert reader.info.pixel_format == pixel_format
        assert [number_of(frame.rgb) for frame in reader] == [0, 1, 2]


def test_quality_changes_the_size(tmp_path):
    frames = [
        np.random.default_rng(seed).integers(0, 256, (64, 96, 3)).astype(np.uint8)
        for seed in range(6)
    ]
    source = write_clip(tmp_path / "source.mp4", frames)
    for quality in (10, 40):
        copy_film(source, tmp_path / f"{quality}.mp4", quality=quality)
    assert (tmp_path / "10.mp4").stat().st_size > 2 * (tmp_path / "40.mp4").stat().st_size


@pytest.mark.parametrize(
    ("source", "pixel_format", "target", "options"),
    [
        ("source.mp4", "yuvj420p", "a.mpg", {}),  # MPEG-2 knows limited range only
        ("source.mp4", "yuvj420p", "a.avi", {}),
        ("source.mkv", "yuv420p10le", "a.mpg", {}),
        (
            "source.mp4",
            "yuv420p",
            "a.mkv",
            dict(codec="mjpeg", pixel_format="yuvj420p"),
        ),  # and Motion JPEG full range
        ("source.mp4", "yuv422p", "a.avi", dict(codec="mjpeg", pixel_format="yuvj422p")),
    ],
)
def test_a_range_that_the_file_cannot_say_is_changed(
    tmp_path, source, pixel_format, target, options
):
    """Left as they were the numbers would be taken for those of the other range: too dark, or
    pale."""
    color_range = 1 if pixel_format in ("yuv420p", "yuv422p") else 2
    frames = [np.full((64, 96, 3), level, np.uint8) for level in (0, 60, 128, 255)]
    write_clip(
        tmp_path / source,
        frames,
        pixel_format=pixel_format,
        tags=(5, color_range, 5, 6),
        options={"crf": "1"},
        gop=1,
    )
    levels = [frame.mean() for frame in shown(tmp_path / source)]
    copy_film(tmp_path / source, tmp_path / target, **options)
    assert [frame.mean() for frame in shown(tmp_path / target)] == pytest.approx(levels, abs=3)


def test_grey_films_are_as_bright_where_decoders_make_colours_of_them(tmp_path):
    frames = [np.full((64, 96, 3), level, np.uint8) for level in (0, 29, 150, 255)]
    source = write_clip(
        tmp_path / "source.mkv", frames, codec="ffv1", pixel_format="gray", num_b_frames=0
    )
    copy_film(source, tmp_path / "copy.mp4", quality=4)
    assert [frame.mean() for frame in shown(tmp_path / "copy.mp4")] == pytest.approx(
        [0, 29, 150, 255], abs=3
    )


def test_chroma_that_is_halved_one_way_stays_as_fine_the_other_way(tmp_path, caplog):
    source = write_clip(
        tmp_path / "source.mkv", 4, codec="ffv1", pixel_format="yuv440p", num_b_frames=0
    )
    assert copy_film(source, tmp_path / "a.mp4").pixel_format == "yuv444p" and caplog.messages == []


@pytest.mark.parametrize(
    ("matrix", "name"), [(8, "YCgCo"), (10, "BT.2020 with constant luminance"), (14, "ICtCp")]
)
def test_colours_that_cannot_be_read_are_refused(tmp_path, matrix, name):
    source = write_clip(
        tmp_path / "source.mkv", 4, codec="ffv1", num_b_frames=0, tags=(matrix, 1, 9, 16)
    )
    with pytest.raises(
        UserError, match=f"source.mkv has colours in {name}, which can't be read: convert it"
    ):
        VideoReader(source)


def test_a_raw_stream_goes_at_its_own_rate(tmp_path):
    with VideoReader(write_clip(tmp_path / "a.h264", 20, fps=10)) as reader:
        assert reader.info.rate == 10 and reader.times[-1] == pytest.approx(1.9)


def test_a_second_picture_stream_is_told(tmp_path, caplog):
    one = write_clip(tmp_path / "one.mkv", 4)
    with (
        av.open(str(one)) as a,
        av.open(str(one)) as b,
        av.open(str(tmp_path / "two.mkv"), "w") as both,
    ):
        targets = [both.add_stream_from_template(source.streams.video[0]) for source in (a, b)]
        for source, target in zip((a, b), targets, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = target
                    both.mux(packet)
    copy_film(
        tmp_path / "two.mkv", tmp_path / "copy.mkv", sound_from=tmp_path / "two.mkv", extras=True
    )
    assert (
        f"{tmp_path / 'two.mkv'}: it has 2 picture streams, of which the first is taken"
        in caplog.messages
    )


@pytest.mark.parametrize(
    ("codec", "target"),
    [("prores_ks", "a.mov"), ("libx264", "a.mov"), ("ffv1", "a.mkv"), ("libx265", "a.mp4")],
)
def test_colours_reach_encoders_that_ask_the_picture_for_them(tmp_path, codec, target, caplog):
    source = write_clip(tmp_path / "source.mp4", 4, tags=(9, 1, 9, 16), pixel_format="yuv420p10le")
    copy_film(source, tmp_path / target, codec=codec)
    assert info_of(tmp_path / target).color == ColorTags(
        matrix=9, range=1, primaries=9, transfer=16
    )
    assert not [line for line in caplog.messages if "colours are" in line]


def test_sound_that_is_left_out_is_told(tmp_path, caplog):
    """Two Matroska files end to end: the times of the second's sound lie before those of the
    first."""
    one = write_clip(tmp_path / "one.mkv", 24, sound="aac")
    (tmp_path / "two.mkv").write_bytes(2 * one.read_bytes())
    copy_film(tmp_path / "two.mkv", tmp_path / "copy.mkv")
    found = [
        line
        for line in caplog.messages
        if "s of sound are left out, whose times lie before" in line
    ]
    assert len(found) == 1 and 0.8 < float(found[0].split(": ")[1].split(" s ")[0]) < 1.2


def shown(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("target", "codec", "line"),
    [
        (
            "a.webm",
            None,
            "the aspect of the film's pixels, 4:3, becomes 1:1, as libvpx-vp9 in .webm can't say "
            "it",
        ),
        (
            "a.mkv",
            "ffv1",
            "the aspect of the film's pixels, 4:3, becomes 1:1, as ffv1 in .mkv can't say it",
        ),
        (
            "a.avi",
            None,
            "mpeg4 in .avi can't say what the film's colours are (matrix 9, primaries 9, transfer "
            "14",
        ),
        ("a.mp4", None, None),
        ("a.mkv", None, None),
    ],
)
def test_what_a_file_cannot_say_is_told(tmp_path, target, codec, line, caplog):
    if target == "a.webm" and not videos.HAS_VPX:
        pytest.skip("this libav has no such encoder")
    write_clip(tmp_path / "source.mp4", 6, tags=(9, 1, 9, 14), sample_aspect_ratio=Fraction(4, 3))
    copy_film(tmp_path / "source.mp4", tmp_path / target, codec=codec)
    assert [line in message for message in caplog.messages] == [True] * (line is not None)


# Sound


@pytest.mark.parametrize(
    ("sound", "source_name", "name"),
    [
        ("aac", "source.mp4", "a.mp4"),
        ("aac", "source.mp4", "a.mkv"),
        ("aac", "source.mkv", "a.mp4"),
        ("libmp3lame", "source.mp4", "a.mov"),
        ("libopus", "source.mkv", "a.webm"),
        ("pcm_s16le", "source.mkv", "a.mkv"),
        ("pcm_s16le", "source.avi", "a.mkv"),
        ("flac", "source.mkv", "a.mp4"),
    ],
)
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 2)])
def test_sound_is_copied_in_time(tmp_path, sound, source_name, name, start):
    if source_name.endswith(".avi") and start:
        pytest.skip("AVI knows no late sound")
    codec = "mpeg4" if source_name.endswith(".avi") else "libx264"
    source = write_clip(tmp_path / source_name, 48, sound=sound, sound_start=start, codec=codec)
    copy_film(source, tmp_path / name)
    before, after = sound_of(source), sound_of(tmp_path / name)
    assert len(before) >= 20
    assert [digest for digest, _ in after] == [digest for digest, _ in before]
    for (_, time), (_, expected) in zip(after, before, strict=True):
        assert abs(time - expected) <= Fraction(1, 900)
    for path in (source, tmp_path / name):
        first, last, loudness = heard(path)
        assert first == pytest.approx(float(start), abs=0.03) and last == pytest.approx(
            float(start) + 2, abs=0.1
        )
        assert loudness == pytest.approx(0.21, abs=0.02)
    assert abs(times_of(tmp_path / name)[0] - times_of(source)[0]) <= Fraction(1, 2000)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_names_inside_that_are_no_utf_8(tmp_path, name):
    """Titles and handlers that old programs wrote, or that are damaged, are no reason to refuse the
    film or its sound."""
    settings = {"fflags": "+autobsf"}  # not bitexact: with the name of the program that wrote it
    path = write_clip(
        tmp_path / name, 48, sound="aac", sound_start=Fraction(0), container_options=settings
    )
    data, sound = path.read_bytes(), sound_of(path)
    spoiled = [word for word in (b"VideoHandler", b"SoundHandler", b"ENCODER") if word in data]
    for word in spoiled:
        data = data.replace(word, word[:3] + b"\xe9" + word[4:])
    assert spoiled
    path.write_bytes(data)
    copy_film(path, tmp_path / "copy.mkv")
    assert len(times_of(tmp_path / "copy.mkv")) == 48
    assert [digest for digest, _ in sound_of(tmp_path / "copy.mkv")] == [
        digest for digest, _ in sound
    ]


def test_sound_before_late_pictures(tmp_path):
    times = [1000 + 40 * number for number in range(30)]
    source = write_clip(
        tmp_path / "source.mkv", 30, times=times, time_base=Fraction(1, 1000), fps=25, sound="aac"
    )
    for name in ("a.mp4", "a.mkv"):
        copy_film(source, tmp_path / name)
        assert sound_of(tmp_path / name)[0][0] == sound_of(source)[0][0]
        assert heard(tmp_path / name)[0] == pytest.approx(0, abs=0.03)
        assert times_of(tmp_path / name) == [Fraction(time, 1000) for time in times]


@pytest.mark.parametrize(
    ("sound", "name", "codec"),
    [("aac", "a.webm", "libopus"), ("libopus", "a.avi", "libmp3lame"), ("flac", "a.ts", "aac")],
)
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 2)])
def test_sound_is_coded_anew_where_the_container_needs_it(
    tmp_path, caplog, sound, name, codec, start
):
    source = write_clip(tmp_path / "source.mkv", 48, sound=sound, sound_start=start)
    with caplog.at_level(logging.INFO, "nunif.video"):
        copy_film(source, tmp_path / name)
    decoder = av.open(str(source)).streams.audio[0].codec_context.name
    late_in_avi = [
        "a.avi: .avi can't start sound and pictures apart; the sound will be 0.49 s off"
    ] * (name == "a.avi" and start > 0)
    assert [record.getMessage().removeprefix(f"{tmp_path}/") for record in caplog.records] == [
        f"source.mkv: the sound ({decoder}) is coded anew as {codec}",
        *late_in_avi,
    ]
    first, last, loudness = heard(tmp_path / name)
    shift = float(times_of(tmp_path / name)[0]) if name == "a.ts" else 0
    late = 0 if name == "a.avi" else float(start)
    assert first - shift == pytest.approx(late, abs=0.06)
    assert last - first == pytest.approx(2, abs=0.1) and loudness == pytest.approx(0.21, abs=0.03)


def test_all_sound_streams_are_carried_over(tmp_path):
    one = write_clip(tmp_path / "one.mkv", 24, sound="aac")
    two = write_clip(tmp_path / "two.mkv", 24, sound="flac")
    with (
        av.open(str(one)) as first,
        av.open(str(two)) as second,
        av.open(str(tmp_path / "source.mkv"), "w") as both,
    ):
        streams = [first.streams.video[0], first.streams.audio[0], second.streams.audio[0]]
        targets = [both.add_stream_from_template(stream, opaque=True) for stream in streams]
        targets[2].metadata["language"] = "fre"
        for container, stream, target in zip((first, first, second), streams, targets, strict=True):
            container.seek(0)
            for packet in container.demux(stream):
                if packet.size:
                    packet.stream = target
                    both.mux(packet)
    copy_film(tmp_path / "source.mkv", tmp_path / "a.mkv")
    for stream in (0, 1):
        digests = [digest for digest, _ in sound_of(tmp_path / "source.mkv", stream=stream)]
        assert (
            len(digests) > 5
            and [d for d, _ in sound_of(tmp_path / "a.mkv", stream=stream)] == digests
        )
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert [stream.language for stream in container.streams.audio] == [None, "fre"]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
@pytest.mark.parametrize(
    ("source_name", "options"),
    [("sound.mkv", {}), ("sound.mp4", {"movflags": "faststart"})],
    ids=["mkv", "mp4"],
)
def test_sound_that_breaks_off_is_told_and_costs_no_picture(
    tmp_path, name, source_name, options, caplog
):
    silent = write_clip(tmp_path / "silent.mp4", 72, fps=24)
    sound = write_clip(tmp_path / source_name, 72, sound="aac", container_options=options)
    videos.truncate(sound, 0.5)
    copy_film(silent, tmp_path / name, sound_from=sound)
    assert len(times_of(tmp_path / name)) == 72
    assert 0.5 < heard(tmp_path / name)[1] < 2.5
    assert len(caplog.messages) == 1 and f"{sound}: the sound is damaged at 1." in caplog.text


def test_damaged_packets_of_sound_that_is_coded_anew_are_passed_over(tmp_path, caplog):
    source = write_clip(tmp_path / "source.mp4", 72, sound="aac")
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    for position, size in packets[60:63]:
        data[position : position + size] = b"\xff" * size
    source.write_bytes(data)
    copy_film(source, tmp_path / "a.webm")
    assert caplog.text.count("the sound is damaged") == 1
    first, last, _ = heard(tmp_path / "a.webm")
    assert first == pytest.approx(0, abs=0.03) and last == pytest.approx(3, abs=0.1)


# Endings


def stop_at(number: int, error: BaseException):
    def change(frame):
        if number_of(frame.rgb) == number:
            raise error
        return frame.picture

    return change


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("no memory")], ids=["Ctrl-C", "error"]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_an_exception_leaves_a_playable_unfinished_file(tmp_path, caplog, error, name):
    source = write_clip(tmp_path / "source.mp4", 72, sound="aac")
    with pytest.raises(type(error)):
        copy_film(source, tmp_path / name, change=stop_at(30, error))
    unfinished = f"a.unfinished{Path(name).suffix}"
    assert names(tmp_path) == sorted([unfinished, "source.mp4"])
    with VideoReader(tmp_path / unfinished) as reader:
        assert [number_of(frame.rgb) for frame in reader] == list(range(30))
    assert heard(tmp_path / unfinished)[1] == pytest.approx(30 / 24, abs=0.08)
    assert (
        caplog.messages[-1]
        == f"{tmp_path / unfinished} holds the 30 frames (1.2 s) that were finished"
    )


def test_the_writer_says_where_the_unfinished_file_is(tmp_path):
    times = dict(rate=Fraction(24), time_base=Fraction(1, 24))
    with (
        pytest.raises(RuntimeError),
        VideoWriter(tmp_path / "a.mp4", width=96, height=64, **times) as writer,
    ):
        writer.write(videos.numbered_frame(0), 0)
        raise RuntimeError
    assert writer.unfinished_path == tmp_path / "a.unfinished.mp4" and writer.num_frames == 1


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    source = write_clip(tmp_path / "source.mp4", 24)
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        copy_film(source, tmp_path / "a.mp4", change=stop_at(10, KeyboardInterrupt()))
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert copy_film(source, tmp_path / "a.mp4").unfinished_path is None
    assert len(times_of(tmp_path / "a.mp4")) == 24


def test_a_damaged_source_leaves_what_came_before(tmp_path):
    source = write_clip(
        tmp_path / "source.mp4", 72, gop=24, num_b_frames=0, options={"crf": "12"}, sound="aac"
    )
    videos.damage_packet(source, 40)
    with pytest.raises(BrokenVideo):
        copy_film(source, tmp_path / "a.mp4")
    with VideoReader(tmp_path / "a.unfinished.mp4") as reader:
        assert [number_of(frame.rgb) for frame in reader] == list(range(40))


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), RuntimeError()])
def test_no_frame_leaves_nothing(tmp_path, error):
    times = dict(rate=Fraction(24), time_base=Fraction(1, 24))
    with pytest.raises(UserError if error is None else type(error)):
        with VideoWriter(tmp_path / "a.mp4", width=96, height=64, **times):
            assert len(names(tmp_path)) == 1
            if error is not None:
                raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("times_struck", [1, 2])
def test_ctrl_c_while_finishing(tmp_path, monkeypatch, times_struck):
    source = write_clip(tmp_path / "source.mp4", 24)
    finish, struck = VideoWriter._finish, []

    def interrupted(self, **options):
        if len(struck) < times_struck:
            struck.append(True)
            raise KeyboardInterrupt
        finish(self, **options)

    monkeypatch.setattr(VideoWriter, "_finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copy_film(source, tmp_path / "a.mp4")
    assert names(tmp_path) == (
        ["a.unfinished.mp4", "source.mp4"] if times_struck == 1 else ["source.mp4"]
    )
    if times_struck == 1:
        assert len(times_of(tmp_path / "a.unfinished.mp4")) == 24


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_full_disk_is_one_clear_error(tmp_path, name, caplog):
    source = write_clip(tmp_path / "source.mp4", 72, width=256, height=256, sound="aac")
    (tmp_path / f".partial-{os.getpid()}-{name}").symlink_to("/dev/full")
    with pytest.raises(UserError, match="disk full while writing") as caught:
        copy_film(source, tmp_path / name, quality=1)
    assert "\n" not in str(caught.value) and caplog.messages == []
    assert names(tmp_path) == ["source.mp4"]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "a.mp4",
            dict(codec="libx999"),
            "codec libx999 is no encoder of pictures that this libav has; choose one of",
        ),
        ("a.mp4", dict(codec="aac"), "codec aac is no encoder of pictures"),
        ("a.mp4", dict(pixel_format="yuv999"), "there is no pixel format yuv999; choose"),
        (
            "a.mp4",
            dict(pixel_format="bgr0"),
            r"codec libx264 and pixel format bgr0 at 96x64 \(.*the codec takes yuv420p",
        ),
        ("a.mp4", dict(codec="ffv1", pixel_format="nv12"), "the codec takes"),
        ("a.webm", dict(codec="libx264"), "a.webm can't be written with codec libx264"),
        ("a.xyz", {}, "'.xyz' is none of the suffixes .avi .m4v .mkv"),
        ("a", {}, "'' is none of the suffixes"),
        (
            "a.mp4",
            dict(width=95, pixel_format="yuv420p"),
            "95x64 can't be yuv420p; choose yuv444p or an even size",
        ),
        (
            "a.mkv",
            dict(codec="ffv1", quality=20),
            "quality 20: codec ffv1 has no such setting; leave it out or choose",
        ),
        ("a.mov", dict(codec="prores_ks", quality=20), "codec prores_ks has no such setting"),
        ("a.mp4", dict(width=0), "at 0x64"),
        ("missing/a.mp4", {}, "No such file or directory"),
        ("folder", {}, "it is a folder; name a file in it"),
        ("source.mp4", {}, "it is the source .*source.mp4; choose another name"),
        ("folder/../source.mp4", {}, "it is the source"),
        ("link.mp4", {}, "it is the source"),
        ("a.mp4", dict(sound_from=Path("loop.mp4")), "loop.mp4 can't be read for its sound"),
        ("a.mp4", dict(sound_from=Path("gone.mp4")), "gone.mp4 can't be read for its sound"),
    ],
)
def test_refusals(tmp_path, name, options, text):
    source = write_clip(tmp_path / "source.mp4", 2)
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "folder").mkdir()
    before = names(tmp_path), source.read_bytes()
    options = (
        dict(width=96, height=64, rate=Fraction(24), time_base=Fraction(1, 24), sound_from=source)
        | options
    )
    options["sound_from"] = tmp_path / options["sound_from"]
    with pytest.raises(UserError, match=text) as caught:
        with VideoWriter(tmp_path / name, **options) as writer:
            writer.write(videos.numbered_frame(0, width=options["width"]), 0)
    assert "\n" not in str(caught.value) and (str(tmp_path) in str(caught.value) or "gone" in text)
    assert (names(tmp_path), source.read_bytes()) == before


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(
        UserError, match=r"can't be written \(Permission denied\): choose another folder"
    ):
        VideoWriter(
            tmp_path / "a.mp4", width=96, height=64, rate=Fraction(24), time_base=Fraction(1, 24)
        )


def test_wrong_sizes_and_times_are_errors_of_the_caller(tmp_path):
    times = dict(rate=Fraction(24), time_base=Fraction(1, 24), keep_unfinished=False)
    for shape, pts, text in [
        ((64, 98), 1, "frame 1 is 98x64, the first was 96x64"),
        ((64, 96), 0, "has the time 0"),
    ]:
        with (
            pytest.raises(ValueError, match=text),
            VideoWriter(tmp_path / "a.mp4", width=96, height=64, **times) as writer,
        ):
            writer.write(videos.numbered_frame(0), 0)
            writer.write(np.zeros((*shape, 3), np.uint8), pts)
    assert names(tmp_path) == []


# Cuts along a film


def shots_with_edges() -> list[np.ndarray]:
    return videos.shots([30, 1, 17, 3, 40, 9, 25])


def test_marks_are_the_cuts_of_a_long_film():
    frames = shots_with_edges()
    marked = list(mark_cuts(frames))
    assert all(item is frame for (item, _), frame in zip(marked, frames, strict=True))
    assert (
        [number for number, (_, is_cut) in enumerate(marked) if is_cut]
        == find_cuts(frames)
        == [30, 31, 48, 51, 91, 100]
    )


def test_marks_of_deep_pictures_and_of_items(tmp_path):
    frames = shots_with_edges()
    items = [(number, frame.astype(np.uint16) * 257) for number, frame in enumerate(frames)]
    marked = mark_cuts(items, picture=lambda item: item[1])
    assert [number for (number, _), is_cut in marked if is_cut] == [30, 31, 48, 51, 91, 100]


@pytest.mark.parametrize(
    ("lengths", "cuts"), [([1, 20], [1]), ([2, 20], [2]), ([20, 1], [20]), ([20, 2], [20])]
)
def test_cuts_at_the_ends_are_marked(lengths, cuts):
    marked = list(mark_cuts(videos.shots(lengths)))
    assert [number for number, (_, is_cut) in enumerate(marked) if is_cut] == cuts


@pytest.mark.parametrize("count", range(6))
def test_short_films_keep_all_their_items(count):
    frames = videos.shots([count]) if count else []
    assert [is_cut for _, is_cut in mark_cuts(frames)] == [False] * count


def test_marking_takes_no_more_than_it_needs():
    taken = []

    def frames():
        for number, frame in enumerate(videos.shots([40])):
            taken.append(number)
            yield frame

    for number, _ in enumerate(mark_cuts(frames())):
        assert len(taken) <= number + CUT_MARGIN + 1


# Images


def test_deep_png(tmp_path):
    import cv2

    picture = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    image.save_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1], picture
    )


def test_a_reader_closes_while_another_thread_reads(tmp_path):
    source = write_clip(tmp_path / "source.mkv", 200, width=320, height=240)
    for _ in range(5):
        reader, seen = VideoReader(source, for_editing=True), []
        thread = threading.Thread(target=lambda r=reader, s=seen: s.extend(read_until_closed(r)))
        thread.start()
        while not seen and thread.is_alive():
            thread.join(0.001)
        reader.close()
        thread.join()
        assert seen[0] == 0 and seen == list(range(len(seen)))


def read_until_closed(reader):
    """The numbers of the frames that could be read, one by one."""
    for number in range(len(reader)):
        try:
            reader.read(number, number + 1)
        except ValueError as error:
            assert "has been closed" in str(error)
            return
        yield number
