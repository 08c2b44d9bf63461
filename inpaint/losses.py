"""Losses as pure functions, and their combinations by name.

Axes: B batch, T frames, C colours, H W pixels. Pictures are in [-1, 1], holes 1 = missing.
Every function returns one number per sample, (B,), and 0 for a perfect prediction.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.models.motion import warp
from inpaint.options_train import parse_loss
from scene.flow import flows_back
from scene.masks import compose
from scene.perceptual import lite_distance, lpips_distance, timm_distance

CHARBONNIER_EPSILON = 1e-3
DCT_BLOCK = 8
LOG_FLOOR = 1e-3  # squared, of a range of 2

# prediction, target (B, T, C, H, W), holes (B, T, 1, H, W) -> (B,)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked pixels and all channels; 0 where the mask is empty.

    values: (B, T, C, H, W). mask: (B, T, 1, H, W), weights in [0, 1].

    >>> values = torch.tensor([2.0, 4.0]).expand(1, 1, 3, 1, 2)
    >>> masked_mean(values, torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2))
    tensor([2.])
    >>> masked_mean(values, torch.zeros(1, 1, 1, 1, 2))
    tensor([0.])
    """
    area = mask.flatten(1).sum(1) * values.shape[2]
    return (values * mask).flatten(1).sum(1) / area.clamp(min=1)


def masked_l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference over the masked pixels. Shapes as `masked_mean`.

    >>> prediction, target = torch.full((1, 1, 3, 1, 2), 0.5), torch.zeros(1, 1, 3, 1, 2)
    >>> masked_l1(prediction, target, torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2))
    tensor([0.5000])
    """
    return masked_mean((prediction - target).abs(), mask)


def hole_valid_l1(
    prediction: Tensor,
    target: Tensor,
    holes: Tensor,
    *,
    hole_weight: float = 1.0,
    valid_weight: float = 1.0,
) -> Tensor:
    """The hole's and the seen part's mean absolute difference, each divided by its own area (DSTT,
    arXiv 2104.06637).

    A small hole so weighs as much as all the rest of the picture.

    >>> prediction = torch.tensor([0.5, 0.25]).expand(1, 1, 3, 1, 2)
    >>> target, hole = torch.zeros(1, 1, 3, 1, 2), torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2)
    >>> hole_valid_l1(prediction, target, hole)
    tensor([0.7500])
    >>> hole_valid_l1(prediction, target, hole, hole_weight=2.0, valid_weight=0.0)
    tensor([1.])
    """
    hole = masked_l1(prediction, target, holes)
    valid = masked_l1(prediction, target, 1 - holes)
    return hole_weight * hole + valid_weight * valid


def charbonnier(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """sqrt(d^2 + e^2) - e with e = 0.001, over the hole and over the seen part (Charbonnier et al.,
    ICIP 1994).

    As `hole_valid_l1`, but smooth around 0.

    >>> prediction = torch.tensor([0.5, 0.25]).expand(1, 1, 3, 1, 2)
    >>> hole = torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2)
    >>> charbonnier(prediction, torch.zeros(1, 1, 3, 1, 2), hole)
    tensor([0.7480])
    """
    error = ((prediction - target).square() + CHARBONNIER_EPSILON**2).sqrt() - CHARBONNIER_EPSILON
    return masked_mean(error, holes) + masked_mean(error, 1 - holes)


def log_error(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """log(1 + e / f) of the hole's mean squared error e, with f = 1e-3, plus the mean absolute
    error of the seen part.

    What hole-PSNR measures: an easy clip counts as much as a hard one. f is 36 dB of a range of 2,
    so that what is nearly right already is left alone.

    >>> hole, target = torch.ones(1, 1, 1, 1, 2), torch.zeros(1, 1, 3, 1, 2)
    >>> log_error(target, target, hole)
    tensor([0.])
    >>> log_error(target + 0.5, target, hole)  # log(1 + 0.25 / 0.001)
    tensor([5.5255])
    """
    error = masked_mean((prediction - target).square(), holes)
    return torch.log1p(error / LOG_FLOOR) + masked_l1(prediction, target, 1 - holes)


def dct_l1(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """Mean absolute difference of the DCT-II coefficients of 8x8 blocks, in the hole, per hole
    pixel.

    The transform is orthonormal (Ahmed, Natarajan, Rao 1974): a picture that differs by a constant
    d gives d / 8, one that differs as one cosine of a block gives as little, so that what counts is
    how many waves are wrong.

    >>> block = torch.ones(1, 1, 1, 8, 8)
    >>> dct_l1(block, torch.zeros_like(block), holes=block)
    tensor([0.1250])
    """
    difference = ((prediction - target) * holes).flatten(0, 2)  # (B*T*C, H, W)
    height, width = difference.shape[-2:]
    difference = F.pad(difference, (0, -width % DCT_BLOCK, 0, -height % DCT_BLOCK))
    blocks = (
        difference.unflatten(-1, (-1, DCT_BLOCK)).unflatten(-3, (-1, DCT_BLOCK)).transpose(-3, -2)
    )
    waves = dct_matrix(DCT_BLOCK).to(blocks)
    return _per_hole_pixel((waves @ blocks @ waves.T).abs(), prediction, holes)


def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II: row k holds the k-th cosine, (size, size).

    >>> dct_matrix(2)
    tensor([[ 0.7071,  0.7071],
            [ 0.7071, -0.7071]])
    """
    n = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / size * (n + 0.5) * n[:, None]) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows.to(torch.float32)


