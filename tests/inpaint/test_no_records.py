"""Films, folders and pictures that give no records: a line with advice, and exit code 1 where
nothing at all came of a command."""

from collections import Counter

import cv2
import numpy as np
import pytest

from inpaint import generate
from inpaint.commands import CREATE_TRAINING_DATA
from inpaint.generate_advice import advice_for_frames, advice_for_video, describe_none
from inpaint.options_data import FramesPreset, GenerateOptions
from nunif.video.writer import write_video
from scene.world import render_scene
from tests.inpaint.test_generate import StripeDepth

WORDS = "--model-type MotionParallax --seq 4 --size 64 --gpu -1 --max-workers 1"
MOTION = (
    "(2 too little motion): try another --model-type, such as Any_V2_S, which needs no motion, or "
    "--skip-first N, to begin where things move before a background"
)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films of one clip each, whose bytes are others."""
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(("a.mp4", "b.mp4")):
        frames = (frame for frame, _ in render_scene(96, 64, 6, seed=seed))
        write_video(folder / name, frames, fps=24)
    return folder


@pytest.fixture
def make(run, tmp_path, monkeypatch):
    """Make records of films whose clips with these numbers the estimator refuses."""

    def make(films, *, refused):
        monkeypatch.setattr(
            generate, "create_estimator", lambda *_, **__: StripeDepth(reject=refused)
        )
        words = ["-i", films, "-o", tmp_path / "out", *WORDS.split(), "--divergence-level", 3]
        code, _, lines = run(CREATE_TRAINING_DATA, "video_inpaint", *words)
        return code, lines

    return make


def test_a_film_that_gives_none_ends_with_advice(make, films):
    for _ in range(2):  # what was skipped is known by then
        code, lines = make(films / "a.mp4", refused=(0,))
        assert (code, lines[-1]) == (1, f"error: {films / 'a.mp4'} gives no records {MOTION}")


def test_one_of_a_folder_that_gives_none_is_named_and_the_others_count(make, films):
    for refused, made in (((0,), "made 2, skipped 0, kept 0"), ((), "made 0, skipped 0, kept 2")):
        code, lines = make(films, refused=refused)
        assert code == 0 and lines[-1] == f"b.mp4: {made}"
        assert f"{films / 'a.mp4'} gives no records {MOTION}" in lines


def test_a_folder_that_gives_none(make, films):
    code, lines = make(films, refused=(0, 1))
    assert (code, lines[-1]) == (
        1,
        f"error: {films}: none of its 2 videos gave a record, the reasons are above",
    )
    assert [name in " ".join(lines) for name in ("a.mp4 gives no", "b.mp4 gives no")] == [True] * 2


def test_a_finished_film_is_no_failure(make, films):
    assert make(films / "b.mp4", refused=())[0] == 0
    code, lines = make(films / "b.mp4", refused=())
    assert (code, lines[-1]) == (0, "b.mp4: made 0, skipped 0, kept 2")


@pytest.mark.parametrize(
    ("model_type", "level", "reason", "told"),
    [
        ("Any_B", 1, "next to no hole", "try a higher --divergence-level (up to 3), or another --"),
        ("Any_B", 3, "next to no hole", "try another --model-type"),
        ("MotionParallax", 3, "next to no hole", "try another --model-type, such as Any_V2_S"),
        ("Any_B", 1, "scene cut", "try a smaller --seq, or a larger --skip-interval"),
        ("Any_B", 1, "missing frames", "or --skip-first N, to begin behind what is damaged"),
        ("Any_B", 1, "frames that can't be decoded", "try a whole copy of it"),
        ("MotionParallax", 1, "too few frames", "try a larger --seq than 16"),
    ],
)
def test_every_reason_has_its_advice(tmp_path, model_type, level, reason, told):
    options = GenerateOptions(
        dataset_dir=tmp_path, data_dir=tmp_path, model_type=model_type, divergence_level=level
    )
    line = describe_none("a.mp4", Counter({reason: 3}), advice_for_video(options))
    assert line.startswith(f"a.mp4 gives no records (3 {reason}): ") and told in line


def test_of_several_reasons_the_most_frequent_comes_first_and_advice_comes_once():
    advice = advice_for_frames(FramesPreset(seq=4, step=2))
    line = describe_none("v", Counter({"missing frames": 1, "scene cut": 2}), advice)
    assert line == (
        "v gives no records (2 scene cut, 1 missing frames): try a smaller --seq or --step, so "
        "that groups fit between"
    )


def test_different_advice_is_joined(tmp_path):
    options = GenerateOptions(dataset_dir=tmp_path, data_dir=tmp_path, model_type="MotionParallax")
    reasons = Counter({"too little motion": 4, "next to no hole": 2})
    line = describe_none("a.mp4", reasons, advice_for_video(options))
    assert line.endswith(
        ": try another --model-type, such as Any_V2_S, which needs no motion, or --skip-first N, "
        "to begin where things move before a background, or a higher --divergence-level (up to 3)"
    )


# --- the generators of frames and of pictures -----------------------------------------------------


def write_row(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((36, 64, 3), 9 * number, np.uint8))


def frames(run, source, out, *more):
    words = ["-i", source, "-o", out, "--size", "36x64", *more]
    code, _, lines = run(CREATE_TRAINING_DATA, "frames", *words)
    return code, lines


def test_a_row_of_pictures_that_is_too_short(run, tmp_path):
    write_row(tmp_path / "v" / "walk", 6)
    told = "walk gives no records (1 too short): try a smaller --seq (one record takes 10 frames)"
    code, lines = frames(run, tmp_path / "v", tmp_path / "train", "--seq", 10)
    assert (code, lines[-1]) == (1, f"error: {told}")
    write_row(tmp_path / "v" / "long", 10)
    for made in ("made 1, kept 0", "made 0, kept 1"):
        code, lines = frames(run, tmp_path / "v", tmp_path / "train", "--seq", 10)
        assert code == 0 and told in lines
        assert lines[-1] == f"2 sources: {made}, skipped 1 (1 too short)"
    code, lines = frames(run, tmp_path / "v", tmp_path / "train", "--seq", 11)
    assert code == 1 and lines[-1] == (
        f"error: {tmp_path / 'v'}: none of its 2 sources gave a record, the reasons are above"
    )


def test_pictures_that_cannot_be_read(run, tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.png").write_bytes(b"no picture")
    code, lines = frames(run, tmp_path / "v", tmp_path / "train", "--stills")
    assert code == 1 and lines[-1] == (
        f"error: {tmp_path / 'v'}: none of its 1 sources gave a record, the reasons are above"
    )
    assert "a.png can't be read" in lines[0]
    code, _, lines = run(
        CREATE_TRAINING_DATA, "inpaint", "-i", tmp_path / "v", "-o", tmp_path / "one"
    )
    assert code == 1 and "none of its 1 files gave a record, the reasons are above" in lines[-1]


# --- a preset that finds nothing ------------------------------------------------------------------


def test_a_preset_that_finds_nothing_says_what_is_there(run, tmp_path):
    write_row(tmp_path / "FPS-5" / "walk", 2)
    write_row(tmp_path / "FPS-5" / "depth", 1)
    for number in range(4):
        (tmp_path / "FPS-5" / f"part{number}.tar").write_bytes(b"")
    code, lines = frames(run, tmp_path / "FPS-5", tmp_path / "train", "--preset", "gta_im")
    assert code == 1 and lines[-1].endswith("; found *.tar (4), walk/*.png (2), depth/*.png (1)")
    assert lines[-1].startswith(
        f"error: {tmp_path / 'FPS-5'}: it holds 0 videos and 3 pictures, none in such a place; "
        "looked for GTA-IM: folders named by date and time with 00000.jpg"
    )
    (tmp_path / "FPS-5" / "readme").write_text("x")
    code, lines = frames(run, tmp_path / "FPS-5", tmp_path / "train", "--preset", "thumos14")
    assert code == 1 and lines[-1].endswith("depth/*.png (1) and files in 1 more places")
    film = tmp_path / "FPS-5" / "walk" / "0.png"
    code, lines = frames(run, film, tmp_path / "train", "--preset", "gta_im")
    assert code == 1 and lines[-1].endswith("; found 0.png")
