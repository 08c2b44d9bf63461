"""Films that are damaged or odd: an error in one line or the frames that decode, and no record of
frames across a gap.

Every frame carries its number in its pixels (`tests.videos.numbered_frame`). What the reader makes
of such files by itself is in tests/nunif/test_video.py.
"""

import json
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import numpy as np
import pytest

from inpaint import generate
from inpaint.commands import CREATE_TRAINING_DATA
from nunif.records import read_info
from nunif.video import shots
from nunif.video.reader import BrokenVideo, VideoReader, find_gaps
from tests import videos
from tests.faults.processes import busy
from tests.inpaint.test_generate import make
from tests.videos import number_of, write_clip
from tests.whole_matrix import WHOLE

ROOT = Path(__file__).resolve().parents[2]
SEQ, FPS, FRAMES = 8, 24, 48

# --- each kind of bad film, through the generator -------------------------------------------------


def lose_frames(path: Path, lost: set[int]) -> Path:
    """The film without some of its frames; the others stay at their times."""
    kept = [number for number in range(FRAMES) if number not in lost]
    frames = [videos.numbered_frame(number) for number in kept]
    return write_clip(path, frames, times=kept, time_base=Fraction(1, FPS))


def bare(path: Path, **settings) -> Path:
    """Without B-frames, and hardly compressed, so that packets are frames in order and damage hits
    something."""
    return write_clip(path, FRAMES, num_b_frames=0, options={"crf": "12"}, **settings)


