"""The report of an evaluation, with scores of several tasks: tables, comparisons, files."""

import csv
import io
import json
import math
import re
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import nunif.evaluation
from nunif.evaluation.finished import Finished, key_of, key_of_code
from nunif.evaluation.page import page_of, write_report
from nunif.evaluation.plots import points
from nunif.evaluation.report import Column, Exhibit, Headline, Report, interval
from nunif.evaluation.views import Place, View, place_around, view_from_text, view_of, view_to_text

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
    for clip, gain in zip("abcde", (1.0, 3.0, -1.0, 3.0, -1.0)):
        for method, value in (("old", 20.0), ("new", 20.0 + gain)):
            add(report, clip, "moving", method, {"hole_psnr": value})
    (comparison,) = report.comparisons()
    assert (comparison["model"], comparison["against"]) == ("new", "old")
    assert comparison["mean"] == pytest.approx(1.0) and comparison[
        "standard_deviation"
    ] == pytest.approx(2.0)
    assert (comparison["wins"], comparison["clips"]) == (3, 5)
    assert comparison["low"] == pytest.approx(-0.6) and comparison["high"] == pytest.approx(2.6)
    assert (
        "moving: new against old: +1.00 dB, standard deviation 2.00, 95 % interval -0.60 to 2.60, "
        "better on 3 of 5" in (report.text())
    )
    assert interval(np.full(5, 2.0)) == (2.0, 2.0) and math.isnan(interval(np.ones(1))[0])


def test_no_interval_is_given_below_five_clips_and_that_is_said():
    report = filled(models=["new"])
    for clip, gain in zip("abcd", (1.0, 3.0, -1.0, 3.0)):
        for method, value in (("old", 20.0), ("new", 20.0 + gain)):
            add(report, clip, "moving", method, {"hole_psnr": value})
    (comparison,) = report.comparisons()
    assert math.isnan(comparison["low"]) and comparison["mean"] == pytest.approx(1.5)
    text = "standard deviation 1.91, no interval below 5 clips, better on 3 of 4"
    assert text in report.text() and "95 %" not in report.text()
    assert "No interval below 5 clips" in page_of(report)


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
    report.exhibits.append(exhibit("a", 8, 8))
    write_report(report, tmp_path)
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
        "  ours against theirs: -0.0067, standard deviation 0.0153, no interval below 5 "
        "clips, better on 2 of 3"
    )


def test_files_of_another_task(tmp_path):
    report = off()
    write_report(report, tmp_path)
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
    assert scores["mean"]["ours"]["edge"] == 1.5 and len(scores["comparisons"]) == 1
    page = (tmp_path / "report.html").read_text()
    assert "<h1>Alpha scores</h1>" in page and "Differences in mean difference" in page
    assert page.count("data:image/png;base64,") == 1 and "frame by frame" not in page
    assert "None" not in page and "hole" not in page.lower() and "dB" not in report.text()


def exhibit(clip, height, width, *names):
    frames = np.full((3, height, width, 3), 200, np.uint8)
    frames[1, 0, 0] = 10
    place = place_around(np.ones((3, height, width), bool))
    views = {name: view_of(frames, place) for name in names or ("ours",)}
    return Exhibit(f"<{clip}>", clip, "", place, views)


def test_pictures_and_curves_of_clips_without_kinds(tmp_path):
    report = off()
    report.add(clip="d", method="ours", scores={"mad": 0.0, "edge": 0.0}, curve=[0.0, 0.5])
    report.exhibits += [exhibit("d", 8, 6), exhibit("e", 4, 10, "input", "ours", "theirs")]
    report.write_pictures(tmp_path / "clips.png")
    sheet = cv2.imread(str(tmp_path / "clips.png"))
    # all as large as the largest, a gap between
    assert sheet.shape == (8 + 4 + 8, 10 + 4 + 10 + 4 + 10, 3)
    page = page_of(report)
    # the part, the whole frame and the loop of each
    assert page.count("data:image/webp;base64,") == 3 * 4
    assert page.count("frame by frame</summary>") == 1 and "&lt;e&gt;" in page and "<e>" not in page


