"""From the encoder's four maps to a map at full size, with a memory at each level.

The architecture is that of Robust Video Matting (Lin et al., arXiv 2108.11515); its state space
unit and everything about how it is written here is ours.

Axes: B clips, T frames in time order, N = B T, C channels, H W pixels.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Unit(Protocol):
    """A memory: (x (B, T, C, H, W), state (B, C, H, W)) -> (y of x's shape, the state after)."""

    def __call__(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]: ...


class ConvGRU(nn.Module):
    """A gated recurrent unit whose products are 3x3 convolutions (Ballas et al.,
    arXiv 1511.06432); the new state is (1 - z) of the old one and z of the candidate. A `Unit`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.candidate = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        states = []
        for frame in x.unbind(1):
            gates = torch.sigmoid(self.gates(torch.cat([frame, state], 1)))
            reset, update = gates.chunk(2, 1)
            candidate = torch.tanh(self.candidate(torch.cat([frame, reset * state], 1)))
            state = (1 - update) * state + update * candidate
            states.append(state)
        return torch.stack(states, 1), state


class StateSpaceUnit(nn.Module):
    """A diagonal state space, selective as Mamba's (arXiv 2312.00752), over time and for each
    pixel: what is kept and what is taken up depend on the frame alone, so all frames of a clip
    are convolved at once and only a product and a sum go from frame to frame. A `Unit` with half
    of the ConvGRU's parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, 3 * channels, 3, padding=1)
        # time constants of 1 to 16 frames for a step of softplus(0)
        self.log_rate = nn.Parameter(torch.linspace(0, -2.77, channels).view(-1, 1, 1))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        b = x.shape[0]
        step, entry, gate = self.project(x.flatten(0, 1)).unflatten(0, (b, -1)).chunk(3, 2)
        kept = torch.exp(-F.softplus(step) * torch.exp(self.log_rate))
        taken = (1 - kept) * torch.tanh(entry)
        states = []
        for keep, take in zip(kept.unbind(1), taken.unbind(1)):
            state = keep * state + take
            states.append(state)
        return torch.sigmoid(gate) * torch.stack(states, 1), state


class ConvGate(nn.Module):
    """Of every frame what a ConvGRU gives for its first one, where the state is zero: the gate z
    times the candidate. It remembers nothing. A `Unit` with a third of the ConvGRU's parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        self.candidate = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        frames = x.flatten(0, 1)
        y = torch.sigmoid(self.gate(frames)) * torch.tanh(self.candidate(frames))
        return y.unflatten(0, x.shape[:2]), state


class NoMemory(nn.Module):
    """Hands frames on as they are. A `Unit`, to see what a memory is worth."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return x, state


UNITS: dict[str, type[ConvGRU] | type[StateSpaceUnit] | type[ConvGate] | type[NoMemory]] = {
    "gru": ConvGRU,
    "ssm": StateSpaceUnit,
    "gate": ConvGate,
    "none": NoMemory,
}


class HalfRecurrent(nn.Module):
    """The second half of the channels goes through a memory, the first is left as it is."""

    def __init__(self, channels: int, recurrent: str) -> None:
        super().__init__()
        self.state_channels = channels // 2
        self.unit = UNITS[recurrent](self.state_channels)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, T, C, H, W); state (B, C / 2, H, W), None for zeros."""
        plain, remembered = x.split([x.shape[2] - self.state_channels, self.state_channels], 2)
        if state is None:
            state = remembered.new_zeros(remembered[:, 0].shape)
        else:
            # the zeros of one pixel that others start a stream with stand for zeros of any size
            state = state.expand_as(remembered[:, 0]).to(remembered.dtype)
        remembered, state = self.unit(remembered, state)
        return torch.cat([plain, remembered], 2), state


class PooledAttention(nn.Module):
    """The head of MobileNetV3 for segmentation (LR-ASPP, arXiv 1905.02244): (N, C, H, W) -> (N, D,
    H, W), each channel weighted by what is in the whole picture."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)
        )
        self.gate = nn.Conv2d(channels, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


def _convolve(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(True)]


def _double(x: Tensor, size: torch.Size) -> Tensor:
    """Twice the size, less the last row or column where the larger map has an odd one."""
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return x[..., : size[-2], : size[-1]]


class Level(nn.Module):
    """One level up: the coarser map doubled, the encoder's map and the picture at this size, one
    convolution, a memory."""

    def __init__(self, coarse: int, encoded: int, width: int, recurrent: str) -> None:
        super().__init__()
        self.convolve = nn.Sequential(*_convolve(coarse + encoded + 3, width))
        self.memory = HalfRecurrent(width, recurrent)

    def forward(
        self, x: Tensor, encoded: Tensor, picture: Tensor, state: Tensor | None, num_frames: int
    ) -> tuple[Tensor, Tensor]:
        """x, encoded, picture (N, ., H, W)."""
        x = self.convolve(torch.cat([_double(x, picture.shape), encoded, picture], 1))
        x, state = self.memory(x.unflatten(0, (-1, num_frames)), state)
        return x.flatten(0, 1), state


class Decoder(nn.Module):
    """(maps at 1/2, 1/4, 1/8 and 1/16, picture, four states) -> (map at the picture's size, four
    states, that of the finest level first)."""

    def __init__(
        self, encoded: Sequence[int], pooled: int, widths: Sequence[int], recurrent: str
    ) -> None:
        """encoded: channels of the three finer maps. pooled: of the coarsest one. widths: of the
        four levels that are built, the coarsest first."""
        super().__init__()
        self.bottom = HalfRecurrent(pooled, recurrent)
        self.level3 = Level(pooled, encoded[2], widths[0], recurrent)
        self.level2 = Level(widths[0], encoded[1], widths[1], recurrent)
        self.level1 = Level(widths[1], encoded[0], widths[2], recurrent)
        self.top = nn.Sequential(
            *_convolve(widths[2] + 3, widths[3]), *_convolve(widths[3], widths[3])
        )
        halves = [self.level1.memory, self.level2.memory, self.level3.memory, self.bottom]
        self.state_channels = [half.state_channels for half in halves]

    def forward(
        self,
        maps: Sequence[Tensor],
        picture: Tensor,
        states: Sequence[Tensor | None],
        num_frames: int,
    ) -> tuple[Tensor, list[Tensor]]:
        """maps, picture: (N, ., H, W)."""
        pictures = [picture]
        for _ in range(3):
            # neither the pixels that are missing at an odd edge nor their number count
            smaller = F.avg_pool2d(pictures[-1], 2, ceil_mode=True, count_include_pad=False)
            pictures.append(smaller)
        x, state = self.bottom(maps[3].unflatten(0, (-1, num_frames)), states[3])
        x, new = x.flatten(0, 1), [state]
        for place, level in ((2, self.level3), (1, self.level2), (0, self.level1)):
            x, state = level(x, maps[place], pictures[place + 1], states[place], num_frames)
            new.insert(0, state)
        return self.top(torch.cat([_double(x, picture.shape), picture], 1)), new
