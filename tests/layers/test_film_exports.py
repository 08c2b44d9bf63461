"""`python -m layers export-films` and `split --export`: what generators and removers read, and the
way back of what they make.

Axes: T frames, H W pixels of the film, h w of the export.
"""

import json
import shutil
from fractions import Fraction

import cv2
import numpy as np
import pytest

from layers.commands import LAYERS
from layers.runtime.film_fit import Fit, fit_of
from nunif.image import encode_grey, encode_rgb
from nunif.video.reader import VideoReader
from nunif.video.writer import write_video
from tests.videos import sound_of, times_of, write_clip

H, W, T = 53, 70, 12  # neither side is a multiple of 16
h, w = 48, 64
EXPORTS = "wan-animate,vace,removal"


def scene(number):
    """A soft picture that moves, in whose middle somebody stands behind a post."""
    rng = np.random.default_rng(3)
    soft = cv2.GaussianBlur(rng.random((H, W + T, 3)).astype(np.float32), (0, 0), 2)
    picture = np.rint((soft - soft.min()) / np.ptp(soft) * 200 + 30).astype(np.uint8)
    picture = picture[:, number : number + W].copy()
    picture[person(number)] = 250, 10, 10
    picture[post()] = 10, 250, 10
    return picture


def person(number):
    rows, columns = np.mgrid[:H, :W]
    return (abs(rows - 26) < 12) & (abs(columns - 24 - number) < 6)


def post():
    return (np.arange(W) >= 33) & (np.arange(W) < 37) & np.ones((H, 1), bool)


