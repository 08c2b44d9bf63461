"""Pictures of datasets as they lie on the disk: files, videos, and masks that a list describes.

Axes: T frames, H W pixels. Colours are (T, H, W, 3), alphas and masks (T, H, W), all uint8.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from matting.coco_masks import mask_of, panoptic_numbers
from nunif.errors import UserError
from nunif.files import raise_if_short
from nunif.image import read_grey, read_rgb
from nunif.video.reader import VideoReader, content_hash

PERSON, NOBODY = 255, 0  # of a mask
LEAST_WHITE = 200  # a mask without any such value numbers, or colours, what it shows


@dataclass(frozen=True)
class Opened:
    """Pictures ready to be read. read(start, stop): those from one number to before another, which
    come forwards."""

    num_frames: int
    read: Callable[[int, int], list[np.ndarray]]


class Frames(Protocol):
    """The pictures of one plane of a clip, in order."""

    def open(self) -> AbstractContextManager[Opened]: ...

    def hashes(self) -> list[str]:
        """Of the content of all files, or what else tells one clip from another."""


def read_picture(path: Path, *, grey: bool = False) -> np.ndarray:
    """(H, W, 3), or (H, W) of grey.

    Raises:
        UserError: it can't be read.
    """
    try:
        return (read_grey if grey else read_rgb)(path)
    except (OSError, ValueError) as error:
        raise_if_short(error, path)
        raise UserError(f"{path} can't be read ({error}): copy or download it again") from error


@dataclass(frozen=True)
class PictureFiles:
    """One file for each frame. is_mask: white, or any number of an object, is a person."""

    files: tuple[Path, ...]
    grey: bool = False
    is_mask: bool = False

    @contextmanager
    def open(self) -> Iterator[Opened]:
        yield Opened(len(self.files), self._read)

    def _read(self, start: int, stop: int) -> list[np.ndarray]:
        pictures = [read_picture(file, grey=self.grey) for file in self.files[start:stop]]
        return [_black_and_white(mask) for mask in pictures] if self.is_mask else pictures

    def hashes(self) -> list[str]:
        return [content_hash(file) for file in self.files]


@dataclass(frozen=True)
class VideoFile:
    """The frames of a video."""

    path: Path
    grey: bool = False
    deinterlace: bool = False

    @contextmanager
    def open(self) -> Iterator[Opened]:
        with VideoReader(self.path, deinterlace=self.deinterlace) as video:

            def read(start: int, stop: int) -> list[np.ndarray]:
                pictures = [frame.rgb for frame in video.read(start, stop)]
                if not self.grey:
                    return pictures
                return [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]

            yield Opened(len(video), read)

    def hashes(self) -> list[str]:
        return [content_hash(self.path)]


def _black_and_white(mask: np.ndarray) -> np.ndarray:
    least = 128 if mask.max() >= LEAST_WHITE else 1
    return _to_mask(mask >= least)


def _to_mask(inside: np.ndarray) -> np.ndarray:
    return np.where(inside, np.uint8(PERSON), np.uint8(NOBODY))


@dataclass(frozen=True)
class ListedMasks:
    """Masks as a list describes them: for each frame what is united in it, see
    `coco_masks.mask_of`. name: of the list's entry, for messages; size: (H, W)."""

    name: str
    size: tuple[int, int]
    parts: Sequence[Sequence[Any]]

    @contextmanager
    def open(self) -> Iterator[Opened]:
        yield Opened(len(self.parts), self._read)

    def _read(self, start: int, stop: int) -> list[np.ndarray]:
        return [self._mask(parts) for parts in self.parts[start:stop]]

    def _mask(self, parts: Sequence[Any]) -> np.ndarray:
        inside = np.zeros(self.size, bool)
        try:
            for part in parts:
                inside |= mask_of(part, self.size)
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.name}: {error}: mend the list") from error
        return _to_mask(inside)

    def hashes(self) -> list[str]:
        return [json.dumps(self.parts, default=str)]


@dataclass(frozen=True)
class PanopticMask:
    """One picture's mask: the segments of these numbers in a panoptic PNG."""

    file: Path
    numbers: tuple[int, ...]

    @contextmanager
    def open(self) -> Iterator[Opened]:
        yield Opened(1, lambda start, stop: [self._read()])

    def _read(self) -> np.ndarray:
        found = panoptic_numbers(read_picture(self.file))
        return _to_mask(np.isin(found, self.numbers))

    def hashes(self) -> list[str]:
        return [content_hash(self.file)]


@dataclass(frozen=True)
class Source:
    """One clip or picture of a dataset.

    name: in the dataset, for messages and record.json. planes: its pictures by the plane's letter.
    problem: why it can't be used; nothing where it can.
    """

    name: str
    planes: Mapping[str, Frames]
    problem: str = ""

    def file_hash(self) -> str:
        """8 hex digits of the content of all its files.

        Raises:
            UserError: one can't be read.
        """
        digest = hashlib.blake2b(digest_size=4)
        for frames in self.planes.values():
            for file_hash in frames.hashes():
                digest.update(file_hash.encode())
        return digest.hexdigest()
