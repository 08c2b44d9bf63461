"""The options of `python -m layers live`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from layers.options_remove import MARGIN_HELP, parse_parts
from nunif.errors import UserError
from nunif.options import option

WINDOW, VIRTUAL, STDOUT = "window", "virtual", "-"  # outputs that are no file


@dataclass(frozen=True)
class LiveOptions:
    """`python -m layers live`."""

    camera: str | None = option(
        default=None, metavar="N", help="the camera: its number, 0 is the first, or its device"
    )
    input: str | None = option(
        "-i",
        "--input",
        default=None,
        metavar="URL or FILE",
        help="instead of a camera: a stream (rtsp:, http:, udp:, ...) or a video",
    )
    pace: bool = option(
        default=False,
        help="give out the frames of a video at their times, as a camera does, and drop those that "
        "come while the machine is busy (default: all of them, as fast as it goes)",
    )
    output: str = option(
        "-o",
        "--output",
        metavar=f"{WINDOW}, {VIRTUAL}, FILE, URL or {STDOUT}",
        help="where pictures go: a window, a virtual camera (pip install -e .[live]), a video, a "
        "stream (rtmp:, udp:, ...), or as plain RGB to the standard output",
    )
    model: Path | None = option(
        "-m",
        "--model",
        default=None,
        help="what fills: a model file (.pth), or an .onnx, .engine or .torchscript made by export "
        "(default: picture_memory_v1, which comes along)",
    )
    matting: Path | None = option(
        default=None,
        metavar="MODEL",
        help="a matting model (.pth) that finds the people (default: the person finder that comes "
        "along)",
    )
    gate: bool = option(
        default=False,
        help="take out nobody until a head is seen: fewer cats and cups are taken for people, but "
        "whoever turns away is shown",
    )
    keep: str | None = option(
        default=None,
        metavar="PARTS",
        help="whom to leave in the picture: who stands in its left, middle or right third, as "
        "left,right",
    )
    grow: float | None = option(
        default=None,
        minimum=0,
        maximum=100,
        help="by how much the hole is larger than who was found, in pixels of a picture of 240 "
        "rows (default: 2; 3.5 with --matting; more than in films, as nobody knows where a person "
        "is going)",
    )
    hold: int = option(
        default=2,
        minimum=0,
        maximum=100,
        help="frames that the hole stays where somebody was found",
    )
    shadow: float = option(
        default=0.0,
        minimum=0,
        maximum=100,
        help="by how much the hole reaches down further, in pixels of a picture of 240 rows",
    )
    margin: float = option(default=5.0, minimum=0, maximum=100, help=MARGIN_HELP)
    max_width: int | None = option(
        default=None,
        minimum=8,
        help="fill wider pictures at this width; only the holes are taken from the result",
    )
    seconds: float | None = option(
        default=None, minimum=0.1, metavar="N", help="stop after so many seconds"
    )
    precision: str | None = option(
        default=None,
        choices=("fp32", "fp16", "bf16"),
        help="what a model file computes in (default: fp32)",
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        if (self.camera is None) == (self.input is None):
            raise UserError("give either --camera or --input: a camera's number, or a stream")
        if self.keep is not None:
            parse_parts(self.keep)
        if self.pace and (self.input is None or is_url(self.input)):
            raise UserError("--pace is for videos: a camera or a stream has a pace of its own")


def is_url(text: str) -> bool:
    """Whether a word names a stream, such as rtsp://host/path, and not a file."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.isalnum() and scheme.lower() != "file"
