"""The step that engines compute: the hole read off the picture, float32 at the border."""

import pytest
import torch

from inpaint.models.steps import StreamingStep, mask_frame
from nunif.models import create_model
from tests.models import lively_model

SIZE = (48, 72)


@pytest.fixture(scope="module")
def model():
    return lively_model()


def frames(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 1, 3, *SIZE, generator=generator) * 2 - 1
    holes = torch.zeros(count, 1, 1, *SIZE)
    for t in range(count):
        holes[t, :, :, 12:24, 5 + 3 * t : 25 + 3 * t] = 1
    return list(zip(pictures, holes))


def test_mask_frame_makes_the_hole_zero_and_nothing_else():
    frame = torch.tensor([0.0, -0.5, 0.0, 1.0]).view(1, 1, 4).expand(3, 1, 4)
    masked = mask_frame(frame, torch.tensor([[[0.0, 1.0, 1.0, 0.0]]]))
    assert masked[:, 0, 1:3].tolist() == [[0.0, 0.0]] * 3
    assert (masked[:, 0, 0] != 0).all() and masked[:, 0, 0].abs().max() < 1 / 255 / 100
    assert masked[:, 0, 3].tolist() == [1.0] * 3


def test_no_8_bit_value_is_a_hole():
    values = torch.arange(256, dtype=torch.float32) / 127.5 - 1
    assert (values != 0).all() and values[0] == -1 and values[255] == 1


@torch.no_grad()
def test_half_precision_stays_inside(model):
    (picture, hole), *_ = frames(1)
    masked, memory = mask_frame(picture, hole), torch.zeros(model.memory_shape(*SIZE))
    expected, _ = StreamingStep(model)(masked, memory)
    half = StreamingStep(lively_model().half())
    output, new_memory = half(masked, memory)
    assert output.dtype == new_memory.dtype == torch.float32
    assert 0 < (output - expected).abs().max() < 0.02


def test_memory_shape_is_that_of_the_contract():
    names = {
        "": (8 + 3, 2, 1620, 512),
        "_small": (6 + 5, 2, 1620, 256),
        "_tiny": (4 + 19, 2, 1620, 64),
    }
    for suffix, shape in names.items():
        assert create_model(f"inpaint.memory_dstt_v1{suffix}").memory_shape(360, 640) == (1, *shape)
    assert create_model("inpaint.memory_dstt_v1_tiny").memory_shape(240, 432) == (
        1,
        4 + 19,
        2,
        720,
        64,
    )
