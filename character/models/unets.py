"""diffusers' two UNets in the sizes of ours. It is imported when one of them is built."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class UNetSizes:
    """Of both UNets, which see each other's tokens.

    widths: channels of the levels. layers: of a level. groups: of the norms. heads: of all
    attention. cross: numbers of an identity's vector. all_cross: the coarsest level has attention
    too.
    """

    widths: tuple[int, ...]
    layers: int
    groups: int
    heads: int
    cross: int
    all_cross: bool


def build_denoiser(in_channels: int, out_channels: int, positions: int, sizes: UNetSizes) -> Any:
    """The UNet for clips (diffusers' `UNetMotionModel`), Stable Diffusion's with AnimateDiff's
    layers. positions: the most frames it can tell apart."""
    from diffusers import UNetMotionModel

    down, up = _blocks("BlockMotion", sizes)
    return UNetMotionModel(
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=sizes.widths,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=sizes.layers,
        norm_num_groups=sizes.groups,
        cross_attention_dim=sizes.cross,
        num_attention_heads=sizes.heads,
        motion_num_attention_heads=sizes.heads,
        motion_max_seq_length=positions,
    )


def build_reference(channels: int, sizes: UNetSizes) -> Any:
    """The UNet for pictures (diffusers' `UNet2DConditionModel`), Stable Diffusion's."""
    from diffusers import UNet2DConditionModel

    down, up = _blocks("Block2D", sizes)
    return UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=sizes.widths,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=sizes.layers,
        norm_num_groups=sizes.groups,
        cross_attention_dim=sizes.cross,
        attention_head_dim=sizes.heads,  # its name for the number of heads
    )


def _blocks(kind: str, sizes: UNetSizes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the blocks on the way down and on the way up."""
    last = "CrossAttn" if sizes.all_cross else ""
    with_attention = len(sizes.widths) - 1
    down = (*[f"CrossAttnDown{kind}"] * with_attention, f"{last}Down{kind}")
    up = (f"{last}Up{kind}", *[f"CrossAttnUp{kind}"] * with_attention)
    return down, up
