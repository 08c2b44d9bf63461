"""What every benchmark is told."""

from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True)
class Card:
    """What `gpu` is told besides.

    minutes: for all of it. sizes: (height, width) of streamed frames. tile: sides of the clips of
        timed updates, pixels.
    data: a dataset folder for the training run, films: what it is judged on; rendered scenes
        without. batch_size: of that
    run. film_size, film_frames: of the films, (height, width) and at most.
    """

    minutes: float = 9.0
    sizes: tuple[tuple[int, int], ...] = ((360, 640), (720, 1280))
    tile: int = 256
    data: Path | None = None
    films: Path | None = None
    batch_size: int = 16
    film_size: tuple[int, int] = (240, 432)
    film_frames: int = 24


@dataclass(frozen=True)
class Setting:
    """How and where to measure.

    scratch: an empty folder for inputs and results. output: the folder for what is kept. rounds:
        timed repeats.
    device: for networks. models: only networks of these names. compiled: torch.compile too, which
        takes minutes to start.
    peer: a checkout of nagadomi/nunif to be measured beside. published: one of
        c1h1r1i1s1/Real-Time-Inpainting.
    """

    scratch: Path
    output: Path
    rounds: int
    device: torch.device
    models: tuple[str, ...] = ()
    compiled: bool = False
    peer: Path | None = None
    published: Path | None = None
    card: Card = field(default_factory=Card)

    @property
    def gpu(self) -> int:
        """The device as `--gpu` counts."""
        return (self.device.index or 0) if self.device.type == "cuda" else -1
