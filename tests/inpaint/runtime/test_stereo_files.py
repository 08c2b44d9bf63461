"""What `python -m inpaint stereo` reads and writes beside the pictures, as a user runs it: depth,
names and marks for players.

Axes: H W pixels.
"""

from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch

from inpaint.commands import INPAINT
from inpaint.options_run import StereoOptions
from inpaint.runtime import stereo
from inpaint.runtime.depth_files import open_depth_in, smooth_steps
from inpaint.runtime.depth_stream import DepthFrame
from inpaint.runtime.stereo_views import forward_warp
from nunif import cli
from nunif.errors import UserError
from nunif.image import encode_grey
from nunif.video.film import open_film
from nunif.video.part import PartOfFilm
from nunif.video.reader import VideoReader
from nunif.video.side_data import side_data_of
from nunif.video.writer import write_video
from tests.inpaint.runtime.test_stereo import BOX, FAR_APART, H, Known, W
from tests.models import save_lively_model
from tests.videos import shots, times_of, write_clip

T = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture
def run(capsys, caplog, model, tmp_path):
    """stereo in tmp_path: exit code and the lines it logged."""
    caplog.set_level("INFO")

    def run(source, output, *words):
        caplog.clear()
        words = ["-i", source, "-o", tmp_path / output, "--model", model, "--gpu", "-1", *words]
        code = cli.run(INPAINT, ["stereo", *map(str, words)])
        return code, [*caplog.messages, *capsys.readouterr().err.strip().splitlines()]

    return run


@pytest.fixture
def film(tmp_path):
    """Four frames that have no depth, then four that have; lossless."""
    frames = [np.full((H, W, 3), 90, np.uint8)] * 4 + shots([4], width=W, height=H)
    return write_clip(
        tmp_path / "film.mkv", frames, codec="ffv1", pixel_format="yuv444p", num_b_frames=0
    )


class Sloped(Known):
    """The box is near, and what is behind it comes nearer to the right."""

    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        near = super().raw_disparity(frames)
        return torch.maximum(near, torch.linspace(0, 0.3, W))


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(stereo, "create_estimator", lambda *_, **__: Sloped())


def write_depth(folder, maps, *, first=0, step=1):
    folder.mkdir(exist_ok=True)
    for number, depth in enumerate(maps):
        (folder / f"{first + step * number:08d}.png").write_bytes(encode_grey(depth))
    return folder


def box(value, dtype=np.uint8):
    depth = np.zeros((H, W), dtype)
    depth[BOX] = value
    return depth


def pictures_of(path):
    return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in sorted(path.iterdir())]


def maps_in(path, film):
    """What `open_depth_in` reads for a film, (T, h, w)."""
    with open_film(film, for_editing=True) as opened, open_depth_in(path, opened) as maps:
        return torch.stack(list(maps))


# Out and in again


@pytest.mark.parametrize("name", ["depth", "depth.mkv"])
def test_depth_in_of_depth_out_gives_the_same_film_bit_for_bit(run, known, film, tmp_path, name):
    look = ["--divergence", "10", "--view", "both", "--foreground-scale", "1.5"]
    code, lines = run(film, "made", "--depth-out", tmp_path / name, *look)
    assert code == 0 and "4 of 8 frames have no depth and are flat: too little motion" in lines
    code, lines = run(film, "again", "--depth-in", tmp_path / name, *look)
    assert code == 0 and lines[0].startswith(f"depth: {tmp_path / name}; holes: torch ")
    made, again = pictures_of(tmp_path / "made"), pictures_of(tmp_path / "again")
    assert len(made) == T and np.array_equal(made, again)
    assert (made[5][:, :W] != made[5][:, W:]).mean() > 0.3
    # no depth stays none, at the screen
    assert all(np.array_equal(picture[:, :W], picture[:, W:]) for picture in made[:4])
    if name == "depth":
        depths = pictures_of(tmp_path / name)
    else:
        assert times_of(tmp_path / name) == times_of(film)
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].codec_context.pix_fmt == "gray16le"
        with VideoReader(tmp_path / name, for_editing=True) as reader:
            depths = [frame.picture.planes[0] for frame in reader]
    assert all(depth.dtype == np.uint16 and depth.shape == (H, W) for depth in depths)
    assert (depths[7][BOX] == 65535).all() and depths[7][0, 0] == 0 and len(depths) == T
    # flat frames have the grey that lies on the screen
    assert all(np.ptp(depth) == 0 and 0 < depth[0, 0] < 65535 for depth in depths[:4])


