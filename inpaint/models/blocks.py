"""The parts that DSTT-like networks are made of.

Source of the layout: DSTT (Liu et al., arXiv 2104.06637) and its published code's layer sizes.
Axes: B batch, T frames, N tokens of a frame (h * w, row-major), C channels or hidden size, H W
    pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.2
Projected = tuple[Tensor, Tensor]  # keys and values of the same tokens


def conv(
    in_channels: int, out_channels: int, *, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """3x3 convolution with its weights drawn for a leaky ReLU behind it."""
    layer = nn.Conv2d(in_channels, out_channels, 3, stride, dilation, dilation, groups)
    nn.init.kaiming_normal_(layer.weight, a=LEAKY_SLOPE, nonlinearity="leaky_relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def linear(in_features: int, out_features: int) -> nn.Linear:
    """Linear layer with small weights and no initial bias."""
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


class FrameEncoder(nn.Sequential):
    """(B*T, in_channels, H, W) -> (B*T, channels, H/4, W/4)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            conv(in_channels, channels // 4, stride=2),
            nn.LeakyReLU(LEAKY_SLOPE),
            conv(channels // 4, channels // 4),
            nn.LeakyReLU(LEAKY_SLOPE),
            conv(channels // 4, channels // 2, stride=2),
            nn.LeakyReLU(LEAKY_SLOPE),
            conv(channels // 2, channels),
            nn.LeakyReLU(LEAKY_SLOPE),
        )


class HierarchyEncoder(nn.Module):
    """Grouped convolutions that each see the first features again: (B*T, channels, h, w) -> (B*T,
    channels/2, h, w)."""

    GROUPS = (1, 2, 4, 8, 1)

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = len(self.GROUPS) - 1
        self.layers = nn.ModuleList(
            conv(
                channels if i == 0 else 2 * channels,
                channels // 2 if i == last else channels,
                groups=groups,
            )
            for i, groups in enumerate(self.GROUPS)
        )

    def forward(self, features: Tensor) -> Tensor:
        n, _, h, w = features.shape
        x = features
        for i, (layer, groups) in enumerate(zip(self.layers, self.GROUPS)):
            if i > 0:
                first, current = (f.view(n, groups, -1, h, w) for f in (features, x))
                x = torch.cat([first, current], dim=2).view(n, -1, h, w)
            x = F.leaky_relu(layer(x), LEAKY_SLOPE)
        return x


class FrameDecoder(nn.Module):
    """(B*T, channels, h, w) -> (B*T, out_channels, 4h, 4w): twice bilinear enlargement and
    convolution."""

    def __init__(
        self, channels: int, *, out_channels: int = 3, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels // 2)
        self.conv3 = conv(channels // 2, channels // 2)
        self.to_image = conv(channels // 2, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        x = F.leaky_relu(
            self.conv1(enlarge(features, align_corners=self.align_corners)), LEAKY_SLOPE
        )
        x = F.leaky_relu(self.conv2(x), LEAKY_SLOPE)
        x = F.leaky_relu(self.conv3(enlarge(x, align_corners=self.align_corners)), LEAKY_SLOPE)
        return self.to_image(x)


def enlarge(x: Tensor, *, align_corners: bool = False) -> Tensor:
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=align_corners)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of a number."""
    # written so that an export for any size sees multiples, which it reasons about in half the time
    down, across = ((side + multiple - 1) // multiple * multiple - side for side in x.shape[-2:])
    return F.pad(x, (0, across, 0, down), mode="replicate")


class PatchEmbedding(nn.Conv2d):
    """Overlapping patches to tokens: (B*T, channels, h*stride, w*stride) -> (B*T, hidden, h, w)."""

    def __init__(self, channels: int, hidden: int, kernel: int, stride: int) -> None:
        super().__init__(channels, hidden, kernel, stride, padding=kernel // 2)
        nn.init.trunc_normal_(self.weight, std=0.02)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


class PatchUnembedding(nn.Module):
    """Tokens back to overlapping patches that are summed: (B*T, hidden, h, w) -> (B*T, channels,
    h*stride, w*stride).

    The same map as a linear layer to `channels * kernel * kernel` numbers and torch.nn.Fold,
    written as a transposed convolution, which TensorRT takes and which needs no intermediate
    columns. The linear layer's bias is folded too: a constant per offset in the patch, summed where
    patches overlap.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(hidden, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(1, channels, kernel, kernel))
        nn.init.trunc_normal_(self.weight, std=0.02)

    @staticmethod
    def from_linear(weight: Tensor, bias: Tensor, kernel: int, stride: int) -> "PatchUnembedding":
        """Take over a linear layer's weight (channels * kernel * kernel, hidden) and bias (channels
        * kernel * kernel)."""
        channels, hidden = weight.shape[0] // kernel**2, weight.shape[1]
        module = PatchUnembedding(channels, hidden, kernel, stride)
        with torch.no_grad():
            module.weight.copy_(weight.view(channels, kernel, kernel, hidden).permute(3, 0, 1, 2))
            module.bias.copy_(bias.view(1, channels, kernel, kernel))
        return module

    def forward(self, tokens: Tensor) -> Tensor:
        padding = self.kernel // 2
        # stride, padding, output_padding
        sizes = (
            self.stride,
            padding,
            self.stride + 2 * padding - self.kernel,
        )
        ones = torch.ones_like(tokens[:1, :1])
        return F.conv_transpose2d(tokens, self.weight, None, *sizes) + F.conv_transpose2d(
            ones, self.bias, None, *sizes
        )


class FeedForward(nn.Sequential):
    """Two linear layers with four times the width between them."""

    def __init__(self, hidden: int) -> None:
        super().__init__(linear(hidden, 4 * hidden), nn.ReLU(), linear(4 * hidden, hidden))


def split_zones(x: Tensor, grid: tuple[int, int], *, zones: int, num_heads: int) -> Tensor:
    """(B, T, N, C) -> (B, T, zones * zones, heads, N of a zone, C of a head); zones divides both
    sides of the grid."""
    b, t, _, c = x.shape
    (h, w), d = grid, c // num_heads
    x = x.view(b, t, zones, h // zones, zones, w // zones, num_heads, d)
    return x.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(b, t, zones * zones, num_heads, -1, d)


def join_zones(x: Tensor, grid: tuple[int, int], *, zones: int) -> Tensor:
    """The inverse of `split_zones`."""
    b, t, _, heads, _, d = x.shape
    h, w = grid
    x = x.view(b, t, zones, zones, heads, h // zones, w // zones, d)
    return x.permute(0, 1, 2, 5, 3, 6, 4, 7).reshape(b, t, h * w, heads * d)


class MemoryAttention(nn.Module):
    """Attention from every frame's tokens to its own and to those of the frames before it.

    zones: 1 looks at the whole frame (spatial), 2 cuts it into 2x2 zones and stays inside each
        (temporal).
    """

    def __init__(self, hidden: int, num_heads: int, zones: int) -> None:
        super().__init__()
        self.num_heads, self.zones = num_heads, zones
        self.query, self.key, self.value, self.out = (linear(hidden, hidden) for _ in range(4))

    def project(self, tokens: Tensor) -> Projected:
        """Keys and values of normalised tokens: twice (B, T, N, C) -> (B, T, N, C)."""
        return self.key(tokens), self.value(tokens)

    def forward(
        self, current: Tensor, own: Projected, past: Projected, grid: tuple[int, int]
    ) -> Tensor:
        """Attend.

        Args:
            current: (B, T, N, C), normalised tokens, which ask. own: their keys and values.
            past: keys and values (B, S + T - 1, N, C) of the S frames before the first and of all
                but the last; frame t looks back at past[t : t + S].
            grid: (h, w), both even where zones is 2.
        Returns: (B, T, N, C).
        """
        t = current.shape[1]
        slots = past[0].shape[1] - t + 1
        query = self._split(self.query(current), grid)
        key, value = (
            torch.cat([s[:, i : i + t] for i in range(slots)] + [o], dim=4).flatten(0, 2)
            for s, o in ((self._split(x, grid), self._split(y, grid)) for x, y in zip(past, own))
        )  # (B*T*Z, heads, (S+1)*n, d)
        attended = F.scaled_dot_product_attention(query.flatten(0, 2), key, value)
        return self.out(join_zones(attended.view(query.shape), grid, zones=self.zones))

    def _split(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        return split_zones(x, grid, zones=self.zones, num_heads=self.num_heads)


class MemoryBlock(nn.Module):
    """A pre-norm transformer block whose attention also reads the block's own input tokens of the
    last frames."""

    def __init__(self, hidden: int, num_heads: int, zones: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = MemoryAttention(hidden, num_heads, zones)
        self.feed_forward = FeedForward(hidden)

    def forward(
        self, tokens: Tensor, memory: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """All frames of a clip at once; frame by frame with the memory handed on gives the same.

        Args:
            tokens: (B, T, N, C), the block's input.
            memory: (B, S, N, C), its inputs of the S frames before, oldest first.
        Returns: the output (B, T, N, C) and the memory after the last frame (B, S, N, C). No
            gradient flows into or out of memory.
        """
        slots = memory.shape[1]
        history = torch.cat([memory, tokens], dim=1).detach()
        current = self.norm1(tokens)
        past = self.attention.project(self.norm1(history[:, :-1]))
        return self._finish(tokens, current, self.attention.project(current), past, grid), history[
            :, -slots:
        ]

    def stream(
        self, tokens: Tensor, past: Tensor | None, grid: tuple[int, int], slots: int
    ) -> tuple[Tensor, Tensor]:
        """One frame, with keys and values remembered instead of tokens, so that they are not worked
        out again.

        Args:
            tokens: (B, 1, N, C). past: (2, B, S, N, C), keys and values of the frames before,
                oldest first; None at the start of a stream, where the frame stands for those before
                it.
            slots: S.
        Returns: the output (B, 1, N, C) and what is `past` for the next frame.
        """
        current = self.norm1(tokens)
        own = self.attention.project(current)
        if past is None:
            past = torch.stack([x.expand(-1, slots, -1, -1) for x in own])
        output = self._finish(tokens, current, own, (past[0], past[1]), grid)
        return output, torch.cat([past[:, :, 1:], torch.stack(own)], dim=2)

    def _finish(
        self,
        tokens: Tensor,
        current: Tensor,
        own: Projected,
        past: Projected,
        grid: tuple[int, int],
    ) -> Tensor:
        tokens = tokens + self.attention(current, own, past, grid)
        return tokens + self.feed_forward(self.norm2(tokens))


class ClipAttention(nn.Module):
    """Attention among the tokens of a whole clip, forwards and backwards in time.

    temporal: inside each of 2x2 zones, over all frames; otherwise over the whole of each frame by
        itself.
    """

    def __init__(self, hidden: int, num_heads: int, *, temporal: bool) -> None:
        super().__init__()
        self.num_heads, self.temporal, self.zones = num_heads, temporal, 2 if temporal else 1
        self.query, self.key, self.value, self.out = (linear(hidden, hidden) for _ in range(4))

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, T, N, C), normalised -> (B, T, N, C). grid: (h, w), both even for temporal
        attention."""
        # each (B, T, Z, heads, n, d)
        query, key, value = (
            split_zones(layer(tokens), grid, zones=self.zones, num_heads=self.num_heads)
            for layer in (self.query, self.key, self.value)
        )
        if self.temporal:
            b, t, z, heads, n, d = query.shape
            # all frames of a zone
            query, key, value = (
                x.permute(0, 2, 3, 1, 4, 5).reshape(b * z, heads, t * n, d)
                for x in (query, key, value)
            )
            attended = F.scaled_dot_product_attention(query, key, value)
            attended = attended.view(b, z, heads, t, n, d).permute(0, 3, 1, 2, 4, 5).contiguous()
        else:
            attended = F.scaled_dot_product_attention(
                query.flatten(0, 2), key.flatten(0, 2), value.flatten(0, 2)
            )
            attended = attended.view(query.shape)
        return self.out(join_zones(attended, grid, zones=self.zones))


class ClipBlock(nn.Module):
    """A transformer block as published with DSTT: what is added to is the normalised input, not the
    input itself."""

    def __init__(self, hidden: int, num_heads: int, *, temporal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = ClipAttention(hidden, num_heads, temporal=temporal)
        self.feed_forward = FeedForward(hidden)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, T, N, C) -> (B, T, N, C)."""
        tokens = self.norm1(tokens)
        tokens = tokens + self.attention(tokens, grid)
        return tokens + self.feed_forward(self.norm2(tokens))
