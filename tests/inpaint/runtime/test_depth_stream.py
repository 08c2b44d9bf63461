"""Depth of a film with made-up estimators. Frames are numbers; a picture is filled with its frame's
number."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch

from inpaint.runtime.depth_stream import DepthFrame, stream_disparity
from scene.depth import ClipRejected
from scene.motion_parallax import MotionParallax

SLOPE = torch.linspace(0, 1, 64).expand(16, 64)  # a scene: near on the right


def rgb(number: int) -> np.ndarray:
    return np.full((4, 6, 3), number, np.uint8)


class Steady:
    """Judges runs: SLOPE times `gain`, but rejects runs with one of the frames in `reject`, and
    single frames."""

    name, runs_in_workers, run_length, run_overlap, scale_jitters, least_span = (
        "Steady",
        True,
        8,
        4,
        False,
        0.0,
    )

    def __init__(self, reject: Iterable[int] = ()) -> None:
        self.reject, self.runs = set(reject), []

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        raise AssertionError("a film is not normalised as a clip")

    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        run = frames[:, 0, 0, 0].tolist()
        self.runs.append(run)
        if len(run) < 2:
            raise ClipRejected("too few frames")
        if self.reject & set(run):
            raise ClipRejected("too little motion")
        return self.maps(run)

    def maps(self, run: list[int]) -> torch.Tensor:
        return SLOPE.repeat(len(run), 1, 1)


class Network(Steady):
    """Judges frame by frame, with a scale and an offset that jitter."""

    run_length, run_overlap, scale_jitters = 2, 0, True

    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        run = frames[:, 0, 0, 0].tolist()
        self.runs.append(run)
        return torch.stack([(1 + 0.1 * (i % 3)) * SLOPE + 0.05 * (i % 5) for i in run])


def film(num_frames: int, cuts: Iterable[int] = ()) -> list[tuple[int, bool]]:
    return [(i, i in set(cuts)) for i in range(num_frames)]


def levels(frames: Iterable[DepthFrame[int]]) -> list[float]:
    """The nearest value of every frame, at its strength."""
    return [round(frame.strength * float(frame.disparity.max()), 4) for frame in frames]


@pytest.mark.parametrize("num_frames", [0, 1, 7, 8, 9, 30])
@pytest.mark.parametrize("cuts", [(), (0,), (3, 4, 16)])
def test_every_frame_comes_once_and_in_order(num_frames, cuts):
    for estimator in (Steady(), Network(), Steady(reject=[5])):
        frames = list(stream_disparity(film(num_frames, cuts), estimator, rgb=rgb, fade=3))
        assert [frame.item for frame in frames] == list(range(num_frames))
        assert [frame.item for frame in frames if frame.starts_shot] == sorted(
            {0, *cuts} & set(range(num_frames))
        )
        for frame in frames:
            assert frame.disparity.dtype == torch.float32 and frame.disparity.ndim == 2
            assert frame.disparity.min() >= 0 and frame.disparity.max() <= 1


def test_runs_overlap_inside_a_shot_and_never_reach_over_a_cut():
    estimator = Steady()
    list(stream_disparity(film(17, cuts=[14]), estimator, rgb=rgb))
    assert estimator.runs == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [4, 5, 6, 7, 8, 9, 10, 11],
        [8, 9, 10, 11, 12, 13],
        [14, 15, 16],
    ]
    estimator = Network()
    list(stream_disparity(film(5, cuts=[3]), estimator, rgb=rgb))
    assert estimator.runs == [[0, 1], [2], [3, 4]]


@pytest.mark.parametrize(("estimator", "limit"), [(Steady(), 8 + 4 + 3), (Network(), 2)])
def test_memory_is_bounded(estimator, limit):
    num_read = 0

    def source() -> Iterator[tuple[int, bool]]:
        nonlocal num_read
        for number, is_cut in film(60, cuts=[20]):
            num_read += 1
            yield number, is_cut

    for num_given, _ in enumerate(stream_disparity(source(), estimator, rgb=rgb, fade=3)):
        assert num_read - num_given <= limit


def test_where_runs_overlap_one_goes_over_into_the_other():
    class Changing(Steady):
        def maps(self, run: list[int]) -> torch.Tensor:
            return SLOPE.repeat(len(run), 1, 1) * (1.0 if run[0] == 0 else 2.0)

    frames = list(stream_disparity(film(12), Changing(), rgb=rgb, window=10**4))
    middles = [
        float(frame.disparity[0, 12]) for frame in frames
    ]  # (12 / 63 - 0.02) / 0.96, and twice that
    assert middles == pytest.approx(
        [0.178] * 4 + [0.217, 0.256, 0.295, 0.334] + [0.376] * 4, abs=0.005
    )


def test_rejected_runs_are_flat_with_the_reason_and_fade_on_both_sides():
    # of the runs 0-7, 4-11, 8-15, 12-19, ... the second and third are rejected: no other sees the
    # frames 8 to 11
    frames = list(stream_disparity(film(24), Steady(reject=[8, 11]), rgb=rgb, fade=3))
    assert levels(frames) == [1] * 5 + [0.75, 0.5, 0.25] + [0] * 4 + [0.25, 0.5, 0.75] + [1] * 9
    assert [frame.item for frame in frames if frame.rejected] == [8, 9, 10, 11]
    assert Counter(frame.rejected for frame in frames if frame.rejected) == {"too little motion": 4}
    assert frames[9].disparity.shape == (4, 6)


def test_a_fade_stops_at_a_cut():
    frames = list(
        stream_disparity(film(24, cuts=[8]), Steady(reject=range(8, 16)), rgb=rgb, fade=3)
    )
    assert levels(frames) == [1] * 8 + [0] * 8 + [0.25, 0.5, 0.75] + [1] * 5
    frames = list(stream_disparity(film(16, cuts=[8]), Steady(reject=[0]), rgb=rgb, fade=3))
    assert levels(frames) == [0] * 8 + [1] * 8


def test_a_shot_that_is_too_short_is_flat():
    frames = list(stream_disparity(film(5, cuts=[2, 3]), Steady(), rgb=rgb, fade=3))
    assert levels(frames) == [1, 1, 0, 1, 1]
    assert [frame.rejected for frame in frames] == [None, None, "too few frames", None, None]


def test_a_network_s_jitter_is_fitted_away():
    first, *others = stream_disparity(film(20), Network(), rgb=rgb)
    for frame in others:
        torch.testing.assert_close(frame.disparity, first.disparity, atol=1e-4, rtol=0)


def test_what_lies_before_a_cut_has_no_say():
    """A shot after a cut comes out as it would alone."""

    class Shots(Network):
        def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
            return torch.stack(
                [SLOPE if i < 5 else 3 - SLOPE**2 for i in frames[:, 0, 0, 0].tolist()]
            )

    both = list(stream_disparity(film(10, cuts=[5]), Shots(), rgb=rgb))
    alone = list(stream_disparity([(i, False) for i in range(5, 10)], Shots(), rgb=rgb))
    for one, other in zip(both[5:], alone, strict=True):
        assert torch.equal(one.disparity, other.disparity)


def test_motion_parallax_on_a_film():
    """A textured box slides over a still, textured wall for 20 frames; then both stand still."""
    rng = np.random.default_rng(0)
    wall = rng.integers(0, 256, (9, 16, 3), dtype=np.uint8).repeat(14, 0).repeat(14, 1)
    box = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)

    def picture(number: int) -> np.ndarray:
        frame = wall.copy()
        left = 20 + 3 * min(number, 20)
        frame[40:100, left : left + 50] = box
        return frame

    class Short(MotionParallax):
        run_length, run_overlap = 10, 2

    frames = list(stream_disparity(film(40), Short(), rgb=picture, fade=2))
    assert {frame.rejected for frame in frames[:16]} == {None}
    assert {frame.rejected for frame in frames[30:]} == {"too little motion"}
    moving = frames[8].disparity  # (252, 448), twice the picture
    assert moving[110:170, 110:170].median() > 0.7 and moving[:, 300:].quantile(0.9) < 0.1
