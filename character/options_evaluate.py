"""The options of `python -m character evaluate`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from nunif.options import option


@dataclass(frozen=True)
class EvaluateOptions:
    """`python -m character evaluate`."""

    data_dir: Path = option(
        "-i", "--data-dir", help="records of the world, with the movement of one person each"
    )
    model: Path = option("-m", "--model", metavar="MODEL", help="the model file")
    num: int = option(default=12, minimum=3, help="records that are used, the first by name")
    steps: int = option(default=20, minimum=1, help="steps of DDIM from noise to a clip")
    guidance: float = option(
        default=1.0,
        minimum=0,
        help="how much more of the identity than the model gives it by itself, 1 for none",
    )
    seed: int = option(default=71, minimum=0, help="of the noise")
    output: Path | None = option(
        "-o", "--output", default=None, help="folder for scores.json and codes.png"
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")
