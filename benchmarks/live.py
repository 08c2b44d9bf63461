"""A live frame of 240x432: finder and filler one after the other, or side by side in two threads.

On a machine that does other things the clock says little: CPU milliseconds are the figures to
compare, and the slower step's tell how many frames a second two free cores would do.
"""

import time
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch

from benchmarks.inputs import scene
from benchmarks.setting import Setting
from layers.runtime.live import fill_each, look_through
from layers.runtime.live_source import Seen
from layers.runtime.stream import RemoveStream
from nunif.parallel import prefetch
from nunif.timing import interleave, rows
from nunif.video.reader import VideoReader, list_videos

SIZE, A_ROUND = (240, 432), 12  # frames of a round
ONE, SIDE = "one after the other", "side by side"


class Timed:
    """A stream whose steps take down their CPU milliseconds, each of its own thread."""

    def __init__(self, stream: RemoveStream) -> None:
        self._stream = stream
        self.finder: list[float] = []
        self.filler: list[float] = []
        self.holes: list[float] = []

    def find(self, frame: np.ndarray) -> np.ndarray:
        begin = time.thread_time()
        hole = self._stream.find(frame)
        self.finder.append(1000 * (time.thread_time() - begin))
        self.holes.append(float(hole.mean()))
        return hole

    def fill(self, frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
        begin = time.thread_time()
        picture = self._stream.fill(frame, hole)
        self.filler.append(1000 * (time.thread_time() - begin))
        return picture

    def reset_finder(self) -> None: ...  # rounds go on with one stream

    def reset_filler(self) -> None: ...

    def check_size(self, height: int, width: int) -> None: ...


def run(setting: Setting) -> dict[str, Any]:
    """Milliseconds of a frame, both ways; and of each step by itself."""
    torch.set_num_threads(1)  # as the command has it on two cores
    frames = list(pictures(setting))
    alternatives: dict[str, Callable[[], None]] = {}
    streams = {}
    for name in (ONE, SIDE):
        stream = Timed(RemoveStream.open(gpu=-1 if setting.device.type == "cpu" else 0))
        streams[name] = stream
        alternatives[name] = a_round(stream, frames, side_by_side=name == SIDE)
    timings = interleave(
        alternatives, rounds=setting.rounds, warm_up=1, device=setting.device, name="live"
    )
    table = rows(timings, baseline=ONE, unit="frame", count=A_ROUND)
    for row in table:
        row["per_second"] = 1000 / row["wall_ms"]["median"]
    steps = []
    for step in ("finder", "filler"):
        values = [v for stream in streams.values() for v in getattr(stream, step)[A_ROUND:]]
        p50, p95 = np.percentile(values, [50, 95]).tolist()
        steps.append({"what": f"{step}, CPU ms of its thread", "p50_ms": p50, "p95_ms": p95})
    slower = max(step["p50_ms"] for step in steps)
    share = float(np.mean([hole for stream in streams.values() for hole in stream.holes]))
    films = setting.card.films
    shown = "rendered" if films is None else f"of {films.name}"
    note = (
        f"Frames {shown}. Holes are {100 * share:.0f} % of the picture. By the CPU time of the "
        f"slower step, two cores with nothing else to do would show {1000 / slower:.1f} frames a "
        "second."
    )
    return {"rows": table, "steps": steps, "note": note, "hole_share": share}


def pictures(setting: Setting) -> list[np.ndarray]:
    """Frames of the first film that is named, scaled; else rendered ones."""
    height, width = SIZE
    if setting.card.films is None:
        return list(scene(A_ROUND, height=height, width=width, rendered=A_ROUND))
    import cv2

    path = list_videos(setting.card.films)[0]
    with VideoReader(path) as reader:
        film = (frame.rgb for frame in islice(reader, 4 * A_ROUND))
        return [cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA) for rgb in film]


def a_round(stream: Timed, frames: list[np.ndarray], *, side_by_side: bool) -> Callable[[], None]:
    """The next frames of a stream, none dropped."""
    endless = cycle(frames)

    def seen() -> Any:
        for frame in islice(endless, A_ROUND):
            yield Seen(lambda rgb=frame: rgb, 0.0, time.monotonic())  # type: ignore[misc]

    def step() -> None:
        if side_by_side:
            for _ in prefetch(fill_each(prefetch(look_through(seen(), stream)), stream)):
                pass
        else:
            for _ in fill_each(look_through(seen(), stream), stream):
                pass

    return step
