"""Records with bad pictures: named once, left out, counted, and training goes on; too many of them
stop it with a list.

What is wrong with a single record is in tests/inpaint/test_records.py, samples of a toy in
tests/nunif/test_training.py.
"""

import csv
import os
import random
import shutil
import signal
import struct
import zlib

import cv2
import numpy as np
import pytest

from inpaint.commands import INPAINT, TRAIN
from inpaint.dataset import PLANES, EvalSet, scan_records
from inpaint.task import VideoInpaintTask
from nunif.image import PNG_END, PNG_SIGNATURE, encode_binary, encode_rgb, read_grey, read_rgb
from nunif.records import BadRecord, open_record, read_plane
from nunif.training.task import BadSample, Draw
from nunif.training.trainer import train
from tests.inpaint.test_train import equal, state_of, words
from tests.nunif.test_training import Points, ToyTask, make_options
from tests.records import make_records

pytestmark = pytest.mark.usefixtures("small_networks", "no_curves")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("originals"), 3, frames=12, size=48)


def fill(folder, originals, count):
    """A dataset of many records; only as many as there are originals take room on the disk."""
    paths = [folder / f"r_Test_00000000_{number:06d}" for number in range(count)]
    for number, path in enumerate(paths):
        path.mkdir(parents=True)
        for file in originals[number % len(originals)].iterdir():
            os.link(file, path / file.name)
    return paths


def put(path, data):
    """Replace a file; the original it may be a link to stays."""
    path.unlink()
    path.write_bytes(data)


