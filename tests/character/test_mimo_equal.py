"""The decoder against MIMO's official code, in numbers.

golden/mimo_halves.npz holds what that code gives (menyifang/MIMO at fcc4c75, Apache-2.0, run once
with diffusers 0.24) for weights and inputs that anybody draws again, see `drawn`: its
UNet3DConditionModel and UNet2DConditionModel with the widths (32, 64, 96, 96), 4 heads, vectors of
16 numbers and the motion modules of its inference_v2.yaml, its PoseGuider and its
ReferenceAttentionControl ("full"), in evaluation mode, at step 500; both halves of guidance.
Nothing of its code is here.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("diffusers", reason="the networks come with the extra [character]")

from character.models import PRESETS, CharacterNetwork
from character.models.weights import load_init, our_name
from nunif.errors import UserError
from nunif.models import create_model

GOLDEN = Path(__file__).parent / "golden" / "mimo_halves.npz"
SMALL: dict[str, Any] = {
    "widths": (32, 64, 96, 96),
    "heads": 4,
    "cross": 16,
    "image_encoder": PRESETS["tiny"]["image_encoder"] | {"projection_dim": 16},
    "codec_sizes": {"widths": (8, 8, 8, 8), "groups": 4},
}
# diffusers' names of motion modules, and MIMO's
OFFICIAL = {
    "attn1": "attention_blocks.0",
    "attn2": "attention_blocks.1",
    "norm1": "norms.0",
    "norm2": "norms.1",
    "norm3": "ff_norm",
}
FILES = {
    "denoiser": "denoising_unet",
    "reference_net": "reference_unet",
    "pose_guider": "pose_guider",
    "codec.vae": "vae",
    "image_encoder.clip": "image_encoder",
}


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers for a tensor by its name, the same everywhere: about as large as a network needs
    them to pass its input on, and none of them special."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(tuple(shape), dtype=np.float32)
    if len(shape) > 1:
        values /= np.float32(np.sqrt(np.prod(shape[1:])))
    else:
        values = values * np.float32(0.1) + np.float32(name.endswith("weight"))
    return torch.from_numpy(values)


def drawn_input(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return drawn(f"input.{name}", shape) * float(np.sqrt(np.prod(shape[1:])))


def official_name(name: str) -> str:
    """The name that MIMO's file has for a tensor of diffusers' UNetMotionModel."""
    head, middle, rest = name.partition(".motion_modules.")
    if not middle:
        return name
    words = rest.split(".")
    words = [words[0], "temporal_transformer", *(OFFICIAL.get(word, word) for word in words[1:])]
    return f"{head}{middle}{'.'.join(words)}"


def weights_of(network: CharacterNetwork, part: str) -> dict[str, torch.Tensor]:
    """Drawn weights of a part of the network, by MIMO's names."""
    own = network.get_submodule(part).state_dict()
    return {
        official_name(name): drawn(f"{part}.{name}", tuple(tensor.shape))
        for name, tensor in own.items()
        if not name.endswith("pos_embed.pe")
    }


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder of small weights in the layout of MIMO's files."""
    folder = tmp_path_factory.mktemp("mimo")
    torch.manual_seed(0)
    network = create_model("character.mimo", **SMALL)
    tensors = {part: weights_of(network, part) for part in FILES}
    assert len(tensors["denoiser"]) == 1232
    pe = network.denoiser.state_dict()[
        "mid_block.motion_modules.0.transformer_blocks.0.pos_embed.pe"
    ]
    motion = {name: t for name, t in tensors["denoiser"].items() if ".motion_modules." in name}
    motion["mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"] = pe  # fmt: skip  # noqa: E501
    tensors["denoiser"] = {n: t for n, t in tensors["denoiser"].items() if n not in motion}
    for name in ("conv_norm_out.weight", "conv_norm_out.bias", "conv_out.weight", "conv_out.bias"):
        del tensors["reference_net"][name]
    torch.save(motion, folder / "motion_module.pth")
    for part, name in FILES.items():
        torch.save(tensors[part], folder / f"{name}.pth")
    return folder


@pytest.fixture(scope="module")
def network(published) -> CharacterNetwork:
    torch.manual_seed(1)
    made = create_model("character.mimo", **SMALL)
    assert isinstance(made, CharacterNetwork)
    lines = load_init(made, published)
    assert lines[0].startswith("denoiser: 1232 tensors of ")
    assert lines[1].startswith("reference_net: 682 tensors of ")
    with torch.device("meta"):
        without_numbers = create_model("character.mimo", **SMALL)
    assert load_init(without_numbers, published, only_names=True) == lines
    return made.eval()