def test_writing_the_depth_changes_nothing_that_is_seen(run, known, film, tmp_path):
    assert run(film, "plain", *FAR_APART)[0] == 0
    assert run(film, "made", "--depth-out", tmp_path / "depth.mkv", *FAR_APART)[0] == 0
    for plain, made in zip(pictures_of(tmp_path / "plain"), pictures_of(tmp_path / "made")):
        assert np.abs(plain.astype(int) - made).mean() < 0.5


def test_a_film_without_any_depth_has_depth_of_its_own_size(run, known, tmp_path):
    frames = [np.full((H, W, 3), 90, np.uint8)] * 3
    film = write_clip(tmp_path / "film.mkv", frames, codec="ffv1", pixel_format="yuv444p")
    assert run(film, "out", "--depth-out", tmp_path / "depth", "--convergence", "1")[0] == 0
    depths = pictures_of(tmp_path / "depth")
    assert len(depths) == 3 and all((depth == 65535).all() for depth in depths)
    assert depths[0].shape == (H, W)


def test_what_breaks_off_leaves_the_depth_up_to_there(run, known, film, monkeypatch, tmp_path):
    look_at, calls = stereo.Remarks.look_at, []

    def struck(self, depth):
        calls.append(look_at(self, depth))
        if len(calls) > 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(stereo.Remarks, "look_at", struck)
    code, lines = run(film, "out", "--depth-out", tmp_path / "depth", "--look-ahead", "0")
    assert code == 130 and lines[-1] == "interrupted"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["depth.unfinished", "film.mkv", "out.unfinished"]
    assert len(pictures_of(tmp_path / "depth.unfinished")) >= 7


# Depth of others


def test_depth_of_others_is_taken_by_number_or_in_order(film, tmp_path):
    maps = [box(10 * (number + 1)) for number in range(T)]
    values = torch.arange(1, T + 1) * 10 / 255
    # iw3 numbers its pictures by their times
    depths = maps_in(write_depth(tmp_path / "times", maps, step=512), film)
    assert torch.allclose(depths[:, 30, 48], values)
    row = tmp_path / "row"
    row.mkdir()
    for number, frame in enumerate(shots([T], width=W, height=H)):
        cv2.imwrite(str(row / f"{1001 + number}.png"), frame)
    more = write_depth(tmp_path / "more", [box(0), box(0), *maps], first=999)
    assert torch.allclose(maps_in(more, row)[:, 30, 48], values)
    assert torch.allclose(maps_in(write_depth(tmp_path / "zero", maps), row)[:, 30, 48], values)


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "RGB", "video", "16-bit video"])
def test_depth_of_every_kind_means_the_same(film, tmp_path, kind):
    path, middle = tmp_path / "depth", (slice(None), 32, 48)
    if kind == "8 bits":
        write_depth(path, [box(51)] * T)
    elif kind == "16 bits":
        write_depth(path, [box(13107, np.uint16)] * T)
    elif kind == "RGB":
        path.mkdir()
        for number in range(T):
            cv2.imwrite(str(path / f"{number}.png"), box(51)[..., None].repeat(3, 2))
    elif kind == "video":  # lossy, limited range
        path = tmp_path / "depth.mp4"
        write_video(path, [box(51)[..., None].repeat(3, 2)] * T, fps=24, crf=8)
    else:
        path = tmp_path / "depth.mkv"
        frames = [box(51)[..., None].repeat(3, 2)] * T
        write_clip(path, frames, codec="ffv1", pixel_format="gray16le", num_b_frames=0)
    depths = maps_in(path, film)
    assert depths.shape == (T, H, W) and depths.dtype == torch.float32
    assert torch.allclose(depths[middle], torch.tensor(0.2), atol=0.004 if "v" in kind else 1e-6)
    assert depths[:, 4, 4].abs().max() <= 0.003


