"""Options of all commands that make records."""

import os
import re
from collections.abc import Mapping
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


SHARES = ("film", "clip")  # what --shard shares out
_ARRAY = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Share:
    """A part of the sources: those whose content's hash is `number` modulo `count`, or of each of
    them the clips whose number is. The same wherever and in whatever order they lie."""

    number: int = 0
    count: int = 1
    by: str = "film"

    @property
    def divides_sources(self) -> bool:
        """Whether it holds a part of each source only."""
        return self.by == "clip" and self.count > 1

    def has_source(self, file_hash: str) -> bool:
        """Whether any of a source is in it. file_hash: hexadecimal; "" is the first share's."""
        return self.by == "clip" or int(file_hash or "0", 16) % self.count == self.number

    def has_single(self, file_hash: str) -> bool:
        """Whether a source that is one clip is in it."""
        return int(file_hash or "0", 16) % self.count == self.number

    def has_record(self, number: int) -> bool:
        """Whether a record is in it that is of no source in particular."""
        return number % self.count == self.number

    def has_clip(self, number: int) -> bool:
        """Whether a clip is in it, of a source that is."""
        return self.by == "film" or number % self.count == self.number


def parse_share(
    text: str | None, by: str = "film", environment: Mapping[str, str] = os.environ
) -> Share:
    """ "3/8" -> the fourth of eight; "auto": this task's of a Slurm array; None: all.

    Raises:
        UserError: it is no share, or this is no task of an array.
    """
    if text is None:
        return Share(by=by)
    words = _array_share(environment) if text == "auto" else text.split("/")
    if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words):
        number, count = (int(word) for word in words)
        if number < count:
            return Share(number, count, by)
    raise UserError(
        f"--shard {text} is no share: write i/n with i from 0 to n - 1, such as 0/4, or auto in a "
        "Slurm array whose numbers follow each other"
    )


def _array_share(environment: Mapping[str, str]) -> list[str]:
    """Which task of a Slurm array this is, from 0, and of how many."""
    try:
        first, own = (int(environment[f"{_ARRAY}{name}"]) for name in ("MIN", "ID"))
        step = int(environment.get(f"{_ARRAY}STEP") or 1)
        return [str((own - first) // step), environment[f"{_ARRAY}COUNT"]]
    except KeyError as error:
        raise UserError(
            f"--shard auto is for a task of a Slurm array, and {error.args[0]} isn't set: start it "
            "by sbatch --array, or write --shard i/n"
        ) from None
    except ValueError:
        return []


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

    shard: str | None = option(
        default=None,
        metavar="i/n",
        help="make only this share of the records, from 0/n to n-1/n, each in a process or on a "
        "machine of its own; auto: that of the task of a Slurm array",
    )
    shard_by: str = option(
        default="film", choices=SHARES, help="what --shard shares out: films, or the clips of each"
    )
    lock_seconds: float = option(
        default=600.0,
        minimum=1,
        metavar="SECONDS",
        help="tell who is at work, after waiting so long for a process of another machine",
    )

    def check(self) -> None:
        """Raises UserError: as `check_prefix` and `parse_share`."""
        check_prefix(self.prefix)
        parse_share(self.shard)

    @property
    def share(self) -> Share:
        """Which records are to be made."""
        return parse_share(self.shard, self.shard_by)


@dataclass(frozen=True)
class RecordOptions(RecordFolderOptions):
    """The same for records of which something is drawn at random."""

    seed: int = option(default=71, help="of all random draws; the same seed makes the same records")
