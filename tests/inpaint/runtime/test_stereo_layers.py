"""`python -m inpaint stereo --layers`: layers moved apart, and what was behind people beside them.

Axes: T frames, H W pixels.
"""

import json

import cv2
import numpy as np
import pytest
import torch

from inpaint.commands import INPAINT
from inpaint.runtime.stereo_layers import disparities_of, view_of_layers
from inpaint.runtime.stereo_views import Eye
from nunif.image import decode, encode_grey, encode_rgb
from nunif.runtime.film import open_source
from nunif.runtime.options import FilmOptions
from scene.layers.exact import Layer
from scene.layers.formats import FORMATS, Layers, space_of
from scene.layers.planes import PlanesOfFilm
from scene.layers.spaces import Encoded, Linear
from tests.models import save_lively_model

H, W, T = 48, 96, 3
BOX = np.s_[12:36, 40:64]  # a person
STEP = 12  # pixels to the left in the right eye: 12.5 % of the width
RIGHT = Eye(-2.0)
EIGHT = np.dtype(np.uint8)
APART = ["--divergence", "12.5", "--convergence", "0", "--edge-dilation", "0", "--dilate", "0"]


def texture(seed, channels=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (H, W, channels), np.uint8)


def shown(step=0):
    """The room with the person in it, so many pixels further to the left."""
    picture = texture(1)
    picture[12:36, 40 - step : 64 - step] = texture(2)[BOX]
    return picture


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A film as pictures, its depth, and its layers: what is behind the person is known."""
    folder = tmp_path_factory.mktemp("made")
    alpha = np.zeros((H, W), np.uint8)
    alpha[BOX] = 255
    for name in ("film", "depth", "layers/shot0000"):
        (folder / name).mkdir(parents=True)
    shot = folder / "layers" / "shot0000"
    for number in range(T):
        name = f"{number:05d}"
        (folder / "film" / f"{name}.png").write_bytes(encode_rgb(shown()))
        depth = alpha.astype(np.uint16) * 257
        (folder / "depth" / f"{name}.png").write_bytes(encode_grey(depth))
        (shot / f"{name}_A.png").write_bytes(encode_grey(alpha))
        (shot / f"{name}_F.png").write_bytes(encode_rgb(texture(2) * (alpha[..., None] > 0)))
        (shot / f"{name}_B.png").write_bytes(encode_rgb(texture(1)))
        (shot / f"{name}_H.png").write_bytes(encode_grey(alpha))
    meta = {
        "source": {"hash": None},
        "size": [H, W],
        "frames": [0, 1, 2],
        "shots": [[0, T - 1]],
        "planes": [["A", "B", "C", "F", "H"]],
    }
    (folder / "layers" / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture
def stereo(run, made, model, tmp_path):
    def stereo(*words, film=made / "film", code=0):
        got, _, lines = run(
            INPAINT, "stereo", "-i", film, "-o", tmp_path / "out", "--model", model, "--gpu", -1,
            "--depth-in", made / "depth", *APART, *words,
        )  # fmt: skip
        assert got == code, lines
        return lines

    return stereo


def right_eye(folder):
    picture = decode(sorted(folder.iterdir())[1].read_bytes(), cv2.IMREAD_COLOR_RGB)
    return picture[:, :W], picture[:, W:]


def test_beside_people_is_what_was_found_behind_them(stereo, made, tmp_path):
    stereo("--layers", made / "layers")
    left, right = right_eye(tmp_path / "out")
    assert np.array_equal(left, shown()) and np.array_equal(right, shown(STEP))
    stereo(film=made / "film", code=1)  # the output stands: nothing is written over it


def test_without_layers_it_is_painted(stereo, tmp_path):
    stereo()
    _, right = right_eye(tmp_path / "out")
    wrong = (right != shown(STEP)).any(axis=2)
    assert wrong[12:36, 64 - STEP : 64].mean() > 0.9 and wrong.sum() <= 24 * STEP


def write_layers(folder, film, name, alpha):
    """The layers of pictures in some format; what is behind the person is known."""
    kind = FORMATS[name]
    folder.mkdir()
    with open_source(FilmOptions(input=film, output=folder)) as opened:
        space = space_of(kind, opened)
        with PlanesOfFilm(folder, lambda shot: kind.open_shot(shot, opened)) as written:
            written.start_shot()
            for frame in opened:
                (layer,), scene = space.split(frame.rgb, [alpha[..., None]], texture(1), [None])
                shown = {"C": space.put_in(frame.rgb), "B": scene, "H": alpha > 0}
                shown |= {"A": layer.alpha[..., 0], "F": layer.foreground}
                written.write(shown, frame)
    meta = {
        "source": {"hash": None}, "size": [H, W], "frames": [0, 1, 2], "shots": written.shots,
        "planes": written.planes, "format": name,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("name, most", [("exr", 0), ("ffv1", 0), ("prores", 4), ("vp9", None)])
def test_layers_are_read_in_the_formats_that_split_writes(stereo, made, tmp_path, name, most):
    alpha = np.zeros((H, W), np.uint8)
    alpha[BOX] = 255
    write_layers(tmp_path / "made", made / "film", name, alpha)
    stereo("--layers", tmp_path / "made")
    left, right = right_eye(tmp_path / "out")
    assert np.array_equal(left, shown())
    far = np.abs(right.astype(int) - shown(STEP)).max(axis=2)
    beside = np.zeros((H, W), bool)
    beside[12:36, 40 - STEP : 64] = True
    if most is not None:
        assert far.max() <= most
    # the film's own, where nothing was taken apart
    assert not far[~cv2.dilate(beside.astype(np.uint8), np.ones((3, 3))).astype(bool)].any()


def test_layers_that_do_not_fit_get_a_line(stereo, made, tmp_path):
    def error(layers, **more):
        return stereo("--layers", layers, code=1, **more)[-1]

    assert "holds no layers of a film" in error(made / "film")
    (tmp_path / "several").mkdir()
    for name in ("a", "b"):
        (tmp_path / "several" / name).mkdir()
        (tmp_path / "several" / name / "0.png").write_bytes(encode_rgb(shown()))
    assert "are of one film" in error(made / "layers", film=tmp_path / "several")

    other = tmp_path / "other"
    (other / "shot0000").mkdir(parents=True)
    meta = json.loads((made / "layers" / "meta.json").read_text())

    def write(**more):
        (other / "meta.json").write_text(json.dumps({**meta, **more}))

    write(size=[H, W - 2])
    assert f"has 3 frames of {W - 2}x{H}, and what is read of" in error(other)
    write(format="dpx")
    assert "the layers are dpx, which isn't known: choose from png, exr" in error(other)
    write(planes=[])
    assert "meta.json is damaged" in error(other)
    write()
    assert "00000_H.png can't be read" in error(other)


def test_a_soft_edge_is_laid_over_what_it_comes_to_stand_before():
    alpha = np.zeros((1, 8), np.uint8)
    alpha[0, 4:6] = 128
    scene = np.arange(8, dtype=np.uint8)[None, :, None].repeat(3, 2) * 10
    layer = Layer(np.full((1, 8, 3), 200, np.uint8), alpha[..., None])
    layers = Layers([layer], scene, Encoded())
    still, moved = torch.zeros(1, 8), torch.full((1, 8), 1.0)
    picture, hole = view_of_layers(layers, EIGHT, still, [moved], RIGHT)
    expected = scene[0, :, 0].astype(float)
    expected[2:4] += 128 / 255 * (200 - expected[2:4])
    assert not hole.any() and np.array_equal(picture[0, :, 0], np.rint(expected))
    # nothing moves: it is what it was
    picture, _ = view_of_layers(layers, EIGHT, still, [still], RIGHT)
    assert picture[0, 4, 0] == round(40 + 128 / 255 * 160)


def test_where_nothing_moves_linear_light_is_the_film_again():
    rng = np.random.default_rng(4)
    picture, guess = rng.integers(0, 256, (2, 16, 20, 3), np.uint8)
    alpha = rng.integers(0, 256, (16, 20, 1), np.uint8)
    space = Linear(np.uint8, None)
    layers = Layers(*space.split(picture, [alpha], guess, [None]), space)
    still = torch.zeros(16, 20)
    assert np.array_equal(view_of_layers(layers, EIGHT, still, [still], RIGHT)[0], picture)


def test_a_gap_in_somebody_is_no_window():
    """An arm before the body moves further than it: what it hid is missing, and not the scene."""
    shape = (3, 24)
    layers = Layers(
        [Layer(np.full((*shape, 3), 90, np.uint8), np.full((*shape, 1), 255, np.uint8))],
        np.full((*shape, 3), 7, np.uint8),
        Encoded(),
    )
    shift = torch.zeros(shape)
    shift[:, 10:14] = 2.0
    _, hole = view_of_layers(layers, EIGHT, torch.zeros(shape), [shift], RIGHT)
    assert hole[:, 10:14].all() and hole.sum() == 3 * 4


def test_each_layer_has_a_disparity_of_its_own():
    alpha = np.zeros((40, 40), np.float32)
    alpha[10:30, 10:30] = 1
    disparity = np.full((40, 40), 0.2, np.float32)
    disparity[8:32, 8:32] = 0.5  # soft and wide, as estimated
    disparity[12:28, 12:28] = 0.8
    behind, (person,) = disparities_of(disparity, [alpha])
    assert np.allclose(person, 0.8) and behind.max() <= 0.5
    assert np.allclose(behind[:8], 0.2) and behind[12:28, 12:28].max() < 0.5
    # where nothing covers anything it is as it is
    same, (nothing,) = disparities_of(disparity, [np.zeros_like(alpha)])
    assert np.array_equal(same, disparity) and np.array_equal(nothing, disparity)
