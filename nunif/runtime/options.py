"""Options of commands that run a model over a film, read masks, or look into a model or export it.
Nothing here imports torch."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option, parse_size
from nunif.video.options import (
    FPS_HELP,
    codec_option,
    deinterlace_option,
    extras_option,
    pixel_format_option,
    quality_option,
)


@dataclass(frozen=True)
class PathOptions:
    """A film in, a film out."""

    input: Path = option(
        "-i",
        "--input",
        help="the film: a video, a folder of numbered pictures, or one picture; or a folder of "
        "videos, which are done one by one",
    )
    output: Path = option(
        "-o",
        "--output",
        help="the video to be written; a name without suffix is a folder of PNGs; of one picture: "
        "a picture; of a folder of videos: a folder",
    )


@dataclass(frozen=True)
class ModelOption(PathOptions):
    """The model between."""

    model: Path = option(
        "-m",
        "--model",
        help="model file (.pth), or an .onnx, .engine or .torchscript made by export",
    )


@dataclass(frozen=True)
class FilmOptions(PathOptions):
    """How a film is read, computed and written; for the commands that make one of another."""

    max_width: int | None = option(
        default=None,
        minimum=8,
        help="compute wider films at this width; only the holes are taken from the result",
    )
    precision: str | None = option(
        default=None,
        choices=("fp32", "fp16", "bf16"),
        help="what a model file computes in (default: fp32)",
    )
    compile: bool = option(
        default=False, help="torch.compile the model: minutes at the start, faster afterwards"
    )
    codec: str | None = codec_option()
    quality: int | None = quality_option()
    pixel_format: str | None = pixel_format_option()
    fps: str | None = option(default=None, metavar="RATE", help=FPS_HELP)
    start: str | None = option(
        default=None,
        metavar="TIME",
        help="begin there: seconds, m:s or h:m:s, to try something on a part of the film",
    )
    end: str | None = option(
        default=None, metavar="TIME", help="end there, counted from the film's beginning too"
    )
    stills: bool = option(
        default=False,
        help="the pictures of the folder -i are single pictures, and no film: each becomes one in "
        "the folder -o",
    )
    suffix: str | None = option(
        default=None,
        metavar=".SUFFIX",
        help="of a folder of videos or --stills: what the new ones are (default: what each is, and "
        ".mp4 where that can't be written)",
    )
    extras: bool = extras_option()
    deinterlace: bool = deinterlace_option()
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")


@dataclass(frozen=True)
class ModelFilmOptions(FilmOptions, ModelOption):
    """A film in, a film out, and the model between; for the commands that run one."""


def parse_time(flag: str, text: str) -> Fraction:
    """ "12.5", "1:30" or "1:02:03.5" in seconds.

    Raises:
        UserError: no time.
    """
    if not re.fullmatch(r"([0-9]+:){0,2}[0-9]+(\.[0-9]+)?", text):
        raise UserError(
            f"{flag} {text} is no time: give seconds such as 90 or 12.5, or 1:30, or 1:02:03"
        )
    hours, minutes, seconds = map(Fraction, ["0", "0", *text.split(":")][-3:])
    if seconds >= 60 and ":" in text or minutes >= 60 and text.count(":") > 1:
        raise UserError(f"{flag} {text} is no time: an hour has 60 minutes, a minute 60 seconds")
    return 3600 * hours + 60 * minutes + seconds


def parse_part(start: str | None, end: str | None) -> tuple[Fraction, Fraction | None]:
    """--start and --end in seconds; without them, 0 and None.

    Raises:
        UserError: one is no time, or nothing lies between them.
    """
    begin = Fraction(0) if start is None else parse_time("--start", start)
    stop = None if end is None else parse_time("--end", end)
    if stop is not None and stop <= begin:
        raise UserError(f"--end {end} isn't behind --start {start or 0}: give a later time")
    return begin, stop


def parse_objects(text: str | None) -> tuple[int, ...]:
    """ "1,8" -> (1, 8); None -> (), which is all.

    Raises:
        UserError: something that is no number of an object.
    """
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) < 65536 for word in words):
        raise UserError(f"--objects {text}: give the numbers of objects in the masks, such as 1,8")
    return tuple(dict.fromkeys(int(word) for word in words))


@dataclass(frozen=True)
class MaskOptions:
    """How masks are read; for the commands that take them."""

    objects: str | None = option(
        default=None,
        metavar="NUMBERS",
        help="of masks that number objects, as the palettes of DAVIS and VOC do: which are "
        "missing, as 1,8 "
        "(default: all but 0 and 255)",
    )
    large_holes: bool = option(
        default=False,
        help="masks that mark nearly the whole picture are meant so, and not by a mistake",
    )

    def check(self) -> None:
        parse_objects(self.objects)


EXPORT_FORMATS = ("onnx", "tensorrt", "torch-export", "torchscript")


def parse_formats(text: str) -> list[str]:
    """ "onnx,tensorrt" -> ["onnx", "tensorrt"].

    Raises:
        UserError: an unknown format.
    """
    formats = [word.strip() for word in text.split(",")]
    for name in formats:
        if name not in EXPORT_FORMATS:
            raise UserError(
                f"export format {name!r} is not known: choose from {', '.join(EXPORT_FORMATS)}"
            )
    return formats


@dataclass(frozen=True)
class EngineOptions:
    """What an exported file is, and how it is checked; for the commands that export."""

    model: Path = option("-m", "--model", help="model file (.pth)")
    output: Path = option(
        "-o", "--output", metavar="DIR", help="folder for the files and their manifest.json"
    )
    format: str = option(
        default="onnx",
        metavar="NAMES",
        help=f"what to write: {','.join(EXPORT_FORMATS)} or some of them",
    )
    size: str = option(
        default="360x640", metavar="HxW", help="height x width of the frames in pixels"
    )
    precision: str = option(
        default="fp32",
        choices=("fp32", "fp16"),
        help="what is computed in; the tensors stay float32",
    )
    opset: int | None = option(
        default=None,
        minimum=17,
        help="operator set of an ONNX file: older programs read lower ones alone (default: 20)",
    )
    clip: Path | None = option(
        default=None, metavar="VIDEO", help="compare on this video (default: a rendered clip)"
    )
    frames: int = option(
        default=12, minimum=12, help="frames that are compared, the memory carried"
    )
    compute_capability: str | None = option(
        default=None,
        metavar="LIST",
        help=(
            "GPUs that a TensorRT-RTX engine is for, as 8.6,8.9 (default: this one, else 8.0 to "
            "12.0)"
        ),
    )
    gpu: int = option(
        default=0, minimum=-1, help="number of the GPU for the comparison, -1 for the CPU"
    )

    def check(self) -> None:
        formats = parse_formats(self.format)
        parse_size(self.size)
        if self.opset is not None and not {"onnx", "tensorrt"} & {*formats}:
            raise UserError(
                f"--opset {self.opset} is for --format onnx: add it or leave the option out"
            )
        if self.compute_capability is not None and "tensorrt" not in formats:
            raise UserError(
                "--compute-capability is for --format tensorrt: add it or leave the option out"
            )


@dataclass(frozen=True)
class ExportOptions(EngineOptions):
    """`python -m inpaint export`."""

    dynamic: bool = option(default=False, help="an ONNX file for any height, width and batch")


# nunif.models.checkpoint.LAYOUTS, without its torch
FILE_LAYOUTS = (
    "nunif",
    "state-dict",
    "safetensors",
)


@dataclass(frozen=True)
class CheckpointOptions:
    """The command `checkpoint` of every task."""

    model: Path = option("FILE", help="the file to look into")
    output: Path | None = option(
        "-o", "--output", default=None, metavar="FILE", help="write its model to this file"
    )
    to: str | None = option(
        default=None,
        choices=FILE_LAYOUTS,
        help=(
            "layout of that file (default: safetensors for a name that ends so, else nunif, "
            "which is ours)"
        ),
    )
    arch: str | None = option(
        default=None, help="the model, where the file holds only tensors and does not tell"
    )
    half: bool = option(default=False, help="write weights in half precision: half of the bytes")

    def check(self) -> None:
        given = {"--to": self.to is not None, "--arch": self.arch is not None, "--half": self.half}
        for flag, is_given in given.items():
            if is_given and self.output is None:
                raise UserError(
                    f"{flag} is for the file that -o writes: add -o FILE or leave it out"
                )
