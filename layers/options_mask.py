"""The options of `python -m layers mask`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from layers.prompts import BOX, NOT_POINT, POINT, STROKE, Prompt, number_objects, parse_prompt
from nunif.errors import UserError
from nunif.options import option
from nunif.video.options import FPS_HELP, deinterlace_option


@dataclass(frozen=True)
class MaskFilmOptions:
    """`python -m layers mask`."""

    input: Path = option("-i", "--input", help="the film: a video, or a folder of pictures")
    output: Path = option(
        "-o",
        "--output",
        help="folder for the masks: a palette PNG for each frame, with the number of an object in "
        "each of its pixels, and 0 elsewhere",
    )
    point: tuple[str, ...] = option(
        default=(),
        metavar="[N:]X,Y@TIME",
        help="a pixel of an object, and when: seconds, m:s or h:m:s, or a frame by its number from "
        "0 as #12; may be given several times: each is an object of its own, unless N says which; "
        "of one object on several frames, later ones correct what was followed",
    )
    box: tuple[str, ...] = option(
        default=(), metavar="[N:]X,Y,W,H@TIME", help="a box around an object, in the same way"
    )
    stroke: tuple[str, ...] = option(
        default=(), metavar="[N:]X,Y;X,Y;...@TIME", help="a line drawn over an object"
    )
    not_point: tuple[str, ...] = option(
        default=(), metavar="[N:]X,Y@TIME", help="a pixel that is not the object"
    )
    find_cuts: bool = option(
        "--no-cuts", default=True, help="follow on across cuts instead of ending there"
    )
    fps: str | None = option(default=None, metavar="RATE", help=FPS_HELP)
    deinterlace: bool = deinterlace_option()

    def check(self) -> None:
        self.prompts()

    def prompts(self) -> list[Prompt]:
        """All that is pointed at, with the numbers of objects.

        Raises:
            UserError: nothing is, or one isn't understood.
        """
        given = {
            POINT: self.point,
            BOX: self.box,
            STROKE: self.stroke,
            NOT_POINT: self.not_point,
        }
        found = [parse_prompt(kind, text) for kind, texts in given.items() for text in texts]
        if all(prompt.kind == NOT_POINT for prompt in found):
            raise UserError("nothing is pointed at: give --point X,Y@TIME, --box or --stroke")
        return number_objects(found)
