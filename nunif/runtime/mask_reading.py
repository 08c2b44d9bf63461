"""How the masks of a source are meant, from a look at some of them, and the hole in each.

    pictures of a source -> how they are meant, from a look at some -> the hole of each

Axes: H W pixels.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nunif.errors import UserError
from nunif.runtime.mask_pictures import MaskPicture, Meaning, solid

logger = logging.getLogger(__name__)

NUM_SAMPLES = 32  # pictures of a source that are looked at before the first is used
LARGE = 0.9  # of a picture; a hole above it is rarely meant
# Of the brightness of a lossy mask: what is neither black nor bright. In blocks of about one level
# it may be an object.
_BETWEEN = 40, 127
_BETWEEN_STEP = 8
_MUCH_BETWEEN = 0.01  # of a picture


@dataclass(frozen=True)
class MaskReading:
    """How the masks of one source are meant.

    objects: the numbers that are missing; none: all but 0 and 255. invert: all else is missing.
    opaque: the highest alpha of the source; what has more than half of it is missing where alpha is
        what says so.
    soft: they are mattes, which mark in part.
    """

    name: str
    meaning: Meaning = Meaning.BRIGHT
    objects: tuple[int, ...] = ()
    invert: bool = False
    opaque: int = 255
    soft: bool = False

    def take(self, picture: MaskPicture) -> np.ndarray:
        """The hole; of mattes how much of each pixel is marked, (H, W) uint8, 255 = all of it.
        Raises as `hole`."""
        if not self.soft:
            return self.hole(picture)
        if not self.objects and not picture.is_indexed:
            if self.meaning is Meaning.ALPHA and picture.alpha is not None:
                return picture.alpha
            if self.meaning is Meaning.BRIGHT:
                grey, alpha = picture.brightness, picture.alpha
                if alpha is None or not picture.is_alpha_telling:
                    return grey
                return np.minimum(grey, alpha)
        return np.where(self._marked(picture), np.uint8(255), np.uint8(0))

    def hole(self, picture: MaskPicture) -> np.ndarray:
        """(H, W) bool, True = missing.

        Raises:
            UserError: objects are asked for, and the picture has no numbers.
        """
        hole = self._marked(picture)
        return ~hole if self.invert else hole

    def _marked(self, picture: MaskPicture) -> np.ndarray:
        if self.objects:
            if picture.numbers is None:
                raise UserError(
                    f"{self.name} has no numbers for --objects {','.join(map(str, self.objects))} "
                    "to choose from: give "
                    "palette or grey PNGs whose pixels are the objects' numbers, or leave it out"
                )
            return np.isin(picture.numbers, self.objects)
        if self.meaning is Meaning.ALPHA and picture.alpha is not None and not picture.is_indexed:
            return picture.alpha > self.opaque // 2
        if picture.is_indexed or (self.meaning is Meaning.NUMBERS and picture.numbers is not None):
            numbers = picture.numbers
            assert numbers is not None
            return (numbers != 0) & (numbers != np.iinfo(numbers.dtype).max)
        if self.meaning is Meaning.COLOURS:
            return picture.brightness > 0
        hole = picture.brightness > 127
        return (
            hole & (picture.alpha > 127)
            if picture.is_alpha_telling and picture.alpha is not None
            else hole
        )


def understand(
    name: str,
    samples: Iterable[MaskPicture],
    *,
    objects: tuple[int, ...] = (),
    invert: bool | None = False,
    large_holes: bool = False,
    soft: bool = False,
) -> MaskReading:
    """How the masks of a source are meant, from some of them; a line of the log says so where it
    isn't plain white on black.

    Args:
        name: of the source, for messages.
        objects, invert: as in `MaskReading`; invert is None where that isn't offered.
        large_holes: whether holes of more than `LARGE` of the picture are meant.
        soft: whether they are mattes, whose grey is neither a mistake nor an object; what they mark
            is the foreground.

    Raises:
        UserError: most of them are nearly all hole; or as `MaskReading.hole`.
    """
    looks = [_Look.at(picture, name, objects) for picture in samples]
    opaque = max((look.opaque for look in looks), default=255) or 255
    meanings = {look.meaning for look in looks}
    order = (Meaning.ALPHA, Meaning.BRIGHT, Meaning.COLOURS, Meaning.NUMBERS)
    meaning = next((kind for kind in order if kind in meanings), Meaning.BRIGHT)
    if objects:
        _tell_of_absent(name, looks, objects)
    elif not soft:
        _tell_of_meaning(name, looks, meaning)
    elif meaning is not Meaning.BRIGHT:
        logger.info("%s: %s", name, meaning.value.replace("missing", "foreground"))
    if not large_holes:
        shares = [abs(bool(invert) - look.shares[meaning]) for look in looks]
        _refuse_large(name, shares, invert, how="" if objects else f" ({meaning.value})")
    return MaskReading(name, meaning, objects, bool(invert), opaque, soft)


def _tell_of_absent(name: str, looks: "list[_Look]", objects: tuple[int, ...]) -> None:
    """Log which objects are in none of the pictures looked at."""
    seen = sorted(set().union(*(look.numbers for look in looks)))
    absent = [number for number in objects if number not in seen]
    if not absent:
        return
    shown = ", ".join(map(str, seen[:20])) + (", ..." if len(seen) > 20 else "")
    looked = "the picture" if len(looks) == 1 else f"the {len(looks)} pictures looked at"
    logger.warning(
        "%s: no object %s is in %s, which hold %s",
        name,
        ", ".join(map(str, absent)),
        looked,
        shown or "none",
    )


def _tell_of_meaning(name: str, looks: "list[_Look]", meaning: Meaning) -> None:
    """Log how masks are meant that aren't plain white on black, and what else some could mean."""
    if meaning is not Meaning.BRIGHT:
        logger.info("%s: %s", name, meaning.value)
        return
    numbering = (Meaning.NUMBERS, Meaning.COLOURS)
    others = sum(look.meaning in numbering and not look.is_certain for look in looks)
    most_between = max((look.share_between for look in looks), default=0)
    if others:
        text = (
            "%s: %d of %d pictures looked at could number objects, others are black and white: "
            "%s; --objects chooses numbers"
        )
        logger.warning(text, name, others, len(looks), meaning.value)
    elif most_between > _MUCH_BETWEEN:
        text = (
            "%s: up to %.0f %% of a picture is dark without being black, and isn't missing: "
            "objects that are told apart by "
            "numbers or colours have to be stored without loss, such as in PNG, and none as white"
        )
        logger.warning(text, name, 100 * most_between)


