"""The command `python -m inpaint stereo`, as a user runs it; mostly with an estimator that knows
the depth.

Axes: T frames, H W pixels, 3 = R G B.
"""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from inpaint import options_run
from inpaint.commands import INPAINT
from inpaint.occlusion import shift_of_view
from inpaint.runtime import stereo
from inpaint.runtime.stereo_layouts import LAYOUTS
from inpaint.runtime.stereo_views import VIEWS, turn, view_of_eye
from inpaint.runtime.stream import InpaintStream
from nunif import cli
from nunif.video.color import ColorTags
from nunif.video.reader import VideoReader
from scene.depth import ClipRejected
from scene.world import render_scene
from tests import videos
from tests.models import frames_given_to_models, save_lively_model
from tests.nunif.test_tone import PQ, WHITE_OF_PQ, level, write_levels
from tests.videos import shots, sound_of, times_of, write_clip

H, W, T = 64, 96, 12
BOX = slice(16, 48), slice(36, 60)  # what is near
FAR_APART = ["--divergence", "12.5", "--convergence", "0", "--edge-dilation", "0", "--dilate", "0"]
STEP = 12  # pixels between both eyes' views of the box, then: 12.5 % of 96


class Known:
    """The box is near. Frames that are all of one grey are rejected, with their run."""

    name, runs_in_workers, run_length, run_overlap, scale_jitters, least_span = (
        "Known",
        True,
        4,
        0,
        False,
        0.0,
    )

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        raise AssertionError("a film is not normalised as a clip")

    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        assert frames.dtype == np.uint8
        if any(frame.min() == frame.max() for frame in frames):
            raise ClipRejected("too little motion")
        near = torch.zeros(len(frames), H, W)
        near[(slice(None), *BOX)] = 1
        return near


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(stereo, "create_estimator", lambda *_, **__: Known())


@pytest.fixture
def run(capsys, caplog, model, tmp_path):
    """stereo in this process: exit code, and all lines that were logged or printed as errors. The
    output is in tmp_path."""
    caplog.set_level("INFO")

    def run(source, output, *words, model=model):
        caplog.clear()
        words = [
            "-i",
            source,
            "-o",
            tmp_path / output,
            "--model",
            model,
            "--model-type",
            "MotionParallax",
            "--gpu",
            "-1",
            *words,
        ]
        code = cli.run(INPAINT, ["stereo", *map(str, words)])
        return code, [*caplog.messages, *capsys.readouterr().err.strip().splitlines()]

    return run


def read(path):
    with VideoReader(path, for_editing=True) as reader:
        return [frame.rgb for frame in reader]


def read_folder(path):
    return [
        cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[..., ::-1] for file in sorted(path.iterdir())
    ]


def eyes(pictures):
    """(left, right) of side-by-side pictures."""
    return [picture[:, :W] for picture in pictures], [picture[:, W:] for picture in pictures]


def write_lossless(path, frames, **more):
    return write_clip(path, frames, codec="ffv1", pixel_format="yuv444p", num_b_frames=0, **more)


@pytest.fixture
def film(tmp_path):
    return write_lossless(tmp_path / "film.mkv", shots([T], width=W, height=H))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Both eyes


@pytest.mark.parametrize("view", ["right", "left"])
def test_the_other_eye_sees_the_box_aside_and_a_filled_strip(run, known, film, tmp_path, view):
    """The right eye sees near things further left, and so a strip to the right of the box that the
    left one can't see."""
    assert run(film, "out", "--view", view, *FAR_APART)[0] == 0
    frames, (left, right) = read(film), eyes(read_folder(tmp_path / "out"))
    kept, made = (left, right) if view == "right" else (right, left)
    assert len(made) == T and np.array_equal(kept, frames)
    direction = -1 if view == "right" else 1
    rows, columns = BOX
    aside = slice(columns.start + direction * STEP, columns.stop + direction * STEP)
    strip = slice(48, 60) if view == "right" else slice(36, 48)
    seen = np.ones((H, W), bool)
    seen[rows, aside], seen[rows, strip] = False, False
    changed = []
    for frame, picture in zip(frames, made, strict=True):
        assert np.array_equal(picture[rows, aside], frame[rows, columns])
        assert np.array_equal(picture[seen], frame[seen])
        assert picture[rows, strip].any(axis=2).mean() > 0.9  # black before it was filled
        changed.append((picture[rows, strip] != frame[rows, strip]).mean())
    # of a scene that is flat in truth the right fill is often the frame itself
    assert min(changed) > 0.3 and np.mean(changed) > 0.75


