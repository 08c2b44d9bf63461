"""The options of `python -m layers evaluate`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from inpaint.runtime.options import LOOK_AHEAD, parse_look_ahead
from layers.options_remove import FinderOptions
from nunif.evaluation.names import name_models
from nunif.options import option, parse_names, parse_size
from nunif.runtime.options import parse_objects
from nunif.video.options import deinterlace_option

BASELINES = ("nothing", "telea", "median", "last-seen")


@dataclass(frozen=True)
class EvaluateOptions(FinderOptions):
    """`python -m layers evaluate`."""

    data_dir: Path = option(
        "-i",
        "--data-dir",
        help="records of the world; films with --masks; or films of a still camera, whose empty "
        "room is seen before and after people: one film or a folder of them",
    )
    layers: bool = option(
        default=False,
        help="of records of the world: score what split makes of them, their people given: what "
        "stands before people, the scene behind, and whether ids hold",
    )
    model: tuple[str, ...] = option(
        "-m",
        "--model",
        default=(),
        metavar="MODEL",
        help="what fills, may be given several times, as NAME=FILE to call it NAME: a model file, "
        "or an .onnx, .engine or .torchscript; or a lossless film that another program has made of "
        "the one film (default: picture_memory_v1, which comes along)",
    )
    look_ahead: str = option(
        default=f"0,{LOOK_AHEAD}",
        metavar="LIST",
        help="each model is judged once looking so many frames ahead, as 0,8,shot: see remove",
    )
    baselines: str = option(
        default=",".join(BASELINES),
        metavar="NAMES",
        help="what fills the same holes beside it, or none: nothing is removed; Telea's method; "
        "the median over the clip; the copy of what was seen last",
    )
    masks: Path | None = option(
        default=None,
        metavar="PATH",
        help="of films: a folder with masks of the people of each, of its name; of one film also "
        "its masks: how well the finder covers them is scored, and nothing is filled",
    )
    objects: str | None = option(
        default=None,
        metavar="NUMBERS",
        help="of masks that number objects: which are people, as 1,8 (default: all but 0 and 255)",
    )
    max_width: int | None = option(
        default=None, minimum=8, help="fill wider films at this width, as remove does"
    )
    size: str | None = option(
        default=None, metavar="HxW", help="scale the films (default: their own size)"
    )
    frames: int = option(default=300, minimum=2, help="of a film or record, at most")
    deinterlace: bool = deinterlace_option()
    start: int = option(default=0, minimum=0, help="the first frame that is used of each")
    output: Path | None = option(
        "-o", "--output", default=None, help="folder for report.html, CSV, JSON, and pictures"
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        super().check()
        parse_names("--baselines", self.baselines, BASELINES)
        parse_objects(self.objects)
        name_models(self.model, BASELINES)
        for word in self.look_ahead.split(","):
            parse_look_ahead(word, shots=True)
        if self.size is not None:
            parse_size(self.size)
