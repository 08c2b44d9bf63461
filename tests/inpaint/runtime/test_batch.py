"""Folders of films in one call of `apply` and `stereo`: what is made, skipped and named.

Axes: H W pixels.
"""

import shutil

import cv2
import numpy as np
import pytest

from inpaint.commands import INPAINT
from inpaint.runtime import apply as apply_module
from inpaint.runtime import stereo as stereo_module
from inpaint.runtime.stream import InpaintStream
from nunif.video.reader import VideoReader
from tests.models import save_lively_model
from tests.videos import number_of, numbered_frame, times_of, write_clip

H, W, T = 32, 48, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture
def apply(run, model, tmp_path):
    """apply to tmp_path/films: exit code, and all lines without the one of the model."""

    def apply(output, *words, mask="masks"):
        files = ["-i", tmp_path / "films", "--mask", tmp_path / mask, "-o", tmp_path / output]
        more = ["--model", model, "--gpu", -1, "--look-ahead", 0, *words]
        code, _, lines = run(INPAINT, "apply", *files, *more)
        return code, [line for line in lines if not line.startswith("torch")]

    return apply


def box(number: int) -> np.ndarray:
    """(H, W) uint8: a white box whose place tells the number."""
    mask = np.zeros((H, W), np.uint8)
    mask[8:16, 4 * number : 4 * number + 8] = 255
    return mask


def write_film(path, num_frames=T):
    path.parent.mkdir(exist_ok=True)
    lossless = {"codec": "ffv1", "pixel_format": "bgr0"} if path.suffix == ".mkv" else {}
    return write_clip(path, num_frames, width=W, height=H, num_b_frames=0, **lossless)


def write_row(folder, picture_of):
    folder.mkdir(parents=True)
    for number in range(T):
        assert cv2.imwrite(str(folder / f"{number}.png"), picture_of(number))
    return folder


@pytest.fixture
def films(tmp_path):
    """Three films with masks: a film, one in a kind that can't be written, and a folder of
    pictures."""
    write_film(tmp_path / "films" / "a.mkv")
    write_film(tmp_path / "films" / "b.3gp")
    write_row(
        tmp_path / "films" / "row",
        lambda number: numbered_frame(number, width=W, height=H)[..., ::-1],
    )
    write_row(tmp_path / "masks" / "a", box)
    write_row(tmp_path / "masks" / "row", lambda _: box(6))
    assert cv2.imwrite(str(tmp_path / "masks" / "b.png"), box(2))
    return tmp_path / "films"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def changed(path):
    """The columns of each frame that differ from `numbered_frame`, first and last."""
    with VideoReader(path) as reader:
        places = []
        for number, frame in enumerate(reader):
            apart = np.abs(frame.rgb.astype(int) - numbered_frame(number, width=W, height=H))
            columns = np.flatnonzero(apart.max(axis=(0, 2)))
            places.append((int(columns[0]), int(columns[-1])))
    return places


def test_every_film_of_a_folder_with_its_own_mask(apply, films, tmp_path, monkeypatch):
    opened = []
    open_filler = apply_module.open_filler
    monkeypatch.setattr(
        apply_module, "open_filler", lambda *given: opened.append(1) or open_filler(*given)
    )
    code, lines = apply("out", "--compare", "--codec", "ffv1", "--suffix", ".mkv")
    assert code == 1 and lines[-1].endswith("1 of 3 films failed (row); the others are finished")
    assert "--codec ffv1 is for videos" in [line for line in lines if "error" in line][0]
    out = tmp_path / "out"
    assert names(out) == ["a.compare.mkv", "a.mkv", "b.compare.mkv", "b.mkv"] and len(opened) == 1
    assert changed(out / "a.mkv") == [(4 * number, 4 * number + 7) for number in range(T)]
    code, lines = apply("out")
    assert code == 0 and lines == [
        f"{out / 'a.mkv'} is there already: left as it is",
        f"1 of 2: {films / 'b.3gp'}",
        f"{out / 'b.mp4'}: 3 frames, 3 with a hole",
        f"2 of 2: {films / 'row'}",
        f"{films / 'row'} is taken as 24 pictures per second: --fps chooses",
        f"{out / 'row'}: 3 frames, 3 with a hole",
        f"{out}: 2 films made, 1 were there already",
    ]
    assert names(out / "row") == [f"{number:06d}.png" for number in range(T)]
    code, lines = apply("out")
    assert code == 0 and lines[-1] == f"{out}: 0 films made, 3 were there already"
    assert len(lines) == 4 and len(opened) == 2  # no model for nothing


