"""The light video inpainter: a small U of gated MLPs that fills a window of 12 frames at once.

Source: nagadomi/nunif (MIT), `inpaint.light_video_inpaint_v1` of iw3: parameter names, sizes and
    arithmetic are taken
over, so that its model files load and give the same pictures. The blocks are gMLPs (Liu et al., Pay
Attention to MLPs, arXiv 2105.08050) on windows.

Axes: B batch, T the 12 frames of a window, N frames of whole windows one after another (B * T), C
    channels, H W pixels,
h w positions. Pictures are in [0, 1] here, except where `forward` meets the house, and mask 1 =
missing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inpaint.models.blocks import linear
from nunif.errors import UserError
from nunif.models.registry import Model, register_model
from scene.masks import close_pinpricks, dilate_sideways

NUM_FRAMES = 12  # of a window; the temporal layers mix exactly as many
PATCH = 4  # pixels of the finest position
SIZE_MULTIPLE = 64  # pixels that both levels' windows divide
BORDER = 16  # pixels that `crop` cuts off each side
BLUR_RADIUS = 7
BLUR_SIGMA = 2.6  # OpenCV's rule of thumb for 15 taps
HOLE_THRESHOLD = 0.99  # of the soft mask: patches above it hold a missing pixel
LEAKY_SLOPE = 0.1


# --- before the network ---------------------------------------------------------------------------


def preprocess(
    frames: Tensor,
    holes: Tensor,
    *,
    closing: bool = False,
    inner_dilation: int = 0,
    outer_dilation: int = 0,
    base_width: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Empty the holes, and soften their edges for the blend. Every frame by itself.

    Args:
        frames: (N, 3, H, W) in [0, 1].
        holes: (N, 1, H, W), bool or float, 1 = missing.
        closing: close gaps of up to four pixels first.
        inner_dilation, outer_dilation: pixels by which holes then grow to the left and to the
            right. (The source's
            words: in a right eye's view the foreground is on the left of its hole.) 0 or less:
                none.
        base_width: the width that the dilations are meant for; they scale with W, and are one pixel
            at least.
    Returns: the frames with 0 in the holes, and the mask (N, 1, H, W) that is 1 in the holes and
        falls to 0 within 7 pixels. Both have the type of `frames`.
    """
    mask = holes.to(frames.dtype)
    if closing:
        mask = close_pinpricks(mask.squeeze(1)).unsqueeze(1)
    left, right = (
        scaled_pixels(n, frames.shape[-1], base_width) for n in (inner_dilation, outer_dilation)
    )
    if left or right:
        mask = dilate_sideways(mask, left=left, right=right)
    return frames * (1 - mask), (blur(mask) + mask).clamp(0, 1)


def scaled_pixels(pixels: int, width: int, base_width: int | None) -> int:
    """A distance meant for pictures of `base_width`, in pixels of one of `width`."""
    if pixels <= 0:
        return 0
    return pixels if base_width is None else max(round(width / base_width * pixels), 1)


def blur(mask: Tensor) -> Tensor:
    """Gaussian of 15 taps each way; beyond the picture its edge goes on. (N, 1, H, W) -> the
    same."""
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=mask.device, dtype=torch.float32)
    taps = torch.exp(-0.5 * (offsets / BLUR_SIGMA) ** 2)
    taps = (taps / taps.sum()).to(mask.dtype)
    x = F.pad(mask, (BLUR_RADIUS,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))


def pad_window(x: Tensor) -> tuple[Tensor, slice]:
    """Repeat the first and the last frame until there are 12. (..., T, C, H, W) -> (..., 12, C, H,
    W).

    Returns: the window, and where the given frames stand in it.
    Raises:
        UserError: more than 12 frames.
    """
    count = x.shape[-4]
    if count > NUM_FRAMES:
        raise UserError(
            f"{count} frames do not fit: this model fills windows of {NUM_FRAMES}, hand them in "
            "one by one"
        )
    if count == NUM_FRAMES:
        return x, slice(0, count)
    before = (NUM_FRAMES - count) // 2
    order = [min(max(i - before, 0), count - 1) for i in range(NUM_FRAMES)]
    return x[..., order, :, :, :], slice(before, before + count)


# --- the network ----------------------------------------------------------------------------------


