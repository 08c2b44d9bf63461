"""DSTT as published: all frames of a clip are filled together, each seeing all others.

Source: Liu et al., Decoupled Spatial-Temporal Transformer for Video Inpainting, arXiv 2104.06637,
    and the sizes and
tensor names of its published code (ruiliu-ai/DSTT). `from_official` takes that code's weights over.

Axes: B batch, T frames in time order, C channels, H W pixels, N tokens of a frame.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from inpaint.models.blocks import (
    ClipBlock,
    FrameDecoder,
    FrameEncoder,
    HierarchyEncoder,
    PatchEmbedding,
    PatchUnembedding,
    pad_to_multiple,
)
from nunif.errors import UserError
from nunif.models.fit import describe_mismatch
from nunif.models.registry import ForeignLayout, Model, register_layout, register_model

ENCODER_STRIDE = 4
NAME = "inpaint.dstt_v1"


class DSTT(Model):
    """Clips with holes in, clips without out.

    Args:
        channels: width of the encoder at 1/4 resolution, a multiple of 16.
        hidden: size of a token. num_blocks: alternating temporal (2x2 zones) and spatial. num_heads
            divides hidden.
        patch_kernel, patch_stride: of a token, in pixels of the 1/4 resolution.
    """

    clip_length = 12  # frames of a training clip, and of those that `evaluate` scores
    any_clip_length = True

    def __init__(
        self,
        *,
        channels: int = 256,
        hidden: int = 512,
        num_blocks: int = 8,
        num_heads: int = 4,
        patch_kernel: int = 7,
        patch_stride: int = 3,
    ) -> None:
        super().__init__()
        # an even number of tokens each way, so that the temporal blocks' four zones are equal
        self.size_multiple = 2 * ENCODER_STRIDE * patch_stride
        self.encoder = FrameEncoder(3, channels)
        self.hierarchy = HierarchyEncoder(channels)
        self.to_tokens = PatchEmbedding(channels // 2, hidden, patch_kernel, patch_stride)
        self.blocks = nn.ModuleList(
            ClipBlock(hidden, num_heads, temporal=i % 2 == 0) for i in range(num_blocks)
        )
        self.from_tokens = PatchUnembedding(channels // 2, hidden, patch_kernel, patch_stride)
        self.decoder = FrameDecoder(channels // 2, align_corners=True)

    def forward(
        self, frames: Tensor, holes: Tensor, memory: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Predict whole frames.

        The network is not told where the holes are; it sees them as 0, a middle grey.

        Args:
            frames: (B, T, 3, H, W) in [-1, 1]; any H and W, any T; what stands in the holes is not
                looked at.
            holes: (B, T, 1, H, W), 1 = missing, 0 = seen.
            memory: None. There is none to carry; the argument stands here because streaming models
                have it.
        Returns: the prediction (B, T, 3, H, W) for every pixel, seen ones too, in (-1, 1), of the
            type of `frames`; None for the memory.
        Raises:
            ValueError: a memory is given.
        """
        if memory is not None:
            raise ValueError("this model keeps no memory from clip to clip: hand in None")
        b, t, _, height, width = frames.shape
        seen = (frames * (1 - holes)).flatten(0, 1)
        x = pad_to_multiple(seen, self.size_multiple).to(self.to_tokens.weight.dtype)
        features = self.hierarchy(self.encoder(x))
        tokens = self.to_tokens(features)  # (B*T, hidden, h, w)
        grid = (tokens.shape[-2], tokens.shape[-1])
        tokens = tokens.flatten(2).transpose(1, 2).unflatten(0, (b, t))  # (B, T, N, hidden)
        for block in self.blocks:
            tokens = block(tokens, grid)
        tokens = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, grid)
        prediction = torch.tanh(self.decoder(features + self.from_tokens(tokens)))
        return prediction[..., :height, :width].unflatten(0, (b, t)).to(frames.dtype), None


BLOCK_NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.query": "attention.query_embedding",
    "attention.key": "attention.key_embedding",
    "attention.value": "attention.value_embedding",
    "attention.out": "attention.output_linear",
    "feed_forward.0": "ffn.conv.0",
    "feed_forward.2": "ffn.conv.3",
}
DECODER_NAMES = {"conv1": "0.conv", "conv2": "2", "conv3": "4.conv", "to_image": "6"}


def official_names(num_blocks: int) -> dict[str, str]:
    """Our name of each tensor, and the published code's."""
    modules = {f"encoder.{i}": f"encoder.{i}" for i in (0, 2, 4, 6)}
    modules |= {
        f"hierarchy.layers.{i}": f"hier_enc.layers.{2 * i}"
        for i in range(len(HierarchyEncoder.GROUPS))
    }
    modules |= {"to_tokens": "patch2vec", "from_tokens": "vec2patch.embedding"}
    for i in range(num_blocks):
        modules |= {
            f"blocks.{i}.{ours}": f"transformer.{i}.{theirs}"
            for ours, theirs in BLOCK_NAMES.items()
        }
    modules |= {f"decoder.{ours}": f"decoder.{theirs}" for ours, theirs in DECODER_NAMES.items()}
    return {
        f"{ours}.{part}": f"{theirs}.{part}"
        for ours, theirs in modules.items()
        for part in ("weight", "bias")
    }


def is_official(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as in the published code, even if some are missing."""
    return any(name.startswith(("hier_enc.", "patch2vec.")) for name in state_dict)


def from_official(
    model: Model, state_dict: Mapping[str, Tensor], *, source: Path | str = "the state dict"
) -> dict[str, Tensor]:
    """The published code's weights (its `netG`) as the state dict of `model`, a DSTT of the same
    sizes.

    All tensors are renamed; those of the linear layer before its Fold become the equal transposed
    convolution's.

    Raises:
        UserError: names, as the published code has them, the first tensors that are missing, extra
            or of another shape.
    """
    assert isinstance(model, DSTT)
    names, shapes = (
        official_names(len(model.blocks)),
        {name: t.shape for name, t in model.state_dict().items()},
    )
    hidden, channels, kernel, _ = shapes["from_tokens.weight"]
    columns = channels * kernel * kernel
    linear = {
        "from_tokens.weight": torch.Size((columns, hidden)),
        "from_tokens.bias": torch.Size((columns,)),
    }
    expected = {names[name]: linear.get(name, shape) for name, shape in shapes.items()}
    if problem := describe_mismatch(expected, state_dict):
        raise UserError(f"{source} does not fit the published DSTT: {problem}")
    ours = {name: state_dict[official] for name, official in names.items()}
    weight, bias = ours["from_tokens.weight"], ours["from_tokens.bias"]
    unembedding = PatchUnembedding.from_linear(weight, bias, kernel, model.from_tokens.stride)
    ours |= {f"from_tokens.{part}": tensor for part, tensor in unembedding.state_dict().items()}
    return ours


def register() -> None:
    """Enter the published size, and the layout of its weights."""
    register_model(NAME, DSTT, channels=256, hidden=512, num_blocks=8, num_heads=4)
    register_layout(ForeignLayout("official DSTT", NAME, is_official, from_official))
