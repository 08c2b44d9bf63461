"""Scores as pure functions.

Axes: T frames, C colours, H W pixels. Pictures are in [0, 1] unless said otherwise, holes are 1
where something is missing.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang et al., Image quality assessment, 2004
FIELD_WINDOW = 65  # of the SSIM that video inpainting reports since STTN (2020)
MAX_PSNR = 100.0  # for a picture without any error


def psnr(prediction: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over the whole clip, (T, C, H, W).

    >>> round(psnr(torch.full((1, 3, 2, 2), 0.1), torch.zeros(1, 3, 2, 2)), 2)
    20.0
    >>> psnr(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    100.0
    """
    return _psnr((prediction - target).square().mean(dtype=torch.float64))


def hole_psnr(prediction: Tensor, target: Tensor, holes: Tensor) -> float:
    """PSNR in dB with the squared error pooled over all hole pixels of the clip; NaN if there are
    none.

    prediction, target: (T, C, H, W); holes: (T, 1, H, W).

    >>> prediction = torch.tensor([0.1, 0.5]).view(1, 1, 1, 2)
    >>> hole = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    >>> round(hole_psnr(prediction, torch.zeros(1, 1, 1, 2), hole), 2)
    20.0
    >>> hole_psnr(prediction, torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
    nan
    """
    mask = (holes > 0).expand_as(target)
    return _psnr((prediction - target)[mask].square().mean(dtype=torch.float64))


def ssim_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of the luma at every pixel: (T, 3, H, W) -> (T, 1, H, W).

    Gaussian window of 11 pixels with sigma 1.5, the picture reflected at its borders, population
    covariance: the same numbers as scikit-image's `structural_similarity(gaussian_weights=True,
        use_sample_covariance=False, full=True)`.

    >>> grey = torch.full((1, 3, 16, 16), 0.5)
    >>> ssim_map(grey, grey)[0, 0, 8, :3]
    tensor([1., 1., 1.])
    """
    taps = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    taps = torch.exp(-0.5 * (taps / SSIM_SIGMA) ** 2)
    taps = (taps / taps.sum()).to(prediction)

    def blur(x: Tensor) -> Tensor:
        half = SSIM_WINDOW // 2
        x = F.conv2d(_extend(x, half, -1), taps.view(1, 1, 1, -1))
        return F.conv2d(_extend(x, half, -2), taps.view(1, 1, -1, 1))

    weights = torch.tensor(LUMA).to(prediction).view(1, 3, 1, 1)
    x, y = ((picture * weights).sum(1, keepdim=True) for picture in (prediction, target))
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )


def hole_ssim(prediction: Tensor, target: Tensor, holes: Tensor) -> float:
    """Mean structural similarity over the hole pixels of the clip; NaN if there are none. Shapes as
    `hole_psnr`.

    >>> grey, hole = torch.full((1, 3, 16, 16), 0.5), torch.ones(1, 1, 16, 16)
    >>> round(hole_ssim(grey, grey, hole), 4)
    1.0
    >>> round(hole_ssim(grey, torch.zeros_like(grey), hole), 4)
    0.0004
    """
    return ssim_map(prediction, target)[holes > 0].mean(dtype=torch.float64).item()


def frame_psnr(prediction: Tensor, target: Tensor) -> float:
    """PSNR in dB of every frame, then the mean, as the field reports it: (T, C, H, W).

    >>> prediction = torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)  # 20 dB and 40 dB
    >>> round(frame_psnr(prediction, torch.zeros(2, 1, 1, 1)), 2)
    30.0
    """
    errors = (prediction - target).square().flatten(1).mean(1, dtype=torch.float64)
    return sum(_psnr(error) for error in errors) / len(errors)


def frame_ssim(prediction: Tensor, target: Tensor) -> float:
    """The field's structural similarity, mean over frames and colours: (T, 3, H, W); NaN below 65
    pixels a side.

    A uniform window of 65 pixels, sample covariance, no border: the same number as scikit-image's
    `structural_similarity(channel_axis=2, data_range=1, win_size=65)`.

    >>> grey = torch.full((1, 3, 65, 65), 0.5)
    >>> round(frame_ssim(grey, grey), 4), frame_ssim(grey[..., 1:], grey[..., 1:])
    (1.0, nan)
    """
    if min(target.shape[-2:]) < FIELD_WINDOW:
        return math.nan
    scores = []
    for frames in zip(prediction.double(), target.double()):
        x, y = (frame[:, None] for frame in frames)  # (C, 1, H, W)

        def mean(image: Tensor) -> Tensor:
            return F.avg_pool2d(
                F.avg_pool2d(image, (1, FIELD_WINDOW), stride=1), (FIELD_WINDOW, 1), stride=1
            )

        mean_x, mean_y = mean(x), mean(y)
        unbias = FIELD_WINDOW**2 / (FIELD_WINDOW**2 - 1)
        var_x, var_y = unbias * (mean(x * x) - mean_x**2), unbias * (mean(y * y) - mean_y**2)
        covariance = unbias * (mean(x * y) - mean_x * mean_y)
        c1, c2 = 0.01**2, 0.03**2
        top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        scores.append((top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean().item())
    return sum(scores) / len(scores)


def flicker(prediction: Tensor, target: Tensor, holes: Tensor) -> float:
    """Mean |change of the output - change of the truth| from frame to frame in the hole, grey
    levels 0 to 255.

    Counted where the later frame has its hole. Shapes as `hole_psnr`; NaN if there is no such
    pixel.

    >>> prediction = torch.tensor([0.0, 0.1]).view(2, 1, 1, 1)
    >>> round(flicker(prediction, torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)), 2)
    25.5
    """
    wrong = ((prediction[1:] - prediction[:-1]) - (target[1:] - target[:-1])).abs() * 255
    return wrong[(holes[1:] > 0).expand_as(wrong)].mean(dtype=torch.float64).item()


def score_clip(filled: Tensor, truth: Tensor, holes: Tensor) -> dict[str, float]:
    """Hole-PSNR, hole-SSIM and whole-frame PSNR of one clip: (T, 3, H, W) in [-1, 1], holes (T, 1,
    H, W).

    >>> black, holes = torch.full((1, 3, 16, 16), -1.0), torch.ones(1, 1, 16, 16)
    >>> {name: round(score, 2) for name, score in score_clip(black + 0.2, black, holes).items()}
    {'hole_psnr': 20.0, 'hole_ssim': 0.01, 'psnr': 20.0}
    """
    output, target = (x.float().clamp(-1, 1).add(1).div(2) for x in (filled, truth))
    return {
        "hole_psnr": hole_psnr(output, target, holes),
        "hole_ssim": hole_ssim(output, target, holes),
        "psnr": psnr(output, target),
    }


def _psnr(mean_squared_error: Tensor) -> float:
    error = mean_squared_error.item()
    if error != error:
        return float("nan")
    return min(MAX_PSNR, -10 * torch.log10(torch.tensor(max(error, 1e-30))).item())


def _extend(x: Tensor, pad: int, axis: int) -> Tensor:
    """Mirror the picture at its borders, the border pixel repeated (scipy's "reflect")."""
    before = x.narrow(axis, 0, pad).flip(axis)
    after = x.narrow(axis, x.shape[axis] - pad, pad).flip(axis)
    return torch.cat([before, x, after], dim=axis)