def extend_edges(
    x: Tensor, *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0
) -> Tensor:
    """Repeat the outermost columns and rows; no gradient flows into what is repeated. (N, C, H,
    W)."""
    for axis, before, after in ((-1, left, right), (-2, top, bottom)):
        parts = [x]
        if before:
            parts.insert(0, _repeat(x.narrow(axis, 0, 1).detach(), before, axis))
        if after:
            parts.append(_repeat(x.narrow(axis, x.shape[axis] - 1, 1).detach(), after, axis))
        x = torch.cat(parts, dim=axis)
    return x


def _repeat(line: Tensor, count: int, axis: int) -> Tensor:
    """(N, C, H, 1) or (N, C, 1, W) -> `count` times along that axis."""
    shape = list(line.shape)
    shape[axis] = count
    return line.expand(shape)


def to_windows(x: Tensor, size: int) -> Tensor:
    """Cut into windows, row by row, each a row of tokens: (N, C, h, w) -> (N * windows, size *
    size, C)."""
    n, c, h, w = x.shape
    x = x.view(n, c, h // size, size, w // size, size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)


def from_windows(tokens: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `to_windows`; grid is (h, w)."""
    (h, w), c = grid, tokens.shape[-1]
    x = tokens.view(-1, h // size, w // size, size, size, c)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, c, h, w)


def in_parts(layer: nn.Module, x: Tensor, count: int | None) -> Tensor:
    """A layer that treats every frame by itself, on so many at a time (None: all) to save
    memory."""
    return layer(x) if count is None else torch.cat([layer(part) for part in x.split(count)])


class Norm(nn.LayerNorm):
    """Layer norm with a weight only. Under autocast it stays in autocast's type, as the
    source's."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        kind = input.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(input)
        dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            return F.layer_norm(
                input.to(dtype), self.normalized_shape, self.weight.to(dtype), None, self.eps
            )


class GatedMLP(nn.Module):
    """gMLP: one half of the channels, mixed over the tokens, gates the other."""

    def __init__(self, channels: int, num_tokens: int, ratio: int) -> None:
        super().__init__()
        self.proj_in = linear(channels, 2 * ratio * channels)
        self.proj_spatial = nn.Conv1d(num_tokens, num_tokens, 1)
        self.proj_out = linear(ratio * channels, channels)
        nn.init.uniform_(self.proj_spatial.weight, -1e-3 / channels, 1e-3 / channels)
        nn.init.ones_(self.proj_spatial.get_parameter("bias"))

    def forward(self, tokens: Tensor, norm1: nn.Module, norm2: nn.Module) -> Tensor:
        """(windows, tokens, C) -> the same, the input included. norm1 is of C channels, norm2 of
        ratio * C."""
        x = F.gelu(self.proj_in(norm1(tokens)))
        value, gate = x.chunk(2, dim=-1)
        gate = self.proj_spatial(norm2(gate))
        return self.proj_out(value * gate) + tokens


class SpatialMLP(nn.Module):
    """gMLP on square windows of each frame; `shift` moves the windows by half their size, over a
    border of zeros."""

    def __init__(self, channels: int, ratio: int, *, window: int, shift: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shift else 0
        self.gmlp = GatedMLP(channels, window**2, ratio)

    def forward(self, x: Tensor, norm1: nn.Module, norm2: nn.Module) -> Tensor:
        """(N, C, h, w) -> the same."""
        h, w = x.shape[-2:]
        s = self.shift
        if s:
            x = F.pad(x, (s, s, s, s))
        tokens = self.gmlp(to_windows(x, self.window), norm1, norm2)
        return from_windows(tokens, self.window, (h + 2 * s, w + 2 * s))[..., s : s + h, s : s + w]


class TemporalMLP(nn.Module):
    """gMLP on the 12 frames at each position."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.gmlp = GatedMLP(channels, NUM_FRAMES, ratio)

    def forward(self, x: Tensor, norm1: nn.Module, norm2: nn.Module) -> Tensor:
        """(B * 12, C, h, w) -> the same."""
        n, c, h, w = x.shape
        tokens = x.view(-1, NUM_FRAMES, c, h, w).permute(0, 3, 4, 1, 2).reshape(-1, NUM_FRAMES, c)
        tokens = self.gmlp(tokens, norm1, norm2)
        return tokens.view(-1, h, w, NUM_FRAMES, c).permute(0, 3, 4, 1, 2).reshape(n, c, h, w)


class GLUConv(nn.Module):
    """A gated 1x1 and a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.w1 = _kaiming(nn.Conv2d(channels, channels, 1))
        self.w2 = _kaiming(nn.Conv2d(channels // 2, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        gated = F.glu(self.w1(x), dim=1)  # (N, C/2, h, w)
        return self.w2(extend_edges(gated, left=1, right=1, top=1, bottom=1))


class Block(nn.Module):
    """A gMLP and a GLUConv, each beside a residual. The gMLP brings its input along already, so it
    counts twice."""

    def __init__(self, mlp: SpatialMLP | TemporalMLP, channels: int, ratio: int) -> None:
        super().__init__()
        self.gmlp = mlp
        self.norm1, self.norm2 = Norm(channels), Norm(ratio * channels)
        self.glu_conv = GLUConv(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gmlp(x, self.norm1, self.norm2)
        return x + self.glu_conv(x)


class LightVideoInpaint(Model):
    """Windows of up to 12 frames with holes in, the same frames filled out. Keeps nothing from
    window to window.

    Args:
        base_dim: channels at 1/4 resolution, an even number; twice as many at 1/8.
        lv2_mlp_ratio: width of the spatial gMLPs at 1/8.
    """

    clip_length = NUM_FRAMES

    def __init__(self, *, base_dim: int = 96, lv2_mlp_ratio: int = 1) -> None:
        super().__init__()
        deep = 2 * base_dim

        def spatial(channels: int, ratio: int, window: int, *, shift: bool) -> Block:
            return Block(SpatialMLP(channels, ratio, window=window, shift=shift), channels, ratio)

        def temporal() -> Block:
            return Block(TemporalMLP(deep, 2), deep, 2)

        # the order is that of the tensors in the source's files
        self.mask_bias = nn.Parameter(torch.empty(1, base_dim, 1, 1))
        self.patch = _kaiming(nn.Conv2d(3, base_dim, PATCH, PATCH))
        self.enc1 = spatial(base_dim, 2, 16, shift=False)
        self.down = nn.Conv2d(base_dim, deep, 2, 2)
        self.enc2 = nn.Sequential(
            spatial(deep, lv2_mlp_ratio, 8, shift=True),
            temporal(),
            spatial(deep, lv2_mlp_ratio, 8, shift=False),
            temporal(),
            spatial(deep, lv2_mlp_ratio, 8, shift=True),
        )
        self.up = nn.Conv2d(deep, 4 * base_dim, 1)
        self.dec1 = spatial(base_dim, 2, 16, shift=False)
        self.to_image = nn.Conv2d(base_dim, 3 * PATCH**2, 1)
        nn.init.trunc_normal_(self.mask_bias, std=0.01)
        _init_to_image(self.to_image)

    def forward(self, frames: Tensor, holes: Tensor, memory: None = None) -> tuple[Tensor, None]:
        """Predict whole frames, as the trainer and the runtime know it from the memory DSTT.

        The whole picture comes back, also in training, where the source leaves 16 pixels of border
        out of its loss. A film's border is filled too, and is part of the score here, so it is
        trained; who wants the source's loss takes `fill_window(..., crop=True)`.

        Args:
            frames: (B, T, 3, H, W) in [-1, 1], T up to 12; any H and W; what stands in the holes is
                not looked at.
            holes: (B, T, 1, H, W), 1 = missing, 0 = seen.
            memory: None; there is none.
        Returns: the prediction (B, T, 3, H, W) in [-1, 1] (in training it may go beyond), which
            blends into the frame within 7 pixels of the hole and is the frame further away; and
            None. In the type of `frames`; weights of half precision compute in it between.
        Raises:
            UserError: more than 12 frames.
            ValueError: a memory is given.
        """
        if memory is not None:
            raise ValueError("this model keeps no memory from window to window: hand in None")
        shape = frames.shape[:2]
        with torch.autocast(
            frames.device.type, enabled=False
        ):  # the mask decides, with a threshold, what is a hole
            x, soft = preprocess(frames.flatten(0, 1) * 0.5 + 0.5, holes.flatten(0, 1))
        x, given = pad_window(x.unflatten(0, shape))
        soft, _ = pad_window(soft.unflatten(0, shape))
        filled = self.fill_window(x.flatten(0, 1), soft.flatten(0, 1), crop=False)
        return filled.unflatten(0, (shape[0], NUM_FRAMES))[:, given] * 2 - 1, None

    def infer(
        self,
        x: Tensor,
        mask: Tensor,
        *,
        closing: bool = False,
        inner_dilation: int = 0,
        outer_dilation: int = 0,
        base_width: int | None = None,
        frames_at_once: int | None = 2,
    ) -> Tensor:
        """Fill the holes of up to 12 frames.

        Args:
            x: (T, 3, H, W) in [0, 1]. mask: (T, 1, H, W), bool or float, 1 = missing.
            closing, inner_dilation, outer_dilation, base_width: see `preprocess`.
            frames_at_once: see `fill_window`.
        Returns: (T, 3, H, W) in [0, 1] for a model in evaluation mode.
        Raises:
            UserError: more than 12 frames.
        """
        x, soft = preprocess(
            x,
            mask,
            closing=closing,
            inner_dilation=inner_dilation,
            outer_dilation=outer_dilation,
            base_width=base_width,
        )
        (x, given), (soft, _) = pad_window(x), pad_window(soft)
        return self.fill_window(x, soft, crop=False, frames_at_once=frames_at_once)[given]

    def fill_window(
        self, x: Tensor, soft: Tensor, *, crop: bool, frames_at_once: int | None = None
    ) -> Tensor:
        """Fill whole windows; clamped to [0, 1] in evaluation mode only.

        Args:
            x: (N, 3, H, W) in [0, 1], 0 in the holes, N = 12 for each window. soft: (N, 1, H, W).
                See `preprocess`.
            crop: leave 16 pixels off each side, where the network sees the least.
            frames_at_once: compute so many frames at a time at the finest level, to save memory;
                None: all.
        Returns: (N, 3, H, W), or (N, 3, H - 32, W - 32) with `crop`, in the type of `x`.
        """
        height, width = x.shape[-2:]
        # never 0: the shifted windows see the border, so a picture that fits gets one of 64 pixels
        # too
        right, bottom = (SIZE_MULTIPLE - side % SIZE_MULTIPLE for side in (width, height))
        picture = extend_edges((x - 0.5) / 0.5, right=right, bottom=bottom).to(
            self.patch.weight.dtype
        )
        missing = (
            F.max_pool2d(extend_edges(soft, right=right, bottom=bottom), PATCH) > HOLE_THRESHOLD
        )
        fine = F.leaky_relu(self.patch(picture), LEAKY_SLOPE)  # (N, C, H/4, W/4)
        fine = torch.where(missing, self.mask_bias, fine)
        fine = in_parts(self.enc1, fine, frames_at_once)
        coarse = self.enc2(self.down(fine))  # (N, 2C, H/8, W/8)
        fine = in_parts(self.dec1, fine + F.pixel_shuffle(self.up(coarse), 2), frames_at_once)
        drawn = F.pixel_shuffle(self.to_image(fine), PATCH)[..., :height, :width].to(x.dtype)
        if crop:
            x, soft, drawn = (
                v[..., BORDER : height - BORDER, BORDER : width - BORDER] for v in (x, soft, drawn)
            )
        filled = x * (1 - soft) + drawn * soft
        return filled if self.training else filled.clamp(0, 1)


def _kaiming(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def _init_to_image(layer: nn.Conv2d) -> None:
    """The same weights for all pixels of a patch, so that a fresh network draws no grid (ICNR,
    arXiv 1707.02937)."""
    colours = nn.init.kaiming_normal_(torch.empty(3, *layer.weight.shape[1:]), nonlinearity="relu")
    with torch.no_grad():
        layer.weight.copy_(colours.repeat_interleave(PATCH**2, dim=0))
    nn.init.zeros_(layer.get_parameter("bias"))


def register() -> None:
    """Enter the sizes under the source's names: `_v1` and `_v1_small` are the same."""
    register_model(
        "inpaint.light_video_inpaint_v1", LightVideoInpaint, base_dim=96, lv2_mlp_ratio=1
    )
    register_model(
        "inpaint.light_video_inpaint_v1_small", LightVideoInpaint, base_dim=96, lv2_mlp_ratio=1
    )
    register_model(
        "inpaint.light_video_inpaint_v1_medium", LightVideoInpaint, base_dim=128, lv2_mlp_ratio=2
    )
    register_model(
        "inpaint.light_video_inpaint_v1_large", LightVideoInpaint, base_dim=192, lv2_mlp_ratio=2
    )
