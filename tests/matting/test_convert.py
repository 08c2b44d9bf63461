"""`python -m matting convert`: a film in, its people out."""

from itertools import product

import av
import cv2
import numpy as np
import pytest
import torch

from matting.commands import MATTING
from matting.options_run import parse_colour
from matting.runtime.convert import compose
from matting.runtime.stream import MatteStream
from nunif.models import save_model
from tests.matting.test_person_finder import portrait
from tests.matting.weights import pictures
from tests.videos import times_of, write_clip

SIZE = (70, 94)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    clip = (pictures(9, 3, *SIZE, seed=4) * 255).byte().permute(0, 2, 3, 1).numpy()
    other = 255 - (pictures(5, 3, *SIZE, seed=8) * 255).byte().permute(0, 2, 3, 1).numpy()
    return np.concatenate([np.repeat(clip[:1], 6, 0), np.repeat(other[:1], 5, 0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network, frames):
    """A film with a cut before frame 6, lossless, and the model."""
    folder = tmp_path_factory.mktemp("convert")
    write_clip(folder / "film.mkv", list(frames), codec="ffv1", pixel_format="bgr0", num_b_frames=0)
    save_model(network, folder / "m.pth")
    return folder


def convert(run, folder, out, *more):
    code, _, lines = run(
        MATTING, "convert", "-i", folder / "film.mkv", "-o", out, "--model", folder / "m.pth",
        "--gpu", -1, *more,
    )  # fmt: skip
    assert code == 0, lines
    return lines


def pngs(folder) -> list[np.ndarray]:
    return [
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3][:4]]
        for path in sorted(folder.glob("*.png"))
    ]


def test_pictures_are_the_networks_and_a_cut_starts_anew(run, folder, frames, network, tmp_path):
    convert(run, folder, tmp_path / "rgba")
    found = pngs(tmp_path / "rgba")
    assert len(found) == 11
    wanted = []
    with torch.no_grad():
        for shot in (frames[:6], frames[6:]):
            clip = torch.from_numpy(shot).permute(0, 3, 1, 2)[None].float() / 255
            colours, alpha, *_ = network(clip)
            both = torch.cat([colours, alpha], 2)[0].permute(0, 2, 3, 1)
            wanted += list((both * 255).round().byte().numpy())
    assert np.std([picture[..., 3] for picture in found]) > 10
    for picture, expected in zip(found, wanted):
        assert np.abs(picture.astype(int) - expected).max() <= 1
    convert(run, folder, tmp_path / "chunks", "--seq-chunk", 4)
    for picture, other in zip(found, pngs(tmp_path / "chunks")):
        assert np.abs(picture.astype(int) - other).max() <= 1


def test_films_have_their_times_and_add_up(run, folder, tmp_path):
    lossless = ("--codec", "ffv1", "--pixel-format", "bgr0")
    convert(
        run, folder, tmp_path / "com.mkv", "--background", "10,200,30", *lossless,
        "--alpha", tmp_path / "alpha", "--foreground", tmp_path / "front",
    )  # fmt: skip
    assert times_of(tmp_path / "com.mkv") == times_of(folder / "film.mkv")
    with av.open(str(tmp_path / "com.mkv")) as film:
        composed = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    alphas = [cv2.imread(str(path)) for path in sorted((tmp_path / "alpha").iterdir())]
    fronts = [cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / "front").iterdir())]
    for result, alpha, front in zip(composed, alphas, fronts, strict=True):
        share = alpha[..., :1].astype(float) / 255
        wanted = share * front + (1 - share) * np.array([10, 200, 30])
        assert np.abs(result - wanted).max() <= 2


@pytest.mark.slow
def test_backgrounds(run, folder, frames, tmp_path):
    cv2.imwrite(str(tmp_path / "behind.png"), np.full((20, 20, 3), (30, 20, 10), np.uint8))
    write_clip(tmp_path / "short.mkv", [np.full((*SIZE, 3), 99, np.uint8)] * 2, num_b_frames=0)
    convert(run, folder, tmp_path / "a", "--background", tmp_path / "behind.png")
    convert(run, folder, tmp_path / "b", "--background", "#0a141e")
    for one, other in zip((tmp_path / "a").iterdir(), (tmp_path / "b").iterdir()):
        assert one.read_bytes() == other.read_bytes()
    lines = convert(run, folder, tmp_path / "c", "--background", tmp_path / "short.mkv")
    assert any("has 2 frames, fewer than the film's 11: its last one stays" in x for x in lines)
    assert len(list((tmp_path / "c").iterdir())) == 11
    code, _, lines = run(
        MATTING, "convert", "-i", folder / "film.mkv", "-o", tmp_path / "d.mp4", "--model",
        folder / "m.pth", "--background", "greenish",
    )  # fmt: skip
    assert code == 1
    assert "--background greenish is no colour and no file" in lines[-1]


