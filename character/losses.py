"""What a prediction of the denoiser costs.

Axes: B clips, c latent channels, T frames, h w places.
"""

from torch import Tensor


def denoising_loss(
    prediction: Tensor,
    truth: Tensor,
    weights: Tensor | None = None,
    shares: Tensor | None = None,
) -> Tensor:
    """Mean squared error of each clip: (B, c, T, h, w) twice -> (B,).

    weights: (B,), by the clips' noise levels; shares: (c,), by the channels; None: all 1.

    >>> import torch
    >>> zero, one = torch.zeros(2, 1, 1, 2, 2), torch.ones(2, 1, 1, 2, 2)
    >>> denoising_loss(zero, 2 * one, torch.tensor([1.0, 0.5]))
    tensor([4., 2.])
    """
    squares = (prediction.float() - truth.float()).square()
    if shares is not None:
        squares = squares * shares[:, None, None, None]
    error = squares.mean(dim=(1, 2, 3, 4))
    return error if weights is None else error * weights
