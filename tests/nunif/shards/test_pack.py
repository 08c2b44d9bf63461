"""Records into shards and out again: the same bytes, and what stands in the way named."""

import io
import shutil
import sys
import tarfile

import numpy as np
import pytest

from nunif.records import write_record
from nunif.seed import derive_seed
from nunif.shards import commands
from nunif.shards.options import parse_bytes
from tests.open_files import refuse_open_files

pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e .[shards]")
import pyarrow.parquet as pq

TABLE = commands.CREATE_TRAINING_DATA
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def as_on_windows(monkeypatch):
    """Nothing that is open is renamed or removed."""
    refuse_open_files(monkeypatch)


def make(folder, *names, frames=3, size=(12, 16)):
    for name in names:
        clip = RNG.integers(0, 256, (frames, *size, 3), dtype=np.uint8)
        holes = RNG.random((frames, *size)) < 0.3
        write_record(folder / name, {"C": clip, "M": holes}, {"source": name}, {"pose.npz": b"p"})


def bytes_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if not path.name.startswith(".")
    }


NAMES = ("a_X_01234567_000000", "b.c%_X_01234567_000001", "d_X_01234567_000002", "e" * 95)


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "data" / "train"
    make(folder, *NAMES)
    return folder


def test_there_and_back_are_the_same_bytes_and_packed_twice_the_same_shards(run, records, tmp_path):
    out = tmp_path / "shards" / "train"
    words = ("pack", "-i", records, "--shard-bytes", "31kB", "-o")
    code, _, lines = run(TABLE, *words, out)
    assert code == 0 and lines[-1] == "4 records: packed 4, kept 0, left out 0", lines
    assert sorted(bytes_of(out)) == ["index.parquet", "train-000000.tar", "train-000001.tar"]
    assert all(len(data) <= 31000 for name, data in bytes_of(out).items() if name.endswith(".tar"))
    again = tmp_path / "again" / "train"
    assert run(TABLE, *words, again)[0] == 0 and bytes_of(again) == bytes_of(out)
    code, _, lines = run(TABLE, "unpack", "-i", out, "-o", tmp_path / "back")
    assert code == 0 and bytes_of(tmp_path / "back") == bytes_of(records)
    assert lines[-1] == "2 shards: made 4, kept 0, left out 0, damaged 0"


def test_other_programs_read_them(run, records, tmp_path):
    out = tmp_path / "train"
    assert run(TABLE, "pack", "-i", records, "-o", out)[0] == 0
    with tarfile.open(out / "train-000000.tar") as tar:
        members = tar.getmembers()
        first = [member.name for member in members][:9]
        data = tar.extractfile(members[0]).read()
    stem = "a_X_01234567_000000"
    names = ["0000_C.png", "0000_M.png", "0001_C.png", "0001_M.png", "0002_C.png", "0002_M.png"]
    assert first == [*(f"{stem}.{n}" for n in (*names, "pose.npz", "record.json")),
                     "b%2Ec%25_X_01234567_000001.0000_C.png"]  # fmt: skip
    assert data == (records / stem / "0000_C.png").read_bytes()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    samples = list(webdataset.WebDataset(str(out / "train-000000.tar"), shardshuffle=False))
    keys = [sample["__key__"] for sample in samples]
    assert keys == [stem, "b%2Ec%25_X_01234567_000001", "d_X_01234567_000002", "e" * 95]
    assert samples[0]["0000_c.png"] == data and samples[0]["record.json"]


def test_the_index(run, records, tmp_path):
    out = tmp_path / "train"
    assert run(TABLE, "pack", "-i", records, "-o", out)[0] == 0
    table = pq.read_table(out / "index.parquet")
    row = table.to_pylist()[1]
    assert (row["record"], row["shard"]) == (NAMES[1], "train-000000.tar")
    assert (row["frames"], row["height"], row["width"], row["planes"]) == (3, 12, 16, "CM")
    assert row["key"] == derive_seed(NAMES[1]) and row["files"].startswith("0000_C.png/0000_M.png/")
    shard = (out / "train-000000.tar").read_bytes()
    start = row["offset"] + row["starts"][1]
    content = (records / NAMES[1] / "0000_M.png").read_bytes()
    assert shard[start : start + len(content)] == content


