"""The options of exports for programs that generate or remove people: of `python -m layers split`
and `export-films`. Nothing here imports torch."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nunif.errors import UserError
from nunif.options import option, parse_names

WAN_ANIMATE, VACE, REMOVAL = "wan-animate", "vace", "removal"
AREAS = {WAN_ANIMATE: 1280 * 720, VACE: 832 * 480, REMOVAL: 1280 * 720}  # pixels, at most
EXPORTS = tuple(AREAS)
CELLS = "cells 10x20"


class MaskShape(NamedTuple):
    """What becomes of a person's mask: as it is, or of its box the cells (across, down) that it
    touches."""

    cells: tuple[int, int] | None


def parse_mask_shape(text: str) -> MaskShape:
    """ "tight", "box" (one cell), "cells", "cells 10x20" or "10x20".

    Raises:
        UserError: another word.
    """
    if text == "tight":
        return MaskShape(None)
    if text == "box":
        return MaskShape((1, 1))
    found = re.fullmatch(
        r"(?:cells[ :])?([0-9]{1,3})x([0-9]{1,3})", CELLS if text == "cells" else text
    )
    cells = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(cells):
        raise UserError(
            f'--mask-shape {text} is not known: give box, tight or "{CELLS}", how many cells '
            "stand beside each other in a person's box, and how many below each other"
        )
    return MaskShape(cells)


def parse_area(text: str) -> int:
    """ "832x480" in pixels.

    Raises:
        UserError: no two numbers.
    """
    found = re.fullmatch(r"([0-9]{2,5})x([0-9]{2,5})", text.lower())
    area = int(found[1]) * int(found[2]) if found else 0
    if area < 16 * 16:
        raise UserError(f"--export-area {text} is no area: give two sides in pixels, as 832x480")
    return area


@dataclass(frozen=True)
class FilmExportOptions:
    """What is written for programs that generate or remove people."""

    export: str | None = option(
        default=None,
        metavar="NAMES",
        help="films and masks as programs that generate or remove people read them, in "
        f"DIR/exports: {','.join(EXPORTS)} or some of them",
    )
    export_area: str | None = option(
        default=None,
        metavar="WxH",
        help="their frames have at most so many pixels; larger films are scaled (default: "
        "1280x720, vace 832x480)",
    )
    export_fps: str | None = option(
        default=None,
        metavar="RATE",
        help="their frames per second: for each the film's nearest is taken (default: the film's)",
    )
    mask_shape: str = option(
        default=CELLS,
        metavar="SHAPE",
        help="of wan-animate and vace: what is generated anew around a person: box, cells of the "
        "box that the person touches (across x down: finer ones keep more of the scene, coarser "
        "ones tell less of the person's shape), or tight",
    )
    pose: Path | None = option(
        default=None,
        metavar="FILE",
        help="of wan-animate: how the person moves, a .npy, .npz or .json of 133 points x, y, "
        "score (COCO-WholeBody, as DWPose and ViTPose give them) for each frame of the film",
    )
    reference: Path | None = option(
        default=None,
        metavar="PICTURE",
        help="of wan-animate: who is to stand there instead; a copy goes along as src_ref.png",
    )
    effects: Path | None = option(
        default=None,
        metavar="PATH",
        help="of removal: masks of what else goes with the people, their shadows and reflections; "
        "they are in total_mask.mp4 too",
    )

    def exports(self) -> tuple[str, ...]:
        """Their names."""
        if self.export is None:
            return ()
        return parse_names("--export", self.export, EXPORTS)

    def area_of(self, name: str) -> int:
        """Of one of them, in pixels."""
        return AREAS[name] if self.export_area is None else parse_area(self.export_area)

    def check(self) -> None:
        names = self.exports()
        parse_mask_shape(self.mask_shape)
        if self.export_area is not None:
            parse_area(self.export_area)
        given: list[tuple[str, object, tuple[str, ...]]] = [
            ("--pose", self.pose, (WAN_ANIMATE,)),
            ("--reference", self.reference, (WAN_ANIMATE,)),
            ("--effects", self.effects, (REMOVAL,)),
            ("--export-area", self.export_area, EXPORTS),
            ("--export-fps", self.export_fps, EXPORTS),
            ("--mask-shape", self.mask_shape if self.mask_shape != CELLS else None, EXPORTS[:2]),
        ]
        for flag, value, of in given:
            if value is not None and not {*names} & {*of}:
                raise UserError(
                    f"{flag} {value} is for --export {' or '.join(of)}: add it or leave it out"
                )


@dataclass(frozen=True)
class ExportFilmsOptions(FilmExportOptions):
    """`python -m layers export-films`."""

    layers: Path = option("DIR", help="the folder that split made")
    output: Path | None = option(
        "-o",
        "--output",
        default=None,
        metavar="DIR",
        help="the folder for them, each in one of its own (default: exports in the layers)",
    )
    source: Path | None = option(
        default=None, metavar="FILM", help="the film that was split, if it is elsewhere now"
    )

    def check(self) -> None:
        super().check()
        if not self.exports():
            raise UserError(f"--export is missing: name {', '.join(EXPORTS)} or some of them")