def test_one_mask_for_all_and_a_part_of_each(apply, films, tmp_path):
    shutil.rmtree(films / "row")
    words = ["--start", "0.04", "--suffix", ".mkv", "--codec", "ffv1"]
    code, lines = apply("out", *words, mask="masks/b.png")
    assert code == 0 and lines[-1] == f"{tmp_path / 'out'}: 2 films made"
    with VideoReader(tmp_path / "out" / "a.mkv") as reader:
        assert [number_of(frame.rgb) for frame in reader] == [1, 2]
    assert float(times_of(tmp_path / "out" / "b.mkv")[0]) == 0


def test_a_bad_film_and_one_without_a_mask_cost_nobody_else(apply, films, tmp_path):
    (films / "a.mkv").write_bytes(b"no film")
    write_film(films / "c.mp4")
    code, lines = apply("out")
    assert code == 1 and names(tmp_path / "out") == ["b.mp4", "row"]
    text = f"error: {films / 'c.mp4'}: --mask {tmp_path / 'masks'} has 0 masks of that name, and it"
    assert lines[0].startswith(text)  # before hours of others have passed
    assert lines[-2:] == [
        f"{tmp_path / 'out'}: 2 films made",
        "error: 2 of 4 films failed (c.mp4, a.mkv); the others are finished",
    ]


def test_ctrl_c_leaves_what_is_finished(apply, films, tmp_path, monkeypatch):
    call, calls = InpaintStream.__call__, []

    def struck(self, frame, missing):
        calls.append(1)
        if len(calls) > T + 1:
            raise KeyboardInterrupt
        return call(self, frame, missing)

    monkeypatch.setattr(InpaintStream, "__call__", struck)
    code, lines = apply("out")
    assert code == 130 and lines[-2:] == [
        "1 of 3 films are made; the same command goes on from there",
        "interrupted",
    ]
    assert names(tmp_path / "out") == ["a.mkv", "b.unfinished.mp4"]


def test_a_film_without_the_memory_of_the_one_before(run, model, films, tmp_path):
    """The same film twice gives the same pictures twice, though the network is opened once."""
    for name in ("b.3gp", "z.3gp"):
        write_film(films / name)
    words = ["--mask", tmp_path / "masks" / "b.png", "-o", tmp_path / "out", "--model", model]
    code, *_ = run(INPAINT, "apply", "-i", films, *words, "--gpu", -1, "--suffix", ".mkv")
    assert code == 0
    first, second = (read(tmp_path / "out" / name) for name in ("b.mkv", "z.mkv"))
    assert np.array_equal(first, second)


def read(path):
    with VideoReader(path) as reader:
        return [frame.rgb for frame in reader]


def test_stereo_of_a_folder_opens_the_models_once(run, model, films, tmp_path, monkeypatch):
    opened = []
    for name in ("open_fillers_of", "open_estimator"):
        original = getattr(stereo_module, name)
        monkeypatch.setattr(
            stereo_module,
            name,
            lambda *words, name=name, original=original: opened.append(name) or original(*words),
        )
    words = ["-i", films, "-o", tmp_path / "out", "--model", model, "--gpu", -1]
    code, _, lines = run(INPAINT, "stereo", *words, "--model-type", "MotionParallax")
    assert code == 0 and lines[-1] == f"{tmp_path / 'out'}: 3 films made", lines
    assert sorted(opened) == ["open_estimator", "open_fillers_of"]
    assert names(tmp_path / "out") == ["a.mkv", "b.mp4", "row"]
    with VideoReader(tmp_path / "out" / "a.mkv") as reader:
        assert (reader.info.width, len(reader)) == (2 * W, T)


