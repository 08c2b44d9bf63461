"""The page `layers studio`: who may talk to it, what it gives away, what it takes, and its jobs."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from layers.commands import LAYERS
from layers.options_studio import StudioOptions
from nunif.errors import UserError
from tests.videos import number_of, write_clip

try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as missing:
    pytest.skip(f"the extra [studio] is not installed: {missing}", allow_module_level=True)

from layers.studio import serve
from layers.studio.app import Studio
from layers.studio.folder import Folder, safe_name
from layers.studio.frames import Frames
from layers.studio.job import CANCELLED, DONE, FAILED, RUNNING, Job

ROOT = Path(__file__).resolve().parents[2]
MOST = 300_000  # bytes of an upload
NUM_FRAMES = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with films, and links out of it to a secret one."""
    place = tmp_path_factory.mktemp("place")
    films = place / "films"
    (films / "sub").mkdir(parents=True)
    write_clip(films / "a.mp4", NUM_FRAMES)
    write_clip(films / "sub" / "b.mkv", 4)
    (place / "outside").mkdir()
    write_clip(place / "outside" / "secret.mp4", 2)
    (films / "notes.txt").write_text("not yours")
    if hasattr(os, "symlink"):
        (films / "link.mp4").symlink_to(place / "outside" / "secret.mp4")
        (films / "away").symlink_to(place / "outside", target_is_directory=True)
        (films / "loop.mp4").symlink_to(films / "loop.mp4")
    return place


@pytest.fixture(scope="module")
def page(place, tmp_path_factory):
    """The page of that folder, served in a thread."""
    temporary = tmp_path_factory.mktemp("temporary")
    models = {"one": place / "one.pth"}
    studio = Studio(Folder.of(place / "films"), temporary=temporary, models=models, max_upload=MOST)
    with serve.listening(0) as listener:
        server, address = serve.server_of(studio, listener)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        host, _, token = address.removeprefix("http://").strip("/").partition("/")
        yield SimpleNamespace(host=host, token=token, studio=studio, temporary=temporary)
        server.should_exit = True
        thread.join(20)
    studio.close()


@pytest.fixture
def ask(page):
    """Send a request as it is written, with nothing tidied up: status, headers, body."""

    def ask(method, path, body=None, *, prefix=None, **headers):
        connection = http.client.HTTPConnection(page.host, timeout=30)
        if isinstance(body, dict):
            body = json.dumps(body)
        path = (f"/{page.token}" if prefix is None else prefix) + path
        words = {name.replace("_", "-"): value for name, value in headers.items()}
        with suppress(BrokenPipeError, ConnectionResetError):  # it wants no more of it
            connection.request(method, path, body=body, headers=words, encode_chunked=False)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.headers, data

    return ask


@pytest.fixture
def film(page, ask):
    """The film a.mp4, opened anew: a function that asks for what belongs to it."""
    _, _, data = ask("POST", "/api/open", {"name": "a.mp4"})
    number = json.loads(data)["film"]["number"]

    def of_film(method, what, body=None):
        status, headers, data = ask(method, f"/api/film/{number}{what}", body)
        is_json = "json" in headers.get("Content-Type", "")
        return status, json.loads(data) if is_json else data

    return of_film


# --- who may talk to it ---------------------------------------------------------------------------

ELSEWHERE = "Another page has sent this request: it is refused."


@pytest.mark.parametrize(
    ("path", "headers", "status", "line"),
    [
        ("/", {}, 403, "Open the page by the whole address that its command has printed."),
        ("/wrong/api/state", {}, 403, "Open the page by the whole address"),
        ("/../../etc/passwd", {}, 403, "Open the page by the whole address"),
        ("/%C3%A4/", {}, 403, "Open the page by the whole address"),
        ("TOKEN", {"Host": "evil.example"}, 421, "This page answers only as 127.0.0.1"),
        ("TOKEN", {"Host": "127.0.0.1:1"}, 421, "This page answers only as 127.0.0.1"),
        ("TOKEN", {"Origin": "http://evil.example"}, 403, ELSEWHERE),
        ("TOKEN", {"Origin": "null"}, 403, ELSEWHERE),
    ],
)
def test_strangers_get_a_clear_no(ask, page, path, headers, status, line):
    path = f"/{page.token}/api/state" if path == "TOKEN" else path
    found, answered, data = ask("GET", path, prefix="", **headers)
    assert found == status and data.decode().startswith(line)
    assert "\n" not in data.decode() and answered["Content-Type"].startswith("text/plain")


