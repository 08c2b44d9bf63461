"""The memory DSTT: a streaming video inpainting transformer with a frame memory in every block.

Sources: DSTT (Liu et al., Decoupled Spatial-Temporal Transformer for Video Inpainting, arXiv 2104.06637), and the idea
of its real-time variant to keep the last frames' tokens in each block. The attention is wired anew: the current frame
asks, memory and current frame answer. Beside the tokens stands a picture memory (`inpaint.models.recall`): a token says
what a place is like, the picture what it looked like.

Axes: B batch, T frames in time order, C channels, H W pixels, N tokens of a frame.
"""

import math

import torch
from torch import Tensor, nn

from inpaint.masks import smooth_fill
from inpaint.models.blocks import (
    FrameDecoder,
    FrameEncoder,
    HierarchyEncoder,
    MemoryBlock,
    PatchEmbedding,
    PatchUnembedding,
    pad_to_multiple,
)
from inpaint.models.recall import pack, recall, unpack
from nunif.models.registry import Model, register_model

ENCODER_STRIDE = 4
DOUBTFUL = 0.05  # what differs so much from what is seen around is no longer known; see `recall`


class MemoryDSTT(Model):
    """Frames with holes in, frames without out, and the memory handed from call to call.

    Args:
        channels: width of the encoder at 1/4 resolution, a multiple of 16.
        hidden: size of a token. num_blocks: alternating temporal (2x2 zones) and spatial. num_heads divides hidden.
        memory_slots: frames that every block remembers.
        patch_kernel, patch_stride: of a token, in pixels of the 1/4 resolution.
        picture_memory: remember pictures too, not tokens alone.
    """

    clip_length = 12  # frames of a training clip
    any_clip_length = True

    def __init__(
        self,
        *,
        channels: int = 256,
        hidden: int = 512,
        num_blocks: int = 8,
        num_heads: int = 4,
        memory_slots: int = 2,
        patch_kernel: int = 7,
        patch_stride: int = 3,
        picture_memory: bool = True,
    ) -> None:
        super().__init__()
        self.memory_slots, self.num_blocks, self.hidden = memory_slots, num_blocks, hidden
        self.cell = ENCODER_STRIDE * patch_stride  # pixels between tokens, across and down
        # an even number of tokens each way, so that the temporal blocks' four zones are equal
        self.size_multiple = 2 * self.cell
        # the canvas lies behind the blocks' tokens, in as many rows of the same shape as it needs
        self.canvas_rows = -(-4 * self.cell**2 // (memory_slots * hidden)) if picture_memory else 0
        self.encoder = FrameEncoder(9 if picture_memory else 4, channels)
        self.hierarchy = HierarchyEncoder(channels)
        self.to_tokens = PatchEmbedding(channels // 2, hidden, patch_kernel, patch_stride)
        self.blocks = nn.ModuleList(MemoryBlock(hidden, num_heads, zones=2 if i % 2 == 0 else 1) for i in range(num_blocks))
        self.from_tokens = PatchUnembedding(channels // 2, hidden, patch_kernel, patch_stride)
        self.decoder = FrameDecoder(channels // 2, out_channels=4 if picture_memory else 3)
        # an untrained network then leaves what is recalled and filled as it is
        nn.init.zeros_(self.decoder.to_image.weight)

    def forward(
        self, frames: Tensor, holes: Tensor, memory: Tensor | None = None, *, started: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict whole frames.

        The network sees the frames with their holes filled by what the picture memory recalls, smoothly where it knows
        nothing, how well it knows, and the smooth fill for itself; it predicts how much of the smooth fill to take instead
        and what is to be added. A clip of T frames gives the same as T calls with one frame each and the memory handed on.

        Args:
            frames: (B, T, 3, H, W) in [-1, 1]; any H and W; what stands in the holes is not looked at.
            holes: (B, T, 1, H, W), 1 = missing, 0 = seen.
            memory: what the call before returned, or None at the start of a stream.
            started: one bool; False means the start of a stream whatever stands in `memory`. For graphs, where an
                input can't be None.
        Returns:
            the prediction (B, T, 3, H, W) for every pixel, seen ones too, about in [-1, 1] but not clamped;
            the memory (B, num_blocks + canvas_rows, memory_slots, N, hidden), without gradient.
            Both have the type of `frames`; weights of half precision compute in it between.
        """
        dtype = self.to_tokens.weight.dtype
        b, t, _, height, width = frames.shape
        seen = frames.flatten(0, 1) * (1 - holes.flatten(0, 1))
        x, mask = (pad_to_multiple(y, self.size_multiple) for y in (seen, holes.flatten(0, 1)))
        smooth = smooth_fill(x, mask)
        rows: list[Tensor] = []
        filled, inputs = smooth, [smooth, mask]
        if self.canvas_rows:
            past_rows = None if memory is None else memory[:, self.num_blocks :]
            if past_rows is not None and started is not None:
                past_rows = past_rows * started
            filled, known, doubt, rows = self._recall(x.unflatten(0, (b, t)), mask.unflatten(0, (b, t)), past_rows)
            inputs = [filled, smooth, mask, known, doubt]
        features = self.hierarchy(self.encoder(torch.cat(inputs, dim=1).to(dtype)))
        tokens = self.to_tokens(features)  # (B*T, hidden, h, w)
        grid = (tokens.shape[-2], tokens.shape[-1])
        tokens = tokens.flatten(2).transpose(1, 2).unflatten(0, (b, t))  # (B, T, N, hidden)
        new_memory = []
        for i, block in enumerate(self.blocks):
            # an empty memory holds the first frame itself: attention to it is then plain attention to the frame
            past = tokens[:, :1].expand(-1, self.memory_slots, -1, -1)
            if memory is not None:
                seen_before = memory[:, i].to(dtype)
                past = seen_before if started is None else torch.where(started, seen_before, past)
            tokens, past = block(tokens, past, grid)
            new_memory.append(past)
        tokens = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, grid)
        change = self.decoder(features + self.from_tokens(tokens))
        if self.canvas_rows:
            # what is known without a doubt stays as it is, so that a good memory can't be learned to be spoilt
            change = change * (1 - known * (1 - (doubt / DOUBTFUL).clamp(max=1))).to(dtype)
            filled = torch.lerp(filled, smooth, change[:, 3:].tanh().to(filled.dtype))
        prediction = filled + change[:, :3]
        prediction = prediction[..., :height, :width].unflatten(0, (b, t))
        return prediction, torch.cat([torch.stack(new_memory, dim=1).to(frames.dtype), *rows], dim=1)

    def _recall(self, seen: Tensor, holes: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Go through a clip with the canvas.

        Args:
            seen: (B, T, 3, H, W), 0 in the hole; holes: (B, T, 1, H, W); sides multiples of `size_multiple`.
            rows: of the memory that hold the canvas, (B, canvas_rows, memory_slots, N, hidden); None: nothing is known.
        Returns: filled pictures (B*T, 3, H, W), known and doubt (B*T, 1, H, W) as in `recall`, [the rows afterwards].
        """
        shape = (self.canvas_rows, self.memory_slots, self.hidden)
        grid = (seen.shape[-2] // self.cell, seen.shape[-1] // self.cell)
        if rows is None:
            canvas = torch.zeros_like(seen[:, 0, :1]).repeat(1, 4, 1, 1)
        else:
            canvas = unpack(rows.permute(0, 3, 1, 2, 4).flatten(2), self.cell, grid)
        steps = []
        for t in range(seen.shape[1]):
            steps.append(recall(seen[:, t], holes[:, t], canvas))
            canvas = steps[-1].canvas
        filled, known, doubt = (
            torch.stack([getattr(step, name) for step in steps], dim=1).flatten(0, 1) for name in ("picture", "known", "doubt")
        )
        packed = pack(canvas, self.cell, math.prod(shape))  # (B, N, ...)
        return filled, known, doubt, [packed.unflatten(2, shape).permute(0, 2, 3, 1, 4)]

    def memory_shape(self, height: int, width: int) -> tuple[int, int, int, int, int]:
        """Shape of the memory of one stream of frames of that size in pixels."""
        rows, columns = (2 * -(-side // self.size_multiple) for side in (height, width))
        return (1, self.num_blocks + self.canvas_rows, self.memory_slots, rows * columns, self.hidden)


def register() -> None:
    """Enter the sizes: the paper's, one for real time on modest GPUs, one for CPUs and tests."""
    register_model("inpaint.memory_dstt_v1", MemoryDSTT, channels=256, hidden=512, num_blocks=8, num_heads=4)
    register_model("inpaint.memory_dstt_v1_small", MemoryDSTT, channels=128, hidden=256, num_blocks=6, num_heads=4)
    register_model("inpaint.memory_dstt_v1_tiny", MemoryDSTT, channels=64, hidden=64, num_blocks=4, num_heads=2)
