"""`python -m layers split --format`, and what `compose` makes of it.

Axes: T frames, H W pixels.
"""

import json
import re
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from layers import options_split
from nunif.exr import decode_exr, encode_exr
from nunif.image import encode_grey
from nunif.video.picture import alpha_of
from nunif.video.reader import VideoReader
from scene.layers.formats import FORMATS, read_layers, space_of
from scene.layers.plane_videos import FFV1, VideoShot
from scene.layers.planes import PlanesOfFilm
from scene.layers.spaces import Linear
from tests.layers.test_split import (
    LOSSLESS,
    H,
    T,
    W,
    compose,
    frames_of,
    layers,  # noqa: F401
    pictures,
    split,
    write_masks,
)
from tests.videos import set_rotation, sound_of, times_of, write_clip

UNEVEN = (0, 40, 55, 140, 141, 300)  # milliseconds


def write_film(folder, name):
    """A film with one property of its own, and masks for it."""
    masks = write_masks(folder / "masks")
    film = folder / "film.mkv"
    if name == "uneven times, sound":
        write_clip(
            film, pictures(), **LOSSLESS, pixel_format="bgr0", times=UNEVEN,
            time_base=Fraction(1, 1000), sound="flac",
        )  # fmt: skip
    elif name.startswith("10 bits"):
        pixel_format = "yuv444p10le" if "full" in name else "yuv420p10le"
        write_clip(film, pictures(), **LOSSLESS, pixel_format=pixel_format, fps=30)
    else:
        film = folder / "film.mov"
        write_clip(film, pictures(), codec="png", num_b_frames=0, pixel_format="rgb24")
        set_rotation(film, 90)
        for path in masks.iterdir():
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            path.write_bytes(encode_grey(np.ascontiguousarray(np.rot90(mask))))
    return film, masks


@pytest.mark.parametrize(
    "kind, name",
    [
        ("png", "uneven times, sound"),
        ("ffv1", "uneven times, sound"),
        ("ffv1", "10 bits"),
        ("exr", "10 bits"),
        ("exr", "turned"),
    ],
)
def test_the_film_comes_together_again(layers, tmp_path, kind, name):  # noqa: F811
    film, masks = write_film(tmp_path, name)
    split(layers, film, tmp_path / "out", "--masks", masks, "--format", kind)
    again = tmp_path / "again.mkv"
    made = compose(layers, tmp_path / "out", again)
    assert np.array_equal(made, frames_of(film))
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["format"] == kind and meta["recompose"] == "exact"
    assert meta["planes"] == [["A", "B", "C", "F", "H"]]
    if name == "uneven times, sound":
        assert [round(1000 * t) for t in times_of(again)] == list(UNEVEN)
        assert sound_of(again) == sound_of(film)
        if kind == "ffv1":
            assert times_of(tmp_path / "out" / "shot0000" / "person.mkv") == times_of(film)
    # that it is made of the layers, and not of the film
    moved = compose(layers, tmp_path / "out", tmp_path / "b.mkv", "--scene", film)
    assert (moved != made).any()


def test_interlaced_films_are_refused(layers, tmp_path):  # noqa: F811
    film = tmp_path / "film.mkv"
    options = {"flags": "+ildct+ilme", "x264-params": "interlaced=1"}
    write_clip(film, 4, options=options, num_b_frames=0)
    lines = layers("split", "-i", film, "-o", tmp_path / "out", "--masks", film, code=1)
    assert "interlaced" in lines[-1] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind, suffix, name, most",
    [
        ("prores", ".mov", "uneven times, sound", (0.2, 2, 0.1)),
        ("prores", ".mov", "10 bits, full chroma", (0.2, 2, 0.3)),
        ("vp9", ".webm", "uneven times, sound", (2, 35, 6)),
    ],
)
def test_what_a_lossy_format_costs_is_told(layers, tmp_path, kind, suffix, name, most):  # noqa: F811
    film, masks = write_film(tmp_path, name)
    lines = split(layers, film, tmp_path / "out", "--masks", masks, "--format", kind)
    told = r"composed again the film is off by ([\d.]+) of 255 at most, by ([\d.]+) on average"
    (found,) = filter(None, (re.search(told, line) for line in lines))
    greatest, mean = map(float, found.groups())
    assert 0 < greatest <= most[1] and 0 < mean <= most[2]
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["recompose"]["greatest"] == pytest.approx(greatest, abs=0.05)
    with VideoReader(tmp_path / "out" / "shot0000" / f"person{suffix}", for_editing=True) as video:
        for number, frame in enumerate(video):
            mask = cv2.imread(str(masks / f"{number:04d}.png"), cv2.IMREAD_GRAYSCALE)
            alpha = alpha_of(frame.picture)
            share = alpha / np.iinfo(alpha.dtype).max * 255
            assert np.abs(share - mask).max() <= most[0]
    lines = layers("compose", tmp_path / "out", "-o", tmp_path / "again.mkv", "--codec", "ffv1")
    assert any(f"is {kind}, which isn't exact" in line for line in lines)
    made, true = frames_of(tmp_path / "again.mkv"), frames_of(film)
    holes = frames_of(tmp_path / "out" / "shot0000" / "hole.mkv")[..., 0] > 0
    assert holes.any() and np.array_equal(made[~holes], true[~holes])
    unit = np.iinfo(made.dtype).max / 255
    apart = np.abs(made[holes].astype(float) - true[holes]) / unit
    assert 0 < apart.max() <= greatest + 0.3  # rounded to the film's own 10 bits again


