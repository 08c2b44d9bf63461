"""Activations that are computed again: less is kept, and nothing else changes."""

import copy

import torch
from torch import nn

from nunif.training.recompute import recompute_activations


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(6, 6), 0

    def forward(self, x):
        self.calls += 1
        return torch.tanh(self.linear(x))


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.blocks = Part(), nn.ModuleList([Part(), Part()])

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return x


def test_every_part_runs_again_and_gradients_and_names_stay():
    torch.manual_seed(3)
    plain, x = Toy(), torch.randn(5, 6)
    saving = copy.deepcopy(plain)
    recompute_activations(saving)
    for model in (plain, saving):
        model(x).square().sum().backward()
    assert [part.calls for part in (plain.first, *plain.blocks)] == [1, 1, 1]
    assert [part.calls for part in (saving.first, *saving.blocks)] == [2, 2, 2]
    assert list(saving.state_dict()) == list(plain.state_dict())
    for ours, theirs in zip(saving.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_without_gradients_nothing_runs_twice():
    model = Toy()
    recompute_activations(model)
    with torch.no_grad():
        model(torch.randn(2, 6))
    assert model.first.calls == 1


def test_batchnorm_counts_a_batch_once():
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(6, momentum=0.5)
    plain = nn.Sequential(nn.Linear(6, 6), norm)
    saving = copy.deepcopy(plain)
    recompute_activations(saving)
    x = torch.randn(5, 6)
    for model in (plain, saving):
        model(x).square().sum().backward()
        model(x).square().sum().backward()
    assert norm.num_batches_tracked == 2
    for name, value in plain.state_dict().items():
        assert torch.equal(saving.state_dict()[name], value), name
    for ours, theirs in zip(saving.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert saving[1].momentum == 0.5
