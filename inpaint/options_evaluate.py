"""The options of `python -m inpaint evaluate`. Nothing here imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inpaint.runtime.options import parse_look_ahead
from nunif.errors import UserError
from nunif.evaluation.names import name_models, parse_model
from nunif.options import option, parse_names, parse_size
from nunif.runtime.options import MaskOptions
from nunif.video.options import deinterlace_option

CAUSAL_BASELINES = (
    "telea",
    "navier-stokes",
    "smooth",
    "surround-mean",
    "previous-frame",
    "flow-propagation",
)
BASELINES = (*CAUSAL_BASELINES, "flow-propagation-both")
ZERO_MEMORY, UNTRAINED = "zero-memory", "untrained"
SPECIAL = (ZERO_MEMORY, UNTRAINED)  # what is made of the first model file
RESERVED = (*BASELINES, *SPECIAL)
LONG = "long"  # the family that shows how a memory ages
HOLE_FAMILIES = ("static", "moving", "occlusion", LONG)


@dataclass(frozen=True)
class EvaluateOptions(MaskOptions):
    """`python -m inpaint evaluate`."""

    data_dir: Path = option(
        "-i",
        "--data-dir",
        help="films or folders of pictures, one of them or a folder; or of records",
    )
    model: tuple[str, ...] = option(
        "-m",
        "--model",
        default=(),
        metavar="MODEL",
        help="what is judged, may be given several times: a model file, .onnx or .engine, as "
        "NAME=FILE to call it NAME; "
        "zero-memory (the first of them, "
        "its memory emptied before every frame); untrained (the first of them with fresh weights); "
        + ", ".join(BASELINES),
    )
    look_ahead: str = option(
        default="0",
        metavar="LIST",
        help="each model file is judged once looking so many frames ahead, as 0,8,shot: see apply",
    )
    baselines: str = option(
        default=",".join(CAUSAL_BASELINES),
        metavar="NAMES",
        help=(
            "what needs no training and runs beside it, or none; the default's are causal, "
            "flow-propagation-both is not"
        ),
    )
    masks: Path | None = option(
        default=None,
        metavar="DIR",
        help="masks of the films, by their names: a video, a folder of pictures, or one picture",
    )
    dilate: int = option(
        default=0,
        minimum=0,
        help="of --masks: pixels by which they grow, after scaling; 4 in papers",
    )
    holes: str = option(
        default="static,moving,occlusion",
        metavar="NAMES",
        help=(
            f"without --masks: holes that are made up, any of {', '.join(HOLE_FAMILIES)}; {LONG} "
            "is for 120 --frames or more"
        ),
    )
    size: str | None = option(
        default=None,
        metavar="HxW",
        help="scale the films, 240x432 in papers (default: their own size)",
    )
    frames: int = option(default=40, minimum=2, help="of a film, at most")
    deinterlace: bool = deinterlace_option()
    start: int = option(default=0, minimum=0, help="the first frame that is used of a film")
    seed: int = option(default=71, help="of the holes")
    output: Path | None = option(
        "-o", "--output", default=None, help="folder for report.html, CSV, JSON, and pictures"
    )
    tile_size: int = option(
        default=256,
        minimum=32,
        help="of records: width and height of the evaluated tiles in pixels",
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        super().check()
        parse_names("--baselines", self.baselines, BASELINES)
        parse_names("--holes", self.holes, HOLE_FAMILIES)
        if self.size is not None:
            parse_size(self.size)
        for word in SPECIAL:
            if word in self.model and not self.model_files:
                raise UserError(f"-m {word} needs the model that it is made of: add -m FILE")
        for word in self.look_ahead.split(","):
            parse_look_ahead(word, shots=True)

    @property
    def model_files(self) -> list[Path]:
        """What of --model is a file and no name."""
        parsed = (parse_model(word, RESERVED) for word in self.model)
        return [path for _, path in parsed if path is not None]


def name_methods(words: Sequence[str]) -> dict[str, Path | None]:
    """What --model names, in order, by what tables call it; the path of a model file, None for the
    names of methods. See `name_models`."""
    return name_models(words, RESERVED)
