"""Scores and losses, with literal expectations and scikit-image as the oracle for SSIM."""

import math

import numpy as np
import torch
from skimage.metrics import structural_similarity

from inpaint.losses import hole_valid_l1, masked_l1, temporal_l1
from scene.metrics import flicker, frame_psnr, frame_ssim, hole_psnr, hole_ssim, psnr, ssim_map


def test_psnr_of_a_known_error():
    target = torch.full((2, 3, 8, 8), 0.5)
    assert math.isclose(psnr(target + 0.1, target), 20.0, abs_tol=1e-4)
    assert psnr(target, target) == 100.0


def test_hole_psnr_looks_at_the_hole_only():
    target = torch.zeros(2, 3, 8, 8)
    output = target.clone()
    holes = torch.zeros(2, 1, 8, 8)
    holes[0, :, 2:4, 2:4] = 1
    output[0, :, 2:4, 2:4] = 0.01
    output[1] = 1.0
    assert math.isclose(hole_psnr(output, target, holes), 40.0, abs_tol=1e-3)
    assert math.isnan(hole_psnr(output, target, torch.zeros_like(holes)))


def test_hole_psnr_pools_the_clip():
    target, holes = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    holes[0, 0, 0, :3] = 1
    holes[1, 0, 0, 0] = 1
    output = target.clone()
    output[1, :, 0, 0] = 0.2  # one of four hole pixels: mean squared error 0.01
    assert math.isclose(hole_psnr(output, target, holes), 20.0, abs_tol=1e-4)


def test_ssim_equals_scikit_image():
    rng = np.random.default_rng(0)
    grey = rng.random((2, 40, 52))
    other = np.clip(grey + rng.normal(0, 0.1, grey.shape), 0, 1)
    x, y = (torch.from_numpy(p)[:, None].expand(-1, 3, -1, -1) for p in (grey, other))
    for i in range(2):
        _, expected = structural_similarity(
            grey[i],
            other[i],
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        np.testing.assert_allclose(ssim_map(x, y)[i, 0].numpy(), expected, atol=1e-6)


def test_hole_ssim_of_the_truth_is_one():
    target = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    holes = torch.zeros(2, 1, 32, 32)
    holes[..., 10:20, 10:20] = 1
    assert math.isclose(hole_ssim(target, target, holes), 1.0, abs_tol=1e-6)
    assert hole_ssim(target * (1 - holes), target, holes) < 0.5


def scene(hole_error=0.0, valid_error=0.0):
    target = torch.zeros(1, 3, 3, 8, 8)
    holes = torch.zeros(1, 3, 1, 8, 8)
    holes[..., 2:4, 2:4] = 1
    return target + hole_error * holes + valid_error * (1 - holes), target, holes


def test_each_area_counts_as_much_as_the_other():
    assert torch.allclose(hole_valid_l1(*scene(hole_error=0.5)), torch.tensor([0.5]))
    assert torch.allclose(hole_valid_l1(*scene(valid_error=0.5)), torch.tensor([0.5]))
    assert torch.allclose(
        hole_valid_l1(*scene(0.5, 0.25), hole_weight=2.0, valid_weight=4.0), torch.tensor([2.0])
    )


def test_a_still_error_has_no_temporal_loss_and_a_flickering_one_has():
    prediction, target, holes = scene(hole_error=0.5)
    assert temporal_l1(prediction, target, holes).item() == 0
    prediction[:, 1] = 0
    assert torch.allclose(temporal_l1(prediction, target, holes), torch.tensor([0.5]))
    assert temporal_l1(target[:, :1], target[:, :1], holes[:, :1]).item() == 0


def test_an_empty_mask_gives_no_loss():
    prediction, target, _ = scene(hole_error=0.5, valid_error=0.5)
    assert masked_l1(prediction, target, torch.zeros(1, 3, 1, 8, 8)).item() == 0


def test_frame_psnr_is_the_mean_over_frames():
    target = torch.zeros(2, 3, 8, 8)
    output = torch.stack([target[0] + 0.1, target[1] + 0.01])
    assert math.isclose(frame_psnr(output, target), 30.0, abs_tol=1e-4)


def test_the_field_s_ssim_equals_scikit_image():
    rng = np.random.default_rng(1)
    truth = rng.random((2, 70, 81, 3))
    other = np.clip(truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    expected = [
        structural_similarity(x, y, channel_axis=2, data_range=1.0, win_size=65)
        for x, y in zip(other, truth)
    ]
    x, y = (torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in (other, truth))
    assert math.isclose(frame_ssim(x, y), np.mean(expected), abs_tol=1e-9)
    assert math.isnan(frame_ssim(x[..., :64], y[..., :64]))


def test_flicker_is_the_wrong_change_in_the_hole():
    target, holes = torch.zeros(3, 3, 4, 4), torch.zeros(3, 1, 4, 4)
    holes[..., :2] = 1
    output = target + 0.5 * holes
    assert flicker(output, target, holes) == 0
    output[1, :, :, :2] = 0.25
    output[1, :, :, 2:] = 1
    assert math.isclose(flicker(output, target, holes), 63.75, abs_tol=1e-4)
    assert math.isnan(flicker(output, target, torch.zeros_like(holes)))
