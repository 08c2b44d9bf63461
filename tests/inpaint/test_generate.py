"""From a video to records: the same bytes however it was run, nothing partial, nothing twice, and
clear refusals."""

import dataclasses
import json
import os
import shutil
import weakref

import cv2
import numpy as np
import pytest
import torch

from inpaint import generate, generate_crops
from inpaint.dataset import PLANES
from inpaint.generate_crops import Scene, both_views
from inpaint.generate_plan import RECORDED, SkipList
from inpaint.generate_views import Draws, pick_divergence, render_view
from inpaint.options_data import GenerateOptions
from nunif import cli
from nunif.errors import UserError
from nunif.records import open_record
from nunif.video.reader import VideoReader
from nunif.video.writer import write_video
from scene.depth import ClipRejected
from scene.world import render_scene
from tests.videos import write_clip

SEQ, SIZE = 4, 128


class StripeDepth:
    """Near posts all over the picture, so that every crop has holes."""

    name = "Stripes"

    def __init__(self, *, runs_in_workers=True, reject=()):
        self.runs_in_workers, self.reject, self.calls = runs_in_workers, reject, 0

    def __call__(self, frames):
        self.calls += 1
        if self.calls - 1 in self.reject:
            raise ClipRejected("too little motion")
        disparity = torch.zeros(len(frames), 180, 320)
        disparity[:, :, torch.arange(320) // 12 % 2 == 1] = 1
        return disparity


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, (frame for frame, _ in render_scene(192, 108, 32)), fps=30)
    return path


def make(video, out, estimator=None, **changes):
    values = dict(
        seq=SEQ,
        size=SIZE,
        skip_interval=4,
        model_type="MotionParallax",
        prefix="p",
        max_workers=2,
        gpu=-1,
    )
    # x264 doesn't always give the same bytes, so the draws, which follow the file's content, differ
    # now and then; with this none of them leaves a clip next to no hole
    values["divergence_level"] = 3
    options = GenerateOptions(dataset_dir=video, data_dir=out, **(values | changes))
    out.mkdir(parents=True, exist_ok=True)
    return generate.generate_from_video(video, estimator or StripeDepth(), options)


def tree(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_records_have_the_promised_shape(video, tmp_path):
    counts = make(video, tmp_path)
    assert counts["made"] == 8 and counts["kept"] == 0
    names = sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("."))
    file_hash = names[0].split("_")[2]
    assert names == [f"p_MotionParallax_{file_hash}_{number:06d}" for number in range(8)]
    record = open_record(tmp_path / names[0], PLANES)
    assert len(record) == SEQ and record.size == (SIZE, SIZE)
    info = json.loads((tmp_path / names[1] / "record.json").read_text())
    assert info["source"] == "a.mp4" and info["view"] == "mirrored" and info["start_seconds"] == 0
    assert info["options"]["seed"] == 71 and info["file_hash"] == file_hash


def test_same_bytes_with_any_number_of_workers_and_either_kind_of_estimator(video, tmp_path):
    make(video, tmp_path / "one", max_workers=1)
    make(video, tmp_path / "eight", max_workers=8)
    make(video, tmp_path / "main", StripeDepth(runs_in_workers=False), max_workers=3)
    assert len(tree(tmp_path / "one")) == 8 * (2 * SEQ + 1)
    assert tree(tmp_path / "one") == tree(tmp_path / "eight") == tree(tmp_path / "main")


def test_a_second_run_finishes_what_is_missing_and_nothing_else(video, tmp_path):
    make(video, tmp_path / "whole")
    make(video, tmp_path / "part")
    for number in (2, 5):
        folder = next((tmp_path / "part").glob(f"*_{number:06d}"))
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "part").rglob("*_C.png")}
    estimator = StripeDepth()
    counts = make(video, tmp_path / "part", estimator)
    assert counts["made"] == 2 and counts["kept"] == 6 and estimator.calls == 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert tree(tmp_path / "part") == tree(tmp_path / "whole")
    estimator = StripeDepth()
    assert make(video, tmp_path / "part", estimator)["kept"] == 8 and estimator.calls == 0


