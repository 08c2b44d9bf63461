"""Both eyes in one picture, with literal expectations."""

from fractions import Fraction

import numpy as np
import pytest

from inpaint.runtime.stereo_layouts import LAYOUTS, layout_of

HALVES = {"half-sbs", "half-tb", "half-cross-eyed"}


def noise(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(
        1, np.iinfo(dtype).max, (height, width, 3), dtype=dtype
    )


def test_layouts_put_the_left_eye_where_their_name_says():
    left, right = np.full((4, 6, 3), 10, np.uint8), np.full((4, 6, 3), 20, np.uint8)
    sides = ("sbs", "half-sbs", "tb", "half-tb", "cross-eyed", "half-cross-eyed")
    rows = {name: LAYOUTS[name].compose(left, right) for name in sides}
    assert {name: picture.shape[:2] for name, picture in rows.items()} == {
        "sbs": (4, 12), "half-sbs": (4, 6), "tb": (8, 6), "half-tb": (4, 6),
        "cross-eyed": (4, 12), "half-cross-eyed": (4, 6),
    }  # fmt: skip
    for name, picture in rows.items():
        first, second = np.split(picture, 2, axis=0 if "tb" in name else 1)
        order = (20, 10) if "cross" in name else (10, 20)
        assert (first == order[0]).all() and (second == order[1]).all()


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [(6, 4), (7, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_size_of_a_layout_is_told_beforehand(name, size, dtype):
    eye = noise(size[1], size[0], dtype)
    picture = LAYOUTS[name].compose(eye, eye)
    assert picture.shape == (*LAYOUTS[name].size(*size)[::-1], 3) and picture.dtype == dtype
    assert LAYOUTS["half-sbs"].size(7, 5) == (8, 5) and LAYOUTS["half-tb"].size(7, 5) == (7, 6)


@pytest.mark.parametrize("scale", [1, 257])
def test_halves_average_the_pixels_they_cover(scale):
    dtype = np.uint8 if scale == 1 else np.uint16
    eye = (np.array([[10, 20, 50, 70]])[..., None].repeat(3, 2) * scale).astype(dtype)
    assert LAYOUTS["half-sbs"].compose(eye, eye)[0, :, 0].tolist() == [15 * scale, 60 * scale] * 2
    upright = eye.transpose(1, 0, 2)
    assert (
        LAYOUTS["half-tb"].compose(upright, upright)[:, 0, 0].tolist()
        == [15 * scale, 60 * scale] * 2
    )


def compose(name: str, dtype: type, left: list[int], right: list[int]) -> list[int]:
    """A pixel of both eyes in one, all in 8 bits."""
    white = np.iinfo(dtype).max
    eyes = (np.array([[rgb]]) * (white // 255) for rgb in (left, right))
    picture = LAYOUTS[name].compose(*(eye.astype(dtype) for eye in eyes))
    assert picture.dtype == dtype and picture.shape == (1, 1, 3)
    return np.rint(picture[0, 0] / (white // 255)).astype(int).tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["anaglyph", "dubois"])
def test_dubois(dtype, name):

    for grey in (0, 64, 128, 255):  # the same in both eyes stays what it is
        assert np.abs(np.array(compose(name, dtype, [grey] * 3, [grey] * 3)) - grey).max() <= 1
    assert compose(name, dtype, [255] * 3, [0] * 3) == [255, 0, 0]  # the left eye's white is red
    assert compose(name, dtype, [0] * 3, [255] * 3) == [0, 255, 255]
    # the left eye's red gives 0.437 of its light to red, and what is less than no light is none
    assert compose(name, dtype, [255, 0, 0], [0] * 3) == [177, 0, 0]
    assert compose(name, dtype, [128, 0, 0], [0] * 3) == [87, 0, 0]  # 0.216 of white's light
    assert compose(name, dtype, [0] * 3, [0, 255, 0]) == [0, 226, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_half_colour_has_the_left_eye_s_luma_in_red_and_the_right_eye_s_green_and_blue(dtype):
    for grey in (0, 64, 255):
        assert compose("half-colour", dtype, [grey] * 3, [grey] * 3) == [grey] * 3
    assert compose("half-colour", dtype, [255, 0, 0], [0, 0, 0]) == [76, 0, 0]
    assert compose("half-colour", dtype, [0, 255, 0], [9, 20, 30]) == [150, 20, 30]
    assert compose("half-colour", dtype, [10, 20, 250], [200, 40, 60]) == [43, 40, 60]


def test_vr180_puts_the_film_where_a_screen_of_its_angle_would_stand():
    """A film of 90 degrees fills half of the width of a half sphere, and at 45 degrees to a side
    what is at 45 degrees up is further up on a flat screen."""
    white = np.full((64, 64, 3), 255, np.uint8)
    left, right = np.split(LAYOUTS["vr180"].compose(white, white // 2), 2, axis=1)
    assert left.shape == (96, 96, 3)
    middle = left[48, :, 0]
    assert middle[23] < 128 < middle[24] and middle[71] > 128 > middle[72]
    assert left[24, 48, 0] > 128 > left[23, 48, 0]
    # atan(cos 44.1 degrees) = 35.7: where the screen's corner is seen
    column = left[:, 25, 0]
    assert column[28] < 128 < column[29]
    assert left.max() == 255 and right.max() == 127 and not left[0].any() and not left[:, 0].any()


def test_vr180_of_another_angle_size_and_pixels_that_are_not_square():
    eye = np.zeros((40, 60, 3), np.uint8)
    eye[:, :30] = 200
    narrow = layout_of("vr180", field_of_view=60.0)
    assert narrow.size(60, 40) == (312, 156)  # 1.5 * 60 / tan 30
    small = layout_of("vr180", field_of_view=60.0, side=90)
    assert small.size(60, 40) == (180, 90)
    row = small.compose(eye, eye)[45, :90, 0]
    # 60 of 180 degrees are 30 of 90 pixels
    assert np.flatnonzero(row > 100).tolist() == list(range(30, 45))
    assert np.flatnonzero(small.compose(eye + 9, eye)[45, :90, 0]).tolist()[-1] == 59
    wide = layout_of("vr180", side=90, pixel_aspect=Fraction(2))
    # 120 by 40: up to atan(1 / 3) = 18.4 degrees
    column = wide.compose(eye + 9, eye)[:, 40, 0]
    assert np.flatnonzero(column > 50).tolist() == list(range(36, 54))
