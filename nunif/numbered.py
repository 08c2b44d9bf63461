"""Folders of numbered pictures: which files are meant, in which order, and what is missing."""

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from nunif.errors import UserError
from nunif.files import tell_if_dangling
from nunif.image import PICTURE_SUFFIXES

logger = logging.getLogger(__name__)

_NUMBER = r"(?:(?<=[._ ])-|^-)?\d+"  # with a sign, where it can't be what parts words
# pictures that nothing here reads as they are meant: scene-linear, raw, or of formats that
# libraries often lack
UNREAD_SUFFIXES = frozenset(
    (
        ".arw .avif .cin .cr2 .dng .dpx .exr .gif .hdr .heic .heif .j2k .jfif .jp2 .jxl .nef .pbm "
        ".pfm .pgm .pnm .ppm .psd .tga"
    ).split()
)


@dataclass(frozen=True)
class Row:
    """Pictures in order.

    numbers: theirs, ascending; None where they are in the order of their names. problem: why they
        are, for people.
    """

    files: tuple[Path, ...]
    numbers: tuple[int, ...] | None = None
    problem: str = ""


def numbered_pictures(folder: Path, *, name: str, even_steps: bool = False) -> dict[int, Path]:
    """The pictures of a folder by number, ascending; they may start at any number.

    The number is the last one in a file's name that isn't the same in all names: 1001 of
    `plate_1001_4k.png`.

    Args:
        name: what messages call the folder.
        even_steps: numbers such as 0, 5, 10, 15 are taken too; else they must follow each other.

    Raises:
        UserError: there is none, or none that can be read; two have one number; a number is
            missing.
    """
    files = [file for file in pictures_in(folder) if _has_number(file)]
    _tell_of_left_out(folder, name)
    if not files:
        refuse_unread(folder, name)
        raise UserError(
            f"{name} holds no numbered picture: expected one per frame, such as 00000.png, "
            "00001.png"
        )
    found = _by_number(files, name=name)
    numbers = list(found)
    step = numbers[1] - numbers[0] if even_steps and len(numbers) > 2 else 1
    if all(high - low == step for low, high in pairwise(numbers)):
        return found
    first = next(low + 1 for low, high in pairwise(numbers) if high > low + 1)
    num_missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    more = f" and {num_missing - 1} more" if num_missing > 1 else ""
    raise UserError(
        f"{name}: there is no picture with the number {first}{more}: every frame needs one"
    )


def in_order(files: list[Path], *, name: str) -> Row:
    """Pictures by number, as `numbered_pictures` finds it, whichever are missing; or where that
    can't be, by name as people read it, 2 before 10.

    name: what `problem` calls their folder.
    """
    try:
        found = _by_number(files, name=name)
    except UserError as problem:
        return Row(tuple(sorted(files, key=_as_read)), problem=str(problem))
    return Row(tuple(found.values()), tuple(found))


def row_in(folder: Path) -> Row:
    """The pictures of a folder as `in_order`, only those with a number if there are any; all of
    them where the order is that of names."""
    files = pictures_in(folder)
    row = in_order([file for file in files if _has_number(file)] or files, name=str(folder))
    if row.numbers is None:
        return Row(tuple(sorted(files, key=_as_read)), problem=row.problem)
    return row


def _by_number(files: list[Path], *, name: str) -> dict[int, Path]:
    """Pictures by number, ascending.

    Raises:
        UserError: one has no number, or two have the same.
    """
    for file in files:
        if not _has_number(file):
            raise UserError(f"{name}: {file.name} has no number: give it one, or put it elsewhere")
    found: dict[int, Path] = {}
    for file, number in zip(files, _numbers(files), strict=True):
        if number in found:
            raise UserError(
                f"{name}: {found[number].name} and {file.name} have one number: remove one of them"
            )
        found[number] = file
    return dict(sorted(found.items()))


def _has_number(file: Path) -> bool:
    return re.search(r"\d", file.stem) is not None


