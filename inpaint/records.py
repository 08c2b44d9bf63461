"""The training record on the disk: its names, its writing and its reading.

A record is a folder with `0000_C.png, 0000_M.png, 0001_C.png, ...` (RGB frames, grey masks with 255
= hole) and, if this program made it, a `record.json` that tells where it came from. nunif's own
generator uses the same file names.

Axes: T frames, H W pixels.
"""

import glob
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nunif.errors import UserError
from nunif.files import (
    explain_os_errors,
    locked,
    raise_if_short,
    remove_partials,
    tell_if_dangling,
    write_json,
    write_whole_folder,
)
from nunif.image import encode_binary, encode_rgb, png_size, read_grey, read_rgb_part

INFO_NAME = "record.json"
_FRAME_NAME = re.compile(r"(\d{4,})_[CM]\.png")


class BadRecord(Exception):
    """A record that can't be used. `record` is its folder, `reason` what is wrong with it."""

    def __init__(self, record: Path, reason: str) -> None:
        super().__init__(f"{record}: {reason}")
        self.record, self.reason = record, reason


@dataclass(frozen=True)
class Record:
    """A usable record: its folder, the numbers of its frames, their size (H, W), and whether it has
    masks beside them."""

    path: Path
    numbers: tuple[str, ...]
    size: tuple[int, int]
    has_masks: bool = True

    def __len__(self) -> int:
        return len(self.numbers)


def record_name(prefix: str, model_type: str, file_hash: str, number: int) -> str:
    """`{prefix}_{model_type}_{FILE_HASH}_{SEQUENCE_NO}`; without a prefix the name starts with the
    model type."""
    return "_".join(part for part in (prefix, model_type, file_hash, f"{number:06d}") if part)


@contextmanager
def making(folder: Path, prefix: str, label: str, file_hash: str = "") -> Iterator[None]:
    """Make records of such names (all hashes, if none is given) in a folder, alone among all
    processes.

    Another process that makes them is waited for. What a killed one left half-made is removed.
    """
    stem = "_".join(part for part in (prefix, label, file_hash) if part)
    with locked(
        folder / f".lock-{stem}", busy=f"another process is making the records {stem}_* in {folder}"
    ):
        remove_partials(
            folder, f"{glob.escape(stem)}_{'' if file_hash else '[0-9a-f]' * 8 + '_'}[0-9]*"
        )
        yield


def write_record(
    path: Path, frames: np.ndarray, holes: np.ndarray | None, info: dict[str, Any]
) -> None:
    """Write a record; it appears under its name whole or not at all.

    Args:
        frames: (T, H, W, 3) uint8. holes: (T, H, W) bool, True = missing; None: a record without
            masks.
        info: goes into record.json.
    """

    def fill(folder: Path) -> None:
        for i, frame in enumerate(frames):
            (folder / f"{i:04d}_C.png").write_bytes(encode_rgb(frame))
            if holes is not None:
                (folder / f"{i:04d}_M.png").write_bytes(encode_binary(holes[i]))
        write_json(folder / INFO_NAME, info)

    write_whole_folder(path, fill)


