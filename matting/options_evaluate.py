"""The options of `python -m matting evaluate`. Nothing here imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nunif.evaluation.names import name_models
from nunif.options import option, parse_names, parse_size
from nunif.runtime.options import parse_objects
from nunif.video.options import deinterlace_option

ALL_ZERO, NO_MEMORY = "all-zero", "no-memory"
BASELINES = (ALL_ZERO, NO_MEMORY)


@dataclass(frozen=True)
class EvaluateOptions:
    """`python -m matting evaluate`."""

    data_dir: Path = option(
        "-i",
        "--data-dir",
        help="records with frames and alpha; or films or folders of pictures, one of them or a "
        "folder",
    )
    model: tuple[str, ...] = option(
        "-m",
        "--model",
        default=(),
        metavar="MODEL",
        help="what is judged, may be given several times: a model file, as NAME=FILE to call it "
        "NAME",
    )
    alpha: Path | None = option(
        default=None,
        metavar="PATH",
        help="of films: a folder with the true matte or mask of each, of its name: a video, a "
        "folder of pictures, or one picture; of one film also that itself",
    )
    objects: str | None = option(
        default=None,
        metavar="NUMBERS",
        help="of masks in --alpha that number objects: which are the foreground, as 1,8 (default: "
        "all but 0 and 255)",
    )
    baselines: str = option(
        default=",".join(BASELINES),
        metavar="NAMES",
        help="what runs beside it, or none: the all-zero matte; each model with its memory emptied "
        "before every frame",
    )
    downsample_ratio: float | None = option(
        default=None,
        minimum=0.05,
        maximum=1,
        help="what is computed at, as a share of the frames' size (default: 512 pixels for their "
        "longer side)",
    )
    size: str | None = option(
        default=None, metavar="HxW", help="scale the films (default: their own size)"
    )
    frames: int = option(default=100, minimum=2, help="of a film or record, at most")
    deinterlace: bool = deinterlace_option()
    start: int = option(default=0, minimum=0, help="the first frame that is used of each")
    output: Path | None = option(
        "-o", "--output", default=None, help="folder for report.html, CSV, JSON, and pictures"
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        parse_names("--baselines", self.baselines, BASELINES)
        parse_objects(self.objects)
        name_models(self.model, BASELINES)
        if self.size is not None:
            parse_size(self.size)


def name_methods(words: Sequence[str]) -> dict[str, Path]:
    """The model files of --model, in order, by what tables call them. See `name_models`."""
    named = name_models(words, BASELINES)
    return {name: Path(name) if path is None else path for name, path in named.items()}