def test_another_page_can_change_nothing(ask, film):
    words = {"Sec_Fetch_Site": "cross-site"}
    assert ask("POST", "/api/open", {"name": "a.mp4"}, **words)[0] == 403
    assert ask("PUT", "/api/upload?name=a.mp4", b"x", Sec_Fetch_Site="same-site")[0] == 403


def test_its_own_page_is_answered_and_shut_off_from_others(ask, page):
    words = {"Origin": f"http://{page.host}", "Sec_Fetch_Site": "same-origin"}
    status, headers, data = ask("GET", "/api/state", **words)
    assert status == 200 and json.loads(data)["films"] == ["a.mp4", "sub/b.mkv"]
    assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_page_brings_all_that_it_needs(ask):
    status, headers, data = ask("GET", "/")
    page = data.decode()
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert "//" not in page.replace("<!doctype html>", "")  # no address of anyone else
    for name, kind in (("app.js", "javascript"), ("stage.js", "javascript"), ("style.css", "css")):
        status, headers, _ = ask("GET", f"/{name}")
        assert status == 200 and kind in headers["Content-Type"]
    assert ask("GET", "")[0] == 307  # to the address with its slash


# --- no file but the folder's films ---------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "/..%2fapp.py", "/app.py", "/serve.py"],
)
def test_addresses_lead_to_no_other_file(ask, path):
    status, _, data = ask("GET", path)
    assert status == 404 and b"import" not in data and b"root:" not in data


@pytest.mark.parametrize(
    "name",
    [
        "../outside/secret.mp4",
        "sub/../../outside/secret.mp4",
        "link.mp4",
        "away/secret.mp4",
        "loop.mp4",
        "/etc/passwd",
        "..\\outside\\secret.mp4",
        "a\0.mp4",
        "",
    ],
)
def test_only_films_of_the_folder_are_opened(ask, name):
    status, _, data = ask("POST", "/api/open", {"name": name})
    assert status == 400, data
    line = data.decode()
    assert "is not in the folder that this page was started with" in line or "is no film" in line


def test_what_is_no_film_is_not_opened(ask):
    assert ask("POST", "/api/open", {"name": "notes.txt"})[2] == (
        b"notes.txt is no film that is there: load the page again"
    )


def test_of_one_film_nothing_else_is_seen(place):
    folder = Folder.of(place / "films" / "a.mp4")
    assert folder.films() == ["a.mp4"]
    assert folder.find("a.mp4") == (place / "films" / "a.mp4").resolve()
    with pytest.raises(UserError, match="^sub/b.mkv is not in the folder"):
        folder.find("sub/b.mkv")


# --- uploads --------------------------------------------------------------------------------------


def test_ten_gigabytes_are_refused_before_they_come(ask, page):
    status, headers, data = ask(
        "PUT", "/api/upload?name=a.mp4", b"", Content_Length=str(10_000_000_000)
    )
    assert status == 413 and headers["Connection"] == "close"
    assert data.decode().startswith("That is more than 0.3 MB, which is the most")


def test_more_than_was_announced_is_refused_too(ask, page):
    before = sorted(os.listdir(page.temporary))
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    body = chunk * 20 + b"0\r\n\r\n"
    status, _, data = ask("PUT", "/api/upload?name=a.mp4", body, Transfer_Encoding="chunked")
    assert status == 413 and data.startswith(b"That is more than 0.3 MB")
    assert sorted(os.listdir(page.temporary)) == before


@pytest.mark.parametrize(
    ("name", "body", "line"),
    [
        ("a.txt", b"x", "a.txt is no video by its name: it must end in .3gp "),
        ("a.mp4", b"", "a.mp4 is empty."),
        ("../../a.mp4", b"no film" * 99, "a.mp4 "),
    ],
)
def test_what_is_no_film_is_not_kept(ask, page, name, body, line):
    before = sorted(os.listdir(page.temporary))
    status, _, data = ask("PUT", f"/api/upload?name={name}", body)
    assert status == 400 and line in data.decode() and "\n" not in data.decode()
    assert sorted(os.listdir(page.temporary)) == before