def test_colours():
    assert parse_colour("green") == parse_colour("#78FF9b") == (120, 255, 155)
    assert parse_colour("1, 2,3") == (1, 2, 3)
    assert parse_colour("1,2,256") is parse_colour("film.mp4") is parse_colour("1,2") is None


def test_compose():
    front, behind = np.full((1, 3, 3), 200, np.uint8), np.full((1, 3, 3), 50, np.uint8)
    alpha = np.array([[0, 128, 255]], np.uint8)
    assert compose(front, alpha, behind)[0, :, 0].tolist() == [50, 125, 200]


def test_the_filter_over_time(network):
    still = (pictures(1, 3, *SIZE, seed=4)[0] * 255).byte().permute(1, 2, 0).numpy()
    dark = still // 3
    plain, smooth = (MatteStream(network, temporal=share) for share in (0.0, 0.75))
    first, second = (
        [stream([picture])[0][1] for picture in (still, dark)] for stream in (plain, smooth)
    )
    assert np.array_equal(first[0], second[0])
    wanted = 0.75 * first[0].astype(float) + 0.25 * first[1]
    assert np.abs(second[1] - wanted).max() <= 1


def test_films_of_a_folder_and_a_part_of_each(run, folder, tmp_path):
    (tmp_path / "films").mkdir()
    for name in ("a", "b"):
        (tmp_path / "films" / f"{name}.mkv").write_bytes((folder / "film.mkv").read_bytes())
    words = (
        "convert", "-i", tmp_path / "films", "-o", tmp_path / "out", "--model", folder / "m.pth",
        "--gpu", -1, "--end", "0:0.1",
    )  # fmt: skip
    code, _, lines = run(MATTING, *words, "--alpha", tmp_path / "alphas")
    assert code == 0, lines
    for where in ("out", "alphas"):
        assert sorted(path.name for path in (tmp_path / where).iterdir()) == ["a.mkv", "b.mkv"]
        assert len(times_of(tmp_path / where / "a.mkv")) == 3  # of 30 per second
    code, _, lines = run(MATTING, *words)
    assert lines[-1].endswith("0 films made, 2 were there already")
    code, _, lines = run(MATTING, *words, "--foreground", tmp_path / "f.mp4")
    assert code == 1
    assert "f.mp4 is one file, and there are several films: name a folder" in lines[-1]


def test_two_outputs_of_one_name_and_outputs_over_inputs_are_refused(run, folder, tmp_path):
    words = ("convert", "-i", folder / "film.mkv", "--model", folder / "m.pth", "--gpu", -1)
    out = tmp_path / "out.mp4"
    code, _, lines = run(MATTING, *words, "-o", out, "--alpha", out)
    assert code == 1
    assert lines[-1].endswith("name one file twice: choose a name for each of them")
    write_clip(tmp_path / "behind.mp4", 2)
    code, _, lines = run(
        MATTING, *words, "-o", tmp_path / "behind.mp4", "--background", tmp_path / "behind.mp4"
    )
    assert code == 1 and "behind.mp4" in lines[-1]


def test_a_width_is_a_ratio(network):
    """Wider frames are computed at --max-width at most, as everywhere."""
    frame = (pictures(1, 3, *SIZE, seed=4)[0] * 255).byte().permute(1, 2, 0).numpy()
    narrow = MatteStream(network, max_width=SIZE[1] // 2)([frame])[0][1]
    same = MatteStream(network, downsample_ratio=0.5)([frame])[0][1]
    full = MatteStream(network)([frame])[0][1]
    assert np.array_equal(narrow, same)
    assert not np.array_equal(narrow, full)


def test_with_a_gate_nobody_is_cut_out_where_no_head_is_seen(run, folder, tmp_path):
    somebody, wall = portrait(120, 200, 70), portrait(120, 200, -400)
    lossless = dict(codec="ffv1", pixel_format="bgr0", num_b_frames=0)
    write_clip(tmp_path / "wall.mkv", [wall] * 3, **lossless)
    write_clip(tmp_path / "somebody.mkv", [wall, somebody, somebody], **lossless)
    alphas = {}
    for name, more in product(("wall", "somebody"), ((), ("--gate",))):
        out = tmp_path / f"{name}{len(more)}"
        code, _, lines = run(
            MATTING, "convert", "-i", tmp_path / f"{name}.mkv", "-o", out, "--gpu", -1,
            "--model", folder / "m.pth", *more,
        )  # fmt: skip
        assert code == 0, lines
        alphas[out.name] = np.stack([picture[..., 3] for picture in pngs(out)])
        told = any("nobody's head is seen in it (--gate)" in line for line in lines)
        assert told == (out.name == "wall1")
    assert len(alphas["wall1"]) == 3 and not alphas["wall1"].any() and alphas["wall0"].any()
    assert np.array_equal(alphas["somebody1"], alphas["somebody0"]) and alphas["somebody0"].any()
