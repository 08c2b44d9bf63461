"""How a body stands, as the decoder gets it: a picture of the body with a code for every place of
its skin, and what makes features of that picture.

Axes: B clips, T frames, H W pixels, h w places, V vertices, F triangles, C channels.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from character.surface import portrait_surface
from scene.people.body import NUM_PARTS, NUM_VERTICES, make_triangles
from scene.people.motion import Gait, move_body


class Surface(NamedTuple):
    """What a rasterised body shows: face (B, T, H, W), integers, the triangle's number, -1 for
    none; bary (B, T, H, W, 3), the share of each of its corners."""

    face: Tensor
    bary: Tensor


Pose = Tensor | Surface  # a picture (B, C, T, H, W), or what is to become one


class SkinCodes(nn.Module):
    """A code for every vertex of the body, learned, or given as a colour and fixed."""

    faces: Tensor

    def __init__(self, channels: int, *, learned: bool) -> None:
        super().__init__()
        triangles = torch.as_tensor(make_triangles()[0], dtype=torch.int64)
        self.register_buffer("faces", triangles, persistent=False)  # (F, 3)
        if learned:
            self.codes = nn.Parameter(smooth_codes(channels))
        else:
            self.register_buffer("codes", skin_colours(channels))

    def forward(self, surface: Surface) -> Tensor:
        """(B, C, T, H, W); 0 where there is no body."""
        return paint(surface, self.faces, self.codes)


class Stance(nn.Module):
    """The body as it stands in the picture that tells who somebody is, see
    `character.surface.portrait_surface`. size: pixels of a side, S."""

    face: Tensor
    bary: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        face, bary = portrait_surface(size)
        self.register_buffer("face", torch.as_tensor(face)[None, None], persistent=False)
        self.register_buffer("bary", torch.as_tensor(bary)[None, None], persistent=False)

    def forward(self) -> Surface:
        """One frame of one clip: (1, 1, S, S)."""
        return Surface(self.face, self.bary)


def rest_places() -> Tensor:
    """Where the skin of somebody is who stands upright, (V, 3), from -1 to 1 along each axis."""
    vertices = move_body(Gait("still", 1.0, 0.0, 0.0), 1.0, 1.0, np.zeros(1)).vertices
    places = torch.as_tensor(vertices.reshape(-1, 3), dtype=torch.float32)
    low, high = places.amin(0), places.amax(0)
    return 2 * (places - low) / (high - low) - 1


def smooth_codes(channels: int) -> Tensor:
    """Random codes (V, channels) that differ little between neighbours, so that they can be learned
    from pictures in which a pixel is wider than a triangle: one for each part of the body, and
    waves over it."""
    parts = torch.randn(NUM_PARTS, channels).repeat_interleave(NUM_VERTICES, dim=0)
    waves = torch.randn(3, channels) * 4
    phases = 2 * math.pi * torch.rand(channels)
    return 0.7 * parts + torch.sin(rest_places() @ waves + phases)


def skin_colours(channels: int) -> Tensor:
    """Fixed codes (V, channels) from 0 to 1: the place in three channels, and again in finer
    steps."""
    places = rest_places().repeat(1, -(-channels // 3))[:, :channels]
    steps = 2.0 ** torch.arange(channels).div(3, rounding_mode="floor")
    return 0.5 + 0.5 * torch.where(steps > 1, torch.sin(math.pi * places * steps), places)


def paint(surface: Surface, faces: Tensor, codes: Tensor) -> Tensor:
    """The codes (V, C) of a surface's places, mixed in the triangles (F, 3): (B, C, T, H, W), with
    gradients to the codes."""
    seen = surface.face >= 0  # (B, T, H, W)
    corners = faces[surface.face[seen].long()]  # (M, 3)
    mixed = (codes[corners] * surface.bary[seen].to(codes.dtype)[..., None]).sum(1)  # (M, C)
    picture = codes.new_zeros(*seen.shape, codes.shape[1])
    return picture.index_put((seen,), mixed).permute(0, 4, 1, 2, 3)


class PoseGuider(nn.Module):
    """Features of a picture, 2 ** (len(widths) - 1) times smaller: that of Animate Anyone (Hu et
    al., arXiv 2311.17117), by the names of its weights. What it gives begins at zero."""

    def __init__(self, channels: int, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for before, after in zip(widths, widths[1:], strict=False):
            self.blocks.append(nn.Conv2d(before, before, 3, padding=1))
            self.blocks.append(nn.Conv2d(before, after, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, out_channels, T, h, w)."""
        b = picture.shape[0]
        features = F.silu(self.conv_in(picture.transpose(1, 2).flatten(0, 1)))
        for block in self.blocks:
            features = F.silu(block(features))
        return self.conv_out(features).unflatten(0, (b, -1)).transpose(1, 2)
