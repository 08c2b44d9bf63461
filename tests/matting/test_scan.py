"""The selective scan against the loop that it is short for, and the block around it."""

import pytest
import torch

from matting.models import scan
from matting.models.scan import linear_scan, selective_scan
from matting.models.vssm import Block, Scan2d


def arguments(length: int, dtype: torch.dtype, *, states: int = 1) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(length)
    u, delta = torch.randn(2, 3, length, dtype=dtype), torch.rand(2, 3, length, dtype=dtype)
    rates = -torch.rand(3, states, dtype=dtype) - 0.1
    entry, exit_ = (torch.randn(2, states, length, dtype=dtype) for _ in range(2))
    return u, delta, rates, entry, exit_, torch.randn(3, dtype=dtype)


def by_hand(u, delta, rates, entry, exit_, skip):
    """The definition, number by number."""
    result = torch.zeros_like(u)
    for b in range(u.shape[0]):
        for d in range(u.shape[1]):
            state = torch.zeros(rates.shape[1], dtype=u.dtype)
            for t in range(u.shape[2]):
                kept = torch.exp(delta[b, d, t] * rates[d])
                state = kept * state + delta[b, d, t] * entry[b, :, t] * u[b, d, t]
                result[b, d, t] = (exit_[b, :, t] * state).sum() + skip[d] * u[b, d, t]
    return result


@pytest.mark.parametrize("states", [1, 4])
@pytest.mark.parametrize("length", [1, 2, 7, 36, 97])
def test_it_is_the_loop(length, states, monkeypatch):
    for dtype, within in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        inputs = arguments(length, dtype, states=states)
        wanted = by_hand(*inputs)
        assert (selective_scan(*inputs) - wanted).abs().max() < within
        monkeypatch.setattr(scan, "LARGEST", 0)  # large states take the other way
        assert (selective_scan(*inputs) - wanted).abs().max() < within
        monkeypatch.undo()


def test_a_long_one_of_an_uneven_length():
    inputs = arguments(577, torch.float64)
    assert (selective_scan(*inputs) - by_hand(*inputs)).abs().max() < 1e-12


@pytest.mark.parametrize("length", [1, 5, 12])
def test_its_gradient(length):
    inputs = [x.requires_grad_() for x in arguments(length, torch.float64, states=2)]
    assert torch.autograd.gradcheck(selective_scan, inputs)
    a, x = (torch.rand(2, length, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(linear_scan, (a, x))


def test_halves_are_computed_in_float32():
    inputs = arguments(50, torch.float32)
    rounded = [x.bfloat16() for x in inputs]
    result = selective_scan(*rounded)
    assert result.dtype == torch.bfloat16
    wanted = selective_scan(*(x.float() for x in rounded))
    assert torch.equal(result, wanted.bfloat16())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("length", [1, 97, 577])
def test_on_a_gpu(length):
    inputs = arguments(length, torch.float32)
    result = selective_scan(*(x.cuda() for x in inputs))
    assert (result.cpu() - by_hand(*inputs)).abs().max() < 1e-4


def test_every_pixel_sees_every_other():
    torch.manual_seed(0)
    layer = Scan2d(8)
    x = torch.randn(1, 8, 5, 7, requires_grad=True)
    layer(x)[0, :, 2, 3].sum().backward()
    assert x.grad is not None
    # rows of a scan reach all pixels, in one order or the other
    assert (x.grad[0].abs().sum(0) > 0).all()


def test_a_block_starts_as_the_identity():
    torch.manual_seed(0)
    block, x = Block(16), torch.randn(2, 16, 6, 9)
    assert torch.equal(block(x), x)
    block.linear_out.weight.data.normal_()
    assert block(x).shape == x.shape
    assert not torch.allclose(block(x), x)
