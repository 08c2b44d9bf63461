"""Downloads from a server on this machine that breaks off, lies and refuses: whole or not at all,
and never twice."""

import errno
import hashlib
import http.server
import io
import logging
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nunif import download as module
from nunif.download import (
    checkpoints_folder,
    download,
    file_name_of,
    find_file,
    is_url,
    promised_hash,
    quiet_hub,
)
from nunif.errors import UserError

DATA = bytes(range(256)) * 1200  # 307,200 bytes, several chunks
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Gives `data` under every path.

    breaks: after how many bytes of a body each answer ends, first to last, then never. version: as
        ETag.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.version, self.ranges, self.breaks = DATA, '"v1"', True, []
        self.status, self.content_type, self.length = 200, "application/octet-stream", True
        self.asked: list[str | None] = []  # the Range of each request

    def url(self, name="model.pth"):
        return f"http://127.0.0.1:{self.server_address[1]}/files/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        first = (
            int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        )
        if first and self.headers["If-Range"] != server.version:
            first = 0
        if first >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.data[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Type", server.content_type)
        if server.version:
            self.send_header("ETag", server.version)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        if first:
            self.send_header(
                "Content-Range", f"bytes {first}-{len(server.data) - 1}/{len(server.data)}"
            )
        self.end_headers()
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    server = Server()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def visible(folder: Path):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def hidden(folder: Path):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".partial-"))