def expected(model, frames, view, starts, look_ahead=options_run.LOOK_AHEAD):
    """Both eyes of every frame, the fill from a stream per eye that starts afresh at the frames in
    `starts`.

    It looks ahead, but not past those frames.
    """
    near = torch.zeros(H, W)
    near[BOX] = 1
    shift = shift_of_view(near, size=(H, W), divergence=12.5, convergence=0.0)
    sides = []
    for eye in VIEWS[view]:
        if eye is None:
            sides.append(frames)
            continue
        stream = InpaintStream.open(model, gpu=-1, look_ahead=look_ahead)
        side = []
        for number, frame in enumerate(frames):
            if number in starts:
                side += stream.finish()
                stream.reset()
            picture, hole = view_of_eye(frame, shift, eye)
            side.append(stream(turn(picture, eye), turn(hole, eye)))
        sides.append(
            [turn(picture, eye) for picture in [*side, *stream.finish()] if picture is not None]
        )
    return sides


@pytest.mark.parametrize("view", ["right", "left", "both"])
def test_each_eye_remembers_for_itself_and_forgets_at_a_cut(run, known, model, tmp_path, view):
    source = write_lossless(tmp_path / "film.mkv", shots([6, 6], width=W, height=H))
    assert run(source, "out", "--view", view, *FAR_APART)[0] == 0
    frames, made = read(source), eyes(read_folder(tmp_path / "out"))
    assert np.array_equal(made, expected(model, frames, view, starts=[6]))
    assert not np.array_equal(made, expected(model, frames, view, starts=[]))
    changed = [not np.array_equal(side, frames) for side in made]
    assert changed == [view != "right", view != "left"]


def test_it_looks_ahead_as_far_as_asked_for(run, known, model, film, tmp_path):
    frames, made = read(film), {}
    for depth in (0, 3):
        code, lines = run(film, f"out{depth}", "--view", "both", "--look-ahead", depth, *FAR_APART)
        assert code == 0 and (", looking 3 frames ahead" in lines[0]) == (depth == 3)
        made[depth] = eyes(read_folder(tmp_path / f"out{depth}"))
        assert np.array_equal(
            made[depth], expected(model, frames, "both", starts=[], look_ahead=depth)
        )
    assert not np.array_equal(made[0], made[3])


def test_holes_and_near_things_grow_as_asked(run, known, film, tmp_path):
    more = ["--divergence", "12.5", "--convergence", "0"]
    for name, edge, growth in (("plain", 0, 0), ("edge", 3, 0), ("grown", 0, 5)):
        assert run(film, name, *more, "--edge-dilation", edge, "--dilate", growth)[0] == 0
    (frame, *_) = read(film)
    changed = {
        name: (read_folder(tmp_path / name)[0][:, W:] != frame).any(axis=(0, 2))
        for name in ("plain", "edge", "grown")
    }
    right_most = {name: int(np.flatnonzero(columns)[-1]) for name, columns in changed.items()}
    assert right_most == {"plain": 59, "edge": 62, "grown": 64}


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        ("sbs", (64, 192)),
        ("half-sbs", (64, 96)),
        ("tb", (128, 96)),
        ("half-tb", (64, 96)),
        ("anaglyph", (64, 96)),
        ("vr180", (144, 288)),
    ],
)
def test_layouts(run, known, film, tmp_path, layout, size):
    assert run(film, "out.mkv", "--layout", layout, "--codec", "ffv1", *FAR_APART)[0] == 0
    with VideoReader(tmp_path / "out.mkv") as reader:
        assert (reader.info.height, reader.info.width) == size and len(reader) == T
    (frame, *_), (picture, *_) = read(film), read(tmp_path / "out.mkv")
    left_eye = {"sbs": (64, 96), "half-sbs": (64, 48), "tb": (64, 96), "half-tb": (32, 96)}
    if layout in left_eye:
        height, width = left_eye[layout]
        shown = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        assert np.abs(picture[:height, :width].astype(int) - shown).max() <= 3


def test_the_command_line_offers_what_there_is():
    assert options_run.LAYOUTS == tuple(LAYOUTS)
    assert options_run.VIEWS == tuple(VIEWS) == ("right", "left", "both")


