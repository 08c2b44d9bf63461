"""Frame in, picture out: who is in a live stream is found, and the place filled.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from inpaint.runtime.stream import InpaintStream
from layers.options_remove import MARGIN
from layers.runtime.finders import Finder, Mattes, PersonTiles
from layers.runtime.holes import HoleRule, LiveHoles
from layers.runtime.live_gate import LiveGate
from matting.runtime.person_finder import RELEASED_FOLDER
from matting.runtime.stream import MatteStream
from nunif.device import create_device

# pixels of 240 rows by which a hole is larger than in films: those see some frames ahead where a
# person is going
EARLIER = 1.0
FILLER = RELEASED_FOLDER / "picture_memory_v1.pth"


class RemoveStream:
    """Takes people out of a stream, frame by frame. What was seen before somebody stood there is
    remembered; a frame to come is never waited for.

    Every frame must be handed in, also those with nobody in them: from them the memory knows what a
    person hides later. It is two steps, `find` and `fill`, each with a state of its own, so that
    two threads can take them: while one frame is filled, the next is looked through. Each must see
    the frames in order.

    Examples:
        Black squares stand in for a camera; nobody is in them, and they come back as they are.

        >>> camera = np.zeros((3, 48, 64, 3), np.uint8)
        >>> stream = RemoveStream.open(gpu=-1)
        >>> for frame in camera:
        ...     picture = stream(frame)
        >>> picture.shape, bool((picture == frame).all())
        ((48, 64, 3), True)
    """

    def __init__(
        self,
        finder: Finder,
        filler: InpaintStream,
        *,
        rule: HoleRule | None = None,
        gate: LiveGate | None = None,
    ) -> None:
        """
        Args:
            rule: how holes are cut; None: as the finder has it.
            gate: nobody is taken out while it is shut; None: whatever the finder takes for a person
                is.
        """
        self._finder, self._filler, self._gate = finder, filler, gate
        self._holes = LiveHoles(finder.rule if rule is None else rule)
        self.description = filler.description

    @classmethod
    def open(
        cls,
        model: Path | str | None = None,
        *,
        matting: Path | str | None = None,
        gpu: int = 0,
        max_width: int | None = None,
        gate: bool = False,
        keep: Sequence[str] = (),
        grow: float | None = None,
        hold: int = 2,
        shadow: float = 0.0,
        margin: float = MARGIN,
        precision: str | None = None,
        compiled: bool = False,
    ) -> "RemoveStream":
        """A stream on files of models.

        Args:
            model: what fills: a .pth, .onnx, .engine or .torchscript; None: picture_memory_v1.
            matting: a matting model (.pth) that finds people; None: the person finder.
            gpu: -1 for the CPU. max_width: wider frames are filled at this width.
            gate: take out nobody until a head was seen: fewer things are taken for people, but
                people are shown until then.
            keep: parts of the picture (left, middle, right) whose people stay.
            grow, shadow: how much larger the hole is than who was found, all around and downwards,
                in pixels of a picture of 240 rows; grow None: `EARLIER` more than suits the finder
                in films.
            hold: frames that a place stays hole.
            margin: see `InpaintStream`.
            precision, compiled: see `InpaintStream.open`.

        Raises:
            UserError: a file can't be used; see `InpaintStream` and `MatteStream.open`.
        """
        device = create_device(gpu)
        finder: Finder = (
            PersonTiles(device) if matting is None else Mattes(MatteStream.open(matting, gpu=gpu))
        )
        filler = InpaintStream.open(
            FILLER if model is None else model,
            gpu=gpu,
            max_width=max_width,
            precision=precision,
            compiled=compiled,
            margin=margin,
        )
        rule = replace(
            finder.rule,
            grow=finder.rule.grow + EARLIER if grow is None else grow,
            down=shadow,
            hold=hold,
            keep=tuple(keep),
        )
        return cls(finder, filler, rule=rule, gate=LiveGate(device) if gate else None)

    def reset(self) -> None:
        """Forget everything: the next frame starts a stream, as at a cut. Its size may differ."""
        self.reset_finder()
        self.reset_filler()

    def reset_finder(self) -> None:
        """The half of `reset` that `find` knows of."""
        self._finder.reset()
        self._holes.reset()
        if self._gate is not None:
            self._gate.reset()

    def reset_filler(self) -> None:
        """The half of `reset` that `fill` knows of."""
        self._filler.reset()

    def check_size(self, height: int, width: int) -> None:
        """
        Raises:
            UserError: the filler is an engine for frames of another size.
        """
        self._filler.computed_size(height, width)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Take out of a frame who is in it.

        Args:
            frame: (H, W, 3) uint8 RGB.
        Returns: the same; pixels outside the hole are the frame's own.
        Raises:
            ValueError: its size differs from that of the frame before.
        """
        return self.fill(frame, self.find(frame))

    def find(self, frame: np.ndarray) -> np.ndarray:
        """The hole of the next frame, (H, W) bool, True = missing."""
        size = (frame.shape[0], frame.shape[1])
        found = self._finder(frame)
        if self._gate is not None:
            self._gate.look(frame)
            if not self._gate.is_open:
                found = np.zeros_like(found)
        return self._holes(found, size)

    def fill(self, frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """The next frame with its hole filled."""
        picture = self._filler(frame, hole)
        assert picture is not None  # nothing is looked ahead
        return picture
