"""Films without end: memory stays flat, and whatever came before a cut is forgotten at it, to the
bit.

Axes: H W pixels, 3 = R G B.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from inpaint.commands import INPAINT
from inpaint.runtime import apply
from inpaint.runtime.backends import TorchBackend
from inpaint.runtime.stream import HoleFrame, InpaintStream
from nunif.models import load_model
from nunif.video.reader import VideoReader
from nunif.video.writer import write_video
from tests.models import less_to_trace

MODEL = Path(__file__).resolve().parents[2] / "pretrained_models" / "memory_dstt_v1_tiny.pth"
CPU = torch.device("cpu")
SIZE = (32, 32)
CUTS = [2_000, 3_900]
NUM_FRAMES = 4_000
FLAT = 8 * 2**20  # bytes; the frames alone are more, and so are 300 of the real model's memories

needs_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="how much memory is in use is read from /proc"
)


class Echo:
    """Computes next to nothing and remembers every frame a little, as far back as single precision
    reaches."""

    device, window, size, multiple, description = CPU, None, None, None, "echo"

    def __init__(self) -> None:
        self.in_use: list[int] = []  # bytes, before each step

    def step(self, masked, memory):
        self.in_use.append(bytes_in_use())
        seen = masked.mean(dim=(2, 3), keepdim=True)  # (1, 3, 1, 1)
        memory = seen if memory is None else 0.9 * memory + 0.1 * seen
        return memory.expand_as(masked), memory


def bytes_in_use() -> int:
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * 4096 if path.exists() else 0


def frame_at(number: int) -> np.ndarray:
    """(H, W, 3) uint8: a slope that trembles; every shot has another colour."""
    shot = sum(number >= cut for cut in CUTS)
    frame = np.empty((*SIZE, 3), np.uint8)
    frame[:] = [(30, 40, 20), (200, 60, 190), (90, 220, 80)][shot]
    frame[..., shot] += np.arange(SIZE[0], dtype=np.uint8)[:, None] + np.uint8(number * 7 % 11)
    return frame


def film(path: Path, first: int) -> Path:
    write_video(
        path,
        map(frame_at, range(first, NUM_FRAMES)),
        fps=30,
        codec="ffv1",
        pixel_format="yuv444p",
        crf=None,
    )
    return path


@pytest.fixture
def fill(run, monkeypatch, tmp_path):
    """The command `apply` with that backend: the filled frames from a number on, and the
    backend."""
    mask = np.zeros(SIZE, np.uint8)
    mask[4:12, 4:12] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)

    def fill(source: Path, *words, first: int = 0):
        echo = Echo()
        monkeypatch.setattr(apply, "open_fillers", lambda *_, **__: [InpaintStream(echo)])
        out = tmp_path / "out.mkv"
        words = (
            "-i",
            source,
            "--mask",
            tmp_path / "mask.png",
            "-o",
            out,
            "--model",
            MODEL,
            "--codec",
            "ffv1",
            *words,
        )
        assert run(INPAINT, "apply", *words)[0] == 0
        with VideoReader(out) as reader:
            return np.stack(
                [frame.rgb for number, frame in enumerate(reader) if number >= first]
            ), echo

    return fill


@pytest.mark.slow
def test_four_thousand_frames_of_a_film(fill, tmp_path):
    """Its last shot is that of a film of which nothing came before; memory is flat behind the first
    thousand."""
    after, echo = fill(film(tmp_path / "long.mkv", 0), first=CUTS[-1])
    alone, _ = fill(film(tmp_path / "short.mkv", CUTS[-1]))
    assert len(echo.in_use) == NUM_FRAMES and len(alone) == NUM_FRAMES - CUTS[-1]
    assert np.array_equal(after, alone)
    growth = echo.in_use[-1] - echo.in_use[1_000]
    assert growth < FLAT, f"{growth / 2**20:.1f} MiB more behind 4,000 frames than behind 1,000"


def test_without_cuts_the_shot_before_reaches_into_the_next(fill, tmp_path):
    source = film(tmp_path / "short.mkv", CUTS[-1] - 20)
    after, kept = fill(source)[0], fill(source, "--no-cuts")[0]
    difference = np.abs(after.astype(int) - kept)[:, 4:12, 4:12].mean(axis=(1, 2, 3))
    assert not difference[:20].any() and difference[20] > 50 and difference[-1] <= 1


@needs_proc
def test_the_real_model_streams_on_and_on(monkeypatch):
    """Its memory holds no past that a cut leaves behind, nothing piles up, and no number runs
    away."""
    less_to_trace(monkeypatch)
    model, _ = load_model(MODEL)
    num_frames, cut = 700, 650
    rng = np.random.default_rng(9)
    frames = rng.integers(0, 256, (31, 24, 32, 3), dtype=np.uint8)
    hole = np.zeros((24, 32), bool)
    hole[6:18, 8:20] = True

    def items(first: int, starts: int | None = None):
        return (
            HoleFrame(t, frames[t % 31], np.roll(hole, t % 13, axis=1), t == starts)
            for t in range(first, num_frames)
        )

    long, short, fresh = (InpaintStream(TorchBackend(model, device=CPU)) for _ in range(3))
    in_use, whole = [], {}
    for number, filled in long.fill(items(0, cut)):
        in_use.append(bytes_in_use())
        if number >= cut:
            whole[number] = filled
    alone = dict(fresh.fill(items(cut)))
    assert list(whole) == list(alone) and all(
        np.array_equal(whole[number], alone[number]) for number in alone
    )
    growth = in_use[-1] - in_use[200]
    assert growth < FLAT, f"{growth / 2**20:.1f} MiB more behind 700 frames than behind 200"
    assert all(torch.isfinite(x).all() for x in [*long._memory.projected, *long._memory.pictures])
    uncut = dict(short.fill(items(cut - 20)))
    assert not np.array_equal(uncut[cut], alone[cut]), "without a cut the past is remembered"