def test_records_moved_to_eval_are_not_made_again(video, tmp_path):
    make(video, tmp_path / "train")
    (tmp_path / "eval").mkdir()
    moved = next((tmp_path / "train").glob("*_000003"))
    moved.rename(tmp_path / "eval" / moved.name)
    assert make(video, tmp_path / "train")["kept"] == 8
    assert not moved.exists()


def test_renaming_a_video_changes_nothing_and_equal_names_do_not_collide(video, tmp_path):
    make(video, tmp_path / "out")
    renamed = tmp_path / "b.mp4"
    renamed.write_bytes(video.read_bytes())
    assert make(renamed, tmp_path / "out")["kept"] == 8
    other = tmp_path / "sub" / "a.mp4"
    other.parent.mkdir()
    write_video(other, (frame for frame, _ in render_scene(192, 108, 8, seed=5)), fps=30)
    assert make(other, tmp_path / "out")["made"] == 2
    assert len([p for p in (tmp_path / "out").iterdir() if p.is_dir()]) == 10


def test_skipped_clips_are_counted_by_reason_and_remembered(video, tmp_path):
    counts = make(video, tmp_path, StripeDepth(reject=(0, 2)), max_workers=1)
    assert counts["made"] == 4 and counts["skipped: too little motion"] == 4
    estimator = StripeDepth()
    counts = make(video, tmp_path, estimator)
    assert (
        estimator.calls == 0 and counts["kept"] == 4 and counts["skipped: too little motion"] == 4
    )


def test_records_of_other_options_are_not_mixed(video, tmp_path):
    make(video, tmp_path)
    with pytest.raises(
        UserError,
        match="was made with seed 71, this run asks for 5: use another --prefix, or delete",
    ):
        make(video, tmp_path, seed=5)


def test_every_option_is_recorded_or_known_not_to_matter(video, tmp_path):
    """In the order in which record.json has always had them: records are the same to the byte."""
    make(video, tmp_path)
    record = next(path for path in tmp_path.iterdir() if path.is_dir())
    options = json.loads((record / "record.json").read_text())["options"]
    assert list(options) == [
        *("version", "resolution", "depth_normalize", "max_fps", "seq", "skip_first"),
        *("skip_interval", "size", "num_samples", "divergence_level", "seed"),
    ]
    in_names = {"dataset_dir", "data_dir", "prefix", "model_type", "depth_model_dir"}
    no_matter = {"allow_third_party_code", "batch_size", "gpu", "max_workers"}
    no_matter |= {"shard", "shard_by", "lock_seconds"}
    fields = {field.name for field in dataclasses.fields(GenerateOptions)}
    assert fields == {*RECORDED} | in_names | no_matter


def test_seed_and_number_of_crops(video, tmp_path):
    make(video, tmp_path / "a")
    make(video, tmp_path / "b", seed=5)
    assert set(tree(tmp_path / "a").values()) != set(tree(tmp_path / "b").values())
    assert make(video, tmp_path / "c", num_samples=3)["made"] == 24


@pytest.mark.slow
def test_clips_never_straddle_a_cut(tmp_path):
    """A cut at frame 22: the clip from 16 on moves behind it where there is room, and is skipped
    where there is none."""
    scenes = [f for seed in (1, 2) for f, _ in render_scene(192, 108, 22, seed=seed)]
    video = tmp_path / "cut.mp4"
    write_video(video, scenes, fps=30)
    make(video, tmp_path / "moved", seq=8, skip_interval=8)
    starts = sorted(
        {
            json.loads(p.read_text())["start_seconds"]
            for p in (tmp_path / "moved").rglob("record.json")
        }
    )
    assert [round(s * 30) for s in starts] == [0, 22, 32]
    counts = make(video, tmp_path / "skipped", seq=8, skip_interval=0)
    assert counts["skipped: scene cut"] == 2 and counts["made"] == 8


