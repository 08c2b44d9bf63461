"""Records read out of shards are those of folders, wherever the shards lie, and what is damaged is
named."""

import logging
import pickle
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from nunif.errors import UserError
from nunif.record_list import join
from nunif.record_scan import scan_records
from nunif.records import BadRecord, Plane, Storage, read_plane, write_record
from nunif.seed import derive_seed
from nunif.shards import commands
from nunif.shards.options import CacheSettings
from tests.open_files import refuse_open_files

pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e .[shards]")
fsspec = pytest.importorskip("fsspec", reason="shards need fsspec: pip install -e .[shards]")
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from nunif.shards import store  # noqa: E402
from nunif.shards.index import read_index, write_index  # noqa: E402

TABLE = commands.CREATE_TRAINING_DATA
PLANES = (Plane("C", Storage.RGB8, "frames"), Plane("M", Storage.BINARY, "masks"))
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Six records in folders, one of them without masks, and the same in three shards."""
    from nunif.cli import run

    folder = tmp_path_factory.mktemp("packed")
    for number in range(6):
        frames = 12 if number in (0, 4) else 8
        clip = RNG.integers(0, 256, (frames, 16, 20, 3), dtype=np.uint8)
        planes = {"C": clip} if number == 4 else {"C": clip, "M": clip[..., 0] < 60}
        write_record(folder / "records" / f"r.{number}", planes, {})
    words = ("pack", "-i", folder / "records", "-o", folder / "train", "--shard-bytes", "72kB")
    assert run(TABLE, [str(word) for word in words]) == 0
    assert len(list((folder / "train").glob("*.tar"))) == 3
    return folder


@pytest.fixture
def shards(packed, tmp_path):
    """Shards of one's own, to be spoilt."""
    return Path(shutil.copytree(packed / "train", tmp_path / "train"))


def pictures(found):
    return {
        record.path.name: [read_plane(record, x, record.numbers).tobytes() for x in record.letters]
        for record in found
    }


def test_all_is_as_of_folders(packed):
    folders, _ = scan_records(packed / "records", PLANES)
    found, bad = scan_records(packed / "train", PLANES)
    assert bad == [] and pictures(found) == pictures(folders)
    for one, other in zip(found, folders, strict=True):
        assert (one.numbers, one.size, one.letters) == (other.numbers, other.size, other.letters)
    assert (
        found.keys().tolist()
        == folders.keys().tolist()
        == [derive_seed(f"r.{i}") for i in range(6)]
    )
    part = read_plane(found[1], "M", ["0003", "0001"], slice(2, 9), slice(3, 5))
    assert np.array_equal(part, read_plane(folders[1], "M", ["0003", "0001"])[:, 2:9, 3:5])
    for how in ({"min_frames": 9}, {"min_size": (17, 8), "min_frames": 1}):
        lists = []
        for name in ("records", "train"):
            with suppress(UserError):
                good, bad = scan_records(packed / name, PLANES, **how)
                lists.append(
                    ([r.path.name for r in good], [(b.record.name, b.reason) for b in bad])
                )
        assert lists[:1] == lists[1:]


def test_one_read_for_a_record_or_for_less_where_that_saves_a_third(packed, monkeypatch):
    reads = []
    real = store.LocalStore.read
    monkeypatch.setattr(
        store.LocalStore,
        "read",
        lambda self, name, start, stop: reads.append(stop - start) or real(self, name, start, stop),
    )
    found, _ = scan_records(packed / "train", PLANES)
    whole = pq.read_table(packed / "train" / "index.parquet")["length"].to_pylist()[0]
    for letter in "MC":
        read_plane(found[0], letter, found[0].numbers[2:11])
    assert reads == [whole]
    for letter in "MC":
        read_plane(found[0], letter, found[0].numbers[4:9])
    assert reads == [whole], "all of it is there"
    read_plane(found[1], "M", ["0000"])
    for letter in "MC":
        read_plane(found[0], letter, found[0].numbers[4:9][::-1])
    assert len(reads) == 3 and reads[2] < whole / 2


