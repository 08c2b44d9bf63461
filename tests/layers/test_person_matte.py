"""The matting model that comes along: its file, its card, and what its users run with it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from layers.commands import LAYERS
from matting.commands import MATTING
from matting.runtime.stream import MatteStream
from nunif.errors import UserError
from nunif.models import read_model_file
from nunif.video.reader import VideoReader
from tests.matting.test_person_finder import portrait
from tests.videos import write_clip

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "pretrained_models" / "person_matte_v1.pth"
H, W = 144, 256
NOBODY = -400  # where somebody stands who isn't seen
PLACES = (NOBODY, NOBODY, 90, 100, 110, NOBODY)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    frames = [portrait(H, W, place) for place in PLACES]
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return write_clip(path, frames, codec="ffv1", num_b_frames=0, pixel_format="bgr0")


def test_the_file_is_small_whole_and_the_one_of_its_card():
    assert FILE.stat().st_size < 12e6
    _, content = read_model_file(FILE)
    assert content["name"] == "matting.efficientnet_lite0_fast"
    # nothing of the machine that it was trained on
    known = {"nunif_model", "name", "kwargs", "state_dict", "updated_at", "epoch", "metrics"}
    assert set(content) <= known
    assert all(torch.isfinite(tensor).all() for tensor in content["state_dict"].values())
    card = (FILE.parent / "README.md").read_text(encoding="utf-8")
    section = card.split(f"## {FILE.name}\n")[1].split("\n## ")[0]
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() in section


def test_torch_hub_gives_it():
    model = torch.hub.load(ROOT, "efficientnet_rvm", pretrained=True, source="local")
    weights = read_model_file(FILE)[1]["state_dict"]
    assert torch.equal(model.state_dict()["matte_head.bias"], weights["matte_head.bias"].float())
    assert not model.training
    with pytest.raises(UserError, match="of one network, so recurrent= can't be changed"):
        torch.hub.load(ROOT, "efficientnet_rvm", pretrained=True, recurrent="gru", source="local")
    with pytest.raises(UserError, match="both name weights: leave one out"):
        torch.hub.load(
            ROOT, "efficientnet_rvm", pretrained=True, checkpoint="m.pth", source="local"
        )


def test_it_finds_who_is_drawn_and_nobody_on_a_wall():
    stream = MatteStream.open(FILE, gpu=-1)
    alphas = [stream([portrait(H, W, place)])[0][1] for place in PLACES]
    drawn = (portrait(H, W, 110) != portrait(H, W, NOBODY)).any(axis=2)
    found = alphas[4] > 127
    assert (found & drawn).sum() / (found | drawn).sum() > 0.7
    assert (alphas[1] > 127).mean() < 0.01


def test_convert_remove_and_split_run_on_it(run, film, tmp_path):
    words = ("-i", film, "--gpu", -1)
    alpha = ("--model", FILE, "--alpha", tmp_path / "alpha")
    code, _, lines = run(MATTING, "convert", *words, "-o", tmp_path / "com.mkv", *alpha)
    assert code == 0, lines
    assert len(list((tmp_path / "alpha").glob("*.png"))) == len(PLACES)
    out = tmp_path / "removed.mkv"
    code, _, lines = run(LAYERS, "remove", *words, "-o", out, "--matting", FILE)
    assert code == 0, lines
    with VideoReader(out) as video:
        removed = np.stack([frame.rgb for frame in video.read(0, len(video))]).astype(int)
    wall, somebody = (portrait(H, W, place).astype(int) for place in (NOBODY, PLACES[3]))
    drawn = (wall != somebody).any(axis=2)
    before, after = (np.abs(x - wall)[drawn].mean() for x in (somebody, removed[3]))
    assert after < 0.5 * before
    code, _, lines = run(LAYERS, "split", *words, "-o", tmp_path / "parts", "--matting", FILE)
    assert code == 0, lines
    assert list((tmp_path / "parts").iterdir())