def test_parts_by_several_processes_are_joined(run, records, tmp_path):
    whole, parts = tmp_path / "whole" / "train", tmp_path / "parts" / "train"
    assert run(TABLE, "pack", "-i", records, "-o", whole)[0] == 0
    for share in ("1/2", "0/2", "1/2"):
        code, _, lines = run(TABLE, "pack", "-i", records, "-o", parts, "--shard", share)
        assert code == 0, lines
    assert not (parts / "index.parquet").exists()
    code, _, lines = run(TABLE, "index", parts)
    assert code == 0 and lines[-1].endswith("index.parquet: 4 records in 2 shards")
    assert {path.name for path in parts.glob("*.tar")} == {
        "train-0-000000.tar",
        "train-1-000000.tar",
    }
    columns = ["record", "length", "crc32", "files", "key"]
    joined, one = (pq.read_table(f / "index.parquet", columns=columns) for f in (parts, whole))
    assert joined.to_pylist() == one.to_pylist()


def test_an_index_that_is_lost_is_read_off_the_shards(run, records, tmp_path):
    out = tmp_path / "train"
    assert run(TABLE, "pack", "-i", records, "-o", out, "--shard-bytes", "15kB")[0] == 0
    index = (out / "index.parquet").read_bytes()
    (out / "index.parquet").unlink()
    assert run(TABLE, "index", out)[0] == 0
    assert (out / "index.parquet").read_bytes() == index


def test_more_records_go_into_more_shards(run, records, tmp_path):
    out = tmp_path / "train"
    assert run(TABLE, "pack", "-i", records, "-o", out)[0] == 0
    first = (out / "train-000000.tar").read_bytes()
    make(records, "f")
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", out, "--delete")
    assert code == 0 and lines[-1] == "5 records: packed 1, kept 4, left out 0"
    assert (out / "train-000000.tar").read_bytes() == first
    assert pq.read_table(out / "index.parquet")["record"].to_pylist() == [*NAMES, "f"]
    assert list(records.iterdir()) == [], "all of them are in shards"


def test_an_interrupted_run_is_finished_by_the_same_command(run, records, tmp_path):
    whole, out = tmp_path / "a" / "train", tmp_path / "b" / "train"
    words = ("pack", "-i", records, "--shard-bytes", "15kB", "-o")
    assert run(TABLE, *words, whole)[0] == 0
    out.mkdir(parents=True)
    shutil.copy(whole / "train-000000.tar", out)
    (out / ".partial-1-train-000001.tar").write_bytes(b"half")
    assert run(TABLE, *words, out)[0] == 0
    assert bytes_of(out) == bytes_of(whole) and not list(out.glob(".partial*"))


def test_delete_keeps_what_was_changed(run, records, tmp_path):
    out = tmp_path / "train"
    assert run(TABLE, "pack", "-i", records, "-o", out)[0] == 0
    changed = records / NAMES[0] / "record.json"
    changed.write_bytes(changed.read_bytes().replace(b"a", b"b"))
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", out, "--delete")
    assert code == 0 and [path.name for path in records.iterdir()] == [NAMES[0]]
    assert any("is kept: it has changed since it was packed" in line for line in lines)


def test_records_that_cant_be_used_are_named_and_stay(run, records, tmp_path):
    (records / NAMES[0] / "0001_M.png").unlink()
    (records / NAMES[2] / "0001_C.png").write_bytes(b"no picture")
    (records / "empty").mkdir()
    make(records, "larger", size=(20, 20))
    out = tmp_path / "train"
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", out, "--delete")
    assert code == 0 and lines[-1] == "6 records: packed 3, kept 0, left out 3"
    assert f"left out: {records / NAMES[0]}: 0001_M.png is missing" in lines
    assert any("0001_C.png can't be read (not a PNG picture)" in line for line in lines)
    assert f"left out: {records / 'empty'}: it holds no pictures" in lines
    assert sorted(path.name for path in records.iterdir()) == [NAMES[0], NAMES[2], "empty"]
    rows = pq.read_table(out / "index.parquet", columns=["record", "height"]).to_pylist()
    assert {row["record"]: row["height"] for row in rows}["larger"] == 20
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", tmp_path / "none")
    assert code == 1 and "none of its 3 records can be packed" in lines[-1]


def refused(run, *words):
    code, _, lines = run(TABLE, *words)
    assert code == 1, lines
    return lines[-1]