def test_processes_that_load_open_files_of_their_own(packed):
    found, _ = scan_records(packed / "train", PLANES, cache=CacheSettings())
    before = pictures(found)
    sent = pickle.dumps(found)
    assert pictures(pickle.loads(sent)) == before and len(sent) < 5000


def test_another_machine_makes_a_copy_of_the_index_of_its_own(packed, tmp_path):
    found, _ = scan_records(packed / "train", PLANES)
    sent = pickle.dumps(found)
    shutil.rmtree(tmp_path / "cache")
    assert pictures(pickle.loads(sent)) == pictures(found)
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) == 1


def test_lists_are_joined_repeated_and_chosen_from(packed):
    folders, _ = scan_records(packed / "records", PLANES)
    found, _ = scan_records(packed / "train", PLANES)
    both = join([folders[:2].times(2), found[4:]])
    names = [record.path.name for record in both]
    assert names == ["r.0", "r.1", "r.0", "r.1", "r.4", "r.5"]
    assert [both.name(index) for index in range(6)] == names
    assert both.copies().tolist() == [0, 0, 1, 1, 0, 0]
    assert both.keys().tolist() == [derive_seed(name) for name in names]
    masked = both.where(lambda record: record.has("M"))
    assert [record.path.name for record in masked] == [*names[:4], "r.5"]
    assert both[-1].path == found[5].path and len(both[1:3]) == 2


# --- where they lie -------------------------------------------------------------------------------


@pytest.fixture
def memory(packed):
    far = fsspec.filesystem("memory")
    for path in (packed / "train").iterdir():
        far.pipe(f"/bucket/train/{path.name}", path.read_bytes())
    yield far
    far.store.clear()


def test_nothing_that_is_open_is_renamed(packed, memory, tmp_path, monkeypatch):
    """Which Windows refuses."""
    refuse_open_files(monkeypatch)
    expected = pictures(scan_records(packed / "records", PLANES)[0])
    cache = CacheSettings(tmp_path / "copies", 1 << 30)
    for place in (packed / "train", Path("memory://bucket/train")):
        assert pictures(scan_records(place, PLANES, cache=cache)[0]) == expected


def test_file_and_memory_and_copies_on_first_use(packed, memory, tmp_path):
    expected = pictures(scan_records(packed / "records", PLANES)[0])
    assert pictures(scan_records(Path(f"file://{packed}/train"), PLANES)[0]) == expected
    found, _ = scan_records(Path("memory://bucket/train"), PLANES)
    assert pictures(found) == expected and pictures(pickle.loads(pickle.dumps(found))) == expected
    most = sum(path.stat().st_size for path in sorted((packed / "train").glob("*.tar"))[1:])
    cache = CacheSettings(tmp_path / "copies", most)
    found, _ = scan_records(Path("memory://bucket/train"), PLANES, cache=cache)
    assert pictures(found) == expected
    copies = sorted((tmp_path / "copies").glob("*/*.tar"))
    assert len(copies) == 2 and sum(path.stat().st_size for path in copies) <= most
    assert all(path.read_bytes() == memory.cat(f"/bucket/train/{path.name}") for path in copies)
    # a copy is read, no connection needed
    memory.rm(f"/bucket/train/{copies[1].name}")
    read_plane(found[5], "C", ["0000"])


