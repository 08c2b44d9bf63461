"""A stream: frames and their holes in, filled frames out, one by one or window by window.

Axes: H W pixels of the film, h w of what is computed, 3 = R G B.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.models.recall import Ahead
from inpaint.models.steps import mask_frame
from inpaint.runtime.backends import open_backend
from inpaint.runtime.look_ahead import LookAhead, ShotKeys
from inpaint.runtime.options import REFERENCE_ROWS
from nunif.device import create_device
from nunif.errors import UserError
from nunif.runtime.engines import Backend
from nunif.video.tone import ToneMap

Item = TypeVar("Item")


@dataclass(frozen=True)
class HoleFrame(Generic[Item]):
    """A frame of a film as a filler takes it. `item` is the caller's own and comes back with the
    filled frame."""

    item: Item
    frame: np.ndarray  # (H, W, 3) uint8 or uint16
    hole: np.ndarray  # (H, W) bool, True = missing
    starts_shot: bool = False


class Filler(Protocol):
    """Fills a film. `description` says in one line what computes."""

    description: str

    def computed_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) at which a film of that size is computed; a UserError where it can't be."""
        ...

    def fill(self, frames: Iterable[HoleFrame[Item]]) -> Iterator[tuple[Item, np.ndarray]]:
        """Every frame once and in order, filled; some may be taken ahead. Nothing is remembered
        across shots."""
        ...


def fill_in_sdr(
    fill: Callable[[Iterable[HoleFrame[Any]]], Iterator[tuple[Any, np.ndarray]]],
    frames: Iterable[HoleFrame[Item]],
    tone: ToneMap | None,
) -> Iterator[tuple[Item, np.ndarray]]:
    """`fill` with frames that are brought to SDR for it, as networks know pictures; the film's own
    outside the holes.

    tone: of the film; None where it is SDR.
    """
    if tone is None:
        yield from fill(frames)
        return
    seen = (
        HoleFrame(frame, tone.to_sdr(frame.frame), frame.hole, frame.starts_shot)
        for frame in frames
    )
    for frame, filled in fill(seen):
        if frame.hole.any():
            yield frame.item, np.where(frame.hole[..., None], tone.from_sdr(filled), frame.frame)
        else:
            yield frame.item, frame.frame


