"""What a picture memory still knows a long time later, and after the camera looked elsewhere, through a live stream.

Rendered noise is the picture; the place under the hole was seen before the hole came, and never again.

Axes: T frames, H W pixels, 3 = R G B.
"""

import numpy as np
import pytest
import torch

from inpaint.models.motion import warp
from inpaint.models.recall import TRUST, recall
from inpaint.models.steps import find_holes
from inpaint.runtime.backends import TorchBackend
from inpaint.runtime.stream import InpaintStream
from nunif.models import create_model
from tests.exam import KINDS, scenery, sit_long

CPU = torch.device("cpu")
BEGIN = 8  # the frame at which the hole comes
EARLY, LATE = range(200, 241), range(1960, 2001)


def live_stream():
    """A stream on the untrained fusion."""
    torch.manual_seed(0)
    return InpaintStream(TorchBackend(create_model("inpaint.fusion_v1"), device=CPU))


def in_levels(picture):
    """(1, 3, H, W) in [-1, 1] -> (H, W, 3) in grey levels, not rounded."""
    return picture[0].permute(1, 2, 0).numpy() * 127.5 + 127.5


def moved(picture, x, y):
    """(1, 3, H, W) sampled once, bilinearly, at so many pixels further right and down."""
    return warp(picture, torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *picture.shape[-2:]))


def psnr(picture, truth, hole):
    """Of one hole, (H, W, 3) in grey levels; at most 100."""
    error = (picture[hole].astype(float) - truth[hole]) ** 2
    return 10 * np.log10(255**2 / max(error.mean(), 255**2 / 1e10))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["memory_dstt_v1_tiny", "fusion_v1"])
def test_the_long_exam_ends_as_well_as_it_began(name):
    torch.manual_seed(0)
    scores = sit_long(create_model(f"inpaint.{name}").eval())
    assert list(scores) == list(KINDS)
    for kind, (first, last) in scores.items():
        assert last > first - 1 and last > 45, (kind, first, last)


@pytest.mark.parametrize(
    ("size", "shake", "grain", "seed", "apart"),
    [((64, 96), 0.0, 2.0, 0, 1.5), ((96, 144), 0.3, 1.0, 2, 3.0)],
    ids=["still", "shaken"],
)
@pytest.mark.slow
def test_two_thousand_frames_later_the_hole_is_as_sharp(size, shake, grain, seed, apart):
    """Live, of 8 bits, with noise of some grey levels, and a camera that trembles by fractions of a pixel.

    Beside it stands the best that can be had of one frame: the last before the hole, sampled once by the true motion. For
    some dozen frames a hole without motion is better than that, as two noisy pictures are averaged; what stays is counted.
    """
    rng = np.random.default_rng(seed)
    wide = scenery(size[0] + 16, size[1] + 16, seed=seed)
    hole = np.zeros(size, bool)
    hole[size[0] // 3 : 2 * size[0] // 3, size[1] // 3 : 2 * size[1] // 3] = True
    stream, scores, best = live_stream(), {}, {}
    for t in range(2001):
        offset = rng.normal(0, shake, 2)
        clean = in_levels(moved(wide, *offset)[..., 8:-8, 8:-8])
        frame = np.clip(np.rint(clean + rng.normal(0, grain, clean.shape)), 0, 255).astype(np.uint8)
        if t < BEGIN:
            before, offset_before = torch.from_numpy(frame).permute(2, 0, 1)[None] / 127.5 - 1, offset
            stream(frame, np.zeros(size, bool))
            continue
        filled = stream(frame, hole)
        if t in EARLY or t in LATE:
            scores[t] = psnr(filled, clean, hole)
            best[t] = psnr(in_levels(moved(before, *(offset - offset_before))), clean, hole)
    early, last, possible = (np.mean([x[t] for t in part]) for x, part in ((scores, EARLY), (scores, LATE), (best, LATE)))
    assert last > early - 1 and last > possible - apart, (early, last, possible)
    masked = stream.masked(frame, hole)
    merged, memory = recall(masked, find_holes(masked), stream._memory.pictures)
    inside = torch.from_numpy(hole)
    assert merged.known[0, 0][inside].min() > 1 - 1e-3
    assert memory.keys[0, 0, TRUST][0][inside].min() > 1 - 1e-3 and memory.canvas[0, TRUST][0][inside].min() > 1 - 1e-3


@pytest.mark.parametrize(("widths", "speed"), [(1.3, 9), (3.1, 7)])
def test_a_pan_away_and_back_finds_the_picture_again(widths, speed):
    """A thing to be removed stands in the scene; the camera turns away, rests there, and turns back, while it stands.

    As far as the camera goes there and back there are other key pictures, with the place painted into the last of them.
    """
    height, width = 96, 144
    way = int(widths * width)
    scene = np.rint(in_levels(scenery(height, way + width))).astype(np.uint8)
    mask = np.zeros(scene.shape[:2], bool)
    mask[32:64, 48:96] = True
    there = [min(way, place + speed) for place in range(0, way, speed)]
    back = [way - place for place in there]
    stream, scores = live_stream(), []
    for t, left in enumerate([0] * 20 + there + [way] * 10 + back + [0] * 10):
        frame, hole = scene[:, left : left + width], mask[:, left : left + width] & (t >= BEGIN)
        filled = stream(frame, hole)
        scores.append(psnr(filled, frame, hole) if hole.any() else None)
    assert None in scores[20:-20]
    before, after = np.mean(scores[12:20]), np.mean(scores[-10:])
    assert after > before - 3 and after > 45, (before, after)
