"""PNG: other readers see the same pixels, parts are the parts of the whole, and damage is found."""

import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from nunif.image import (
    decode_binary,
    decode_grey,
    decode_rgb_part,
    encode_binary,
    encode_grey,
    encode_numbers,
    encode_rgb,
    is_torn_jpeg,
    read_rgb,
    with_notes,
)

RNG = np.random.default_rng(5)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 256, (48, 61, 3)).astype(np.uint8), (0, 0), 2)


@pytest.mark.parametrize(
    "picture", [PICTURE, PICTURE[:, ::-1], PICTURE[:1, :1], PICTURE.astype(np.uint16) * 257]
)
def test_other_readers_see_the_same_pixels(picture):
    decoded = cv2.imdecode(np.frombuffer(encode_rgb(picture), np.uint8), cv2.IMREAD_UNCHANGED)[
        ..., ::-1
    ]
    assert decoded.dtype == picture.dtype and np.array_equal(decoded, picture)


def test_a_mirrored_view_gives_the_bytes_of_its_copy():
    mirrored = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)[:, ::-1]
    assert encode_rgb(mirrored[2:, 1:-1]) == encode_rgb(mirrored[2:, 1:-1].copy())


def test_the_same_picture_is_the_same_bytes_in_any_thread():
    steps = np.random.default_rng(0).integers(-2, 3, (16, 96, 160, 3))
    pictures = list(np.cumsum(steps, axis=2).astype(np.uint8))
    calm = [encode_rgb(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            assert list(threads.map(encode_rgb, map(np.copy, pictures))) == calm


@pytest.mark.parametrize("by", ["us", "opencv", "jpeg"])
@pytest.mark.parametrize(
    "rows, columns",
    [((0, 48), (0, 61)), ((5, 20), (7, 9)), ((40, 48), (60, 61)), ((0, 1), (0, 61))],
)
def test_a_part_is_the_part_of_the_whole(tmp_path, by, rows, columns):
    path = tmp_path / "a.png"
    ours = {
        "us": encode_rgb,
        "opencv": lambda p: cv2.imencode(".png", p)[1],
        "jpeg": lambda p: cv2.imencode(".jpg", p)[1],
    }
    path.write_bytes(bytes(ours[by](PICTURE)))
    part, size = decode_rgb_part(path.read_bytes(), slice(*rows), slice(*columns))
    assert size == (48, 61)
    assert np.array_equal(part, read_rgb(path)[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("rows", [(0, 16), (15, 48), (16, 17), (47, 48), (31, 33), (9, 9)])
def test_a_part_of_any_rows(rows):
    part, _ = decode_rgb_part(encode_rgb(PICTURE), slice(*rows), slice(None))
    assert np.array_equal(part, PICTURE[slice(*rows)])


def test_masks_of_any_file_are_the_pixels_that_are_not_black():
    mask = np.random.default_rng(1).random((19, 43)) < 0.3
    grey = np.where(mask, np.arange(43, dtype=np.uint8) + 1, 0).astype(np.uint8)
    filtered = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    white = mask.astype(np.uint8) * 255
    files = [encode_binary(mask), bytes(cv2.imencode(".png", white, filtered)[1])]
    files += [encode_grey(grey), encode_numbers(grey), encode_rgb(np.dstack([white] * 3))]
    for data in files:
        decoded = decode_binary(data)
        assert decoded.dtype == bool and np.array_equal(decoded, mask)
        assert np.array_equal(decoded, decode_grey(data) > 0)
    # one bit of the pixels, and a file that lacks its last rows
    data = bytearray(files[0])
    data[50] ^= 4
    for damaged in (bytes(data), files[0][:60], b"", files[0][:30]):
        with pytest.raises(ValueError):
            decode_binary(damaged)


def test_every_flipped_byte_is_an_error_or_leaves_the_picture_as_it_is(tmp_path):
    path, data = tmp_path / "a.png", encode_rgb(PICTURE)
    found = 0
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            part, size = decode_rgb_part(path.read_bytes(), slice(3, 9), slice(4, 8))
        except ValueError:
            found += 1
            continue
        assert size != (48, 61) or np.array_equal(part, PICTURE[3:9, 4:8]), place
    assert found > 0.95 * len(range(0, len(data), 7))


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_jpeg_is_torn_where_its_picture_has_no_end(settings):
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    thumbnail, file = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture[:8, :8]).save(thumbnail, "JPEG")
    # a JPEG in the JPEG, which ends before the picture begins
    Image.fromarray(picture).save(file, "JPEG", exif=b"Exif\0\0" + thumbnail.getvalue(), **settings)
    data = file.getvalue()
    behind = b"a film \xff\xda and what else phones put there"
    assert not is_torn_jpeg(data) and not is_torn_jpeg(data + behind)
    assert not is_torn_jpeg(encode_rgb(picture))
    for length in (len(data) - 1, len(data) - 2, len(data) // 2, 700, 20):
        assert is_torn_jpeg(data[:length]), length


def test_notes_of_a_png_are_read_by_others_and_change_no_pixel():
    picture = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    tags = Image.Exif()
    tags[0x010F] = "Somebody"
    data = with_notes(encode_rgb(picture), profile=b"a profile" * 99, exif=tags.tobytes())
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == b"a profile" * 99
        assert dict(image.getexif()) == {0x010F: "Somebody"}
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(pixels[..., ::-1], picture)