def test_an_upload_is_opened_and_goes_with_the_next_film(ask, page, place):
    data = (place / "films" / "sub" / "b.mkv").read_bytes()
    status, _, answer = ask("PUT", "/api/upload?name=my%20film.mkv", data)
    film = json.loads(answer)["film"]
    assert (status, film["name"], film["frames"]) == (200, "my film.mkv", 4)
    assert list(page.temporary.rglob("my film.mkv"))
    number = film["number"]
    assert ask("POST", "/api/open", {"name": "a.mp4"})[0] == 200
    assert not list(page.temporary.rglob("my film.mkv"))
    assert ask("GET", f"/api/film/{number}/frame/0")[2] == (
        b"Another film has been opened meanwhile: load the page again."
    )


def test_names_of_uploads_lead_nowhere():
    assert safe_name("C:\\films\\take 1.MP4") == "take 1.MP4"
    assert safe_name("..%2f.hidden/..a:b?.mkv") == "a_b_.mkv"
    with pytest.raises(UserError, match="^.mp4 is no video by its name"):
        safe_name(".mp4")


def test_messages_are_bounded(ask):
    assert ask("POST", "/api/open", b" " * 2_000_000)[0] == 413
    assert ask("POST", "/api/open", b"[1]")[2] == b"The request is no JSON object."


@pytest.mark.parametrize("what", ["open", "upload?name=b.mp4"])
def test_who_is_still_sending_hears_why_it_is_refused(page, what):
    """Not a connection that was reset."""
    size = 2_000_000 if what == "open" else 2 * MOST
    head = f"POST /{page.token}/api/{what} HTTP/1.1\r\nHost: {page.host}\r\n"
    host, _, port = page.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        for _ in range(4):
            time.sleep(0.05)
            connection.sendall(b" " * (size // 4))
        with connection.makefile("rb") as answer:
            data = answer.read()
    assert data.startswith(b"HTTP/1.1 413 ") and b"That is more than" in data


def test_who_has_sent_all_is_not_kept_waiting(page, ask, monkeypatch):
    """Where a disk is full, say: what was sent is read by then, and no more comes."""

    def fail(*_):
        raise OSError(28, "No space left on device", "marks.json")

    monkeypatch.setattr("layers.studio.guard.LINGER", 3600.0)  # `ask` waits for 30 s
    monkeypatch.setattr(Folder, "find", fail)
    status, _, line = ask("POST", "/api/open", {"name": "a.mp4"})
    assert (status, line) == (507, b"marks.json: No space left on device")


# --- frames and points ----------------------------------------------------------------------------


def test_any_frame_comes_in_any_order(film):
    for number in (0, 20, 3, 23, 22, 21, 1):
        status, data = film("GET", f"/frame/{number}")
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert (status, picture.shape, number_of(picture)) == (200, (64, 96, 3), number)
    assert film("GET", "/frame/24") == (400, b"There is no frame 24: the film has 24, from 0 on.")
    assert film("GET", "/frame/0?show=result")[1] == b"Nothing has been removed yet."


def test_frames_fall_out_of_memory_and_come_again(place, monkeypatch):
    monkeypatch.setattr("layers.studio.frames.KEPT_BYTES", 6 * 64 * 96 * 3)
    frames = Frames(place / "films" / "a.mp4")
    assert [number_of(frames[number]) for number in (23, 0, 12, 11, 10, 2)] == [
        *(23, 0, 12, 11, 10, 2)
    ]
    frames.close()


POINT = {"object": 1, "frame": 2, "x": 40.5, "y": 30.0, "keeps": False, "width": 0, "height": 0}


def test_points_are_kept_for_a_page_that_is_loaded_again(film, ask):
    points = [POINT, {**POINT, "object": 2, "keeps": True}]
    assert film("PUT", "/points", {"points": points})[1]["points"] == points
    assert json.loads(ask("GET", "/api/state")[2])["film"]["points"] == points


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ({**POINT, "x": 96}, "There is no point 96, 30 in frame 2 for object 1: the film has 24 "),
        ({**POINT, "frame": 24}, "There is no point 40.5, 30 in frame 24"),
        ({**POINT, "x": float("nan")}, "There is no point nan, 30"),
        ({**POINT, "object": 9}, "There is no point 40.5, 30 in frame 2 for object 9"),
        ({**POINT, "width": 60, "height": 9}, "There is no point 40.5, 30 in frame 2"),
        ({**POINT, "width": 5}, "There is no point 40.5, 30 in frame 2"),
        ({"object": 1}, "A point needs an object, a frame, x, y and keeps."),
        ("x", "A point needs an object, a frame, x, y and keeps."),
    ],
)
def test_a_point_out_of_the_film_is_refused(film, point, line):
    status, data = film("PUT", "/points", {"points": [point]})
    assert status == 400 and data.decode().startswith(line)


