"""A run of frames made in windows."""

import pytest
import torch

pytest.importorskip("diffusers", reason="the networks come with the extra [character]")

from character.models import CharacterNetwork
from character.runtime.sampler import (
    Codes,
    Looks,
    Sampling,
    draw_frames_noise,
    make_piece,
    pieces,
    windows,
)
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
    return made(network, looks, codes, Sampling(**{**usual, **settings})).latents


def made(network, looks, codes, sampling, **how):
    return make_piece(network, looks, codes, sampling, name="film", **how)


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


def test_a_frames_noise_is_its_own_whatever_it_is_made_with():
    shape = torch.Size((1, 2, 5, 4, 4))
    whole = draw_frames_noise(shape, 3, "film", 10)
    part = draw_frames_noise(torch.Size((1, 2, 2, 4, 4)), 3, "film", 12)
    assert torch.equal(whole[:, :, 2:4], part)
    assert whole.std().item() == pytest.approx(1, abs=0.15)
    assert not torch.equal(whole[:, :, 0], whole[:, :, 1])
    for seed, name in ((4, "film"), (3, "other")):
        assert not torch.equal(whole, draw_frames_noise(shape, seed, name, 10))


def test_pieces_of_a_long_run_are_alike_and_share_what_windows_share():
    sampling = Sampling(window=24, overlap=4)
    assert pieces(96, sampling) == [range(96)]
    assert pieces(97, sampling) == [range(0, 50), range(46, 97)]
    assert pieces(3, sampling) == [range(3)]
    assert pieces(20, Sampling(window=4, overlap=0)) == [range(0, 10), range(10, 20)]
    many = pieces(3000, sampling)
    assert (many[0].start, many[-1].stop) == (0, 3000)
    assert all(one.stop - after.start == 4 for one, after in zip(many, many[1:]))
    assert {len(part) for part in many} == {94, 95}


def test_a_piece_goes_on_from_the_one_before(network, run):
    """Its first frames are those that were made: all that its others see of them is what the first
    piece saw, so with windows that end there, the second half of a run is the same made either
    way."""
    codes, looks = run
    sampling = Sampling(num_steps=2, window=4, overlap=1)
    first = made(network, looks, part_of(codes, range(4)), sampling, first=5, num_kept=1)
    assert [tuple(noisy.shape) for noisy in first.path] == [(1, 12, 1, 8, 8)] * 2
    rest = part_of(codes, range(3, T))
    assert torch.equal(part_of(codes, range(4)).last(1).before(part_of(codes, range(4, T))).face,
                       rest.face)  # fmt: skip
    on = made(network, looks, rest, sampling, first=8, held=first.path).latents
    noise = draw_frames_noise(codes.scene.shape, 0, "film", 5)
    assert torch.equal(first.path[0], noise[:, :, 3:4])
    alone = made(network, looks, rest, sampling, first=8).latents
    assert (on - alone)[:, :, 1:].abs().max() > 1e-4
    own_path = made(network, looks, rest, sampling, first=8, num_kept=4).path
    held = [noisy[:, :, :1] for noisy in own_path]
    again = made(network, looks, rest, sampling, first=8, held=held).latents
    assert torch.equal(again, alone)


def part_of(codes, frames):
    taken = slice(frames.start, frames.stop)
    films = (codes.scene[:, :, taken], codes.occlusion[:, :, taken])
    return Codes(*films, codes.face[taken], codes.bary[taken])
