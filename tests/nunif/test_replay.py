"""Calls that are recorded and played again: they give what the function gives, or say once why they
are not used."""

import logging

import pytest
import torch

from nunif.replay import MOST, CudaRecording, Replayed


class Again:
    """What a CUDA graph does, on the CPU: it works on the tensors that it was made with."""

    def __init__(self, function, like):
        self.function, self.outputs = function, tuple(x.clone() for x in function())

    def play(self):
        for output, new in zip(self.outputs, self.function()):
            output.copy_(new)


def twice_and_sum(x, y):
    return x * 2, x + y


def pair(seed, size=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, generator=generator), torch.rand(size, generator=generator)


def test_what_is_played_is_what_the_function_gives():
    made = []

    def record(function, like):
        made.append(like.shape)
        return Again(function, like)

    replayed = Replayed(twice_and_sum, record=record, on_devices=("cpu",))
    results = [replayed(*pair(seed)) for seed in range(5)]
    assert made == [(3,)], "the second call of a shape is recorded, and no other"
    for seed, result in enumerate(results):  # earlier ones are not written over
        assert all(map(torch.equal, result, twice_and_sum(*pair(seed))))
    with torch.inference_mode():
        assert all(map(torch.equal, replayed(*pair(9)), twice_and_sum(*pair(9))))
    for size in range(4, 5 + MOST):
        replayed(*pair(0, size))
    replayed(*pair(0))
    assert made == [(3,)], "what was not used for long is forgotten, and would be recorded anew"


@pytest.mark.parametrize("fault", ["what is played differs", "operation not permitted"])
def test_a_recording_that_is_wrong_or_fails_is_told_of_once_and_never_used(fault, caplog):
    def record(function, like):
        if "differs" not in fault:
            raise RuntimeError(f"{fault} when stream is capturing\nmore lines")
        return Again(lambda: tuple(x + 1 for x in function()), like)

    replayed = Replayed(twice_and_sum, record=record, on_devices=("cpu",))
    with caplog.at_level(logging.WARNING):
        for seed in range(4):
            result = replayed(*pair(seed))
            assert all(map(torch.equal, result, twice_and_sum(*pair(seed))))
    assert len(caplog.messages) == 1 and fault in caplog.messages[0]
    assert "more lines" not in caplog.text and not replayed.applies_to(torch.zeros(1))


def test_on_a_cpu_nothing_is_recorded():
    def record(function, like):
        raise AssertionError

    replayed = Replayed(twice_and_sum, record=record)
    for seed in range(3):
        assert all(map(torch.equal, replayed(*pair(seed)), twice_and_sum(*pair(seed))))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_cuda_graph_is_played(caplog):
    replayed = Replayed(twice_and_sum, record=CudaRecording)
    for seed in range(4):
        inputs = [x.cuda() for x in pair(seed)]
        assert all(map(torch.equal, replayed(*inputs), twice_and_sum(*inputs)))
    assert replayed.applies_to(inputs[0]) and not caplog.messages