def difference(network: CharacterNetwork) -> float:
    """The largest difference from what MIMO gives, in both halves."""
    given = {
        "noisy": drawn_input("noisy", (1, 4, 3, 16, 8)),
        "scene": drawn_input("scene", (1, 4, 3, 16, 8)),
        "pose": drawn_input("pose", (1, 3, 3, 128, 64)),
        "identity": drawn_input("identity", (1, 4, 16, 8)),
        "embedding": drawn_input("embedding", (1, 1, 16)),
    }
    both = {name: tensor.repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in given.items()}
    with np.load(GOLDEN) as golden:
        wanted = np.stack([golden["without"], golden["with_identity"]])
    with torch.no_grad():
        got = network(**both, timestep=500, use=torch.tensor([False, True]))
    assert 0.5 < wanted.std() < 0.6
    return float(np.abs(got.numpy() - wanted).max())


def test_it_equals_the_official_network_with_the_official_layout_of_weights(network):
    assert difference(network) <= 1e-5


def test_without_the_norm_of_each_frame_it_is_another_network(published):
    other = create_model("character.mimo", **SMALL, frame_norm=False)
    assert isinstance(other, CharacterNetwork)
    load_init(other, published)
    assert difference(other.eval()) >= 1e-2


def test_new_inputs_of_the_first_convolution_begin_at_zero(published, tmp_path):
    """Weights of 8 channels into 12, as from a folder of Stable Diffusion."""
    other = create_model("character.mimo", **SMALL, occlusion=True)
    assert isinstance(other, CharacterNetwork)
    load_init(other, published)
    weights = other.denoiser.conv_in.weight
    assert weights.shape[1] == 12 and bool((weights[:, 8:] == 0).all())
    assert torch.equal(weights[:, :8], drawn("denoiser.conv_in.weight", (32, 8, 3, 3)))


def test_what_is_missing_or_too_much_is_named(network, published, tmp_path):
    for path in published.iterdir():
        (tmp_path / path.name).symlink_to(path)
    guider = torch.load(published / "pose_guider.pth", weights_only=True)
    guider["conv_last.bias"] = guider.pop("conv_out.bias")
    (tmp_path / "pose_guider.pth").unlink()
    torch.save(guider, tmp_path / "pose_guider.pth")
    with pytest.raises(UserError, match=r"pose_guider: .*conv_out\.bias.*conv_last\.bias"):
        load_init(network, tmp_path)
    (tmp_path / "vae.pth").unlink()
    (tmp_path / "pose_guider.pth").unlink()
    with pytest.raises(UserError, match=r"no weights for the codec\.vae: put sd15/vae or vae or"):
        load_init(network, tmp_path)


def test_stable_diffusion_with_animatediffs_layers_is_a_start_too(tmp_path):
    """Folders of diffusers: four channels come in, the autoencoder's attention has its names of
    2022, and of what is learned nothing is left out."""
    torch.manual_seed(2)
    network = create_model("character.sd15", **SMALL)
    assert isinstance(network, CharacterNetwork)
    unet = weights_of(network, "denoiser")
    motion = {name: t for name, t in unet.items() if ".motion_modules." in name}
    plain = {name: t for name, t in unet.items() if name not in motion}
    plain["conv_in.weight"] = plain["conv_in.weight"][:, :4].contiguous()
    vae = {
        name.replace("mid_block.attentions.0.to_q", "mid_block.attentions.0.query")
        .replace("mid_block.attentions.0.to_k", "mid_block.attentions.0.key")
        .replace("mid_block.attentions.0.to_v", "mid_block.attentions.0.value")
        .replace("mid_block.attentions.0.to_out.0", "mid_block.attentions.0.proj_attn"): tensor
        for name, tensor in weights_of(network, "codec.vae").items()
    }
    clip = weights_of(network, "image_encoder.clip")
    clip["vision_model.embeddings.position_ids"] = torch.arange(65)[None]
    for name, tensors in {
        "sd15/unet/diffusion_pytorch_model": plain,
        "sd15/vae/diffusion_pytorch_model": vae,
        "image_encoder/model": clip,
    }.items():
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir(parents=True)
        save_file(tensors, path)
    wrapped = {f"module.{name}": tensor for name, tensor in motion.items()}
    torch.save({"global_step": 3, "state_dict": wrapped}, tmp_path / "motion_module.ckpt")
    lines = load_init(network, tmp_path)
    with torch.device("meta"):
        without_numbers = create_model("character.sd15", **SMALL)
    assert load_init(without_numbers, tmp_path, only_names=True) == lines
    assert lines[1].startswith("reference_net: 686 tensors of ")
    assert lines[2].startswith("pose_guider: begins anew")
    assert bool((network.denoiser.conv_in.weight[:, 4:] == 0).all())
    for part, given in (("denoiser", motion), ("reference_net", plain), ("codec.vae", vae)):
        own = network.get_submodule(part).state_dict()
        name, tensor = next((n, t) for n, t in given.items() if "to_q" in n or "query" in n)
        assert torch.equal(own[our_name(name)], tensor), name
    (tmp_path / "motion_module.ckpt").unlink()
    with pytest.raises(UserError, match=r"does not fit the denoiser: .*motion_modules"):
        load_init(network, tmp_path)
