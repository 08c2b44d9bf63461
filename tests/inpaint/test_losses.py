"""What each loss sees: literal values on tiny clips, and that each looks only where it says."""

import sys
import types

import pytest
import torch

from inpaint.losses import (
    NamedLoss,
    charbonnier,
    dct_l1,
    dct_matrix,
    fft_l1,
    hole_valid_l1,
    log_error,
    masked_l1,
    temporal_l1,
    temporal_smooth_l1,
    true_warping_l1,
    warping_l1,
)
from inpaint.options_train import parse_loss
from nunif.errors import UserError

HOLE = (slice(None), slice(None), slice(None), slice(2, 6), slice(2, 6))


def clip(frames=4, side=16, batch=1):
    truth = (
        torch.rand(batch, frames, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    )
    holes = torch.zeros(batch, frames, 1, side, side)
    holes[HOLE] = 1
    return truth, holes


LOSSES = {
    "hole_valid_l1": hole_valid_l1,
    "charbonnier": charbonnier,
    "log_error": log_error,
    "dct_l1": dct_l1,
    "fft_l1": fft_l1,
    "temporal_l1": temporal_l1,
    "temporal_smooth_l1": temporal_smooth_l1,
    "true_warping_l1": true_warping_l1,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing(name):
    truth, holes = clip(batch=2)
    assert LOSSES[name](truth, truth, holes).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["temporal_l1", "temporal_smooth_l1", "true_warping_l1"])
def test_a_constant_error_has_no_temporal_loss_and_a_flickering_one_has(name):
    truth, holes = clip(frames=6)
    truth = truth[:, :1].expand_as(truth).contiguous()  # a still clip
    still, flicker = truth.clone(), truth.clone()
    still[HOLE] += 0.25
    flicker[:, ::2, :, 2:6, 2:6] += 0.25
    assert LOSSES[name](still, truth, holes).item() == pytest.approx(0, abs=1e-6)
    expected = {"temporal_l1": 0.25, "temporal_smooth_l1": 0.5, "true_warping_l1": 0.25}[name]
    assert LOSSES[name](flicker, truth, holes).item() == pytest.approx(expected, rel=1e-4)


def test_an_error_that_grows_steadily_changes_but_does_not_tremble():
    truth, holes = clip()
    sliding = truth.clone()
    for t in range(4):
        sliding[:, t, :, 2:6, 2:6] += 0.1 * t
    assert temporal_l1(sliding, truth, holes).item() == pytest.approx(0.1, rel=1e-4)
    assert temporal_smooth_l1(sliding, truth, holes).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "name", ["dct_l1", "fft_l1", "temporal_l1", "temporal_smooth_l1", "true_warping_l1"]
)
def test_only_the_hole_counts(name):
    truth, holes = clip()
    outside, inside = truth.clone(), truth.clone()
    outside[..., 10:, 10:] = 0.9
    inside[:, 1, :, 2:6, 2:6] += 0.5
    assert LOSSES[name](outside, truth, holes).item() == pytest.approx(0, abs=1e-6)
    assert LOSSES[name](inside, truth, holes).item() > 0.05


def test_hole_and_seen_part_are_each_divided_by_their_own_area():
    truth, holes = clip()
    inside, outside = truth.clone(), truth.clone()
    inside[HOLE] += 0.5
    outside = torch.where(holes > 0, truth, truth + 0.5)
    assert hole_valid_l1(inside, truth, holes).item() == pytest.approx(0.5)
    assert hole_valid_l1(outside, truth, holes).item() == pytest.approx(0.5)
    assert hole_valid_l1(inside, truth, holes, hole_weight=3).item() == pytest.approx(1.5)
    assert masked_l1(inside, truth, 1 - holes).item() == 0


def test_charbonnier_is_l1_far_out_and_square_near_zero():
    truth, holes = clip()
    far, near = truth.clone(), truth.clone()
    far[HOLE] += 0.5
    near[HOLE] += 1e-4
    assert charbonnier(far, truth, holes).item() == pytest.approx(0.499001, rel=1e-4)
    assert charbonnier(near, truth, holes).item() == pytest.approx(5e-6, rel=0.05)


def test_the_log_of_the_squared_error_counts_easy_clips_as_hard_ones():
    """Half an error saves the same everywhere, until what is left is nearly right already."""
    truth, holes = clip()
    costs = []
    for error in (0.5, 0.25, 0.125, 0.001):
        wrong = truth.clone()
        wrong[HOLE] += error
        costs.append(log_error(wrong, truth, holes).item())
    assert costs[0] == pytest.approx(5.525453, rel=1e-5)  # ln(1 + 0.25 / 0.001)
    assert costs[0] - costs[1] == pytest.approx(1.374, abs=1e-3) and costs[1] - costs[
        2
    ] == pytest.approx(1.340, abs=1e-3)
    assert costs[3] == pytest.approx(0.0009995, rel=1e-3)
    outside = torch.where(holes > 0, truth, truth + 0.5)
    assert log_error(outside, truth, holes).item() == pytest.approx(0.5, rel=1e-5)
    assert NamedLoss("psnr")(outside, truth, holes)[0].item() == pytest.approx(0.5, rel=1e-5)


def test_dct_matrix_is_orthonormal_and_a_constant_is_its_first_wave():
    waves = dct_matrix(8)
    torch.testing.assert_close(waves @ waves.T, torch.eye(8), atol=1e-6, rtol=0)
    truth, holes = torch.zeros(1, 1, 3, 16, 16), torch.ones(1, 1, 1, 16, 16)
    # a whole block off by 0.8: one coefficient of 8 * 0.8 over 64 pixels
    assert dct_l1(truth + 0.8, truth, holes).item() == pytest.approx(0.1, rel=1e-5)
    one = truth.clone()
    one[..., 3, 3] = 1
    by_hand = torch.outer(waves[:, 3], waves[:, 3]).abs().sum().item() * 3 / (16 * 16 * 3)
    assert dct_l1(one, truth, holes).item() == pytest.approx(by_hand, rel=1e-5)


