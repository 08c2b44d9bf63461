"""A run of frames made in windows."""

import pytest
import torch

pytest.importorskip("diffusers", reason="the networks come with the extra [character]")

from character.models import CharacterNetwork
from character.runtime.sampler import Codes, Looks, Sampling, make_run, windows
from nunif.models import create_model

T = 7


def test_windows_overlap_end_with_the_film_and_never_go_round():
    assert windows(5, 24, 4) == [range(5)]
    assert windows(24, 24, 4) == [range(24)]
    assert windows(44, 24, 4) == [range(0, 24), range(20, 44)]
    assert windows(50, 24, 4) == [range(0, 24), range(20, 44), range(26, 50)]
    assert windows(4, 1, 0) == [range(0, 1), range(1, 2), range(2, 3), range(3, 4)]


@pytest.fixture(scope="module")
def network() -> CharacterNetwork:
    torch.manual_seed(0)
    made = create_model("character.tiny")
    assert isinstance(made, CharacterNetwork)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def run(network):
    """Codes and looks of seven frames of 32 x 32."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(3, 1, 12, T, 8, 8, generator=rng)
    face = torch.randint(-1, 3000, (T, 32, 32), generator=rng).short()
    codes = Codes(latents[0], latents[1], face, torch.full((T, 32, 32, 3), 1 / 3).half())
    embedding = torch.randn(1, 1, 32, generator=rng)
    with torch.no_grad():
        return codes, Looks(network.reference(latents[2, :, :, 0], embedding), embedding)


def make(network, run, **settings):
    codes, looks = run
    usual = {"num_steps": 2, "window": 4, "overlap": 1}
    return make_run(network, looks, codes, Sampling(**{**usual, **settings}), name="run")


def test_frames_in_one_window_alone_depend_on_no_other(network, run):
    """Frames 0 to 2 lie in the first of two windows; in one step the end of the film is none of
    their business, and nothing at its beginning is the end's."""
    codes, looks = run
    usual = make(network, run, num_steps=1)
    scene = codes.scene.clone()
    scene[:, :, T - 1] += 1
    changed = Codes(scene, codes.occlusion, codes.face, codes.bary)
    other = make(network, (changed, looks), num_steps=1)
    moved = (usual - other).abs().amax(dim=(0, 1, 3, 4))
    assert moved[:3].max() == 0 and moved[3:].min() > 0


def test_guidance_goes_beyond_what_the_model_says(network, run):
    """One step of a network that predicts the latents themselves: what is made is the guided
    prediction, which is straight in the scale."""
    plain, twice, thrice = (make(network, run, num_steps=1, guidance=g) for g in (1, 2, 3))
    assert (twice - plain).abs().max() > 1e-4
    assert torch.allclose(thrice - twice, twice - plain, atol=1e-5)


def test_the_whole_in_one_window_is_what_the_network_says_of_all(network, run):
    whole = make(network, run, window=T, overlap=0)
    assert whole.shape == (1, 12, T, 8, 8)
    assert not torch.equal(whole, make(network, run))
    assert torch.equal(whole, make(network, run, window=12, overlap=3))
    assert not torch.equal(whole, make(network, run, window=T, overlap=0, seed=1))
