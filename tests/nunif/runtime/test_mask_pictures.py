"""What single mask pictures mean: indices, numbers, colours, alpha.

Axes: H W pixels.
"""

import cv2
import numpy as np
import pytest
from PIL import Image

from nunif.runtime.mask_pictures import Meaning, read_mask_picture
from nunif.runtime.mask_reading import understand
from tests.pictures import voc_palette

H, W = 24, 32
LEFT, RIGHT = np.s_[4:12, 4:12], np.s_[12:20, 18:28]


def picture(background=0, left=255, right=0, *, channels=0):
    """(H, W) or (H, W, channels) with two boxes."""
    shape = (H, W, channels) if channels else (H, W)
    result = np.full(shape, background, np.uint8)
    result[LEFT], result[RIGHT] = left, right
    return result


BOTH = picture(0, 1, 1) > 0
ONE = picture(0, 1, 0) > 0


def hole_of(path, **options):
    mask = read_mask_picture(path)
    return understand("m", [mask], **options).hole(mask)


def save(path, array, palette=None, **options):
    image = Image.fromarray(array, "P") if palette else Image.fromarray(array)
    if palette:
        image.putpalette(palette)
    image.save(path, **options)
    return path


def test_bright_in_any_colour(tmp_path):
    colors = np.array(
        [[[0, 0, 0], [128, 0, 0], [0, 128, 0], [127, 127, 127], [255, 255, 255]]], np.uint8
    )
    assert hole_of(save(tmp_path / "m.png", colors)).tolist() == [[False, True, True, False, True]]


def test_the_palette_is_that_of_davis():
    """Colours that its documentation and its files show."""
    palette = np.array(voc_palette()).reshape(256, 3).tolist()
    assert palette[:3] == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert (
        palette[8] == [64, 0, 0]
        and palette[255] == [224, 224, 192]
        and palette[7] == [128, 128, 128]
    )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize(
    ("left", "right", "hole"), [(1, 8, BOTH), (8, 255, ONE), (56, 7, BOTH), (200, 3, BOTH)]
)
def test_a_palette_image_is_an_index_image(tmp_path, suffix, left, right, hole):
    path = save(tmp_path / f"m{suffix}", picture(0, left, right), voc_palette())
    assert np.array_equal(hole_of(path), hole)
    assert read_mask_picture(path).meaning is Meaning.NUMBERS


def test_palettes_of_any_colours_and_fewer_bits(tmp_path):
    colours = [90, 20, 20, 1, 1, 1, 30, 60, 90]  # all dark
    assert np.array_equal(hole_of(save(tmp_path / "a.png", picture(0, 1, 2), colours)), BOTH)
    assert np.array_equal(
        hole_of(save(tmp_path / "b.png", picture(0, 1, 2), colours, bits=2)), BOTH
    )
    # the colours are left out
    assert np.array_equal(hole_of(save(tmp_path / "c.png", picture(0, 1, 2), [0, 0, 0])), BOTH)
    path = save(tmp_path / "d.png", picture(0, 1, 2), voc_palette(), transparency=0)
    assert np.array_equal(hole_of(path), BOTH)


@pytest.mark.parametrize(
    ("palette", "background", "left"),
    [
        ([0, 0, 0, 255, 255, 255], 0, 1),
        ([255, 255, 255, 0, 0, 0], 1, 0),  # a program that saves the commonest colour first
        ([level for level in range(256) for _ in range(3)], 0, 255),
        ([255, 0, 0, 0, 0, 0], 1, 0),  # red painted on black
    ],
)
def test_palettes_whose_colours_say_it(tmp_path, palette, background, left):
    path = save(tmp_path / "m.png", picture(background, left, background), palette)
    assert np.array_equal(hole_of(path), ONE)


@pytest.mark.parametrize(
    ("left", "right", "hole"),
    [
        (1, 2, BOTH),
        (1, 0, ONE),  # bool saved as it is
        (15, 8, BOTH),
        (255, 0, ONE),
        (15, 127, BOTH),
        (50, 200, BOTH),  # numbers spread over the range, so that they are seen
        (255, 255, BOTH),
        (254, 2, ONE),  # coding noise beside white
        (235, 16, ONE),  # and of video levels
    ],
)
def test_grey_of_objects_and_grey_of_masks(tmp_path, left, right, hole):
    path = save(tmp_path / "m.png", picture(0, left, right))
    assert np.array_equal(hole_of(path), hole)
    rgb = np.repeat(picture(0, left, right)[..., None], 3, axis=2)
    assert np.array_equal(hole_of(save(tmp_path / "rgb.png", rgb)), hole)
    assert np.array_equal(hole_of(save(tmp_path / "m.webp", rgb, lossless=True)), hole)


