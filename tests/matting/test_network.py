"""The matting network against numbers of Robust Video Matting's own, and its streams against its
clips.

rvm.json holds the names and shapes of the tensors in that project's files, and what its network
gave for random weights (`weights.py`) at some places; it holds none of its weights.
"""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from matting import MattingNetwork, reparameterize_model
from matting.models import usual_ratio, zero_states
from matting.models.decoder import ConvGate, ConvGRU
from nunif.errors import UserError
from nunif.models import create_model, load_model, save_model
from tests.matting.weights import calibrate, pictures, weights_by_name

REFERENCE = json.loads((Path(__file__).parent / "rvm.json").read_text(encoding="utf-8"))
CLIP_SIZE = (143, 255)


def foreign_weights(variant: str, *, deep: bool = True) -> dict[str, torch.Tensor]:
    """Random weights under the names of Robust Video Matting."""
    shapes = REFERENCE["names"][variant]
    if not deep:
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith("refiner")}
    return weights_by_name(shapes)


def small_network(**kwargs) -> MattingNetwork:
    """The narrowest that there is, with weights that give mattes of all values."""
    torch.manual_seed(0)
    kwargs = {"variant": "mobilenetv3", "widths": (8, 8, 8, 8), "pooled": 16} | kwargs
    model = MattingNetwork(**kwargs)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    own = {
        name: tensor for name, tensor in weights_by_name(shapes).items() if len(shapes[name]) > 1
    }
    assert norms
    model.load_state_dict({**model.state_dict(), **own})
    return model


@pytest.mark.parametrize("case", list(REFERENCE["golden"]))
def test_the_numbers_of_robust_video_matting(case):
    variant, refiner, ratio = case.split("/")
    model = MattingNetwork(variant, refiner)
    model.load_state_dict(foreign_weights(variant, deep=refiner.startswith("deep")))
    calibrate(model, float(ratio))
    clip = pictures(1, 3, 3, *CLIP_SIZE, seed=9)
    with torch.no_grad():
        fgr, pha, *states = model(clip, downsample_ratio=float(ratio))
        seg, *_ = model(clip, downsample_ratio=float(ratio), segmentation_pass=True)
    assert pha.std() > 0.05
    named = {f"r{number}": state for number, state in enumerate(states, 1)}
    for name, value in {"fgr": fgr, "pha": pha, "seg": seg, **named}.items():
        wanted = REFERENCE["golden"][case][name]
        assert list(value.shape) == wanted["shape"], name
        flat = value.flatten()
        places = torch.linspace(0, flat.numel() - 1, 24, dtype=torch.float64).long()
        assert flat[places].tolist() == pytest.approx(wanted["values"], abs=3e-4), name
        assert flat.double().mean().item() == pytest.approx(wanted["mean"], abs=1e-5), name


@pytest.mark.parametrize("ratio", [1, 0.4])
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"recurrent": "ssm"}, {"recurrent": "gate"}, {"recurrent": "none"}, {"num_blocks": 1}],
    ids=str,
)
def test_a_stream_in_pieces_of_any_length_is_the_clip(kwargs, ratio):
    model = calibrate(small_network(**kwargs), ratio)
    clip = pictures(1, 13, 3, 71, 95, seed=3)
    with torch.no_grad():
        whole = model(clip, downsample_ratio=ratio)
        assert whole[1].std() > 0.05
        pieces, states = [], [None] * 4
        for piece in clip.split([1, 1, 3, 2, 5, 1], dim=1):
            fgr, pha, *states = model(piece, *states, downsample_ratio=ratio)
            pieces.append((fgr, pha))
        fresh = model(clip[:, 4:], downsample_ratio=ratio)
    for number in range(2):
        stream = torch.cat([piece[number] for piece in pieces], 1)
        assert (stream - whole[number]).abs().max() < 1e-4
    for state, wanted in zip(states, whole[2:]):
        assert (state - wanted).abs().max() < 1e-4
    remembers = kwargs.get("recurrent") not in ("gate", "none")
    differs = (fresh[1] - whole[1][:, 4:]).abs().max() > 1e-3
    assert bool(differs) == remembers


def test_a_gate_gives_what_a_gated_unit_gives_first():
    torch.manual_seed(5)
    gru, gate = ConvGRU(4), ConvGate(4)
    gate.load_state_dict(
        {
            "gate.weight": gru.gates.weight[4:, :4],
            "gate.bias": gru.gates.bias[4:],
            "candidate.weight": gru.candidate.weight[:, :4],
            "candidate.bias": gru.candidate.bias,
        }
    )
    x, zeros = torch.randn(2, 3, 4, 6, 7), torch.zeros(2, 4, 6, 7)
    with torch.no_grad():
        found, state = gate(x, zeros)
        for number in range(3):
            first = gru(x[:, number : number + 1], zeros)[0][:, 0]
            assert first.std() > 0.05 and torch.allclose(found[:, number], first, atol=1e-6)
    assert state is zeros


