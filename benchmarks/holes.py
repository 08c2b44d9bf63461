"""The holes of one 1080p frame from its disparity at the size of a depth network."""

from typing import Any

import numpy as np
import torch

from benchmarks.inputs import HEIGHT, WIDTH, street_disparity
from benchmarks.setting import Setting
from inpaint.occlusion import find_hidden_in_both_views, hidden, shift_of_view
from nunif.timing import interleave, rows

VIEW = {"size": (HEIGHT, WIDTH), "divergence": 4.0, "convergence": 0.5}


def run(setting: Setting) -> dict[str, Any]:
    """CPU milliseconds of a frame."""
    street = street_disparity(392, 700)
    disparity = torch.from_numpy(street)
    shift = shift_of_view(disparity, **VIEW)
    both = torch.zeros((2, HEIGHT, WIDTH), dtype=torch.bool)
    alternatives = {
        "ours: the scan": lambda: hidden(shift),
        "ours, with the disparity's enlargement": lambda: hidden(shift_of_view(disparity, **VIEW)),
        "ours, with it, both views": lambda: find_hidden_in_both_views(disparity, both, **VIEW),
        "the same scan by numpy": lambda: scan_by_numpy(shift.numpy()),
    }
    if setting.peer:
        from benchmarks import peer

        np.save(setting.scratch / "street.npy", street)
        alternatives["peer: forward warp there and back"] = peer.mask(
            setting.peer, setting.scratch / "street.npy"
        )
    timings = interleave(alternatives, rounds=max(setting.rounds, 5), warm_up=2, name="holes")
    baseline = list(alternatives)[-1]
    return {"rows": rows(timings, baseline=baseline, unit="frame")}


def scan_by_numpy(shift: np.ndarray) -> np.ndarray:
    """`inpaint.occlusion.hidden` without torch."""
    reached = np.arange(shift.shape[1], dtype=np.float32) + shift
    result = np.zeros(shift.shape, bool)
    result[:, 1:] = reached[:, 1:] <= np.maximum.accumulate(reached, axis=1)[:, :-1]
    return result