def read_info(path: Path) -> dict[str, Any]:
    """The record.json of a record; empty if another program made the record."""
    try:
        info = json.loads((path / INFO_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def is_finished(folder: Path, name: str, options: dict[str, Any]) -> bool:
    """Whether a record stands already, in `folder` or, moved there, in the train/ or eval/ beside
    it.

    Raises:
        UserError: it was made with other options than these.
    """
    folders = [
        folder,
        *(folder.parent / half for half in ("train", "eval") if folder.name in ("train", "eval")),
    ]
    path = next((place / name for place in folders if (place / name).exists()), None)
    if path is None:
        return False
    theirs = read_info(path).get("options", {})
    for key, value in options.items():
        if theirs.get(key) != value:
            raise UserError(
                f"{path} was made with {key} {theirs.get(key)}, this run asks for {value}: "
                "use another --prefix, or delete the old records"
            )
    return True


def open_record(path: Path, *, min_frames: int = 1, min_size: int | tuple[int, int] = 1) -> Record:
    """Check a record's names and the first and last bytes of its pictures, without decoding them.

    min_size: of the pictures, in height and width; one number means both.

    Raises:
        BadRecord: a missing, unreadable or torn picture, masks beside some frames only, different
            sizes, fewer than `min_frames` frames, or too small pictures.
    """
    try:
        names = [file.name for file in path.iterdir()]
    except OSError as error:
        raise_if_short(error, path)
        raise BadRecord(path, f"it can't be read ({error.strerror})") from error
    found = {int(match[1]): match[1] for name in names if (match := _FRAME_NAME.fullmatch(name))}
    has_masks = any(name.endswith("_M.png") for name in names)
    gaps = set(range(min(found, default=0), max(found, default=0))) - found.keys()
    if gaps:
        raise BadRecord(path, f"{min(gaps):04d}_C.png is missing")
    if len(found) < min_frames:
        raise BadRecord(path, f"{len(found)} frames, {min_frames} are needed")
    numbers = tuple(found[number] for number in sorted(found))
    size: tuple[int, int] | None = None
    for number in numbers:
        for name in (f"{number}_C.png", f"{number}_M.png")[: 2 if has_masks else 1]:
            try:
                this = png_size(path / name)
            except FileNotFoundError:
                raise BadRecord(path, f"{name} is missing") from None
            except (OSError, ValueError) as error:
                raise_if_short(error, path / name)
                raise BadRecord(path, f"{name} can't be read ({error})") from error
            size = size or this
            if this != size:
                raise BadRecord(
                    path, f"{name} is {this[1]}x{this[0]}, the first frame {size[1]}x{size[0]}"
                )
    height, width = (min_size, min_size) if isinstance(min_size, int) else min_size
    if size is None or size[0] < height or size[1] < width:
        found_size = f"pictures of {size[1]}x{size[0]}" if size else "no pictures"
        raise BadRecord(path, f"{found_size}, at least {width}x{height} are needed")
    return Record(path, numbers, size, has_masks)


def read_frames(
    record: Record, numbers: Sequence[str], rows: slice = slice(None), columns: slice = slice(None)
) -> np.ndarray:
    """Decode the same part of some frames of a record, in the order of `numbers`.

    Returns: (T, H, W, 3) uint8. Raises:
        BadRecord: a picture that can't be decoded.
    """
    return np.stack(
        [
            _read(record, f"{number}_C.png", lambda path: read_rgb_part(path, rows, columns))
            for number in numbers
        ]
    )


def read_holes(record: Record, numbers: Sequence[str]) -> np.ndarray:
    """Decode some masks of a record: (T, H, W) bool, True = missing. Raises as `read_frames` does,
    and without masks."""
    if not record.has_masks:
        raise BadRecord(record.path, "it has no masks")
    return np.stack([_read(record, f"{number}_M.png", _read_hole) for number in numbers]) > 0


def _read_hole(path: Path) -> tuple[np.ndarray, tuple[int, ...]]:
    mask = read_grey(path)
    return mask, mask.shape


def _read(
    record: Record, name: str, read: Callable[[Path], tuple[np.ndarray, tuple[int, ...]]]
) -> np.ndarray:
    """What `read` gives of a picture that has the record's size."""
    try:
        picture, size = read(record.path / name)
    except (OSError, ValueError) as error:
        raise_if_short(error, record.path / name)
        raise BadRecord(record.path, f"{name} can't be read ({error})") from error
    if size != record.size:
        raise BadRecord(record.path, f"{name} has changed its size")
    return picture


def scan_records(
    folder: Path, *, min_frames: int = 1, min_size: int | tuple[int, int] = 1
) -> tuple[list[Record], list[BadRecord]]:
    """All records in a folder, sorted by name, and those that can't be used. Files and hidden
    folders are passed over.

    Raises:
        UserError: the folder is missing, or holds no usable record.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: make records there with create_training_data.py, or move "
            "some there"
        )
    good, bad = [], []
    with explain_os_errors(folder):
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for path in paths:
            if not path.is_dir():
                tell_if_dangling(path)
                continue
            try:
                good.append(open_record(path, min_frames=min_frames, min_size=min_size))
            except BadRecord as problem:
                bad.append(problem)
    if not good:
        why = (
            f"none of its {len(bad)} records can be used, the first: {bad[0]}"
            if bad
            else "it holds no records"
        )
        raise UserError(
            f"{folder}: {why}; make records there with create_training_data.py, or move some there"
        )
    return good, bad
