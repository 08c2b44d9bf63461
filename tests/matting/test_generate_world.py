"""`create_training_data.py world`: whole records, the same bytes each time, and clear refusals."""

import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest

from matting.commands import CREATE_TRAINING_DATA
from nunif.records import open_record, read_plane
from scene.people.pose import read_pose
from scene.planes import (
    ALPHA,
    BEHIND,
    COLOUR,
    DISPARITY,
    FOREGROUND,
    OCCLUDER,
    SHADOW,
)
from tests.videos import write_clip

ALL = (COLOUR, ALPHA, FOREGROUND, BEHIND, OCCLUDER, DISPARITY, SHADOW)
SMALL = ("--size", "40x64", "--seq", 3, "--prefix", "w")


def textured(number, *, phase=0):
    rows, columns = np.mgrid[0:72, 0:112]
    wave = np.sin((columns + 2 * number) / 7 + phase) * np.cos(rows / 9)
    grey = 120 + 60 * wave
    return np.stack([grey, 0.8 * grey, 255 - grey], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film, another one with a cut, and the first one again under another name."""
    folder = tmp_path_factory.mktemp("films")
    write_clip(folder / "a.mp4", [textured(i) for i in range(12)], num_b_frames=0)
    cut = [textured(i) if i < 6 else 255 - textured(i, phase=2)[::-1] for i in range(12)]
    write_clip(folder / "b.mp4", cut, num_b_frames=0)
    shutil.copy(folder / "a.mp4", folder / "c.mp4")
    return folder


def make(run, out, *more):
    return run(CREATE_TRAINING_DATA, "world", "-o", out, *SMALL, *more)


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def open_all(folder):
    return [open_record(path, ALL) for path in sorted(folder.iterdir())]


def test_the_same_bytes_with_one_worker_and_four_and_after_an_interruption(run, films, tmp_path):
    code, _, lines = make(run, tmp_path / "one", "-i", films, "--num", 5, "--max-workers", 1)
    assert code == 0 and lines[-1] == "world: made 5, kept 0, skipped 0"
    assert any(line.endswith("c.mp4 is the same as " + str(films / "a.mp4")) for line in lines)
    make(run, tmp_path / "four", "-i", films, "--num", 2, "--max-workers", 4)
    first = sorted((tmp_path / "four").iterdir())[0]
    shutil.rmtree(first)
    (tmp_path / "four" / f".partial-{first.name}").mkdir()
    code, _, lines = make(run, tmp_path / "four", "-i", films, "--num", 5, "--max-workers", 4)
    assert code == 0 and lines[-1] == "world: made 4, kept 1, skipped 0"
    assert hashes(tmp_path / "one") == hashes(tmp_path / "four")
    for share in ("1/2", "0/2"):
        make(run, tmp_path / "shares", "-i", films, "--num", 5, "--shard", share)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "shares")
    make(run, tmp_path / "other", "-i", films, "--num", 5, "--seed", 72)
    before, after = hashes(tmp_path / "one"), hashes(tmp_path / "other")
    assert before.keys() == after.keys()
    assert not any(before[name] == after[name] for name in before if name.endswith("_C.png"))


def test_what_a_record_holds(run, films, tmp_path):
    assert make(run, tmp_path, "-i", films, "--num", 6, "--shadow")[0] == 0
    records = open_all(tmp_path)
    worst = 0.0
    for record in records:
        assert len(record) == 3 and record.size == (40, 64)
        assert set(record.letters) == set("CAFBODS")
        planes = {letter: read_plane(record, letter, record.numbers) for letter in "CAFBOS"}
        c = {letter: plane / 255 for letter, plane in planes.items()}
        behind = c["B"] * (1 - c["S"][..., None])
        without = c["O"][..., 3:] * c["O"][..., :3] + (1 - c["O"][..., 3:]) * behind
        colour = without + c["A"][..., None] * (c["F"] - behind)
        worst = max(worst, np.abs(colour - c["C"]).max() * 255)
        info = json.loads((record.path / "record.json").read_text())
        assert info["source"] in ("a.mp4", "b.mp4") and len(info["inverse_depth"]) == 2
        assert info["options"] == {
            "version": 1, "seed": 71, "size": "40x64", "seq": 3, "people": None, "shadow": True
        }  # fmt: skip
        pose = read_pose(record.path)
        assert pose["vertices"].shape == (3, len(info["people"]), 1836, 3)
        portraits = sorted(record.path.glob("portrait*.png"))
        assert [path.name for path in portraits] == [
            f"portrait{number}.png" for number in range(len(info["people"]))
        ]
        for path in portraits:
            looks = cv2.imread(str(path))
            assert (looks[[0, -1]] == 255).all()  # white above and below, somebody in the middle
            assert (looks[40:60, 60:68] < 250).all() and 0.05 < (looks < 250).mean() < 0.4
    assert worst <= 0.5 + 1e-9
    names = [record.path.name for record in records]
    assert [name[-7:] for name in names] == [f"_{number:06d}" for number in range(6)]
    assert {name[:8] for name in names} == {"w_world_"}


def test_the_number_of_people_and_rendered_backgrounds(run, tmp_path):
    assert make(run, tmp_path, "--num", 2, "--people", 0)[0] == 0
    for record in open_all(tmp_path):
        assert record.path.name.startswith("w_world_00000000_")
        assert not read_plane(record, "A", record.numbers).any()
        behind = read_plane(record, "B", record.numbers)
        assert not np.array_equal(behind[0], behind[2]) and behind.std() > 5
    code, _, lines = make(run, tmp_path, "--num", 2, "--people", 1)
    assert code == 1 and "w_world_00000000_000000 was made with people 0" in lines[-1]


def test_no_record_goes_across_a_cut(run, films, tmp_path):
    assert make(run, tmp_path, "-i", films / "b.mp4", "--num", 12, "--people", 0)[0] == 0
    records = open_all(tmp_path)
    assert len(records) > 3
    for record in records:
        behind = read_plane(record, "B", record.numbers).astype(float)
        assert np.abs(np.diff(behind, axis=0)).mean() < 40


def test_pictures_become_moving_stills(run, tmp_path):
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("tree.png", "more/wall.png"):
        cv2.imwrite(str(tmp_path / "photos" / name), textured(len(name)))
    out = tmp_path / "out"
    assert make(run, out, "-i", tmp_path / "photos", "--stills", "--num", 4)[0] == 0
    infos = [json.loads((path / "record.json").read_text()) for path in out.iterdir()]
    assert {info["source"] for info in infos} == {"tree.png", "wall.png"}
    one = tmp_path / "one"
    assert make(run, one, "-i", tmp_path / "photos" / "tree.png", "--num", 1)[0] == 0
    behind = read_plane(open_all(one)[0], "B", ("0000", "0002"))
    assert not np.array_equal(behind[0], behind[1])


def test_films_named_one_by_one(run, films, tmp_path):
    words = ("-i", films / "b.mp4", "-i", films / "a.mp4")
    make(run, tmp_path / "named", *words, "--num", 2)
    make(run, tmp_path / "folder", "-i", films, "--num", 2)
    assert hashes(tmp_path / "named") == hashes(tmp_path / "folder")


@pytest.mark.parametrize(
    "words, text",
    [
        (["-i", "{nowhere}"], "nowhere doesn't exist: check the path"),
        (["-i", "{short}"], "has 12 frames, one record takes 40: choose a smaller --seq, or a"),
        (["--size", "8x64"], "--size 8x64 is too small: give 32 pixels or more for each side"),
        (["--stills"], "--stills needs pictures: name their folder with -i"),
        (["-i", "{empty}", "--stills"], "empty holds no picture: expected files ending in"),
        (["-i", "{photos}"], "as 00000.png, 00001.png; --stills takes every picture by itself"),
        (["--people", "3"], "--people 3 is out of bounds: give a number from 0 to 2"),
    ],
)
def test_refusals(run, films, tmp_path, words, text):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "tree.png"), textured(0))
    places = {
        "photos": tmp_path / "photos",
        "nowhere": tmp_path / "nowhere",
        "short": films / "a.mp4",
        "empty": tmp_path / "empty",
    }
    words = [word.format(**places) for word in words]
    more = ["--seq", 40] if places["short"].as_posix() in words else []
    code, _, lines = make(run, tmp_path / "out", *words, *more)
    assert code == 1 and text in lines[-1]
    assert not (tmp_path / "out").exists()


def test_a_film_that_is_too_short_keeps_no_other_from_being_used(run, films, tmp_path):
    (tmp_path / "both").mkdir()
    shutil.copy(films / "a.mp4", tmp_path / "both" / "a.mp4")
    write_clip(tmp_path / "both" / "s.mp4", 2)
    code, _, lines = make(run, tmp_path / "out", "-i", tmp_path / "both", "--num", 2)
    assert code == 1 and lines[-2] == "world: made 2, kept 0, skipped 0"
    assert lines[-1] == "error: 1 of 2 films failed; the others are finished"
    make(run, tmp_path / "alone", "-i", films / "a.mp4", "--num", 2)
    assert hashes(tmp_path / "alone") == hashes(tmp_path / "out")
