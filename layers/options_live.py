"""The options of `python -m layers live`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from layers.options_remove import HoleOptions, filler_option
from nunif.errors import UserError
from nunif.options import option

WINDOW, VIRTUAL, STDOUT = "window", "virtual", "-"  # outputs that are no file


@dataclass(frozen=True)
class LiveOptions(HoleOptions):
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
    model: Path | None = filler_option()
    gate: bool = option(
        default=False,
        help="take out nobody until a head is seen: fewer cats and cups are taken for people, but "
        "whoever turns away is shown",
    )
    grow: float | None = option(
        default=None,
        minimum=0,
        maximum=100,
        help="by how much the hole is larger than who was found, in pixels of a picture of 240 "
        "rows (default: 2; 3.5 with --matting; more than in films, as nobody knows where a person "
        "is going)",
    )
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
        super().check()
        if (self.camera is None) == (self.input is None):
            raise UserError("give either --camera or --input: a camera's number, or a stream")
        if self.pace and (self.input is None or is_url(self.input)):
            raise UserError("--pace is for videos: a camera or a stream has a pace of its own")


def is_url(text: str) -> bool:
    """Whether a word names a stream, such as rtsp://host/path, and not a file."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.isalnum() and scheme.lower() != "file"
