"""The options of what is pointed at in a film. Nothing here imports torch."""

from dataclasses import dataclass

from layers.prompts import BOX, NOT_POINT, POINT, STROKE, Prompt, number_objects, parse_prompt
from nunif.errors import UserError
from nunif.options import option


@dataclass(frozen=True)
class PointOptions:
    """What is pointed at."""

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

    @property
    def is_pointed(self) -> bool:
        """Whether something is."""
        return bool(self.point or self.box or self.stroke or self.not_point)

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
