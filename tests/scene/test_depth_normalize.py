"""Normalisation of disparity clips. Axes: T frames, h w pixels."""

import pytest
import torch

from scene.depth_normalize import (
    MovingNormalizer,
    affine_chain,
    fit_affine,
    fit_affine_both_ways,
    per_frame_minmax,
    smoothed_percentiles,
)

# a_t, b_t
JITTER = (
    (1.0, 0.0),
    (1.05, -0.02),
    (0.95, 0.03),
    (1.02, 0.01),
    (0.97, -0.03),
    (1.04, 0.02),
)


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
            assert torch.equal(normalize(torch.full((3, 20, 30), value)), torch.zeros(3, 20, 30)), (
                normalize,
                value,
            )


def test_a_single_frame_and_integers_are_fine() -> None:
    clip = torch.arange(12).reshape(1, 3, 4)
    for normalize in (affine_chain, per_frame_minmax, smoothed_percentiles):
        result = normalize(clip)
        assert result.shape == (1, 3, 4) and result.dtype == torch.float32
        assert result[0, 0, 0] == 0 and result[0, 2, 3] == 1


def test_fit_affine_both_ways_does_not_shrink_in_noise() -> None:
    target = torch.linspace(0, 1, 2000, dtype=torch.float64)
    noise = 0.1 * torch.randn(
        2, 2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    scale, offset = fit_affine_both_ways((target - 0.1) / 1.25 + noise[0] / 1.25, target + noise[1])
    assert abs(scale - 1.25) < 0.02 and abs(offset - 0.1) < 0.02
    # what it is there to prevent
    assert fit_affine((target - 0.1) / 1.25 + noise[0] / 1.25, target + noise[1])[0] < 1.18


def test_moving_normalizer_removes_the_network_s_jitter() -> None:
    normalize = MovingNormalizer(window=3, scale_jitters=True)
    result = torch.stack([normalize(frame) for frame in jittered(slope(6))])
    assert (result - result[0]).abs().max() < 1e-4
    assert result[0].min() == 0 and result[0].max() == 1
    assert torch.allclose(result[:, :, 48], torch.tensor(0.5), atol=0.01)


def test_moving_normalizer_holds_still_when_a_near_object_enters() -> None:
    scene = slope(6)
    for t in range(2, 6):
        scene[t, 16:48, : 12 * (t - 1)] = 2.0
    normalize = MovingNormalizer(window=48, scale_jitters=True)
    result = torch.stack([normalize(frame) for frame in jittered(scene)])
    background = result[:, :, 60:]
    # the object takes the range from 0.6 to 1.8, a 48th of that with every frame
    assert background.diff(dim=0).abs().max() < 0.042
    assert result[3, 30, 5] > 0.999
    popped = per_frame_minmax(jittered(scene))[:, :, 60:]
    assert popped.diff(dim=0).abs().max() > 0.3  # what the window is there to prevent


def test_moving_normalizer_gives_a_lasting_object_its_room() -> None:
    scene = slope(40)
    scene[5:, 16:48, :12] = 2.0
    normalize = MovingNormalizer(window=10, scale_jitters=True)
    result = torch.stack([normalize(frame) for frame in scene])
    assert torch.allclose(result[0, 0, [0, 95]], torch.tensor([0.0, 1.0]))
    assert torch.allclose(result[-1, 0, [0, 95]], torch.tensor([0.0, 0.333]), atol=0.01)
    assert result[-1, 30, 5] > 0.99


@pytest.mark.parametrize(
    ("noise", "num_frames", "spread", "spread_within", "middle_within"),
    [(0.0, 300, 0.2903, 0.001, 0.01), (0.05, 2000, 0.25, 0.04, 0.12)],
)
@pytest.mark.slow
def test_a_long_chain_of_fits_neither_drifts_nor_shrinks_nor_runs_away(
    noise: float, num_frames: int, spread: float, spread_within: float, middle_within: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    scene = torch.linspace(0.2, 0.8, 192)[torch.randperm(192, generator=generator)].reshape(12, 16)
    # what a fit looks at are the 192 values
    scene = scene.repeat_interleave(8, 0).repeat_interleave(8, 1)
    normalize = MovingNormalizer(window=24, scale_jitters=True)
    a = 1 + 0.05 * torch.randn(num_frames, generator=generator).clamp(-3, 3)
    b = 0.02 * torch.randn(num_frames, generator=generator)
    small = []
    for t in range(num_frames):
        noisy = scene + noise * torch.randn(12, 16, generator=generator).repeat_interleave(
            8, 0
        ).repeat_interleave(8, 1)
        small.append(normalize(a[t] * noisy + b[t])[::8, ::8].flatten())
    values = torch.stack(
        small
    )  # (T, 192); a uniform distribution over [0, 1] has a spread of 0.289
    assert (values.std(1) - spread).abs().max() < spread_within
    assert (values.mean(1) - 0.5).abs().max() < middle_within


def test_moving_normalizer_without_jitter_keeps_the_scale() -> None:
    """For flow: a frame of half the motion comes out with half the disparity."""
    normalize = MovingNormalizer(window=100, scale_jitters=False)
    frame = torch.linspace(0, 1, 101 * 101).reshape(101, 101)
    first, second = normalize(frame), normalize(frame / 2)
    assert torch.allclose(first[50, 50], torch.tensor(0.5), atol=0.01)
    assert torch.allclose(second[50, 50], torch.tensor(0.24), atol=0.01)


def test_moving_normalizer_does_not_blow_up_noise() -> None:
    normalize = MovingNormalizer(window=10, scale_jitters=False, least_span=0.2)
    assert normalize(0.02 * slope(1)[0]).max() < 0.1


def test_moving_normalizer_starts_afresh_at_a_cut() -> None:
    normalize = MovingNormalizer(window=48, scale_jitters=True)
    frames = jittered(slope(6))
    normalize(frames[0])
    normalize.reset()
    assert torch.equal(
        normalize(7 - 3 * frames[1]),
        MovingNormalizer(window=48, scale_jitters=True)(7 - 3 * frames[1]),
    )


def test_moving_normalizer_gives_zeros_for_a_constant_map_and_goes_on() -> None:
    for scale_jitters in (True, False):
        normalize = MovingNormalizer(window=4, scale_jitters=scale_jitters, least_span=0.1)
        black = torch.full((64, 96), 3.0)
        assert not normalize(black).any()
        first = normalize(slope(1)[0])
        assert first.max() == 1
        assert not normalize(black).any()
        assert torch.allclose(normalize(slope(1)[0]), first, atol=1e-5)
