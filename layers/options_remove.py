"""The options of `python -m layers remove`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint.runtime.options import FillOptions
from layers.options_point import PointOptions
from nunif.errors import UserError
from nunif.options import option
from nunif.runtime.options import FilmOptions, PathOptions

PARTS = ("left", "middle", "right")
# chosen on a woman before a white wall, of 0, 3 and 5: hole PSNR 30.1, 32.1 and 33.4 dB
MARGIN = 5.0


def parse_parts(text: str) -> tuple[str, ...]:
    """ "left,right" -> ("left", "right").

    Raises:
        UserError: an unknown part of the picture.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in PARTS:
            raise UserError(f"--keep {text}: {word!r} is not known: choose from {', '.join(PARTS)}")
    return tuple(dict.fromkeys(words))


def filler_option() -> Any:
    """The option of what fills."""
    return option(
        "-m",
        "--model",
        default=None,
        help="what fills: a model file (.pth), or an .onnx, .engine or .torchscript made by export "
        "(default: picture_memory_v1, which comes along)",
    )


@dataclass(frozen=True)
class HoleOptions:
    """Who is found, and how the hole is cut, in films and live."""

    matting: Path | None = option(
        default=None,
        metavar="MODEL",
        help="a matting model (.pth) that finds the people (default: the person finder that comes "
        "along)",
    )
    keep: str | None = option(
        default=None,
        metavar="PARTS",
        help="whom to leave in the picture: who stands in its left, middle or right third, as "
        "left,right",
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
        help="by how much the hole reaches down further, for shadows and reflections at the feet, "
        "in pixels of a film of 240 rows",
    )
    margin: float = option(
        default=MARGIN,
        minimum=0,
        maximum=100,
        help="by how much further around the hole nothing is believed, though it stays as it is: "
        "shadows beside people don't get into what is filled, in pixels of a film of 240 rows",
    )

    def check(self) -> None:
        if self.keep is not None:
            parse_parts(self.keep)


@dataclass(frozen=True)
class FinderOptions(HoleOptions):
    """The same, for the commands that find people in films."""

    segmenter: str | None = option(
        default=None,
        metavar="NAME_OR_DIR",
        help="a segmenter of transformers that finds the people: a folder with its weights, or its "
        "name on the Hugging Face Hub",
    )
    gate: bool = option(
        "--no-gate",
        default=True,
        help="find people too where no head is seen: cats, teddies and cups are taken for people "
        "then",
    )
    grow: float | None = option(
        default=None,
        minimum=0,
        maximum=100,
        help="by how much the hole is larger than who was found, in pixels of a film of 240 rows "
        "(default: 1; 2.5 with --matting or --segmenter)",
    )

    def check(self) -> None:
        super().check()
        if self.matting is not None and self.segmenter is not None:
            raise UserError(
                f"--matting {self.matting} and --segmenter {self.segmenter} both find the people: "
                "leave one of them out"
            )


@dataclass(frozen=True)
class FindOptions(FinderOptions, FilmOptions):
    """The same, of a film; for the commands that remove people."""


@dataclass(frozen=True)
class FillerOption(PathOptions):
    """What fills."""

    model: Path | None = filler_option()


@dataclass(frozen=True)
class RemoveOptions(FillOptions, FindOptions, PointOptions, FilmOptions, FillerOption):
    """`python -m layers remove`."""

    masks: Path | None = option(
        default=None,
        metavar="PATH",
        help="what is removed instead of people, in white: a video, a folder of numbered pictures, "
        "or one picture for all frames",
    )
    report: Path | None = option(
        default=None,
        metavar="PAGE.html",
        help="write a page too: before, hole and after of each shot, and how much is hole",
    )

    def check(self) -> None:
        FillOptions.check(self)
        FindOptions.check(self)
        if self.report is not None and self.report.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--report {self.report} is a page: give it a name that ends in .html")
        ways = ("--matting", self.matting), ("--segmenter", self.segmenter), ("--keep", self.keep)
        if self.is_pointed:
            pointed = self.prompts()[0].text
            for flag, value in (("--masks", self.masks), *ways):
                if value is not None:
                    raise UserError(
                        f"{flag} {value} and {pointed} both say what is removed: leave one of "
                        "them out"
                    )
        for flag, value in ways:
            if self.masks is not None and value is not None:
                raise UserError(
                    f"{flag} {value} is for finding people, and --masks {self.masks} says what is "
                    "removed: leave one of them out"
                )
