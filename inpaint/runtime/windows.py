"""Fill a film with a model that takes a window of frames at once, and the choice of what fills a
film.

Axes: T frames of a window, H W pixels of the film, h w of what is computed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np
import torch
from torch import Tensor

from inpaint.models.steps import mask_frame
from inpaint.runtime.backends import open_backend
from inpaint.runtime.options import LOOK_AHEAD
from inpaint.runtime.stream import (
    Filler,
    HoleFrame,
    InpaintStream,
    Item,
    engine_size,
    from_network,
    to_network,
)
from nunif.errors import UserError
from nunif.runtime.engines import Backend

# Of a window, shared with the next one; their pictures are blended there. With half of it every
# frame is a blend, and no place between windows changes more than another: with a third the change
# there was up to three times that inside.
OVERLAP = 0.5


def open_fillers(
    path: Path,
    *,
    count: int = 1,
    device: torch.device,
    precision: str | None = None,
    compiled: bool = False,
    max_width: int | None = None,
    look_ahead: int | None = 0,
    margin: float = 0.0,
) -> list[Filler]:
    """What fills films with the model of a file: `count` of them on one model, each with a memory
    of its own.

    A model with a memory works frame by frame, others in windows. Arguments and errors as
    `open_backend` and `InpaintStream`.

    Args:
        look_ahead: None for `LOOK_AHEAD` where the file is of a model that can, else 0.
        margin: see `InpaintStream`; models of windows take the hole as it is.
    Raises:
        UserError: a model of windows is to look so many frames ahead.
    """
    backend = open_backend(path, device=device, precision=precision, compiled=compiled)
    return fillers_on(
        backend, count=count, max_width=max_width, look_ahead=look_ahead, margin=margin
    )


def fillers_on(
    backend: Backend,
    *,
    count: int = 1,
    max_width: int | None = None,
    look_ahead: int | None = 0,
    margin: float = 0.0,
) -> list[Filler]:
    """See `open_fillers`."""
    if backend.window is not None:
        if look_ahead:
            raise UserError(
                f"--look-ahead {look_ahead}: this model takes windows of {backend.window} frames "
                "as they are, leave it out"
            )
        return [WindowFiller(backend, max_width=max_width) for _ in range(count)]
    if look_ahead is None:
        look_ahead = LOOK_AHEAD if backend.multiple is not None else 0
    return [
        InpaintStream(backend, max_width=max_width, look_ahead=look_ahead, margin=margin)
        for _ in range(count)
    ]


@dataclass(eq=False)
class _WindowFrame(Generic[Item]):
    """A frame whose picture is not final yet, or that later windows reach back to."""

    source: HoleFrame[Item]
    masked: Tensor  # (1, 3, h, w) in [-1, 1], 0 in the hole
    prediction: Tensor | None = None  # (1, 3, h, w)


class WindowFiller:
    """Windows that overlap, each shot by itself; takes as many frames ahead as a window has."""

    def __init__(self, backend: Backend, *, max_width: int | None = None) -> None:
        """backend: one that takes windows."""
        self._backend, self._max_width = backend, max_width
        self._length = backend.window or 1
        self._overlap = int(OVERLAP * self._length)
        self.description = f"{backend.description}, windows of {self._length} frames"

    def computed_size(self, height: int, width: int) -> tuple[int, int]:
        """See `Filler`."""
        return engine_size(height, width, max_width=self._max_width, fixed=self._backend.size)

    def fill(self, frames: Iterable[HoleFrame[Item]]) -> Iterator[tuple[Item, np.ndarray]]:
        """See `Filler`."""
        waiting: list[_WindowFrame[Item]] = []
        given_out: list[_WindowFrame[Item]] = []  # the last ones
        for frame in frames:
            if frame.starts_shot:
                yield from self._finish(given_out, waiting)
                waiting, given_out = [], []
            size = self.computed_size(*frame.hole.shape)
            picture, hole = to_network(
                frame.frame, frame.hole, size=size, device=self._backend.device
            )
            waiting.append(_WindowFrame(frame, mask_frame(picture, hole)))
            if len(waiting) == self._length:
                self._predict(waiting)
                ready, waiting = waiting[: -self._overlap], waiting[-self._overlap :]
                given_out = (given_out + ready)[-self._length :]
                yield from map(_give, ready)
        yield from self._finish(given_out, waiting)

    def _finish(
        self, given_out: list[_WindowFrame[Item]], waiting: list[_WindowFrame[Item]]
    ) -> Iterator[tuple[Item, np.ndarray]]:
        """The end of a shot: a last window that reaches back as far as it is long."""
        if any(frame.prediction is None for frame in waiting):
            window = (given_out + waiting)[-self._length :]
            self._predict(window, first_new=len(window) - len(waiting))
        yield from map(_give, waiting)

    @torch.inference_mode()
    def _predict(self, window: list[_WindowFrame[Item]], *, first_new: int = 0) -> None:
        """Predict a window; frames that an earlier one has predicted go over to this one step by
        step.

        A window that is not full repeats its first and its last frame, as iw3 does.
        """
        before = (self._length - len(window)) // 2
        order = [min(max(i - before, 0), len(window) - 1) for i in range(self._length)]
        prediction, _ = self._backend.step(
            torch.stack([window[i].masked for i in order], dim=1), None
        )  # (1, T, 3, h, w)
        prediction = prediction[0, before : before + len(window)].unsqueeze(
            1
        )  # (frames, 1, 3, h, w)
        shared = [frame for frame in window[first_new:] if frame.prediction is not None]
        for frame, new in zip(window[first_new:], prediction[first_new:]):
            if frame.prediction is None:
                frame.prediction = new
            else:
                weight = (shared.index(frame) + 1) / (len(shared) + 1)
                frame.prediction = torch.lerp(frame.prediction, new, weight)


def _give(frame: _WindowFrame[Item]) -> tuple[Item, np.ndarray]:
    assert frame.prediction is not None
    return frame.source.item, from_network(frame.prediction, frame.source.frame, frame.source.hole)
