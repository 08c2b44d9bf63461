"""Whether a person is in a picture at all: the scores of MediaPipe's pose detector.

The network is Google's, published under the Apache License 2.0 (package mediapipe, Apache-2.0,
pose_detection.tflite; see pretrained_models/README.md); written anew here from its graph, without
what tells how people stand. It is MobileNetV2 with a feature pyramid, 2.2 M parameters.

Axes: N pictures, C channels, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nunif.models.registry import Model

SIDE = 224  # pixels of its pictures, which are squares

# of the blocks: channels inside, kernel, stride, channels that come out
TO_EIGHTH = ((64, 3, 2, 24), (144, 3, 1, 24), (144, 5, 2, 40), (240, 5, 1, 40))
TO_SIXTEENTH = (
    (240, 3, 2, 80),
    (480, 3, 1, 80),
    (480, 3, 1, 80),
    (480, 5, 1, 112),
    (672, 5, 1, 112),
    (672, 5, 1, 112),
)
TO_LAST = ((672, 5, 2, 192), (1152, 5, 1, 192), (1152, 5, 1, 192), (1152, 5, 1, 192))
STEM, FIRST, WIDEST = 24, 16, 1152
FINE, MIDDLE = 96, 192  # channels of the pyramid


def _conv(
    num_in: int, num_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, kernel, stride, kernel // 2, groups=groups)


class Block(nn.Module):
    """MobileNetV2's inverted residual."""

    def __init__(self, num_in: int, inside: int, kernel: int, stride: int, num_out: int) -> None:
        super().__init__()
        self.adds = stride == 1 and num_in == num_out
        self.expand = _conv(num_in, inside)
        self.depthwise = _conv(inside, inside, kernel, stride, inside)
        self.project = _conv(inside, num_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        return x + y if self.adds else y


class Separable(nn.Sequential):
    """A convolution of each channel, and one of each pixel."""

    def __init__(self, num_in: int, num_out: int, stride: int = 1) -> None:
        super().__init__(_conv(num_in, num_in, 3, stride, num_in), _conv(num_in, num_out))


class Level(nn.Module):
    """A level of the pyramid: the coarser one, twice as large, and the encoder's map."""

    def __init__(self, num_in: int, channels: int) -> None:
        super().__init__()
        self.narrow = _conv(num_in, channels)
        self.mixes = nn.ModuleList(Separable(channels, channels) for _ in range(2))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        up = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        y = fine + F.relu6(self.narrow(up))
        for mix in self.mixes:
            y = F.relu6(y + mix(y))
        return y


class Scores(nn.Module):
    """What the map says of people, as logits: its channels become pixels, four to one."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.tell = Separable(num_in // 4, num_out, 2)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        # of the channels, rows and columns of the pixels come first, unlike in pixel_shuffle
        x = x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)  # (n, c/4, h, 2, w, 2)
        return self.tell(x.reshape(n, c // 4, 2 * h, 2 * w)).flatten(1)


class PersonGate(Model):
    """(N, 3, 224, 224), RGB in [0, 1] -> (N,) in [0, 1]: how sure it is that somebody is there;
    `where`: at each place, by heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, STEM, 3, 2)
        self.first_depthwise = _conv(STEM, STEM, 3, groups=STEM)
        self.first_project = _conv(STEM, FIRST)
        self.to_eighth = _blocks(FIRST, TO_EIGHTH)
        self.beside_eighth = Separable(TO_EIGHTH[-1][-1], FINE)
        self.to_sixteenth = _blocks(TO_EIGHTH[-1][-1], TO_SIXTEENTH)
        self.beside_sixteenth = Separable(TO_SIXTEENTH[-1][-1], MIDDLE)
        self.to_last = _blocks(TO_SIXTEENTH[-1][-1], TO_LAST)
        self.last_expand = _conv(TO_LAST[-1][-1], WIDEST)
        self.last_depthwise = _conv(WIDEST, WIDEST, 3, groups=WIDEST)
        self.middle = Level(WIDEST, MIDDLE)
        self.fine = Level(MIDDLE, FINE)
        self.scores = nn.ModuleList([Scores(FINE, 2), Scores(MIDDLE, 2), Scores(WIDEST, 6)])

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.sigmoid(torch.cat(self._logits(pictures), 1).amax(1))

    def where(self, pictures: Tensor) -> Tensor:
        """(N, 28, 28) in [0, 1]: how sure it is that somebody's head is there."""
        fine, middle, _ = self._logits(pictures)
        side = SIDE // 8
        heads = fine.reshape(-1, 2, side, side).amax(1)
        coarse = middle.reshape(-1, 2, side // 2, side // 2).amax(1)
        coarse = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
        return torch.sigmoid(torch.maximum(heads, coarse))

    def _logits(self, pictures: Tensor) -> list[Tensor]:
        """Of the places of maps of 1/8, 1/16 and 1/32, some to each."""
        x = F.relu6(self.stem(2 * pictures - 1))
        x = self.first_project(F.relu6(self.first_depthwise(x)))
        eighth = self.to_eighth(x)
        sixteenth = self.to_sixteenth(eighth)
        x = self.to_last(sixteenth)
        x = F.relu6(self.last_depthwise(F.relu6(self.last_expand(x))))
        middle = self.middle(x, F.relu6(self.beside_sixteenth(sixteenth)))
        fine = self.fine(middle, F.relu6(self.beside_eighth(eighth)))
        return [tell(y) for tell, y in zip(self.scores, (fine, middle, x))]


def _blocks(num_in: int, rows: tuple[tuple[int, int, int, int], ...]) -> nn.Sequential:
    ins = (num_in, *(row[-1] for row in rows))
    return nn.Sequential(*(Block(n, *row) for n, row in zip(ins, rows)))
