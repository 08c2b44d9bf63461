"""Optical flow by OpenCV's DIS (Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV
2016).

For a loss, for scores and for classical fills. Axes: T frames, H W pixels; flow is (H, W, 2)
float32, x before y, in pixels; pictures are (H, W, 3) uint8 RGB.
"""

import cv2
import numpy as np
import torch
from torch import Tensor


def flow_to(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where in `second` each pixel of `first` is, relative to its place."""
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second)]
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    return method.calc(*grey, None)


def pull(image: np.ndarray, flow: np.ndarray, *, cubic: bool = False) -> np.ndarray:
    """The image as seen from where the flow starts, (H, W) or (H, W, C); 0 where it leads out of
    the picture."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    how = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    return cv2.remap(
        image, columns + flow[..., 0], rows + flow[..., 1], how, borderMode=cv2.BORDER_CONSTANT
    )


def is_visible(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Whether flow and return flow agree, (H, W) bool: the pixel is seen in both frames.

    The test of Sundaram et al., Dense point trajectories by GPU-accelerated large displacement
    optical flow, 2010.
    """
    returned = pull(back, there)
    gap = ((there + returned) ** 2).sum(axis=2)
    rows, columns = np.indices(there.shape[:2])
    x, y = columns + there[..., 0], rows + there[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= there.shape[1] - 1) & (y <= there.shape[0] - 1)
    return inside & (gap < 0.01 * ((there**2).sum(axis=2) + (returned**2).sum(axis=2)) + 0.5)


def motion_of(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every frame but the first, the flow to the frame before and where that is seen there.

    frames: (T, H, W, 3) uint8. Returns: (T - 1, H, W, 2) float32 and (T - 1, H, W) bool.
    """
    flows, seen = (
        np.empty((len(frames) - 1, *frames.shape[1:3], 2), np.float32),
        np.empty((len(frames) - 1, *frames.shape[1:3]), bool),
    )
    for i, (before, after) in enumerate(zip(frames, frames[1:])):
        flows[i] = flow_to(after, before)
        seen[i] = is_visible(flows[i], flow_to(before, after))
    return flows, seen


def flows_back(clips: Tensor) -> tuple[Tensor, Tensor]:
    """`motion_of` for a batch of clips (B, T, 3, H, W) in [-1, 1], computed on the CPU.

    Returns: flow (B, T - 1, 2, H, W), and where it can be trusted (B, T - 1, 1, H, W), 1 or 0.
    """
    pictures = clips.detach().float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()
    flows, seen = zip(*(motion_of(clip) for clip in pictures.permute(0, 1, 3, 4, 2).numpy()))
    flow = torch.from_numpy(np.stack(flows)).permute(0, 1, 4, 2, 3)
    return flow.to(clips), torch.from_numpy(np.stack(seen)).unsqueeze(2).to(clips)
