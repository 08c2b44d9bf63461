"""What every benchmark is told."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Setting:
    """How and where to measure.

    scratch: an empty folder for inputs and results. rounds: timed repeats. device: for networks.
    models: only networks of these names. compiled: torch.compile too, which takes minutes to start.
    peer: a checkout of nagadomi/nunif to be measured beside. published: one of c1h1r1i1s1/Real-Time-Inpainting.
    """

    scratch: Path
    rounds: int
    device: torch.device
    models: tuple[str, ...] = ()
    compiled: bool = False
    peer: Path | None = None
    published: Path | None = None