def fft_l1(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """Mean absolute difference of the Fourier coefficients (orthonormal, whole frames) of the hole,
    per hole pixel.

    Real and imaginary part count by themselves (Cho et al., Rethinking Coarse-to-Fine Approach in
    Single Image Deblurring, ICCV 2021).

    >>> picture = torch.ones(1, 1, 1, 8, 8)
    >>> fft_l1(picture, torch.zeros_like(picture), holes=picture)
    tensor([0.1250])
    """
    difference = ((prediction - target) * holes).flatten(0, 2).float()
    waves = torch.view_as_real(torch.fft.rfft2(difference, norm="ortho"))
    return _per_hole_pixel(waves.abs(), prediction, holes)


def _per_hole_pixel(values: Tensor, prediction: Tensor, holes: Tensor) -> Tensor:
    """The sum of each sample's values over the number of its hole pixels and colours."""
    b, _, channels = prediction.shape[:3]
    area = holes.flatten(1).sum(1) * channels
    return values.reshape(b, -1).sum(1) / area.clamp(min=1)


def temporal_l1(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """How far the change from frame to frame is from the truth's change, where either frame has a
    hole.

    0 for a single frame. Unlike a penalty on change itself it lets things move.

    >>> still, hole = torch.zeros(1, 3, 1, 1, 1), torch.ones(1, 3, 1, 1, 1)
    >>> temporal_l1(still + 1, still, hole)
    tensor([0.])
    >>> temporal_l1(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1, 1), still, hole)
    tensor([1.])
    """
    return _change_l1(prediction, target, holes, order=1)


def temporal_smooth_l1(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """The same of the second difference along time, x(t+1) - 2 x(t) + x(t-1): what trembles costs,
    what glides does not.

    0 for fewer than three frames.

    >>> still, hole = torch.zeros(1, 3, 1, 1, 1), torch.ones(1, 3, 1, 1, 1)
    >>> temporal_smooth_l1(torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1, 1), still, hole)
    tensor([0.])
    >>> temporal_smooth_l1(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1, 1), still, hole)
    tensor([2.])
    """
    return _change_l1(prediction, target, holes, order=2)


def _change_l1(prediction: Tensor, target: Tensor, holes: Tensor, *, order: int) -> Tensor:
    difference = torch.diff(prediction - target, n=order, dim=1)
    touched = holes
    for _ in range(order):
        touched = touched[:, 1:].maximum(touched[:, :-1])
    return masked_mean(difference.abs(), touched)


def warping_l1(prediction: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
    """How far each frame is from the frame before it, moved along the flow.

    Short-term consistency as in Lai et al., Learning Blind Video Temporal Consistency (ECCV 2018),
    there with FlowNet2.

    Args:
        prediction: (B, T, C, H, W). flow: (B, T-1, 2, H, W), from each frame to the one before, in
            pixels.
        mask: (B, T-1, 1, H, W), where it counts.

    >>> film = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]).view(1, 2, 1, 1, 4)
    >>> flow = torch.tensor([-1.0, 0.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 1, 4)
    >>> warping_l1(film, flow, torch.ones(1, 1, 1, 1, 4))
    tensor([0.])
    >>> warping_l1(film, torch.zeros_like(flow), torch.ones(1, 1, 1, 1, 4))
    tensor([0.5000])
    """
    before = warp(prediction[:, :-1].flatten(0, 1).float(), flow.flatten(0, 1).float()).unflatten(
        0, flow.shape[:2]
    )
    return masked_l1(prediction[:, 1:], before, mask)


def true_warping_l1(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """`warping_l1` in the holes along the DIS flow of the truth, beyond what the truth itself has;
    on the CPU, so slow.

    >>> clip, holes = torch.zeros(1, 2, 3, 16, 16), torch.ones(1, 2, 1, 16, 16)
    >>> true_warping_l1(clip, clip, holes)
    tensor([0.])
    >>> clip[:, 1] = 0.5
    >>> true_warping_l1(clip, torch.zeros_like(clip), holes)
    tensor([0.5000])
    """
    if prediction.shape[1] < 2:
        return prediction.new_zeros(len(prediction))
    flow, visible = flows_back(target)
    mask = visible * holes[:, 1:]
    filled = compose(target, holes, prediction)
    return F.relu(warping_l1(filled, flow, mask) - warping_l1(target, flow, mask))


@dataclass(frozen=True)
class Term:
    """One word of a loss's name. make: builds the loss; what it needs (a network) is made once."""

    weight: float
    make: Callable[[], Loss]


# the weights are ours, chosen so that on typical clips no term outweighs the picture term it stands
# beside
TERMS: dict[str, Term] = {
    "l1": Term(1.0, lambda: hole_valid_l1),
    "charbonnier": Term(1.0, lambda: charbonnier),
    "psnr": Term(1.0, lambda: log_error),
    "temporal": Term(0.5, lambda: temporal_l1),
    "smooth": Term(0.25, lambda: temporal_smooth_l1),
    "warp": Term(0.5, lambda: true_warping_l1),
    "dct": Term(0.2, lambda: dct_l1),
    "fft": Term(0.2, lambda: fft_l1),
    "lpips": Term(0.2, lpips_distance),
    "lite": Term(0.1, lite_distance),
    "timm": Term(0.1, timm_distance),
}


class NamedLoss:
    """A weighted sum of terms, such as "temporal_l1": see `inpaint.options.parse_loss`.

    Raises:
        UserError: an unknown name, or the weights of a perceptual term can't be had.

    >>> target, holes = torch.zeros(1, 3, 3, 1, 1), torch.ones(1, 3, 1, 1, 1)
    >>> blink = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 1, 1)
    >>> NamedLoss("temporal_l1")(blink, target, holes)
    (tensor([0.8333]), {'temporal': tensor([1.]), 'l1': tensor([0.3333])})
    """

    def __init__(self, name: str) -> None:
        self.losses = {word: TERMS[word].make() for word in parse_loss(name)}

    def __call__(
        self, prediction: Tensor, target: Tensor, holes: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum (B,), and every term by its word before weighting, (B,) each."""
        parts = {word: loss(prediction, target, holes) for word, loss in self.losses.items()}
        total = sum(TERMS[word].weight * value for word, value in parts.items())
        assert isinstance(total, Tensor)
        return total, parts
