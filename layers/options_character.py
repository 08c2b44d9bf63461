"""The options of `python -m layers character`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from layers.options_split import ComposeOptions
from nunif.errors import UserError
from nunif.options import option, share_option
from nunif.video.options import codec_option, extras_option, pixel_format_option, quality_option

BODIES = ("world", "anny")


@dataclass(frozen=True)
class CharacterOptions:
    """`python -m layers character`."""

    model: Path = option("-m", "--model", help="a model of character (.pth)")
    identity: Path = option(
        metavar="PICTURE",
        help="who is to be seen: cut out with alpha, or before white, from head to foot",
    )
    layers: Path = option(metavar="DIR", help="the folder that split made of the film")
    pose: Path = option(
        metavar="FILE",
        help="how they move, a .npz: pose.npz of a record of the world, or pose, shape, root, f "
        "and c of the film's frames, see docs/layers.md",
    )
    body: str = option(
        default="world",
        choices=BODIES,
        help="whose skin pose, shape and root move: that of the world's people, or that of the "
        "package anny (pip install '.[anny]')",
    )
    output: Path = option(
        "-o",
        "--output",
        help="the video to be written; a name without suffix is a folder of PNGs",
    )
    source: Path | None = option(
        default=None,
        metavar="FILM",
        help="the film that was split, if it is elsewhere now: times, sound and samples are its",
    )
    who: int = option(
        default=1,
        minimum=1,
        help="which of the film's people leaves for the new one, 1 is the nearest; others stay",
    )
    steps: int = option(default=25, minimum=1, maximum=1000, help="steps from noise to pictures")
    guidance: float | None = option(
        default=None,
        help="how far to go from nobody in particular to the person: 1 is no further than the "
        "model says, and takes half as long (default: 3.5, as MIMO's release; models of the "
        "preset tiny: 1)",
    )
    window: int | None = option(
        default=None,
        minimum=1,
        help="frames that are made together (default: as the model was trained)",
    )
    overlap: int | None = option(
        default=None,
        minimum=0,
        help="frames that a window shares with the next one (default: a sixth of the window)",
    )
    seed: int = option(default=0, help="of the noise that pictures are made of")
    grow: float = share_option(
        default=0.06,
        help="how much wider than the body the new person may be, for hair and clothes, as a share "
        "of the square that is made anew",
    )
    precision: str | None = option(
        default=None, choices=("fp32", "fp16", "bf16"), help="what it computes in (default: fp32)"
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")
    codec: str | None = codec_option()
    quality: int | None = quality_option()
    pixel_format: str | None = pixel_format_option()
    extras: bool = extras_option()

    def check(self) -> None:
        if self.guidance is not None and not 0 <= self.guidance <= 100:
            raise UserError(f"--guidance {self.guidance:g} must be from 0 to 100")

    def composing(self) -> ComposeOptions:
        """How the film is put together again."""
        return ComposeOptions(
            layers=self.layers,
            output=self.output,
            source=self.source,
            codec=self.codec,
            quality=self.quality,
            pixel_format=self.pixel_format,
            extras=self.extras,
        )