def write_masks(folder, masks):
    folder.mkdir()
    for number, mask in enumerate(masks):
        (folder / f"{number:04d}.png").write_bytes(encode_grey(mask.astype(np.uint8) * 255))
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film with sound and its layers with all exports; the first frame has nobody."""
    from nunif import cli

    folder = tmp_path_factory.mktemp("exports")
    path = folder / "film.mkv"
    pictures = [scene(number) for number in range(T)]
    write_clip(path, pictures, fps=24, codec="ffv1", num_b_frames=0, sound="flac")  # 4:2:0
    nobody = np.zeros((H, W), bool)
    masks = [nobody] + [person(number) & ~post() for number in range(1, T)]
    masks = write_masks(folder / "masks", masks)
    posts = write_masks(folder / "posts", [post()] * T)
    effects = write_masks(folder / "effects", [np.roll(person(0), 20, axis=0)] * T)
    words = ["split", "-i", path, "-o", folder / "layers", "--masks", masks, "--occluders", posts]
    words += ["--effects", effects, "--export", EXPORTS, "--gpu", -1, "--no-cuts", "--no-ids"]
    assert cli.run(LAYERS, [str(word) for word in words]) == 0
    return folder


@pytest.fixture
def layers(run):
    def layers(*words, code=0):
        got, _, lines = run(LAYERS, *words)
        assert got == code, lines
        return lines

    return layers


def frames_of(path):
    with VideoReader(path, for_editing=True) as video:
        return np.stack([frame.rgb for frame in video])


def pictures_in(folder, flags=cv2.IMREAD_GRAYSCALE):
    return np.stack([cv2.imread(str(path), flags) for path in sorted(folder.iterdir())])


def info_of(folder):
    return json.loads((folder / "export.json").read_text())


def test_wan_animate_gets_black_where_it_is_to_generate(film):
    export = film / "layers" / "exports" / "wan-animate"
    whole, kept, masks = (frames_of(export / f"src{x}.mp4") for x in ("", "_bg", "_mask"))
    assert whole.shape == kept.shape == masks.shape == (T, h, w, 3)
    assert np.array_equal(whole, frames_of(film / "film.mkv")[:, 2:50, 3:67])
    mask = masks[..., 0] == 255
    assert set(np.unique(masks)) == {0, 255} and (masks == masks[..., :1]).all()
    assert (kept[mask] == 0).all() and np.array_equal(kept[~mask], whole[~mask])
    assert not mask[0].any()  # nobody
    before = np.broadcast_to(post()[2:50, 3:67], (T - 1, h, w))
    there = [(person(k) & ~post()).astype(np.uint8) for k in range(1, T)]
    grown = np.stack([cv2.dilate(x, np.ones((19, 19))) for x in there])[:, 2:50, 3:67] > 0
    assert not mask[1:][before].any() and mask[1:][grown & ~before].all()
    # of each block of 8x8 the network sees the upper left pixel
    seen, hidden = (x[:, ::8, ::8].repeat(8, axis=1).repeat(8, axis=2) for x in (mask[1:], before))
    assert np.array_equal(mask[1:][~before & ~hidden], seen[~before & ~hidden])
    assert np.array_equal(pictures_in(export / "src_mask"), masks[..., 0])
    pngs = pictures_in(export / "src_bg", cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(pngs, kept)
    info = info_of(export)
    assert info["notes"] == ["5 rows and 6 columns cut off at the edges"]
    assert {*info["missing"]} == {"src_ref.png", "src_pose.mp4", "src_face.mp4"}
    assert info["arguments"]["mode"] == "replace" and info["arguments"]["height"] == h


def test_vace_gets_grey_and_4k_plus_1_frames(film):
    export = film / "layers" / "exports" / "vace"
    pictures, masks = frames_of(export / "video.mp4"), frames_of(export / "mask.mp4")
    assert len(pictures) == len(masks) == 9
    mask = masks[..., 0] == 255
    assert set(np.unique(masks)) == {0, 255} and mask.any()
    assert (pictures[mask] == 128).all()
    assert np.array_equal(pictures[~mask], frames_of(film / "film.mkv")[:9, 2:50, 3:67][~mask])
    info = info_of(export)
    assert info["notes"][-1] == "the last 3 frames are left out (4k+1 are read)"
    assert info["arguments"]["num_frames"] == 9 and info["frames"] == [*range(9)]


def test_removal_gets_who_goes_and_what_goes_with_them(film):
    export = film / "layers" / "exports" / "removal"
    objects, total = (frames_of(export / f"{x}_mask.mp4")[..., 0] for x in ("object", "total"))
    there = np.stack([person(k) & ~post() for k in range(T)])[:, 2:50, 3:67]
    there[0] = False
    shadow = np.roll(person(0), 20, axis=0)[2:50, 3:67]
    assert np.array_equal(objects == 255, there) and np.array_equal(total == 255, there | shadow)
    assert np.array_equal(pictures_in(export / "masks"), total)
    assert np.array_equal(
        frames_of(export / "video.mp4"), frames_of(film / "film.mkv")[:, 2:50, 3:67]
    )
    scenes = pictures_in(film / "layers" / "shot0000", cv2.IMREAD_COLOR)
    names = sorted(path.name for path in (film / "layers" / "shot0000").iterdir())
    scenes = np.stack([x for name, x in zip(names, scenes) if name.endswith("_B.png")])
    assert np.array_equal(frames_of(export / "ours.mp4"), scenes[:, 2:50, 3:67, ::-1])


def test_what_a_generator_makes_goes_back_to_its_place(film, layers, tmp_path):
    folder = shutil.copytree(film / "layers", tmp_path / "layers")
    made = tmp_path / "made.mp4"
    blue = np.full((9, h, w, 3), (20, 20, 240), np.uint8)
    write_video(made, blue, fps=16, pixel_format="yuv444p")  # another rate, fewer frames
    out = tmp_path / "out.mkv"
    lines = layers("compose", folder, "-o", out, "--person", made, "--codec", "ffv1")
    assert any("ends before the film: 3 of its frames stay as they are" in x for x in lines)
    before, after = frames_of(film / "film.mkv"), frames_of(out)
    mask = np.zeros((T, H, W), bool)
    mask[:9, 2:50, 3:67] = pictures_in(folder / "exports" / "vace" / "mask") > 0
    assert np.array_equal(after[~mask], before[~mask])  # though chroma is shared
    inner = np.stack([cv2.erode(x.astype(np.uint8), np.ones((11, 11))) for x in mask]) > 0
    assert inner.sum() > 500 and abs(after[inner].astype(int) - (20, 20, 240)).max() < 12
    assert np.array_equal(after[:, post()], before[:, post()])
    assert sound_of(out) == sound_of(film / "film.mkv")
    assert times_of(out) == times_of(film / "film.mkv")

    meta = json.loads((folder / "meta.json").read_text())
    assert meta["generated"] is True and meta["person_from"] == "made.mp4"
    assert [each["export"] for each in meta["compositions"]] == ["vace"]
    origin = json.loads((tmp_path / "out.mkv.meta.json").read_text())
    assert origin["generated"] is True and origin["source"]["name"] == "film.mkv"
    again = tmp_path / "again"
    masks = ("--masks", film / "masks", "--export", "vace", "--gpu", -1)
    layers("split", "-i", out, "-o", again, *masks, "--no-cuts")
    told = info_of(again / "exports" / "vace")["provenance"]
    assert told["generated"] is True and told["made_of"]["person"] == "made.mp4"
    layers("compose", again, "-o", tmp_path / "plain.mkv", "--codec", "ffv1")
    assert json.loads((tmp_path / "plain.mkv.meta.json").read_text()) == origin
    layers("compose", film / "layers", "-o", tmp_path / "plain.mkv", "--codec", "ffv1")
    assert not (tmp_path / "plain.mkv.meta.json").exists()


def test_another_rate_and_a_smaller_size_go_back_too(film, layers, tmp_path):
    exports = tmp_path / "exports"
    lines = layers(
        "export-films", film / "layers", "-o", exports, "--export", "vace", "--export-fps", 12,
        "--export-area", "48x40", "--mask-shape", "tight",
    )  # fmt: skip
    info = info_of(exports / "vace")
    assert info["size"] == [32, 48] and info["frames"] == [0, 2, 4, 6, 8]
    notes = "scaled from 70x53 to 48x36; 4 rows cut off at the edges; 6 of the film's frames left"
    assert any(notes in line for line in lines)
    wide = write_masks(tmp_path / "made", [])
    for number in range(5):
        picture = np.full((64, 96, 3), 40 * number, np.uint8)  # twice as large
        (wide / f"{number}.png").write_bytes(encode_rgb(picture))
    lines = layers(
        "compose", film / "layers", "-o", tmp_path / "out.mkv", "--codec", "ffv1", "--pixel-format",
        "bgr0", "--person", wide, "--export", exports / "vace",
    )  # fmt: skip
    assert any("5 are shown again" in line for line in lines)
    after = frames_of(tmp_path / "out.mkv")
    values = [int(after[k, 26, 24, 0]) for k in range(2, 10)]
    assert values == [40, 40, 80, 80, 120, 120, 160, 160]


@pytest.mark.parametrize("format, off", [("exr", 0), ("prores", 4)])
def test_exports_are_the_same_of_layers_kept_otherwise(film, layers, tmp_path, format, off):
    layers(
        "split", "-i", film / "film.mkv", "-o", tmp_path / "layers", "--masks", film / "masks",
        "--occluders", film / "posts", "--format", format, "--export", "vace,removal", "--effects",
        film / "effects", "--gpu", -1, "--no-cuts",
    )  # fmt: skip
    for name in ("vace/video", "vace/mask", "removal/total_mask", "removal/ours"):
        made, wanted = (
            frames_of(folder / "exports" / f"{name}.mp4").astype(int)
            for folder in (tmp_path / "layers", film / "layers")
        )
        assert abs(made - wanted).max() <= (off if name.endswith("ours") else 0)


def test_uneven_times_many_bits_and_nobody(layers, tmp_path):
    times = [0, 10, 20, 30, 60, 70, 72, 80]  # hundredths of a second
    pictures = [np.full((32, 48, 3), 30 * number, np.uint8) for number in range(8)]
    write_clip(
        tmp_path / "film.mkv", pictures, fps=10, times=times, time_base=Fraction(1, 100),
        codec="ffv1", num_b_frames=0, pixel_format="yuv444p10le",
    )  # fmt: skip
    (tmp_path / "nobody.png").write_bytes(encode_grey(np.zeros((32, 48), np.uint8)))
    lines = layers(
        "split", "-i", tmp_path / "film.mkv", "-o", tmp_path / "layers", "--masks",
        tmp_path / "nobody.png", "--export", "wan-animate,removal", "--export-fps", 10, "--gpu", -1,
        "--no-cuts",
    )  # fmt: skip
    export = tmp_path / "layers" / "exports" / "wan-animate"
    assert info_of(export)["frames"] == [0, 1, 2, 3, 3, 4, 4, 5, 7]
    notes = "2 frames are there more than once, for 10 fps; 1 of the film's frames left out"
    assert any(notes in line and "brought from 10 bits to 8" in line for line in lines)
    assert any("nobody is in the film, so its masks are empty" in line for line in lines)
    made = frames_of(export / "src_bg.mp4")
    grey = 30 * np.array([0, 1, 2, 3, 3, 4, 4, 5, 7])
    assert made.dtype == np.uint8 and abs(made[:, 16, 24, 0] - grey).max() <= 1
    assert not frames_of(export / "src_mask.mp4").any()


def test_fits_cover_with_sides_of_16():
    fit = fit_of((1080, 1920), area=832 * 480, pixel_aspect=Fraction(1), name="film")
    assert fit == Fit((1080, 1920), (468, 832), (2, 0), (464, 832))
    assert Fit.from_json(json.loads(json.dumps(fit.to_json()))) == fit
    squeezed = fit_of((576, 720), area=1280 * 720, pixel_aspect=Fraction(64, 45), name="film")
    assert squeezed.scaled == (405, 720) and squeezed.size == (400, 720)
    for size in ((53, 70), (481, 853), (719, 1281), (2160, 3840), (127, 16)):
        fit = fit_of(size, area=640 * 360, pixel_aspect=Fraction(1), name="film")
        cut = np.subtract(fit.scaled, fit.size)
        assert fit.size[0] * fit.size[1] <= 640 * 360 and (np.mod(fit.size, 16) == 0).all()
        assert (cut >= 0).all() and (cut <= 15).all()
        rows, columns = np.divide(fit.scaled, size)
        assert abs(rows / columns - 1) < 0.07
    ramp = np.tile(np.arange(200, dtype=np.uint8), (150, 1))
    fit = fit_of((150, 200), area=100 * 80, pixel_aspect=Fraction(1), name="film")
    back = fit.back(np.dstack([fit.lay(ramp)] * 3))
    assert abs(back[20:-20, 20:-20, 0].astype(int) - ramp[20:-20, 20:-20]).max() <= 1


def test_what_generators_do_not_expect_is_said(film, layers, tmp_path):
    """Two shots, two people in one of them, and one who stands at the edge."""
    folder = shutil.copytree(film / "layers", tmp_path / "layers")
    (folder / "shot0001").mkdir()
    for path in sorted((folder / "shot0000").iterdir()):
        if path.name >= "00006":
            path.rename(folder / "shot0001" / path.name)
    for number in range(6, T):
        second = np.zeros((H, W), np.uint8)
        second[10:20, 66:] = 255  # three of its columns are cut off
        for letters in ("A2", "F2"):
            path = folder / "shot0001" / f"{number:05d}_{letters}.png"
            path.write_bytes(encode_grey(second))
    meta = json.loads((folder / "meta.json").read_text())
    meta |= {
        "shots": [[0, 5], [6, T - 1]],
        "planes": [meta["planes"][0], ["A2", *meta["planes"][0]]],
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    more = ("--export", "wan-animate", "--mask-shape", "box")
    lines = layers("export-films", folder, "-o", tmp_path / "x", *more)
    assert any("there are 2 shots, and programs that generate know of no cuts" in x for x in lines)
    assert any("up to 2 people are in a shot, and Wan-Animate knows one" in x for x in lines)
    assert any("reach into what was cut off in 6 frames" in x for x in lines)
    mask = pictures_in(tmp_path / "x" / "wan-animate" / "src_mask")
    assert not mask[:6, 8:16, 56:].any() and mask[6:, 8:16, 56:].all()
    assert mask[6, 40:46, 32:].any() and not mask[6, 40:, 48:].any()  # a box for each


def test_a_film_of_the_films_size_is_put_in_as_it_is(film, layers, tmp_path):
    folder = shutil.copytree(film / "layers", tmp_path / "layers")
    path = tmp_path / "grey.mkv"
    write_clip(
        path, [np.full((H, W, 3), 90, np.uint8)] * T, codec="ffv1", num_b_frames=0,
        pixel_format="bgr0",
    )  # fmt: skip
    layers("compose", folder, "-o", tmp_path / "o.mkv", "--codec", "ffv1", "--person", path)
    before, after = frames_of(film / "film.mkv"), frames_of(tmp_path / "o.mkv")
    hole = np.stack(
        [
            cv2.imread(str(folder / "shot0000" / f"{number:05d}_H.png"), cv2.IMREAD_GRAYSCALE)
            for number in range(T)
        ]
    )
    assert np.array_equal(after[hole == 0], before[hole == 0])
    assert np.array_equal(after[:, post()], before[:, post()])
    assert abs(after[5, 20:30, 26:30].astype(int) - 90).max() <= 2


def test_bad_input_gets_a_line(film, layers, tmp_path):
    folder = shutil.copytree(film / "layers", tmp_path / "layers")

    def error(*words):
        return layers(*words, code=1)[-1]

    made = ("export-films", folder, "-o", tmp_path / "x")
    assert "--export is missing" in error(*made)
    assert "'wan' is not known" in error(*made, "--export", "wan")
    assert "--mask-shape round is not" in error(*made, "--export", "vace", "--mask-shape", "round")
    assert "no area" in error(*made, "--export", "vace", "--export-area", "720p")
    assert "--export-fps 0 is no rate" in error(*made, "--export", "vace", "--export-fps", 0)
    assert "are at least 16x16" in error(*made, "--export", "vace", "--export-area", "20x15")
    assert "is for --export removal" in error(*made, "--export", "vace", "--effects", "masks")
    assert "is there already" in error("export-films", folder, "--export", "vace")

    late = ("split", "-i", film / "film.mkv", "-o", tmp_path / "y", "--masks", film / "masks")
    words = ("--export", EXPORTS)
    assert "--pose a.npy is no file" in error(*late, *words, "--pose", "a.npy")
    assert "--effects gone doesn't exist" in error(*late, *words, "--effects", "gone")
    assert "a.txt is no picture" in error(*late, *words, "--reference", "a.txt")
    words = ("--export", "wan-animate", "--end", "0.03")
    assert "needs 2 frames at least" in error(*late, *words)

    write_clip(tmp_path / "made.mkv", 5, width=w, height=h, codec="ffv1", num_b_frames=0)
    out = ("compose", folder, "-o", tmp_path / "o.mkv")
    person = ("--person", tmp_path / "made.mkv")
    assert "may be made of removal and vace and wan-animate" in error(*out, *person)
    assert "has 5 frames, the export vace 9" in error(*out, *person, "--export", "vace")
    assert "the film 70x53" in error(*out, *person, "--export", "none")
    assert "holds no export" in error(*out, *person, "--export", tmp_path)
    assert "is for --person" in error(*out, "--export", "vace")
    write_clip(tmp_path / "square.mkv", 9, width=w, height=w, codec="ffv1", num_b_frames=0)
    square = ("--person", tmp_path / "square.mkv", "--export", "vace")
    assert "is 64x64, the export vace 64x48" in error(*out, *square)
    path = folder / "exports" / "vace" / "export.json"
    path.write_text(path.read_text().replace('"hash": "', '"hash": "0'))
    assert "is of another film" in error(*out, *person, "--export", "vace")
    path.write_text("{")
    assert "is damaged: export the layers again" in error(*out, *person, "--export", "vace")
    (folder / "shot0000" / "00004_A.png").unlink()
    assert "00004_A.png can't be read" in error(*made, "--export", "vace")
    assert not (tmp_path / "x" / "vace").exists()
