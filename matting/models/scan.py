"""The selective scan of Mamba (Gu and Dao, arXiv 2312.00752): a linear recurrence whose factors
change from place to place.

Axes: B batch, D channels, S numbers of a channel's state, L places in the order of the scan.
"""

import importlib
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LARGEST = 1 << 24  # numbers of a state at all places; beyond, memory costs more than the loop


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan along L: with a_t = exp(delta_t A),

        h_t = a_t h_(t-1) + delta_t B_t u_t,   h_0 = 0,
        y_t = sum over S of C_t h_t, + D u_t.

    Args: u, delta (B, D, L), delta > 0; A (D, S), below 0; B, C (B, S, L); D (D,).
    Returns: y (B, D, L), in u's type. float16 and bfloat16 are computed in float32.
    """
    dtype = u.dtype
    if dtype in (torch.float16, torch.bfloat16):
        u, delta, A, B, C, D = (x.float() for x in (u, delta, A, B, C, D))
    kernel = _kernel() if u.is_cuda and u.dtype == torch.float32 else None
    if kernel is not None:
        return kernel(u.contiguous(), delta.contiguous(), A, B, C, D).to(dtype)
    if u.numel() * A.shape[1] > LARGEST:
        return _loop(u, delta, A, B, C, D).to(dtype)
    factors = torch.exp(delta[:, :, None] * A[:, :, None])
    states = linear_scan(factors, (delta * u)[:, :, None] * B[:, None])
    return ((states * C[:, None]).sum(2) + D[:, None] * u).to(dtype)


def _loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The same place by place, for states that are large."""
    state = u.new_zeros(*u.shape[:2], A.shape[1])
    results = []
    for t in range(u.shape[2]):
        entry = (delta[:, :, t] * u[:, :, t])[..., None] * B[:, None, :, t]
        state = torch.exp(delta[:, :, t, None] * A) * state + entry
        results.append((state * C[:, None, :, t]).sum(-1))
    return torch.stack(results, -1) + D[:, None] * u


@cache
def _kernel() -> Any:
    """`selective_scan_fn` of the package mamba_ssm, if it is there and works."""
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except (ImportError, RuntimeError, OSError):  # built for another torch, or without a GPU
        return None
    return module.selective_scan_fn


def linear_scan(factors: Tensor, entries: Tensor) -> Tensor:
    """h_t = factors_t h_(t-1) + entries_t along the last axis, h_0 = 0. All shapes (..., L)."""
    if not torch.is_grad_enabled():  # a trace must hold no function of Python
        return _scan(factors, entries)
    result: Tensor = _LinearScan.apply(factors, entries)
    return result


class _LinearScan(torch.autograd.Function):
    """Its gradient is a scan from the other end."""

    @staticmethod
    def forward(ctx: Any, factors: Tensor, entries: Tensor) -> Tensor:
        states = _scan(factors, entries)
        ctx.save_for_backward(factors, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        factors, states = ctx.saved_tensors
        # g_t = grad_t + factors_(t+1) g_(t+1)
        following = F.pad(factors[..., 1:], (0, 1)).flip(-1)
        grad_entries = _scan(following, grad.flip(-1)).flip(-1)
        return grad_entries * F.pad(states[..., :-1], (1, 0)), grad_entries


def _scan(factors: Tensor, entries: Tensor) -> Tensor:
    """In two levels: all blocks of about sqrt(L) places go at once, then what each hands to the
    next."""
    length = int(entries.shape[-1])  # a tensor, where torch.jit traces
    block = max(1, round(length**0.5))
    num_blocks = -(-length // block)
    padding = (0, num_blocks * block - length)
    a, x = (F.pad(y, padding).unflatten(-1, (num_blocks, block)) for y in (factors, entries))
    product, state = a[..., 0], x[..., 0]
    products, states = [product], [state]
    for place in range(1, block):
        product = a[..., place] * product
        state = a[..., place] * state + x[..., place]
        products.append(product)
        states.append(state)
    carry = torch.zeros_like(state[..., 0])
    carries = []
    for number in range(num_blocks):
        carries.append(carry)
        carry = product[..., number] * carry + state[..., number]
    carried = torch.stack(carries, -1)[..., None]
    whole = torch.stack(states, -1) + torch.stack(products, -1) * carried
    return whole.flatten(-2)[..., :length]
