"""The record on the disk: its names, its writing and its reading.

A record is a folder with one picture for each frame and plane, `0000_C.png, 0000_M.png, 0001_C.png,
...`, and, if this program made it, a `record.json` that tells where it came from. A plane has a
letter in the names of its pictures; what the letters mean is not known here, and comes as `Plane`.

Axes: T frames, H W pixels, h w pixels of a part.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import product, starmap
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from nunif.errors import UserError
from nunif.files import (
    raise_if_short,
    write_json,
    write_whole_folder,
)
from nunif.image import (
    decode_binary,
    decode_grey,
    decode_grey16,
    decode_rgb_part,
    decode_rgba,
    encode_binary,
    encode_grey,
    encode_rgb,
    encode_rgba,
    png_size,
)
from nunif.jxl import decode_jxl, is_jxl
from nunif.places import text_of

INFO_NAME = "record.json"


class Storage(Enum):
    """How the pictures of a plane lie on the disk, all of them PNG (in shards also JPEG XL), and
    what they are in memory."""

    RGB8 = "8 bits of red, green and blue"  # (T, H, W, 3) uint8
    RGBA8 = "8 bits of red, green, blue and alpha"  # (T, H, W, 4) uint8, not premultiplied
    GREY8 = "8 bits of grey"  # (T, H, W) uint8
    GREY16 = "16 bits of grey"  # (T, H, W) uint16
    BINARY = "1 bit"  # (T, H, W) bool; of other grey pictures all but 0 is True


_STORAGES = {
    (3, "uint8"): Storage.RGB8,
    (4, "uint8"): Storage.RGBA8,
    (0, "uint8"): Storage.GREY8,
    (0, "uint16"): Storage.GREY16,
    (0, "bool"): Storage.BINARY,
}  # by channels, 0 for pictures without an axis of them
_DECODERS = {
    Storage.BINARY: decode_binary,
    Storage.GREY16: decode_grey16,
    Storage.RGBA8: decode_rgba,
}


@dataclass(frozen=True)
class Plane:
    """One kind of picture that a record can have for every frame.

    letter: in the names of its files, `0000_C.png` for C. name: what messages call its pictures, in
        the plural.
    """

    letter: str
    storage: Storage
    name: str


class BadRecord(Exception):
    """A record that can't be used. `record` is its folder, `reason` what is wrong with it. count:
    of as many as this one stands for, whose common file `record` is then."""

    def __init__(self, record: Path, reason: str, count: int = 1) -> None:
        super().__init__(f"{text_of(record)}: {reason}")
        self.record, self.reason, self.count = record, reason, count


class Files(Protocol):
    """How the files of a record are read, where that is more than to open them in its folder."""

    def read(self, name: str, numbers: Sequence[str]) -> bytes:
        """The content of a file. numbers: the frames that are read next, which can be fetched in
        one go. Raises OSError, ValueError where it is damaged, or BadRecord."""
        ...


@dataclass(frozen=True)
class Record:
    """A usable record.

    numbers: of its frames, as its files have them. size: (H, W) of all its pictures. planes: those
        that it was opened for. letters: of the planes that it has. files: how they are read;
        None: as they lie in its folder, `path`. Where it is no folder `path` is where it would be.
    """

    path: Path
    numbers: tuple[str, ...]
    size: tuple[int, int]
    planes: tuple[Plane, ...]
    letters: tuple[str, ...]
    files: Files | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def has(self, letter: str) -> bool:
        """Whether it has a plane, at every frame. Only of those that it was opened for."""
        return letter in self.letters


def record_name(prefix: str, model_type: str, file_hash: str, number: int) -> str:
    """`{prefix}_{model_type}_{FILE_HASH}_{SEQUENCE_NO}`; without a prefix the name starts with the
    model type."""
    return f"{record_stem(prefix, model_type, file_hash)}_{number:06d}"


def record_stem(prefix: str, model_type: str, file_hash: str) -> str:
    """What the names of all records of one source begin with."""
    return "_".join(part for part in (prefix, model_type, file_hash) if part)


def picture_name(number: str, letter: str) -> str:
    """The name of the file that holds a frame's picture of a plane."""
    return f"{number}_{letter}.png"


