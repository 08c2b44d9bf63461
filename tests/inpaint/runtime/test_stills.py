"""One picture in, one picture out, by `apply` and `stereo`; judged by Pillow and OpenCV.

Axes: H W pixels, 3 = R G B.
"""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from inpaint.commands import INPAINT
from inpaint.runtime import stereo
from scene.depth import ClipRejected
from tests.models import save_lively_model
from tests.videos import numbered_frame, write_clip

H, W = 32, 48
HOLE = slice(8, 20), slice(12, 30)
ORIENTATION, MAKER = 0x0112, 0x010F


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture
def apply(run, model, tmp_path):
    """apply to a picture of tmp_path: exit code, and all lines."""
    write_mask(tmp_path / "mask.png")

    def apply(source, output, *words, mask="mask.png"):
        files = ["-i", tmp_path / source, "--mask", tmp_path / mask, "-o", tmp_path / output]
        code, _, lines = run(INPAINT, "apply", *files, "--model", model, "--gpu", -1, *words)
        return code, lines

    return apply


def write_mask(path, *, is_turned=False):
    mask = np.zeros((H, W), np.uint8)
    mask[HOLE] = 255
    Image.fromarray(np.ascontiguousarray(np.rot90(mask, -1)) if is_turned else mask).save(path)


def shown(dtype=np.uint8, *, alpha=False):
    """(H, W, 3 or 4) with numbers that 8 bits can't hold where there are 16."""
    picture = numbered_frame(5, width=W, height=H)
    clear = np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1))
    picture = np.dstack([picture, clear]) if alpha else picture
    return picture if dtype == np.uint8 else picture.astype(np.uint16) * 256 + 77


def write(path, picture):
    assert cv2.imwrite(str(path), picture[..., [2, 1, 0, 3][: picture.shape[2]]])


def read(path):
    with Image.open(path) as image:
        if image.format == "TIFF" and image.tag_v2[258] == (8, 8, 8, 8):
            return np.asarray(image)  # OpenCV multiplies its alpha in
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    return picture[..., [2, 1, 0, 3][: picture.shape[2]]]


def assert_filled(before, after):
    """All but the hole is the same, bit for bit."""
    assert (before.shape, before.dtype) == (after.shape, after.dtype)
    outside = np.ones((H, W), bool)
    outside[HOLE] = False
    assert np.array_equal(before[outside], after[outside])
    assert (before[HOLE][..., :3] != after[HOLE][..., :3]).mean() > 0.5
    if before.shape[2] == 4:
        assert np.array_equal(before[..., 3], after[..., 3])


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("a.png", "out.png"),
        ("a.bmp", "out.png"),
        ("a.tif", "out.webp"),
        ("a.webp", "out.png"),
        ("a.png", "out.tiff"),
        ("a.png", "out.bmp"),
    ],
)
def test_a_picture_is_filled_into_a_picture(apply, tmp_path, source, output):
    if source == "a.webp":
        Image.fromarray(shown()).save(tmp_path / source, lossless=True)
    else:
        write(tmp_path / source, shown())
    code, lines = apply(source, output)
    assert code == 0 and lines[-1] == f"{tmp_path / output}: 1 frames, 1 with a hole", lines
    assert_filled(shown(), read(tmp_path / output))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source, output, "mask.png"])


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_and_alpha_are_kept_where_the_kind_holds_them(apply, tmp_path, dtype, alpha):
    write(tmp_path / "a.png", shown(dtype, alpha=alpha))
    for output in ("out.png", "out.tif"):
        assert apply("a.png", output)[0] == 0
        assert_filled(shown(dtype, alpha=alpha), read(tmp_path / output))
    code, lines = apply("a.png", "out.jpg")
    lost = ["its 16 bits (8 are written)"] * (dtype == np.uint16) + ["its alpha"] * alpha
    text = f"{tmp_path / 'a.png'}: {', '.join(lost)} can't be kept in .jpg; .png takes all"
    assert code == 0 and lines[1:-1] == [text] * bool(lost)
    before, after = shown(dtype, alpha=alpha)[..., :3], read(tmp_path / "out.jpg")
    apart = np.abs(after.astype(float) - before / (257 if dtype == np.uint16 else 1))
    assert after.dtype == np.uint8 and apart[: HOLE[0].start].mean() < 4


def test_an_opaque_alpha_of_the_source_stays_and_none_is_added(apply, tmp_path):
    opaque = np.dstack([shown(), np.full((H, W), 255, np.uint8)])
    write(tmp_path / "opaque.png", opaque)
    Image.fromarray(shown()).quantize(20).save(tmp_path / "palette.png")
    assert apply("opaque.png", "out.png")[0] == 0 and apply("palette.png", "plain.png")[0] == 0
    assert_filled(opaque, read(tmp_path / "out.png"))
    before = np.asarray(Image.open(tmp_path / "palette.png").convert("RGB"))
    assert_filled(before, read(tmp_path / "plain.png"))


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("a.jpg", "out.jpg"),
        ("a.jpg", "out.png"),
        ("a.png", "out.webp"),
        ("a.webp", "out.tif"),
        ("a.tif", "out.png"),
    ],
)
def test_a_photo_stands_upright_and_keeps_profile_and_exif(apply, tmp_path, source, output):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = Image.Exif()
    tags[ORIENTATION], tags[MAKER] = 6, "Somebody"
    more = {"lossless": True} if source == "a.webp" else {}
    Image.fromarray(shown()).save(tmp_path / source, exif=tags, icc_profile=profile, **more)
    write_mask(tmp_path / "turned.png", is_turned=True)
    code, lines = apply(source, output, mask="turned.png")
    assert code == 0 and len(lines) == 2, lines
    # from a file without the tag: Pillow, by its version, turns a TIFF once or twice
    Image.fromarray(shown()).save(tmp_path / f"plain-{source}", **more)
    with Image.open(tmp_path / f"plain-{source}") as image:
        before = np.rot90(image.convert("RGB"), -1).astype(int)
    with Image.open(tmp_path / output) as image:
        assert image.size == (H, W) and image.info["icc_profile"] == profile
        found = image.getexif()
        assert (found[ORIENTATION], found[MAKER]) == (1, "Somebody")
        after = np.asarray(image.convert("RGB"))
    apart = np.abs(after - before)[:, : H - HOLE[0].stop]  # left of the hole, which is turned too
    is_exact = ".jpg" not in source + output
    # decoders smooth the chroma of JPEGs as they like
    assert apart.max() <= (0 if is_exact else 60) and apart.mean() < 6


