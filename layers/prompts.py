"""What a person points at in a film, and how the command line says it. Nothing here imports
numpy."""

from dataclasses import dataclass
from fractions import Fraction

from nunif.errors import UserError
from nunif.runtime.options import parse_time

MOST_OBJECTS = 254  # 255 is nobody's number in palettes of objects

POINT, NOT_POINT, BOX, STROKE = "point", "not-point", "box", "stroke"
FORMS = {
    POINT: "X,Y@TIME",
    NOT_POINT: "X,Y@TIME",
    BOX: "X,Y,WIDTH,HEIGHT@TIME",
    STROKE: "X,Y;X,Y;...@TIME",
}


@dataclass(frozen=True)
class Prompt:
    """Something that was pointed at in one frame.

    kind: POINT, NOT_POINT (which is not the object), BOX or STROKE. points: (x, y) in pixels of the
        frame from its upper left corner; a box's first corner and the one opposite. frame: its
        number, from 0; time: seconds instead; exactly one of both. number: the object's, from 1;
        None until it has one. text: as it was given, for messages.
    """

    kind: str
    points: tuple[tuple[float, float], ...]
    frame: int | None = None
    time: Fraction | None = None
    number: int | None = None
    text: str = ""


def parse_prompt(kind: str, text: str) -> Prompt:
    """ "2:120,80@1:30" -> object 2 at x 120, y 80, 90 seconds into the film; "#12" is a frame.

    Raises:
        UserError: it is written in another way.
    """
    flag = f"--{kind}"
    number, colon, rest = text.partition(":")
    if not colon or "@" in number:  # the colon is that of a time
        number, rest = "", text
    places, at, when = rest.partition("@")
    if not at or not places or not when:
        raise UserError(f"{flag} {text} isn't understood: write {_example(kind)}")
    if number and not (_is_number(number) and 1 <= int(number) <= MOST_OBJECTS):
        raise UserError(
            f"{flag} {text}: {number} is no object: give a number from 1 to {MOST_OBJECTS}"
        )
    wanted = 4 if kind == BOX else 2
    points = [_numbers(part) for part in (places.split(";") if kind == STROKE else [places])]
    if any(len(point) != wanted for point in points):
        raise UserError(f"{flag} {text} isn't understood: write {_example(kind)}")
    if kind == BOX:
        x, y, width, height = points[0]
        if width < 1 or height < 1:
            raise UserError(f"{flag} {text}: a box is at least 1 pixel wide and high")
        points = [[x, y], [x + width - 1, y + height - 1]]
    frame = when[1:] if when.startswith("#") else None
    if frame is not None and not _is_number(frame):
        raise UserError(f"{flag} {text}: {when} is no frame: give its number from 0, such as #12")
    return Prompt(
        kind,
        tuple((point[0], point[1]) for point in points),
        frame=None if frame is None else int(frame),
        time=parse_time(flag, when) if frame is None else None,
        number=int(number) if number else None,
        text=f"{flag} {text}",
    )


def number_objects(prompts: list[Prompt]) -> list[Prompt]:
    """The prompts with a number each. One without stands for an object of its own, the next free
    number in the order given; what isn't the object needs the number of one, where there are
    several.

    Raises:
        UserError: a --not-point without the object that it corrects; too many objects.
    """
    taken = {prompt.number for prompt in prompts if prompt.number and prompt.kind != NOT_POINT}
    numbered: list[Prompt] = []
    for prompt in prompts:
        number = prompt.number
        if number is None and prompt.kind != NOT_POINT:
            number = next(free for free in range(1, len(prompts) + 256) if free not in taken)
            taken.add(number)
            if number > MOST_OBJECTS:
                raise UserError(f"{prompt.text}: there are at most {MOST_OBJECTS} objects")
        numbered.append(_with_number(prompt, number))
    for place, prompt in enumerate(numbered):
        if prompt.number is None and len(taken) == 1:
            numbered[place] = _with_number(prompt, next(iter(taken)))
        elif prompt.kind == NOT_POINT and prompt.number not in taken:
            raise UserError(
                f"{prompt.text}: say which object it isn't, by the number of one that is pointed "
                "at, such as 2:X,Y@TIME"
            )
    return numbered


def _with_number(prompt: Prompt, number: int | None) -> Prompt:
    return Prompt(prompt.kind, prompt.points, prompt.frame, prompt.time, number, prompt.text)


def _example(kind: str) -> str:
    return f"{FORMS[kind]}, in pixels, with a TIME such as 2.5, 1:30 or #12 for a frame"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _numbers(text: str) -> list[float]:
    """Numbers of 0 or more between commas; nothing where one isn't."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.replace(".", "", 1).isdigit() and word.isascii() for word in words):
        return []
    return [float(word) for word in words]
