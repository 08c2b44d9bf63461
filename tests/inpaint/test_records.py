"""The record on the disk: written whole, read back, and what is wrong with it named."""

import json

import cv2
import numpy as np
import pytest

from inpaint.records import (
    BadRecord,
    open_record,
    read_frames,
    read_holes,
    record_name,
    scan_records,
    write_record,
)
from nunif.errors import UserError

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
HOLES = RNG.random((3, 20, 24)) < 0.3


@pytest.fixture
def path(tmp_path):
    write_record(tmp_path / "a_X_12345678_000001", FRAMES, HOLES, {"source": "a.mp4"})
    return tmp_path / "a_X_12345678_000001"


def test_names():
    assert record_name("tears", "Any_B", "1a2b3c4d", 12) == "tears_Any_B_1a2b3c4d_000012"
    assert record_name("", "Any_B", "1a2b3c4d", 12) == "Any_B_1a2b3c4d_000012"


def test_round_trip_is_lossless(path):
    record = open_record(path)
    assert record.numbers == ("0000", "0001", "0002") and record.size == (20, 24)
    assert np.array_equal(read_frames(record, record.numbers), FRAMES)
    assert np.array_equal(read_holes(record, record.numbers), HOLES)
    part = read_frames(record, ["0002", "0000"], slice(3, 9), slice(1, 5))
    assert np.array_equal(part, FRAMES[[2, 0], 3:9, 1:5])


def test_files_are_what_other_programs_expect(path):
    names = sorted(p.name for p in path.iterdir())
    assert names == [
        "0000_C.png",
        "0000_M.png",
        "0001_C.png",
        "0001_M.png",
        "0002_C.png",
        "0002_M.png",
        "record.json",
    ]
    assert np.array_equal(cv2.imread(str(path / "0001_C.png"))[..., ::-1], FRAMES[1])
    mask = cv2.imread(str(path / "0001_M.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(mask, HOLES[1] * np.uint8(255))
    assert json.loads((path / "record.json").read_text()) == {"source": "a.mp4"}


def test_records_of_nunifs_own_generator(tmp_path):
    """A `_0` behind the number, 8-bit masks with grey for layered holes, no record.json."""
    folder = tmp_path / "tears_Any_B_1a2b3c4d_7_0"
    folder.mkdir()
    for i in range(2):
        cv2.imwrite(str(folder / f"{i:04d}_C.png"), FRAMES[i])
        mask = HOLES[i] * np.uint8(255)
        mask[0, 0] = 128
        cv2.imwrite(str(folder / f"{i:04d}_M.png"), mask)
    (records, bad) = scan_records(tmp_path)
    assert [r.path.name for r in records] == [folder.name] and bad == []
    assert read_holes(records[0], ["0000"])[0, 0, 0]


def test_a_record_without_masks(tmp_path):
    write_record(tmp_path / "f_000000", FRAMES, None, {})
    names = sorted(p.name for p in (tmp_path / "f_000000").iterdir())
    assert names == ["0000_C.png", "0001_C.png", "0002_C.png", "record.json"]
    ((record,), bad) = scan_records(tmp_path)
    assert (record.has_masks, len(record), bad) == (False, 3, [])
    assert np.array_equal(read_frames(record, record.numbers), FRAMES)
    with pytest.raises(BadRecord, match="f_000000: it has no masks"):
        read_holes(record, ["0000"])


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda p: (p / "0001_M.png").unlink(), "0001_M.png is missing"),
        (lambda p: (p / "0001_C.png").unlink(), "0001_C.png is missing"),
        (
            lambda p: (p / "0001_C.png").write_bytes(b""),
            "0001_C.png can't be read (not a PNG picture)",
        ),
        (
            lambda p: (p / "0002_C.png").write_text("a text"),
            "0002_C.png can't be read (not a PNG picture)",
        ),
        (lambda p: truncate(p / "0000_C.png"), "0000_C.png can't be read (truncated)"),
        (
            lambda p: cv2.imwrite(str(p / "0001_M.png"), np.zeros((5, 6), np.uint8)),
            "0001_M.png is 6x5, the first frame 24x20",
        ),
        (lambda p: (p / "0002_C.png").unlink(), "0002_C.png is missing"),
        (lambda p: [(p / f"0002_{x}.png").unlink() for x in "CM"], "2 frames, 3 are needed"),
    ],
)
def test_bad_records_are_named_and_left_out(path, spoil, reason):
    write_record(path.with_name("b_good"), FRAMES, HOLES, {})
    spoil(path)
    good, bad = scan_records(path.parent, min_frames=3)
    assert [r.path.name for r in good] == ["b_good"]
    assert [(b.record, b.reason) for b in bad] == [(path, reason)]


def test_too_small_for_the_tile(path):
    assert open_record(path, min_size=(20, 24)).has_masks
    for size, text in ((32, "32x32"), ((21, 8), "8x21"), ((8, 25), "25x8")):
        with pytest.raises(BadRecord, match=f"pictures of 24x20, at least {text} are needed"):
            open_record(path, min_size=size)


def test_rot_inside_a_picture_is_found_when_it_is_read(path):
    data = bytearray((path / "0001_C.png").read_bytes())
    data[60:80] = bytes(20)
    (path / "0001_C.png").write_bytes(data)
    with pytest.raises(BadRecord, match="0001_C.png can't be read"):
        read_frames(open_record(path), ["0001"])


def test_folders_without_records(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        scan_records(tmp_path / "nowhere")
    with pytest.raises(UserError, match="it holds no records"):
        scan_records(tmp_path)
    (tmp_path / ".partial-x").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "stray.txt").write_text("x")
    with pytest.raises(
        UserError,
        match="none of its 1 records can be used, the first: .*empty: 0 frames, 1 are needed",
    ):
        scan_records(tmp_path)
