"""The options of commands that fill films. Nothing here imports torch."""

from dataclasses import dataclass

from nunif.errors import UserError
from nunif.options import option
from nunif.runtime.options import FilmOptions, MaskOptions

LOOK_AHEAD = 8  # frames that films are filled from behind a hole; docs/ablation.md tells why
SHOT = "shot"
REFERENCE_ROWS = 240  # of a film: how far a hole reaches is told in its pixels


def parse_look_ahead(text: str, *, shots: bool) -> int | str:
    """ "8" -> 8, "shot" -> "shot" where that can be had.

    Raises:
        UserError: neither.
    """
    if text == SHOT and shots:
        return SHOT
    if not (text.isascii() and text.isdigit() and int(text) <= 999):
        raise UserError(
            f"--look-ahead {text}: give a number of frames up to 999"
            + (f", or {SHOT}" if shots else "")
        )
    return int(text)


@dataclass(frozen=True)
class FillOptions(MaskOptions, FilmOptions):
    """How the holes of a film are read and filled."""

    dilate: int = option(
        default=0, minimum=0, help="pixels by which the holes grow; 4 is usual for masks of objects"
    )
    invert_mask: bool = option(default=False, help="black is missing")
    find_cuts: bool = option(
        "--no-cuts",
        default=True,
        help="keep the memory across cuts instead of starting afresh there",
    )
    compare: bool = option(
        default=False,
        help="write NAME.compare too: the film with its holes painted, the result beside it",
    )
    look_ahead: str | None = option(
        default=None,
        metavar=f"N or {SHOT}",
        help="frames that are read ahead, so that a hole is filled from what is seen after it "
        "too; 0 is how a live stream is "
        f"filled; {SHOT}: go through each shot first, for what is seen long before or after a "
        "hole that stays "
        f"(default: {LOOK_AHEAD}; engines 0)",
    )

    def check(self) -> None:
        super().check()
        if self.look_ahead is not None:
            parse_look_ahead(self.look_ahead, shots=True)