def test_skip_first_and_too_short(video, tmp_path):
    make(video, tmp_path / "a", skip_first=24)
    info = json.loads(next((tmp_path / "a").rglob("record.json")).read_text())
    assert round(info["start_seconds"] * 30) == 24
    with pytest.raises(
        UserError,
        match=(
            r"a.mp4 has 2 frames after --skip-first 30 at up to 30 per second, one record takes "
            r"4"
        ),
    ):
        make(video, tmp_path / "b", skip_first=30)


def test_holes_stand_right_of_the_object_in_both_views():
    disparity = torch.zeros(1, 18, 32)
    disparity[:, :, 10:20] = 1
    draws = Draws(720, None, 1, (0.0, 0.0), 0.5, "none", 0)
    scene = Scene(0, (), (0.0, 0.0), draws, np.zeros((1, 180, 320, 3), np.uint8), disparity)
    for (_, holes), edge in zip(both_views(scene, divergence=10.0), (200, 220)):
        columns = np.flatnonzero(holes[0, 90])
        # 16 pixels wide, edges softened by enlarging
        assert edge - 6 <= columns.min() < columns.max() <= edge + 22
        assert 12 <= len(columns) <= 18


def test_pick_divergence():
    assert (
        pick_divergence(1, 1920, (0.0, 0.0)) == 2.0
        and pick_divergence(1, 1920, (0.69, 0.99)) == 4.0
    )
    # half of 32 pixels' worth
    assert pick_divergence(1, 1920, (0.7, 0.5)) == pytest.approx(32 / 960 * 100 / 2)
    assert pick_divergence(1, 720, (0.9, 1.0)) == 5.0
    assert pick_divergence(3, 1080, (0.9, 0.0)) == pytest.approx(32 / 540 * 100 - 0.1)
    assert [pick_divergence(3, 1080, (0.0, u)) for u in (0.0, 0.5, 0.9)] == [7.0, 8.0, 9.0]


