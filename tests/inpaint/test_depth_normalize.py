"""Normalisation of disparity clips. Axes: T frames, h w pixels."""

import torch

from inpaint.depth_normalize import affine_chain, fit_affine, per_frame_minmax, smoothed_percentiles

JITTER = ((1.0, 0.0), (1.05, -0.02), (0.95, 0.03), (1.02, 0.01), (0.97, -0.03), (1.04, 0.02))  # a_t, b_t


def slope(num_frames: int) -> torch.Tensor:
    """A still scene: disparity rises from 0.2 to 0.8 from left to right. (T, 64, 96)."""
    return torch.linspace(0.2, 0.8, 96).expand(num_frames, 64, 96).clone()


def jittered(scene: torch.Tensor) -> torch.Tensor:
    return torch.stack([a * frame + b for frame, (a, b) in zip(scene, JITTER, strict=True)])


def test_affine_chain_removes_the_network_s_jitter() -> None:
    result = affine_chain(jittered(slope(6)))
    assert (result - result[0]).abs().max() < 1e-4
    assert result.min() == 0 and result.max() == 1
    assert torch.allclose(result[:, :, 48], torch.tensor(0.5), atol=0.01)


def test_affine_chain_holds_still_when_a_near_object_enters() -> None:
    scene = slope(6)
    for t in range(2, 6):
        scene[t, 16:48, : 12 * (t - 1)] = 2.0
    result = affine_chain(jittered(scene))
    background = result[:, :, 60:]
    assert (background - background[0]).abs().max() < 2e-3
    assert result[3, 30, 5] > 0.999
    popped = per_frame_minmax(jittered(scene))[:, :, 60:]
    assert (popped - popped[0]).abs().max() > 0.3  # what the chain is there to prevent


def test_fit_affine_gives_the_numbers_back() -> None:
    target = torch.linspace(0, 1, 500, dtype=torch.float64)
    source = (target - 0.1) / 1.25
    source[:100] = 3.0  # a fifth of it is something else
    scale, offset = fit_affine(source, target)
    assert abs(scale - 1.25) < 1e-3 and abs(offset - 0.1) < 1e-3


def test_per_frame_minmax() -> None:
    clip = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[10.0, 20.0], [30.0, 30.0]]])
    expected = torch.tensor([[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.5], [1.0, 1.0]]])
    assert torch.equal(per_frame_minmax(clip), expected)


def test_smoothed_percentiles_clips_outliers_and_follows_a_changing_scale() -> None:
    clip = torch.linspace(0, 1, 101 * 101).reshape(101, 101).repeat(9, 1, 1)
    clip[:, 0, :50] = 1000.0
    result = smoothed_percentiles(clip)
    assert torch.allclose(result[:, 50, 50], torch.tensor(0.5), atol=0.01)
    growing = smoothed_percentiles(clip * torch.linspace(1, 3, 9)[:, None, None])
    assert torch.allclose(growing[2:7, 50, 50], torch.tensor(0.5), atol=0.01)


def test_a_constant_clip_gives_zeros() -> None:
    for normalize in (affine_chain, per_frame_minmax, smoothed_percentiles):
        for value in (0.0, 0.1, 1234.5):
            assert torch.equal(normalize(torch.full((3, 20, 30), value)), torch.zeros(3, 20, 30)), (normalize, value)


def test_a_single_frame_and_integers_are_fine() -> None:
    clip = torch.arange(12).reshape(1, 3, 4)
    for normalize in (affine_chain, per_frame_minmax, smoothed_percentiles):
        result = normalize(clip)
        assert result.shape == (1, 3, 4) and result.dtype == torch.float32
        assert result[0, 0, 0] == 0 and result[0, 2, 3] == 1
