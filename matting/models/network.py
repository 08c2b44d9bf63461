"""Video matting that streams: who is in the picture, and what they look like without what is
behind them.

The architecture is that of Robust Video Matting (Lin et al., arXiv 2108.11515), over backbones of
timm, with other memories and widths to choose from.

Axes: B clips, T frames in time order, N = B T, H W pixels, h w pixels of what is computed at.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matting.models import rvm_weights
from matting.models.decoder import UNITS, Decoder, PooledAttention
from matting.models.encoders import Encoder
from matting.models.ranges import to_range
from matting.models.refiner import REFINERS
from matting.models.vssm import Block
from nunif.models import Model

WIDTHS = (80, 40, 32, 16)
NUM_STATES = 4

# what people call them, with what it means
VARIANTS = {"mobileone": ("mobileone_s0", 0), "mamba": ("mobileone_s0", 2)}


class MattingNetwork(Model):
    """Frames in, foreground and alpha out, and four states handed from call to call.

    clip_length: frames of a training clip; streams equal clips of any length.
    """

    clip_length = 15
    any_clip_length = True
    streams = True

    def __init__(
        self,
        variant: str = "mobilenetv3",
        refiner: str = "deep_guided_filter",
        *,
        widths: Sequence[int] | None = None,
        pooled: int | None = None,
        recurrent: str = "gru",
        num_blocks: int | None = None,
        keep_last: bool = False,
        fused: bool = False,
    ) -> None:
        """
        Args:
            variant: the backbone, one of `encoders.RECIPES`; or "mobileone" for mobileone_s0, or
                "mamba" for mobileone_s0 with two blocks that scan the picture.
            refiner: "deep_guided_filter" or "fast_guided_filter".
            widths: channels of the decoder's levels, the coarsest first, (80, 40, 32, 16); of
                resnet50 (128, 64, 32, 16). pooled: of the coarsest map, 128; of resnet50 256.
            recurrent: the memory, "gru" or "ssm"; "gate" for gates that see the frame alone, "none"
                for nothing in its place.
            num_blocks: blocks that scan the coarsest map.
            keep_last: of a MobileOne, its last stage too.
            fused: a MobileOne is built as `fuse` leaves it.
        Raises:
            ValueError: an unknown name.
        """
        super().__init__()
        named = {"variant": variant, "refiner": refiner, "recurrent": recurrent}
        for word, known in (("refiner", REFINERS), ("recurrent", UNITS)):
            if named[word] not in known:
                raise ValueError(f"unknown {word} {named[word]!r}: known are {', '.join(known)}")
        backbone, usual_blocks = VARIANTS.get(variant, (variant, 0))
        num_blocks = usual_blocks if num_blocks is None else num_blocks
        is_large = backbone == "resnet50"
        widths = tuple(widths or ((128, 64, 32, 16) if is_large else WIDTHS))
        pooled = pooled or (256 if is_large else 128)
        self.encoder = Encoder(backbone, keep_last=keep_last)
        self.pool = PooledAttention(self.encoder.channels[3], pooled)
        self.blocks = nn.Sequential(*(Block(pooled) for _ in range(num_blocks)))
        self.decoder = Decoder(self.encoder.channels[:3], pooled, widths, recurrent)
        self.matte_head = nn.Conv2d(widths[3], 4, 1)
        self.person_head = nn.Conv2d(widths[3], 1, 1)
        deep = refiner == "deep_guided_filter"
        self.refiner = REFINERS[refiner](widths[3]) if deep else REFINERS[refiner]()
        self.name = "matting.mamba_s0" if variant == "mamba" else f"matting.{backbone}"
        self.kwargs = {
            "variant": variant,
            "refiner": refiner,
            "widths": list(widths),
            "pooled": pooled,
            "recurrent": recurrent,
            "num_blocks": num_blocks,
            "keep_last": keep_last,
            "fused": False,
        }
        if fused:
            self.fuse()

    def forward(
        self,
        src: Tensor,
        r1: Tensor | None = None,
        r2: Tensor | None = None,
        r3: Tensor | None = None,
        r4: Tensor | None = None,
        downsample_ratio: float = 1,
        segmentation_pass: bool = False,
    ) -> tuple[Tensor, ...]:
        """Matte a clip, (B, T, 3, H, W), or a frame, (B, 3, H, W), of RGB in [0, 1].

        Args:
            r1, r2, r3, r4: what the last call gave; None at the start of a stream and at a cut.
            downsample_ratio: what is computed at, as a share of height and width. Below 1 the
                refiner lifts the matte to the full size.
            segmentation_pass: give where persons are instead, at the size that is computed at.
        Returns:
            foreground (.., 3, H, W) and alpha (.., 1, H, W) in [0, 1], or with segmentation_pass
            logits (.., 1, h, w); then the four new states, (B, C, ., .).
        """
        clip = src if src.dim() == 5 else src[:, None]
        b, t = clip.shape[:2]
        frames = clip.flatten(0, 1)
        small = frames
        if downsample_ratio != 1:
            small = F.interpolate(
                frames,
                scale_factor=downsample_ratio,
                mode="bilinear",
                align_corners=False,
                recompute_scale_factor=False,
            )
        f1, f2, f3, f4 = self.encoder(small)
        f4 = self.blocks(self.pool(f4))
        hidden, states = self.decoder([f1, f2, f3, f4], small, [r1, r2, r3, r4], t)
        if segmentation_pass:
            results = [self.person_head(hidden)]
        else:
            matte = self.matte_head(hidden)
            if downsample_ratio != 1:
                matte = self.refiner(frames, small, matte, hidden)
            # nothing before this cuts values off
            results = [to_range(matte[:, :3] + frames), to_range(matte[:, 3:])]
        if src.dim() == 5:
            results = [x.unflatten(0, (b, t)) for x in results]
        return *results, *states

    def fuse(self) -> "MattingNetwork":
        """Make one convolution of the branches that a MobileOne is trained with, in place: as many
        frames in less time, and nothing left to train. Other backbones have none."""
        if self.encoder.branches and not self.kwargs.get("fused"):
            self.encoder.fuse()
            self.kwargs = {**self.kwargs, "fused": True}
        return self

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As torch's; weights under the names of Robust Video Matting are taken too."""
        if rvm_weights.recognise(state_dict):
            state_dict = rvm_weights.convert(self, state_dict, source="the state dict")
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def reparameterize_model(model: MattingNetwork) -> MattingNetwork:
    """The model with the branches of a MobileOne made one, see `MattingNetwork.fuse`."""
    return model.fuse()


def usual_ratio(height: int, width: int) -> float:
    """The downsample_ratio for frames of a size in pixels: their longer side is computed at 512
    pixels at most."""
    return min(512 / max(height, width), 1)


def zero_states(
    model: MattingNetwork, height: int, width: int, *, batch_size: int = 1
) -> list[Tensor]:
    """The states at the start of a stream, as the model gives them for frames of a size in pixels
    that is computed at: (B, C, H / 2, W / 2), ... (B, C, H / 16, W / 16), rounded up."""
    device = next(model.parameters()).device
    states = []
    for channels in model.decoder.state_channels:
        height, width = -(-height // 2), -(-width // 2)
        states.append(torch.zeros(batch_size, channels, height, width, device=device))
    return states
