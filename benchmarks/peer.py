"""The peer's own code beside ours: iw3's data generator and loader, from a checkout of
nagadomi/nunif.

Its packages are called `nunif` like ours, so it runs in a process of its own that takes its turn
between our rounds and reports its own CPU seconds. It needs torchvision and the peer's
requirements. What needs weights is replaced: the depth network by the same constant street that
ours gets (behind the same resize), the mask network by a cheap row scan. Checked with d23721f1.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

MARK = "READING "  # in front of what this reports; the peer prints too


class Peer:
    """The other process."""

    def __init__(self, checkout: Path) -> None:
        words = [sys.executable, str(Path(__file__).resolve()), str(checkout.resolve())]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=checkout
        )

    def __call__(self, what: str, *words: str) -> Any:
        """Do something there, and tell what it took."""
        # not in the other process, which runs this file too
        from nunif.timing import Elsewhere

        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, *words]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(MARK):
                return Elsewhere(*json.loads(line.removeprefix(MARK)))
        raise RuntimeError("the peer's process has ended; what it printed above says why")


def generators(
    checkout: Path,
    film: Path,
    disparity: Path,
    out: Path,
    views: Sequence[tuple[int, float | None]],
) -> dict[str, Callable[[], Any]]:
    """views: the short side and the angle of the clips in turn."""
    peer = Peer(checkout)
    words = [str(film), str(disparity), str(out), json.dumps(views)]
    return {
        "peer": lambda: peer("generate", *words, "as is"),
        "peer, its mask step replaced by ours": lambda: peer("generate", *words, "scan"),
    }


def loader(checkout: Path, folder: Path, count: int) -> Callable[[], Any]:
    peer = Peer(checkout)
    return lambda: peer("load", str(folder), str(count))


def mask(checkout: Path, disparity: Path) -> Callable[[], Any]:
    peer = Peer(checkout)
    return lambda: peer("mask", str(disparity))


def serve(checkout: str) -> None:
    """The other side: what comes in on standard input, one JSON list a line, is done and timed."""
    sys.path[0] = checkout
    import torch

    torch.set_num_threads(1)
    actions = {"generate": _generate, "load": _load, "mask": _mask}
    for line in sys.stdin:
        what, *words = json.loads(line)
        run = actions[what](*words)
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(MARK + json.dumps([wall, cpu, _peak_mb()]), flush=True)


def _constant_depth(disparity: str) -> Any:
    """A depth estimator of the peer's kind that gives one map, and takes the time of scaling."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    street = torch.from_numpy(np.load(disparity))[None, None]

    class ConstantDepth:
        device = torch.device("cpu")

        def load(self, **_: Any) -> None: ...

        def disable_ema(self) -> None: ...

        def is_metric(self) -> bool:
            return False

        def infer(self, frames: torch.Tensor, **_: Any) -> torch.Tensor:
            size = (392, 392 * frames.shape[3] // frames.shape[2] // 14 * 14)
            F.interpolate(frames, size=size, mode="bilinear", align_corners=False, antialias=True)
            return F.interpolate(street, size=size).expand(len(frames), -1, -1, -1).clone()

        def minmax_normalize(self, depths: torch.Tensor) -> list[torch.Tensor]:
            return list(depths)

    return ConstantDepth()


def _arguments(film: str, out: str) -> argparse.Namespace:
    """What the peer's generator is told."""
    return argparse.Namespace(
        dataset_dir=film,
        data_dir=out,
        prefix="peer",
        model_type="Any_B",
        gpu=-1,
        resolution=None,
        max_fps=30,
        size=512,
        seq=16,
        num_samples=1,
        skip_interval=120,
        skip_first=0,
        batch_size=2,
        max_workers=1,
        divergence_level=1,
    )


def _generate(film: str, disparity: str, out: str, views: str, mask: str) -> Callable[[], Any]:
    import itertools
    import random
    import shutil
    from unittest import mock

    import iw3.depth_model_factory as factory
    import torch
    import torch.nn.functional as F
    from iw3.forward_warp import nonwarp_mask
    from iw3.training.inpaint import create_training_data_video as theirs

    def scan(frames: torch.Tensor, depth: torch.Tensor, divergence: float) -> torch.Tensor:
        near = F.interpolate(depth, size=frames.shape[-2:], mode="bilinear", align_corners=False)
        reached = torch.arange(near.shape[-1]) + near * (divergence * 0.005 * near.shape[-1])
        hidden = torch.zeros_like(near, dtype=torch.bool)
        hidden[..., 1:] = reached[..., 1:] <= torch.cummax(reached, dim=-1).values[..., :-1]
        return hidden

    crop_resize = theirs.crop_resize

    def usual_view(frames: torch.Tensor, _: int) -> torch.Tensor:
        size, angle = next(clips)
        answers = iter([angle is not None, "bicubic"])  # whether to rotate, and how to scale
        with (
            mock.patch.object(random, "choice", lambda _: next(answers)),
            mock.patch.object(random, "uniform", lambda *_: angle),
        ):
            return crop_resize(frames, size)

    theirs.crop_resize = usual_view
    theirs.gen_mapper, theirs.gen_convergence = lambda _: "none", lambda: 0.5
    theirs.gen_divergence, theirs.gen_edge_dilation = lambda *_: 4.0, lambda *_: 0
    depth = _constant_depth(disparity)
    factory.create_depth_model = lambda name: depth
    theirs.create_stereo_model = lambda *_, **__: None
    theirs.backward_nonwarp_mask = lambda net, c, depth, divergence, **_: (
        c,
        scan(c, depth, divergence),
    )
    by_scan = lambda c, depth, divergence, **_: (c, scan(c, depth, divergence).float())  # noqa: E731
    theirs.forward_nonwarp_mask = nonwarp_mask if mask == "as is" else by_scan
    args = _arguments(film, out)
    clips: Iterator[tuple[int, float | None]] = iter(())  # of the run that is under way

    def run() -> None:
        nonlocal clips
        clips = itertools.cycle(json.loads(views))
        shutil.rmtree(out, ignore_errors=True)
        random.seed(0)
        torch.manual_seed(0)
        theirs.main(args)

    return run


def _load(folder: str, count: str) -> Callable[[], Any]:
    from iw3.training.inpaint.dataset_video import VideoInpaintDataset

    samples = VideoInpaintDataset(folder, 16, 0, training=True)
    return lambda: [samples[i] for i in range(int(count))]


def _mask(disparity: str) -> Callable[[], Any]:
    import numpy as np
    import torch
    from iw3.forward_warp import nonwarp_mask

    street, frame = torch.from_numpy(np.load(disparity))[None, None], torch.rand(1, 3, 1080, 1920)
    return lambda: nonwarp_mask(frame, street, divergence=4.0, convergence=0.5)


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    serve(sys.argv[1])
