"""The presets in numbers, and what the decoder promises to those who train it and sample it."""

import sys

import pytest
import torch

pytest.importorskip("diffusers", reason="the networks come with the extra [character]")

from character.models import CharacterNetwork, Surface
from character.models.network import count
from nunif.errors import UserError
from nunif.models import create_model


@pytest.fixture(scope="module")
def tiny() -> CharacterNetwork:
    torch.manual_seed(0)
    network = create_model("character.tiny")
    assert isinstance(network, CharacterNetwork)
    # what begins at zero would hide what is wrong behind it
    torch.nn.init.normal_(network.pose_guider.conv_out.weight, std=0.1)
    return network


def codes(seed: int = 0) -> dict[str, torch.Tensor]:
    """Of two clips of three frames of 32 x 32."""
    rng = torch.Generator().manual_seed(seed)
    clip = (2, 12, 3, 8, 8)
    return {
        "noisy": torch.randn(clip, generator=rng),
        "timestep": torch.tensor([20, 900]),
        "scene": torch.randn(clip, generator=rng),
        "occlusion": torch.randn(clip, generator=rng),
        "pose": torch.randn(2, 16, 3, 32, 32, generator=rng),
        "identity": torch.randn(2, 12, 8, 8, generator=rng),
        "embedding": torch.randn(2, 1, 32, generator=rng),
    }


@pytest.mark.parametrize(
    "name, denoiser, reference, num_sites, num_frame_norms, in_channels",
    [
        ("mimo", 1_312_741_764, 859_520_964, 16, 21, 8),
        ("sd15", 1_312_753_284, 859_520_964, 16, 21, 12),
        ("tiny", 1_501_996, 1_059_660, 7, 7, 36),
    ],
)
def test_the_presets_have_the_sizes_of_the_published_networks(
    name, denoiser, reference, num_sites, num_frame_norms, in_channels
):
    with torch.device("meta"):
        network = create_model(f"character.{name}")
    assert count(network.denoiser) == denoiser
    assert count(network.reference_net) == reference
    assert (len(network.sites), network.num_frame_norms) == (num_sites, num_frame_norms)
    assert network.denoiser.conv_in.weight.shape[1] == in_channels
    if name == "tiny":
        return
    assert round(count(network.codec) / 1e6, 2) == 83.65
    assert round(count(network.image_encoder) / 1e6, 2) == 303.97
    assert round(count(network.pose_guider) / 1e6, 2) == 1.09
    assert (network.clip_length, network.positions, network.size_multiple) == (24, 32, 64)


def test_without_diffusers_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"need the package diffusers .*: pip install '\.\[char"):
        create_model("character.tiny")


def test_each_code_steers_the_prediction_and_one_without_identity_knows_nothing_of_it(tiny):
    given, other = codes(), codes(1)
    use = torch.tensor([True, False])
    with torch.no_grad():
        usual = tiny(**given, use=use)
        swapped = {
            name: tiny(**(given | {name: other[name]}), use=use)
            for name in ("scene", "occlusion", "pose", "identity", "embedding")
        }
    moved = {name: (result - usual).abs().amax((1, 2, 3, 4)) for name, result in swapped.items()}
    for name in ("scene", "occlusion", "pose"):
        assert moved[name].min() > 1e-3, name
    for name in ("identity", "embedding"):
        with_identity, without = moved[name].tolist()
        assert with_identity > 1e-4 and without == 0, name


def test_tokens_of_the_reference_tell_which_place_of_the_skin_they_are_of():
    """The body of a portrait of the world is added to the picture, in the skin's codes."""
    torch.manual_seed(0)
    network = create_model("character.tiny", stance=True, size=32)
    assert isinstance(network, CharacterNetwork) and network.stance is not None
    torch.nn.init.normal_(network.pose_guider.conv_out.weight, std=0.1)
    given = codes()
    face = network.stance.face[0, 0]
    assert face.shape == (32, 32) and 0.1 < (face >= 0).float().mean() < 0.25
    assert (face[6:26] >= 0).any(dim=1).all() and (face[0] < 0).all()
    with torch.no_grad():
        bank = network.reference(given["identity"], given["embedding"])
        network.skin.codes += 1
        other = network.reference(given["identity"], given["embedding"])
    assert all((bank[site] - other[site]).abs().max() > 1e-3 for site in network.sites)
    # the weights are those of a network without it
    assert not network.load_state_dict(create_model("character.tiny").state_dict()).missing_keys


def test_half_precision_says_much_the_same_in_both_halves(tiny):
    given, use = codes(), torch.tensor([True, False])
    with torch.no_grad():
        whole = tiny(**given, use=use)
        with torch.autocast("cpu", torch.bfloat16):
            half = tiny(**given, use=use)
    assert 0 < (half - whole).abs().max() < 0.1


def test_a_bank_made_once_serves_all_steps(tiny):
    given = codes()
    with torch.no_grad():
        bank = tiny.reference(given["identity"], given["embedding"])
        features = tiny.guide(given["pose"])
        rest = {key: given[key] for key in ("noisy", "timestep", "scene", "occlusion", "embedding")}
        once = tiny.denoise(**rest, bank=bank, features=features)
        assert sorted(bank) == tiny.sites
        assert torch.equal(tiny(**given), once)


def test_what_learns_is_what_gets_a_gradient(tiny):
    """The reference network's parameters behind the last site get none, and are left out."""
    tiny.zero_grad(set_to_none=True)
    given = codes()
    face = torch.randint(-1, 3000, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    given["pose"] = Surface(face, torch.rand(2, 3, 32, 32, 3))
    tiny(**given).square().mean().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    left_out = {n for n, p in tiny.reference_net.named_parameters() if not p.requires_grad}
    assert len(left_out) == 24 and "conv_out.weight" in left_out
    tiny.zero_grad(set_to_none=True)


def test_the_codec_gives_smooth_pictures_back(tiny):
    rows = torch.linspace(-0.8, 0.8, 32)
    picture = torch.stack(
        [rows[:, None] + 0 * rows, rows + 0 * rows[:, None], 0 * rows * rows[:, None]]
    )
    clip = torch.stack([picture, -picture], dim=1)[None]  # (1, 3, 2, 32, 32)
    latents = tiny.encode(clip)
    assert latents.shape == (1, 12, 2, 8, 8)
    assert (tiny.decode(latents) - clip).abs().max() < 0.02
    assert torch.equal(tiny.encode(clip[:, :, 1]), latents[:, :, 1])
