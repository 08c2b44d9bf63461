"""Folders of numbered pictures as films: every kind and depth, the right order and times, and what
is refused.

Axes: H W pixels, 3 = R G B.
"""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from nunif.errors import UserError
from nunif.numbered import numbered_pictures
from nunif.video import picture as pictures
from nunif.video.film import PictureFilm, folder_hash, list_films, open_film, parse_fps
from nunif.video.reader import BrokenVideo
from tests.pictures import voc_palette
from tests.videos import number_of, numbered_frame, write_clip

H, W = 32, 48
ROOT = Path(__file__).resolve().parents[2]


def shown(number, *, dtype=np.uint8):
    """(H, W, 3) that tells its number, with numbers that 8 bits can't hold where there are 16."""
    picture = numbered_frame(number, width=W, height=H)
    return picture if dtype == np.uint8 else picture.astype(np.uint16) * 256 + 77


def write_row(folder, numbers=range(1001, 1007), name="plate.{:04d}.png", dtype=np.uint8):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        assert cv2.imwrite(
            str(folder / name.format(number)), shown(number % 1000, dtype=dtype)[..., ::-1]
        )
    return folder


def read(folder, **options):
    with PictureFilm(folder, **options) as film:
        return list(film)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "webp", "jpg", "JPEG"])
