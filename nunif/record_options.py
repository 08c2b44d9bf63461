"""Options of all commands that make records."""

import os
from dataclasses import dataclass
from pathlib import Path

from nunif.options import option
from nunif.video.options import deinterlace_option


@dataclass(frozen=True)
class RecordOptions:
    """Where records go, what they are called, and what decides their bytes; for the commands that
    make them."""

    deinterlace: bool = deinterlace_option()
    data_dir: Path = option(
        "-o", "--data-dir", help="the folder that gets the records, such as data/NAME/train"
    )
    prefix: str = option(default="", help="first word of the records' names")
    seed: int = option(default=71, help="of all random draws; the same seed makes the same records")
    max_workers: int = option(
        default=max(1, (os.cpu_count() or 2) // 2),
        minimum=1,
        help="threads that make and write records",
    )