def test_a_page_links_every_part_to_its_whole_frame_and_on_to_the_next_and_needs_nothing_else():
    report = off()
    report.exhibits.append(exhibit("a", 8, 8, "theirs", "input", "ours"))
    page = page_of(report)
    links, places = (set(re.findall(f"{word}=['\"]?#?([\\w-]+)", page)) for word in ("href", "id"))
    assert links <= places and {"p0-0", "p0-1", "p0-2"} <= links
    # what the methods started from, what is judged, the others
    order = [page.index(f"alt='&lt;a&gt;: {name}'") for name in ("input", "ours", "theirs")]
    assert order == sorted(order)
    assert "ours · <b>0.0100</b>" in page and "theirs · 0.0300" in page
    assert "http" not in page and "<script" not in page and "name=viewport" in page


def test_the_best_of_a_column_is_bold_and_an_arrow_says_which_way():
    columns = {
        "mad": Column("how far", best=-math.inf),
        "edge": Column("how much", best=2.0),
        "fps": Column("how <fast>"),
    }
    report = off(columns=columns)
    report.rows = [row | {"fps": 1.0} for row in report.rows]
    page = page_of(report)
    assert "<th title='how far'>mad ↓</th>" in page and "<dt>edge → 2</dt><dd>how much</dd>" in page
    assert "how &lt;fast&gt;" in page
    assert "<th>theirs</th><td>0.030</td><td><b>2.000</b></td><td>1.000</td></tr>" in page
    row = "<tr class=judged><th>ours</th><td><b>0.023</b></td><td>1.500</td><td>1.000</td></tr>"
    assert row in page  # equal ones have no best


def test_a_difference_has_its_colour_only_where_the_interval_tells():
    report = Report(headline=FILLED, models=["new"])
    for clip, gain in zip("abcde", (1.0, 2.0, 1.0, 2.0, 1.0)):
        values = {"old": 20.0, "new": 20.0 + gain, "same": 20.0 + gain + (clip < "c") - 0.5}
        for method, value in values.items():
            report.add(clip=clip, method=method, scores={"hole_psnr": value})
    page = page_of(report)
    assert "<td class=up>+1.40<br><small>1.00 to 1.80 · σ 0.55 · better on 5 of 5</small>" in page
    assert "<td>+0.10<br>" in page and page.count("<table>") == 3


def test_means_over_all_frames_weigh_longer_clips_more():
    report = filled(columns={"psnr": Column("", by_frame=True), "hole_psnr": Column("")})
    for clip, frames, value in (("a", 10, 20.0), ("b", 30, 40.0)):
        report.add(clip=clip, method="m", scores={"hole_psnr": 1.0, "psnr": value}, frames=frames)
    assert report.means()[""]["m"] == {"hole_psnr": 1.0, "psnr": 30.0}
    assert report.means_over_frames() == {"": {"m": {"psnr": 35.0}}}
    scores = report.scores()
    assert scores["mean"]["m"]["psnr"] == 30.0 and scores["mean_over_frames"]["m"]["psnr"] == 35.0
    assert "mean over all frames        psnr\nm                         35.000" in report.text()
    assert "Over all frames" in page_of(report)


def test_a_place_shows_what_is_marked_at_full_size():
    marked = np.zeros((9, 400, 600), bool)
    marked[2, 100:110, 580:600] = True
    place = place_around(marked)
    assert place.frame == 2
    assert place.box == place.loop == (9, 408, 201, 600)  # 192 pixels, moved into the frame
    marked[4] = True  # nearer to the middle, and larger than a part may be
    top, left, bottom, right = place_around(marked).box
    assert place_around(marked).frame == 4 and (bottom - top, right - left) == (288, 320)
    marked[4] = False
    marked[4, 10, 10] = marked[4, 300:390, 400:600] = True
    top, left, bottom, right = place_around(marked).box
    assert top <= 300 and bottom >= 390 and left <= 400 and right == 600
    assert place_around(np.zeros((4, 40, 30), bool)) == Place(2, (0, 0, 40, 30), (0, 0, 40, 30))


