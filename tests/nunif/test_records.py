"""The record on the disk: written whole, read back, and what is wrong with it named."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from nunif.errors import UserError
from nunif.record_scan import scan_records
from nunif.records import (
    BadRecord,
    is_finished,
    open_record,
    read_plane,
    record_name,
    write_record,
)
from scene.planes import COLOUR, HOLE, PLANES

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
HOLES = RNG.random((3, 20, 24)) < 0.3
BOTH = (COLOUR, HOLE)


@pytest.fixture
def path(tmp_path):
    write_record(tmp_path / "a_X_12345678_000001", {"C": FRAMES, "M": HOLES}, {"source": "a.mp4"})
    return tmp_path / "a_X_12345678_000001"


def test_names():
    assert record_name("tears", "Any_B", "1a2b3c4d", 12) == "tears_Any_B_1a2b3c4d_000012"
    assert record_name("", "Any_B", "1a2b3c4d", 12) == "Any_B_1a2b3c4d_000012"


def test_round_trip_is_lossless(path):
    record = open_record(path, BOTH)
    assert record.numbers == ("0000", "0001", "0002") and record.size == (20, 24)
    assert np.array_equal(read_plane(record, "C", record.numbers), FRAMES)
    assert np.array_equal(read_plane(record, "M", record.numbers), HOLES)
    part = read_plane(record, "C", ["0002", "0000"], slice(3, 9), slice(1, 5))
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
    (records, bad) = scan_records(tmp_path, BOTH)
    assert [r.path.name for r in records] == [folder.name] and bad == []
    assert read_plane(records[0], "M", ["0000"])[0, 0, 0]


def test_a_record_without_masks(tmp_path):
    write_record(tmp_path / "f_000000", {"C": FRAMES}, {})
    names = sorted(p.name for p in (tmp_path / "f_000000").iterdir())
    assert names == ["0000_C.png", "0001_C.png", "0002_C.png", "record.json"]
    ((record,), bad) = scan_records(tmp_path, BOTH)
    assert (record.has("M"), len(record), bad) == (False, 3, [])
    assert np.array_equal(read_plane(record, "C", record.numbers), FRAMES)
    with pytest.raises(BadRecord, match="f_000000: it has no masks"):
        read_plane(record, "M", ["0000"])


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
    write_record(path.with_name("b_good"), {"C": FRAMES, "M": HOLES}, {})
    spoil(path)
    good, bad = scan_records(path.parent, BOTH, min_frames=3)
    assert [r.path.name for r in good] == ["b_good"]
    assert [(b.record, b.reason) for b in bad] == [(path, reason)]


def test_too_small_for_the_tile(path):
    assert open_record(path, BOTH, min_size=(20, 24)).has("M")
    for size, text in ((32, "32x32"), ((21, 8), "8x21"), ((8, 25), "25x8")):
        with pytest.raises(BadRecord, match=f"pictures of 24x20, at least {text} are needed"):
            open_record(path, BOTH, min_size=size)


def test_rot_inside_a_picture_is_found_when_it_is_read(path):
    data = bytearray((path / "0001_C.png").read_bytes())
    data[60:80] = bytes(20)
    (path / "0001_C.png").write_bytes(data)
    with pytest.raises(BadRecord, match="0001_C.png can't be read"):
        read_plane(open_record(path, BOTH), "C", ["0001"])


def test_folders_without_records(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        scan_records(tmp_path / "nowhere", BOTH)
    with pytest.raises(UserError, match="it holds no records"):
        scan_records(tmp_path, BOTH)
    (tmp_path / ".partial-x").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "stray.txt").write_text("x")
    with pytest.raises(
        UserError,
        match="none of its 1 records can be used, the first: .*empty: 0 frames, 1 are needed",
    ):
        scan_records(tmp_path, BOTH)


def test_every_plane_comes_back_exactly(tmp_path):
    """All letters at once, each stored in its own way; 16 bits keep all of theirs."""
    grey = RNG.integers(0, 256, (3, 20, 24), dtype=np.uint8)
    deep = RNG.integers(0, 65536, (3, 20, 24), dtype=np.uint16)
    deep[0, 0, :4] = 0, 1, 256, 65535
    clear = np.concatenate([FRAMES, grey[..., None]], axis=3)  # colours under alpha 0 stay
    planes = {"C": FRAMES, "M": HOLES, "A": grey, "F": FRAMES[::-1], "B": FRAMES, "O": clear}
    planes |= {"H": ~HOLES, "D": deep, "S": grey[::-1]}
    write_record(tmp_path / "a", planes, {}, {"pose.npz": b"some"})
    assert (tmp_path / "a" / "pose.npz").read_bytes() == b"some"
    assert cv2.imread(str(tmp_path / "a" / "0000_D.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    record = open_record(tmp_path / "a", tuple(PLANES.values()))
    assert record.letters == tuple("CMAFBOHDS")
    for letter, pictures in planes.items():
        whole = read_plane(record, letter, record.numbers)
        assert whole.dtype == pictures.dtype and np.array_equal(whole, pictures), letter
        part = read_plane(record, letter, ["0002", "0000"], slice(3, 9), slice(1, 5))
        assert np.array_equal(part, pictures[[2, 0], 3:9, 1:5]), letter


def test_planes_that_are_not_asked_for_are_passed_over(path):
    (path / "0001_D.png").write_text("a text")
    (path / "0009_A.png").write_text("a text")
    assert open_record(path, BOTH).letters == ("C", "M")
    with pytest.raises(BadRecord, match="0000_D.png is missing"):
        open_record(path, (COLOUR, PLANES["D"]))


def test_a_plane_of_16_bits_is_not_made_up_from_8(path):
    cv2.imwrite(str(path / "0000_D.png"), np.zeros((20, 24), np.uint8))
    for number in ("0001", "0002"):
        cv2.imwrite(str(path / f"{number}_D.png"), np.zeros((20, 24), np.uint16))
    record = open_record(path, (COLOUR, PLANES["D"]))
    assert read_plane(record, "D", ["0001", "0002"]).dtype == np.uint16
    text = r"0000_D.png can't be read \(it has 1 channels of 8 bits, one of 16 is needed\)"
    with pytest.raises(BadRecord, match=text):
        read_plane(record, "D", ["0000"])


def test_a_plane_with_alpha_is_not_made_up_from_others(tmp_path):
    """An occluder without its coverage would hide everything."""
    write_record(tmp_path / "a", {"C": FRAMES, "O": FRAMES}, {})
    record = open_record(tmp_path / "a", (COLOUR, PLANES["O"]))
    text = r"0000_O.png can't be read \(it has 3 channels of 8 bits, four of 8 are needed\)"
    with pytest.raises(BadRecord, match=text):
        read_plane(record, "O", ["0000"])


@pytest.mark.parametrize(
    "planes, text",
    [
        ({"C": FRAMES.astype(np.float32)}, "no plane holds float32 of shape"),
        ({"C": FRAMES[..., :2]}, "no plane holds uint8 of shape"),
        ({"C": FRAMES, "M": HOLES[:2]}, "planes differ in size: C .3, 20, 24, 3., M .2, 20, 24."),
    ],
)
def test_pictures_that_no_plane_holds_are_refused(tmp_path, planes, text):
    with pytest.raises(ValueError, match=text):
        write_record(tmp_path / "a", planes, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("half", ["train", "Train"])
def test_a_record_that_was_moved_is_found_from_inside_its_folder(tmp_path, monkeypatch, half):
    """As Windows has it, names of folders are the same in capitals."""
    write_record(tmp_path / "eval" / "a", {"C": FRAMES}, {"options": {"seed": 1}})
    (tmp_path / half).mkdir()
    monkeypatch.chdir(tmp_path / half)
    for folder in (Path("."), Path("..") / half, tmp_path / half):
        assert is_finished(folder, "a", {"seed": 1}) and not is_finished(folder, "b", {})
    monkeypatch.chdir(tmp_path)
    assert not is_finished(Path("."), "a", {})