def test_pictures_of_8_bits(tmp_path, suffix):
    folder = write_row(tmp_path / "row", name="a_{:d}." + suffix)
    frames = read(folder, for_editing=True)
    for number, frame in enumerate(frames, start=1):
        assert frame.rgb.dtype == np.uint8 and number_of(frame.rgb) == number
        truth = cv2.imread(str(folder / f"a_{1000 + number}.{suffix}"))[..., ::-1]
        apart = np.abs(frame.rgb.astype(int) - truth).max()
        # decoders smooth chroma as they like
        assert apart == 0 or (suffix in ("jpg", "JPEG") and apart <= 40), apart
    assert len(frames) == 6


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures_of_16_bits_come_to_the_last_bit(tmp_path, suffix):
    frames = read(
        write_row(tmp_path / "row", name="{}." + suffix, dtype=np.uint16), for_editing=True
    )
    assert [
        np.array_equal(frame.rgb, shown(n, dtype=np.uint16))
        for n, frame in enumerate(frames, start=1)
    ] == [True] * 6
    assert frames[0].picture.pixel_format.startswith("gbrp16")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_one_bit_and_palettes(tmp_path, dtype):
    grey = shown(5, dtype=dtype)[..., 0]
    folder = tmp_path / "grey"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), grey)
    (frame,) = read(folder, for_editing=True)
    assert np.array_equal(frame.rgb, np.repeat(grey[..., None], 3, axis=2))
    Image.fromarray(grey > 99).save(folder / "0.png")
    assert np.array_equal(read(folder)[0].rgb[..., 1] > 0, grey > 99)
    indices = np.arange(H * W).reshape(H, W).astype(np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(voc_palette())
    picture.save(folder / "0.png")
    assert np.array_equal(
        read(folder)[0].rgb, np.array(voc_palette(), np.uint8).reshape(256, 3)[indices]
    )


def test_all_come_in_the_format_of_the_richest(tmp_path):
    """Programs write a black frame as grey, or with one bit."""
    folder = write_row(tmp_path / "row", dtype=np.uint16)
    cv2.imwrite(str(folder / "plate.1001.png"), np.zeros((H, W), np.uint8))
    cv2.imwrite(str(folder / "plate.1003.png"), shown(3)[..., ::-1])
    frames = read(folder, for_editing=True)
    assert {frame.picture.pixel_format for frame in frames} == {frames[0].picture.pixel_format}
    assert {frame.rgb.dtype for frame in frames} == {np.dtype(np.uint16)}
    assert not frames[0].rgb.any() and np.array_equal(
        frames[2].rgb, shown(3).astype(np.uint16) * 257
    )
    assert np.array_equal(frames[1].rgb, shown(2, dtype=np.uint16))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(tmp_path, orientation):
    picture = Image.fromarray(shown(5))
    tags = picture.getexif()
    tags[0x0112] = orientation
    (tmp_path / "row").mkdir()
    for number in (1, 2):
        picture.save(tmp_path / "row" / f"{number}.jpg", exif=tags, quality=98)
    truth = np.asarray(
        ImageOps.exif_transpose(Image.open(tmp_path / "row" / "2.jpg")).convert("RGB")
    ).astype(int)
    with PictureFilm(tmp_path / "row", for_editing=True) as film:
        assert (film.info.height, film.info.width) == truth.shape[:2]
        (frame,) = film.read(1, 2)
    assert frame.picture.size == truth.shape[:2] and np.abs(frame.rgb - truth).max() <= 40


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        ("24", Fraction(24)),
        ("23.976", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_times(tmp_path, fps, rate):
    assert parse_fps(fps) == rate
    with open_film(write_row(tmp_path / "row"), fps=fps) as film:
        assert [frame.pts * film.info.time_base for frame in film] == [
            number / rate for number in range(6)
        ]
        assert film.times.tolist() == pytest.approx([float(number / rate) for number in range(6)])
        assert film.info.rate == rate and not film.info.has_sound
    with open_film(tmp_path / "row", fps=fps, max_fps=float(rate) / 2) as film:
        assert [number_of(frame.rgb) for frame in film] == [1, 3, 5] and film.numbers == [
            1001,
            1003,
            1005,
        ]


@pytest.mark.parametrize("fps", ["0", "-24", "fast", "1/0", "nan", "5000", ""])
def test_rates_that_are_none(fps):
    with pytest.raises(
        UserError, match=r"is no rate: give frames per second such as 24, 23\.976 or 30000/1001"
    ):
        parse_fps(fps)


def test_a_rate_is_assumed_and_said(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = write_row(tmp_path / "row")
    with open_film(folder) as film:
        assert film.info.rate == 24
    assert caplog.messages == [f"{folder} is taken as 24 pictures per second: --fps chooses"]
    with pytest.raises(
        UserError,
        match=r"--fps 24 is for a folder of pictures, and .*film\.mp4 is none: leave it out",
    ):
        open_film(write_clip(tmp_path / "film.mp4", 2), fps="24")


def test_numbers_order_the_film_and_not_names(tmp_path):
    folder = write_row(tmp_path / "row", range(8, 12), name="v2_{}_4k.png")
    assert [number_of(frame.rgb) for frame in read(folder)] == [8, 9, 10, 11]
    assert list(numbered_pictures(folder, name="row")) == [8, 9, 10, 11]


@pytest.mark.parametrize(
    ("numbers", "others", "text"),
    [
        ([1, 2, 4], [], r"row: there is no picture with the number 3: every frame needs one"),
        (
            [1001, 1002, 1007],
            [],
            r"row: there is no picture with the number 1003 and 3 more: every frame needs one",
        ),
        ([0, 5, 10], [], r"row: there is no picture with the number 1 and 7 more"),
        (
            [1, 2],
            ["b.0002.jpg"],
            r"row: b\.0002\.jpg and plate\.0002\.png have one number: remove one of them",
        ),
        (
            [],
            ["a.mp4"],
            r"row is a folder without pictures: name a film in it, or a folder of numbered "
            r"pictures",
        ),
        (
            [],
            ["a.png"],
            r"row holds no numbered picture: expected one per frame, such as 00000\.png",
        ),
        (
            [],
            ["a.1.exr", "a.2.exr"],
            r"row holds 2 \.exr pictures, which can't be read: convert to PNG or TIFF, with 16 "
            r"bits",
        ),
        ([], ["a.1.dpx", "a.2.dpx"], r"row holds 2 \.dpx pictures, which can't be read"),
    ],
)
def test_folders_that_are_refused(tmp_path, numbers, others, text):
    folder = write_row(tmp_path / "row", numbers)
    for name in others:
        (folder / name).write_bytes(b"x")
    with pytest.raises(UserError, match=text):
        open_film(folder)


def test_one_picture_of_a_row_is_not_the_film(tmp_path):
    folder = write_row(tmp_path / "row")
    path = folder / "plate.1001.png"
    with pytest.raises(UserError) as error:
        open_film(path)
    assert str(error.value) == (
        f"{path} is one picture of a row of 6: name the folder {folder} for all, or move the one "
        "elsewhere"
    )
    for pattern in ("plate.%04d.png", "plate.####.png", "plate.*.png"):
        with pytest.raises(
            UserError,
            match=r"doesn't exist: name the folder .*row, whose numbered pictures are taken",
        ):
            open_film(folder / pattern)
    for name in ("still.png", "other_3.png"):  # alone of its kind
        (folder / name).write_bytes(path.read_bytes())
        with open_film(folder / name) as film:
            assert len(film) == 1
    (folder / "a.exr").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\.exr is a \.exr picture, which can't be read"):
        open_film(folder / "a.exr")


def torn(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_a_torn_picture_is_named_when_it_is_asked_for(tmp_path, suffix):
    folder = write_row(tmp_path / "row", name="{}." + suffix)
    torn(folder / f"1004.{suffix}")
    with PictureFilm(folder) as film:
        assert [number_of(frame.rgb) for frame in film.read(0, 3)] == [1, 2, 3]
        with pytest.raises(BrokenVideo, match=rf"1004\.{suffix} can't be used"):
            film.read(2, 4)
        assert film.broken_at == pytest.approx(3 / 24)
        assert [number_of(frame.rgb) for frame in film.read(4, 6)] == [5, 6]


def test_a_torn_first_picture_is_no_reason_to_refuse_the_others(tmp_path):
    folder = write_row(tmp_path / "row")
    torn(folder / "plate.1001.png")
    with PictureFilm(folder) as film:
        with pytest.raises(BrokenVideo, match=r"plate\.1001\.png can't be used"):
            film.read(0, 1)
        assert [number_of(frame.rgb) for frame in film.read(1, 6)] == [2, 3, 4, 5, 6]
    for file in folder.iterdir():
        torn(file)
    with pytest.raises(UserError, match=r"plate\.1001\.png can't be decoded"):
        PictureFilm(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda picture: picture[:-4],
            r"1003\.tif can't be used \(it is 48x28, others are 48x32: make all of one size\)",
        ),
        (
            lambda picture: picture.astype(np.uint16) * 256,
            r"1003\.tif can't be used \(it holds more \(rgb48le|gbrp16",
        ),
    ],
)
def test_pictures_that_do_not_fit_the_others(tmp_path, change, text):
    folder = write_row(tmp_path / "row", name="{}.tif")
    cv2.imwrite(str(folder / "1003.tif"), change(shown(3)))
    with PictureFilm(folder, for_editing=True) as film, pytest.raises(BrokenVideo, match=text):
        film.read(2, 3)


def test_a_finer_jpeg_than_the_first_is_not_made_coarse(tmp_path):
    (tmp_path / "row").mkdir()
    for number, subsampling in enumerate([2, 0, 2]):  # 4:2:0, 4:4:4
        Image.fromarray(shown(number)).save(
            tmp_path / "row" / f"{number}.jpg", subsampling=subsampling
        )
    with (
        PictureFilm(tmp_path / "row", for_editing=True) as film,
        pytest.raises(BrokenVideo, match=r"it holds more \(yuv444p\) than others do"),
    ):
        list(film)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "tiled"])
