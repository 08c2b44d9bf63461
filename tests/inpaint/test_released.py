"""The model that comes along: it opens, it is small, it remembers, and it is no worse than what needs no training."""

from pathlib import Path

import pytest
import torch

from nunif.models import create_model, load_model
from tests.exam import KINDS, sit

PATH = Path(__file__).parents[2] / "pretrained_models" / "memory_dstt_v1_tiny.pth"


@pytest.fixture(scope="module")
def model():
    return load_model(PATH, expect="inpaint.")[0].eval()


def test_it_is_small_and_finite(model):
    assert model.name == "inpaint.memory_dstt_v1_tiny"
    assert PATH.stat().st_size < 12e6
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert (PATH.parent / "README.md").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_the_exam(model, kind):
    on, off = sit(model, kind)
    assert on > off + 6 and on > 28, (on, off)
    assert off > sit(create_model(model.name).eval(), kind)[1] - 0.5  # its weights do no harm
