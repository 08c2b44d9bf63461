"""How much a GPU is told for a clip: each operation takes it some microseconds, whatever it
computes."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from inpaint.models import streaming
from inpaint.models.recall import empty_memory, recall_all
from nunif.models import create_model
from nunif.replay import Replayed
from tests.models import TINY, less_to_trace, moving_hole

FRAMES = 12  # of a training clip
MOST = 3000  # operations that are told for one, the network's included
MOST_OF_MEMORY = 20_000  # operations of the picture memory for one; they were 50,132


class Count(TorchDispatchMode):
    """Counts operations, and gathers the devices of all tensors in them."""

    def __init__(self):
        super().__init__()
        self.number, self.devices = 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += 1
        result = function(*args, **(kwargs or {}))
        self._look_at([args, result])
        return result

    def _look_at(self, value):
        if isinstance(value, torch.Tensor):
            self.devices.add(value.device.type)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._look_at(item)


class Again:
    """What a CUDA graph does, on the CPU: it works on the tensors that it was made with, and is
    told so by one call."""

    def __init__(self, function, like):
        self.function, self.outputs = function, function()

    def play(self):
        with _disable_current_modes():
            for output, new in zip(self.outputs, self.function()):
                output.copy_(new)


@torch.no_grad()
def test_a_clip_is_told_in_few_operations_and_looks_the_same(monkeypatch):
    model, clips = (
        create_model(TINY).eval(),
        [moving_hole(1, FRAMES, 32, 48, seed=i) for i in (1, 2)],
    )
    expected = model(*clips[0])
    player = Replayed(streaming.recall_tensors, record=Again, on_devices=("cpu",))
    monkeypatch.setattr(streaming, "player", player)
    model(*clips[1])
    model(*clips[1])  # which is recorded
    with Count() as count:
        found = model(*clips[0])
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert count.number <= MOST


def test_the_picture_memory_can_be_recorded_on_a_gpu(monkeypatch):
    """Nothing of it lies on the CPU, and no number is looked at: a fake tensor has none."""
    less_to_trace(monkeypatch)
    with FakeTensorMode():
        try:
            torch.empty(1, device="cuda")[:1]
        except RuntimeError:
            pytest.skip("this torch pretends no GPU where there is none")
    with FakeTensorMode(), torch.no_grad(), Count() as count:
        frames = torch.empty(1, 2, 3, 48, 64, device="cuda")
        recall_all(frames, frames[:, :, :1], empty_memory(frames[:, 0]))
    assert count.devices == {"cuda"}


@torch.no_grad()
def test_operations_of_the_picture_memory():
    frames, holes = moving_hole(1, FRAMES, 48, 64)
    with Count() as count:
        recall_all(frames * (1 - holes), holes, empty_memory(frames[:, 0]))
    assert count.number <= MOST_OF_MEMORY
