"""Pictures as JPEG XL in shards: fewer bytes, the same pixels there and back, also beside PNG."""

import io
import shutil
import sys
import tarfile

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from nunif.errors import UserError
from nunif.image import encode_grey, encode_numbers, encode_rgb, plain_pixels
from nunif.record_scan import scan_records
from nunif.records import BadRecord, Plane, Storage, read_plane, write_record
from nunif.shards import commands

pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e .[shards]")
TABLE = commands.CREATE_TRAINING_DATA
NO_CODEC = "needs the package 'imagecodecs', which is not installed: pip install -e .[jxl]"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


codecs = pytest.importorskip(
    "imagecodecs", reason="JPEG XL needs imagecodecs: pip install -e .[jxl]"
)
from nunif.jxl import decode_jxl, jxl_size, recode  # noqa: E402
from nunif.shards.index import read_index  # noqa: E402

PLANES = (
    Plane("C", Storage.RGB8, "frames"),
    Plane("M", Storage.BINARY, "masks"),
    Plane("A", Storage.GREY8, "alphas"),
    Plane("D", Storage.GREY16, "depths"),
    Plane("F", Storage.RGBA8, "foregrounds"),
)


def smooth(*shape):
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    return np.stack([cv2.GaussianBlur(picture, (0, 0), 3) for picture in noise])


