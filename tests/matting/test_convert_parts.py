"""`python -m matting convert` with --parts and --planes: a folder for each film. What a kill
leaves: `tests/faults/test_kill_converter.py`."""

import json
from fractions import Fraction

import cv2
import numpy as np
import pytest

from matting.commands import MATTING
from nunif.models import save_model
from nunif.records import open_record, read_plane
from nunif.video.film import open_film
from scene.planes import ALPHA, FOREGROUND
from tests.faults.processes import hashes
from tests.matting.weights import pictures
from tests.videos import set_rotation, times_of, write_clip

SIZE = (48, 64)
NUM_FRAMES = 5
TIMES = [0, 40, 75, 190, 230]  # milliseconds


@pytest.fixture(scope="module")
def place(tmp_path_factory, network):
    """Two films of uneven times, one of them also turned, with sound and of odd size."""
    place = tmp_path_factory.mktemp("parts")
    save_model(network, place / "m.pth")
    (place / "films").mkdir()
    for seed, name, size in ((3, "a.mkv", SIZE), (5, "b.mp4", (51, 65))):
        frames = (pictures(NUM_FRAMES, 3, *size, seed=seed) * 255).byte().permute(0, 2, 3, 1)
        write_clip(
            place / "films" / name,
            list(frames.numpy()),
            times=TIMES,
            time_base=Fraction(1, 1000),
            pixel_format="yuv444p",
            sound="aac" if name == "b.mp4" else None,
            num_b_frames=0,
        )
    set_rotation(place / "films" / "b.mp4", 90)
    return place


def words_of(place, source, out, *more):
    return ["convert", "-i", place / source, "-o", out, "-m", place / "m.pth", "--gpu", -1, *more]


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def planes_of(folder):
    """Alpha (T, H, W) and foreground (T, H, W, 3)."""
    record = open_record(folder, (ALPHA, FOREGROUND))
    return [read_plane(record, plane.letter, record.numbers) for plane in (ALPHA, FOREGROUND)]


def test_each_film_of_a_folder_has_a_folder_of_all_parts(run, place, tmp_path):
    """And the same command leaves what is finished as it is."""
    out = tmp_path / "out"
    words = words_of(place, "films", out, "--parts", "pha,fgr.mkv,com,planes")
    code, _, lines = run(MATTING, *words)
    assert code == 0, lines
    assert sorted(path.name for path in out.iterdir()) == ["a", "b"]
    for name, source, size in (("a", "a.mkv", SIZE), ("b", "b.mp4", (65, 51))):
        parts = out / name
        assert sorted(path.name for path in parts.iterdir()) == ["com", "fgr.mkv", "pha", "planes"]
        alpha, colours = planes_of(parts / "planes")
        assert alpha.shape == (NUM_FRAMES, *size) and alpha.std() > 5
        for t in range(NUM_FRAMES):
            cut_out = read(parts / "com" / f"{t:06d}.png")
            assert np.array_equal(cut_out[..., [2, 1, 0]], colours[t])  # not premultiplied
            assert np.array_equal(cut_out[..., 3], alpha[t])
            assert np.array_equal(read(parts / "pha" / f"{t:06d}.png")[..., 0], alpha[t])
        info = json.loads((parts / "planes" / "record.json").read_text())
        assert info["film"] == source and info["frames"] == NUM_FRAMES
        film_times = times_of(place / "films" / source)
        assert times_of(parts / "fgr.mkv") == film_times and len(film_times) == NUM_FRAMES
    before = hashes(out)
    code, _, lines = run(MATTING, *words)
    assert code == 0 and lines[-1].endswith("0 films made, 2 were there already")
    assert hashes(out) == before


def test_planes_beside_a_film_that_keeps_its_times_and_sound(run, place, tmp_path):
    words = words_of(place, "films/b.mp4", tmp_path / "com.mkv", "--planes", tmp_path / "planes")
    code, _, lines = run(MATTING, *words)
    assert code == 0, lines
    assert times_of(tmp_path / "com.mkv") == times_of(place / "films" / "b.mp4")
    with open_film(tmp_path / "com.mkv") as film:
        assert film.info.has_sound and (film.info.height, film.info.width) == (65, 51)
    assert planes_of(tmp_path / "planes")[1].shape == (NUM_FRAMES, 65, 51, 3)
    code, _, lines = run(MATTING, *words)
    assert code == 1 and "planes is there already" in lines[-1]


