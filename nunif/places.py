"""Where data lies: in a folder of this machine, or at an address that fsspec opens.

An address travels as a Path, as all that the command line takes for a folder does. A Path swallows
one of two slashes, `s3:/bucket/v1` for `s3://bucket/v1`; here it gets it back.
"""

import os
import re
from pathlib import Path

# one letter alone is a drive of Windows
_ADDRESS = re.compile(r"([a-z][a-z0-9+.:-]+):/+(.*)", re.IGNORECASE)


def address_of(place: Path) -> str | None:
    """The address that a place is, or None of one on this machine, which file:///data/v1 is too."""
    match = _ADDRESS.fullmatch(place.as_posix())
    if match is None or match[1].lower() == "file" or place.exists():
        return None
    return f"{match[1]}://{match[2]}"


def local_path(place: Path) -> Path:
    """A place on this machine as other functions know it: /data/v1 of file:///data/v1."""
    match = _ADDRESS.fullmatch(place.as_posix())
    if match is None or match[1].lower() != "file" or place.exists():
        return place
    return Path(match[2] if os.name == "nt" else f"/{match[2]}")


def text_of(place: Path) -> str:
    """A place as people write it."""
    return address_of(place) or str(place)


def may_be_folder(place: Path) -> bool:
    """Whether there is such a folder. What is behind an address shows when it is read."""
    return address_of(place) is not None or local_path(place).is_dir()
