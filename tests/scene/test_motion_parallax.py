"""Motion parallax on made-up clips. Axes: T frames, H W pixels."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from scene.depth_models import ClipRejected
from scene.depth_normalize import smoothed_percentiles
from scene.motion_parallax import MotionParallax

HEIGHT, WIDTH, NUM_FRAMES = 126, 224, 6
BOX = (slice(35, 90), 60)  # rows, and the first column in frame 0; 50 columns wide


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """Blotches a few pixels across: (height, width, 3) uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX)


def panning_clip(pan: int = 2, box_speed: int = 3) -> np.ndarray:
    """A background that moves left and a box in front of it that moves right. (T, H, W, 3)
    uint8."""
    background, box = texture(HEIGHT, WIDTH + 64, 1), texture(BOX[0].stop - BOX[0].start, 50, 2)
    frames = []
    for t in range(NUM_FRAMES):
        frame = background[:, pan * t : pan * t + WIDTH].copy()
        left = BOX[1] + box_speed * t
        frame[BOX[0], left : left + 50] = box
        frames.append(frame)
    return np.stack(frames)


def inside_and_outside(disparity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values well inside the box and well outside it, over all frames."""
    scale = disparity.shape[2] / WIDTH
    inside, outside = [], []
    for t in range(NUM_FRAMES):
        left = BOX[1] + 3 * t
        near = torch.zeros(disparity.shape[1:], dtype=torch.bool)
        near[int((BOX[0].start - 12) * scale) : int((BOX[0].stop + 12) * scale)] = True
        near[:, : int((left - 12) * scale)] = False
        near[:, int((left + 62) * scale) :] = False
        middle = disparity[
            t,
            int(45 * scale) : int(80 * scale),
            int((left + 10) * scale) : int((left + 40) * scale),
        ]
        inside.append(middle.flatten())
        outside.append(disparity[t][~near])
    return torch.cat(inside), torch.cat(outside)


@pytest.fixture(scope="module")
def disparity() -> torch.Tensor:
    return MotionParallax()(panning_clip())


def test_the_moving_box_is_near_and_the_panning_background_far(disparity: torch.Tensor) -> None:
    assert disparity.shape == (NUM_FRAMES, 252, 448) and disparity.dtype == torch.float32
    assert disparity.min() == 0 and disparity.max() == 1
    inside, outside = inside_and_outside(disparity)
    assert inside.quantile(0.1) > 0.7
    assert outside.quantile(0.9) < 0.1


def test_the_raw_map_is_the_motion_against_the_background(disparity: torch.Tensor) -> None:
    estimator = MotionParallax()
    raw = estimator.raw_disparity(panning_clip())
    assert torch.equal(smoothed_percentiles(raw), disparity)
    inside, _ = inside_and_outside(raw)
    # 3 px to the right and 2 px of pan, in pixels of a map that is twice as large
    torch.testing.assert_close(inside.median(), torch.tensor(10.0), atol=1.0, rtol=0)
    assert 0 < estimator.least_span < 0.3 and not estimator.scale_jitters


def test_the_same_clip_gives_the_same_bits_from_several_threads(disparity: torch.Tensor) -> None:
    estimator, clip = MotionParallax(), panning_clip()
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(estimator, [clip] * 4):
            assert torch.equal(result, disparity)


def test_larger_frames_of_the_same_scene_give_the_same_map(disparity: torch.Tensor) -> None:
    large = np.stack(
        [
            cv2.resize(f, (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_CUBIC)
            for f in panning_clip()
        ]
    )
    inside, outside = inside_and_outside(MotionParallax()(large))
    assert inside.quantile(0.1) > 0.7 and outside.quantile(0.9) < 0.1


def test_a_portrait_clip_keeps_its_aspect() -> None:
    assert MotionParallax()(panning_clip().transpose(0, 2, 1, 3)).shape == (NUM_FRAMES, 448, 252)


def rejection(clip: np.ndarray) -> str:
    with pytest.raises(ClipRejected) as caught:
        MotionParallax()(clip)
    return caught.value.reason


@pytest.mark.slow
def test_clips_it_can_not_work_on_are_rejected_with_the_reason() -> None:
    still = np.repeat(texture(HEIGHT, WIDTH, 3)[None], NUM_FRAMES, axis=0)
    assert rejection(still) == "too little motion"
    noise = np.random.default_rng(0).normal(0, 3, still.shape)
    assert rejection((still + noise).clip(0, 255).astype(np.uint8)) == "too little motion"
    # the box goes with the background
    assert rejection(panning_clip(pan=3, box_speed=-3)) == "too little motion"
    assert rejection(np.zeros_like(still)) == "too little motion"
    assert (
        rejection(np.stack([texture(HEIGHT, WIDTH, seed) for seed in range(NUM_FRAMES)]))
        == "motion not consistent"
    )
    assert rejection(still[:1]) == "too few frames"


def test_a_foreground_that_fills_the_picture_is_rejected() -> None:
    clip = []
    for t in range(NUM_FRAMES):  # two halves that slide apart, neither of which is the background
        upper, lower = (
            texture(HEIGHT, WIDTH + 64, 4)[:, 3 * t :],
            texture(HEIGHT, WIDTH + 64, 5)[:, 32 - 3 * t :],
        )
        middle = texture(HEIGHT, WIDTH, 6)
        frame = np.concatenate([upper[:22, :WIDTH], middle[22:104], lower[104:, :WIDTH]])
        clip.append(frame)
    assert rejection(np.stack(clip)) == "no dominant background motion"
