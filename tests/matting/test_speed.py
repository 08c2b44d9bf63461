"""What networks cost: `python -m matting speed` and how times become figures, and memory in
training."""

import copy
import json

import pytest
import torch

from matting import MattingNetwork
from matting.commands import MATTING
from matting.speed import gflop_of, in_words, ratio_of, times_of
from nunif.models import create_model
from nunif.timing import Timing
from nunif.training.recompute import recompute_activations
from tests.matting.weights import pictures


@pytest.mark.parametrize(
    "name, parameters, gflop",
    [("mobileone_s0", 2.0e6, 10), ("mobileone_s0_small", 0.95e6, 3.1), ("mobilenetv3", 3.8e6, 9)],
)
def test_what_is_promised_of_a_frame_of_288x512(name, parameters, gflop):
    """Fused, as they run."""
    with torch.device("meta"):
        model = create_model(f"matting.{name}").fuse().eval()
        found = gflop_of(model, torch.zeros(1, 3, 288, 512), 1)
        half = gflop_of(model, torch.zeros(1, 3, 288, 512), 0.5)
    assert model.num_parameters <= parameters
    assert 0.6 * gflop < found <= gflop
    assert half < 0.35 * found


def test_times_become_figures():
    found = times_of([0.1] * 18 + [0.3, 0.3])
    assert found["p50_ms"] == 100 and found["p95_ms"] == 300
    assert found["frames_per_second"] == pytest.approx(20 / 2.4, abs=1e-3)


def test_a_ratio_is_of_the_turns_of_one_round():
    """What hits both in a round is no difference."""
    timings = {"a": Timing(wall=[1.0, 8.0, 2.0]), "b": Timing(wall=[0.5, 4.0, 1.0])}
    assert ratio_of(timings, "a", "b") == 2 and ratio_of(timings, "a", "a") == 1


@pytest.mark.slow
def test_the_command(run, tmp_path):
    code, out, lines = run(
        MATTING, "speed", "--archs", "mobileone_s0_small", "--size", "32x48", "--rounds", 2,
        "--gpu", -1, "-o", tmp_path / "new" / "speed.json",
    )  # fmt: skip
    assert code == 0, lines
    result = json.loads((tmp_path / "new" / "speed.json").read_text())
    (row,) = result["networks"]
    for name in ("frames_per_second", "p50_ms", "p95_ms", "peak_mb", "parameters", "gflop"):
        assert row[name] > 0
    assert row["p50_ms"] <= row["p95_ms"]
    assert row["times_faster_than_mobileone_s0_small"] == 1
    assert result["first_against_itself"] > 0
    assert in_words(result) == out.strip()
    assert "mobileone_s0_small against itself: " in out


def test_an_unknown_network_is_one_line(run):
    code, _, lines = run(MATTING, "speed", "--archs", "mobilenet", "--gpu", -1)
    assert code == 1 and "unknown model 'matting.mobilenet': known are matting." in lines[-1]
    code, _, lines = run(MATTING, "speed", "--archs", "a,,b", "--gpu", -1)
    assert code == 1 and "--archs a,,b: give names" in lines[-1]


def test_activations_computed_again_cost_memory_no_more_and_change_nothing():
    """`train.py matting --activation-checkpointing`."""
    torch.manual_seed(1)
    plain = MattingNetwork("mobileone", widths=[8, 8, 8, 8], pooled=16).train()
    saving = copy.deepcopy(plain)
    recompute_activations(saving)
    clip = pictures(1, 2, 3, 48, 64, seed=1)
    kept = []
    for model in (plain, saving):
        num_bytes = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal num_bytes
            num_bytes += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            foreground, alpha, *_ = model(clip)
        kept.append(num_bytes)
        (foreground.mean() + alpha.square().mean()).backward()
    assert kept[1] < 0.2 * kept[0]
    grads = [
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for model in (plain, saving)
    ]
    assert grads[0].keys() == grads[1].keys() and len(grads[0]) > 50
    for name, grad in grads[0].items():
        assert (grads[1][name] - grad).abs().max() <= 1e-6, name
    for name, value in plain.state_dict().items():
        assert torch.equal(saving.state_dict()[name], value), name