# What is carried over


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_folder_of_pictures(run, known, tmp_path, dtype):
    (tmp_path / "row").mkdir()
    frames = [
        frame if dtype == np.uint8 else frame.astype(np.uint16) * 255 + 77
        for frame in shots([T], width=W, height=H)
    ]
    for number, frame in enumerate(frames):
        # 99 comes before 100
        cv2.imwrite(str(tmp_path / "row" / f"{99 + number}.png"), frame[..., ::-1])
    assert run(tmp_path / "row", "out", *FAR_APART)[0] == 0
    left, right = eyes(read_folder(tmp_path / "out"))
    assert (
        left[0].dtype == dtype and np.array_equal(left, frames) and not np.array_equal(right, left)
    )
    code, lines = run(
        tmp_path / "row", "out.mkv", "--codec", "ffv1", "--fps", "30000/1001", *FAR_APART
    )
    assert code == 0, lines
    expected = [number * 1001 / 30000 for number in range(T)]
    assert [float(time) for time in times_of(tmp_path / "out.mkv")] == pytest.approx(
        expected, abs=6e-4
    )
    code, lines = run(tmp_path / "row" / "100.png", "out.mp4")
    assert code == 1 and lines[-1].endswith(
        f"100.png is one picture of a row of 12: name the folder {tmp_path / 'row'} for all, or "
        "move the one elsewhere"
    )


def test_sound_times_and_colours_are_the_films(run, known, tmp_path):
    irregular = dict(
        times=[0, 40, 80, 130, 170, 250, 290, 330, 370, 420, 460, 500], time_base=Fraction(1, 1000)
    )
    tags = dict(matrix=5, range=2, primaries=5, transfer=6)  # BT.601, full range
    source = write_clip(
        tmp_path / "film.mp4", T, sound="aac", tags=tuple(tags.values()), **irregular
    )
    code, lines = run(source, "out.mp4")
    assert code == 0 and lines == [
        f"depth: Known; holes: torch {torch.__version__} on cpu, fp32, looking 8 frames ahead",
        f"{(out := tmp_path / 'out.mp4')}: players that go by the name don't see that it is sbs; "
        "they know out_LRF_Full_SBS.mp4 (--name-by-layout gives such names)",
        f"{out}: 12 frames",
    ]
    assert times_of(out) == times_of(source)
    assert sound_of(out) == sound_of(source) and len(sound_of(out)) > 10
    with VideoReader(out) as reader:
        assert reader.info.color == ColorTags(**tags)
        assert [videos.number_of(frame.rgb[:, :W]) for frame in reader] == list(range(T))


def test_ten_bits_stay_ten(run, known, tmp_path):
    frames = shots([T], width=W, height=H)
    source = write_clip(
        tmp_path / "film.mkv", frames, codec="ffv1", pixel_format="yuv444p10le", num_b_frames=0
    )
    assert run(source, "out", *FAR_APART)[0] == 0
    left, right = eyes(read_folder(tmp_path / "out"))
    assert (
        left[0].dtype == np.uint16
        and np.array_equal(left, read(source))
        and not np.array_equal(right, left)
    )
    assert run(source, "out.mkv", "--codec", "ffv1")[0] == 0
    with VideoReader(tmp_path / "out.mkv") as reader:
        assert reader.info.pixel_format == "yuv444p10le"


# Depth that is not to be had


def test_frames_without_depth_are_flat_and_counted(run, known, tmp_path):
    frames = shots([8], width=W, height=H) + [np.full((H, W, 3), 90, np.uint8)] * 4
    source = write_lossless(tmp_path / "film.mkv", frames)
    code, lines = run(source, "out", *FAR_APART)
    assert code == 0 and "4 of 12 frames have no depth and are flat: too little motion" in lines
    left, right = eyes(read_folder(tmp_path / "out"))
    assert [np.array_equal(a, b) for a, b in zip(left, right, strict=True)] == [False] * 8 + [
        True
    ] * 4


def test_motion_parallax_makes_a_moving_scene_deep(run, tmp_path):
    frames = [frame for frame, _ in render_scene(160, 96, 14, seed=3)]
    source = write_lossless(tmp_path / "film.mkv", frames)
    code, lines = run(source, "out", "--divergence", "5")
    assert code == 0 and lines[0].startswith("depth: MotionParallax; holes: torch")
    assert not any("flat" in line for line in lines)
    pictures = read_folder(tmp_path / "out")
    assert pictures[0].shape == (96, 320, 3)
    assert np.array_equal([picture[:, :160] for picture in pictures], read(source))
    assert all((picture[:, 160:] != picture[:, :160]).mean() > 0.3 for picture in pictures)


def test_a_film_that_stands_still_is_flat_and_says_so(run, tmp_path):
    source = write_lossless(tmp_path / "film.mkv", shots([1], width=W, height=H) * T)
    code, lines = run(source, "out")
    assert code == 0
    assert "12 of 12 frames have no depth and are flat: too little motion" in lines
    left, right = eyes(read_folder(tmp_path / "out"))
    assert np.array_equal(left, right) and np.array_equal(left, read(source))


# Endings and refusals


