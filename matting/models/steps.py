"""What is computed at once, as engines do it: the contract of every back end and every export.

    src                   (1, 3, H, W) float32 in [0, 1]
    r1, r2, r3, r4        (1, C, h / 2, w / 2), ... (1, C, h / 16, w / 16) float32, rounded up
    -> fgr                (1, 3, H, W) float32 in [0, 1], the person's colours
       pha                (1, 1, H, W) float32 in [0, 1], alpha
       new_r1, ... new_r4 as r1, ... r4

The last four are the states (`nunif.models.contract`): all zero they are the start of a stream, as
at a cut; new_r1 of one call is r1 of the next. What is computed at, h x w, is a fixed share of the
frame's size: a length that follows from a number that is handed in is what TensorRT refuses.

Axes: H W pixels of the frame, h w of what is computed at.
"""

import numpy as np
from torch import Tensor, nn

from matting.models.network import NUM_STATES, MattingNetwork
from nunif.models.contract import HEIGHT, NEW, WIDTH, Contract, Names, part_of

FRAME, FOREGROUND, ALPHA = "src", "fgr", "pha"
STATES = tuple(f"r{number}" for number in range(1, NUM_STATES + 1))
NAMES: Names = ((FRAME, *STATES), (FOREGROUND, ALPHA, *(NEW + state for state in STATES)))


class MattingStep(nn.Module):
    """(src, r1, r2, r3, r4) -> (fgr, pha, new_r1, new_r2, new_r3, new_r4). float32 at the border,
    whatever type the model computes in."""

    def __init__(self, model: MattingNetwork, *, downsample_ratio: float = 1) -> None:
        """model: it is fused, in place, see `MattingNetwork.fuse`."""
        super().__init__()
        self.model = model.fuse()
        self.ratio = downsample_ratio
        states = {
            name: (1, channels, part_of(HEIGHT, 2 << level), part_of(WIDTH, 2 << level))
            for level, (name, channels) in enumerate(zip(STATES, model.decoder.state_channels))
        }
        self.contract = Contract(
            inputs={FRAME: (1, 3, HEIGHT, WIDTH), **states},
            outputs={
                FOREGROUND: (1, 3, HEIGHT, WIDTH),
                ALPHA: (1, 1, HEIGHT, WIDTH),
                **{NEW + name: shape for name, shape in states.items()},
            },
            ratio=downsample_ratio,
        )

    def forward(
        self, src: Tensor, r1: Tensor, r2: Tensor, r3: Tensor, r4: Tensor
    ) -> tuple[Tensor, ...]:
        dtype = self.model.matte_head.weight.dtype
        inputs = (x.to(dtype) for x in (src, r1, r2, r3, r4))
        outputs = self.model(*inputs, downsample_ratio=self.ratio)
        return tuple(output.float() for output in outputs)


def portable_ratio(ratio: float, size: tuple[int, int]) -> float:
    """The ratio, up to its seventh digit, at which programs that count in float32 and in float64
    come to the same size in pixels, for frames of (height, width)."""
    portable = np.float32(ratio)
    while any(int(side * float(portable)) != int(np.float32(side) * portable) for side in size):
        portable = np.nextafter(portable, np.float32(2))
    return float(portable)
