"""The page `layers studio` in a real browser: the whole way from a click to the downloaded film."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from nunif.video.reader import VideoReader
from tests.videos import write_clip

pytestmark = pytest.mark.slow

try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as missing:
    pytest.skip(f"the extra [studio] is not installed: {missing}", allow_module_level=True)
playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
)

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
HEIGHT, WIDTH, NUM_FRAMES = 144, 256, 12
SIDE, ROW = 40, 60  # of the square that goes
RED = (200, 30, 40)
SECONDS = 300_000  # milliseconds that anything may take: machines are shared


def column(number):
    """Where the square stands."""
    return 30 + 8 * number


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a film: a red square goes along in front of a coarse pattern."""
    rng = np.random.default_rng(71)
    behind = cv2.resize(rng.integers(60, 200, (9, 16, 3), np.uint8), (WIDTH, HEIGHT))
    behind[..., 0] //= 2
    frames = [behind.copy() for _ in range(NUM_FRAMES)]
    for number, frame in enumerate(frames):
        frame[ROW : ROW + SIDE, column(number) : column(number) + SIDE] = RED
    place = tmp_path_factory.mktemp("place")
    write_clip(place / "square.mkv", frames, codec="ffv1", num_b_frames=0)
    cv2.imwrite(str(place / "behind.png"), behind[..., ::-1])
    return place


@pytest.fixture
def address(place):
    words = [sys.executable, "-m", "layers", "studio", str(place), "--no-browser"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    yield found[0]
    process.terminate()
    process.wait(60)


@pytest.fixture
def tab(address):
    """A tab of Chromium with the page; an error of its scripts fails the test."""
    if CHROMIUM is None:
        pytest.skip(f"no Chromium is installed: none of {', '.join(NAMES)} is there")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if is_root else []
        )
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.set_default_timeout(SECONDS)
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(address)
        yield tab
        browser.close()
    assert errors == []


def click_at(tab, x, y, **how):
    """Click on a pixel of the film."""
    box = tab.locator("#picture").bounding_box()
    place = {"x": (x + 0.5) / WIDTH * box["width"], "y": (y + 0.5) / HEIGHT * box["height"]}
    tab.click("#picture", position=place, **how)


def colour_at(tab, x, y, canvas="picture"):
    """What the page shows of a pixel of the film."""
    read = """([id, x, y]) => {
        const pixels = document.getElementById(id).getContext("2d").getImageData(x, y, 1, 1);
        return [...pixels.data];
    }"""
    return np.array(tab.evaluate(read, [canvas, x, y])[:3], float)


def wait_for_colour(tab, x, y, wanted):
    for _ in range(600):
        if np.abs(colour_at(tab, x, y) - wanted).max() < 25:
            return
        tab.wait_for_timeout(100)
    pytest.fail(f"at {x}, {y} the page shows {colour_at(tab, x, y)}, not {wanted}")


MARKED = (228, 54, 58)  # half the square's red, half that of object 1


def test_from_a_click_to_the_downloaded_film(tab, place, tmp_path):
    tab.click("text=square.mkv")
    tab.wait_for_selector("#screen[data-drawn='0 marks']")
    wait_for_colour(tab, column(0) + 20, ROW + 20, RED)
    assert tab.is_disabled("#follow") and tab.is_disabled("#remove")

    click_at(tab, column(0) + 10, ROW + 10)
    wait_for_colour(tab, column(0) + 25, ROW + 25, MARKED)  # the mask, at once
    assert tab.locator("#dots button").count() == 1

    tab.click("#follow")
    tab.wait_for_selector("#remove:enabled")
    tab.evaluate("document.getElementById('seek').value = 8")
    tab.dispatch_event("#seek", "input")
    wait_for_colour(tab, column(8) + 25, ROW + 25, MARKED)  # it has gone along

    click_at(tab, column(8) + 30, ROW + 30)  # corrected, and followed again
    tab.click("#follow:enabled")
    tab.wait_for_selector("#remove:enabled")
    tab.click("#play")
    tab.wait_for_selector(f"#screen[data-drawn='{NUM_FRAMES - 1} marks']")

    tab.select_option("#margin", "4")
    tab.click("#remove")
    tab.wait_for_selector("#screen.compares")
    tab.wait_for_selector(f"#screen[data-drawn='{NUM_FRAMES - 1} film,result']")
    last = column(NUM_FRAMES - 1)
    assert np.abs(colour_at(tab, last + 20, ROW + 20) - RED).max() < 25
    assert np.abs(colour_at(tab, last + 20, ROW + 20, "after") - RED).max() > 50

    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.suggested_filename == "square_removed.mkv"
    download.value.save_as(tmp_path / "out.mkv")
    behind = cv2.imread(str(place / "behind.png"))[..., ::-1].astype(float)
    with VideoReader(tmp_path / "out.mkv") as film:
        assert len(film) == NUM_FRAMES
        # what was seen later stands where the square was
        (frame,) = film.read(0, 1)
    square = np.s_[ROW : ROW + SIDE, column(0) : column(0) + SIDE]
    assert np.abs(frame.rgb[square] - behind[square]).mean() < 12

    tab.reload()  # all of it is still known
    tab.wait_for_selector("#download")
    assert tab.locator("#ticks i").count() == 2


def test_what_is_dropped_on_the_page_is_bounded_and_told(tab, place, tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"this is no film")
    tab.set_input_files("#file", tmp_path / "no.mp4")
    tab.wait_for_selector("#error:not([hidden])")
    assert "no.mp4" in tab.inner_text("#error span")
    tab.set_input_files("#file", place / "square.mkv")
    tab.wait_for_selector("#work:not([hidden])")
    assert tab.is_hidden("#error") and tab.inner_text("#film-name") == "square.mkv"


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_hangs_out_of_the_window(tab, width):
    tab.set_viewport_size({"width": width, "height": 844})
    tab.click("text=square.mkv")
    tab.wait_for_selector("#screen[data-drawn='0 marks']")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