def test_numbers_of_16_bits(tmp_path):
    for name, values, hole in (
        ("a", (1, 300), BOTH),
        ("b", (65535, 65535), BOTH),
        ("c", (255, 26001), BOTH),
    ):
        cv2.imwrite(
            str(tmp_path / f"{name}.png"),
            np.where(ONE, values[0], BOTH * values[1]).astype(np.uint16),
        )
        assert np.array_equal(hole_of(tmp_path / f"{name}.png"), hole), name
    cv2.imwrite(str(tmp_path / "f.tif"), BOTH.astype(np.float32))
    assert np.array_equal(hole_of(tmp_path / "f.tif"), BOTH)


def test_white_of_8_bits_in_a_file_of_16(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), (BOTH * 255).astype(np.uint16))
    assert np.array_equal(hole_of(tmp_path / "a.png"), BOTH)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_of_several_pictures_in_a_file_none_is_taken_for_all(tmp_path, suffix):
    first, *others = [Image.fromarray((BOTH * level).astype(np.uint8)) for level in (255, 250, 245)]
    first.save(tmp_path / f"m{suffix}", save_all=True, append_images=others)
    with pytest.raises(ValueError, match="it holds 3 pictures, of which one would be read"):
        read_mask_picture(tmp_path / f"m{suffix}")


