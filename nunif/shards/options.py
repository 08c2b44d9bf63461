"""The options of shards. Nothing here imports torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option
from nunif.places import address_of, text_of
from nunif.record_options import Share, parse_share

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(flag: str, text: str) -> int:
    """ "1GB" -> 1000000000, "512MiB" -> 536870912.

    Raises:
        UserError: no such size, or none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", text.strip().upper())
    units = _BINARY if match and match[3] else _UNITS
    size = int(float(match[1]) * units[match[2]]) if match else 0
    if size < 1:
        raise UserError(f"{flag} {text} is no size: write a number of bytes, as 1GB or 512MiB")
    return size


def check_here(flag: str, place: Path) -> None:
    """
    Raises:
        UserError: an address, where only folders of this machine will do.
    """
    if address_of(place) is not None:
        raise UserError(
            f"{flag} {text_of(place)} is no folder of this machine: do it here, and copy the "
            "shards there"
        )


@dataclass(frozen=True)
class CacheSettings:
    """Where copies are kept, None: of indices in the user's cache folder, of shards nowhere.
    num_bytes: of all copies of shards, at most."""

    folder: Path | None = None
    num_bytes: int = 0


@dataclass(frozen=True)
class PackOptions:
    """`create_training_data.py pack`."""

    data_dir: Path = option("-i", "--data-dir", help="a folder of records, such as data/NAME/train")
    output: Path = option("-o", "--output", help="the folder that gets the shards")
    shard_bytes: str = option(default="1GB", metavar="SIZE", help="a shard is at most so large")
    name: str | None = option(
        default=None, help="first word of the shards' names (default: that of their folder)"
    )
    codec: str = option(
        default="png",
        choices=("png", "jxl"),
        help="how pictures lie in shards: as the PNG that they are, or as JPEG XL without loss, "
        "smaller and slower to read (needs .[jxl])",
    )
    shard: str | None = option(
        default=None,
        metavar="i/n",
        help="pack one of n parts, from 0 on, or auto in a Slurm array; then join them by index",
    )
    delete: bool = option(
        default=False, help="delete the folders of the records, after their shards are read back"
    )

    def check(self) -> None:
        check_here("-i", self.data_dir)
        check_here("-o", self.output)
        parse_bytes("--shard-bytes", self.shard_bytes)
        parse_share(self.shard)
        if self.name is not None and not re.fullmatch(r"\w[\w-]*", self.name):
            raise UserError(f"--name {self.name}: write letters, digits, - and _ only")

    @property
    def share(self) -> Share:
        """Which records are to be packed."""
        return parse_share(self.shard)


@dataclass(frozen=True)
class UnpackOptions:
    """`create_training_data.py unpack`."""

    data_dir: Path = option("-i", "--data-dir", help="a folder of shards")
    output: Path = option("-o", "--output", help="the folder that gets the records")

    def check(self) -> None:
        check_here("-i", self.data_dir)
        check_here("-o", self.output)


@dataclass(frozen=True)
class IndexOptions:
    """`create_training_data.py index`."""

    data_dir: Path = option("DIR", help="a folder of shards, or of records")

    def check(self) -> None:
        check_here("DIR", self.data_dir)


@dataclass(frozen=True)
class CacheOptions:
    """Where training keeps copies of what it reads; for the commands that train."""

    cache_dir: Path | None = option(
        default=None,
        metavar="DIR",
        help="copy whole shards here when they are first used: a local disk for data that is far",
    )
    cache_bytes: str = option(
        default="100GB",
        metavar="SIZE",
        help="of these copies at most; the least recently used go first",
    )

    def check(self) -> None:
        super().check()  # type: ignore[misc]  # of the options that it is put before
        parse_bytes("--cache-bytes", self.cache_bytes)

    @property
    def cache(self) -> CacheSettings:
        return CacheSettings(self.cache_dir, parse_bytes("--cache-bytes", self.cache_bytes))
