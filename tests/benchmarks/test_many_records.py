"""A million records are listed in little memory, which is what shards and their index are for."""

import sys

import numpy as np
import pytest

from tests.whole_matrix import in_whole_matrix

pytest.importorskip("pyarrow")

from benchmarks.many_records import LIST, child, lone_index  # noqa: E402
from nunif.records import write_record  # noqa: E402

MOST_MB = 150


@in_whole_matrix
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_million_records_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clip = np.zeros((16, 32, 32, 3), np.uint8)
    write_record(tmp_path / "one", {"C": clip, "M": clip[..., 0] > 0}, {"source": "made up"})
    folder = lone_index(tmp_path / "index", tmp_path / "one", 1_000_000)
    first, again = (child(LIST, folder, "now") for _ in range(2))
    assert first["records"] == again["records"] == 1_000_000
    assert again["private_mb"] < first["private_mb"] <= MOST_MB
