"""`python -m layers split` and `compose`: a film comes together again of its layers.

Axes: T frames, H W pixels.
"""

import json

import cv2
import numpy as np
import pytest

from layers.commands import LAYERS
from nunif.image import encode_grey, encode_rgb
from nunif.video.reader import VideoReader
from tests.pictures import voc_palette
from tests.videos import set_rotation, shots, sound_of, times_of, write_clip

H, W, T = 46, 61, 6  # odd: chroma is shared over the edge
LOSSLESS = dict(codec="ffv1", num_b_frames=0)


@pytest.fixture
def layers(run, tmp_path):
    def layers(*words, code=0):
        got, _, lines = run(LAYERS, *words)
        assert got == code, lines
        return lines

    return layers


def pictures(num=T, *, dtype=np.uint8):
    rng = np.random.default_rng(5)
    soft = cv2.GaussianBlur(rng.random((H, W + num, 3)).astype(np.float32), (0, 0), 2)
    top = np.iinfo(dtype).max
    wide = np.rint((soft - soft.min()) / np.ptp(soft) * top).astype(dtype)
    return [wide[:, k : k + W] for k in range(num)]


def write_masks(folder, num=T):
    """A disc with a soft edge that moves."""
    folder.mkdir()
    rows, columns = np.mgrid[:H, :W]
    for number in range(num):
        away = np.hypot(rows - 22, columns - 20 - 3 * (number % 8))
        alpha = ((14 - away) / 6).clip(0, 1) * 255
        (folder / f"{number:04d}.png").write_bytes(encode_grey(alpha.astype(np.uint8)))
    return folder


def write_objects(folder, num=T):
    """Two squares, numbered as DAVIS does."""
    from PIL import Image

    folder.mkdir()
    for number in range(num):
        index = np.zeros((H, W), np.uint8)
        index[5:25, 8 + number : 30 + number] = 1
        index[15:40, 20:40] = 2
        picture = Image.fromarray(index, "P")
        picture.putpalette(voc_palette())
        picture.save(folder / f"{number:04d}.png")
    return folder


def frames_of(path):
    with VideoReader(path, for_editing=True) as video:
        return np.stack([frame.rgb for frame in video])


def split(layers, film, out, *words):
    return layers("split", "-i", film, "-o", out, "--gpu", -1, *words)


def compose(layers, folder, out, *words):
    layers("compose", folder, "-o", out, "--codec", "ffv1", *words)
    return frames_of(out)


@pytest.mark.parametrize(
    "pixel_format, degrees",
    [("bgr0", 0), ("yuv420p", 0), ("yuv420p10le", 0), ("yuv420p", 90)],
)
def test_nothing_replaced_is_the_film_itself(layers, tmp_path, pixel_format, degrees):
    film = tmp_path / ("film.mov" if degrees else "film.mkv")
    if degrees:
        write_clip(film, pictures(), codec="png", num_b_frames=0, pixel_format="rgb24")
        set_rotation(film, degrees)
    else:
        write_clip(film, pictures(), **LOSSLESS, pixel_format=pixel_format)
    masks = write_masks(tmp_path / "masks")
    if degrees:
        for path in masks.iterdir():
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            path.write_bytes(encode_grey(np.ascontiguousarray(np.rot90(mask))))
    split(layers, film, tmp_path / "out", "--masks", masks)
    made = compose(layers, tmp_path / "out", tmp_path / "again.mkv")
    assert np.array_equal(made, frames_of(film))
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["shots"] == [[0, T - 1]] and meta["planes"] == [["A", "B", "C", "F", "H"]]
    shot = tmp_path / "out" / "shot0000"
    for number, picture in enumerate(frames_of(film)):
        read = {
            letter: cv2.imread(str(shot / f"{number:05d}_{letter}.png"), cv2.IMREAD_UNCHANGED)
            for letter in "ABCFH"
        }
        hole = read["H"] > 0
        assert np.array_equal(read["C"][..., ::-1], picture)
        assert np.array_equal(read["B"][..., ::-1][~hole], picture[~hole])
        assert (read["B"][..., ::-1] != picture)[hole].any() and (read["A"] > 0).any()