def test_a_view_keeps_the_frame_and_has_a_short_narrow_loop():
    frames = np.random.default_rng(0).integers(0, 255, (1, 64, 448, 3), np.uint8)
    smooth = cv2.GaussianBlur(frames[0], (0, 0), 4)
    frames = np.stack([np.roll(smooth, 2 * t, axis=1) for t in range(20)])
    view = view_of(frames, Place(18, (0, 0, 8, 8), (0, 0, 64, 448)))
    assert (view.picture == frames[18]).all()
    loop = Image.open(io.BytesIO(view.loop))
    assert (loop.n_frames, loop.size, loop.info["loop"]) == (12, (224, 32), 0)
    noise = np.random.default_rng(0).integers(0, 255, (12, 200, 224, 3), np.uint8)
    loop = view_of(noise, Place(6, (0, 0, 8, 8), (0, 0, 200, 224))).loop
    assert len(loop) < 40_000 and Image.open(io.BytesIO(loop)).size[0] < 120
    assert view_from_text(json.loads(json.dumps(view_to_text(view)))) == view
    assert isinstance(view, View)


def test_what_is_finished_is_found_by_all_it_follows_from(tmp_path, caplog):
    caplog.set_level("INFO")
    frames = np.zeros((2, 3), np.uint8)
    keys = [
        key_of(frames, "a"),
        key_of(frames.reshape(3, 2), "a"),
        key_of(frames.astype(bool), "a"),
        key_of(frames + 1, "a"),
        key_of(frames, "b"),
        key_of(frames, "a", 1),
        key_of("a", frames),
    ]
    assert len(set(keys)) == 7 and keys[0] == key_of(frames.copy(), "a")
    first = Finished(tmp_path / "finished")
    assert first.get(keys[0]) is None
    first.put(keys[0], {"score": math.nan, "clip": "\udc83"})
    first.tell()
    assert not caplog.messages
    again = Finished(tmp_path / "finished")
    found = again.get(keys[0])
    assert math.isnan(found["score"]) and found["clip"] == "\udc83"
    again.tell()
    assert caplog.messages[-1].startswith("1 results were finished before")
    other = Finished(tmp_path / "finished")
    (tmp_path / "finished" / f"{keys[1]}.json").write_text('{"sco')  # torn by something else
    assert other.get(keys[1]) is None
    other.put(keys[2], {})
    assert "none of the 1 results there fits" in caplog.messages[-1]
    nowhere = Finished(None)
    nowhere.put(keys[0], {})
    assert nowhere.get(keys[0]) is None


def test_another_program_or_library_has_another_key(tmp_path):
    class Library:
        __name__, __version__ = "library", "1"

    class Package:
        __name__, __path__ = "package", [str(tmp_path)]

    (tmp_path / "a.py").write_text("x = 1")
    key = key_of_code([Package], [Library])
    assert key == key_of_code([Package], [Library])
    (tmp_path / "a.py").write_text("x = 2")
    assert key != key_of_code([Package], [Library])
    (tmp_path / "a.py").write_text("x = 1")
    Library.__version__ = "2"
    assert key != key_of_code([Package], [Library])


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
    (folder,) = nunif.evaluation.__path__
    files = list(Path(folder).glob("*.py"))
    assert len(files) >= 6
    for path in files:
        words = set(re.findall("[a-z]+", path.read_text(encoding="utf-8").lower()))
        # "alpha" is also how a plot's lines are made faint
        assert not {"hole", "holes", "psnr", "inpainting"} & words, path


def test_long_names_leave_room_for_the_plot():
    """Names of records are long; their ends tell them apart."""
    report = Report(headline=Headline("psnr", "PSNR"), models=["a"])
    for number in range(3):
        clip = f"{'a_long_prefix_' * 6}{number:06d}"
        report.add(clip=clip, method="a", scores={"psnr": float(number)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout without room is told by one
        assert points(report)