def test_each_plane_is_a_layer_of_its_own_in_linear_light(layers, tmp_path):  # noqa: F811
    film, masks = write_film(tmp_path, "uneven times, sound")
    things = tmp_path / "things"
    things.mkdir()
    for number in range(T):
        thing = np.zeros((H, W), np.uint8)
        thing[10:20, 10:20] = 128
        thing[10:20, 20] = range(10, 200, 20)
        (things / f"{number:04d}.png").write_bytes(encode_grey(thing))
    words = ("--masks", masks, "--occluders", things, "--format", "exr")
    lines = split(layers, film, tmp_path / "out", *words)
    assert any("linear light (sRGB), premultiplied, in 16 bits" in line for line in lines)
    path = tmp_path / "out" / "shot0000" / "frame.00003.exr"
    channels = decode_exr(path.read_bytes())
    named = {f"{name}.{c}" for name in ("person", "occluder") for c in "RGBA"}
    assert channels.keys() == named | {"scene.R", "scene.G", "scene.B", "hole.A", *"RGB"}
    picture = Linear(np.uint8, None).put_in(frames_of(film)[3])
    assert np.array_equal(np.dstack([channels[c] for c in "RGB"]), picture)
    occluder = channels["occluder.A"]
    assert occluder[15, 15] == np.float16(128 / 255) and not occluder[30:].any()
    with av.open(str(path)) as container:  # by another's decoder
        stream = container.streams.video[0]
        stream.codec_context.options = {"layer": "occluder"}
        planes = next(container.decode(stream)).planes
        alpha = np.frombuffer(planes[3], np.float16).reshape(H, -1)[:, :W]
    assert np.array_equal(alpha, occluder)
    assert np.array_equal(compose(layers, tmp_path / "out", tmp_path / "a.mkv"), frames_of(film))


def test_the_options_name_all_formats():
    assert options_split.FORMATS == tuple(FORMATS)


def test_bad_layers_get_a_line(layers, tmp_path):  # noqa: F811
    film, masks = write_film(tmp_path, "uneven times, sound")
    split(layers, film, tmp_path / "exr", "--masks", masks, "--format", "exr")
    split(layers, film, tmp_path / "ffv1", "--masks", masks, "--format", "ffv1")

    def error(folder):
        return layers("compose", tmp_path / folder, "-o", tmp_path / "b.mkv", code=1)[-1]

    path = tmp_path / "exr" / "shot0000" / "frame.00002.exr"
    channels = decode_exr(path.read_bytes())
    path.write_bytes(encode_exr({name: channels[name] for name in "RGB"}))
    assert "frame.00002.exr has no channel 'person.R': split the film again" in error("exr")
    path.write_bytes(path.read_bytes()[:-30])
    assert "frame.00002.exr can't be read (damaged or cut off)" in error("exr")
    person = tmp_path / "ffv1" / "shot0000" / "person.mkv"
    write_clip(person, pictures()[:4], **LOSSLESS, pixel_format="bgra")
    assert "person.mkv has 4 frames, its shot 6: write it with all of them" in error("ffv1")
    person.unlink()
    assert "person.mkv doesn't exist" in error("ffv1")
    meta = tmp_path / "exr" / "meta.json"
    meta.write_text(meta.read_text().replace('"exr"', '"dpx"'))
    assert "the layers are dpx, which isn't known: choose from png, exr, ffv1" in error("exr")


@pytest.mark.parametrize("name", ["png", "exr", "ffv1"])
def test_who_comes_and_goes_has_a_layer_in_every_frame(tmp_path, name):
    path = write_clip(tmp_path / "film.mkv", pictures(), **LOSSLESS, pixel_format="bgr0")
    grey, kind = np.full((H, W), 200, np.uint8), FORMATS[name]
    with VideoReader(path, for_editing=True) as film:
        space = space_of(kind, film)
        with PlanesOfFilm(tmp_path, lambda shot: kind.open_shot(shot, film)) as written:
            written.start_shot()
            for number, frame in enumerate(film):
                alphas = [grey[..., None]] if 2 <= number < 4 else []
                layers, scene = space.split(frame.rgb, alphas, frame.rgb, [None] * len(alphas))
                shown = {"C": space.put_in(frame.rgb), "B": scene}
                for layer in layers:
                    shown |= {"A": layer.alpha[..., 0], "F": layer.foreground}
                written.write(shown, frame)
    meta = {"shots": written.shots, "planes": written.planes, "format": name}
    with VideoReader(path, for_editing=True) as film:
        found = list(read_layers(tmp_path, meta, film))
    means = [space.alpha_of(layers.people[0]).mean() for layers in found]
    assert means == [0, 0, 200, 200, 0, 0]


def test_who_comes_later_is_transparent_until_then(tmp_path):
    """And who leaves, after; what is empty all along is left out."""
    film = write_clip(tmp_path / "film.mkv", pictures(), **LOSSLESS, pixel_format="bgr0")
    grey = np.full((H, W), 200, np.uint8)
    with (
        VideoReader(film, for_editing=True) as video,
        PlanesOfFilm(tmp_path, lambda shot: VideoShot(shot, video, FFV1)) as written,
    ):
        written.start_shot()
        for number, frame in enumerate(video):
            shown = {"C": frame.rgb, "B": frame.rgb, "A2": grey * 0, "F2": frame.rgb}
            is_there = {"A": grey, "F": frame.rgb} if 2 <= number < 4 else {}
            written.write(shown | is_there, frame)
    assert written.planes == [["A", "B", "C", "F"]]
    shot = tmp_path / "shot0000"
    assert {path.name for path in shot.iterdir()} == {"person.mkv", "scene.mkv"}
    with VideoReader(shot / "person.mkv", for_editing=True) as video:
        means = [int(alpha_of(frame.picture).mean()) for frame in video]
    assert means == [0, 0, 200, 200, 0, 0]
    assert times_of(shot / "person.mkv") == times_of(film)