def test_fft_of_a_constant_is_one_coefficient():
    truth, holes = torch.zeros(1, 1, 3, 16, 16), torch.ones(1, 1, 1, 16, 16)
    # 16 * 16 * 0.5 / sqrt(16 * 16) = 8 per picture and colour, over 256 pixels
    assert fft_l1(truth + 0.5, truth, holes).item() == pytest.approx(8 / 256, rel=1e-5)


def test_warping_follows_the_flow():
    row = torch.linspace(-1, 1, 32).view(1, 1, 1, 1, 32).expand(1, 1, 3, 16, 32)
    moved = torch.cat([row, row.roll(2, dims=-1)], dim=1)  # everything goes 2 pixels to the right
    flow = torch.zeros(1, 1, 2, 16, 32)
    flow[:, :, 0] = -2
    mask = torch.ones(1, 1, 1, 16, 32)
    mask[..., :3] = 0
    assert warping_l1(moved, flow, mask).item() == pytest.approx(0, abs=1e-6)
    assert warping_l1(moved, flow * 0, mask).item() == pytest.approx(2 * 2 / 31, rel=1e-4)


def test_single_frames_have_no_loss_in_time():
    truth, holes = clip(frames=1)
    for loss in (temporal_l1, temporal_smooth_l1, true_warping_l1):
        assert loss(truth + 0.3, truth, holes).tolist() == [0.0]


@pytest.mark.parametrize(
    "name, terms",
    [
        ("l1", ["l1"]),
        ("l1lpips", ["l1", "lpips"]),
        ("temporal_l1", ["temporal", "l1"]),
        ("temporal_l1lpips", ["temporal", "l1", "lpips"]),
        ("temporal_l1dctlpips", ["temporal", "l1", "dct", "lpips"]),
        ("temporal_l1lite", ["temporal", "l1", "lite"]),
        ("temporal_psnrlite", ["temporal", "psnr", "lite"]),
        (
            "smooth_temporal_charbonnierffttimm",
            ["smooth", "temporal", "charbonnier", "fft", "timm"],
        ),
    ],
)
def test_names(name, terms):
    assert parse_loss(name) == terms


@pytest.mark.parametrize(
    "name", ["", "l2", "temporal", "l1l1", "dctl1", "l1dctdct", "temporal_temporal_l1"]
)
def test_other_names_list_the_known_words(name):
    with pytest.raises(
        UserError,
        match=(
            f"^--loss {name} is not known: write any of temporal_, smooth_, warp_, then one of l1"
        ),
    ):
        parse_loss(name)


def test_a_combination_is_the_weighted_sum_and_names_its_parts():
    truth, holes = clip()
    output = truth.clone()
    output[:, ::2, :, 2:6, 2:6] += 0.25
    total, parts = NamedLoss("temporal_l1dct")(output, truth, holes)
    assert list(parts) == ["temporal", "l1", "dct"]
    assert parts["temporal"].item() == pytest.approx(0.25) and parts["l1"].item() == pytest.approx(
        0.125
    )
    assert total.item() == pytest.approx(0.5 * 0.25 + 0.125 + 0.2 * parts["dct"].item())


def test_perceptual_losses_say_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UserError, match=r"^LPIPS needs the package lpips: pip install"):
        NamedLoss("l1lpips")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"^the loss timm needs the package timm: pip install"):
        NamedLoss("l1timm")

    def offline(**_):
        raise OSError("no route to host\nsecond line")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=offline))
    with pytest.raises(
        UserError,
        match=r"weights of LPIPS can't be had \(no route to host\): put torchvision's alexnet-owt",
    ):
        NamedLoss("l1lpips")
    monkeypatch.setitem(
        sys.modules, "timm", types.SimpleNamespace(create_model=lambda *_, **__: offline())
    )
    with pytest.raises(
        UserError, match=r"timm/vgg16.tv_in1k can't be had \(no route to host\): run `hf download"
    ):
        NamedLoss("l1timm")


def test_perceptual_losses_see_the_filled_frame_only_through_the_hole(monkeypatch):
    class Difference(torch.nn.Module):
        def forward(self, a, b):
            return (a - b).abs().mean(dim=(1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=lambda **_: Difference()))
    truth, holes = clip()
    truth = truth * 0.5
    total, parts = NamedLoss("l1lpips")(truth + 0.25, truth, holes)
    assert parts["lpips"].item() == pytest.approx(0.25 * 16 / 256)  # 4x4 of 16x16 pixels
    assert total.item() == pytest.approx(0.5 + 0.2 * 0.25 * 16 / 256)


def test_perceptual_losses_are_computed_in_full_precision_whatever_the_model_is_in(monkeypatch):
    class Convolved(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 1, 3, padding=1)

        def forward(self, a, b):
            assert self.convolution(a).dtype == torch.float32
            return (
                (self.convolution(a) - self.convolution(b)).abs().mean(dim=(1, 2, 3), keepdim=True)
            )

    torch.manual_seed(0)
    network = Convolved()
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=lambda **_: network))
    truth, holes = clip()
    loss = NamedLoss("l1lpips").losses["lpips"]
    prediction = (truth * 0.5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(prediction, truth, holes)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(prediction, truth, holes), rtol=0, atol=0)
