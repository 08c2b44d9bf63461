"""Look over the whole picture by scanning it in four directions (VMamba, arXiv 2401.10166).

Axes: N pictures, C channels, H W pixels, L = H W.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matting.models.scan import selective_scan

NUM_DIRECTIONS = 4  # along rows and along columns, both also from the other end


class Scan2d(nn.Module):
    """(N, C, H, W) -> the same shape: the sum of four selective scans, with one number of state
    for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rank = math.ceil(channels / 16)  # of the step sizes
        size = (NUM_DIRECTIONS, self.rank + 2, channels)
        self.project = nn.Parameter(torch.randn(size) / math.sqrt(channels))
        size = (NUM_DIRECTIONS, channels, self.rank)
        self.step = nn.Parameter((torch.rand(size) * 2 - 1) / math.sqrt(self.rank))
        # softplus of it is spread over 0.001 to 0.1 evenly in its logarithm, as in Mamba
        steps = torch.exp(
            torch.rand(NUM_DIRECTIONS, channels) * math.log(100) + math.log(0.001)
        ).clamp(min=1e-4)
        self.step_bias = nn.Parameter(steps + torch.log(-torch.expm1(-steps)))
        self.log_rate = nn.Parameter(torch.zeros(NUM_DIRECTIONS, channels))
        self.skip = nn.Parameter(torch.ones(NUM_DIRECTIONS, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        dtype = torch.promote_types(x.dtype, torch.float32)  # half precision is too coarse
        x = x.to(dtype)
        rows, columns = x.flatten(2), x.transpose(2, 3).flatten(2)
        lines = torch.stack([rows, columns, rows.flip(2), columns.flip(2)], 1)  # (N, 4, C, L)
        projected = torch.einsum("nkcl,kdc->nkdl", lines, self.project.to(dtype))
        steps, entry, exit_ = projected.split([self.rank, 1, 1], 2)
        delta = torch.einsum("nkrl,kcr->nkcl", steps, self.step.to(dtype))
        delta = delta + self.step_bias.to(dtype)[..., None]
        # every direction is a clip of its own to the scan, which has one A and D for all of a batch
        scanned = [
            selective_scan(
                lines[:, k],
                F.softplus(delta[:, k]),
                -torch.exp(self.log_rate[k, :, None].to(dtype)),
                entry[:, k],
                exit_[:, k],
                self.skip[k].to(dtype),
            )
            for k in range(NUM_DIRECTIONS)
        ]
        along_rows = scanned[0] + scanned[2].flip(2)
        along_columns = (scanned[1] + scanned[3].flip(2)).unflatten(2, (w, h)).transpose(2, 3)
        return along_rows.view(n, -1, h, w) + along_columns


class Block(nn.Module):
    """A residual block around the scan. It starts as the identity, because one that starts at
    random costs what the network learns at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(channels)
        self.linear_in = nn.Linear(channels, channels, bias=False)
        self.around = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.scan = Scan2d(channels)
        self.norm_out = nn.LayerNorm(channels)
        self.linear_out = nn.Linear(channels, channels, bias=False)
        nn.init.zeros_(self.linear_out.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear_in(self.norm_in(x.movedim(1, 3))).movedim(3, 1)
        with torch.autocast(x.device.type, enabled=False):
            y = self.scan(F.silu(self.around(y.to(self.around.weight.dtype))))
        y = self.linear_out(self.norm_out(y.movedim(1, 3).to(x.dtype))).movedim(3, 1)
        return x + y