def test_stores_that_are_busy_are_asked_again(packed, memory, monkeypatch):
    waits, asked = [], []
    monkeypatch.setattr(store.time, "sleep", waits.append)
    real = type(memory).cat_file

    def busy(self, path, start=None, end=None, **more):
        asked.append(path)
        if len(asked) < 3:
            raise RuntimeError("503, slow down")
        return real(self, path, start=start, end=end, **more)

    found, _ = scan_records(Path("memory://bucket/train"), PLANES)
    monkeypatch.setattr(type(memory), "cat_file", busy)
    assert read_plane(found[0], "C", ["0000"]).shape == (1, 16, 20, 3)
    assert len(asked) == 3 and waits == [0.5, 1.0]
    monkeypatch.setattr(type(memory), "cat_file", lambda *_, **__: b"less")
    with pytest.raises(BadRecord, match="train-000001.tar gave 4 bytes, [0-9]+ were asked for"):
        read_plane(found[2], "C", ["0000"])

    def broken(*_, **__):
        raise ConnectionError("reset")

    monkeypatch.setattr(type(memory), "cat_file", broken)
    text = r"memory://bucket/train/r.2: 0000_C.png can't be read \(train-000001.tar: no answer"
    with pytest.raises(BadRecord, match=text):
        read_plane(found[2], "C", ["0000"])


@pytest.mark.parametrize(
    "place, text",
    [
        ("memory://bucket/none", "memory://bucket/none holds no index.parquet"),
        ("nonsense://bucket/x", "nonsense://bucket/x can't be read: Protocol not known: nonsense"),
    ],
)
def test_addresses_that_lead_nowhere(place, text, tmp_path):
    for cache in (None, CacheSettings(tmp_path / "copies", 1000)):
        with pytest.raises(UserError, match=text):
            scan_records(Path(place), PLANES, cache=cache)


