"""The page of `python -m layers remove --report`."""

import base64
import re

import cv2
import numpy as np
import pytest

from layers.runtime.removal_page import STRIP_COLOURS, FilmReport, box_around, strip_of, write_page
from nunif.image import decode
from tests.layers.test_remove import (  # noqa: F401
    NOBODY,
    H,
    W,
    film,
    remove,
    walk,
    wall,
)
from tests.videos import write_clip


def pictures_of(page):
    found = re.findall(r"<img alt='(\w+)' src='data:image/webp;base64,([^']*)'>", page)
    return [(name, decode(base64.b64decode(data), cv2.IMREAD_COLOR_RGB)) for name, data in found]


def test_a_page_shows_before_hole_and_after(remove, film, tmp_path):  # noqa: F811
    page = tmp_path / "pages" / "page.html"
    code, lines = remove(film, "out.mkv", "--codec", "ffv1", "--report", page, "--hold", 0)
    assert code == 0 and lines[-1] == f"{page} shows what was removed"
    text = page.read_text()
    assert "film.mkv &rarr; out.mkv" in text
    assert "9 frames, 3 with a hole, in 1 of 1 shot; " in text
    assert "Shot 1, frames 0 to 8: 3 with a hole, " in text
    share = float(re.search(r"a hole, ([\d.]+)% of a frame", text)[1])
    assert 15 < share < 45
    (before, one), (hole, two), (after, three) = pictures_of(text)
    assert (before, hole, after) == ("before", "hole", "after")
    assert one.shape == two.shape == three.shape
    frames = walk(40, 60, 64)
    assert min(np.abs(one.astype(int) - part).mean() for part in crops(frames, one.shape)) < 6
    # the person is painted in the second and gone in the third
    assert np.abs(one.astype(int) - two).mean() > 8 < np.abs(one.astype(int) - three).mean()
    assert "<script" not in text and "http" not in text and len(text) < 60_000


def crops(frames, shape):
    for frame in frames:
        for left in range(W - shape[1] + 1):
            for top in range(H - shape[0] + 1):
                yield frame[top : top + shape[0], left : left + shape[1]].astype(int)


def test_nobody_and_names_that_are_no_html(remove, wall, tmp_path):  # noqa: F811
    source = tmp_path / "<b>&.mp4"
    source.write_bytes(wall.read_bytes())
    code, _ = remove(source, "out.mp4", "--report", tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text()
    assert code == 0 and "Nobody was found: copied as it is; --no-gate" in text
    assert "&lt;b&gt;&amp;.mp4" in text and "<b>" not in text


def test_shots_are_told_apart_and_numbered(tmp_path):
    report = FilmReport(tmp_path / "a.mp4", tmp_path / "b.mp4")
    frame, empty = np.full((40, 60, 3), 90, np.uint8), np.zeros((40, 60), bool)
    hole = empty.copy()
    hole[10:20, 30:40] = True
    for i in range(6):
        report(frame, hole if i in (4, 5) else empty, frame, i in (2, 4))
    assert [(s.first, s.num_frames, s.num_holes) for s in report.shots] == [
        (0, 2, 0),
        (2, 2, 0),
        (4, 2, 2),
    ]
    write_page(tmp_path / "p.html", [report, report])
    text = (tmp_path / "p.html").read_text()
    assert text.count("Shot 3, frames 4 to 5: 2 with a hole, 4.2% of a frame") == 2
    assert "Shot 1" not in text and "6 frames, 2 with a hole, in 1 of 3 shots; 1.4% of" in text


def test_the_part_around_a_hole_and_the_strip():
    hole = np.zeros((100, 200), bool)
    hole[40:60, 150:190] = True
    assert box_around(hole) == (30, 130, 70, 200)
    hole[:] = False
    hole[0, 0] = True  # a quarter of each side at least
    assert box_around(hole) == (0, 0, 13, 26)
    strip = strip_of([0.0] * 5 + [0.1] * 5)
    assert strip.shape == (18, 720, 3)
    assert tuple(strip[0, 0]) == STRIP_COLOURS[0] and tuple(strip[9, 719]) == STRIP_COLOURS[1]
    assert (strip[0] == STRIP_COLOURS[1]).all(axis=1).sum() == 360
    # one frame of many is seen
    many = strip_of([0.0] * 2000 + [0.1] + [0.0] * 2000)
    assert (many[0] == STRIP_COLOURS[1]).all(axis=1).sum() == 1


@pytest.mark.parametrize("name", ["page.mp4", "page"])
def test_a_page_is_called_so(remove, wall, tmp_path, name):  # noqa: F811
    code, lines = remove(wall, "out.mp4", "--report", tmp_path / name)
    assert code == 1 and lines[-1].endswith("is a page: give it a name that ends in .html")


def test_ten_bits(remove, tmp_path):  # noqa: F811
    source = tmp_path / "deep.mkv"
    write_clip(source, walk(NOBODY, 60, 62), codec="ffv1", pixel_format="yuv444p10le")
    code, _ = remove(source, "out.mkv", "--report", tmp_path / "p.html", "--codec", "ffv1")
    assert code == 0
    _, hole, _ = pictures_of((tmp_path / "p.html").read_text())
    assert hole[1].dtype == np.uint8 and hole[1].max() > 150