# what a picture with each of EXIF's orientations shows
UPRIGHT = {
    1: lambda picture: picture,
    2: np.fliplr,
    3: lambda picture: np.rot90(picture, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda picture: np.rot90(picture, -1),
    7: lambda picture: np.rot90(picture, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_a_mask_is_turned_as_its_tag_asks_for(tmp_path, suffix, orientation):
    mask = np.zeros((32, 48), np.uint8)
    mask[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(mask)
    image.save(
        tmp_path / f"m{suffix}", exif=exif, **({"lossless": True} if suffix == ".webp" else {})
    )
    if suffix == ".tif" and orientation > 4:
        with pytest.raises(ValueError, match="save it upright"):
            read_mask_picture(tmp_path / "m.tif")
        return
    assert np.array_equal(hole_of(tmp_path / f"m{suffix}"), UPRIGHT[orientation](mask > 127))


def test_a_cut_out_whose_object_leaves(tmp_path):
    """Where nothing is opaque nothing is missing, whatever the colours beneath are."""
    photo = np.random.default_rng(0).integers(0, 256, (*BOTH.shape, 3)).astype(np.uint8)
    for number, alpha in enumerate((BOTH, np.zeros_like(BOTH), np.ones_like(BOTH))):
        cv2.imwrite(
            str(tmp_path / f"{number}.png"), np.dstack([photo, alpha * 255]).astype(np.uint8)
        )
    pictures = [read_mask_picture(tmp_path / f"{number}.png") for number in range(3)]
    reading = understand("m", pictures)
    holes = [reading.hole(picture).mean() for picture in pictures]
    assert holes == [BOTH.mean(), 0, 1]


def test_the_half_of_a_faint_alpha_counts(tmp_path):
    cv2.imwrite(
        str(tmp_path / "a.png"),
        np.dstack([*[np.full(BOTH.shape, 255)] * 3, np.where(ONE, 89, BOTH * 127)]).astype(
            np.uint8
        ),
    )
    assert np.array_equal(hole_of(tmp_path / "a.png"), BOTH)


def test_grey_with_alpha_in_a_tiff(tmp_path):
    Image.merge(
        "LA",
        [
            Image.fromarray(np.full(BOTH.shape, 180, np.uint8)),
            Image.fromarray((BOTH * 255).astype(np.uint8)),
        ],
    ).save(tmp_path / "a.tif")
    assert np.array_equal(hole_of(tmp_path / "a.tif"), BOTH)


@pytest.mark.parametrize("name", ["m.jpg", "m.png"])
def test_dark_objects_beside_bright_ones_are_told(tmp_path, name, caplog):
    cv2.imwrite(str(tmp_path / name), np.where(ONE, 110, BOTH * 255).astype(np.uint8))
    understand("m", [read_mask_picture(tmp_path / name)])
    assert any(
        "of a picture is dark without being black, and isn't missing" in line
        for line in caplog.messages
    )


def test_what_belongs_to_nothing_is_around_objects(tmp_path):
    numbers = picture(0, 15, 0)
    numbers[3:13, 3], numbers[3:13, 12], numbers[3, 3:13], numbers[12, 3:13] = 255, 255, 255, 255
    assert np.array_equal(hole_of(save(tmp_path / "m.png", numbers)), ONE)


def test_soft_edges_are_no_objects(tmp_path):
    soft = picture(0, 255, 255)
    soft[4:12, 4], soft[4:12, 11] = 127, 128
    hole = BOTH.copy()
    hole[4:12, 4] = False
    assert np.array_equal(hole_of(save(tmp_path / "a.png", soft)), hole)
    soft = cv2.GaussianBlur(picture(0, 255, 255), (0, 0), 1.5)
    assert np.array_equal(hole_of(save(tmp_path / "b.png", soft)), soft > 127)
    soft[soft > 127] = 0  # only the dark part
    assert not hole_of(save(tmp_path / "c.png", soft)).any()
    jpeg = tmp_path / "m.jpg"
    cv2.imwrite(str(jpeg), picture(0, 2, 255))
    assert (hole_of(jpeg) != (picture(0, 0, 1) > 0)).sum() <= 4


@pytest.mark.parametrize(
    ("left", "right"),
    [((64, 0, 0), (0, 0, 128)), ((20, 90, 30), (7, 3, 99)), ((255, 0, 0), (0, 40, 0))],
)
def test_objects_painted_in_dark_colours(tmp_path, left, right):
    assert np.array_equal(
        hole_of(save(tmp_path / "m.png", picture(0, left, right, channels=3))), BOTH
    )


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("colour", [0, 255, "photo"])
def test_the_alpha_is_the_mask_where_colours_say_nothing(tmp_path, suffix, colour):
    rgba = np.full((H, W, 4), 0 if colour == "photo" else colour, np.uint8)
    if colour == "photo":
        rgba[..., :3] = np.random.default_rng(0).integers(0, 256, (H, W, 3))
    rgba[..., 3] = np.where(BOTH, 255, 0)
    path = save(
        tmp_path / f"m{suffix}",
        rgba,
        **({"lossless": True, "exact": True} if suffix == ".webp" else {}),
    )
    assert np.array_equal(hole_of(path), BOTH)
    assert np.array_equal(hole_of(path, invert=True, large_holes=True), ~BOTH)


def test_other_ways_to_keep_alpha(tmp_path):
    grey = Image.fromarray(np.full((H, W), 255, np.uint8))
    grey.putalpha(Image.fromarray(picture(0, 255, 255)))
    grey.save(tmp_path / "la.png")
    assert np.array_equal(hole_of(tmp_path / "la.png"), BOTH)
    deep = np.full((H, W, 4), 65535, np.uint16)
    deep[..., 3] = BOTH * 65535
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert np.array_equal(hole_of(tmp_path / "deep.png"), BOTH)
    save(
        tmp_path / "key.png",
        np.where(BOTH, 200, 255)[..., None].repeat(3, axis=2).astype(np.uint8),
        transparency=(255,) * 3,
    )
    assert np.array_equal(hole_of(tmp_path / "key.png"), BOTH)
    save(tmp_path / "p.png", picture(0, 1, 2), [255] * 9, transparency=bytes([0, 255, 255]))
    assert np.array_equal(hole_of(tmp_path / "p.png"), BOTH)


def test_an_alpha_that_says_nothing_leaves_it_to_the_colours(tmp_path):
    for alpha in (255, 128, 0):
        rgba = np.dstack([picture(0, 255, 255, channels=3), np.full((H, W), alpha, np.uint8)])
        assert np.array_equal(hole_of(save(tmp_path / "m.png", rgba)), BOTH), alpha
    rgba[..., 3] = 255
    rgba[RIGHT] = (255, 255, 255, 0)  # white, but not seen
    assert np.array_equal(hole_of(save(tmp_path / "m.png", rgba)), ONE)
    rgba[..., :3] = 255
    rgba[..., 3] = 0
    assert not hole_of(save(tmp_path / "m.png", rgba)).any()


@pytest.mark.parametrize("kind", ["palette", "grey"])
def test_torn_pictures_are_refused(tmp_path, kind):
    path = save(tmp_path / "m.png", picture(0, 1, 8), voc_palette() if kind == "palette" else None)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="truncated"):
        read_mask_picture(path)