def test_tiffs_as_others_pack_them(tmp_path, compression):
    (tmp_path / "row").mkdir()
    how = (
        {"tiffinfo": {322: 16, 323: 16}} if compression == "tiled" else {"compression": compression}
    )
    Image.fromarray(shown(7)).save(tmp_path / "row" / "1.tif", **how)
    assert np.array_equal(read(tmp_path / "row")[0].rgb, shown(7))


@pytest.mark.parametrize("place", [1, 2])
def test_tiffs_that_would_come_out_wrong_are_refused(tmp_path, place):
    """Linear light above white, and JPEG in TIFF, which libav takes for RGB."""
    folder = write_row(tmp_path / "row", [1, 2, 3], name="{}.tif")
    cv2.imwrite(str(folder / f"{place}.tif"), shown(place).astype(np.float32) / 100)
    with (
        PictureFilm(folder, for_editing=True) as film,
        # libav 7 doesn't read these at all
        pytest.raises(BrokenVideo, match="its numbers are floating-point|of a kind that isn't"),
    ):
        film.read(place - 1, place)
    Image.fromarray(shown(place)).save(folder / f"{place}.tif", compression="jpeg")
    with (
        PictureFilm(folder) as film,
        pytest.raises(BrokenVideo, match=rf"{place}\.tif can't be used \(it is a TIFF packed as"),
    ):
        film.read(place - 1, place)
    for number in (1, 2, 3):
        Image.fromarray(shown(number)).save(folder / f"{number}.tif", compression="jpeg")
    with pytest.raises(
        UserError, match=r"1\.tif can't be used \(it is a TIFF packed as JPEG, whose colours"
    ):
        PictureFilm(folder)


