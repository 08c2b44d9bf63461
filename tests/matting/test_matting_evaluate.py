"""`python -m matting evaluate`: scores with literal expectations, records and films, and what is
kept of a run."""

import csv
import json
import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from matting.commands import MATTING
from matting.evaluation.scores import by_frame, clip_scores
from matting.metrics import matte_scores, overlap
from nunif.models import save_model
from nunif.records import write_record
from nunif.video.clips import read_mattes
from tests.matting.weights import pictures
from tests.pictures import voc_palette
from tests.videos import write_clip

SIZE = (64, 96)
NUM_FRAMES = 3


def square(*, left: int, level: int = 255) -> np.ndarray:
    """A person of sorts, with a soft column beside them."""
    alpha = np.zeros(SIZE, np.uint8)
    alpha[16:48, left : left + 24] = level
    alpha[16:48, left + 24] = level // 2
    return alpha


def clip_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    frames = (pictures(NUM_FRAMES, 3, *SIZE, seed=seed) * 255).byte().permute(0, 2, 3, 1).numpy()
    return frames, np.stack([square(left=10 + 8 * t + seed) for t in range(NUM_FRAMES)])


@pytest.fixture(scope="module")
def place(tmp_path_factory, network):
    """Records, one without alpha and one without a foreground, films with mattes, and a model."""
    place = tmp_path_factory.mktemp("evaluate")
    save_model(network, place / "m.pth")
    for seed in (1, 2):
        frames, alpha = clip_of(seed)
        planes = {"C": frames, "A": alpha} | ({"F": 255 - frames} if seed == 1 else {})
        write_record(place / "records" / f"r{seed}", planes, {})
    write_record(place / "records" / "r3", {"C": frames}, {})
    (place / "films").mkdir()
    write_clip(place / "films" / "soft.mkv", list(frames), codec="ffv1", pixel_format="bgr0")
    for name, how in (("soft", alpha), ("hard", np.where(alpha > 127, np.uint8(255), np.uint8(0)))):
        for t, picture in enumerate(how):
            folder = place / "mattes" / name
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{t}.png"), picture)
    return place


def evaluate(run, place, data, *more):
    words = ("evaluate", "-i", place / data, "--gpu", -1, *more)
    return run(MATTING, *words)


def rows_of(folder):
    with open(folder / "scores.csv", newline="") as file:
        return {(row["clip"], row["method"]): row for row in csv.DictReader(file)}


def test_a_score_counts_only_what_there_is_to_count():
    truth = np.stack([square(left=10), np.zeros(SIZE, np.uint8), square(left=10)])
    found = np.stack([square(left=22), np.zeros(SIZE, np.uint8), square(left=10)])
    assert by_frame("iou", found, truth)[::2] == [1 / 3, 1.0]  # 12 of 36 columns
    assert math.isnan(by_frame("iou", found, truth)[1])
    assert overlap(np.array([0.5, 0.51]), np.array([1.0, 1.0])) == 0.5
    colours = np.zeros((3, *SIZE, 3), np.uint8)
    shifted = colours + np.uint8(51)
    shifted[1] = 255  # where nobody is it doesn't count
    scores = clip_scores(found, shifted, truth, colours)
    assert scores["iou"] == pytest.approx(2 / 3) and scores["iou_min"] == pytest.approx(1 / 3)
    assert scores["fgr_mad"] == pytest.approx(200) and scores["fgr_mse"] == pytest.approx(40)
    nobody = clip_scores(*(x[1:2] for x in (found, shifted, truth, colours)))
    assert nobody["mad"] == 0
    assert all(math.isnan(nobody[name]) for name in ("iou", "iou_min", "fgr_mad", "fgr_mse"))
    assert "fgr_mad" not in clip_scores(found, shifted, truth, None)