@pytest.mark.parametrize("shape", [(108, 192), (240, 160), (1500, 2000)])
@pytest.mark.parametrize("angle", [None, 30.0])
def test_views(shape, angle):
    draws = Draws(720, angle, 1, (0.0, 0.0), 0.0, "none", 0)
    (view,) = render_view([np.full((*shape, 3), 200, np.uint8)], draws, count=1)
    expected = (
        (720, 720)
        if angle
        else (720, 720 * shape[1] // shape[0])
        if shape[0] < shape[1]
        else (1080, 720)
    )
    assert view.shape == (*expected, 3)
    assert view.min() == 200  # a rotated view holds nothing from outside the frame


def test_a_rotated_view_turns_about_the_middle():
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[95:105, 145:155] = 255
    (view,) = render_view([frame], Draws(720, 37.0, 1, (0.0, 0.0), 0.0, "none", 0), count=1)
    ys, xs = np.nonzero(view[..., 0] > 128)
    assert abs(ys.mean() - 359.5) < 2 and abs(xs.mean() - 359.5) < 2


@pytest.fixture
def run(capsys):
    """Run the command in this process: exit code and the last line of what it said."""
    from inpaint.commands import CREATE_TRAINING_DATA

    def run(*words):
        code = cli.run(CREATE_TRAINING_DATA, ["video_inpaint", *map(str, words)])
        lines = capsys.readouterr().err.strip().splitlines()
        return code, lines[-1] if lines else ""

    return run


@pytest.mark.parametrize(
    "words, message",
    [
        (["--batch-size", "3"], "--batch-size 3 does not divide --seq 16: choose a divisor of it"),
        (["--size", "1200"], "--size 1200 is out of bounds: give a number from 64 to 1080"),
        (
            ["--divergence-level", "4"],
            "--divergence-level 4 is out of bounds: give a number from 1 to 3",
        ),
        (["--model-type", "Any_Z"], "unknown depth model 'Any_Z'"),
        (
            ["--depth-normalize", "film"],
            "--depth-normalize film is not known: choose one of clip, frame",
        ),
    ],
)
def test_wrong_options(run, video, tmp_path, words, message):
    code, line = run("-i", video, "-o", tmp_path / "out", "--model-type", "MotionParallax", *words)
    assert code == 1 and line.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()


def test_options_without_effect_are_said(run, video, tmp_path, caplog):
    run(
        "-i",
        video,
        "-o",
        tmp_path / "out",
        "--model-type",
        "MotionParallax",
        "--gpu",
        "3",
        "--seq",
        "64",
        "--batch-size",
        "4",
    )
    said = [message for message in caplog.messages if "no effect" in message]
    assert said == [
        f"{flag} has no effect with --model-type MotionParallax"
        for flag in ("--batch-size", "--gpu")
    ]


def test_bad_videos_and_folders(run, video, tmp_path):
    base = ["--model-type", "MotionParallax", "-o", tmp_path / "out"]
    assert run("-i", tmp_path / "none.mp4", *base) == (
        1,
        f"error: {tmp_path / 'none.mp4'} doesn't exist: check the path",
    )
    (tmp_path / "text.mp4").write_text("hello")
    code, line = run("-i", tmp_path / "text.mp4", *base)
    assert code == 1 and "text.mp4 isn't a video" in line
    (tmp_path / "file").write_text("x")
    code, line = run("-i", video, "--model-type", "MotionParallax", "-o", tmp_path / "file" / "out")
    assert code == 1 and "file stands in its way" in line


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_cannot_be_written(run, video, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    code, line = run(
        "-i", video, "--model-type", "MotionParallax", "-o", tmp_path / "closed" / "out"
    )
    assert code == 1 and "can't be written" in line


def test_disk_full_keeps_what_is_finished_and_leaves_nothing_half(video, tmp_path, monkeypatch):
    written = []
    real = generate_crops.write_record

    def fail_later(path, *rest):
        if len(written) == 3:
            raise UserError(
                f"disk full while writing {path}: free some space and run it again, what is "
                "finished is kept"
            )
        written.append(path)
        real(path, *rest)

    monkeypatch.setattr(generate_crops, "write_record", fail_later)
    with pytest.raises(UserError, match="disk full while writing"):
        make(video, tmp_path / "out", max_workers=1)
    monkeypatch.undo()
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == sorted(
        p.name for p in written
    )
    make(video, tmp_path / "out")
    make(video, tmp_path / "undisturbed")
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    folder = tmp_path_factory.mktemp("row") / "shot"
    folder.mkdir()
    for number, (frame, _) in enumerate(render_scene(192, 108, 16)):
        assert cv2.imwrite(str(folder / f"plate.{1001 + number}.png"), frame[..., ::-1])
    return folder


def test_a_folder_of_pictures_is_a_film(row, tmp_path):
    counts = make(row, tmp_path / "out")
    assert counts["made"] == 4
    records = sorted(p for p in (tmp_path / "out").iterdir() if not p.name.startswith("."))
    info = json.loads((records[0] / "record.json").read_text())
    assert info["source"] == "shot" and "fps" not in info["options"]
    second = json.loads((records[2] / "record.json").read_text())
    # after 4 frames of the first and 4 left out
    assert second["start_seconds"] == pytest.approx(8 / 24, abs=1e-6)
    assert make(row, tmp_path / "out")["kept"] == 4
    assert make(row, tmp_path / "fast", fps="60")["made"] == 2  # every other frame is left out
    with pytest.raises(
        UserError,
        match=r"was made with fps None, this run asks for 12: use another --prefix, or delete",
    ):
        make(row, tmp_path / "out", fps="12")


def test_folders_of_pictures_that_are_refused_or_torn(run, row, tmp_path):
    base = ["--model-type", "MotionParallax", "-o", tmp_path / "out"]
    code, line = run("-i", row / "plate.1001.png", *base)
    assert (
        code == 1
        and f"plate.1001.png is one picture of a row of 16: name the folder {row} for all" in line
    )
    shot = tmp_path / "shot"
    shutil.copytree(row, shot)
    (shot / "plate.1002.png").write_bytes(b"torn")
    counts = make(shot, tmp_path / "out")
    assert counts["skipped: frames that can't be decoded"] == 2 and counts["made"] == 2
    (shot / "plate.1002.png").unlink()
    code, line = run("-i", shot, *base)
    assert (
        code == 1
        and "shot: there is no picture with the number 1002: every frame needs one" in line
    )


@pytest.mark.slow
def test_one_bad_video_in_a_folder_does_not_stop_the_others(run, video, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_text("no video")
    (folder / "b.mp4").write_bytes(video.read_bytes())
    more = "--model-type MotionParallax --seq 8 --size 128"
    code, line = run("-i", folder, "-o", tmp_path / "out", *more.split())
    assert (code, line) == (1, "error: 1 of 2 videos failed; the others are finished")
    assert any(p.is_dir() for p in (tmp_path / "out").iterdir()) or list(
        (tmp_path / "out").glob(".skipped-*")
    )


def test_a_record_names_the_films_transfer_and_hdr_is_tone_mapped(video, tmp_path):
    """The same code numbers, tagged as BT.709 and as PQ: the records of PQ are brighter, by
    BT.2390's curve."""
    # equally bright everywhere: which part of a film becomes a record depends on all of the film's
    # bytes
    texture = (
        np.random.default_rng(0)
        .integers(90, 150, (27, 60, 1))
        .astype(np.uint8)
        .repeat(4, 0)
        .repeat(4, 1)
        .repeat(3, 2)
    )
    frames = [texture[:, 4 * number : 4 * number + 192] for number in range(12)]
    means = {}
    for transfer, name in ((1, "bt709"), (16, "smpte2084")):
        tags = (9, 1, 9, 16) if transfer == 16 else (1, 1, 1, 1)
        path = write_clip(tmp_path / f"{name}.mkv", frames, codec="ffv1", num_b_frames=0, tags=tags)
        assert make(path, tmp_path / name)["made"]
        for info in (
            json.loads(path.read_text()) for path in (tmp_path / name).rglob("record.json")
        ):
            assert info["transfer"] == name and ("tone_mapped" in info) == (transfer == 16)
        means[name] = np.mean(
            [cv2.imread(str(path)).mean() for path in (tmp_path / name).rglob("*_C.png")]
        )
    assert means["smpte2084"] > means["bt709"] + 20


def test_a_clip_lets_go_of_each_frame_that_it_gives_out(video):
    with VideoReader(video) as reader:
        clip = generate.Clip(0, (0, 1), reader.read(0, 3))
    last = weakref.ref(clip.frames[-1])
    taken = clip.take_frames()
    assert next(taken).time == 0 and len(clip.frames) == 2
    times = [frame.time for frame in taken]
    assert times == pytest.approx([1 / 30, 2 / 30], abs=1e-3)
    assert clip.frames == [] and last() is None


def test_of_a_clip_only_the_records_that_are_wanted_are_made(video, tmp_path):
    """The mirrored view of every clip was skipped before: its records are not tried again."""
    make(video, tmp_path / "whole")
    whole = sorted(path for path in (tmp_path / "whole").iterdir() if path.is_dir())
    info = json.loads((whole[0] / "record.json").read_text())
    stem = whole[0].name.rpartition("_")[0]
    skips = SkipList(tmp_path / "again" / f".skipped-{stem}.json", info["options"])
    (tmp_path / "again").mkdir()
    skips.add({number: "next to no hole" for number in (1, 3, 5, 7)})
    counts = make(video, tmp_path / "again")
    assert (counts["made"], counts["skipped: next to no hole"]) == (4, 4)
    made = {path.name for path in (tmp_path / "again").iterdir() if path.is_dir()}
    assert made == {path.name for path in whole[::2]}