def write_all(folder, name, *, seed=0):
    """A record with a plane of each kind."""
    colours = smooth(2, 96, 128, 3) + seed
    clip = colours.astype(np.uint8)
    depth = (colours[..., 0] * 200).astype(np.uint16)
    alpha = (colours[..., 1] * 0.9).astype(np.int32).astype(np.uint8)
    planes = {"C": clip, "M": clip[..., 0] < 120, "A": alpha, "D": depth}
    planes["F"] = np.concatenate([clip, clip[..., :1]], axis=-1)
    write_record(folder / name, planes, {"source": name}, {"pose.npz": b"p"})


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Three records, the last of pictures of other kinds, in folders and in shards of JPEG XL."""
    from nunif.cli import run

    place = tmp_path_factory.mktemp("jxl")
    for number, name in enumerate("ab"):
        write_all(place / "records", name, seed=number)
    write_all(place / "records", "c")
    clip = smooth(2, 96, 128, 3).astype(np.uint8)
    for number, picture in enumerate(clip):
        write = (place / "records" / "c" / f"000{number}_C.png").write_bytes
        write(bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[1]))
        write = (place / "records" / "c" / f"000{number}_M.png").write_bytes
        write(encode_rgb(picture // 64 * 64))  # a mask in colours
        write = (place / "records" / "c" / f"000{number}_A.png").write_bytes
        write(encode_numbers(picture[..., 0] // 8))  # a palette
        note, data = PngImagePlugin.PngInfo(), io.BytesIO()
        note.add_text("by", "somebody")
        Image.fromarray(np.dstack([picture, picture[..., 0]])).save(data, "PNG", pnginfo=note)
        (place / "records" / "c" / f"000{number}_F.png").write_bytes(data.getvalue())
    words = ("pack", "-i", place / "records", "--shard-bytes", "330kB", "--codec", "jxl", "-o")
    for name in ("train", "again/train"):
        assert run(TABLE, [str(word) for word in (*words, place / name)]) == 0
    return place


@pytest.fixture
def shards(packed, tmp_path):
    return shutil.copytree(packed / "train", tmp_path / "train")


@pytest.fixture
def records(packed, tmp_path):
    return shutil.copytree(packed / "records", tmp_path / "records")


def bytes_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def pictures(found):
    return {
        record.path.name: [read_plane(record, x, record.numbers).tobytes() for x in record.letters]
        for record in found
    }


def members(shard):
    with tarfile.open(shard) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_what_is_recoded_and_what_stays(packed):
    files = members(packed / "train" / "train-000000.tar")
    files = {name: data for name, data in files.items() if name.startswith("a.")}
    ends = ["A.jxl", "C.jxl", "D.jxl", "F.jxl", "M.png"]
    names = [f"a.{number}_{end}" for number in ("0000", "0001") for end in ends]
    assert list(files) == [*names, "a.pose.npz", "a.record.json"]
    assert files["a.0001_C.jxl"][:2] == b"\xff\x0a", "what other programs know"
    record = packed / "records" / "a"
    for end, most in (("A", 0.9), ("C", 0.9), ("D", 0.9), ("F", 0.9)):
        sizes = len(files[f"a.0000_{end}.jxl"]), (record / f"0000_{end}.png").stat().st_size
        assert sizes[0] < most * sizes[1]
    # a palette and one with a note stay as they are, to the byte
    last = members(sorted((packed / "train").glob("*.tar"))[-1])
    assert {"c.0000_A.png", "c.0000_F.png", "c.0000_C.jxl", "c.0000_M.jxl"} <= last.keys()
    assert last["c.0001_F.png"] == (packed / "records" / "c" / "0001_F.png").read_bytes()


def test_packed_twice_the_same_shards_and_unpacked_the_same_pixels(run, packed, tmp_path):
    assert bytes_of(packed / "again" / "train") == bytes_of(packed / "train")
    code, _, lines = run(TABLE, "unpack", "-i", packed / "train", "-o", tmp_path / "back")
    assert code == 0 and lines[-1].endswith("made 3, kept 0, left out 0, damaged 0")
    back, before = bytes_of(tmp_path / "back"), bytes_of(packed / "records")
    assert back.keys() == before.keys()
    for name, data in before.items():
        same = back[name] == data
        one, other = (plain_pixels(x) for x in (back[name], data))
        assert same or np.array_equal(one, other) and one.dtype == other.dtype, name
    # of records that this program made, the very bytes
    assert all(back[name] == data for name, data in before.items() if name.startswith("a"))
    folders, found = (scan_records(tmp_path / p, PLANES)[0] for p in ("back", packed / "records"))
    assert pictures(folders) == pictures(found)


def test_all_is_read_as_of_folders_as_whatever_plane(packed):
    for planes in (PLANES, PLANES[::-1], (Plane("M", Storage.GREY8, "masks"),)):
        folders, _ = scan_records(packed / "records", planes)
        found, bad = scan_records(packed / "train", planes)
        assert bad == [] and pictures(found) == pictures(folders)
        one, other = (
            read_plane(each[0], planes[0].letter, ["0001"], slice(3, 9), slice(20, 31))
            for each in (found, folders)
        )
        assert one.dtype == other.dtype and np.array_equal(one, other)


def test_png_and_jpeg_xl_beside_each_other(run, packed, records, shards):
    write_all(records, "d", seed=9)
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", shards)
    assert code == 0 and lines[-1] == "4 records: packed 1, kept 3, left out 0"
    assert "d.0000_C.png" in members(sorted(shards.glob("*.tar"))[-1])
    found, bad = scan_records(shards, PLANES)
    assert bad == [] and pictures(found) == pictures(scan_records(records, PLANES)[0])
    index = (shards / "index.parquet").read_bytes()
    (shards / "index.parquet").unlink()
    assert run(TABLE, "index", shards)[0] == 0
    assert (shards / "index.parquet").read_bytes() == index, "read off the shards"
    # a program that knows no JPEG XL says so, and reads what has none
    assert read_index(shards / "index.parquet")[1]["version"] == 2
    plain = records.parent / "plain"
    assert run(TABLE, "pack", "-i", records, "-o", plain)[0] == 0
    assert read_index(plain / "index.parquet")[1]["version"] == 1


def test_delete_looks_at_the_pixels(run, records, shards):
    changed = records / "b" / "0001_C.png"
    picture = plain_pixels(changed.read_bytes()).copy()
    picture[5, 6] ^= 1
    changed.write_bytes(encode_rgb(picture))
    written = records / "a" / "0000_C.png"  # the same in other bytes
    written.write_bytes(bytes(cv2.imencode(".png", cv2.imread(str(written)))[1]))
    words = ("pack", "-i", records, "-o", shards, "--codec", "jxl", "--delete")
    code, _, lines = run(TABLE, *words)
    assert code == 0 and [path.name for path in records.iterdir()] == ["b"]
    assert any(f"{records / 'b'} is kept: it has changed" in line for line in lines)


def test_an_interrupted_run_is_finished_by_the_same_command(run, packed, records, tmp_path):
    words = ("pack", "-i", records, "--shard-bytes", "330kB", "--codec", "jxl", "-o")
    out = tmp_path / "out" / "train"
    out.mkdir(parents=True)
    shutil.copy(packed / "train" / "train-000000.tar", out)
    assert run(TABLE, *words, out)[0] == 0 and bytes_of(out) == bytes_of(packed / "train")
    (out / "index.parquet").unlink()
    picture = encode_rgb(smooth(1, 96, 128, 3)[0].astype(np.uint8) // 2)
    (records / "a" / "0000_C.png").write_bytes(picture)
    code, _, lines = run(TABLE, *words, out)
    assert code == 1 and "holds other records than these, and is in no index" in lines[-1]


def test_damage_is_named(run, packed, records, shards, tmp_path):
    path = sorted(shards.glob("*.tar"))[0]
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\x0a") + 900
    data[at] ^= 1
    path.write_bytes(data)
    found, _ = scan_records(shards, PLANES)
    for numbers in (["0000"], ["0001"]):  # of whatever part
        with pytest.raises(BadRecord, match="a: 0000_A.png can't be read|a: 0001_A.png can't"):
            read_plane(found[0], "A", numbers)
    code, _, lines = run(TABLE, "unpack", "-i", shards, "-o", tmp_path / "back")
    assert code == 1 and any("is not what the index knows" in line for line in lines)
    # a PNG that is damaged goes in as it is, and is named when it is drawn
    picture = bytearray((records / "a" / "0000_C.png").read_bytes())
    picture[60] ^= 1
    (records / "a" / "0000_C.png").write_bytes(picture)
    words = ("pack", "-i", records, "-o", tmp_path / "more", "--codec", "jxl")
    assert run(TABLE, *words)[0] == 0
    found, _ = scan_records(tmp_path / "more", PLANES)
    with pytest.raises(BadRecord, match="a: 0000_C.png can't be read .damaged"):
        read_plane(found[0], "C", ["0000"])
    read_plane(found[0], "A", ["0000"])
    # a name that a shard has for something else
    (records / "b" / "0000_C.jxl").write_bytes(b"")
    code, _, lines = run(TABLE, "pack", "-i", records, "-o", tmp_path / "third")
    assert "left out: " in lines[-3] and "0000_C.jxl would be taken for a picture" in lines[-3]


def test_without_the_package_shards_are_refused_at_the_start(run, shards, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    line = f"reading the JPEG XL pictures of {shards} {NO_CODEC}"
    with pytest.raises(UserError) as error:
        scan_records(shards, PLANES)
    assert str(error.value) == line
    code, _, lines = run(TABLE, "unpack", "-i", shards, "-o", tmp_path / "back")
    assert code == 1 and lines[-1] == f"error: {line}"
    monkeypatch.undo()
    monkeypatch.setattr(codecs.JPEGXL, "available", False)
    code, _, lines = run(TABLE, "pack", "-i", shards.parent, "-o", tmp_path, "--codec", "jxl")
    assert code == 1 and "which the imagecodecs that is installed was built without" in lines[-1]


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (16, 8), (120, 160), (513, 7), (40, 50), (90, 160), (1025, 2050)]
)
def test_the_size_stands_at_the_beginning(size):
    picture = np.zeros(size, np.uint8)
    data = recode(encode_grey(picture))
    assert jxl_size(data) == size and np.array_equal(decode_jxl(data), picture)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\x0a", b"\xff\x0a" + bytes(40), b"\xff\x0a" + b"\xff" * 40, b"\xff\xd8\xff" * 9],
)
def test_what_is_no_picture(data):
    with pytest.raises(ValueError):
        decode_jxl(data)
    whole = recode(encode_rgb(smooth(1, 40, 50, 3)[0].astype(np.uint8)))
    for length in (3, 20, len(whole) - 1):
        with pytest.raises(ValueError):
            decode_jxl(whole[:length])
