"""Live: every frame was looked through before it is shown, whatever fails; the newest wins."""

import io
import signal
import socket
import sys
import threading
import time
import types
from contextlib import suppress

import av
import cv2
import numpy as np
import pytest

from layers.commands import LAYERS
from layers.runtime import live
from layers.runtime.live_pace import Pace
from layers.runtime.live_source import Ending, Latest, Seen, Source, at_their_times
from nunif.errors import UserError
from tests.videos import number_of, numbered_frame, write_clip

SIZE, NUM = (64, 96), 12
PAINTED = (0, 200, 0)


class Painter:
    """Finds somebody in the lower half of every frame, and paints it green. fails: numbers of
    frames, those of the warm-up counted apart."""

    def __init__(self, *, finder_fails=(), filler_fails=(), error=RuntimeError):
        self._fails = {"find": {*finder_fails}, "fill": {*filler_fails}}
        self._error = error
        self._numbers = {"find": -2, "fill": -2}
        self.resets = []

    def _count(self, step):
        self._numbers[step] += 1
        if self._numbers[step] - 1 in self._fails[step]:
            raise self._error(f"{step} can't")

    def find(self, frame):
        self._count("find")
        hole = np.zeros(frame.shape[:2], bool)
        hole[len(hole) // 2 :] = True
        return hole

    def fill(self, frame, hole):
        self._count("fill")
        return np.where(hole[..., None], np.array(PAINTED, np.uint8), frame)

    def reset_finder(self):
        self.resets.append("finder")

    def reset_filler(self):
        self.resets.append("filler")

    def check_size(self, height, width):
        pass

    description = "paint"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_clip(
        tmp_path_factory.mktemp("film") / "film.mkv", NUM, codec="ffv1", num_b_frames=0
    )


@pytest.fixture
def live_run(run, monkeypatch):
    """Run the command with a stream that is no network."""

    def run_with(painter, *words):
        monkeypatch.setattr(live, "open_stream", lambda options: painter)
        return run(LAYERS, "live", *words, "--gpu", -1)

    return run_with


def pictures_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def is_black(picture):
    return picture.max() < 8


def is_painted(picture):
    return abs(picture[40:].astype(int) - PAINTED).max() < 40


def test_every_frame_of_a_film_once_and_in_order(live_run, film, tmp_path):
    code, _, lines = live_run(Painter(), "-i", film, "-o", tmp_path / "out.mp4")
    assert code == 0, lines
    pictures = pictures_of(tmp_path / "out.mp4")
    assert [number_of(picture) for picture in pictures] == list(range(NUM))
    assert all(map(is_painted, pictures))
    assert "the pictures have ended" in lines
    assert lines[-1 if "ended" not in lines[-1] else -2].startswith(f"{NUM} frames in ")
    assert any("latency " in line and "; 0 dropped" in line for line in lines)


@pytest.mark.parametrize("who", ["finder", "filler"])
def test_where_one_fails_the_picture_is_black(live_run, film, tmp_path, who):
    painter = Painter(**{f"{who}_fails": {3, 4, 8}})
    code, _, lines = live_run(painter, "-i", film, "-o", tmp_path / "out.mp4")
    assert code == 0, lines
    pictures = pictures_of(tmp_path / "out.mp4")
    assert [is_black(picture) for picture in pictures] == [n in (3, 4, 8) for n in range(NUM)]
    assert all(is_painted(p) for n, p in enumerate(pictures) if n not in (3, 4, 8))
    step = {"finder": "find", "filler": "fill"}[who]
    said = f"the {who} failed (RuntimeError: {step} can't): the picture is black"
    assert lines.count(said) == 2, "once for failures in a row"
    assert any(line.endswith("3 shown black") for line in lines)
    # after the warm-up, at the first frame, and after each failure
    assert painter.resets.count(who) == 1 + 1 + 3


def test_what_fails_again_and_again_ends_it(live_run, film, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "MOST_FAILURES", 5)
    painter = Painter(finder_fails=range(-2, 99))
    code, _, lines = live_run(painter, "-i", film, "-o", tmp_path / "out.mp4")
    assert code == 1
    assert lines[-1].startswith("error: the finder failed at 5 frames in a row (RuntimeError")
    pictures = pictures_of(tmp_path / "out.mp4")
    assert len(pictures) == 5 and all(map(is_black, pictures))


def test_what_can_be_mended_ends_it_at_once(live_run, film, tmp_path):
    painter = Painter(filler_fails={2}, error=UserError)
    code, _, lines = live_run(painter, "-i", film, "-o", tmp_path / "out.mp4")
    assert (code, lines[-1]) == (1, "error: fill can't")
    assert [is_black(p) for p in pictures_of(tmp_path / "out.mp4")] == [False, False, True]


def test_a_paced_film_is_black_until_it_is_warm(live_run, film, tmp_path):
    code, _, lines = live_run(Painter(), "-i", film, "--pace", "-o", tmp_path / "out.mkv")
    assert code == 0, lines
    first, *others = pictures_of(tmp_path / "out.mkv")
    assert is_black(first) and others and all(map(is_painted, others))
    numbers = [number_of(picture) for picture in others]
    assert numbers == sorted({*numbers}) and numbers[-1] == NUM - 1


# --- cameras --------------------------------------------------------------------------------------


class Camera:
    """What OpenCV opens. at_end: called instead of the frame after the last, else it is
    unplugged."""

    def __init__(self, num, at_end=None):
        self.num, self.at_end, self.taken, self.is_released = num, at_end, 0, False

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.num > 0

    def get(self, what):
        return 0.0  # as of cameras that don't know

    def read(self):
        time.sleep(0.001)
        if self.taken == self.num and self.at_end is None:
            return False, None
        if self.taken == self.num:
            self.at_end()
        self.taken += 1
        return True, numbered_frame(self.taken % 200)[..., ::-1]

    def release(self):
        self.is_released = True


@pytest.fixture
def plug(monkeypatch):
    def plug_in(camera):
        monkeypatch.setattr(cv2, "VideoCapture", lambda device, interface: camera)
        return camera

    return plug_in


def test_an_unplugged_camera_ends_it_with_a_line(live_run, plug, tmp_path):
    camera = plug(Camera(9))
    code, _, lines = live_run(Painter(), "--camera", 0, "-o", tmp_path / "out.mp4")
    assert code == 1 and camera.is_released
    assert lines[-1] == (
        "error: camera 0 gives no more pictures: it was unplugged, or another program took it"
    )
    first, *others = pictures_of(tmp_path / "out.mp4")
    assert is_black(first) and all(map(is_painted, others))
    assert any(" frames in " in line for line in lines), "the summary"


def test_a_camera_that_is_not_there(live_run, plug, tmp_path):
    plug(Camera(0))
    code, _, lines = live_run(Painter(), "--camera", 7, "-o", tmp_path / "out.mp4")
    assert code == 1 and lines[-1].startswith("error: camera 7 can't be opened: ")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_it_with_a_whole_file(live_run, plug, tmp_path):
    plug(Camera(20, at_end=lambda: signal.raise_signal(signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT)
    code, _, lines = live_run(Painter(), "--camera", 0, "-o", tmp_path / "out.mp4")
    assert code == 0, lines
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert len(pictures_of(tmp_path / "out.mp4")) >= 1
    assert any(" frames in " in line for line in lines)
    assert signal.getsignal(signal.SIGINT) is before


def test_it_stops_after_some_seconds(live_run, plug, tmp_path):
    plug(Camera(10**9))
    words = ["--camera", 0, "--seconds", 0.3, "-o", tmp_path / "out.mp4"]
    code, _, lines = live_run(Painter(), *words)
    assert code == 0, lines
    assert len(pictures_of(tmp_path / "out.mp4")) > 1


# --- the newest frame wins ------------------------------------------------------------------------


def seen(number):
    return Seen(lambda: numbered_frame(number), float(number), time.monotonic())


def test_the_newest_frame_wins_and_others_are_counted():
    all_came, go_on = threading.Event(), threading.Event()

    def frames():
        yield from map(seen, range(5))
        all_came.set()
        go_on.wait(60)
        yield seen(5)

    with Latest(Source("camera", 25, frames()), Ending()) as latest:
        assert all_came.wait(60)
        taken = iter(latest)
        assert next(taken).time == 4
        assert latest.num_dropped == 4
        go_on.set()
        assert [one.time for one in taken] == [5]
        assert latest.num_dropped == 4 and latest.problem is None


def test_a_source_that_waits_loses_nothing():
    frames = map(seen, range(50))
    with Latest(Source("film", 25, frames, waits=True), Ending()) as latest:
        assert [one.time for one in latest] == list(range(50))
        assert latest.num_dropped == 0


def test_frames_come_at_their_times_and_none_after_the_end():
    ending = Ending()
    frames = [Seen(lambda: None, 0.02 * number, 0.0) for number in range(4)]
    came = [one.came for one in at_their_times(iter(frames), ending)]
    assert all(later - came[0] >= 0.0199 * number for number, later in enumerate(came))
    ending.ask()
    assert ending.is_due


def test_what_is_told_of_the_pace():
    pace = Pace()
    for milliseconds in [10] * 19 + [90]:
        pace.add(came=time.monotonic(), finder=milliseconds / 1000, filler=2 * milliseconds / 1000)
    pace.num_black = 2
    words = pace.summary(num_dropped=7)
    assert words.startswith("20 frames in ")
    assert "finder 10/10, filler 20/20" in words
    assert words.endswith("7 dropped, 2 shown black")
    assert pace.line(7) is None, "a second isn't over"


# --- outputs --------------------------------------------------------------------------------------


def test_a_window_needs_an_opencv_that_has_them(live_run, film, monkeypatch):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:      NONE\n")
    code, _, lines = live_run(Painter(), "-i", film, "-o", "window")
    assert code == 1
    assert "pip install opencv-python;" in lines[-1] and "ffplay -f rawvideo" in lines[-1]


def test_a_window_shows_it_until_q(live_run, film, monkeypatch):
    shown = []
    fakes = {
        "getBuildInformation": lambda: "  GUI:      QT5\n",
        "namedWindow": lambda *_: None,
        "resizeWindow": lambda *_: None,
        "imshow": lambda _, picture: shown.append(picture[..., ::-1]),
        "waitKey": lambda _: ord("q") if len(shown) == 4 else -1,
        "getWindowProperty": lambda *_: 1.0,
        "destroyAllWindows": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(cv2, name, fake)
    code, _, lines = live_run(Painter(), "-i", film, "-o", "window")
    assert code == 0, lines
    assert 4 <= len(shown) < NUM and all(map(is_painted, shown))


def test_a_virtual_camera(live_run, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    code, _, lines = live_run(Painter(), "-i", film, "-o", "virtual")
    assert code == 1 and "pip install -e .[live]" in lines[-1]

    sent = []

    class FakeCamera:
        device = "/dev/video9"

        def __init__(self, *, width, height, fps, fmt):
            assert (width, height, fps, fmt) == (96, 64, 24.0, "RGB")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            sent.append("closed")

        def send(self, picture):
            assert picture.shape == (*SIZE, 3) and picture.flags.c_contiguous
            sent.append(number_of(picture))

    package = types.SimpleNamespace(Camera=FakeCamera, PixelFormat=types.SimpleNamespace(RGB="RGB"))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", package)
    code, _, lines = live_run(Painter(), "-i", film, "-o", "virtual")
    assert code == 0, lines
    assert sent == [*range(NUM), "closed"]
    assert "the virtual camera is /dev/video9" in lines


def test_plain_pictures_on_the_standard_output(live_run, film, monkeypatch):
    out = types.SimpleNamespace(buffer=io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(live, "open_stream", lambda options: Painter())
    options = live.LiveOptions(input=str(film), output="-", gpu=-1)
    live.main(options)
    pictures = np.frombuffer(out.buffer.getvalue(), np.uint8).reshape(NUM, *SIZE, 3)
    assert [number_of(picture) for picture in pictures] == list(range(NUM))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def send(url, num):
    """A sender that goes away after some pictures."""
    for _ in range(200):
        with suppress(OSError, av.FFmpegError), av.open(url, "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
            stream.options = {"tune": "zerolatency"}
            for number in range(num):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
                container.mux(stream.encode(frame))
                time.sleep(0.01)
            container.mux(stream.encode(None))
            return
        time.sleep(0.05)


def receive(url, pictures):
    with av.open(url, timeout=60) as container, suppress(av.FFmpegError):
        pictures += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_stream_in_and_a_stream_out(live_run):
    urls = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    pictures = []
    threads = [
        threading.Thread(target=send, args=(urls[0], 60), daemon=True),
        threading.Thread(target=receive, args=(f"{urls[1]}?listen=1", pictures), daemon=True),
    ]
    for thread in threads:
        thread.start()
    code, _, lines = live_run(Painter(), "-i", f"{urls[0]}?listen=1", "-o", urls[1])
    for thread in threads:
        thread.join(60)
    assert code == 0, lines
    assert "the pictures have ended" in lines
    first, *others = pictures
    assert is_black(first) and others and all(map(is_painted, others))


@pytest.mark.parametrize(
    "words, said",
    [
        (["-o", "out.mp4"], "error: give either --camera or --input"),
        (["--camera", 0, "-i", "x.mp4", "-o", "out.mp4"], "error: give either"),
        (["--camera", 0, "--pace", "-o", "out.mp4"], "error: --pace is for videos"),
        (["--camera", 0, "-o", "gopher://there"], "error: -o gopher://there: streams are sent to"),
        (["--camera", 0, "-o", "out.what"], "error: out.what can't be written: '.what' is none"),
        (["-i", "tcp://127.0.0.1:1", "-o", "out.mp4"], "error: tcp://127.0.0.1:1 can't be opened"),
        (["-i", "nothing.mp4", "-o", "out.mp4"], "error: nothing.mp4 doesn't exist"),
    ],
)
def test_what_can_not_be_is_one_line(live_run, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, lines = live_run(Painter(), *words)
    assert code == 1 and lines[-1].startswith(said), lines
    assert not list(tmp_path.iterdir())