def rot(path):
    """Zeros in the middle of a picture, whose beginning and end are as they should be."""
    data = bytearray(path.read_bytes())
    length = len(data) // 8
    data[len(data) // 2 : len(data) // 2 + length] = bytes(length)
    put(path, data)


def png(width, height):
    """A picture of a few bytes that claims a size."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + PNG_END
    )


def smaller(path):
    put(path, encode_binary(np.zeros((40, 48), bool)))


# found by looking at names and first and last bytes, before training
SCANNED = {
    "truncated": (
        lambda r: put(r / "0004_C.png", (r / "0004_C.png").read_bytes()[:-30]),
        r"0004_C.png can't be read \(trunc",
    ),
    "not a picture": (
        lambda r: put(r / "0005_C.png", b"<html>not found</html>"),
        r"0005_C.png can't be read \(not a PNG",
    ),
    "a smaller mask": (
        lambda r: smaller(r / "0006_M.png"),
        "0006_M.png is 48x40, the first frame 48x48",
    ),
    "a frame gone": (lambda r: (r / "0007_C.png").unlink(), "0007_C.png is missing"),
    "a JPEG": (
        lambda r: put(r / "0001_C.png", cv2.imencode(".jpg", np.zeros((48, 48, 3)))[1].tobytes()),
        "not a PNG",
    ),
    "a folder": (
        lambda r: ((r / "0002_M.png").unlink(), (r / "0002_M.png").mkdir()),
        "0002_M.png can't be read",
    ),
    "a size beyond all": (
        lambda r: put(r / "0003_C.png", png(10**5, 10**5)),
        "0003_C.png is 100000x100000, the first",
    ),
    "cut short": (
        lambda r: [(r / f"{n:04d}_{x}.png").unlink() for n in (10, 11) for x in "CM"],
        "10 frames, 12 are needed",
    ),
}
# found when the pictures are decoded
DECODED = {
    "rotten frames": lambda r: [rot(file) for file in r.glob("*_C.png")],
    "rotten masks": lambda r: [rot(file) for file in r.glob("*_M.png")],
    "frames of a size beyond all": lambda r: [
        put(file, png(10**5, 10**5)) for file in r.glob("*.png")
    ],
    "frames that changed": lambda r: [
        put(r / f"{n:04d}_C.png", encode_rgb(np.zeros((50, 48, 3), np.uint8))) for n in range(12)
    ],
}


@pytest.mark.parametrize("kind", SCANNED)
def test_what_a_look_at_the_files_finds(tmp_path, originals, kind):
    spoil, message = SCANNED[kind]
    bad, good = fill(tmp_path, originals, 2)
    spoil(bad)
    records, problems = scan_records(tmp_path, min_frames=12, min_size=32)
    assert [record.path for record in records] == [good] and [
        problem.record for problem in problems
    ] == [bad]
    with pytest.raises(BadRecord, match=message):
        open_record(bad, PLANES, min_frames=12)


@pytest.mark.parametrize("kind", DECODED)
def test_what_is_found_while_decoding(tmp_path, originals, kind):
    (path,) = fill(tmp_path, originals, 1)
    record = open_record(path, PLANES)
    if kind == "frames of a size beyond all":
        DECODED[kind](path)
        record = open_record(path, PLANES)
    else:
        DECODED[kind](path)
    with pytest.raises(BadRecord, match=r"\d{4}_[CM].png (can't be read|has changed its size)"):
        read_plane(record, "M", record.numbers), read_plane(record, "C", record.numbers)
    with pytest.raises(BadSample, match="r_Test_00000000_000000: "):
        EvalSet([record], 12, (32, 32), {"occlusion": 1.0}).sample(0)


@pytest.mark.parametrize("kind", ["frame", "mask"])
def test_flipped_bits_are_found_or_change_nothing(tmp_path, originals, kind):
    """A PNG has checksums."""
    name, read = ("0003_C.png", read_rgb) if kind == "frame" else ("0003_M.png", read_grey)
    clean, truth, found = (originals[0] / name).read_bytes(), read(originals[0] / name), 0
    for seed in range(300):
        rng = random.Random(seed)
        data = bytearray(clean)
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / name).write_bytes(data)
        try:
            assert np.array_equal(read(tmp_path / name), truth), f"seed {seed}"
        except ValueError:
            found += 1
    assert found > 280


def bad_five(paths):
    """Spoil five records here and there; how each is named, and what is said of it."""
    kinds = ("truncated", "not a picture", "a smaller mask", "rotten frames", "rotten masks")
    spoilt = dict(zip(kinds, paths[9::19], strict=False))
    for kind, path in spoilt.items():
        (SCANNED[kind][0] if kind in SCANNED else DECODED[kind])(path)
    return spoilt


def small_words(data, model_dir, records, *more):
    """Every record once an epoch."""
    base = [str(word) for word in words(data, model_dir, length=None)]
    base[base.index("--num-samples") + 1] = str(12 * records)
    return [*base, "--disable-hard-example", *more]


def rows_of(model_dir):
    with open(model_dir / "loss.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_five_bad_records_of_a_hundred(run, caplog, originals, tmp_path, num_workers):
    """Trained on as single pictures, which goes fast."""
    data = tmp_path / "data"
    paths = fill(data / "train", originals, 100)
    spoilt = bad_five(paths)
    assert len(spoilt) == 5
    (bad_eval, *_) = fill(data / "eval", originals, 2)
    DECODED["rotten frames"](bad_eval)
    bad_eval = bad_eval.rename(bad_eval.with_name("evening_scene"))
    arguments = small_words(
        data, tmp_path / "m", 97, "--max-epoch", "2", "--num-workers", num_workers
    )
    arguments.remove("--video")
    arguments[arguments.index("--num-samples") + 1] = "97"
    code, _, lines = run(TRAIN, *arguments)
    assert code == 0, lines
    lines = caplog.messages
    for kind, path in spoilt.items():
        named = [line for line in lines if str(path) in line]
        last = "training samples were left out: " in named[-1]
        assert len(named) == 1 + last and ".png" in named[0], (kind, named)
    assert len([line for line in lines if "evening_scene" in line]) == 1, "over two evaluations"
    # whatever isn't seen from names alone and one picture shows when a record is first drawn
    counts = [int(row["skipped"]) for row in rows_of(tmp_path / "m")]
    at_start = [line for line in lines if line.startswith("left out: ") and "of 100" in line]
    assert sum(counts) + sum(int(line.split()[2]) for line in at_start) == 5
    assert any(f"{sum(counts)} of" in line and "left out" in line for line in lines)


def test_a_resumed_run_with_rotten_records_ends_with_the_same_bits(
    run, originals, tmp_path, monkeypatch
):
    data = tmp_path / "data"
    paths = fill(data / "train", originals, 8)
    for path in paths[3], paths[6]:
        rot(path / "0006_C.png")
    fill(data / "eval", originals, 1)
    arguments = ["--max-epoch", "2", "--learning-rate", "1e-3"]
    assert run(TRAIN, *small_words(data, tmp_path / "whole", 8, *arguments))[0] == 0
    real, steps = VideoInpaintTask.train_step, []

    def stop_at_five(*values):
        steps.append(1)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGINT)
        return real(*values)

    monkeypatch.setattr(VideoInpaintTask, "train_step", stop_at_five)
    assert (
        run(TRAIN, *small_words(data, tmp_path / "cut", 8, *arguments, "--num-workers", "2"))[0]
        == 130
    )
    code, _, lines = run(
        TRAIN, *small_words(data, tmp_path / "cut", 8, *arguments, "--num-workers", "1", "--resume")
    )
    # the bad ones are drawn once, and the batch of the window that was cut twice
    assert code == 0 and len(steps) == 6 + 8 + 1
    assert any("2 of 8 training samples were left out" in line for line in lines)
    (weights, training), (other_weights, other_training) = (
        state_of(tmp_path / "whole"),
        state_of(tmp_path / "cut"),
    )
    assert equal(weights, other_weights) and equal(
        training["optimizer"], other_training["optimizer"]
    )
    assert (
        training["state"]["bad"] == other_training["state"]["bad"]
        and len(training["state"]["bad"]) == 2
    )


def test_more_than_a_share_stops_with_the_list(run, originals, tmp_path):
    data = tmp_path / "data"
    paths = fill(data / "train", originals, 10)
    for path in paths[:6]:
        (path / "0003_M.png").unlink()
    fill(data / "eval", originals, 1)
    words = small_words(data, tmp_path / "m", 4, "--max-epoch", "1", "--num-workers", "0")
    code, _, lines = run(TRAIN, *words)
    assert code == 1 and not (tmp_path / "m").exists()
    assert (
        "train: 6 of 10 records can't be used: mend or remove them, or allow more with "
        "--max-bad-share" in lines[-1]
    )
    assert (
        all(f"{path.name}: 0003_M.png is missing" in lines[-1] for path in paths[:5])
        and "and 1 more" in lines[-1]
    )
    assert run(TRAIN, *words, "--max-bad-share", "0.6")[0] == 0
    for path in paths[1:6]:
        shutil.rmtree(path)
    assert run(TRAIN, *words, "--max-bad-share", "0")[0] == 1


def test_more_than_a_share_found_while_training_stops_and_can_be_resumed(run, originals, tmp_path):
    data = tmp_path / "data"
    paths = fill(data / "train", originals, 8)
    for path in paths[:3]:
        rot(path / "0006_C.png")
    fill(data / "eval", originals, 1)
    words = small_words(data, tmp_path / "m", 8, "--max-epoch", "2", "--num-workers", "0")
    code, _, lines = run(TRAIN, *words, "--max-bad-share", "0.25")
    assert (
        code == 1
        and "3 of 8 training samples can't be read: mend or remove them, or allow more with --max-b"
        in lines[-1]
    )
    assert all(f"{path.name}: 0006_C.png can't be read" in lines[-1] for path in paths[:3])
    code, _, lines = run(TRAIN, *words, "--resume")
    assert code == 0 and len(rows_of(tmp_path / "m")) == 2, lines


class Twice(Points):
    """Every sample is in the set twice."""

    def __getitem__(self, draw):
        if draw.index % 5 == 2:
            raise BadSample("point-2", f"its picture {draw.seed} is torn")
        return super().__getitem__(Draw(draw.index % 5, draw.seed))


def test_a_record_that_is_drawn_twice_as_often_is_named_once(tmp_path, caplog):
    task = ToyTask()
    task.train_set = Twice(10)
    train(task, make_options(tmp_path, num_samples=40, max_epoch=2))
    assert caplog.text.count("training sample point-2 is left out: its picture") == 1


def test_looking_at_records_passes_over_thevening_scene_ones(run, originals, tmp_path):
    paths = fill(tmp_path / "data", originals, 3)
    rot(paths[1] / "0000_C.png")
    code, _, lines = run(
        INPAINT, "contact-sheet", "-i", tmp_path / "data", "-o", tmp_path / "sheet.png"
    )
    assert code == 0 and f"2 of 3 records: {tmp_path / 'sheet.png'}" in lines
    assert len([line for line in lines if str(paths[1]) in line]) == 1
    code, table, lines = run(
        INPAINT,
        *[
            "evaluate",
            "-i",
            tmp_path / "data",
            "-o",
            tmp_path / "scores",
            "--tile-size",
            "32",
            "--gpu",
            "-1",
        ],
    )
    assert (
        code == 0
        and len([line for line in lines if str(paths[1]) in line]) == 1
        and "telea" in table
    )
    for path in paths:
        rot(path / "0000_C.png")
    code, _, lines = run(
        INPAINT, "contact-sheet", "-i", tmp_path / "data", "-o", tmp_path / "none.png"
    )
    assert code == 1 and "none of the 3 records that were looked at can be read" in lines[-1]
