"""Any frame of a film by its number, and pictures of it for the page.

Axes: H W pixels, 3 = R G B.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.video.film import open_film
from nunif.video.reader import BrokenVideo, VideoReader

KEPT_BYTES = 256 << 20  # of frames that may be asked for again
CHUNK = 16  # frames read together when going backward, where each costs its way from a key frame
LONGEST_SIDE = 1280  # of a picture for the page
JPEG_QUALITY = 88

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The values asked for last, by key, so many that they fit into `most`."""

    def __init__(self, most: int, size_of: Callable[[Value], int]) -> None:
        self._most, self._size_of, self._size = most, size_of, 0
        self._values: OrderedDict[object, Value] = OrderedDict()

    def get(self, key: object) -> Value | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: object, value: Value) -> None:
        self._values[key] = value
        self._size += self._size_of(value)
        while self._size > self._most and len(self._values) > 1:
            self._size -= self._size_of(self._values.popitem(last=False)[1])


class Frames:
    """The frames of a film in any order, from any thread. Near ones are kept."""

    def __init__(self, path: Path, *, deinterlace: bool | None = None) -> None:
        """deinterlace: None: where the film is interlaced.

        Raises:
            UserError: as `open_film`.
        """
        self.path = path
        self.deinterlaces = bool(deinterlace)
        try:
            self._film = open_film(path, deinterlace=self.deinterlaces)
        except UserError as error:
            if deinterlace is not None or "--deinterlace" not in str(error):
                raise
            self._film = open_film(path, deinterlace=True)
            self.deinterlaces = True
        self.info = self._film.info
        self._kept = Kept[np.ndarray](KEPT_BYTES, lambda rgb: rgb.nbytes)
        self._next = 0
        self._is_closed = False
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._film)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.info.height, self.info.width

    @property
    def shown_size(self) -> tuple[int, int]:
        """(H, W) of pictures for the page, as players show the film."""
        height, width = self.size
        wide = width * float(self.info.sample_aspect_ratio or 1)
        scale = min(1.0, LONGEST_SIDE / max(height, wide))
        return max(1, round(height * scale)), max(1, round(wide * scale))

    def __getitem__(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8.

        Raises:
            UserError: there is no frame of this number. BrokenVideo: it is damaged.
        """
        if not 0 <= number < len(self):
            raise UserError(f"There is no frame {number}: the film has {len(self)}, from 0 on.")
        with self._lock:
            if self._is_closed:
                raise UserError("Another film has been opened meanwhile: load the page again.")
            rgb = self._kept.get(number)
            if rgb is None:
                self._read(number)
                rgb = self._kept.get(number)
            assert rgb is not None
            return rgb

    def _read(self, number: int) -> None:
        first = number
        if number < self._next:
            if isinstance(self._film, VideoReader):
                self._film.rewind()
            height, width = self.size
            most = KEPT_BYTES // (2 * height * width * 3)
            first = max(0, number - min(CHUNK, most) + 1)
        self._next = number
        for each in range(first, number):
            if self._kept.get(each) is None:
                try:
                    self._kept.put(each, self._film.read(each, each + 1)[0].rgb)
                except BrokenVideo:  # nobody has asked for it
                    continue
        self._kept.put(number, self._film.read(number, number + 1)[0].rgb)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._film.__exit__(None, None, None)


def as_jpeg(rgb: np.ndarray, size: tuple[int, int]) -> bytes:
    """(H, W, 3) uint8 as a picture of `size` (H, W)."""
    return _encoded(".jpg", scaled(rgb, size), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def scaled(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) -> `size`."""
    if rgb.shape[:2] == size:
        return rgb
    return cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)


def _encoded(suffix: str, rgb: np.ndarray, settings: list[int]) -> bytes:
    is_written, data = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]), settings)
    assert is_written
    return data.tobytes()
