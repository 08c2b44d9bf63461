"""The options of `python -m layers mask`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from layers.options_point import PointOptions
from nunif.options import option
from nunif.video.options import FPS_HELP, deinterlace_option


@dataclass(frozen=True)
class MaskFilmOptions(PointOptions):
    """`python -m layers mask`."""

    input: Path = option("-i", "--input", help="the film: a video, or a folder of pictures")
    output: Path = option(
        "-o",
        "--output",
        help="folder for the masks: a palette PNG for each frame, with the number of an object in "
        "each of its pixels, and 0 elsewhere",
    )
    find_cuts: bool = option(
        "--no-cuts", default=True, help="follow on across cuts instead of ending there"
    )
    fps: str | None = option(default=None, metavar="RATE", help=FPS_HELP)
    deinterlace: bool = deinterlace_option()

    def check(self) -> None:
        self.prompts()
