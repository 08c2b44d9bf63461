"""Fusion: a small network that chooses, pixel by pixel, what of a picture memory to believe.

The candidates of a pixel - the canvas, the key picture, what is seen only later where that is
known, a smooth fill around what is recalled, a smooth fill of the frame (`inpaint.models.recall`) -
come with weights by hand. One encoder looks at each of them, whichever it is; their mean and
maximum tell the surroundings; out comes a logit for each candidate, which is added to the log of
its weight. Untrained it is the weighing by hand, up to `LEAST`. It makes up no
colours: all are picked.

Axes: B batch, T frames in time order, K candidates, C channels, H W pixels, h w a quarter of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inpaint.models.blocks import LEAKY_SLOPE, conv
from inpaint.models.candidates import Candidate, Merged
from inpaint.models.picture_memory import PictureMemory
from inpaint.models.recall import Ahead
from inpaint.models.streaming import ahead_of_clip
from nunif.models.registry import register_model

STRIDE = 4  # pixels of a pixel of the network
LEARNED_SIDE = 128  # of the square around a pixel of the hole that is learned from in a frame
LEAST = 0.01  # of a weight by hand, so that softmax hands a gradient to every candidate
CANVAS, KEY, LATER, BELOW, SMOOTH = range(5)  # kinds of candidates
INPUTS = 11
DILATIONS = (1, 2, 4, 8, 4, 2)


class Fusion(PictureMemory):
    """A picture memory whose candidates are weighed by a network.

    In training half of the clips are filled knowing their other frames to come, which `stream` gets
    as `ahead`; the other half, and everything in evaluation mode, is filled from the past alone.
    What is remembered is so of whole frames, and costs most; of each the network fills a square of
    `LEARNED_SIDE` pixels around any pixel of the hole, and what lies outside is weighed by hand.

    Args:
        channels: of the encoder of a candidate. trunk: of what sees all of them.
    """

    def __init__(self, *, channels: int = 40, trunk: int = 48) -> None:
        super().__init__()
        self.kinds = nn.Parameter(torch.zeros(5, channels, 1, 1))
        self.look, self.look_again = conv(INPUTS, channels), conv(channels, channels)
        sides = [2 * channels, *[trunk] * len(DILATIONS)]
        self.around = nn.Sequential()
        for i, dilation in enumerate(DILATIONS):
            self.around.extend(
                [conv(sides[i], sides[i + 1], dilation=dilation), nn.LeakyReLU(LEAKY_SLOPE)]
            )
        self.decide = conv(channels + trunk, channels)
        self.to_logit = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.to_logit.weight)
        nn.init.zeros_(self.to_logit.bias)  # type: ignore[arg-type]

    def look_ahead(self, x: Tensor, mask: Tensor) -> list[Ahead | None] | None:
        return ahead_of_clip(x, mask) if self.training and torch.rand(()) < 0.5 else None

    def choose(self, step: Merged, hole: Tensor) -> Tensor:
        return self._choose_parts(step, hole) if self.training else self._choose(step, hole)

    def _choose_parts(self, step: Merged, hole: Tensor) -> Tensor:
        """What is learned from: the picture as weighed by hand, but for a square around any pixel
        of each sample's hole."""
        parts = [
            (slice(i, i + 1), slice(None), *_around_hole(mask[0])) for i, mask in enumerate(hole)
        ]
        cut = step.map(lambda x: torch.cat([x[part] for part in parts]))
        picture = step.picture.clone()
        for part, chosen in zip(
            parts, self._choose(cut, torch.cat([hole[part] for part in parts]))
        ):
            picture[part] = chosen
        return picture

    def _choose(self, step: Merged, hole: Tensor) -> Tensor:
        """The candidates of a frame mixed, (B, 3, H, W). hole: (B, 1, H, W)."""
        kinds = [LATER if c.later else KEY if c.from_key else CANVAS for c in step.candidates] + [
            BELOW,
            SMOOTH,
        ]
        colours = torch.stack(step.colours, 1)  # (B, K, 3, H, W)
        b, k = colours.shape[:2]
        features = self._look_at(step, colours, hole).to(
            self.look.weight.dtype
        )  # (B*K, INPUTS, h, w)
        code = self.kinds[kinds].repeat(b, 1, 1, 1)
        each = F.leaky_relu(self.look(features) + code, LEAKY_SLOPE)
        each = F.leaky_relu(self.look_again(each), LEAKY_SLOPE).unflatten(0, (b, k))
        around = self.around(torch.cat([each.mean(1), each.amax(1)], 1))  # (B, trunk, h, w)
        both = torch.cat([each, around[:, None].expand(-1, k, -1, -1, -1)], 2).flatten(0, 1)
        logits = self.to_logit(F.leaky_relu(self.decide(both), LEAKY_SLOPE)).to(colours.dtype)
        logits = F.interpolate(
            logits, scale_factor=STRIDE, mode="bilinear", align_corners=False
        ).unflatten(0, (b, k))
        known = [candidate.known for candidate in step.candidates] + [torch.ones_like(hole)] * 2
        by_hand = torch.stack(
            [weight.maximum(LEAST * x) for weight, x in zip(step.weights, known)], 1
        )
        shares = torch.softmax(logits + by_hand.clamp(min=1e-9).log(), dim=1)  # (B, K, 1, H, W)
        return torch.where(hole > 0, (shares * colours).sum(1), step.picture)

    def _look_at(self, step: Merged, colours: Tensor, hole: Tensor) -> Tensor:
        """What the network sees of every candidate: (B*K, INPUTS, h, w)."""
        none = Candidate(
            step.smooth, torch.zeros_like(hole), torch.zeros_like(hole), torch.zeros_like(hole)
        )
        facts = [*step.candidates, none, none]
        known, doubt, age = (
            torch.stack([getattr(c, name) for c in facts], 1) for name in ("known", "doubt", "age")
        )
        differing = (colours - step.picture[:, None]).abs().mean(2, keepdim=True)
        holes = hole[:, None].expand_as(known)
        inputs = [
            colours,
            colours - step.smooth[:, None],
            holes,
            known,
            5 * doubt,
            torch.log1p(age) / 4,
            5 * differing,
        ]
        return F.avg_pool2d(torch.cat(inputs, 2).flatten(0, 1), STRIDE)


def _around_hole(hole: Tensor) -> tuple[slice, slice]:
    """Rows and columns of a square around a random pixel of a hole (H, W), on the network's
    grid."""
    places = hole.nonzero()
    pixel = places[int(torch.randint(len(places), ()))].tolist() if len(places) else (0, 0)
    starts = (
        min(max(0, at - LEARNED_SIDE // 2), max(0, side - LEARNED_SIDE)) // STRIDE * STRIDE
        for at, side in zip(pixel, hole.shape)
    )
    rows, columns = (slice(start, start + LEARNED_SIDE) for start in starts)
    return rows, columns


def register() -> None:
    register_model("inpaint.fusion_v1", Fusion, channels=40, trunk=48)
