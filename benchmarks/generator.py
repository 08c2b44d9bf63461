"""From a 1080p film to records, everything but the depth network."""

import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from benchmarks.inputs import constant_depth, street_disparity, write_film
from benchmarks.setting import Setting
from inpaint import generate, generate_crops
from inpaint.generate_plan import RecordPlan
from inpaint.generate_views import Draws
from inpaint.options_data import GenerateOptions
from nunif import records
from nunif.timing import interleave, rows
from nunif.video import shots
from nunif.video.reader import VideoReader
from scene import depth_network

SEQ, SKIP, CLIPS = 16, 120, 3
FILM_FRAMES = CLIPS * (SEQ + SKIP)
# Of clips in turn: the short side, and the angle where the picture is turned.
VIEWS: tuple[tuple[int, float | None], ...] = ((1080, None), (1080, 30.0), (720, None))

# What a stage is: where the functions stand that do it. Those that this version does not have are
# passed over.
STAGES: dict[str, list[tuple[Any, str]]] = {
    "decode": [(VideoReader, "read")],
    "cuts": [(shots, "find_cuts")],
    "geometry": [(generate, "render_view")],
    "depth input": [(depth_network, "prepare")],
    "depth normalisation": [(generate, "_estimate")],
    "holes": [
        (generate_crops, name)
        for name in ("find_hidden_in_both_views", "hidden_in_both_views", "shift_of_view", "hidden")
    ],
    "crop": [(generate_crops, "random_hard_tile"), (generate_crops, "clean_crop")],
    "PNG": [(records, "encode_rgb"), (records, "encode_binary")],
    "files": [(generate_crops, "write_record")],
}


def run(setting: Setting) -> dict[str, Any]:
    """CPU seconds a record, records a minute, the share of each stage, and the peak of memory over
    the film's length."""
    film = write_film(setting.scratch / "film.mp4", FILM_FRAMES, keyframe_every=48)
    out = setting.scratch / "records"
    alternatives: dict[str, Callable[[], Any]] = {
        "ours": lambda: make(film, out, workers=1),
        "ours, 2 workers": lambda: make(film, out, workers=2),
    }
    if setting.peer:
        from benchmarks import peer

        disparity = setting.scratch / "street.npy"
        np.save(disparity, street_disparity(392, 700))
        alternatives |= peer.generators(
            setting.peer, film, disparity, setting.scratch / "peer", VIEWS
        )
    timings = interleave(alternatives, rounds=setting.rounds, name="generator")
    table = rows(timings, baseline="ours", unit="record", count=2 * CLIPS)
    for row in table:
        row["records_per_minute"] = 60_000 / row["wall_ms"]["median"]
    return {"rows": table, "stages": stages(film, out), "peaks": peaks(setting.scratch)}


def make(film: Path, out: Path, *, workers: int, clips: int = CLIPS) -> None:
    """All records of the film's first clips."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    options = GenerateOptions(
        dataset_dir=film,
        data_dir=out,
        model_type="MotionParallax",
        skip_interval=SKIP,
        seq=SEQ,
        max_workers=workers,
    )
    with mock.patch.object(generate, "draw_clip", usual_draws):
        counts = generate.generate_from_video(film, constant_depth(), options)
    assert sum(counts.values()) >= 2 * clips, counts


def usual_draws(plan: RecordPlan, clip: int) -> Draws:
    """The same work in every round and for the peer, whatever the film's hash is: a divergence of
    4, no mapping."""
    size, angle = VIEWS[clip % len(VIEWS)]
    return Draws(size, angle, cv2.INTER_CUBIC, (0.0, 0.9), 0.5, "none", 0)


def stages(film: Path, out: Path) -> list[dict[str, Any]]:
    """CPU milliseconds of a record in each stage, not counting the stages inside it."""
    with ExitStack() as stack:
        spent = stack.enter_context(stage_clocks())
        make(film, out, workers=1)
    return [{"stage": name, "cpu_ms": 1000 * spent[name] / (2 * CLIPS)} for name in STAGES]


@contextmanager
def stage_clocks() -> Iterator[dict[str, float]]:
    """While the block runs, the functions of STAGES add up the CPU seconds of their threads."""
    spent: dict[str, float] = defaultdict(float)
    inside = threading.local()

    def timed(name: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            stack = inside.__dict__.setdefault("stack", [])
            begin = time.thread_time()
            stack.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                took, of_others = time.thread_time() - begin, stack.pop()
                spent[name] += took - of_others
                if stack:
                    stack[-1] += took

        return call

    with ExitStack() as stack:
        for name, places in STAGES.items():
            for owner, attribute in [place for place in places if hasattr(*place)]:
                stack.enter_context(
                    mock.patch.object(owner, attribute, timed(name, getattr(owner, attribute)))
                )
        yield spent


def peaks(scratch: Path) -> list[dict[str, Any]]:
    """Peak resident memory of a process that makes the records of a film, by the film's length."""
    result = []
    for clips in (CLIPS, 4 * CLIPS):
        film = write_film(scratch / f"film{clips}.mp4", clips * (SEQ + SKIP), keyframe_every=48)
        code = (
            "import torch, sys; from pathlib import Path; from benchmarks import generator, "
            "timing; "
            "torch.set_num_threads(1); generator.make(Path(sys.argv[1]), Path(sys.argv[2]), "
            f"workers=1, clips={clips}); "
            "print(timing.peak_mb())"
        )
        words = [sys.executable, "-c", code, str(film), str(scratch / "peak-records")]
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        result.append(
            {"clips": clips, "frames": clips * (SEQ + SKIP), "peak_mb": float(output.split()[-1])}
        )
    return result
