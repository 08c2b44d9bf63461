"""Whether a back end computes what the network does: both run over a clip, their own state
carried, and every result is compared."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nunif.errors import UserError
from nunif.runtime.engines import Backend
from nunif.video.reader import VideoReader


def read_pictures(path: Path, size: tuple[int, int], num_frames: int) -> list[np.ndarray]:
    """The first frames of a video to compare on, scaled to (height, width): (H, W, 3) uint8.

    Raises:
        UserError: the video can't be read or is too short.
    """
    height, width = size
    with VideoReader(path, deinterlace=True) as reader:  # it is only compared with itself
        if len(reader) < num_frames:
            raise UserError(
                f"--clip {path} has {len(reader)} frames, {num_frames} are compared: choose a "
                "longer one"
            )
        frames = (reader.read(i, i + 1)[0].rgb for i in range(num_frames))
        return [
            cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames
        ]


def into_windows(frames: list[Tensor], window: int | None) -> list[Tensor]:
    """Single frames as they are, or windows (1, window, 3, H, W) of them; the last reaches back."""
    if window is None:
        return frames
    starts = [*range(0, len(frames) - window, window), len(frames) - window]
    return [torch.stack(frames[start : start + window], dim=1) for start in starts]


def run_clip(backend: Backend, pieces: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The results of each frame or window and the state after it, the back end's own state carried.

    backend: one that keeps its state by names, as all but `StepBackend` do. Several results stand
        one behind the other in their channels. Several states stand one behind the other, flat;
        where there is none it is empty.
    """
    (name,) = backend.contract.given
    state: Any = None
    for piece in tqdm(
        pieces, unit="step", desc=backend.description.partition(",")[0], disable=None, leave=False
    ):
        results, state = backend.run({name: piece.to(backend.device)}, state)
        pictures = [result.cpu() for result in results.values()]
        states = [to_torch(value).cpu() for value in state.values()]
        if len(states) != 1:
            states = [torch.cat([torch.zeros(0), *map(torch.flatten, states)])]
        yield torch.cat(pictures, dim=-3), states[0].clone()


def to_torch(value: Any) -> Tensor:
    """A part of a state as a tensor: of torch already, or of onnxruntime."""
    return value if isinstance(value, Tensor) else torch.from_numpy(value.numpy())


def compare(
    found: Iterable[tuple[Tensor, Tensor]],
    expected: Iterable[tuple[Tensor, Tensor]],
    *,
    tolerance: float,
    name: str,
) -> dict[str, Any]:
    """The differences over a clip.

    Raises:
        UserError: the pictures differ by more than `tolerance` (of a range of 2), or something is
            not finite.
    """
    largest, largest_memory, means, num_frames = 0.0, 0.0, [], 0
    for (output, memory), (expected_output, expected_memory) in zip(found, expected, strict=True):
        difference = (output - expected_output).abs()
        # a maximum passes over NaN when compared, a sum doesn't
        largest = max(largest, difference.max().item()) if difference.sum().isfinite() else math.inf
        if memory.numel():
            largest_memory = max(largest_memory, (memory - expected_memory).abs().max().item())
        means.append(difference.mean().item())
        num_frames += output.shape[1] if output.ndim == 5 else 1
    if not largest <= tolerance:
        raise UserError(
            f"{name} computes something else than the model: the pictures differ by up to "
            f"{largest:.3g}, {tolerance:g} is "
            "allowed; it was not kept. With --precision fp16 try fp32: the weights may be too "
            "large for half precision"
        )
    return {
        "against": "torch float32",
        "frames": num_frames,
        "largest_difference": largest,
        "mean_difference": sum(means) / len(means),
        "largest_difference_memory": largest_memory,
        "tolerance": tolerance,
    }


def in_words(parity: dict[str, Any]) -> str:
    """The outcome of a comparison for people."""
    if "not_run" in parity:
        return parity["not_run"]
    return f"largest difference {parity['largest_difference']:.2g} over {parity['frames']} frames"