class InpaintStream:
    """Fills the holes of a film frame by frame and remembers what it saw.

    Every frame must be handed in, also those without a hole: from them the memory knows what a hole
        hides later.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_width: int | None = None,
        look_ahead: int = 0,
        margin: float = 0.0,
    ) -> None:
        """
        Args:
            max_width: wider frames are computed at this width; only the hole is taken from the
                result.
            look_ahead: frames that are held back, so that a hole is filled from what is seen after
                it too. Pictures come so many frames late.
            margin: pixels around the hole that stay as they are and of which nothing is learned, of
                a film of 240 rows: shadows beside a person don't get into what is filled.
        Raises:
            UserError: the back end takes windows of frames; it is an engine, and is to look ahead.
        """
        if backend.window is not None:
            raise UserError(
                f"this model takes windows of {backend.window} frames and can't work frame by "
                "frame: use picture_memory_v1, "
                "fusion_v1 or a memory_dstt model, or fill whole films with python -m inpaint apply"
            )
        if look_ahead and backend.multiple is None:
            raise UserError(
                f"--look-ahead {look_ahead} needs a model file (.pth): an engine takes one frame "
                "at a time, give 0"
            )
        self._backend, self._max_width, self._look_ahead, self.multiple = (
            backend,
            max_width,
            look_ahead,
            backend.multiple,
        )
        self._margin = margin
        self.description = backend.description + (
            f", looking {look_ahead} frames ahead" if look_ahead else ""
        )
        self.reset()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        gpu: int = 0,
        precision: str | None = None,
        compiled: bool = False,
        max_width: int | None = None,
        look_ahead: int = 0,
        margin: float = 0.0,
    ) -> "InpaintStream":
        """A stream on a model file (.pth), an .onnx, an .engine or a .torchscript. Arguments and
        errors as `open_backend`."""
        backend = open_backend(
            Path(path), device=create_device(gpu), precision=precision, compiled=compiled
        )
        return cls(backend, max_width=max_width, look_ahead=look_ahead, margin=margin)

    def reset(self) -> None:
        """Forget everything, frames that are held back too: the next frame starts a stream, as at a
        cut.

        Its size may differ. `finish` gives what is held back first.
        """
        self._memory: Any = None
        self._size: tuple[int, int] | None = None
        self._held: deque[tuple[np.ndarray, np.ndarray, Tensor]] = deque()
        self._ahead = (
            LookAhead(self._backend.multiple)
            if self._backend.multiple and self._look_ahead
            else None
        )
        self._keys, self._number = ShotKeys(), 0

    def computed_size(self, height: int, width: int) -> tuple[int, int]:
        """See `Filler`."""
        return engine_size(height, width, max_width=self._max_width, fixed=self._backend.size)

    def fill(
        self, frames: Iterable[HoleFrame[Item]], keys: Iterator[ShotKeys] | None = None
    ) -> Iterator[tuple[Item, np.ndarray]]:
        """See `Filler`; `look_ahead` frames are taken ahead, never across shots.

        keys: of each shot in turn, see `look_through`.
        """
        items: deque[Item] = deque()
        for i, frame in enumerate(frames):
            if frame.starts_shot or i == 0:
                yield from zip(items, self.finish())
                items.clear()
                self.reset()
                self._keys = ShotKeys() if keys is None else next(keys, ShotKeys())
            items.append(frame.item)
            filled = self(frame.frame, frame.hole)
            if filled is not None:
                yield items.popleft(), filled
        yield from zip(items, self.finish())

    def finish(self) -> Iterator[np.ndarray]:
        """The frames that are held back, filled from what there is of the stream; it may go on
        afterwards."""
        while self._held:
            yield self._fill_first()

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """Hand in a frame; get it filled, or with `look_ahead` the one so many frames before it,
        None where there is none.

        Args:
            frame: (H, W, 3) uint8 or uint16 RGB over the type's whole range. What stands in the
                hole is not looked at.
            hole: (H, W) bool, True = missing.
        Returns: (H, W, 3) of the same type; pixels outside the hole are the frame's own.
        Raises:
            ValueError: frame and hole differ in size, or the size differs from the frame before.
            UserError: see `engine_size`.
        """
        if frame.shape[:2] != hole.shape or self._size not in (None, hole.shape):
            raise ValueError(
                f"frame {frame.shape}, hole {hole.shape}, frame before {self._size}: sizes must "
                "be equal"
            )
        self._size = hole.shape
        self._held.append((frame, hole, self.masked(frame, hole)))
        if self._ahead is not None:
            self._ahead.push(self._held[-1][2])
        return self._fill_first() if len(self._held) > self._look_ahead else None

    def masked(self, frame: np.ndarray, hole: np.ndarray) -> Tensor:
        """What the back end gets of a frame, (1, 3, h, w)."""
        size = self.computed_size(*hole.shape)
        if radius := round(self._margin * hole.shape[0] / REFERENCE_ROWS):
            square = np.ones((2 * radius + 1,) * 2, np.uint8)
            hole = np.asarray(cv2.dilate(hole.astype(np.uint8), square)) > 0
        return mask_frame(*to_network(frame, hole, size=size, device=self._backend.device))

    @torch.inference_mode()
    def _fill_first(self) -> np.ndarray:
        frame, hole, masked = self._held.popleft()
        ahead = None if self._ahead is None else self._ahead.pop()
        if self._keys.files:
            key = self._keys.at(self._number, self._backend.device)
            ahead = (ahead or Ahead())._replace(key=key, keep_key=True)
        self._number += 1
        more = {} if ahead is None else {"ahead": ahead}
        output, self._memory = self._backend.step(masked, self._memory, **more)
        return from_network(output, frame, hole)


def engine_size(
    height: int, width: int, *, max_width: int | None, fixed: tuple[int, int] | None
) -> tuple[int, int]:
    """(h, w) at which a film is computed: its own, or narrower in the same shape.

    Args:
        height, width: of the film. max_width: see `InpaintStream`. fixed: the only size of the back
            end; None for any.
    Raises:
        UserError: the back end is an engine for another size.
    """
    size = (height, width)
    if max_width is not None and width > max_width:
        size = (max(1, round(height * max_width / width)), max_width)
    if fixed is not None and size != fixed:
        fitting = round(height * fixed[1] / width) == fixed[0] and width > fixed[1]
        advice = (
            f"--max-width {fixed[1]}"
            if fitting
            else f"an engine made with --size {size[0]}x{size[1]}"
        )
        raise UserError(
            f"the engine works at {fixed[1]}x{fixed[0]} pixels, the frames "
            f"{'are' if size == (height, width) else 'would be'} {size[1]}x{size[0]}: use {advice}"
        )
    return size


def to_network(
    frame: np.ndarray, hole: np.ndarray, *, size: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """A frame and its hole as tensors of a size.

    Args: frame (H, W, 3) uint8 or uint16; hole (H, W) bool; size (h, w).
    Returns: (1, 3, h, w) float32 in [-1, 1] and (1, 1, h, w) bool, on `device`.
    """
    missing = torch.from_numpy(hole).to(device)[None, None]  # (1, 1, H, W)
    picture = (
        torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1)[None]
    )  # (1, 3, H, W)
    picture = picture.to(torch.float32) / (np.iinfo(frame.dtype).max / 2) - 1
    return (picture, missing) if size == hole.shape else shrink(picture, missing, size)


def from_network(output: Tensor, frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The network's picture in the hole of the frame. output: (1, 3, h, w) about in [-1, 1]; the
    others as above."""
    top = np.iinfo(frame.dtype).max
    if output.shape[-2:] != hole.shape:
        output = F.interpolate(output, size=hole.shape, mode="bicubic", align_corners=False)
    filled = output[0].add(1).mul(top / 2).round().clamp(0, top).permute(1, 2, 0).cpu().numpy()
    return np.where(hole[..., None], filled.astype(frame.dtype), frame)


def shrink(picture: Tensor, hole: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Average over areas. A small pixel that covers any part of a hole is hole, so none mixes seen
    and missing.

    Args: picture (1, 3, H, W) float; hole (1, 1, H, W) bool. Returns: (1, 3, h, w) and (1, 1, h, w)
        bool.
    """
    return F.adaptive_avg_pool2d(picture, size), F.adaptive_max_pool2d(
        hole.to(picture.dtype), size
    ) > 0