ODD = {
    # name: (how it is made, which clips are made of the six (by the number of their first frame),
    # why the others are not)
    "truncated.mp4": (
        lambda path: videos.truncate(bare(path, container_options={"movflags": "faststart"}), 0.6),
        [0, 8, 16],
        {},
    ),
    "rotten.mp4": (
        lambda path: videos.damage_packet(bare(path, gop=12), 26),
        [0, 8, 16, 40],
        {shots.BROKEN: 4},
    ),
    "rotten.mkv": (
        lambda path: videos.damage_packet(bare(path, gop=12), 26),
        [0, 8, 16, 40],
        {shots.BROKEN: 4},
    ),
    "a frame lost.mkv": (lambda path: lose_frames(path, {20}), [0, 8, 25, 33], {shots.GAP: 2}),
    "a second lost.mp4": (
        lambda path: lose_frames(path, set(range(12, 36))),
        [0, 40],
        {shots.GAP: 2},
    ),
    "rotated.mp4": (lambda path: videos.set_rotation(bare(path), 90), [0, 8, 16, 24, 32, 40], {}),
    "vertical.mp4": (lambda path: bare(path, width=64, height=96), [0, 8, 16, 24, 32, 40], {}),
    "odd 444.mp4": (
        lambda path: bare(path, pixel_format="yuv444p", width=97, height=63),
        [0, 8, 16, 24, 32, 40],
        {},
    ),
    "ten bits.mp4": (
        lambda path: bare(path, pixel_format="yuv420p10le"),
        [0, 8, 16, 24, 32, 40],
        {},
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_a_bad_film_gives_the_clips_that_are_whole(tmp_path, monkeypatch, caplog, name):
    write, firsts, reasons = ODD[name]
    path, seen = write(tmp_path / name), []
    read_clips = generate.read_clips

    def watched(reader, *arguments):
        for item in read_clips(reader, *arguments):
            if isinstance(item, generate.Clip):
                frames = [
                    np.rot90(frame.rgb, reader.info.orientation.degrees // 90)
                    for frame in item.frames
                ]
                seen.append([number_of(frame) for frame in frames])
            yield item

    monkeypatch.setattr(generate, "read_clips", watched)
    # x264 doesn't always give the same bytes, and the draws follow from them: with others now and
    # then a clip comes out next to no hole
    monkeypatch.setattr(generate, "film_hash", lambda _: "0123abcd")
    caplog.set_level("INFO")
    counts = make(path, tmp_path / "out", seq=SEQ, skip_interval=0, size=64)
    assert seen == [list(range(first, first + SEQ)) for first in firsts]
    skipped = {
        key.removeprefix("skipped: "): count
        for key, count in counts.items()
        if key.startswith("skipped")
    }
    assert skipped == reasons
    assert counts["made"] == 2 * len(firsts)
    starts = {
        round(read_info(record)["start_seconds"] * FPS) for record in (tmp_path / "out").glob("p_*")
    }
    assert starts == {number - min(firsts) for number in firsts}
    assert all(reason in caplog.messages[-1] for reason in reasons)
    if name.startswith(("truncated", "rotten")):
        assert any(f"{path} can't be decoded from" in message for message in caplog.messages)


def test_frames_that_come_at_any_time_are_no_gaps(tmp_path):
    """Variable frame rate: 36 of 48 pictures are kept, and nothing is called missing."""
    times = np.cumsum([0] + [10, 35, 120, 33] * 12)[:FRAMES].tolist()
    path = write_clip(tmp_path / "a.mkv", FRAMES, times=times, time_base=Fraction(1, 1000))
    counts = make(path, tmp_path / "out", seq=SEQ, skip_interval=0, size=64)
    # where the pattern jumps far it is taken for a cut
    assert counts["made"] > 0 and counts["made"] + counts[f"skipped: {shots.CUT}"] == 2 * (
        36 // SEQ
    )


def test_half_of_sixty_frames(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 2 * FRAMES, fps=60)
    counts = make(path, tmp_path / "out", seq=SEQ, skip_interval=0, size=64)
    assert counts == {"kept": 0, "made": 12}


@pytest.mark.parametrize(
    "times, gaps",
    [
        ([0, 1, 2, 3, 4, 5], []),
        ([0, 1], []),
        ([*range(20), *range(21, 30)], [20]),
        ([*range(20), *range(26, 50), *range(51, 60)], [20, 44]),
        ([*range(20), 19.4, *range(20, 40)], [20, 21]),  # a picture at a wrong time
        ([number + 0.1 * (number % 2) for number in range(30)], []),  # times in whole milliseconds
        ([0, 0.4, 1.8, 2.2, 6, 6.4, 9, 10], []),
        (
            [number * 1.25 for number in range(24)] + [30 + number for number in range(24)],
            [],
        ),  # 24 and 30 joined
    ],
)
def test_gaps(times, gaps):
    assert find_gaps(np.array(times, dtype=float) / 24) == gaps


def test_a_few_frames_of_a_group_that_are_missing(tmp_path, run):
    """The command `frames` reads films too."""
    path = lose_frames(tmp_path / "a.mkv", {20})
    words = ["frames", "-i", path, "-o", tmp_path / "out", "--seq", SEQ, "--size", "64x96"]
    code, _, lines = run(CREATE_TRAINING_DATA, *words)
    assert code == 0 and any("1 missing frames" in line for line in lines), lines
    found = sorted(
        read_info(record)["frames"][0] for record in (tmp_path / "out").iterdir() if record.is_dir()
    )
    assert found == [0, 8, 24, 32]


SAID = {
    "missing.mp4": (lambda path: None, "doesn't exist: check the path"),
    "empty.mp4": (Path.touch, "is empty (0 bytes): copy or download it again"),
    "text.mp4": (lambda path: path.write_text("no video\n" * 99), "isn't a video"),
    "no index.mp4": (
        lambda path: videos.truncate(write_clip(path), 0.5),
        "cut off before its index was written",
    ),
    "sound.m4a": (videos.write_sound, "no picture stream, only sound or cover art"),
    "short.mp4": (
        lambda path: write_clip(path, 5),
        "has 5 frames at up to 30 per second, one record takes 16",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_gives_no_record_is_said_in_one_line(tmp_path, run, name):
    make_film, text = SAID[name]
    make_film(tmp_path / name)
    words = [
        "video_inpaint",
        "-i",
        tmp_path / name,
        "-o",
        tmp_path / "out",
        "--model-type",
        "MotionParallax",
    ]
    code, _, lines = run(CREATE_TRAINING_DATA, *words)
    assert (
        code == 1 and lines[-1].startswith("error: ") and name in lines[-1] and text in lines[-1]
    ), lines
    assert not list((tmp_path / "out").glob("p_*")) if (tmp_path / "out").exists() else True


# --- damaged at random ----------------------------------------------------------------------------

FILMS = {
    "b.mp4": dict(gop=12, container_options={"movflags": "faststart"}),
    "p.mp4": dict(gop=48, num_b_frames=0),
    "open.mp4": dict(
        gop=12,
        num_b_frames=3,
        options={"preset": "fast", "crf": "18", "x264-params": "open-gop=1:scenecut=0"},
    ),
    "b.mkv": dict(gop=12),
    "b.ts": dict(gop=12),
    # without times in them nobody can tell that a picture was lost: these must only not crash
    "raw.h264": dict(gop=12),
    "a.avi": dict(gop=12, num_b_frames=0),
}
WITH_TIMES = (".mp4", ".mkv", ".ts")
NUM_FILES = 500 if WHOLE else 150
MAX_SECONDS = 60  # for one film, of which a sound one takes a tenth of a second
# A flipped bit may give another picture that is coded correctly. No decoder can tell, so a few of
# these may be there.
MAX_UNTOLD = 0.01


def damage(clean: bytes, rng: random.Random) -> bytes:
    """Mostly flipped bits; also noise, zeros, and pieces that are missing or there twice."""
    data = bytearray(clean)
    kind = rng.choice(["flip"] * 8 + ["noise", "zeros", "drop", "double", "cut"])
    at, length = rng.randrange(len(data)), rng.choice([8, 64, 188, 512, 2048])
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 2, 4, 8, 16, 64])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "noise":
        data[at : at + length] = rng.randbytes(len(data[at : at + length]))
    elif kind == "zeros":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == "drop":
        del data[at : at + length]
    elif kind == "double":
        data[at:at] = data[at : at + length]
    else:
        del data[at:]
    return bytes(data)


def read_all(paths: list[Path]):
    """The outcome of every film, read by one process after another: a crash or a hang takes one
    film, and is told."""
    waiting = list(paths)
    while waiting:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.read_films"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        lines: Queue[str] = Queue()
        reading = Thread(target=_pass_on, args=(process.stdout, lines), daemon=True)
        reading.start()
        try:
            process.stdin.write("".join(f"{path}\n" for path in waiting))
            process.stdin.close()
            while waiting:
                try:
                    line = lines.get(timeout=busy(MAX_SECONDS))
                except Empty:
                    yield {"path": str(waiting.pop(0)), "hung": True}
                    break
                if not line:
                    yield {"path": str(waiting.pop(0)), "crashed": process.wait()}
                    break
                yield json.loads(line)
                waiting.pop(0)
        finally:
            process.kill()
            process.wait()
            reading.join()


def _pass_on(stream, lines: Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def faults_of(outcome: dict) -> str:
    """What is wrong with the clips of a damaged film, empty if nothing."""
    offsets = set()
    for clip in outcome["clips"]:
        numbers, times = zip(*clip)
        steps = np.diff(times) * FPS
        if np.abs(steps - 1).max() > 0.1:
            return f"a gap in a record: frames {numbers} at {times}"
        if list(numbers) != list(range(numbers[0], numbers[0] + SEQ)):
            return f"other pictures than belong there: frames {numbers}"
        offsets.add(round(numbers[0] - times[0] * FPS))
    for start, end, num_pictures in outcome.get("records", []):
        if abs((end - start) * FPS - (SEQ - 1)) > 0.1 or num_pictures != 2 * SEQ:
            return f"a record of {num_pictures} pictures from {start} s to {end} s"
    return "" if len(offsets) < 2 else f"clips at other times than in the film: {offsets}"


def test_bits_flipped_anywhere_give_an_error_or_sound_records(tmp_path):
    clean = {}
    for name, settings in FILMS.items():
        clean[name] = write_clip(
            tmp_path / name, FRAMES, **{"options": {"crf": "18"}, **settings}
        ).read_bytes()
    paths = []
    for seed in range(NUM_FILES):
        name = list(FILMS)[seed % len(FILMS)]
        paths.append(tmp_path / f"{seed}-{name}")
        paths[-1].write_bytes(damage(clean[name], random.Random(seed)))
    sound, outcomes = {}, {}
    for outcome in read_all([tmp_path / name for name in FILMS] + paths):
        path = Path(outcome["path"])
        assert not {"hung", "crashed", "traceback"} & outcome.keys(), f"seed {path.name}: {outcome}"
        (sound if path.name in FILMS else outcomes)[path] = outcome
    for path, outcome in sound.items():
        assert outcome["counts"] == {"kept": 0, "made": 2 * FRAMES // SEQ}, outcome
        assert len(outcome.get("records", range(12))) == 12, outcome
        assert path.suffix not in WITH_TIMES or not faults_of(outcome), outcome
    untold, num_made = [], 0
    for path, outcome in outcomes.items():
        if "error" in outcome:
            assert str(path) in outcome["error"] and "\n" not in outcome["error"], (
                f"seed {path.name}: {outcome}"
            )
            continue
        num_made += outcome["counts"].get("made", 0)
        if path.suffix in WITH_TIMES and (fault := faults_of(outcome)):
            assert fault.startswith("other pictures"), f"seed {path.name}: {fault}"
            untold.append(f"seed {path.name}: {fault}")
    assert len(untold) <= MAX_UNTOLD * NUM_FILES, untold
    assert num_made > NUM_FILES  # of the twelve of each, the damage takes a part


@pytest.mark.parametrize("which", range(20, 47, 3))
def test_a_stream_that_damage_makes_up_ends_no_process(tmp_path, which):
    """One bit of a packet of a transport stream, which then belongs to a stream that there is
    not."""
    path = bare(tmp_path / "a.ts")
    data = bytearray(path.read_bytes())
    # of pictures
    starts = [
        at for at in range(0, len(data), 188) if data[at + 1] & 0x5F == 0x41 and data[at + 2] == 0
    ]
    assert len(starts) == FRAMES
    data[starts[which] + 2] ^= 2
    path.write_bytes(data)
    with VideoReader(path) as reader:
        assert which <= len(reader) < FRAMES and [
            number_of(frame.rgb) for frame in reader.read(0, 12)
        ] == list(range(12))
        assert reader.broken_at is not None or find_gaps(reader.times)


def test_macroblocks_that_are_patched_up_are_damage(tmp_path):
    """A packet that ends early decodes without an error: its rest is copied from the frame
    before."""
    path = bare(tmp_path / "a.mp4", gop=24)
    position, size, _, _ = videos.packets_of(path)[30]
    data = bytearray(path.read_bytes())
    for at in range(position + size // 2, position + size):
        data[at] ^= 0x55
    path.write_bytes(data)
    with VideoReader(path) as reader:
        found = []
        for number in range(FRAMES):
            try:
                found += [number_of(frame.rgb) for frame in reader.read(number, number + 1)]
            except BrokenVideo:
                continue
    assert found == [*range(30)]
