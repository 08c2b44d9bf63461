"""The options of `python -m matting`. Nothing here imports torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option, parse_size, share_option
from nunif.runtime.options import EngineOptions, ModelFilmOptions

GREEN = "#78ff9b"
COLOURS = {"green": GREEN, "white": "#ffffff", "black": "#000000", "grey": "#808080"}


def parse_colour(text: str) -> tuple[int, int, int] | None:
    """ "green", "#78ff9b" or "120,255,155" -> (120, 255, 155); None where it is no colour."""
    text = COLOURS.get(text.lower(), text)
    if match := re.fullmatch(r"#?([0-9a-fA-F]{6})", text):
        return tuple(bytes.fromhex(match[1]))  # type: ignore[return-value]
    words = text.split(",")
    if len(words) == 3 and all(w.strip().isdecimal() and int(w) < 256 for w in words):
        return int(words[0]), int(words[1]), int(words[2])
    return None


PARTS = ("pha", "fgr", "com", "planes")


def parse_parts(text: str) -> dict[str, str]:
    """ "pha,com.mp4" -> {"pha": "pha", "com": "com.mp4"}.

    Raises:
        UserError: an unknown part; one that is named twice; planes with a suffix.
    """
    files: dict[str, str] = {}
    for word in (word.strip() for word in text.split(",")):
        name, dot, _ = word.partition(".")
        if name not in PARTS or name == "planes" and dot:
            raise UserError(
                f"--parts {text}: {word!r} is not known: choose from {', '.join(PARTS)}, the first "
                "three with a suffix such as .mp4 where they are to be films"
            )
        if name in files:
            raise UserError(f"--parts {text}: {name} is named twice")
        files[name] = word
    return files


@dataclass(frozen=True)
class ConvertOptions(ModelFilmOptions):
    """`python -m matting convert`."""

    background: str | None = option(
        default=None,
        metavar="COLOUR|FILE",
        help="what stands behind the person: a colour (green, white, black, #78ff9b or "
        "120,255,155), a picture, or a film (default: green; a folder of PNGs is transparent)",
    )
    alpha: Path | None = option(
        default=None, metavar="FILE", help="also write alpha, as a grey film or a folder of PNGs"
    )
    foreground: Path | None = option(
        default=None, metavar="FILE", help="also write the person's colours, black elsewhere"
    )
    planes: Path | None = option(
        default=None,
        metavar="DIR",
        help="also write alpha and foreground as planes of a record, 0000_A.png and 0000_F.png of "
        "8 bits",
    )
    parts: str | None = option(
        default=None,
        metavar="NAMES",
        help="-o is a folder, of a folder of videos one for each, which holds these: some of pha "
        "(alpha), fgr (foreground), com (what -o would be) and planes, as pha,fgr,com for folders "
        "of PNGs or pha.mp4,com.mp4 for films",
    )
    downsample_ratio: float | None = option(
        default=None,
        minimum=0.05,
        maximum=1,
        help="what is computed at, as a share of the film's size (default: 512 pixels for its "
        "longer side)",
    )
    seq_chunk: int = option(
        default=1, minimum=1, help="frames that are computed at once: the same result, in less time"
    )
    temporal_filter: float = share_option(
        default=0.0, help="share of the alpha before that each frame keeps, against flicker"
    )
    cuts: bool = option("--no-cuts", default=True, help="keep the memory across cuts")
    gate: bool = option(
        default=False,
        help="look first whether somebody's head is seen in two frames of the film; where none is, "
        "nobody is cut out of it: for models that take cats and toys for people",
    )

    def check(self) -> None:
        if self.parts is not None:
            self._check_parts(parse_parts(self.parts))
        if self.background is None or parse_colour(self.background) is not None:
            return
        if not Path(self.background).exists():
            raise UserError(
                f"--background {self.background} is no colour and no file: give green, #78ff9b, "
                "120,255,155, a picture or a film"
            )

    def _check_parts(self, files: dict[str, str]) -> None:
        others = {
            "--alpha": self.alpha,
            "--foreground": self.foreground,
            "--planes": self.planes,
            "--suffix": self.suffix,
        }
        if given := [flag for flag, value in others.items() if value is not None]:
            raise UserError(
                f"--parts {self.parts} says all that is to be written: leave {given[0]} out"
            )
        if "com" not in files and self.background is not None:
            raise UserError(
                f"--background {self.background} is for com, and --parts {self.parts} has none: "
                "add it, or leave --background out"
            )


@dataclass(frozen=True)
class ExportOptions(EngineOptions):
    """`python -m matting export`."""

    model: Path = option("-m", "--model", "-i", help="model file (.pth)")
    output: Path = option(
        "-o",
        "--output",
        metavar="DIR|FILE.onnx",
        help="folder for the files and their manifest.json, or the ONNX file, which has that "
        "beside it",
    )
    size: str = option(
        default="288x512", metavar="HxW", help="height x width of the frames in pixels"
    )
    height: int | None = option(default=None, minimum=8, help="with --width, instead of --size")
    width: int | None = option(default=None, minimum=8, help="with --height, instead of --size")
    downsample_ratio: float | None = option(
        default=None,
        minimum=0.05,
        maximum=1,
        help="what is computed at, as a share of the size, for good (default: 512 pixels for its "
        "longer side)",
    )
    frames: int = option(
        default=20, minimum=12, help="frames that are compared, the states carried"
    )

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        if self.height is not None and self.width is not None:
            return self.height, self.width
        return parse_size(self.size)

    def check(self) -> None:
        super().check()
        if (self.height is None) != (self.width is None):
            raise UserError("--height and --width belong together: give both, or --size HxW")
        suffix = self.output.suffix.lower()
        if suffix in (".engine", ".torchscript", ".pt2"):
            raise UserError(
                f"-o {self.output}: give an .onnx, or a folder, in which the file gets its name"
            )


@dataclass(frozen=True)
class SpeedOptions:
    """`python -m matting speed`."""

    archs: str = option(
        "--archs",
        "--variants",
        default="mobilenetv3,mobileone_s0,mobileone_s0_small,efficientnet_lite0",
        metavar="NAMES",
        help="the networks, with untrained weights; the others are compared with the first",
    )
    size: str = option(
        default="288x512", metavar="HxW", help="height x width of the frames in pixels"
    )
    downsample_ratio: float | None = option(
        default=None,
        minimum=0.05,
        maximum=1,
        help="what is computed at, as a share of the size (default: 512 pixels for its longer "
        "side)",
    )
    frames: int = option(default=2, minimum=1, help="frames of a stream in one turn")
    rounds: int = option(default=20, minimum=1, help="turns of each network, which alternate")
    precision: str = option(
        default="fp32", choices=("fp32", "fp16", "bf16"), help="what is computed in"
    )
    output: Path | None = option(
        "-o", "--output", default=None, metavar="FILE.json", help="write the figures too"
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        parse_size(self.size)
        if not all(name.strip() for name in self.archs.split(",")):
            raise UserError(f"--archs {self.archs}: give names, such as mobilenetv3,mobileone_s0")
