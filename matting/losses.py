"""What a matte is trained by: the losses of Robust Video Matting (Lin et al., arXiv 2108.11515,
section 3.4), and some that others use.

Axes: B clips, T frames in time order, N = B T, H W pixels. Colours and alpha are in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from scene.perceptual import Comparison

LEVELS = 5  # of the pyramid
CHANGE_WEIGHT = 5.0  # of what changes from frame to frame


def matting_losses(
    foreground: Tensor, alpha: Tensor, true_foreground: Tensor, true_alpha: Tensor
) -> dict[str, Tensor]:
    """The parts of the loss of a clip; their sum is what is made small.

    Args: foregrounds (B, T, 3, H, W), alphas (B, T, 1, H, W).
    Returns: scalars. `alpha`: mean absolute error; `laplacian`: of alpha, over five scales;
        `alpha_change` and `foreground_change`: squared errors of what changes from frame to frame,
        0 for a single frame; `foreground`: absolute error where there is any of it.
    """
    visible = (true_alpha > 0).to(foreground.dtype)
    seen, true_seen = visible * foreground, visible * true_foreground
    return {
        "alpha": (alpha - true_alpha).abs().mean(),
        "laplacian": laplacian_loss(alpha.flatten(0, 1), true_alpha.flatten(0, 1)),
        "alpha_change": CHANGE_WEIGHT * _change_loss(alpha, true_alpha),
        "foreground": (seen - true_seen).abs().mean(),
        "foreground_change": CHANGE_WEIGHT * _change_loss(seen, true_seen),
    }


def person_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross entropy of where persons are. logits of any shape; mask of the same, 1 = person.
    Returns: a scalar."""
    return F.binary_cross_entropy_with_logits(logits, mask)


def _change_loss(x: Tensor, truth: Tensor) -> Tensor:
    """The mean squared error of the change from frame to frame, axis 1; 0 for one frame."""
    if x.shape[1] == 1:
        return (x * 0).sum()
    return (x.diff(dim=1) - truth.diff(dim=1)).square().mean()


# --- the Laplacian pyramid ------------------------------------------------------------------------


def laplacian_loss(x: Tensor, truth: Tensor) -> Tensor:
    """Absolute errors of the bands of a Laplacian pyramid (Burt and Adelson, 1983), where each
    coarser band counts twice the one before.

    Args: x, truth (N, 1, H, W), H and W at least 64, so that the coarsest level has two pixels.
    Returns: a scalar. Raises ValueError for smaller pictures.
    """
    if min(x.shape[-2:]) < 2 ** (LEVELS + 1):
        raise ValueError(f"pictures of {tuple(x.shape[-2:])} are too small: 64 pixels at least")
    bands = zip(laplacian_bands(x), laplacian_bands(truth))
    errors = [2**number * (a - b).abs().mean() for number, (a, b) in enumerate(bands)]
    return torch.stack(errors).sum() / LEVELS


def laplacian_bands(x: Tensor) -> list[Tensor]:
    """(N, 1, H, W) -> what each of five scales adds to the next coarser one, the finest first."""
    bands = []
    for _ in range(LEVELS):
        x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
        smaller = _blur(x)[..., ::2, ::2]
        spread = torch.zeros_like(x)
        spread[..., ::2, ::2] = smaller * 4
        bands.append(x - _blur(spread))
        x = smaller
    return bands


def _blur(x: Tensor) -> Tensor:
    """The binomial kernel of 5x5, the picture mirrored at its edges."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=x.dtype, device=x.device) / 16
    padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, row.view(1, 1, 1, 5)), row.view(1, 1, 5, 1))


# --- others ---------------------------------------------------------------------------------------


def composition_loss(
    alpha: Tensor, foreground: Tensor, background: Tensor, frame: Tensor
) -> Tensor:
    """Mean absolute error of the frame put together again. Shapes as `matting_losses`; background
    and frame as foreground. Returns: a scalar."""
    return (alpha * foreground + (1 - alpha) * background - frame).abs().mean()


def perceptual_loss(
    alpha: Tensor, foreground: Tensor, background: Tensor, frame: Tensor, distance: Comparison
) -> Tensor:
    """How far the frame put together again is from what it was, by the features of a network.
    Shapes as `composition_loss`. distance: of pictures (N, 3, H, W) in [-1, 1]. Returns: a
    scalar."""
    again = alpha * foreground + (1 - alpha) * background
    with torch.autocast(frame.device.type, enabled=False):
        pair = [x.flatten(0, 1).float() * 2 - 1 for x in (again, frame)]
        return distance(*pair).mean()


def gradient_loss(alpha: Tensor, true_alpha: Tensor) -> Tensor:
    """Mean absolute error of the Sobel gradients of alpha, (B, T, 1, H, W). Returns: a scalar."""
    difference = (alpha - true_alpha).flatten(0, 1)
    kernel = torch.tensor(
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]],
        dtype=alpha.dtype,
        device=alpha.device,
    )
    kernels = torch.stack([kernel, kernel.T])[:, None]
    padded = F.pad(difference, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernels).abs().mean()
