"""The report of an evaluation, with scores of several tasks: tables, comparisons, files."""

import csv
import inspect
import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from nunif.evaluation.report import Headline, Report, interval

FILLED = Headline("hole_psnr", name="hole-PSNR", unit="dB")
# of a task that this project does not have: how far an alpha is off, 0 to 1
OFF = Headline("mad", name="mean difference", digits=4, higher_is_better=False)


def filled(models=(), **more):
    return Report(headline=FILLED, models=models, **more)


def add(report, clip, family, method, scores, fps=10.0):
    curve = [scores[report.headline.score]]
    report.add(
        clip=clip, family=family, made_of="object", method=method, scores=scores, fps=fps,
        curve=curve,
    )  # fmt: skip


def off(**more):
    """Two methods on three clips, without kinds of clips, speed or curves."""
    report = Report(headline=OFF, models=["ours"], title="Alpha scores", **more)
    for clip, ours, theirs in (("a", 0.01, 0.03), ("b", 0.02, 0.03), ("c", 0.04, 0.03)):
        report.add(clip=clip, method="theirs", scores={"mad": theirs, "edge": 2.0})
        report.add(clip=clip, method="ours", scores={"mad": ours, "edge": 1.5})
    return report


def test_two_models_are_compared_in_pairs():
    report = filled(models=["new", "old"])
    for clip, old, new in (("a", 20.0, 21.0), ("b", 30.0, 33.0), ("c", 10.0, 9.0)):
        for method, value in (("old", old), ("new", new)):
            add(report, clip, "moving", method, {"hole_psnr": value})
    (comparison,) = report.comparisons()
    assert (comparison["model"], comparison["against"]) == ("new", "old")
    assert comparison["mean"] == pytest.approx(1.0) and comparison[
        "standard_deviation"
    ] == pytest.approx(2.0)
    assert (comparison["wins"], comparison["clips"]) == (2, 3)
    assert comparison["low"] == pytest.approx(-1.0) and comparison["high"] == pytest.approx(3.0)
    assert (
        "moving: new against old: +1.00 dB, standard deviation 2.00, 95 % interval -1.00 to 3.00, "
        "better on 2 of 3" in (report.text())
    )
    assert interval(np.full(5, 2.0)) == (2.0, 2.0) and math.isnan(interval(np.ones(1))[0])


def test_families_with_scores_of_their_own_and_without_make_tables(tmp_path):
    report, common = filled(), {"hole_psnr": 20.0, "lpips": math.nan}
    add(report, "a", "moving", "telea", common)
    add(report, "a", "long", "telea", {**common, "early": 30.0, "late": math.nan}, fps=20.0)
    assert report.text() == (
        "moving, 1 clips           hole_psnr     fps\n"
        "telea                        20.000  10.000\n"
        "\n"
        "long, 1 clips             hole_psnr   early     fps\n"
        "telea                        20.000  30.000  20.000\n"
        "\n"
        "all, 1 clips              hole_psnr     fps\n"
        "telea                        20.000  15.000"
    )
    report.show([np.zeros((8, 8, 3), np.uint8)], title="a")
    report.write(tmp_path)
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["early"] for row in rows] == ["", "30.0"] and [row["fps"] for row in rows] == [
        "10.0",
        "20.0",
    ]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (
        scores["mean"]["long"]["telea"]["late"] is None
        and "late" not in scores["mean"]["all"]["telea"]
    )


def test_a_score_that_only_one_method_has_is_a_dash_for_others():
    report = filled()
    add(report, "a", "moving", "telea", {"hole_psnr": 20.0, "lpips": math.nan})
    add(report, "a", "moving", "smooth", {"hole_psnr": 21.0, "lpips": 0.25})
    assert report.text().splitlines()[1:] == [
        "telea                        20.000      -  10.000",
        "smooth                       21.000  0.250  10.000",
    ]


def test_families_of_one_clip_are_one_draw():
    report = filled(models=["new"])
    for clip, family, gain in (
        ("a", "x", 1.0),
        ("a", "y", 3.0),
        ("b", "x", -1.0),
        ("b", "y", -1.0),
    ):
        add(report, clip, family, "old", {"hole_psnr": 20.0})
        add(report, clip, family, "new", {"hole_psnr": 20.0 + gain})
    everything = report.comparisons()[-1]
    assert (everything["family"], everything["clips"], everything["wins"]) == ("all", 2, 1)
    assert everything["mean"] == pytest.approx(0.5)  # of 2 and -1


def test_the_headline_of_another_task_whose_lower_score_is_better():
    (comparison,) = off().comparisons()
    assert comparison["mean"] == pytest.approx(-0.02 / 3)
    assert (comparison["wins"], comparison["clips"]) == (2, 3)
    assert off().text() == (
        "mean over 3 clips           mad   edge\n"
        "theirs                    0.030  2.000\n"
        "ours                      0.023  1.500\n"
        "\n"
        "mean difference, clip by clip:\n"
        "  ours against theirs: -0.0067, standard deviation 0.0153, 95 % interval -0.0200 to "
        "0.0100, better on 2 of 3"
    )


def test_files_of_another_task(tmp_path):
    report = off()
    report.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "scores.csv",
        "scores.json",
    ]
    assert (tmp_path / "scores.csv").read_text().splitlines()[:2] == [
        "clip,method,mad,edge",
        "a,theirs,0.03,2.0",
    ]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["mean"][""]["ours"]["edge"] == 1.5 and len(scores["comparisons"]) == 1
    page = (tmp_path / "report.html").read_text()
    assert "<h1>Alpha scores</h1>" in page and "<h2>Mean difference</h2>" in page
    assert page.count("data:image/png;base64,") == 1 and "frame by frame" not in page
    assert "None" not in page and "hole" not in page.lower() and "dB" not in report.text()


def test_pictures_and_curves_of_clips_without_kinds(tmp_path):
    report = off()
    report.add(clip="d", method="ours", scores={"mad": 0.0, "edge": 0.0}, curve=[0.0, 0.5])
    report.show([np.full((8, 6, 3), 255, np.uint8)], title="d")
    report.show([np.full((4, 10, 3), 255, np.uint8)], title="e")
    report.write_pictures(tmp_path / "clips.png")
    sheet = cv2.imread(str(tmp_path / "clips.png"))
    assert sheet.shape == (8 + 4 + 8, 10, 3)  # all as large as the largest, a gap between
    page = report.page()
    assert "<h3>d, frame by frame</h3>" in page and page.count("data:image/jpeg;base64,") == 2


def test_clips_without_the_headline_score_are_in_no_comparison():
    report = off()
    for method in ("theirs", "ours"):
        report.add(clip="empty", method=method, scores={"mad": math.nan, "edge": 1.0})
    assert report.comparisons() == off().comparisons() and "nan" not in report.text()
    assert report.text().startswith("mean over 4 clips ")
    nothing = Report(headline=OFF, models=["ours"])
    for method in ("theirs", "ours"):
        nothing.add(clip="empty", method=method, scores={"mad": math.nan})
    assert nothing.comparisons() == [] and nothing.text().endswith("mean difference, clip by clip:")


def test_the_report_knows_no_task():
    text = Path(inspect.getfile(Report)).read_text(encoding="utf-8").lower()
    assert not {"hole", "holes", "psnr", "inpainting", "alpha"} & set(re.findall("[a-z]+", text))
