"""Whether a live stream's memory stays flat: python -m benchmarks.live_memory -o FILE.json

Frames of a made-up camera go through all of `python -m layers live` (the thread that holds the
newest, finder and filler in two more, the output), with the networks that come along or with
stand-ins that cost nothing, and the resident memory is looked at on the way.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import machine
from layers.runtime.live import show_live
from layers.runtime.live_source import Ending, Latest, Seen, Source
from layers.runtime.stream import RemoveStream
from nunif.device import create_device
from nunif.files import write_json
from nunif.options import parse_size


def resident_mb() -> float:
    """Of this process, now. Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class StandIn:
    """Takes the middle of every frame for a person, and paints it grey."""

    def find(self, frame: np.ndarray) -> np.ndarray:
        hole = np.zeros(frame.shape[:2], bool)
        hole[len(hole) // 4 : -len(hole) // 4] = True
        return hole

    def fill(self, frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
        return np.where(hole[..., None], np.uint8(128), frame)

    def reset_finder(self) -> None: ...

    def reset_filler(self) -> None: ...

    def check_size(self, height: int, width: int) -> None: ...


def camera(
    num_frames: int, size: tuple[int, int], looks: list[dict[str, Any]], *, num_looks: int
) -> Iterator[Seen]:
    """Noise over a wall, and every 50 frames another light; each some looks at the memory."""
    rng = np.random.default_rng(0)
    wall = rng.integers(40, 200, (*size, 3), np.uint8)
    begin = time.monotonic()
    marks = {round((num_frames - 1) * part / num_looks) for part in range(num_looks + 1)}
    for number in range(num_frames):
        frame = wall + rng.integers(0, 12, wall.shape, np.uint8) + np.uint8(number // 50 % 20)
        if number in marks:
            looks.append(
                {
                    "frame": number,
                    "resident_mb": round(resident_mb(), 1),
                    "minutes": round((time.monotonic() - begin) / 60, 2),
                }
            )
            print(looks[-1], file=sys.stderr, flush=True)
        yield Seen(lambda rgb=frame: rgb, number / 25, time.monotonic())  # type: ignore[misc]


def measure(stream: Any, num_frames: int, size: tuple[int, int], num_looks: int) -> dict[str, Any]:
    """What the memory was on the way. Pictures go to the standard output."""
    looks: list[dict[str, Any]] = []
    frames = camera(num_frames, size, looks, num_looks=num_looks)
    ending = Ending()
    # none is dropped, so that so many are worked on
    with Latest(Source("camera", 25, frames, waits=True), ending) as latest:
        problem = show_live(stream, latest, ending, "-", rate=25, waits=True)
    if problem is not None:
        raise problem
    # a tenth in, all caches are full
    settled, last = looks[num_looks // 10]["resident_mb"], looks[-1]["resident_mb"]
    return {
        "frames": num_frames,
        "size": list(size),
        "looks": looks,
        "grown_mb_after_a_tenth": round(last - settled, 1),
        "kb_a_frame": round(1000 * (last - settled) / (0.9 * num_frames), 3),
    }


def add(result: dict[str, Any], name: str, found: dict[str, Any]) -> None:
    """Enter what was found, with a row for each look."""
    result[name] = found
    result["load_after"] = round(os.getloadavg()[0], 2)
    height, width = found["size"]
    result["rows"] += [
        {
            "what": f"{name}, {width}x{height}, frame {look['frame']}",
            "resident_mb": look["resident_mb"],
        }
        for look in found["looks"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live_memory", description="how the memory of a live stream grows"
    )
    parser.add_argument("--frames", type=int, default=10_000, help="through the networks; 0: none")
    parser.add_argument(
        "--stand-in-frames", type=int, default=100_000, help="through stand-ins; 0: none"
    )
    parser.add_argument("--size", default="64x96", help="height x width of the frames")
    parser.add_argument("--looks", type=int, default=20, help="at the memory, on the way")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    words = parser.parse_args()
    size = parse_size(words.size)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"name": "live_memory", **machine(create_device(-1)), "rows": []}
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = nowhere
        if words.stand_in_frames:
            add(result, "stand-ins", measure(StandIn(), words.stand_in_frames, size, words.looks))
            write_json(words.output, result)
        if words.frames:
            stream = RemoveStream.open(gpu=-1)
            add(result, "networks", measure(stream, words.frames, size, words.looks))
            write_json(words.output, result)
    sys.stdout = sys.__stdout__


if __name__ == "__main__":
    main()