def test_the_parts_of_a_photo_are_pictures(run, place, tmp_path):
    photo = (pictures(1, 3, *SIZE, seed=7)[0] * 255).byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    out = tmp_path / "out"
    words = words_of(place, tmp_path / "photo.png", out, "--parts", "com.png,pha.png,planes")
    code, _, lines = run(MATTING, *words)
    assert code == 0, lines
    assert np.array_equal(read(out / "pha.png")[..., 0], planes_of(out / "planes")[0][0])
    assert read(out / "com.png").shape == (*SIZE, 3)


def test_hdr_films_before_and_behind(run, place, tmp_path):
    """The network sees SDR; the foreground has the film's curve again, and a film behind is SDR."""
    grey = np.linspace(40, 200, SIZE[1]).astype(np.uint8)
    frame = np.broadcast_to(grey[None, :, None], (*SIZE, 3)).copy()
    film = tmp_path / "hdr.mkv"
    write_clip(film, [frame] * 2, pixel_format="yuv420p10le", tags=(9, 1, 9, 16), num_b_frames=0)
    out = tmp_path / "out"
    code, _, lines = run(MATTING, *words_of(place, film, out, "--parts", "fgr.mkv,planes"))
    assert code == 0, lines
    assert any("PQ BT.2020: all of it is computed as SDR BT.709" in line for line in lines), lines
    alpha, colours = planes_of(out / "planes")
    with open_film(out / "fgr.mkv") as found:
        assert found.info.tone_map is not None
        shown = np.stack([frame.rgb for frame in found])  # as SDR
    seen = alpha > 0
    assert seen.any()
    # of single colours, coded with less chroma, only the luma is the same
    luma = [(x[seen] @ np.array([0.2126, 0.7152, 0.0722])) for x in (shown, colours)]
    assert np.abs(luma[0] - luma[1]).mean() < 15
    words = words_of(place, "films/a.mkv", tmp_path / "over", "--background", film)
    code, _, lines = run(MATTING, *words, "--planes", tmp_path / "planes")
    assert code == 0, lines
    with open_film(film) as behind:
        wanted = next(iter(behind)).rgb
    nobody = planes_of(tmp_path / "planes")[0][0] == 0
    assert nobody.any()
    composed = read(tmp_path / "over" / "000000.png")[..., ::-1]
    assert np.array_equal(composed[nobody], wanted[nobody])


def test_what_does_not_go_together_is_said(run, place, tmp_path):
    (tmp_path / "twice").mkdir()
    for suffix in (".mkv", ".mp4"):
        (tmp_path / "twice" / f"a{suffix}").write_bytes((place / "films" / "a.mkv").read_bytes())
    for source, out, more, text in (
        ("films", "x", ("--parts", "pha,rgb"), "'rgb' is not known: choose from pha, fgr, com"),
        ("films", "x", ("--parts", "planes.mp4"), "'planes.mp4' is not known"),
        ("films", "x", ("--parts", "pha,pha.mp4"), "pha is named twice"),
        ("films", "x", ("--parts", "pha.xyz"), "pha.xyz can't be written: choose .mp4"),
        ("films", "x", ("--parts", "pha", "--alpha", "y"), "leave --alpha out"),
        ("films", "x", ("--parts", "pha", "--suffix", ".mkv"), "leave --suffix out"),
        ("films", "x", ("--parts", "pha", "--background", "white"), "is for com"),
        ("films/a.mkv", "x", ("--parts", "pha.png"), "pha.png can't be written: choose .mp4"),
        ("films/a.mkv", "x.mp4", ("--parts", "pha"), "is one file, and --parts makes a folder"),
        ("films/a.mkv", "x.mp4", ("--alpha", tmp_path / "a.png"), "a.png is one picture, and"),
        (tmp_path / "twice", "x", ("--parts", "pha"), "would both become"),
    ):
        code, _, lines = run(MATTING, *words_of(place, source, tmp_path / out, *more))
        assert code == 1 and text in lines[-1], (more, lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["twice"]