def test_ctrl_c_leaves_a_playable_file(run, known, monkeypatch, film, tmp_path):
    call, calls = InpaintStream.__call__, []

    def struck(self, frame, missing):
        calls.append(1)
        if len(calls) > 7:
            raise KeyboardInterrupt
        return call(self, frame, missing)

    monkeypatch.setattr(InpaintStream, "__call__", struck)
    code, lines = run(film, "out.mp4", "--look-ahead", "2")
    assert code == 130 and lines[-1] == "interrupted"
    assert (
        names(tmp_path) == ["film.mkv", "out.unfinished.mp4"]
        and len(read(tmp_path / "out.unfinished.mp4")) == 5
    )


def test_a_film_that_breaks_leaves_all_that_came_before(run, known, tmp_path):
    source = write_clip(
        tmp_path / "film.mp4", T, gop=48, num_b_frames=0, options={"crf": "12"}, sound="aac"
    )
    videos.damage_packet(source, 9)
    code, lines = run(source, "out.mp4")
    assert (
        code == 1
        and lines[-1] == f"error: {source} is damaged at 0.38 s: copy or download it again"
    )
    assert (
        names(tmp_path) == ["film.mp4", "out.unfinished.mp4"]
        and len(read(tmp_path / "out.unfinished.mp4")) == 9
    )


@pytest.mark.parametrize(
    ("output", "words", "text"),
    [
        (
            "film.mkv",
            [],
            "film.mkv can't be written: it is the source {}/film.mkv; choose another name",
        ),
        ("out.xyz", [], "'.xyz' is none of the suffixes"),
        (
            "out",
            ["--codec", "ffv1"],
            "--codec ffv1 is for videos, but --output {}/out is a folder of pictures: leave it out",
        ),
        (
            "out.mp4",
            ["--layout", "vr"],
            "--layout vr is not known: choose one of sbs, half-sbs, tb, half-tb, anaglyph, ",
        ),
        ("out.mp4", ["--view", "up"], "--view up is not known: choose one of right, left, both"),
        (
            "out.mp4",
            ["--divergence", "-1"],
            "--divergence -1.0 is out of bounds: give a number from 0 to 20",
        ),
        (
            "out.mp4",
            ["--resolution", "392"],
            "MotionParallax has no use for --resolution 392: leave it out",
        ),
        ("out.mp4", ["--model-type", "Any_V9"], "Any_V9"),
        ("out.mp4", ["--model", "no.onnx"], "--model no.onnx does not exist: give a model file"),
        (
            "out.mp4",
            ["--look-ahead", "1000"],
            "--look-ahead 1000 is out of bounds: give a number from 0 to 999",
        ),
    ],
)
def test_refusals(run, film, tmp_path, output, words, text):
    content = film.read_bytes()
    code, lines = run(film, output, *words)
    assert code == 1 and lines[-1].startswith("error: ") and text.format(tmp_path) in lines[-1]
    assert names(tmp_path) == ["film.mkv"] and film.read_bytes() == content


def test_a_transparent_film_loses_its_alpha_with_a_line(run, known, tmp_path):
    frames = [
        np.dstack([picture, np.full((H, W), 128, np.uint8)])
        for picture in shots([T], width=W, height=H)
    ]
    with av.open(str(tmp_path / "film.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=24)
        stream.width, stream.height, stream.pix_fmt = W, H, "argb"
        videos.encode_into(container, stream, frames)
    code, lines = run(tmp_path / "film.mov", "out.webm")
    assert (
        code == 0
        and len([line for line in lines if "film.mov is transparent in places" in line]) == 1
    )


def test_depth_and_model_see_hdr_as_sdr_and_both_eyes_stay_hdr(run, monkeypatch, tmp_path):
    source = write_levels(tmp_path / "film.mkv", level(WHITE_OF_PQ), PQ, count=T, size=(H, W))
    seen = []

    class Looking(Known):
        def raw_disparity(self, frames):
            seen.extend(frames)
            near = torch.zeros(len(frames), H, W)
            near[(slice(None), *BOX)] = 1
            return near

    monkeypatch.setattr(stereo, "create_estimator", lambda *_, **__: Looking())
    filled = frames_given_to_models(monkeypatch)
    assert run(source, "out.mkv", "--codec", "ffv1", *FAR_APART)[0] == 0
    assert len(seen) >= T and len(filled) == T
    for frame in seen:
        assert frame.dtype == np.uint8 and np.abs(frame.astype(int) - 230).max() <= 2
    assert all(np.abs(np.median(frame) / 257 - 230) <= 2 for frame in filled)
    with av.open(str(tmp_path / "out.mkv")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.color_primaries, stream.codec_context.color_trc) == (9, 16)
        for frame in container.decode(stream):
            luma = np.frombuffer(frame.planes[0], np.uint16).reshape(H, -1)[:, : 2 * W]
            assert np.abs(luma[:, :W].astype(int) - level(WHITE_OF_PQ)).max() <= 1