@pytest.mark.parametrize(
    ("output", "words", "mask", "text"),
    [
        ("out.mp4", [], "masks", "--output {}/out.mp4 is one file, and {}/films is a folder of"),
        ("out.png", [], "masks", "--output {}/out.png is one file"),
        ("films", [], "masks", "films can't be written: it is the source {}/films; choose another"),
        ("masks", [], "masks", "masks can't be written: it is the source {}/masks; choose another"),
        ("out", [], "films/a.mkv", "--mask {}/films/a.mkv is one film, and {}/films is a folder"),
        ("out", ["--suffix", "mkv"], "masks", "--suffix mkv can't be written: choose .mp4, .mkv"),
        ("out", ["--model", "no.pth"], "masks", "--model no.pth does not exist"),
        ("out", ["--start", "x"], "masks", "--start x is no time: give seconds such as 90"),
        ("out", ["-i", "{}/films/a.mkv", "--suffix", ".mkv"], "masks", "--suffix .mkv is for a"),
    ],
)
def test_what_is_refused(apply, films, tmp_path, output, words, mask, text):
    before = sorted(tmp_path.rglob("*"))
    code, lines = apply(output, *(word.format(tmp_path) for word in words), mask=mask)
    assert code == 1 and len(lines) == 1, lines
    assert text.replace("{}", str(tmp_path)) in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_two_films_of_one_name_are_refused(apply, films, tmp_path):
    write_film(films / "b.mp4")
    code, lines = apply("out")
    text = f"{films / 'b.3gp'} and {films / 'b.mp4'} would both become {tmp_path / 'out' / 'b.mp4'}"
    assert code == 1 and lines == [f"error: {text}: rename one of them"]


def test_photos_of_a_folder_are_no_film(apply, run, tmp_path):
    """Though their names differ in a number only."""
    (tmp_path / "films").mkdir()
    for number in (1, 2, 5):
        picture = numbered_frame(number, width=W, height=H)[..., ::-1]
        assert cv2.imwrite(str(tmp_path / "films" / f"IMG_{number}.png"), picture)
    (tmp_path / "masks").mkdir()
    for number in (1, 2):
        assert cv2.imwrite(str(tmp_path / "masks" / f"IMG_{number}.png"), box(number))
    code, lines = apply("out", "--stills")
    out = tmp_path / "out"
    assert code == 1 and names(out) == ["IMG_1.png", "IMG_2.png"]
    assert lines[-1] == "error: 1 of 3 pictures failed (IMG_5.png); the others are finished"
    assert not [line for line in lines if "row" in line]
    for number in (1, 2):
        after = cv2.imread(str(out / f"IMG_{number}.png"))[..., ::-1]
        columns = np.flatnonzero((after != numbered_frame(number, width=W, height=H)).any((0, 2)))
        assert (columns[0], columns[-1]) == (4 * number, 4 * number + 7)
    assert apply("jpg", "--stills", "--suffix", ".jpg", mask="masks/IMG_1.png")[0] == 0
    assert names(tmp_path / "jpg") == ["IMG_1.jpg", "IMG_2.jpg", "IMG_5.jpg"]


@pytest.mark.parametrize(
    ("source", "words", "text"),
    [
        ("films", ["--suffix", ".mp4"], "--suffix .mp4 can't be written: choose .png, .jpg, .webp"),
        ("empty", [], "--stills is for a folder of pictures, and {}/empty is none: leave it out"),
        ("films/a.png", [], "--stills is for a folder of pictures, and {}/films/a.png is none"),
        ("no", [], "{}/no doesn't exist: check the path"),
    ],
)
def test_stills_that_are_refused(apply, tmp_path, source, words, text):
    for folder in ("films", "empty", "masks"):
        (tmp_path / folder).mkdir()
    assert cv2.imwrite(str(tmp_path / "films" / "a.png"), box(1))
    code, lines = apply("out", "--stills", "-i", tmp_path / source, *words)
    assert code == 1 and len(lines) == 1 and text.format(tmp_path) in lines[0]
