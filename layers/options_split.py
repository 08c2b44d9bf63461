"""The options of `python -m layers split` and `compose`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from layers.options_films import FilmExportOptions
from layers.options_remove import FillerOption
from nunif.errors import UserError
from nunif.options import option, share_option
from nunif.runtime.options import FilmOptions, MaskOptions
from nunif.video.options import (
    FPS_HELP,
    codec_option,
    deinterlace_option,
    extras_option,
    pixel_format_option,
    quality_option,
)
from scene.depth_models import MOTION_PARALLAX
from scene.depth_options import DepthOptions

DEPTH = "depth"
FORMATS = ("png", "exr", "ffv1", "prores", "vp9")
HOLE_THRESHOLD, DILATE = 0.02, 1
REACH = 4  # of the person finder, whose alpha ends too early in places


@dataclass(frozen=True)
class SplitOptions(FilmExportOptions, DepthOptions, MaskOptions, FillerOption):
    """`python -m layers split`."""

    masks: Path | None = option(
        default=None,
        metavar="PATH",
        help="who is cut out, in white, greys are half transparent: a video, a folder of numbered "
        "pictures, or one picture; with --objects each of them is a layer of its own, the nearest "
        "first",
    )
    matting: Path | None = option(
        default=None,
        metavar="MODEL",
        help="a matting model (.pth) that cuts out (default: the person finder that comes along, "
        "whose edges are soft and wide)",
    )
    ids: bool = option(
        "--no-ids",
        default=True,
        help="all who are cut out in one layer, instead of everybody in one of their own",
    )
    occluders: str | None = option(
        default=None,
        metavar=f"PATH|{DEPTH}",
        help=f"what stands before the people: masks as --masks, or {DEPTH}: what is nearer where "
        "it meets them (default: nothing)",
    )
    depth_in: Path | None = option(
        default=None,
        metavar="PATH",
        help="take the depth from here instead of estimating it: a folder of numbered pictures or "
        "a video, 8 or 16 bits, bright is near",
    )
    gate: bool = option(
        "--no-gate",
        default=True,
        help="find people too where no head is seen: cats, teddies and cups are taken for people "
        "then",
    )
    hole_threshold: float = share_option(
        default=HOLE_THRESHOLD, help="from what alpha on the scene behind is filled in"
    )
    dilate: int = option(
        default=DILATE,
        minimum=0,
        help="by how much that hole grows, in pixels of a film 432 wide",
    )
    reach: int | None = option(
        default=None,
        minimum=0,
        maximum=64,
        help="look so far around people for an outline that their alpha has missed, in pixels of a "
        f"film 432 wide (default: {REACH} for the person finder; masks and mattes are as they are: "
        "0)",
    )
    look_ahead: int | None = option(
        default=None,
        minimum=0,
        maximum=999,
        help="frames that are read ahead, so that the scene is filled from what is seen later too "
        "(default: 8; engines 0)",
    )
    find_cuts: bool = option(
        "--no-cuts", default=True, help="take the film for one shot, whatever is seen"
    )
    format: str = option(
        default="png",
        choices=FORMATS,
        help="png: a picture for each frame and plane. exr: a file for each frame, a named layer "
        "for each plane, in linear light, for programs that composite. Videos of a shot's layers "
        "with alpha: ffv1, prores (4444) for editors, vp9 for the web; the latter two lose "
        "something, and a line says how much",
    )
    max_width: int | None = option(
        default=None, minimum=8, help="fill wider films at this width; all else is at the film's"
    )
    precision: str | None = option(
        default=None,
        choices=("fp32", "fp16", "bf16"),
        help="what a model file computes in (default: fp32)",
    )
    fps: str | None = option(default=None, metavar="RATE", help=FPS_HELP)
    start: str | None = option(
        default=None, metavar="TIME", help="begin there: seconds, m:s or h:m:s"
    )
    end: str | None = option(
        default=None, metavar="TIME", help="end there, counted from the film's beginning too"
    )
    deinterlace: bool = deinterlace_option()
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        DepthOptions.check(self)
        MaskOptions.check(self)
        FilmExportOptions.check(self)
        if self.depth_in is not None and self.occluders != DEPTH:
            raise UserError(
                f"--depth-in {self.depth_in} is for --occluders {DEPTH}: add it or leave it out"
            )
        if self.occluders == DEPTH and self.depth_in is None:
            if self.model_type == MOTION_PARALLAX:
                raise UserError(
                    f"--model-type {MOTION_PARALLAX} knows nothing of what stands still: give "
                    "--occluders masks, or another --model-type, or --depth-in"
                )
        if self.masks is not None and self.matting is not None:
            raise UserError(
                f"--matting {self.matting} finds people, and --masks {self.masks} says who is cut "
                "out: leave one of them out"
            )
        if self.objects is not None and self.masks is None:
            raise UserError(f"--objects {self.objects} is for --masks: add them or leave it out")

    @property
    def reaches(self) -> int:
        """`reach`, or what it is by default."""
        is_found = self.masks is None and self.matting is None
        return self.reach if self.reach is not None else REACH * is_found

    def film(self) -> FilmOptions:
        """How the film is read."""
        return FilmOptions(
            input=self.input,
            output=self.output,
            fps=self.fps,
            start=self.start,
            end=self.end,
            deinterlace=self.deinterlace,
            gpu=self.gpu,
        )


@dataclass(frozen=True)
class ComposeOptions:
    """`python -m layers compose`."""

    layers: Path = option("DIR", help="the folder that split made")
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
    person: Path | None = option(
        default=None,
        metavar="FILM",
        help="stands where the people were, frame by frame; what is before them is laid over it",
    )
    export: str | None = option(
        default=None,
        metavar="NAME|DIR",
        help="the export that --person was made of, in DIR/exports or elsewhere: it goes back to "
        "where that came from (default: the one whose size and number of frames it has, if any); "
        "none: it is a film of the same size and frames",
    )
    scene: Path | None = option(
        default=None, metavar="FILM|PICTURE", help="stands behind the people instead of theirs"
    )
    occluder: bool = option(
        "--no-occluder", default=True, help="leave out what stands before the people"
    )
    codec: str | None = codec_option()
    quality: int | None = quality_option()
    pixel_format: str | None = pixel_format_option()
    extras: bool = extras_option()

    def check(self) -> None:
        if self.export is not None and self.person is None:
            raise UserError(f"--export {self.export} is for --person: add it or leave it out")