def test_records(run, place, network, tmp_path):
    """Each model with its memory and without, beside the matte of nobody; and what is finished is
    not done again."""
    out = tmp_path / "out"
    more = ("-m", f"one={place / 'm.pth'}", "-o", out)
    code, table, lines = evaluate(run, place, "records", *more)
    assert code == 0, lines
    assert any("r3" in line and "it has no alphas" in line for line in lines)
    methods = ["all-zero", "one", "one, no memory"]
    rows = rows_of(out)
    assert list(rows) == [(clip, method) for clip in ("r1", "r2") for method in methods]
    frames, alpha = clip_of(1)
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
    with torch.no_grad():
        kept = network(clip)
        single = [network(clip[:, t : t + 1])[1] for t in range(NUM_FRAMES)]
    for method, found in (("one", kept[1]), ("one, no memory", torch.cat(single, 1))):
        rounded = np.rint(found[0, :, 0].numpy() * 255) / 255
        for name, score in matte_scores(rounded, alpha / 255).items():
            assert float(rows["r1", method][name]) == pytest.approx(score, rel=0.02), name
    assert float(rows["r1", "one"]["dtssd"]) != float(rows["r1", "one, no memory"]["dtssd"])
    colours = np.abs(kept[0][0].permute(0, 2, 3, 1).numpy() - (255 - frames) / 255)
    wanted = 1e3 * np.mean([c[a > 0].mean() for c, a in zip(colours, alpha)])
    assert float(rows["r1", "one"]["fgr_mad"]) == pytest.approx(wanted, rel=0.01)
    nobody = rows["r1", "all-zero"]
    assert float(nobody["mad"]) == pytest.approx(1e3 * (alpha / 255).mean())
    assert float(nobody["iou"]) == 0 and nobody["fps"] == "nan"
    scores = json.loads((out / "scores.json").read_text())
    assert scores["mean"]["one"]["mad"] == pytest.approx(
        (float(rows["r1", "one"]["mad"]) + float(rows["r2", "one"]["mad"])) / 2
    )
    pairs = {(c["model"], c["against"]) for c in scores["comparisons"]}
    assert pairs == {("one", "all-zero"), ("one", "one, no memory")}
    page = (out / "report.html").read_text()
    # input, truth and each method, of two clips: a part, the whole, a loop
    assert page.count("data:image/webp;base64,") == 2 * 5 * 3
    again = evaluate(run, place, "records", *more)
    assert again[0] == 0 and again[1] == table
    assert any(line.startswith("8 results were finished before") for line in again[2])
    other = (*more, "--downsample-ratio", 0.5, "--baselines", "all-zero")
    code, _, lines = evaluate(run, place, "records", *other)
    assert any(line.startswith("4 results were finished before") for line in lines)
    assert rows_of(out)["r1", "one"]["mad"] != rows["r1", "one"]["mad"]


def test_films_with_mattes_and_with_masks(run, place, tmp_path):
    """Mattes by name are compared by MAD, masks, given as they are, by IoU."""
    model = ("-m", place / "m.pth", "--baselines", "all-zero")
    out = tmp_path / "soft"
    code, table, lines = evaluate(
        run, place, "films", *model, "--alpha", place / "mattes", "-o", out
    )
    assert code == 0, lines
    assert "MAD, clip by clip" in table and "fgr_mad" not in table
    alpha = clip_of(2)[1]
    rows = rows_of(out)
    assert list(rows) == [("soft", "all-zero"), ("soft", "m")]
    assert float(rows["soft", "all-zero"]["mad"]) == pytest.approx(1e3 * (alpha / 255).mean())
    out = tmp_path / "hard"
    masks = ("--alpha", place / "mattes" / "hard")
    code, table, _ = evaluate(run, place, "films/soft.mkv", *model, *masks, "-o", out)
    assert code == 0 and "IoU, clip by clip" in table
    assert "The truth is masks" in (out / "report.html").read_text()
    code, table, _ = evaluate(
        run, place, "films/soft.mkv", *masks, "--size", "80x80", "--frames", 2
    )
    assert code == 0 and "all-zero" in table and "clip by clip" not in table


def test_mattes_are_read_as_they_are_and_masks_by_their_numbers(place, tmp_path):
    film = place / "films" / "soft.mkv"
    numbers = {"start": 0, "num_frames": 3, "name": "--alpha"}
    soft = read_mattes(place / "mattes" / "soft", film, size=SIZE, **numbers)
    assert np.array_equal(soft, clip_of(2)[1])
    half = read_mattes(place / "mattes" / "soft", film, size=(32, 48), **numbers)
    assert half.shape == (3, 32, 48) and np.unique(half).tolist() == [0, 64, 255]
    # scaled by the nearest pixel: nothing between 0 and 255 comes about
    hard = read_mattes(place / "mattes" / "hard", film, size=(40, 60), **numbers)
    assert np.unique(hard).tolist() == [0, 255]
    (tmp_path / "objects").mkdir()
    marks = np.zeros(SIZE, np.uint8)
    marks[8:40, 8:20], marks[8:40, 40:50] = 1, 2
    for t in range(3):
        picture = Image.fromarray(marks)
        picture.putpalette(voc_palette())
        picture.save(tmp_path / "objects" / f"{t}.png")
    both = read_mattes(tmp_path / "objects", film, size=SIZE, **numbers)
    one = read_mattes(tmp_path / "objects", film, size=SIZE, objects=(2,), **numbers)
    assert np.array_equal(both[0], np.where(marks > 0, 255, 0))
    assert np.array_equal(one[0], np.where(marks == 2, 255, 0))


def test_what_is_wrong_is_said(run, place):
    model = ("-m", place / "m.pth")
    for data, more, text in (
        ("films", model, "add --alpha, a folder with mattes or masks of the films' names"),
        ("films", (*model, "--alpha", place / "none"), "--alpha"),
        ("films", (*model, "--alpha", place / "mattes" / "hard"), "no film of it can be used"),
        ("records", (*model, "--alpha", place / "mattes"), "have alpha of their own"),
        ("records", ("--baselines", "none"), "there is nothing to judge: give -m a model file"),
        ("records", ("-m", f"all-zero={place / 'm.pth'}"), "the name all-zero is taken"),
        ("records", (*model, "--start", 3), "3 frames, 4 are needed"),
    ):
        code, _, lines = evaluate(run, place, data, *more)
        assert code == 1 and text in lines[-1], lines