def _as_read(file: Path) -> tuple[list[str | int], str]:
    """A key to sort files by name as people read it."""
    parts = re.split(r"(\d+)", file.stem)
    return [int(part) if part.isdecimal() else part for part in parts], file.name


def _tell_of_left_out(folder: Path, name: str) -> None:
    """Log what looks like pictures of a row that can't be read: other kinds, and links to
    nothing."""
    others = sorted(
        file.name
        for file in folder.iterdir()
        if _is_seen(file, UNREAD_SUFFIXES) and _has_number(file)
    )
    if others:
        text = (
            "%s: %d pictures of kinds that can't be read are left out, %s the first: convert "
            "them to PNG or TIFF"
        )
        logger.warning(text, name, len(others), others[0])
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PICTURE_SUFFIXES:
            tell_if_dangling(file)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder that can be read, by name; hidden ones are left out."""
    return sorted(file for file in folder.iterdir() if _is_seen(file, PICTURE_SUFFIXES))


def is_picture(path: Path) -> bool:
    """Whether a path has the suffix of a picture that can be read, and is no folder."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()


def refuse_unread(path: Path, name: str) -> None:
    """
    Raises:
        UserError: a picture of a kind that isn't read, or a folder of such and no others.
    """
    files = list(path.iterdir()) if path.is_dir() else [path]
    kinds = Counter(file.suffix.lower() for file in files if _is_seen(file, UNREAD_SUFFIXES))
    if kinds and not any(_is_seen(file, PICTURE_SUFFIXES) for file in files):
        suffix, count = kinds.most_common(1)[0]
        what = (
            f"holds {count} {suffix} pictures, which"
            if path.is_dir()
            else f"is a {suffix} picture, which"
        )
        raise UserError(
            f"{name} {what} can't be read: convert to PNG or TIFF, with 16 bits where there are "
            "more than 8"
        )


def check_exists(path: Path, name: str) -> None:
    """
    Raises:
        UserError: there is nothing at `path`; where it has signs that other programs take for any
            number, what to do.
    """
    if path.exists():
        return
    if path.is_symlink():
        raise UserError(
            f"{name} is a link to {os.readlink(path)}, which leads nowhere: check the link"
        )
    if any(sign in path.name for sign in "%#*") and path.parent.is_dir():
        raise UserError(
            f"{name} doesn't exist: name the folder {path.parent}, whose numbered pictures are "
            "taken"
        )
    raise UserError(f"{name} doesn't exist: check the path")


def check_alone(picture: Path, name: str) -> None:
    """
    Raises:
        UserError: a picture of a kind that can't be read, or one of a numbered row, where the row
            must be meant.
    """
    if picture.suffix.lower() != ".gif":  # which is a video too
        refuse_unread(picture, name)
    if is_picture(picture) and (count := len(row_of(picture))) > 1:
        raise UserError(
            f"{name} is one picture of a row of {count}: name the folder {picture.parent} for "
            "all, or move the one elsewhere"
        )


def row_of(picture: Path) -> list[Path]:
    """The pictures beside one whose names differ from its name in one number only, itself
    included."""
    parts = re.split(r"(\d+)", picture.name)
    row = []
    for file in pictures_in(picture.parent):
        others = re.split(r"(\d+)", file.name)
        if (
            len(others) == len(parts)
            and sum(a != b for a, b in zip(parts, others)) <= 1
            and others[::2] == parts[::2]
        ):
            row.append(file)
    return row


def _is_seen(file: Path, suffixes: frozenset[str]) -> bool:
    return file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()


def _numbers(files: list[Path]) -> list[int]:
    groups = [[int(digits) for digits in re.findall(_NUMBER, file.stem)] for file in files]
    place = -1
    if len({len(group) for group in groups}) == 1:
        place = max(
            (i for i, column in enumerate(zip(*groups)) if len(set(column)) > 1), default=-1
        )
    return [group[place] for group in groups]
