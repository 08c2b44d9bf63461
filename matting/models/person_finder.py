"""Who is before the camera, in one picture: MediaPipe's selfie segmentation as a torch module.

The network is Google's, published under the Apache License 2.0 (package mediapipe, Apache-2.0,
selfie_segmentation.tflite; see pretrained_models/README.md); written anew here from its graph. It
is MobileNetV3 with a decoder of three steps, 106 k parameters, meant for squares of 256 pixels. It
finds people for holes and as a teacher; its edges are wide and soft, and no matte to compose with.

Axes: N pictures, C channels, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nunif.models.registry import Model

SIDE = 256  # pixels of the squares that it was trained on
SCALE = 32  # its sizes are multiples of twice the stride of its coarsest map

# of the encoder's blocks: channels inside, kernel, stride, channels of the gate's middle (0 for no
# gate), channels that come out; the first ones with ReLU, those with a gate with hard swish
BLOCKS = (
    (72, 3, 2, 0, 24),
    (88, 3, 1, 0, 24),
    (96, 5, 2, 24, 32),
    (128, 5, 1, 32, 32),
    (128, 5, 1, 32, 32),
    (96, 5, 1, 24, 32),
    (96, 5, 1, 24, 32),
)
STEM, HEAD = 16, 128  # channels of the first map, and of the one behind the coarsest
DECODER = (24, 16, 16)  # channels of its steps, from coarse to fine


class Conv(nn.Conv2d):
    """A convolution with TensorFlow's padding: the odd pixel goes to the right and below."""

    def __init__(
        self, num_in: int, num_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ):
        super().__init__(num_in, num_out, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for side in (x.shape[-1], x.shape[-2]):
            pad = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [pad // 2, pad - pad // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class Gate(nn.Module):
    """How much of each channel goes on, told from their means over the picture."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.reduce = Conv(channels, middle)
        self.widen = Conv(middle, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return torch.sigmoid(self.widen(F.relu(self.reduce(mean))))


class Block(nn.Module):
    """MobileNetV3's inverted residual."""

    def __init__(
        self, num_in: int, inside: int, kernel: int, stride: int, middle: int, num_out: int
    ) -> None:
        super().__init__()
        self.act = F.hardswish if middle else F.relu
        self.adds = stride == 1 and num_in == num_out
        self.expand = Conv(num_in, inside)
        self.depthwise = Conv(inside, inside, kernel, stride, groups=inside)
        self.gate = Gate(inside, middle) if middle else None
        self.project = Conv(inside, num_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.depthwise(self.act(self.expand(x))))
        if self.gate is not None:
            y = y * self.gate(y)
        y = self.project(y)
        return x + y if self.adds else y


class Step(nn.Module):
    """One step of the decoder: the coarse map, twice as large, beside the encoder's map of that
    size, of which a gate takes what both agree on."""

    def __init__(self, num_in: int, channels: int, num_out: int) -> None:
        super().__init__()
        self.narrow = Conv(num_in, channels)
        self.gate = Gate(channels, channels)
        self.mix = Conv(channels, num_out)
        self.depthwise = Conv(num_out, num_out, 3, groups=num_out)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        up = self.narrow(_twice(coarse))
        y = F.relu(self.mix(fine * self.gate(fine + up) + up))
        return y + F.relu(self.depthwise(y))


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class PersonFinder(Model):
    """(N, 3, H, W), RGB in [0, 1] -> (N, 1, H, W), the probability of a person in [0, 1].

    H and W are multiples of `SCALE`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM, 3, 2)
        self.first = Conv(STEM, STEM)
        self.first_depthwise = Conv(STEM, STEM, 3, 2, groups=STEM)
        self.first_gate = Gate(STEM, STEM // 2)
        self.first_project = Conv(STEM, STEM)
        ins = (STEM, *(block[-1] for block in BLOCKS))
        self.blocks = nn.ModuleList(Block(n, *block) for n, block in zip(ins, BLOCKS))
        self.head = Conv(ins[-1], HEAD)
        self.head_gate = Conv(ins[-1], HEAD)
        outs = (DECODER[0], *DECODER[1:])
        self.steps = nn.ModuleList(
            Step(n, channels, channels) for n, channels in zip((HEAD, *outs), outs)
        )
        self.last = nn.ConvTranspose2d(DECODER[-1], 1, 2, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        half = F.hardswish(self.stem(pictures))  # 1/2
        y = F.relu(self.first_depthwise(F.relu(self.first(half))))
        quarter = self.first_project(y * self.first_gate(y))  # 1/4
        eighth = self.blocks[1](self.blocks[0](quarter))
        coarse = eighth  # to 1/16
        for block in self.blocks[2:]:
            coarse = block(coarse)
        mean = coarse.mean((2, 3), keepdim=True)
        coarse = F.relu(self.head(coarse)) * torch.sigmoid(self.head_gate(mean))
        for step, fine in zip(self.steps, (eighth, quarter, half)):
            coarse = step(coarse, fine)
        return torch.sigmoid(self.last(coarse))