def test_single_frames_and_zeros_of_one_pixel():
    """As engines and programs for Robust Video Matting start a stream."""
    model = calibrate(small_network(), 1)
    frame = pictures(2, 3, 71, 95, seed=3)
    with torch.no_grad():
        fgr, pha, *states = model(frame)
        started = model(frame, *[torch.zeros(1, 1, 1, 1)] * 4)
        clip = model(frame[:, None])
    assert (fgr.shape, pha.shape) == ((2, 3, 71, 95), (2, 1, 71, 95))
    assert [state.shape for state in states] == [
        zeros.shape for zeros in zero_states(model, 71, 95, batch_size=2)
    ]
    for value, other, third in zip((fgr, pha, *states), started, clip):
        assert torch.equal(value, other)
        assert torch.equal(value, third.view(value.shape))


def test_the_fast_filter_finds_a_linear_matte():
    """Where alpha is a linear function of the picture, the small one gives the large one."""
    model = small_network(refiner="fast_guided_filter")
    picture = pictures(1, 3, 64, 96, seed=1) * 0.1 + torch.linspace(0, 1, 96)
    small = nn.functional.avg_pool2d(picture, 2)
    matte = torch.cat([0.5 * small - 0.1, small.mean(1, keepdim=True) * 0.7 + 0.2], 1)
    large = model.refiner(picture, small, matte, matte)
    wanted = torch.cat([0.5 * picture - 0.1, picture.mean(1, keepdim=True) * 0.7 + 0.2], 1)
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert torch.allclose(large[inside], wanted[inside], atol=2e-3)


@pytest.mark.parametrize("variant", ["mobileone_s0", "mobileone_s1", "mamba"])
def test_fused_networks_give_the_same(tmp_path, variant):
    model = calibrate(small_network(variant=variant), 1)
    clip = pictures(1, 2, 3, 64, 96, seed=5)
    with torch.no_grad():
        _, alpha, *_ = model(clip)
        before = model.num_parameters
        fused = reparameterize_model(model)
        _, after, *_ = fused(clip)
    assert alpha.std() > 0.05
    assert torch.allclose(alpha, after, atol=1e-4)
    assert fused.num_parameters < before
    save_model(fused, tmp_path / "m.pth")
    loaded, _ = load_model(tmp_path / "m.pth", expect="matting.")
    with torch.no_grad():
        assert torch.equal(loaded.eval()(clip)[1], after)


def test_the_promised_sizes():
    """Two million parameters and less, fused; mobilenetv3 is Robust Video Matting's."""
    assert create_model("matting.mobilenetv3").num_parameters == 3_748_633
    assert create_model("matting.mobileone_s0").fuse().num_parameters < 2_000_000


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("variant", ["mobilenetv3", "resnet50"])
def test_files_of_robust_video_matting_open(tmp_path, variant, deep):
    weights = foreign_weights(variant, deep=deep)
    assert len(weights) == {"mobilenetv3": 326, "resnet50": 329}[variant] - (0 if deep else 13)
    torch.save(dict(sorted(weights.items())), tmp_path / "rvm.pth")
    model, _ = load_model(tmp_path / "rvm.pth", expect="matting.")
    assert model.name == f"matting.{variant}" + ("" if deep else "_fast")
    direct = MattingNetwork(variant, f"{'deep' if deep else 'fast'}_guided_filter")
    direct.load_state_dict(weights)
    for name, tensor in direct.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    del weights[
        "backbone.features.4.block.2.fc1.bias"
        if variant == "mobilenetv3"
        else "aspp.aspp2.1.weight"
    ]
    torch.save(weights, tmp_path / "torn.pth")
    with pytest.raises(UserError, match="names of Robust Video Matting and does not fit: missing"):
        load_model(tmp_path / "torn.pth", expect="matting.")


def test_unknown_names_are_told():
    for kwargs, match in (
        ({"variant": "vgg"}, "unknown backbone 'vgg': known are mobilenetv3"),
        ({"refiner": "none"}, "unknown refiner 'none': known are deep_guided_filter"),
        ({"recurrent": "lstm"}, "unknown recurrent 'lstm': known are gru, ssm, gate, none"),
        ({"keep_last": True}, "keep_last is for MobileOne, not for mobilenetv3"),
    ):
        with pytest.raises(ValueError, match=match):
            MattingNetwork(**kwargs)


def test_the_usual_ratio():
    assert usual_ratio(288, 512) == 1
    assert usual_ratio(1080, 1920) == 512 / 1920


def test_an_alpha_that_is_below_zero_everywhere_is_learned_from():
    model = small_network()
    nn.init.constant_(model.matte_head.weight, 0.0)
    nn.init.constant_(model.matte_head.bias, -1.0)  # of the foreground too, whose range it leaves
    foreground, alpha, *_ = model(torch.full((1, 3, 32, 32), 0.5))
    assert not alpha.any() and not foreground.any()
    (1 - alpha.mean() + foreground.mean()).backward()
    slopes = model.matte_head.bias.grad
    assert slopes[3] == -1  # more of it makes the error smaller
    assert not slopes[:3].any()  # less of the colours would not
