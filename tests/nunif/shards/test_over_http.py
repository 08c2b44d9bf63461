"""Shards behind a web server that answers with parts of files, and now and then fails to."""

import http.server
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from nunif.cli import run as run_command
from nunif.record_scan import scan_records
from nunif.records import BadRecord, Plane, Storage, read_plane, write_record
from nunif.shards import commands, store

pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e .[shards]")
pytest.importorskip("aiohttp", reason="fsspec reads https by aiohttp: pip install aiohttp")
PLANES = (Plane("C", Storage.RGB8, "frames"),)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, and its list. server.faults: what becomes of the next answers with parts:
    "busy", "cut", "short", else as it should be."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        wanted, path = self.headers["Range"], Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        body = path.read_bytes()[first : last + 1]
        fault = self.server.faults.pop(0) if self.server.faults else ""
        self.server.answers.append(fault)
        if fault == "busy":
            self.send_error(503)
            return
        body = body[:-7] if fault == "short" else body
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{path.stat().st_size}")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "WAITS", (0.0, 0.0, 0.0))

    def handler(*words):
        return Handler(*words, directory=str(tmp_path))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.faults, server.answers = [], []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_same_pictures_whatever_the_server_does(server, tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (8, 16, 20, 3), dtype=np.uint8)
    for number in range(3):
        write_record(tmp_path / "records" / f"r{number}", {"C": clip + number}, {})
    words = ["pack", "-i", tmp_path / "records", "-o", tmp_path / "train"]
    assert run_command(commands.CREATE_TRAINING_DATA, [str(word) for word in words]) == 0
    address = f"http://127.0.0.1:{server.server_address[1]}/train"
    found, bad = scan_records(Path(address), PLANES)
    found = pickle.loads(pickle.dumps(found))  # as a loading process gets them
    assert len(found) == 3 and bad == []
    faults = ["busy", "cut", "", "cut", "busy", "busy", ""]
    server.faults[:], server.answers[:] = faults, []
    for number in range(2):
        assert np.array_equal(read_plane(found[number], "C", found[0].numbers), clip + number)
    assert server.answers == faults
    server.faults[:] = ["short", "busy", "busy", "busy", "busy"]
    text = f"{address}/r2: 0000_C.png can't be read"
    for reason in ("train-000000.tar gave [0-9]+ bytes, [0-9]+ were asked for", "no answer"):
        with pytest.raises(BadRecord, match=rf"{text} \(.*{reason}"):
            read_plane(found[2], "C", found[0].numbers)
    assert np.array_equal(read_plane(found[2], "C", found[0].numbers), clip + 2)