def test_films_of_a_folder(tmp_path, caplog):
    row = write_row(tmp_path / "rows" / "b")
    assert list_films(row) == [row]
    other = write_row(tmp_path / "rows" / "a", name="{}.jpg")
    (tmp_path / "rows" / "empty").mkdir()
    assert list_films(tmp_path / "rows") == [other, row]
    film = write_clip(tmp_path / "rows" / "c.mp4", 2)
    assert list_films(tmp_path / "rows") == [film] and list_films(film) == [film]
    assert caplog.messages == [
        f"{tmp_path / 'rows'} holds videos, which are taken; its 2 folders of pictures are not: "
        "name them"
    ]
    with pytest.raises(UserError, match=r"empty holds no video: expected files ending in"):
        list_films(tmp_path / "rows" / "empty")
    with pytest.raises(
        UserError,
        match=r"empty is a folder without pictures: name a film in it, or a folder of numbered",
    ):
        open_film(tmp_path / "rows" / "empty")


def test_videos_in_folders_below_are_told(tmp_path, caplog):
    outside, films = tmp_path / "outside", tmp_path / "films"
    for folder in (
        outside,
        films / "day 2",
        films / "day10" / "night",
        films / ".hidden",
        films / "none",
    ):
        folder.mkdir(parents=True)
        if folder.name != "none":
            write_clip(folder / "a.mp4", 2)
    (films / "linked").symlink_to(outside)
    (films / "loop").symlink_to(films)
    with pytest.raises(UserError) as caught:
        list_films(films)
    below = "day 2, day10/night, linked"
    assert str(caught.value) == (
        f"{films} holds no film itself, but there are videos in {below}: name one of these folders"
    )
    row = write_row(films / "row")
    assert list_films(films) == [row]
    film = write_clip(films / "c.mp4", 2)
    assert list_films(films) == [film]
    told = f"{films}: the videos in {below} are not taken: name these folders"
    rows = f"{films} holds videos, which are taken; its 1 folders of pictures are not: name them"
    assert caplog.messages == [told, rows, told]
    caplog.clear()
    assert list_films(films / "day 2") == [films / "day 2" / "a.mp4"] and not caplog.messages
    for number in range(6):
        (films / f"x{number}").mkdir()
        (films / f"x{number}" / "a.mkv").touch()
    list_films(films)
    assert (
        f"{films}: the videos in {below}, x0, x1 and 4 more are not taken: name these folders"
        in caplog.messages
    )


def test_the_hash_is_that_of_the_pictures_in_order(tmp_path):
    first, same = write_row(tmp_path / "a"), write_row(tmp_path / "b", name="x{}.png")
    other = write_row(tmp_path / "c", range(1002, 1008))
    assert folder_hash(first) == folder_hash(same) != folder_hash(other)


def test_frames_last_until_the_next(tmp_path):
    write_row(tmp_path / "row", range(5))
    assert [frame.duration for frame in read(tmp_path / "row")] == [1] * 5
    assert [frame.duration for frame in read(tmp_path / "row", max_fps=12)] == [2, 2, 1]


def test_pictures_are_not_deinterlaced_and_a_line_says_so(tmp_path, caplog):
    write_row(tmp_path / "row")
    with open_film(tmp_path / "row", fps="24", deinterlace=True) as film:
        assert len(film) == 6
    assert caplog.messages == [
        f"--deinterlace is for videos: the pictures in {tmp_path / 'row'} are taken as they are"
    ]


@pytest.mark.slow
def test_colour_profiles_are_told_and_end_no_process(tmp_path):
    """In a process of its own: what was read of a PNG with a profile ended it when the picture was
    let go."""
    (tmp_path / "film").mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number in range(3):
        Image.new("RGB", (48, 32), (10, 20, 30 * number)).save(
            tmp_path / "film" / f"{number}.png", icc_profile=profile
        )
    script = (
        "from pathlib import Path; import sys; from nunif.video.film import open_film\n"
        "film = open_film(Path(sys.argv[1]), for_editing=True)\n"
        "print(film.info.dynamic, [int(frame.rgb[0, 0, 2]) for frame in film])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "film"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "('an ICC profile',) [0, 30, 60]" and done.returncode == 0


def test_a_palette_with_transparent_colours_keeps_its_alpha(tmp_path):
    image = Image.fromarray(np.tile(np.arange(48, dtype=np.uint8) % 2, (32, 1)), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    (tmp_path / "film").mkdir()
    image.save(tmp_path / "film" / "0.png", transparency=0)
    with open_film(tmp_path / "film", for_editing=True) as film:
        (frame,) = film
    alpha = pictures.alpha_of(frame.picture)
    assert np.array_equal(alpha[0, :4], [0, 255, 0, 255]) and frame.rgb[0, 1].tolist() == [
        200,
        100,
        50,
    ]