def test_steps_of_8_bits_become_slopes_that_do_not_tear():
    """A slope of 12 levels over 300 pixels, 384 pixels of parallax for 255: steps of 1.5 pixels."""
    coarse = np.rint(np.linspace(0, 12, 300)).astype(np.float32)[None].repeat(40, 0) / 255
    smooth = smooth_steps(coarse, 1 / 255)
    assert np.abs(smooth - coarse).max() <= 0.5 / 255 + 1e-6
    edge = np.zeros((40, 300), np.float32)
    edge[:, 150:] = 1
    assert np.abs(smooth_steps(edge, 1 / 255) - edge).max() <= 0.5 / 255 + 1e-6

    def num_torn(near):
        picture = np.full((40, 300, 3), 9, np.uint8)
        _, hole = forward_warp(picture, torch.from_numpy(near * 384), near_to_right=True)
        return int(hole[:, 30:].sum())

    assert num_torn(coarse) >= 40 * 10 and num_torn(smooth) == 0


def test_depth_of_8_bits_is_smoothed_and_that_of_16_is_not(film, tmp_path):
    slope = np.rint(np.linspace(0, 6, W)).astype(np.uint8)[None].repeat(H, 0)
    fine = maps_in(write_depth(tmp_path / "fine", [slope.astype(np.uint16) * 257] * T), film)[0]
    assert torch.equal(fine, torch.from_numpy(slope.astype(np.float32) * 257) / 65535)
    smooth = maps_in(write_depth(tmp_path / "coarse", [slope] * T), film)[0]
    assert len(smooth[0].unique()) > 40 > len(fine[0].unique()) == 7
    assert (smooth - fine).abs().max() <= 0.5 / 255 + 1e-6


def test_depth_of_another_size_is_scaled_and_of_another_shape_stretched_with_a_line(
    run, film, tmp_path
):
    made = {}
    for name, size in (("full", (W, H)), ("tall", (W // 2, H))):
        depth = cv2.resize(box(255), size, interpolation=cv2.INTER_AREA)
        write_depth(tmp_path / name, [depth] * T)
        code, lines = run(film, f"of_{name}", "--depth-in", tmp_path / name, *FAR_APART)
        assert code == 0
        assert [line for line in lines if "stretched" in line] == [
            f"--depth-in {tmp_path / 'tall'} is 48x64, the film 96x64: it is stretched to the "
            "film's shape"
        ] * (name == "tall")
        made[name] = pictures_of(tmp_path / f"of_{name}")[6].astype(int)
    assert np.array_equal(made["tall"][:, :W], made["full"][:, :W])
    assert np.abs(made["tall"] - made["full"]).mean() < 8
    assert (made["tall"][:, W:] != made["tall"][:, :W]).mean() > 0.1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "--depth-in {} doesn't exist: check the path"),
        (lambda path: path.mkdir(), "{} is a folder without pictures: name one with a picture"),
        (
            lambda path: write_depth(path, [box(9)] * 7),
            "--depth-in {} has 7 pictures, the film 8 frames: every frame needs one of its own",
        ),
        (lambda path: write_depth(path, [box(9)] * 9), "has 9 pictures, the film 8 frames"),
        (
            lambda path: write_depth(
                path, [box(9)] * 7 + [np.stack([box(9), box(0), box(200)], 2)]
            ),
            "{}/00000007.png is in colours: depth has to be grey, black what is farthest",
        ),
        (
            lambda path: (write_depth(path, [box(9)] * 8) / "00000003.png").write_bytes(b"\x89PNG"),
            "--depth-in {}/00000003.png can't be read (not a readable picture): make it again",
        ),
        (
            lambda path: [
                write_depth(path, [box(9)] * 8),
                (path / "x3.png").write_bytes(encode_grey(box(9))),
            ],
            "--depth-in {}: 00000003.png and x3.png have one number: remove one of them",
        ),
    ],
)
def test_depth_that_does_not_fit_is_refused_in_one_line(film, tmp_path, make, text):
    make(tmp_path / "depth")
    with pytest.raises(UserError) as refusal:
        maps_in(tmp_path / "depth", film)
    assert text.format(tmp_path / "depth") in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_numbers_of_the_film_that_depth_lacks_are_named(tmp_path):
    row = tmp_path / "row"
    row.mkdir()
    for number in range(4):
        cv2.imwrite(str(row / f"{number}.png"), np.zeros((H, W, 3), np.uint8))
    depth = write_depth(tmp_path / "depth", [box(9)] * 4, first=2)
    with pytest.raises(UserError, match=f"--depth-in {depth} has no picture with the number 0, wh"):
        maps_in(depth, row)


