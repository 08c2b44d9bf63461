"""A record's pictures as JPEG XL in its shard, and as PNG again.

They keep their names but for the ending: `0000_C.jxl`. Whoever reads a record asks for `0000_C.png`
and never learns of it. All pictures of a plane are recoded, or none: those whose PNGs hold nothing
but pixels, where that saves something.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nunif.jxl import is_of_png, png_of, recode

PNG, JXL = "png", "jxl"  # what `--codec` says
# what saves less stays PNG, which is quicker to read: of the plane's bytes, and of the record's
LEAST_OF_PLANE, LEAST_OF_RECORD = 0.1, 0.01
_PNG_NAME = re.compile(r"\d{4,}_([A-Z])\.png")
_JXL_NAME = re.compile(r"(\d{4,}_[A-Z])\.jxl")


def as_png(name: str) -> str:
    """The name by which a file in a shard is asked for."""
    match = _JXL_NAME.fullmatch(name)
    return f"{match[1]}.png" if match else name


def is_recoded(names: Sequence[str]) -> bool:
    """Whether any of a record's files is a picture as JPEG XL."""
    return any(map(_JXL_NAME.fullmatch, names))


def recoded(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """A record's files in the same order, with all planes as JPEG XL that get smaller so."""
    planes = dict[str, list[str]]()
    for name in files:
        match = _PNG_NAME.fullmatch(name)
        if match:
            planes.setdefault(match[1], []).append(name)
    smaller = dict[str, bytes]()
    least = LEAST_OF_RECORD * _size(files)
    for names in planes.values():
        smaller |= _plane({name: files[name] for name in names}, least)
    return {
        f"{name[:-4]}.jxl" if name in smaller else name: smaller.get(name, content)
        for name, content in files.items()
    }


def _plane(pngs: Mapping[str, bytes], least: float) -> dict[str, bytes]:
    """The pictures of a plane as JPEG XL, under the same names; empty where they stay as they are.
    least: bytes that have to be saved."""
    found = dict[str, bytes]()
    for name, png in pngs.items():
        data = recode(png)
        if data is None:
            return {}
        found[name] = data
    saved = _size(pngs) - _size(found)
    return found if saved >= max(least, LEAST_OF_PLANE * _size(pngs)) else {}


def _size(files: Mapping[str, bytes]) -> int:
    return sum(map(len, files.values()))


def restored(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a record with all pictures as PNG. Raises ValueError if one is damaged."""
    return {
        as_png(name): png_of(content) if as_png(name) != name else content
        for name, content in files.items()
    }


def is_same_file(name: str, content: bytes, folder: Path) -> bool:
    """Whether a file in a shard is that of a record's folder: by its bytes, or by its pixels where
    it is a picture as JPEG XL. Raises OSError."""
    here = (folder / as_png(name)).read_bytes()
    if as_png(name) == name:
        return here == content
    try:
        return is_of_png(content, here)
    except ValueError:
        return False
