"""The memory DSTT: a streaming video inpainting transformer with a frame memory in every block.

Sources: DSTT (Liu et al., Decoupled Spatial-Temporal Transformer for Video Inpainting, arXiv
    2104.06637), and the idea
of its real-time variant to keep the last frames' tokens in each block. The attention is wired anew:
the current frame asks, memory and current frame answer. Beside the tokens stands a picture memory
(`inpaint.models.recall`): a token says what a place is like, the picture what it looked like.

Axes: B batch, T frames in time order, C channels, H W pixels, N tokens of a frame.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inpaint.models.blocks import (
    FrameDecoder,
    FrameEncoder,
    HierarchyEncoder,
    MemoryBlock,
    PatchEmbedding,
    PatchUnembedding,
)
from inpaint.models.memory_rows import numbers_of_cell, pack, unpack
from inpaint.models.recall import NUM_KEYS, Ahead, Memory, empty_memory
from inpaint.models.streaming import StreamingModel, over_clip, prepare, recall_clip
from nunif.models.contract import num_cells
from nunif.models.registry import register_model
from scene.masks import smooth_fill

ENCODER_STRIDE = 4
DOUBTFUL = 0.05  # what differs so much from what is seen around is no longer known; see `recall`


class Past(NamedTuple):
    """What a stream remembers: every block's keys and values, (2, B, S, N, hidden) each, and the
    picture memory."""

    projected: list[Tensor]
    pictures: Memory | None


class _Seen(NamedTuple):
    """What is known before the blocks begin.

    features: (B*T, C, H/4, W/4). tokens: (B, T, N, hidden). grid: tokens down and across. filled,
        smooth: (B*T, 3, H, W).
    softness: (B*T, 1, H, W), how much may be changed. pictures: after the last frame. Without a
        picture memory None both.
    """

    features: Tensor
    tokens: Tensor
    grid: tuple[int, int]
    filled: Tensor
    smooth: Tensor
    softness: Tensor | None
    pictures: Memory | None


class MemoryDSTT(StreamingModel):
    """Frames with holes in, frames without out, and the memory handed from call to call.

    Args:
        channels: width of the encoder at 1/4 resolution, a multiple of 16.
        hidden: size of a token. num_blocks: alternating temporal (2x2 zones) and spatial. num_heads
            divides hidden.
        memory_slots: frames that every block remembers.
        patch_kernel, patch_stride: of a token, in pixels of the 1/4 resolution.
        picture_memory: remember pictures too, not tokens alone.
    """

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
        # the picture memory lies behind the blocks' tokens, in as many rows of the same shape as it
        # needs
        self.picture_rows = (
            -(-numbers_of_cell(self.cell, NUM_KEYS) // (memory_slots * hidden))
            if picture_memory
            else 0
        )
        self.encoder = FrameEncoder(9 if picture_memory else 4, channels)
        self.hierarchy = HierarchyEncoder(channels)
        self.to_tokens = PatchEmbedding(channels // 2, hidden, patch_kernel, patch_stride)
        self.blocks = nn.ModuleList(
            MemoryBlock(hidden, num_heads, zones=2 if i % 2 == 0 else 1) for i in range(num_blocks)
        )
        self.from_tokens = PatchUnembedding(channels // 2, hidden, patch_kernel, patch_stride)
        self.decoder = FrameDecoder(channels // 2, out_channels=4 if picture_memory else 3)
        # an untrained network then leaves what is recalled and filled as it is
        nn.init.zeros_(self.decoder.to_image.weight)

    def forward(
        self,
        frames: Tensor,
        holes: Tensor,
        memory: Tensor | None = None,
        *,
        started: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict whole frames.

        The network sees the frames with their holes filled by what the picture memory recalls,
        smoothly where it knows nothing, how well it knows, and the smooth fill for itself; it
        predicts how much of the smooth fill to take instead and what is to be added. A clip of T
        frames gives the same as T calls with one frame each and the memory handed on.

        Args:
            frames: (B, T, 3, H, W) in [-1, 1]; any H and W; what stands in the holes is not looked
                at.
            holes: (B, T, 1, H, W), 1 = missing, 0 = seen.
            memory: what the call before returned, or None at the start of a stream.
            started: one bool, or one for each clip (B,); False means the start of a stream
                whatever stands in `memory`. For graphs, where an input can't be None.
        Returns:
            the prediction (B, T, 3, H, W) for every pixel, seen ones too, about in [-1, 1] but not
            clamped; the memory (B, num_blocks + picture_rows, memory_slots, N, hidden), without
            gradient. Both have the type of `frames`; weights of half precision compute in it
            between.
        """
        b, t, _, height, width = frames.shape
        pictures = None
        if started is not None:
            started = started.view(-1, 1, 1, 1)
        if memory is not None and self.picture_rows:
            rows = memory[:, self.num_blocks :]
            pictures = self._unpack(
                rows if started is None else rows * started[..., None], height, width
            )
        seen = self._look(frames, holes, pictures)
        tokens, new_memory = seen.tokens, []
        for i, block in enumerate(self.blocks):
            # an empty memory holds the first frame itself: attention to it is then plain attention
            # to the frame
            past = tokens[:, :1].expand(-1, self.memory_slots, -1, -1)
            if memory is not None:
                seen_before = memory[:, i].to(tokens.dtype)
                past = seen_before if started is None else torch.where(started, seen_before, past)
            tokens, past = block(tokens, past, seen.grid)
            new_memory.append(past)
        prediction = self._paint(seen, tokens)[..., :height, :width].unflatten(0, (b, t))
        packed = [] if seen.pictures is None else [self._pack(seen.pictures)]
        return prediction, torch.cat(
            [torch.stack(new_memory, dim=1).to(frames.dtype), *packed], dim=1
        )

    def stream(  # type: ignore[override]
        self, frames: Tensor, holes: Tensor, past: Past | None, ahead: Ahead | None = None
    ) -> tuple[Tensor, Past]:
        """One frame of a stream, as `forward`, remembering what is quickest to go on with; not for
        training.

        Args:
            frames, holes: as in `forward`, T = 1. past: what the call before returned; None at the
                start of a stream.
            ahead: what is known of frames to come.
        """
        height, width = frames.shape[-2:]
        seen = self._look(frames, holes, None if past is None else past.pictures, ahead)
        tokens, projected = seen.tokens, []
        for i, block in enumerate(self.blocks):
            assert isinstance(block, MemoryBlock)
            before = None if past is None else past.projected[i]
            tokens, after = block.stream(tokens, before, seen.grid, self.memory_slots)
            projected.append(after)
        prediction = self._paint(seen, tokens)[..., :height, :width].unsqueeze(1)
        return prediction, Past(projected, seen.pictures)

    def _look(
        self, frames: Tensor, holes: Tensor, pictures: Memory | None, ahead: Ahead | None = None
    ) -> "_Seen":
        """All up to the tokens. frames, holes: as in `forward`; pictures: after the frame before,
        None for nothing."""
        dtype = self.to_tokens.weight.dtype
        b, t = frames.shape[:2]
        x, mask = prepare(frames, holes, self.size_multiple)
        if self.picture_rows:
            steps, pictures = recall_clip(
                x, mask, empty_memory(x[:, 0]) if pictures is None else pictures, [ahead] * t
            )
            filled, smooth, known, doubt = (
                over_clip(steps, name) for name in ("picture", "smooth", "known", "doubt")
            )
            inputs = [filled, smooth, mask.flatten(0, 1), known, doubt]
            # what is known without a doubt stays as it is, so that a good memory can't be learned
            # to be spoilt
            softness = (1 - known * (1 - (doubt / DOUBTFUL).clamp(max=1))).to(dtype)
        else:
            mask, softness = mask.flatten(0, 1), None
            filled = smooth = smooth_fill(x.flatten(0, 1), mask)
            inputs = [smooth, mask]
        features = self.hierarchy(self.encoder(torch.cat(inputs, dim=1).to(dtype)))
        tokens = self.to_tokens(features)  # (B*T, hidden, h, w)
        grid = (tokens.shape[-2], tokens.shape[-1])
        tokens = tokens.flatten(2).transpose(1, 2).unflatten(0, (b, t))  # (B, T, N, hidden)
        return _Seen(features, tokens, grid, filled, smooth, softness, pictures)

    def _paint(self, seen: "_Seen", tokens: Tensor) -> Tensor:
        """From the last block's tokens (B, T, N, hidden) to pictures (B*T, 3, H, W), padding
        included."""
        patches = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, seen.grid)
        change = self.decoder(seen.features + self.from_tokens(patches))
        filled = seen.filled
        if seen.softness is not None:
            change = change * seen.softness
            filled = torch.lerp(filled, seen.smooth, change[:, 3:].tanh().to(filled.dtype))
        return filled + change[:, :3]

    def _pack(self, pictures: Memory) -> Tensor:
        """The rows of the memory that hold the pictures, (B, picture_rows, memory_slots, N,
        hidden)."""
        shape = (self.picture_rows, self.memory_slots, self.hidden)
        return (
            pack(pictures, self.cell, math.prod(shape)).unflatten(2, shape).permute(0, 2, 3, 1, 4)
        )

    def _unpack(self, rows: Tensor, height: int, width: int) -> Memory:
        """The inverse of `_pack`, for frames of that size."""
        sides = (
            (side + self.size_multiple - 1) // self.size_multiple * 2 for side in (height, width)
        )
        return unpack(
            rows.permute(0, 3, 1, 2, 4).flatten(2), self.cell, (next(sides), next(sides)), NUM_KEYS
        )

    def memory_shape(self, height: int, width: int) -> tuple[int, int, int, int, int]:
        """Shape of the memory of one stream of frames of that size in pixels."""
        rows, tokens = (
            self.num_blocks + self.picture_rows,
            num_cells(height, width, self.size_multiple),
        )
        return (1, rows, self.memory_slots, tokens, self.hidden)


def register() -> None:
    """Enter the sizes: the paper's, one for real time on modest GPUs, one for CPUs and tests."""
    register_model(
        "inpaint.memory_dstt_v1", MemoryDSTT, channels=256, hidden=512, num_blocks=8, num_heads=4
    )
    register_model(
        "inpaint.memory_dstt_v1_small",
        MemoryDSTT,
        channels=128,
        hidden=256,
        num_blocks=6,
        num_heads=4,
    )
    register_model(
        "inpaint.memory_dstt_v1_tiny", MemoryDSTT, channels=64, hidden=64, num_blocks=4, num_heads=2
    )
