"""Options of all commands that make records."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option
from nunif.video.options import deinterlace_option

# of Windows: what no name may hold, and names of devices, whatever stands behind their dot
_FORBIDDEN = r'[<>:"/\\|?*\x00-\x1f]'
_DEVICE = r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *\..*"


def check_prefix(prefix: str, *, windows: bool = os.name == "nt") -> None:
    """
    Raises:
        UserError: names of records that begin so can't be made, or would be passed over as hidden
            ones.
    """
    bad = set(re.findall(_FORBIDDEN if windows else "[/\0]", prefix))
    if bad:
        letters = " ".join(sorted(letter if letter.isprintable() else "?" for letter in bad))
        raise UserError(f"--prefix {prefix}: no name can hold {letters}: choose another")
    if prefix.startswith("."):
        raise UserError(f"--prefix {prefix}: records whose names begin with a dot are passed over")
    if windows and re.fullmatch(_DEVICE, prefix, re.IGNORECASE):
        raise UserError(f"--prefix {prefix} names a device of Windows: choose another")


@dataclass(frozen=True)
class RecordFolderOptions:
    """Where records go and what they are called; for the commands that make them."""

    deinterlace: bool = deinterlace_option()
    data_dir: Path = option(
        "-o", "--data-dir", help="the folder that gets the records, such as data/NAME/train"
    )
    prefix: str = option(default="", help="first word of the records' names")
    max_workers: int = option(
        default=max(1, (os.cpu_count() or 2) // 2),
        minimum=1,
        help="threads that make and write records",
    )

    def check(self) -> None:
        """Raises UserError: as `check_prefix`."""
        check_prefix(self.prefix)


@dataclass(frozen=True)
class RecordOptions(RecordFolderOptions):
    """The same for records of which something is drawn at random."""

    seed: int = option(default=71, help="of all random draws; the same seed makes the same records")