def _refuse_large(name: str, shares: list[float], invert: bool | None, *, how: str) -> None:
    """Raises UserError if most of the pictures looked at are nearly all hole.

    shares: how much of each is missing. how: for the message, how the masks are read.
    """
    num_large = sum(share > LARGE for share in shares)
    if num_large * 2 <= len(shares):
        return
    which = f" in {num_large} of {len(shares)} pictures looked at" if len(shares) > 1 else ""
    ways = {
        True: "leave --invert-mask out, or ",
        False: "use --invert-mask if it is the other way round, or ",
        None: "",
    }
    raise UserError(
        f"{name} marks more than {LARGE:.0%} of the picture as missing{which}{how}: "
        f"{ways[invert]}add --large-holes "
        "if it is meant"
    )


def sample_positions(count: int) -> list[int]:
    """Which of `count` pictures to look at: all of a few, else some from all over."""
    return sorted(
        set(np.linspace(0, count - 1, min(count, NUM_SAMPLES)).round().astype(int).tolist())
    )


@dataclass(frozen=True)
class _Look:
    """What is kept of a picture that was looked at: how much of it would be marked, by meaning."""

    meaning: Meaning | None
    shares: dict[Meaning, float]
    numbers: frozenset[int]
    is_certain: bool
    opaque: int
    share_between: float

    @classmethod
    def at(cls, picture: MaskPicture, name: str, objects: tuple[int, ...]) -> "_Look":
        opaque = 255 if picture.alpha is None else int(picture.alpha.max())
        shares = {
            kind: float(MaskReading(name, kind, objects, opaque=opaque).hole(picture).mean())
            for kind in Meaning
        }
        numbers = (
            np.unique(picture.numbers).tolist() if objects and picture.numbers is not None else []
        )
        grey = picture.brightness
        between = float(
            ((grey > _BETWEEN[0]) & (grey <= _BETWEEN[1]) & solid(grey // _BETWEEN_STEP)).mean()
        )
        return cls(picture.meaning, shares, frozenset(numbers), picture.is_indexed, opaque, between)