def test_a_video_as_depth_has_to_be_grey_and_as_long(film, tmp_path):
    short = write_clip(tmp_path / "short.mp4", 5)
    with pytest.raises(UserError, match=r"short.mp4 has 5 frames, the film 8 frames: every frame"):
        maps_in(short, film)
    coloured = write_clip(tmp_path / "coloured.mp4", T)
    with pytest.raises(UserError, match=r"coloured.mp4 is in colours: depth has to be grey"):
        maps_in(coloured, film)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--depth-in", "{}", "--resolution", "392"],
            "--resolution 392 is for estimating depth, but",
        ),
        (["--depth-out", "{}/out.mkv"], "--depth-out {}/out.mkv is where the film itself goes"),
        (["--depth-out", "{}/d.mp4"], "--depth-out {}/d.mp4: name a folder for 16-bit PNGs, or an"),
        (["--depth-out", "{}/film.mkv"], "{}/film.mkv can't be written: it is the source"),
        (["--field-of-view", "60"], "--field-of-view 60.0 is for --layout vr180: add it or leave"),
        (["--vr180-size", "60"], "--vr180-size 60 is for --layout vr180: add it or leave it out"),
        (["--foreground-scale", "4"], "--foreground-scale 4.0 is out of bounds: give a number fr"),
    ],
)
def test_refusals(run, film, tmp_path, words, text):
    code, lines = run(film, "out.mkv", *(word.format(tmp_path) for word in words))
    assert code == 1 and lines[-1].startswith("error: ") and text.format(tmp_path) in lines[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


def test_the_foreground_is_scaled_as_iw3_does():
    options = StereoOptions(
        input="a", output="b", model="c", divergence=20.0, convergence=0.0, edge_dilation=0
    )
    depth = DepthFrame(None, False, torch.full((4, 100), 0.5))
    shifts = [
        stereo.shift_of(depth, replace(options, foreground_scale=scale), (4, 100))[0, 0].item()
        for scale in (-3.0, -1.0, 0.5, 1.0, 2.0)
    ]
    assert shifts == pytest.approx([8.346, 6.698, 3.777, 2.554, 1.040], abs=1e-3)
    assert stereo.shift_of(depth, options, (4, 100)).eq(5.0).all()


def test_a_film_is_named_and_marked_by_its_layout(run, known, film, tmp_path):
    made = tmp_path / "film_TBF_fulltb.mkv"
    code, lines = run(film, ".", "--name-by-layout", "--layout", "tb", "--divergence", "0")
    assert code == 0 and lines[-1] == f"{made}: 8 frames"
    assert not any("players" in line for line in lines)
    code, lines = run(film, "new.mp4", "--layout", "tb", "--no-stereo-tags", "--divergence", "0")
    assert code == 0 and lines[-2] == (
        f"{tmp_path / 'new.mp4'}: players that go by the name don't see that it is tb; they know "
        "new_TBF_fulltb.mp4 (--name-by-layout gives such names)"
    )
    for path, is_said in ((made, True), (tmp_path / "new.mp4", False)):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            assert ("STEREO3D" in side_data_of(frame)) == is_said


# Folders of films, parts of films, photos


def test_films_of_a_folder_are_named_by_their_layout_and_not_made_again(run, known, film, tmp_path):
    (tmp_path / "films").mkdir()
    for name in ("a", "b"):
        (tmp_path / "films" / f"{name}.mkv").write_bytes(film.read_bytes())
    words = ["--name-by-layout", "--layout", "tb", "--divergence", "0"]
    assert run(tmp_path / "films", "made", *words)[0] == 0
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == ["a_TBF_fulltb.mkv", "b_TBF_fulltb.mkv"]
    code, lines = run(tmp_path / "films", "made", *words)
    assert code == 0 and lines[-1].endswith("0 films made, 2 were there already")


def test_each_film_of_a_folder_has_depth_of_its_own(run, known, film, tmp_path):
    (tmp_path / "films").mkdir()
    for name in ("a", "b"):
        (tmp_path / "films" / f"{name}.mkv").write_bytes(film.read_bytes())
    lossless = ("--codec", "ffv1")
    out = run(tmp_path / "films", "made", "--depth-out", tmp_path / "depth", *lossless)
    assert out[0] == 0, out
    assert sorted(path.name for path in (tmp_path / "depth").iterdir()) == ["a", "b"]
    again = run(tmp_path / "films", "again", "--depth-in", tmp_path / "depth", *lossless)
    assert again[0] == 0, again
    for name in ("a.mkv", "b.mkv"):
        with (
            VideoReader(tmp_path / "made" / name) as one,
            VideoReader(tmp_path / "again" / name) as other,
        ):
            for frame, same in zip(one, other, strict=True):
                assert np.array_equal(frame.rgb, same.rgb)
    code, lines = run(tmp_path / "films", "third", "--depth-out", tmp_path / "d.mkv")
    assert code == 1 and lines[-1] == (
        f"error: --depth-out {tmp_path / 'd.mkv'} is one file, and there are several films: "
        "name a folder"
    )
    code, lines = run(tmp_path / "films", "third", "--depth-in", tmp_path / "films" / "a.mkv")
    assert code == 1
    assert "a.mkv is no folder: name one that holds the depth of each film" in lines[-1]


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_a_part_of_a_film_takes_its_part_of_the_depth(film, tmp_path, kind):
    maps = [box(20 * (number + 1)) for number in range(T)]
    whole, part = write_depth(tmp_path / "whole", maps), write_depth(tmp_path / "part", maps[2:5])
    if kind == "video":
        for folder in (whole, part):
            frames = [cv2.imread(str(file)) for file in sorted(folder.iterdir())]
            write_video(folder.with_suffix(".mp4"), frames, fps=24, crf=8)
        whole, part = whole.with_suffix(".mp4"), part.with_suffix(".mp4")
    with open_film(film, for_editing=True) as opened:
        for path in (whole, part):
            of_film = PartOfFilm(opened, first=2, stop=5)
            with open_depth_in(path, of_film) as depths:
                near = torch.stack(list(depths))[:, 30, 48]
            assert torch.allclose(near, torch.tensor([60, 80, 100]) / 255, atol=0.01)


def test_a_photo_takes_one_picture_of_depth(run, film, tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), shots([1], width=W, height=H)[0])
    cv2.imwrite(str(tmp_path / "near.png"), box(255))
    depth_in = ["--depth-in", tmp_path / "near.png", *FAR_APART]
    assert run(tmp_path / "photo.png", "made", "--name-by-layout", *depth_in)[0] == 0
    picture = cv2.imread(str(tmp_path / "made" / "photo_LRF_Full_SBS.png"))
    assert picture.shape == (H, 2 * W, 3)
    assert (picture[:, :W] != picture[:, W:]).mean() > 0.1
