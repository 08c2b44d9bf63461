"""The models that come along: they open, are small, remember, and are no worse than what needs no
training."""

from pathlib import Path

import pytest
import torch

from nunif.models import create_model, load_model
from tests.exam import KINDS, sit

FOLDER = Path(__file__).parents[2] / "pretrained_models"
NAMES = ("picture_memory_v1", "memory_dstt_v1_tiny")


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return load_model(FOLDER / f"{request.param}.pth", expect="inpaint.")[0].eval()


def test_the_card_names_every_file():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = {path.stem for path in FOLDER.glob("*.pth")}
    assert files >= set(NAMES)
    assert all(f"## {name}.pth" in card for name in files)


def test_it_is_small_and_finite(model):
    path = FOLDER / f"{model.name.removeprefix('inpaint.')}.pth"
    assert path.stat().st_size < 12e6
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_the_exam(model, kind):
    on, off = sit(model, kind)
    assert on > off + 6 and on > 28, (on, off)
    assert off > sit(create_model(model.name).eval(), kind)[1] - 0.5  # its weights do no harm
