"""A depth network with what goes before and after it: a clip's frames in, disparity out.

Axes: T frames, B a batch of them, C channels, H W pixels of the frame, h w pixels of the disparity
    map.
A disparity map covers its frame edge to edge, as `interpolate(align_corners=False)` leaves it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

NEAREST_METRES = 0.1  # distances are clamped here before they become disparities
MAX_ASPECT = 4  # longer frames are squeezed for the network, as in iw3
ROWS_AT_ONCE = 64  # of a picture that is resized on a CPU


@dataclass(frozen=True)
class InputSpec:
    """How a family of networks is fed."""

    resolution: int  # of the short side, unless the user asks for another
    multiple: int  # of both sides
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    padded: bool = False  # reflected margins, which ZoeDepth was trained with
    square: bool = False  # always resolution x resolution
    # on CUDA, as iw3; its 11 bits of mantissa keep more steps than bfloat16
    autocast: torch.dtype = torch.float16
    config_type: str | None = None  # `model_type` in transformers' config.json


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation
INPUT_SPECS = {
    "depth_anything": InputSpec(392, 14, *_IMAGENET, config_type="depth_anything"),
    "zoe": InputSpec(384, 32, padded=True, config_type="zoedepth"),
    "zoe_any": InputSpec(392, 14, padded=True),
    "depth_pro": InputSpec(1536, 1536, square=True, config_type="depth_pro"),
    "any_v3": InputSpec(392, 14, *_IMAGENET, autocast=torch.bfloat16),
}


class NetworkEstimator:
    """A depth network with what goes before and after it. One thread at a time."""

    runs_in_workers = False
    run_overlap = 0
    scale_jitters = True
    least_span = 0.0

    def __init__(
        self,
        name: str,
        forward: Callable[[torch.Tensor], torch.Tensor],
        *,
        spec: InputSpec,
        distance: bool,
        resolution: int,
        device: torch.device,
        batch_size: int,
        normalize: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.name = name
        self._forward = forward
        self._spec = spec
        self._distance = distance
        self._resolution = resolution
        self._device = device
        self.run_length = batch_size
        self._normalize = normalize

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """Disparity of a clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB of one shot.

        Returns:
            (T, h, w) float32 on the CPU in [0, 1], 1 = near, at the size the network works at; its
            aspect is the frame's, up to the network's multiple.
        """
        return self._normalize(self.raw_disparity(frames))

    @torch.inference_mode()
    def raw_disparity(self, frames: np.ndarray) -> torch.Tensor:
        """The network's output as disparity: (T, H, W, 3) uint8 RGB -> (T, h, w) float32 on the
        CPU, big = near.

        Every frame is judged by itself; its scale and offset are unknown, and differ from frame to
        frame.
        """
        batches = np.split(frames, range(self.run_length, len(frames), self.run_length))
        return torch.cat([self._disparity(batch) for batch in batches])

    def _disparity(self, frames: np.ndarray) -> torch.Tensor:
        """(B, H, W, 3) uint8 -> (B, h, w) float32 on the CPU, big = near, not normalised."""
        spec = self._spec
        prepared = []
        # one by one: a 1080p batch of floats is fetched from the system anew every time
        for frame in frames:
            image = torch.from_numpy(np.ascontiguousarray(frame[None])).to(self._device)
            prepared.append(prepare(image.permute(0, 3, 1, 2), spec, self._resolution))
        inputs, pad = torch.cat([image for image, _ in prepared]), prepared[0][1]  # (B, 3, h, w)
        with torch.autocast(self._device.type, spec.autocast, enabled=self._device.type == "cuda"):
            output = self._forward(inputs).float()
        if not torch.isfinite(output).all():  # half precision ran over
            output = self._forward(inputs).float()
        output = output.reshape(len(frames), 1, *output.shape[-2:])
        if pad != (0, 0):
            output = _resize(output, inputs.shape[-2:], "bilinear")
            output = output[
                :, :, pad[0] : output.shape[2] - pad[0], pad[1] : output.shape[3] - pad[1]
            ]
        if spec.square:
            scale = spec.resolution / max(frames.shape[1:3])
            output = _resize(
                output, [round(side * scale) for side in frames.shape[1:3]], "bilinear"
            )
        if self._distance:
            output = 1 / output.clamp(min=NEAREST_METRES)
        return output[:, 0].cpu()


def network_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """Size (h, w) at which a network sees a frame: iw3's rule.

    The short side is `resolution` rounded up to `multiple`, the long side keeps the aspect (4 at
    most) and is rounded down to it. Depth Anything would silently cut what is left over, so nothing
    may be.
    """
    short = math.ceil(resolution / multiple) * multiple
    aspect = min(max(height, width) / min(height, width), MAX_ASPECT)
    long = max(short, int(short * aspect + 1e-6) // multiple * multiple)
    return (short, long) if height < width else (long, short)


def prepare(
    images: torch.Tensor, spec: InputSpec, resolution: int
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Resize, pad and normalise for a network.

    Args:
        images: (B, 3, H, W) uint8.
        resolution: short side in pixels, margins included.

    Returns:
        The network's input, and the margins (top = bottom, left = right) to cut from what it gives.
    """
    height, width = images.shape[-2:]
    if spec.square:
        size = (spec.resolution, spec.resolution)
    else:
        size = network_size(height, width, resolution, spec.multiple)
    pad = (0, 0)
    if spec.padded:
        # ZoeDepth's margin, 3 sqrt(side / 2) of the source, at the size the network sees
        margins = [3 * math.sqrt(side / 2) for side in images.shape[-2:]]
        parts = [
            margin / (side + 2 * margin)
            for margin, side in zip(margins, images.shape[-2:], strict=True)
        ]
        pad = (round(size[0] * parts[0]), round(size[1] * parts[1]))
    images = _to_floats(images, (size[0] - 2 * pad[0], size[1] - 2 * pad[1])).clamp(0, 1)
    if pad != (0, 0):
        images = F.pad(images, (pad[1], pad[1], pad[0], pad[0]), mode="reflect")
    assert images.shape[-2] % spec.multiple == 0 and images.shape[-1] % spec.multiple == 0, (
        images.shape
    )
    mean, std = (images.new_tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return (images - mean) / std, pad


def _to_floats(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, *size) float32 about [0, 1], bicubic with antialiasing."""
    if images.device.type == "cpu":
        # along the rows first, as torch does it, but a few of them at a time: they stay in cache
        parts = images.split(ROWS_AT_ONCE, dim=-2)
        small = torch.cat(
            [
                _resize(part.float().div_(255), (part.shape[-2], size[1]), "bicubic")
                for part in parts
            ],
            dim=-2,
        )
    else:
        small = images.float().div_(255)
    return _resize(small, size, "bicubic")


def _resize(images: torch.Tensor, size: Any, mode: str) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, *size)."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=tuple(size), mode=mode, align_corners=False, antialias=True)