def test_a_store_without_permission_or_driver(memory, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(type(memory), "info", refuse)
    monkeypatch.setattr(type(memory), "ls", refuse)
    with pytest.raises(UserError, match=r"its store gives no permission \(403 Forbidden\)"):
        scan_records(Path("memory://bucket/train"), PLANES)

    def lacking(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacking)
    text = r"s3://bucket/x needs a package that is not installed \(Install s3fs to access S3\)"
    with pytest.raises(UserError, match=text):
        scan_records(Path("s3://bucket/x"), PLANES)


# --- damage ---------------------------------------------------------------------------------------


def test_a_damaged_record_is_named_with_its_shard_and_the_others_are_read(shards):
    path = shards / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    found, bad = scan_records(shards, PLANES)
    assert bad == [] and len(found) == 6
    with pytest.raises(
        BadRecord, match="r.2: 0000_C.png can't be read .train-000001.tar is damaged"
    ):
        read_plane(found[2], "C", found[2].numbers)
    read_plane(found[3], "C", found[3].numbers)


def test_missing_and_short_shards_are_one_line_each(shards):
    (shards / "train-000001.tar").unlink()
    path = shards / "train-000002.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    found, bad = scan_records(shards, PLANES)
    assert [record.path.name for record in found] == ["r.0", "r.1", "r.4"]
    assert {str(problem.record.name): (problem.count, problem.reason[:33]) for problem in bad} == {
        "train-000001.tar": (2, "this shard is missing, and with it"[:33]),
        "train-000002.tar": (1, "it ends at byte "[:16] + bad[1].reason[16:33]),
    }


def test_an_index_of_other_shards(shards):
    path, other = shards / "train-000000.tar", shards / "train-000001.tar"
    data = path.read_bytes()
    path.write_bytes(other.read_bytes() + bytes(len(data)))
    found, _ = scan_records(shards, PLANES)
    with pytest.raises(BadRecord, match="train-000000.tar"):
        read_plane(found[0], "C", ["0000"])


def rewrite(shards, about=None, **columns):
    table, old = read_index(shards / "index.parquet")
    for name, change in columns.items():
        at = table.column_names.index(name)
        column = [change(value) for value in table.column(name).to_pylist()]
        field = table.schema.field(name)
        table = table.set_column(at, field, pa.array(column, field.type))
    write_index(shards / "index.parquet", table, **{**old, **(about or {})})


@pytest.mark.parametrize(
    "change, text",
    [
        ({"about": {"version": 3}}, "is of version 3, this program knows up to 2"),
        ({"about": {"of": "folders"}}, "is an index of folders, not of shards"),
        ({"record": lambda name: f"../{name}"}, r"names the record '\.\./r\.0', which can't be"),
        ({"record": lambda name: "a/b"}, "names the record 'a/b', which can't be a folder's"),
        ({"shard": lambda name: f"../{name}"}, "names the file '../train-000000.tar', which can't"),
        ({"offset": lambda number: -512}, "has wrong numbers for the record r.0"),
        ({"starts": lambda numbers: numbers[1:]}, "has wrong numbers for the record r.0"),
        (
            {"offset": lambda number: number + (1 << 40)},
            "none of its 6 records can be used, the fi",
        ),
    ],
)
def test_an_index_that_cant_be_right(shards, change, text):
    rewrite(shards, **change)
    with pytest.raises(UserError, match=text):
        scan_records(shards, PLANES)


def test_no_index_and_one_that_is_none(shards):
    (shards / "index.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match="index.parquet can't be read"):
        scan_records(shards, PLANES)
    (shards / "index.parquet").unlink()
    text = "holds no index.parquet: run create_training_data.py index"
    with pytest.raises(UserError, match=text):
        scan_records(shards, PLANES)


def test_what_exclude_names_is_left_out(shards, caplog):
    caplog.set_level(logging.INFO)
    (shards / "exclude.txt").write_text("r.1\n\nr.9\n r.3 \n")
    found, bad = scan_records(shards, PLANES)
    assert [record.path.name for record in found] == ["r.0", "r.2", "r.4", "r.5"] and bad == []
    assert caplog.messages == [
        f"{shards}: exclude.txt leaves out 2 records",
        f"{shards}: exclude.txt names 1 records that are not there, r.9 first",
    ]


def test_a_changed_index_is_read_again(shards, run):
    assert len(scan_records(shards, PLANES)[0]) == 6
    (shards / "train-000002.tar").unlink()
    code, _, lines = run(TABLE, "index", shards)
    line = f"{shards / 'train-000002.tar'} is missing: its 2 records leave the index"
    assert code == 0 and line in lines
    found, bad = scan_records(shards, PLANES)
    assert len(found) == 4 and bad == []


# --- folders --------------------------------------------------------------------------------------


def test_folders_by_their_index_as_long_as_their_names_are_the_same(packed, tmp_path, run, caplog):
    folder = Path(shutil.copytree(packed / "records", tmp_path / "r"))
    (folder / "r.3" / "0002_M.png").unlink()
    (folder / "r.2" / "0000_C.png").write_bytes(b"")
    (folder / "r.5" / "0004_C.png").write_bytes(b"")
    listed = scan_records(folder, PLANES, quick=True)
    code, _, lines = run(TABLE, "index", folder)
    assert code == 0 and lines[-1] == f"{folder / 'index.parquet'}: 6 records"
    caplog.clear()
    found, bad = scan_records(folder, PLANES, quick=True)
    assert caplog.messages == [f"records by {folder / 'index.parquet'}"]
    assert [(b.record.name, b.reason) for b in bad] == [
        ("r.2", "0000_C.png can't be read (not a PNG picture)"),
        ("r.3", "0002_M.png is missing"),
    ]
    for good, problems in (listed, (found, bad)):
        assert [record.path.name for record in good] == ["r.0", "r.1", "r.4", "r.5"]
        assert [str(problem) for problem in problems] == [str(problem) for problem in bad]
        # the rest is looked at when it is first drawn
        with pytest.raises(BadRecord, match="r.5: 0004_C.png can't be read .not a PNG picture"):
            read_plane(good[3], "C", ["0001"])
        read_plane(good[0], "C", ["0001"])
    shutil.move(folder / "r.1", tmp_path / "elsewhere")
    caplog.clear()
    found, bad = scan_records(folder, PLANES, quick=True)
    assert "its list of records is another: run create_training_data.py index" in caplog.text
    assert [record.path.name for record in found] == ["r.0", "r.4", "r.5"]