def test_a_picture_becomes_a_film_where_one_is_asked_for(apply, tmp_path):
    write(tmp_path / "a.png", shown())
    for output, kind in (("out.mkv", "a film of one frame"), ("out", "a folder of one")):
        code, lines = apply("a.png", output)
        told = f"{tmp_path / 'a.png'} is one picture, and {tmp_path / output} is {kind}; "
        assert code == 0 and lines[1] == told + "a name that ends in .png makes a picture"
    assert_filled(shown(), read(tmp_path / "out" / "000000.png"))


def test_an_apng_is_a_film_by_whatever_name(apply, tmp_path):
    frames = [Image.fromarray(shown()), Image.fromarray(255 - shown())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=40)
    code, lines = apply("a.png", "out.mkv")
    assert code == 0 and not any("is one picture" in line for line in lines)


def test_the_comparison_of_a_picture_is_a_picture(apply, tmp_path):
    write(tmp_path / "a.png", shown())
    assert apply("a.png", "out.png", "--compare", "--look-ahead", "0")[0] == 0
    both = read(tmp_path / "out.compare.png")
    assert both.shape == (H, 2 * W, 3)
    assert np.array_equal(both[:, W:], read(tmp_path / "out.png"))


@pytest.mark.parametrize(
    ("source", "output", "words", "text"),
    [
        ("film.mp4", "out.png", [], "out.png is one picture, and {}/film.mp4 has 3 frames: name a"),
        ("a.png", "out.png", ["--codec", "png"], "--codec png is for videos, but --output {}/out"),
        ("a.png", "out.png", ["--start", "1"], "--start and --end are for films, and {}/a.png is"),
        ("a.png", "a.png", [], "a.png can't be written: it is the source {}/a.png"),
        ("a.png", "out.gif", [], "'.gif' is none of the suffixes"),
        ("torn.jpg", "out.png", [], "torn.jpg can't be used (it is cut off: copy or download it"),
    ],
)
def test_what_is_refused(apply, tmp_path, source, output, words, text):
    write(tmp_path / "a.png", shown())
    write(tmp_path / "torn.jpg", shown())
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "torn.jpg").read_bytes()[:-20])
    write_clip(tmp_path / "film.mp4", 3, width=W, height=H)
    before = sorted(tmp_path.iterdir())
    code, lines = apply(source, output, *words)
    assert code == 1 and text.format(tmp_path) in lines[-1], lines
    assert sorted(tmp_path.iterdir()) == before


def test_one_frame_of_a_film_becomes_a_picture(apply, tmp_path):
    frames = [numbered_frame(number, width=W, height=H) for number in range(3)]
    write_clip(tmp_path / "film.mkv", frames, codec="ffv1", pixel_format="bgr0", num_b_frames=0)
    assert apply("film.mkv", "out.png", "--start", "0.04", "--end", "0.08")[0] == 0
    assert_filled(frames[1], read(tmp_path / "out.png"))


# Stereo


class Near:
    """The hole is near."""

    name, runs_in_workers, run_length, run_overlap, scale_jitters, least_span = (
        "Near",
        True,
        4,
        0,
        False,
        0.0,
    )

    def raw_disparity(self, frames):
        if len(frames) > 1:
            raise ClipRejected("it knows single pictures")
        near = torch.zeros(1, H, W)
        near[(0, *HOLE)] = 1
        return near


def test_a_photo_becomes_stereo(run, model, monkeypatch, tmp_path):
    monkeypatch.setattr(stereo, "create_estimator", lambda *_, **__: Near())
    write(tmp_path / "a.png", shown(np.uint16))
    words = ["-i", tmp_path / "a.png", "-o", tmp_path / "out.png", "--model", model, "--gpu", -1]
    code, _, lines = run(INPAINT, "stereo", *words, "--divergence", 12)
    assert code == 0 and lines[-1] == f"{tmp_path / 'out.png'}: 1 frames", lines
    both = read(tmp_path / "out.png")
    assert both.shape == (H, 2 * W, 3) and np.array_equal(both[:, :W], shown(np.uint16))
    assert (both[HOLE[0], W:] != both[HOLE[0], :W]).mean() > 0.1


@pytest.mark.parametrize("output", ["out.png", "out.mp4"])
def test_one_picture_has_no_motion_parallax(run, model, tmp_path, output):
    write(tmp_path / "a.png", shown())
    words = ["-i", tmp_path / "a.png", "-o", tmp_path / output, "--model", model]
    code, _, lines = run(INPAINT, "stereo", *words, "--model-type", "MotionParallax")
    assert code == 1 and lines[-1] == (
        "error: --model-type MotionParallax tells near from far by how things move, and "
        f"{tmp_path / 'a.png'} is one picture: choose another, such as Any_V2_S"
    )
    assert not (tmp_path / output).exists()
