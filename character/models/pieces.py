"""The three pieces that make diffusers' networks those of MIMO and Moore-AnimateAnyone.

None of them adds a parameter or renames one: weights are diffusers' own by name.

Axes: B clips, T frames, N = B T pictures, C channels, h w places, L = h w tokens, heads.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SELF_ATTENTION = "attn1"
MOTION = "motion_modules"


class PoseConv(nn.Conv2d):
    """A first convolution that adds what comes in behind its own channels to what it gives.

    (N, in_channels + out_channels, h, w) -> (N, out_channels, h, w).
    """

    def forward(self, pictures: Tensor) -> Tensor:
        own, added = pictures[:, : self.in_channels], pictures[:, self.in_channels :]
        return super().forward(own) + added


class FrameGroupNorm(nn.GroupNorm):
    """Group normalisation of every frame by itself, where `nn.GroupNorm` takes all frames of a
    clip as one: (B, C, T, h, w) -> the same."""

    def forward(self, clips: Tensor) -> Tensor:
        b, t = clips.shape[0], clips.shape[2]
        frames = super().forward(clips.transpose(1, 2).flatten(0, 1))  # (B T, C, h, w)
        return frames.unflatten(0, (b, t)).transpose(1, 2)


def attend(attention: Any, own: Tensor, context: Tensor) -> Tensor:
    """Attention by the weights of a module of diffusers (`Attention`).

    own: (N, L, C), the queries. context: (N, K, .), keys and values.
    """
    heads = attention.heads
    query, key, value = (
        projected.unflatten(2, (heads, -1)).transpose(1, 2)  # (N, heads, ., C / heads)
        for projected in (attention.to_q(own), attention.to_k(context), attention.to_v(context))
    )
    found = F.scaled_dot_product_attention(query, key, value)
    project, dropout = attention.to_out
    return dropout(project(found.transpose(1, 2).flatten(2)))


class OwnProcessor:
    """The attention that knows of no reference. It takes the arguments of `ReferenceProcessor`, or
    diffusers would warn of them at every call."""

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        write: dict[str, Tensor] | None = None,
        read: Mapping[str, Tensor] | None = None,
        use: Tensor | None = None,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        return attend(attention, hidden_states, context)


class ReferenceProcessor:
    """Self-attention of one site that leaves its tokens for others, or looks at those left there.

    write: gets the tokens (N, L, C) under the site's name.
    read: tokens (B, K, C) by the site's name, which every frame of a clip sees beside its own.
    use: (B,) bool, the clips that see them; None: all.
    """

    def __init__(self, site: str) -> None:
        self.site = site

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        write: dict[str, Tensor] | None = None,
        read: Mapping[str, Tensor] | None = None,
        use: Tensor | None = None,
    ) -> Tensor:
        if write is not None:
            write[self.site] = hidden_states
        if read is None:
            return attend(attention, hidden_states, hidden_states)
        left = read[self.site]
        num_frames = hidden_states.shape[0] // left.shape[0]
        left = left.repeat_interleave(num_frames, dim=0)  # (N, K, C)
        if use is None or bool(use.all()):
            return attend(attention, hidden_states, torch.cat([hidden_states, left], dim=1))
        if not bool(use.any()):
            return attend(attention, hidden_states, hidden_states)
        sees = use.repeat_interleave(num_frames)  # (N,)
        seeing, blind = hidden_states[sees], hidden_states[~sees]
        found = attend(attention, seeing, torch.cat([seeing, left[sees]], dim=1))
        result = found.new_empty(len(sees), *found.shape[1:]).index_put((sees,), found)
        return result.index_put((~sees,), attend(attention, blind, blind))


def add_reference(network: Any) -> list[str]:
    """Give all attention of a UNet of diffusers the processors above, and tell the names of the
    sites where a reference is seen, which are the same in both kinds of UNet."""
    processors: dict[str, Any] = {}
    sites = []
    for name in network.attn_processors:
        site = name.removesuffix(".processor")
        if site.endswith(SELF_ATTENTION) and MOTION not in site:
            processors[name] = ReferenceProcessor(site)
            sites.append(site)
        else:
            processors[name] = OwnProcessor()
    network.set_attn_processor(processors)
    return sorted(sites)


def add_pose(network: Any) -> None:
    """Make the first convolution of a UNet of diffusers a `PoseConv`, in place."""
    old = network.conv_in
    new = PoseConv(
        old.in_channels, old.out_channels, old.kernel_size, padding=old.padding, device="meta"
    )
    new.weight, new.bias = old.weight, old.bias
    network.conv_in = new


def motion_modules(network: Any) -> list[Any]:
    """The layers between frames of a UNet of diffusers, each an `AnimateDiffTransformer3D`."""
    return [
        module
        for name, module in network.named_modules()
        if name.rpartition(".")[0].endswith(MOTION)
    ]


def norm_per_frame(network: Any) -> int:
    """Make the first norm of every motion module a `FrameGroupNorm`, in place, and count them."""
    owners = motion_modules(network)
    for owner in owners:
        old = owner.norm
        new = FrameGroupNorm(old.num_groups, old.num_channels, eps=old.eps, device="meta")
        new.weight, new.bias = old.weight, old.bias
        owner.norm = new
    return len(owners)


def behind_last_site(network: Any) -> set[str]:
    """The names of the parameters of a reference UNet that nothing depends on that is read: all
    that comes behind what the last site leaves there."""
    last_block = len(network.up_blocks) - 1
    last_attention = len(network.up_blocks[last_block].attentions) - 1
    attention = f"up_blocks.{last_block}.attentions.{last_attention}"
    heads = ("proj_out",)
    blocks = ("attn1", "norm2", "attn2", "norm3", "ff")
    starts = (
        *(f"{attention}.transformer_blocks.0.{part}." for part in blocks),
        *(f"{attention}.{part}." for part in heads),
        "conv_norm_out.",
        "conv_out.",
    )
    return {name for name, _ in network.named_parameters() if name.startswith(starts)}
