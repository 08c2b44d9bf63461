"""The stream of frames: what it leaves alone, what it remembers, at which size it computes, and
what it refuses."""

import numpy as np
import pytest
import torch

from inpaint.runtime.backends import TorchBackend, open_backend
from inpaint.runtime.stream import InpaintStream
from nunif.errors import UserError
from nunif.models import save_model
from tests.models import lively_model, save_lively_model

CPU = torch.device("cpu")
SIZE = (50, 71)


@pytest.fixture(scope="module")
def model():
    return lively_model()


@pytest.fixture
def stream(model):
    return InpaintStream(TorchBackend(model, device=CPU))


def film(count=4, dtype=np.uint8, size=SIZE):
    rng = np.random.default_rng(3)
    top = np.iinfo(dtype).max
    for t in range(count):
        hole = np.zeros(size, bool)
        hole[10:30, 8 + 4 * t : 28 + 4 * t] = True
        yield rng.integers(0, top, (*size, 3), dtype=dtype, endpoint=True), hole


class FixedSize(TorchBackend):
    size = (36, 64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("max_width", [None, 40])
def test_pixels_outside_the_hole_are_the_frames_own(model, dtype, max_width):
    stream = InpaintStream(TorchBackend(model, device=CPU), max_width=max_width)
    for frame, hole in film(dtype=dtype):
        filled = stream(frame, hole)
        assert filled.dtype == dtype and filled.shape == frame.shape
        assert np.array_equal(filled[~hole], frame[~hole])
        assert (filled[hole] != frame[hole]).mean() > 0.9


@pytest.mark.parametrize("max_width", [None, 40])
def test_what_stands_in_the_hole_is_not_seen(model, max_width):
    streams = [
        InpaintStream(TorchBackend(model, device=CPU), max_width=max_width) for _ in range(2)
    ]
    for frame, hole in film():
        other = frame.copy()
        other[hole] = 255 - other[hole]
        assert np.array_equal(streams[0](frame, hole), streams[1](other, hole))


def test_the_same_as_the_model_on_the_whole_clip(model, stream):
    frames, holes = zip(*film())
    x = torch.stack([torch.from_numpy(f).permute(2, 0, 1) for f in frames])[None] / 127.5 - 1
    with torch.no_grad():
        prediction, _ = model(
            x, torch.stack([torch.from_numpy(h)[None] for h in holes])[None].float()
        )
    expected = prediction[0].add(1).mul(127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    for frame, hole, wanted in zip(frames, holes, expected):
        assert np.abs(stream(frame, hole)[hole] - wanted[hole]).max() <= 0.51


def test_reset_forgets_and_going_on_remembers(model, stream):
    (first, hole), (second, _) = list(film(2))
    alone = stream(second, hole)
    stream.reset()
    stream(first, hole)
    assert not np.array_equal(stream(second, hole), alone)
    stream.reset()
    assert np.array_equal(stream(second, hole), alone)


def test_frames_without_a_hole_are_remembered_too(stream):
    (first, hole), (second, _) = list(film(2))
    alone = stream(second, hole)
    stream.reset()
    assert np.array_equal(stream(first, np.zeros_like(hole)), first)
    assert not np.array_equal(stream(second, hole), alone)


def test_sizes_must_agree_until_a_reset(stream):
    frame, hole = next(film())
    with pytest.raises(ValueError, match="sizes must be equal"):
        stream(frame, hole[1:])
    stream(frame, hole)
    with pytest.raises(ValueError, match="sizes must be equal"):
        stream(frame[1:], hole[1:])
    stream.reset()
    stream(frame[1:], hole[1:])


def test_max_width_computes_smaller(model):
    stream = InpaintStream(TorchBackend(model, device=CPU), max_width=640)
    assert stream.computed_size(1080, 1920) == (360, 640)
    assert stream.computed_size(480, 854) == (360, 640)
    assert stream.computed_size(240, 432) == (240, 432)


def test_an_engine_of_another_size_says_what_to_do(model):
    backend = FixedSize(model, device=CPU)
    assert InpaintStream(backend).computed_size(36, 64) == (36, 64)
    assert InpaintStream(backend, max_width=64).computed_size(72, 128) == (36, 64)
    with pytest.raises(
        UserError, match=r"works at 64x36 pixels, the frames are 128x72: use --max-width 64"
    ):
        InpaintStream(backend).computed_size(72, 128)
    with pytest.raises(
        UserError, match=r"the frames are 71x50: use an engine made with --size 50x71"
    ):
        InpaintStream(backend).computed_size(50, 71)
    with pytest.raises(
        UserError, match=r"the frames would be 40x28: use an engine made with --size 28x40"
    ):
        InpaintStream(backend, max_width=40).computed_size(50, 71)


def test_half_precision_gives_nearly_the_same_picture(model, tmp_path):
    path = save_lively_model(tmp_path / "m.pth")
    streams = {
        p: InpaintStream.open(path, gpu=-1, precision=p) for p in (None, "fp32", "fp16", "bf16")
    }
    frame, hole = next(film())
    pictures = {p: stream(frame, hole).astype(int) for p, stream in streams.items()}
    assert np.array_equal(pictures[None], pictures["fp32"])
    for precision, bound in (("fp16", 4), ("bf16", 24)):
        assert 0 < np.abs(pictures[precision] - pictures["fp32"]).max() <= bound, precision


def test_models_that_are_not_to_be_had(tmp_path):
    with pytest.raises(UserError, match="does not exist: give a model file"):
        open_backend(tmp_path / "a.pth", device=CPU)
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="is of no kind known here"):
        open_backend(tmp_path / "a.bin", device=CPU)
    model = lively_model()
    model.name = "waifu2x.upconv"
    save_model(model, tmp_path / "other.pth")
    with pytest.raises(
        UserError,
        match=r"holds the model 'waifu2x.upconv', but one named inpaint\.\* is needed here",
    ):
        open_backend(tmp_path / "other.pth", device=CPU)
    for name, flag, more in (
        ("a.onnx", "--precision", {"precision": "fp16"}),
        ("a.engine", "--compile", {"compiled": True}),
    ):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=f"{flag} is for model files"):
            open_backend(tmp_path / name, device=CPU, **more)
