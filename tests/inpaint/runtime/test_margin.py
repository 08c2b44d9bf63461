"""A shadow beside a hole stays as it is, and doesn't get into what is filled.

Axes: H W pixels.
"""

import numpy as np
import pytest

from inpaint.runtime.stream import InpaintStream
from nunif.models import create_model, save_model

H, W, SIDE, SHADE = 48, 96, 16, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "memory.pth"
    save_model(create_model("inpaint.picture_memory_v1"), path)
    return path


def frames():
    """A wall, then something with a dark rim that goes to the right: (frame, hole)."""
    rng = np.random.default_rng(0)
    wall = rng.integers(190, 210, (H, W, 1)).repeat(3, 2).astype(np.uint8)
    yield wall, np.zeros((H, W), bool)
    for step in range(8):
        frame, hole = wall.copy(), np.zeros((H, W), bool)
        left = 10 + 5 * step
        rows = slice(16 - SHADE, 16 + SIDE + SHADE)
        frame[rows, left - SHADE : left + SIDE + SHADE] //= 2
        hole[16 : 16 + SIDE, left : left + SIDE] = True
        yield frame, hole


@pytest.mark.parametrize("look_ahead", [0, 2])
def test_a_shadow_beside_a_hole_is_not_learned(model, look_ahead):
    darkest = {}
    for margin in (0.0, 20.0):  # of 240 rows: 4 pixels of these
        stream = InpaintStream.open(model, gpu=-1, look_ahead=look_ahead, margin=margin)
        shown = [
            picture for frame, hole in frames() if (picture := stream(frame, hole)) is not None
        ]
        shown += stream.finish()
        for (frame, hole), picture in zip(frames(), shown):
            assert np.array_equal(picture[~hole], frame[~hole])
        frame, hole = list(frames())[-1]
        darkest[margin] = np.percentile(shown[-1][hole], 5)
    assert darkest[0.0] < 150 and darkest[20.0] > 180
