"""Films through models that take windows: every frame once, shots apart, no seams, constant
memory."""

import numpy as np
import pytest
import torch

from inpaint.runtime.stream import HoleFrame, InpaintStream
from inpaint.runtime.windows import WindowFiller, open_fillers
from nunif.errors import UserError
from nunif.models import create_model, save_model
from tests.models import save_lively_model

CPU = torch.device("cpu")
SIZE = (6, 8)


class Counting:
    """Predicts for every frame ten times the number of the window in whose company it stands, in
    grey levels."""

    device, window, size, multiple, description = CPU, 12, None, None, "counting"

    def __init__(self):
        self.windows = []

    def step(self, masked, memory, ahead=None):
        assert masked.shape == (1, 12, 3, *SIZE) and memory is None
        assert (masked[..., 3:, 4:] == 0).all()
        self.windows.append(((masked[0, :, 0, 0, 0] + 1) * 127.5).round().int().tolist())
        return torch.full_like(masked, 10.0 * len(self.windows) / 127.5 - 1), None


def film(count, *, cuts=()):
    """Frames that carry their number as a grey level, with a hole away from the corner."""
    hole = np.zeros(SIZE, bool)
    hole[3:, 4:] = True
    return [HoleFrame(i, np.full((*SIZE, 3), i, np.uint8), hole, i in cuts) for i in range(count)]


def run(count, **more):
    backend = Counting()
    filled = list(WindowFiller(backend).fill(film(count, **more)))
    assert [item for item, _ in filled] == list(range(count))
    for item, picture in filled:
        assert (picture[0, 0] == item).all() and picture.shape == (*SIZE, 3)
    return backend.windows, [int(picture[-1, -1, 0]) for _, picture in filled]


def test_windows_share_half_of_their_frames_and_blend_there():
    windows, levels = run(18)
    assert windows == [list(range(12)), list(range(6, 18))]
    assert levels == [10] * 6 + [11, 13, 14, 16, 17, 19] + [20] * 6  # by sevenths


def test_the_last_window_reaches_back():
    windows, levels = run(20)
    assert windows == [list(range(12)), list(range(6, 18)), list(range(8, 20))]
    assert levels[12:] == [21, 23, 24, 26, 27, 29, 30, 30]


@pytest.mark.parametrize(
    "count, window",
    [(1, [0] * 12), (5, [0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4, 4]), (11, [*range(11), 10])],
)
def test_a_film_shorter_than_a_window_repeats_its_ends(count, window):
    windows, levels = run(count)
    assert windows == [window] and levels == [10] * count


def test_no_window_straddles_a_cut():
    windows, levels = run(30, cuts=(5, 17))
    assert windows == [
        [0] * 3 + list(range(5)) + [4] * 4,
        list(range(5, 17)),
        list(range(17, 29)),
        list(range(18, 30)),
    ]
    assert levels[:17] == [10] * 5 + [20] * 12


def test_an_empty_film():
    assert run(0) == ([], [])


def test_frames_are_given_out_as_soon_as_they_can_be():
    taken = []

    def source():
        for frame in film(100):
            taken.append(frame.item)
            yield frame

    for item, _ in WindowFiller(Counting()).fill(source()):
        assert len(taken) - item <= 12


def test_the_model_of_the_file_decides(tmp_path):
    save_model(create_model("inpaint.light_video_inpaint_v1"), tmp_path / "light.pth")
    (filler,) = open_fillers(tmp_path / "light.pth", device=CPU)
    assert isinstance(filler, WindowFiller) and filler.description.endswith("windows of 12 frames")
    streams = open_fillers(save_lively_model(tmp_path / "memory.pth"), count=2, device=CPU)
    assert [type(stream) for stream in streams] == [InpaintStream, InpaintStream]


def test_a_model_of_windows_is_no_stream():
    with pytest.raises(UserError, match="takes windows of 12 frames and can't work frame by frame"):
        InpaintStream(Counting())


def test_the_light_model_fills_a_film_and_leaves_the_rest_alone(tmp_path):
    torch.manual_seed(0)
    save_model(create_model("inpaint.light_video_inpaint_v1", base_dim=16), tmp_path / "light.pth")
    (filler,) = open_fillers(tmp_path / "light.pth", device=CPU, max_width=48)
    rng = np.random.default_rng(0)
    hole = np.zeros((40, 64), bool)
    hole[10:20, 20:40] = True
    frames = [HoleFrame(i, rng.integers(0, 65535, (40, 64, 3), np.uint16), hole) for i in range(14)]
    filled = list(filler.fill(frames))
    assert [item for item, _ in filled] == list(range(14))
    for (_, picture), source in zip(filled, frames):
        assert picture.dtype == np.uint16 and np.array_equal(picture[~hole], source.frame[~hole])
        assert not np.array_equal(picture[hole], source.frame[hole])
