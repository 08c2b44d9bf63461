"""Every command that reads films refuses interlaced ones with advice, or makes them whole: no
record holds combs."""

import cv2
import numpy as np
import pytest

from inpaint.commands import CREATE_TRAINING_DATA, INPAINT
from inpaint.dataset import scan_records
from nunif.records import read_plane
from tests.nunif.test_deinterlace import INTERLACED, combs
from tests.videos import write_clip

OPTIONS = dict(fps=25, options=INTERLACED | {"x264-params": "tff=1"}, num_b_frames=0)
ADVICE = "use --deinterlace, which makes whole ones of them"


def woven_scene(count=24, *, width=192, height=108):
    """A textured bar that moves 3 pixels from field to field before a still texture."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(
        rng.integers(60, 200, (9, 16, 3)).astype(np.uint8),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    frames = []
    for number in range(count):
        frame = scene.copy()
        for field in (0, 1):
            left = 10 + 3 * (2 * number + field) % 120
            frame[field::2, left : left + 40] = 255 - scene[field::2, left : left + 40] // 4
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", woven_scene(), **OPTIONS)


COMMANDS = {
    "video_inpaint": "--model-type MotionParallax --seq 8 --size 128 --skip-interval 0 --gpu -1",
    "frames": "--size 108x192 --seq 8",
    "inpaint": "--size 108 --every 0.1",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_records_hold_no_combs(run, film, tmp_path, command):
    words = ["-i", film, "-o", tmp_path / "train", "--prefix", "p", *COMMANDS[command].split()]
    code, _, lines = run(CREATE_TRAINING_DATA, command, *words)
    assert code == 1 and any(ADVICE in line for line in lines)
    assert not [path for path in (tmp_path / "train").glob("*") if not path.name.startswith(".")]
    assert run(CREATE_TRAINING_DATA, command, *words, "--deinterlace")[0] == 0
    records, bad = scan_records(tmp_path / "train")
    assert records and not bad
    for record in records:
        for frame in read_plane(record, "C", record.numbers):
            assert combs(frame[..., 1]) < 1.5


def test_evaluation(run, film, tmp_path):
    words = [
        "-i",
        film,
        "--baselines",
        "previous-frame",
        "--holes",
        "static",
        "--frames",
        "8",
        "--size",
        "36x64",
        "--gpu",
        "-1",
    ]
    _, out, lines = run(INPAINT, "evaluate", *words)
    assert any(ADVICE in line for line in lines) and "previous-frame" not in out
    code, out, lines = run(INPAINT, "evaluate", *words, "--deinterlace")
    assert code == 0 and "previous-frame" in out and not any(ADVICE in line for line in lines)