def test_shards_of_another_run(run, records, tmp_path):
    out = tmp_path / "train"
    assert run(TABLE, "pack", "-i", records, "-o", out)[0] == 0
    other = tmp_path / "other"
    make(other, "z")
    (out / "index.parquet").unlink()
    text = "holds other records than these, and is in no index: choose another -o, or run"
    assert text in refused(run, "pack", "-i", other, "-o", out)
    text = "holds shards of another run, train-000000.tar first"
    assert text in refused(run, "pack", "-i", other, "-o", out, "--name", "more")
    assert run(TABLE, "index", out)[0] == 0
    assert run(TABLE, "pack", "-i", other, "-o", out, "--name", "more")[0] == 0
    assert (out / "more-000000.tar").exists()
    make(tmp_path / "twin", NAMES[0], frames=2)
    text = "is not what"
    assert text in refused(run, "pack", "-i", tmp_path / "twin", "-o", out)
    # a copy beside it: two records of one name
    shutil.copy(out / "more-000000.tar", out / "more-000001.tar")
    text = "the record z is in more-000000.tar and in more-000001.tar"
    assert text in refused(run, "index", out)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "'a.0000_C.png' is no file"),
        ({"type": tarfile.CHRTYPE}, "'a.0000_C.png' is no file"),
        ({"name": "/etc/a.png"}, "'/etc/a.png' has no name of a record's file"),
        ({"name": "../a.png"}, "'../a.png' has no name of a record's file"),
        ({"name": "a"}, "'a' has no name of a record's file"),
        ({"name": "a.0000_M.png"}, "two members are called a.0000_M.png"),
    ],
)
def test_tars_with_members_that_lead_elsewhere_are_refused(run, tmp_path, change, text):
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(folder / "x.tar", "w") as tar:
        for values in ({"name": "a.0000_M.png"}, {"name": "a.0000_C.png", **change}):
            info = tarfile.TarInfo()
            for key, value in values.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(b""))
    assert text in refused(run, "index", folder)
    code, _, lines = run(TABLE, "unpack", "-i", folder, "-o", tmp_path / "out")
    assert code == 1 and any(text in line for line in lines)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name != ".lock-unpack"]


def test_a_damaged_shard_is_told_of_and_the_others_are_unpacked(run, records, tmp_path):
    out = tmp_path / "train"
    assert run(TABLE, "pack", "-i", records, "-o", out, "--shard-bytes", "10kB")[0] == 0
    shards = sorted(out.glob("*.tar"))
    assert len(shards) == 4
    data = bytearray(shards[0].read_bytes())
    data[600] ^= 1
    shards[0].write_bytes(data)
    shards[1].write_bytes(shards[1].read_bytes()[:1000])
    code, _, lines = run(TABLE, "unpack", "-i", out, "-o", tmp_path / "back")
    assert code == 1 and "not all of its records could be unpacked" in lines[-1]
    assert any(f"{NAMES[0]} in {shards[0]} is not what the index knows" in line for line in lines)
    assert any(f"{shards[1]} is no tar or damaged" in line for line in lines)
    assert {path.name for path in (tmp_path / "back").iterdir()} >= {NAMES[2], NAMES[3]}
    assert not (tmp_path / "back" / NAMES[0]).exists()


@pytest.mark.parametrize("text", ["4/4", "-1/4", "a/b", "1/0", "1"])
def test_shares_that_are_none(run, records, tmp_path, text):
    line = refused(run, "pack", "-i", records, "-o", tmp_path / "o", f"--shard={text}")
    assert line.startswith(f"error: --shard {text} is no share: write i/n")


def test_sizes_and_places(run, records, tmp_path):
    assert parse_bytes("--x", "1.5GB") == 1_500_000_000 and parse_bytes("--x", "2MiB") == 2 << 20
    line = refused(run, "pack", "-i", records, "-o", tmp_path / "o", "--shard-bytes", "much")
    assert line == (
        "error: --shard-bytes much is no size: write a number of bytes, as 1GB or 512MiB"
    )
    line = refused(run, "pack", "-i", records, "-o", "s3://bucket/x")
    assert line.startswith("error: -o s3://bucket/x is no folder of this machine")


def test_jpeg_xl_without_its_package_is_refused_with_what_to_install(
    run, records, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", tmp_path / "s", "--codec", "jxl")
    assert code == 1 and lines[-1] == (
        "error: --codec jxl needs the package 'imagecodecs', which is not installed: pip install "
        "-e .[jxl]"
    )
    assert not (tmp_path / "s").exists()
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", tmp_path / "s", "--codec", "x")
    assert code == 1 and lines[-1] == "error: --codec x is not known: choose one of png, jxl"