def test_a_file_comes_once(server, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = tmp_path / "hub" / "checkpoints"
    path = download(server.url(), folder)
    assert path == folder / "model.pth" and path.read_bytes() == DATA
    assert download(server.url(), folder) == path
    assert server.asked == [None]
    assert visible(folder) == ["model.pth"] and hidden(folder) == []
    assert caplog.messages == [
        f"downloading {server.url()} to {path}",
        f"{path} is here already, it is not fetched again",
    ]


def test_a_broken_connection_is_taken_up_where_it_ended(server, tmp_path):
    server.breaks = [100_000, 50_000]
    path = download(server.url(), tmp_path)
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert visible(tmp_path) == ["model.pth"] and hidden(tmp_path) == []


def test_a_connection_that_breaks_for_good_leaves_a_part_for_the_next_call(server, tmp_path):
    server.breaks = [100_000] + [0] * module.ATTEMPTS
    with pytest.raises(
        UserError, match=r"model\.pth broke off .*: run it again, 100,000 bytes of it are kept"
    ):
        download(server.url(), tmp_path)
    assert visible(tmp_path) == []
    assert (tmp_path / ".partial-model.pth").read_bytes() == DATA[:100_000]
    server.asked.clear()
    assert download(server.url(), tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=100000-"]


def test_ctrl_c_leaves_a_part_for_the_next_call(server, tmp_path, monkeypatch):
    real, chunks = module._read, []

    def read(response):
        if len(chunks) == 2:
            raise KeyboardInterrupt
        chunks.append(real(response))
        return chunks[-1]

    monkeypatch.setattr(module, "_read", read)
    with pytest.raises(KeyboardInterrupt):
        download(server.url(), tmp_path)
    monkeypatch.setattr(module, "_read", real)
    assert visible(tmp_path) == []
    assert download(server.url(), tmp_path).read_bytes() == DATA
    assert server.asked == [None, f"bytes={2 * module.CHUNK}-"]


@pytest.mark.parametrize("change", ["version", "address", "no version"])
def test_parts_of_two_files_are_never_joined(server, tmp_path, change):
    if change == "no version":
        server.version = ""
    server.data, server.breaks = b"old" * 100_000, [100_000] + [0] * module.ATTEMPTS
    with pytest.raises(UserError):
        download(server.url() + ("?another" if change == "address" else ""), tmp_path)
    server.data, server.breaks = DATA, []
    if change == "version":
        server.version = '"v2"'
    assert download(server.url(), tmp_path).read_bytes() == DATA


def test_a_server_without_ranges_gives_all_again(server, tmp_path):
    server.ranges, server.breaks = False, [100_000]
    assert download(server.url(), tmp_path).read_bytes() == DATA


def test_a_part_that_is_complete_is_only_renamed(server, tmp_path):
    (tmp_path / ".partial-model.pth").write_bytes(DATA)
    (tmp_path / ".partial-model.pth.stamp").write_text(f'{server.url()}\n"v1"')
    assert download(server.url(), tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=307200-"] and hidden(tmp_path) == []


def test_a_part_that_is_too_long_is_dropped(server, tmp_path):
    (tmp_path / ".partial-model.pth").write_bytes(DATA + b"more")
    (tmp_path / ".partial-model.pth.stamp").write_text(f'{server.url()}\n"v1"')
    assert download(server.url(), tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=307204-", None]


def test_a_body_of_unknown_length(server, tmp_path):
    server.length = False
    assert download(server.url(), tmp_path).read_bytes() == DATA


def test_the_hash_in_the_name(server, tmp_path):
    name = f"model-{SHA256[:8]}.pth"
    assert download(server.url(name), tmp_path).read_bytes() == DATA
    wrong = "model-0123abcd.pth"
    text = (
        rf"{wrong} gave a file whose SHA-256 begins with {SHA256[:8]}, but its name promises "
        r"0123abcd: try again"
    )
    with pytest.raises(UserError, match=text):
        download(server.url(wrong), tmp_path)
    assert visible(tmp_path) == [name] and hidden(tmp_path) == []


@pytest.mark.parametrize(
    "name, digits",
    [
        ("resnet18-f37072fd.pth", "f37072fd"),
        (f"a-b-{SHA256.upper()}.safetensors", SHA256),
        ("model-0123abc.pth", None),  # seven
        ("model-0123abcg.pth", None),
        ("model_0123abcd.pth", None),
        ("model-20250919.pth", None),  # a day
        ("model-20251399.pth", "20251399"),
    ],
)
def test_which_names_carry_a_hash(name, digits):
    assert promised_hash(name) == digits


@pytest.mark.parametrize(
    "status, message",
    [
        (404, "can't be fetched, the server says 404 Not Found: check the address"),
        (403, "can't be fetched, the server says 403 Forbidden: check the address"),
        (503, "can't be fetched, the server says 503 Service Unavailable: try again later"),
    ],
)
def test_refusals(server, tmp_path, status, message):
    server.status = status
    with pytest.raises(UserError) as error:
        download(server.url(), tmp_path)
    assert str(error.value) == f"{server.url()} {message}"
    assert visible(tmp_path) == [] and hidden(tmp_path) == []


def test_a_web_page_is_no_file(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(UserError, match="model.pth gives a web page, not a file"):
        download(server.url(), tmp_path)
    assert visible(tmp_path) == [] and hidden(tmp_path) == []


def test_nobody_at_the_address(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/model.pth", "http://127.0.0.1:port/model.pth"):
        with pytest.raises(
            UserError,
            match=r"model\.pth can't be reached \(.+\): check the address and the network",
        ):
            download(url, tmp_path)


def test_a_full_disk(server, tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "open", lambda path, mode: FullDisk(path, mode), raising=False)
    with pytest.raises(UserError, match=r"disk full while writing .*model\.pth: free some space"):
        download(server.url(), tmp_path)
    assert visible(tmp_path) == []


def test_progress_is_counted_from_where_it_goes_on(server, tmp_path, monkeypatch):
    bars = []

    class Bar(module.tqdm):
        def __init__(self, **kwargs):
            bars.append([kwargs["desc"], kwargs["initial"], kwargs["total"], 0])
            super().__init__(**kwargs)

        def update(self, n=1):
            bars[-1][3] += n

    monkeypatch.setattr(module, "tqdm", Bar)
    server.breaks = [100_000]
    download(server.url(), tmp_path)
    assert bars == [["model.pth", 0, 307_200, 100_000], ["model.pth", 100_000, 307_200, 207_200]]


def test_two_at_once_fetch_one_file(server, tmp_path):
    threads = [threading.Thread(target=download, args=(server.url(), tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == [None] and (tmp_path / "model.pth").read_bytes() == DATA


def test_file_names():
    assert file_name_of("https://host/a/b%20c.pth?x=1/2#d") == "b c.pth"
    for url in (
        "https://host",
        "https://host/",
        "https://host/..",
        "https://host/.hidden",
        "https://host/a%2f..%2fb.pth",
        "https://host/c%3a.pth",
        "https://host/a%00.pth",
    ):
        with pytest.raises(UserError, match="does not end in a file name"):
            file_name_of(url)


def test_what_is_an_address():
    assert is_url("https://host/m.pth") and is_url("HTTP://host/m.pth")
    assert not any(
        map(
            is_url,
            ("m.pth", "C:\\models\\m.pth", "//share/m.pth", "file:///m.pth", "ftp://host/m.pth"),
        )
    )


def test_the_folder_is_that_of_the_project(tmp_path):
    (tmp_path / "project" / "pretrained_models").mkdir(parents=True)
    inside, outside = tmp_path / "project" / "a" / "b", tmp_path / "elsewhere"
    expected = tmp_path / "project" / "pretrained_models" / "hub" / "checkpoints"
    assert checkpoints_folder(inside) == checkpoints_folder(tmp_path / "project") == expected
    assert checkpoints_folder(outside) == outside / "pretrained_models" / "hub" / "checkpoints"


def test_find_file_takes_paths_addresses_and_names(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    releases = {"best": server.url("best_v1.pth"), "other": server.url("other.pth")}
    fetched = tmp_path / "pretrained_models" / "hub" / "checkpoints"
    assert find_file(server.url(), releases=releases) == fetched / "model.pth"
    assert find_file("best", releases=releases) == fetched / "best_v1.pth"
    (tmp_path / "other").write_bytes(b"mine")
    assert find_file("other", releases=releases) == Path("other")
    assert find_file(tmp_path / "other", releases=releases) == tmp_path / "other"
    assert len(server.asked) == 2
    with pytest.raises(
        UserError,
        match=(
            "^none.pth does not exist: give the path .*, or one of the known releases: best, other$"
        ),
    ):
        find_file("none.pth", releases=releases)


def test_does_not_import_torch():
    code = "import sys, nunif.download; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
    )


def test_the_tries_of_a_hub_s_client_are_no_lines_of_ours(caplog):
    client = logging.getLogger("huggingface_hub.utils._http")
    with quiet_hub():
        client.warning("Retrying in 1s [Retry 1/5].")
    client.warning("Another word.")
    assert caplog.messages == ["Another word."]
