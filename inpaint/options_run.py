"""The options of commands that use a model. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from inpaint.runtime.options import LOOK_AHEAD, FillOptions
from nunif.errors import UserError
from nunif.options import option, share_option
from nunif.runtime.options import ModelFilmOptions
from scene.depth_options import DepthOptions


@dataclass(frozen=True)
class ApplyOptions(FillOptions, ModelFilmOptions):
    """`python -m inpaint apply`."""

    mask: Path = option(
        help=(
            "what is missing, in white: a video, a folder of numbered pictures, or one picture "
            "for all frames"
        )
    )


VIEWS = ("right", "left", "both")


VR180 = "vr180"
LAYOUTS = (
    "sbs",
    "half-sbs",
    "tb",
    "half-tb",
    "anaglyph",
    "dubois",
    "half-colour",
    "cross-eyed",
    "half-cross-eyed",
    VR180,
)


@dataclass(frozen=True)
class StereoOptions(DepthOptions, ModelFilmOptions):
    """`python -m inpaint stereo`."""

    layout: str = option(
        default="sbs",
        choices=LAYOUTS,
        help="side by side, top and bottom, each full or half; red-cyan anaglyph (dubois is the "
        "same by its name, half-colour keeps more of the colours); cross-eyed: the right eye's "
        "picture on the left; VR180",
    )
    field_of_view: float | None = option(
        default=None,
        minimum=20,
        maximum=150,
        help="of vr180: degrees that the film's longer side spans (default: 90)",
    )
    vr180_size: int | None = option(
        default=None,
        minimum=16,
        maximum=8192,
        help="of vr180: pixels of the height and width of either eye (default: 1.5 times the "
        "film's longer side, at 90 degrees)",
    )
    name_by_layout: bool = option(
        default=False,
        help="put into the name of the film by what players tell its layout, such as "
        "_LRF_Full_SBS; -o may be a folder then, and the film is named after the source",
    )
    stereo_tags: bool = option(
        "--no-stereo-tags",
        default=True,
        help="write nothing into the file of how both eyes stand in it",
    )
    view: str = option(
        default="right",
        choices=VIEWS,
        help="the eye that is made; the film is the other's, or in the middle",
    )
    divergence: float = option(
        default=2.0,
        minimum=0,
        maximum=20,
        help="strength: how far apart the eyes see what is nearest, in percent of the width",
    )
    convergence: float = share_option(
        default=0.5, help="what lies on the screen: 0 the farthest, 1 the nearest thing"
    )
    foreground_scale: float = option(
        default=0.0,
        minimum=-3,
        maximum=3,
        help="bend the depth: more than 0 draws near things apart, less draws far ones",
    )
    depth_in: Path | None = option(
        default=None,
        metavar="PATH",
        help="take the depth from here instead of estimating it: a folder of numbered pictures or "
        "a video, 8 or 16 bits, bright is near",
    )
    depth_out: Path | None = option(
        default=None,
        metavar="PATH",
        help="write the depth too: a folder of 16-bit PNGs, or an .mkv (FFV1, 16 bits)",
    )
    layers: Path | None = option(
        default=None,
        metavar="DIR",
        help="the film's layers, made by python -m layers split: each is moved by itself, and "
        "beside people the scene is seen that was found behind them",
    )
    edge_dilation: int = option(
        default=2, minimum=0, maximum=16, help="pixels of the depth map by which near things grow"
    )
    dilate: int = option(
        default=2, minimum=0, maximum=64, help="pixels by which holes grow away from near things"
    )
    batch_size: int = option(
        default=2, minimum=1, help="frames that the depth estimator takes at once"
    )
    look_ahead: int | None = option(
        default=None,
        minimum=0,
        maximum=999,
        help="frames that are read ahead, so that a hole is filled from what is seen after it too "
        f"(default: {LOOK_AHEAD}; engines 0)",
    )

    def check(self) -> None:
        super().check()
        for flag, value in (
            ("--field-of-view", self.field_of_view),
            ("--vr180-size", self.vr180_size),
        ):
            if value is not None and self.layout != VR180:
                raise UserError(f"{flag} {value} is for --layout {VR180}: add it or leave it out")
        for flag, model in (
            ("--resolution", self.resolution),
            ("--depth-model-dir", self.depth_model_dir),
        ):
            if model is not None and self.depth_in is not None:
                raise UserError(
                    f"{flag} {model} is for estimating depth, but --depth-in {self.depth_in} has "
                    "it: leave one of them out"
                )


def full_name(arch: str) -> str:
    """ "memory_dstt_v1" -> "inpaint.memory_dstt_v1"; full names stay as they are."""
    return arch if arch.startswith("inpaint.") else f"inpaint.{arch}"


@dataclass(frozen=True)
class DemoOptions:
    """`python -m inpaint demo`."""

    video: Path | None = option(
        default=None, help="your own video (default: a rendered sample clip)"
    )
    output: Path = option(
        "-o", "--output", default=Path("demo"), help="folder for all that the demo makes"
    )
