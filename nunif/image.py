"""Pictures as numpy arrays, to and from PNG files.

Axes: H W pixels, 3 = red green blue. Paths may hold any characters: files are read and written by Python, and only
coded by OpenCV.
"""

from pathlib import Path

import cv2
import numpy as np

from nunif.files import write_whole

# level 1 with the fixed filter "up": as small as level 1 with the adaptive filter, faster to write and to read
_RGB = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_BINARY = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_BILEVEL, 1]

PICTURE_SUFFIXES = frozenset(".bmp .jpeg .jpg .png .tif .tiff .webp".split())
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def encode_rgb(picture: np.ndarray) -> bytes:
    """A PNG of an (H, W, 3) uint8 or uint16 picture, lossless."""
    return _encode(picture[..., ::-1], _RGB)


def encode_binary(mask: np.ndarray) -> bytes:
    """A one-bit PNG of an (H, W) bool mask; readers see 0 and 255."""
    return _encode(mask.astype(np.uint8) * 255, _BINARY)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 or uint16 picture, whole or not at all."""
    write_whole(path, encode_rgb(picture))


def read_rgb(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8.

    Raises:
        ValueError: the file is not a picture or is torn. OSError: it can't be read.
    """
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[..., ::-1])


def read_grey(path: Path) -> np.ndarray:
    """An image file as (H, W) uint8. Raises as `read_rgb` does."""
    return _decode(path, cv2.IMREAD_GRAYSCALE)


def read_mask(path: Path) -> np.ndarray:
    """An image file as (H, W) bool: True where red, green or blue is brighter than half. Raises as `read_rgb` does.

    Half, since masks come as JPEG too; any colour, since label images have a palette (its first is a dark red).
    """
    return read_rgb(path).max(axis=2) > 127


def png_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG, from its first and last bytes alone.

    Raises:
        ValueError: not a PNG, or its end is missing. OSError: it can't be read.
    """
    with open(path, "rb") as file:
        head = file.read(24)
        file.seek(0, 2)
        file.seek(-min(12, file.tell()), 2)
        tail = file.read(12)
    if not head.startswith(PNG_SIGNATURE) or len(head) < 24:
        raise ValueError("not a PNG picture")
    if tail != PNG_END:
        raise ValueError("truncated")
    return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")


def _encode(picture: np.ndarray, parameters: list[int]) -> bytes:
    done, data = cv2.imencode(".png", picture, parameters)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} can't be written as PNG")
    return data.tobytes()


def _decode(path: Path, flags: int) -> np.ndarray:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    # OpenCV fills the missing rows of a torn PNG and says nothing, so its end is looked at first
    if data[:8].tobytes() == PNG_SIGNATURE and data[-12:].tobytes() != PNG_END:
        raise ValueError("truncated")
    try:
        picture = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:  # a header that claims more pixels than OpenCV takes
        raise ValueError("not a picture of a usable size") from error
    if picture is None:
        raise ValueError("not a readable picture")
    return picture
