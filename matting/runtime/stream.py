"""Frames in, mattes out, the network's states carried from frame to frame.

Axes: T frames, H W pixels, 3 = R G B.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from matting.models import MattingNetwork, as_network, usual_ratio
from matting.models.steps import ALPHA, FOREGROUND, FRAME
from nunif.device import create_device
from nunif.errors import UserError
from nunif.models import load_model
from nunif.runtime.engines import Backend

Item = TypeVar("Item")


@dataclass(frozen=True)
class Matte(Generic[Item]):
    """What was found in a frame. item: the frame that was handed in. foreground: (H, W, 3) uint8,
    its colours where alpha is above 0. alpha: (H, W) uint8, 255 = opaque."""

    item: Item
    foreground: np.ndarray
    alpha: np.ndarray


class MatteStream:
    """Tells who is in a film, frame by frame or some frames at once.

    temporal: share of the alpha before that is kept in each frame, against flicker; 0 for none.
    """

    def __init__(
        self,
        model: MattingNetwork | Backend,
        *,
        downsample_ratio: float | None = None,
        max_width: int | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        temporal: float = 0.0,
    ) -> None:
        """model: a network, or an exported one, which has its own ratio, device and type.
        downsample_ratio: see `MattingNetwork.forward`; None for what suits the frames' size.
        max_width: wider frames are computed at this width at most."""
        if isinstance(model, Backend):
            assert downsample_ratio is None and max_width is None
            self._model: MattingNetwork | Backend = model
            self._device, self._dtype = model.device, torch.float32
        else:
            self._model = model.fuse().eval().to(device, dtype)
            self._device, self._dtype = device or torch.device("cpu"), dtype
        self._ratio, self._max_width, self._temporal = downsample_ratio, max_width, temporal
        self.reset()

    @classmethod
    def open(cls, path: Path | str, *, gpu: int = 0) -> "MatteStream":
        """A stream on a model file (.pth).

        Raises:
            UserError: the file can't be read, or holds no matting network.
        """
        loaded, _ = load_model(path, expect="matting.")
        return cls(as_network(loaded, Path(path)), device=create_device(gpu))

    def reset(self) -> None:
        """Forget everything: the next frame starts a stream, as at a cut."""
        self._states: Any = None
        self._alpha: Tensor | None = None

    def check_size(self, height: int, width: int) -> None:
        """
        Raises:
            UserError: the model is exported for frames of another size.
        """
        size = self._model.size if isinstance(self._model, Backend) else None
        if size not in (None, (height, width)):
            raise UserError(
                f"the engine works at {size[1]}x{size[0]} pixels, the frames are {width}x{height}: "
                f"use an engine made with --size {height}x{width}"
            )

    @torch.inference_mode()
    def __call__(self, frames: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Foreground (H, W, 3) and alpha (H, W) of each frame (H, W, 3), all uint8."""
        clip = torch.from_numpy(np.stack(frames)).to(self._device).permute(0, 3, 1, 2)
        clip = clip.to(self._dtype).div(255)
        foreground, alpha = self._run(clip)
        alpha = self._smooth(alpha[:, 0])
        colours = _to_uint8(foreground.permute(0, 2, 3, 1))
        return list(zip(colours, _to_uint8(alpha)))

    def _run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """(T, 3, H, W) -> (T, 3, H, W) and (T, 1, H, W); the states are carried on."""
        if isinstance(self._model, Backend):  # of one frame at a time
            found = []
            for frame in clip.split(1):
                results, self._states = self._model.run({FRAME: frame}, self._states)
                found.append(results)
            foreground, alpha = (
                torch.cat([results[name] for results in found]) for name in (FOREGROUND, ALPHA)
            )
            return foreground, alpha
        height, width = clip.shape[-2:]
        ratio = usual_ratio(height, width) if self._ratio is None else self._ratio
        if self._max_width is not None:
            ratio = min(ratio, self._max_width / width)
        states = self._states or ()
        foreground, alpha, *self._states = self._model(clip[None], *states, downsample_ratio=ratio)
        return foreground[0], alpha[0]

    def _smooth(self, alpha: Tensor) -> Tensor:
        """(T, H, W), each frame with a share of the one before."""
        if not self._temporal:
            return alpha
        frames = []
        for frame in alpha:
            before = frame if self._alpha is None else self._alpha
            self._alpha = self._temporal * before + (1 - self._temporal) * frame
            frames.append(self._alpha)
        return torch.stack(frames)

    def run(
        self, frames: Iterable[tuple[Item, np.ndarray, bool]], *, at_once: int = 1
    ) -> Iterator[Matte[Item]]:
        """The mattes of a film.

        Args:
            frames: items of any kind, their pictures (H, W, 3) uint8, and whether a new shot
                starts with them.
            at_once: frames that are computed in one go; the result does not depend on it.
        """
        waiting: list[tuple[Item, np.ndarray]] = []
        for item, picture, starts_shot in frames:
            if waiting and (starts_shot or len(waiting) == at_once):
                yield from self._matte(waiting)
                waiting = []
            if starts_shot:
                self.reset()
            waiting.append((item, picture))
        if waiting:
            yield from self._matte(waiting)

    def _matte(self, waiting: list[tuple[Item, np.ndarray]]) -> Iterator[Matte[Item]]:
        found = self([picture for _, picture in waiting])
        for (item, _), (foreground, alpha) in zip(waiting, found):
            yield Matte(item, foreground, alpha)


def _to_uint8(x: Tensor) -> np.ndarray:
    return x.float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