def write_record(
    path: Path,
    planes: Mapping[str, np.ndarray],
    info: dict[str, Any],
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write a record; it appears under its name whole or not at all.

    Args:
        planes: the pictures of each plane by its letter, all of the same T, H and W. How they are
            stored follows from what they are: see `Storage`.
        info: goes into record.json.
        files: what lies beside them, by name.

    Raises:
        ValueError: pictures of another kind than those of `Storage`, or of different sizes.
    """
    storages = {letter: storage_of(pictures) for letter, pictures in planes.items()}
    if len({pictures.shape[:3] for pictures in planes.values()}) > 1:
        shapes = [f"{letter} {pictures.shape}" for letter, pictures in planes.items()]
        raise ValueError(f"planes differ in size: {', '.join(shapes)}")

    def fill(folder: Path) -> None:
        for number in range(len(next(iter(planes.values())))):
            for letter, pictures in planes.items():
                content = _encode(pictures[number], storages[letter])
                (folder / picture_name(f"{number:04d}", letter)).write_bytes(content)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        write_json(folder / INFO_NAME, info)

    write_whole_folder(path, fill)


def storage_of(pictures: np.ndarray) -> Storage:
    """How (T, H, W, ...) pictures are stored. Raises ValueError if no plane can hold them."""
    channels = {3: 0, 4: pictures.shape[-1]}.get(pictures.ndim, -1)
    storage = _STORAGES.get((channels, pictures.dtype.name))
    if storage is None:
        raise ValueError(f"no plane holds {pictures.dtype} of shape {pictures.shape}")
    return storage


def encode_plane(picture: np.ndarray) -> bytes:
    """One picture (H, W, ...) of a plane. Raises as `storage_of`."""
    return _encode(picture, storage_of(picture[None]))


def _encode(picture: np.ndarray, storage: Storage) -> bytes:
    if storage is Storage.RGB8:
        return encode_rgb(picture)
    if storage is Storage.RGBA8:
        return encode_rgba(picture)
    return encode_binary(picture) if storage is Storage.BINARY else encode_grey(picture)


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
    place = folder if folder.name else Path(os.path.abspath(folder))  # "." has no name
    # Windows takes Train for train
    halves = ("train", "eval") if place.name.lower() in ("train", "eval") else ()
    folders = [folder, *(place.parent / half for half in halves)]
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


def open_record(
    path: Path,
    planes: Sequence[Plane],
    *,
    min_frames: int = 1,
    min_size: int | tuple[int, int] = 1,
) -> Record:
    """Check a record's names and the first and last bytes of its pictures, without decoding them.

    Args:
        planes: those that are looked for; pictures of others are passed over. The first must be
            there, the others may.
        min_size: of the pictures, in height and width; one number means both.

    Raises:
        BadRecord: a missing, unreadable or torn picture, a plane's pictures at some frames only,
            different sizes, fewer than `min_frames` frames, or too small pictures.
    """
    try:
        names = [file.name for file in path.iterdir()]
    except OSError as error:
        raise_if_short(error, path)
        raise BadRecord(path, f"it can't be read ({error.strerror})") from error
    try:
        layout = layout_of(names, [planes], min_frames=min_frames)
        size = common_size(path, layout.pictures())
    except ValueError as error:
        raise BadRecord(path, str(error)) from error
    reason = too_small(size, min_size)
    if reason:
        raise BadRecord(path, reason)
    return layout.record(path, size)


@dataclass(frozen=True)
class Layout:
    """What all records have in common that hold files of the same names. Fields as of `Record`."""

    numbers: tuple[str, ...]
    planes: tuple[Plane, ...]
    letters: tuple[str, ...]

    def pictures(self) -> Iterator[str]:
        """The names of the pictures, frame by frame."""
        return starmap(picture_name, product(self.numbers, self.letters))

    def record(self, path: Path, size: tuple[int, int], files: Files | None = None) -> Record:
        return Record(path, self.numbers, size, self.planes, self.letters, files)


def layout_of(
    names: Collection[str], choices: Sequence[Sequence[Plane]], *, min_frames: int = 1
) -> Layout:
    """What the names of a record's files say of it. choices: the planes that are looked for: the
    first of whose first plane there is a picture, else the first.

    Raises:
        ValueError: what is wrong: a missing picture, a plane's pictures at some frames only, fewer
            than `min_frames` frames.
    """
    endings = {name.rpartition("_")[2] for name in names if "_" in name}
    planes = next((c for c in choices if f"{c[0].letter}.png" in endings), choices[0])
    numbers, first = _numbers_of(names, planes), planes[0].letter
    gaps = set(range(min(numbers, default=0), max(numbers, default=0))) - numbers.keys()
    if gaps:
        raise ValueError(f"{picture_name(f'{min(gaps):04d}', first)} is missing")
    if len(numbers) < min_frames:
        raise ValueError(f"{len(numbers)} frames, {min_frames} are needed")
    others = [plane.letter for plane in planes[1:]]
    letters = (first, *(letter for letter in others if f"{letter}.png" in endings))
    layout = Layout(tuple(numbers[n] for n in sorted(numbers)), tuple(planes), letters)
    missing = next((name for name in layout.pictures() if name not in names), None)
    if missing is not None:
        raise ValueError(f"{missing} is missing")
    return layout


def too_small(size: tuple[int, int], min_size: int | tuple[int, int]) -> str:
    """Why pictures of a size (H, W) can't be used; empty if they can."""
    height, width = (min_size, min_size) if isinstance(min_size, int) else min_size
    if size[0] >= height and size[1] >= width:
        return ""
    return f"pictures of {size[1]}x{size[0]}, at least {width}x{height} are needed"


def _numbers_of(names: Collection[str], planes: Sequence[Plane]) -> dict[int, str]:
    """The numbers of the frames of which there is any picture, with their zeros in front."""
    letters = "|".join(re.escape(plane.letter) for plane in planes)
    matches = [re.fullmatch(rf"(\d{{4,}})_({letters})\.png", name) for name in names]
    return {int(match[1]): match[1] for match in matches if match}


def common_size(path: Path, names: Iterable[str]) -> tuple[int, int]:
    """Height and width of the pictures of these names in a folder, from their first and last bytes.

    Raises:
        ValueError: what is wrong: one is missing, torn, or of another size than the first.
    """
    size = 0, 0
    for name in names:
        try:
            this = png_size(path / name)
        except FileNotFoundError:
            raise ValueError(f"{name} is missing") from None
        except (OSError, ValueError) as error:
            raise_if_short(error, path / name)
            raise ValueError(f"{name} can't be read ({error})") from error
        size = size if any(size) else this
        if this != size:
            raise ValueError(f"{name} is {this[1]}x{this[0]}, the first frame {size[1]}x{size[0]}")
    return size


def read_plane(
    record: Record,
    letter: str,
    numbers: Sequence[str],
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> np.ndarray:
    """Decode the same part of some pictures of a plane, in the order of `numbers`.

    Returns: (T, h, w, 3), (T, h, w, 4) or (T, h, w), as the plane's `Storage` says.
    Raises:
        BadRecord: the record hasn't that plane, or a picture can't be decoded.
    """
    plane = {plane.letter: plane for plane in record.planes}[letter]
    if not record.has(letter):
        raise BadRecord(record.path, f"it has no {plane.name}")
    return np.stack([_read(record, plane, number, rows, columns, numbers) for number in numbers])


def _read(
    record: Record,
    plane: Plane,
    number: str,
    rows: slice,
    columns: slice,
    numbers: Sequence[str],
) -> np.ndarray:
    """A part of a picture, which must have the record's size. numbers: see `Files`."""
    name = picture_name(number, plane.letter)
    try:
        if record.files is None:
            data = (record.path / name).read_bytes()
        else:
            data = record.files.read(name, numbers)
        part, size = _decode(data, plane.storage, rows, columns)
    except (OSError, ValueError) as error:
        raise_if_short(error, record.path / name)
        raise BadRecord(record.path, f"{name} can't be read ({error})") from error
    if size != record.size:
        raise BadRecord(record.path, f"{name} has changed its size")
    return part


def _decode(
    data: bytes, storage: Storage, rows: slice, columns: slice
) -> tuple[np.ndarray, tuple[int, int]]:
    """A part of a picture, and the size (H, W) of the whole."""
    if is_jxl(data):
        picture = decode_jxl(data)
        if storage_of(picture[None]) is storage:
            return picture[rows, columns], (picture.shape[0], picture.shape[1])
        data = encode_plane(picture)  # seen as another kind: as a PNG of it would be
    if storage is Storage.RGB8:
        return decode_rgb_part(data, rows, columns)
    whole = _DECODERS.get(storage, decode_grey)(data)
    return whole[rows, columns], (whole.shape[0], whole.shape[1])