def test_the_steps_come_in_their_order(film):
    assert film("POST", "/follow", {}) == (400, b"Click on something in the picture first.")
    assert film("POST", "/remove", {}) == (
        400,
        b"Follow what should go through the film first.",
    )
    assert film("GET", "/download") == (400, b"Nothing has been removed yet.")
    film("PUT", "/what", {"what": "people"})
    for settings in ({"maxWidth": 7}, {"lookAhead": "9"}, {"model": "../x"}, {"margin": 1}):
        status, data = film("POST", "/remove", settings)
        assert status == 400 and b"not among" in data


# --- jobs -----------------------------------------------------------------------------------------

BAR = "import sys, time; print('@bar 3 a: \\r@bar 5 b: ', file=sys.stderr, flush=True); "


def job_of(code, finish=lambda: None):
    return Job("follow", [], total=10, finish=finish, program=["-c", BAR + code])


def ended(job):
    deadline = time.monotonic() + 60
    while job.is_running and time.monotonic() < deadline:
        time.sleep(0.02)
    return job.progress()


def test_a_job_tells_how_far_it_is_and_can_be_ended():
    job = job_of("time.sleep(600)")
    deadline = time.monotonic() + 60
    while job.progress().done < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    progress = job.progress()
    assert (progress.status, progress.done, progress.total) == (RUNNING, 8, 10)
    assert progress.seconds_left is not None
    job.cancel()
    assert job.progress().status == CANCELLED


def test_what_a_job_made_is_there_when_it_is_told(tmp_path):
    made = []
    assert ended(job_of("", finish=lambda: made.append(1))).status == DONE and made == [1]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("sys.exit('error: x.mp4 is damaged at 1.00 s')", "x.mp4 is damaged at 1.00 s"),
        ("raise MemoryError", "it ended unexpectedly (MemoryError); the terminal says more"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "it ended unexpectedly (-9); the terminal says more",
        ),
    ],
)
def test_a_job_that_fails_says_why_and_hurts_nobody(code, line):
    progress = ended(job_of(code))
    assert (progress.status, progress.message) == (FAILED, line)


# --- the command ----------------------------------------------------------------------------------


def test_a_missing_package_is_named_with_what_brings_it(run, monkeypatch):
    monkeypatch.setattr(serve, "NEEDED", ("starlette", "no_such_package"))
    code, _, lines = run(LAYERS, "studio")
    assert code == 1 and lines == [
        "error: the page needs no_such_package, not installed yet: pip install -e .[studio]"
    ]


def test_wrong_words_are_told(run, tmp_path, place):
    assert run(LAYERS, "studio", tmp_path / "no.mp4")[2] == [
        f"error: {tmp_path}/no.mp4 doesn't exist: check the path"
    ]
    code, _, lines = run(LAYERS, "studio", place, "-i", place)
    assert code == 1 and "are two films: name one, or a folder" in lines[0]
    assert StudioOptions().place == Path(".")


@pytest.mark.skipif(os.name == "nt", reason="no signals")
def test_ctrl_c_ends_it_and_leaves_nothing(place, tmp_path):
    words = [sys.executable, "-m", "layers", "studio", str(place / "films"), "--no-browser"]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # whoever starts the tests in the background has it ignored, and so have they then
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("The page is at http://127.0.0.1:")
    assert [path.name.startswith("studio-") for path in tmp_path.iterdir()] == [True]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert list(tmp_path.iterdir()) == []