def test_shots_objects_occluder_and_nobody(layers, tmp_path):
    """Two people and a thing before them in the second of two shots, nobody in the first."""
    frames = shots(lengths=(12, 12), height=H, width=W)
    write_clip(tmp_path / "film.mkv", frames, **LOSSLESS, pixel_format="bgr0", sound="flac")
    objects = write_objects(tmp_path / "objects", num=24)
    things = write_masks(tmp_path / "things", num=24)
    nothing = encode_grey(np.zeros((H, W), np.uint8))
    for number in range(12):
        (things / f"{number:04d}.png").write_bytes(nothing)
        (objects / f"{number:04d}.png").write_bytes(nothing)
    lines = split(
        layers, tmp_path / "film.mkv", tmp_path / "out", "--masks", objects, "--objects", "2,1",
        "--occluders", things,
    )  # fmt: skip
    assert any("24 frames in 2 shots, nobody in 1 of them" in line for line in lines)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["shots"] == [[0, 11], [12, 23]]
    assert meta["planes"] == [["B", "C"], ["A", "A2", "B", "C", "F", "F2", "H", "O", "OF"]]
    assert meta["empty"] == [{"shot": 0, "person": "alpha never above 0.02"}]
    assert [(p["shot"], p["id"], p["object"]) for p in meta["persons"]] == [(1, 1, 2), (1, 2, 1)]
    first = tmp_path / "out" / "shot0000"
    assert (first / "00000_B.png").read_bytes() == (first / "00000_C.png").read_bytes()
    film = frames_of(tmp_path / "film.mkv")
    again = tmp_path / "again.mkv"
    assert np.array_equal(compose(layers, tmp_path / "out", again), film)
    assert sound_of(again) == sound_of(tmp_path / "film.mkv")
    assert times_of(again) == times_of(tmp_path / "film.mkv")

    grey = np.full((H, W, 3), 90, np.uint8)
    write_clip(tmp_path / "other.mkv", [grey] * 24, **LOSSLESS, pixel_format="bgr0")
    other = compose(
        layers, tmp_path / "out", tmp_path / "c.mkv", "--person", tmp_path / "other.mkv"
    )
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["generated"] is True and meta["person_from"] == "other.mkv"
    for number in range(12, 24):
        hole, thing = (
            cv2.imread(str(tmp_path / "out" / "shot0001" / f"{number:05d}_{letter}.png"), 0)
            for letter in "HO"
        )
        kept = (hole == 0) | (thing == 255)
        assert np.array_equal(other[number][kept], film[number][kept])
        assert (other[number][(hole > 0) & (thing == 0)] == 90).all()
    (tmp_path / "scene.png").write_bytes(encode_rgb(grey))
    moved = compose(
        layers, tmp_path / "out", tmp_path / "d.mkv", "--scene", tmp_path / "scene.png",
        "--no-occluder",
    )  # fmt: skip
    assert (moved[:12] == 90).all()
    index = cv2.imread(str(tmp_path / "out" / "shot0001" / "00012_A.png"), 0)
    thing = cv2.imread(str(tmp_path / "out" / "shot0001" / "00012_O.png"), 0)
    person = (index == 255) & (thing == 0)
    assert np.array_equal(moved[12][person], film[12][person])


def test_people_are_found_without_masks_and_by_a_model(layers, tmp_path):
    from tests.matting.test_person_finder import portrait

    frames = [portrait(72, 128, 40)] * 4
    write_clip(tmp_path / "film.mkv", frames, **LOSSLESS, pixel_format="bgr0")
    split(layers, tmp_path / "film.mkv", tmp_path / "out", "--no-gate", "--max-width", 64)
    alpha = cv2.imread(str(tmp_path / "out" / "shot0000" / "00002_A.png"), 0)
    person = (portrait(72, 128, 40) != portrait(72, 128, -200)).any(axis=2)
    assert alpha[person].mean() > 200 and alpha[~person].mean() < 40
    made = compose(layers, tmp_path / "out", tmp_path / "again.mkv")
    assert np.array_equal(made, np.stack(frames))


def test_bad_input_gets_a_line(layers, tmp_path):
    film = tmp_path / "film.mkv"
    write_clip(film, pictures(), **LOSSLESS, pixel_format="bgr0")
    masks = write_masks(tmp_path / "masks")

    def error(*words):
        return layers(*words, code=1)[-1]

    taken = ("split", "-i", film, "-o", tmp_path / "a")
    assert "leave one of them out" in error(*taken, "--masks", masks, "--matting", "m.pth")
    assert "--objects 1 is for --masks" in error(*taken, "--objects", "1")
    assert "layers are a folder" in error("split", "-i", film, "-o", tmp_path / "a.mkv")
    assert "holds no layers" in error("compose", tmp_path, "-o", tmp_path / "b.mkv")
    split(layers, film, tmp_path / "out", "--masks", masks)
    assert "is there already" in error(*taken[:3], "-o", tmp_path / "out", "--masks", masks)
    moved = film.rename(tmp_path / "moved.mkv")
    out = ("compose", tmp_path / "out", "-o", tmp_path / "b.mkv")
    assert "isn't there any more: name it with --source" in error(*out)
    layers(*out, "--source", moved)
    write_clip(tmp_path / "short.mkv", pictures()[:3], **LOSSLESS, pixel_format="bgr0")
    assert "isn't the film that was split" in error(*out, "--source", tmp_path / "short.mkv")
    given = (*out, "--source", moved, "--person", tmp_path / "short.mkv")
    assert "has 3 frames, the film 6" in error(*given)
    write_clip(tmp_path / "long.mkv", pictures(9), **LOSSLESS, pixel_format="bgr0")
    lines = layers(
        "compose", tmp_path / "out", "-o", tmp_path / "e.mkv", "--source", moved, "--scene",
        tmp_path / "long.mkv",
    )  # fmt: skip
    assert any("has 9 frames, the film 6: those behind them are left out" in x for x in lines)
    small = [frame[:40] for frame in pictures()]
    write_clip(tmp_path / "small.mkv", small, **LOSSLESS, pixel_format="bgr0")
    given = (*out, "--source", moved, "--scene", tmp_path / "small.mkv")
    assert "is 61x40, the film 61x46" in error(*given)
    (tmp_path / "out" / "shot0000" / "00003_B.png").unlink()
    assert "00003_B.png can't be read" in error(*out, "--source", moved)
