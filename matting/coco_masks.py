"""Where things are in a picture, as COCO and YouTubeVIS write it: as runs of pixels (RLE) and as
polygons.

Axes: H W pixels. A mask is (H, W) bool.

The formats are those of COCO's annotations (cocodataset.org, "Data format"): runs go down the
columns, the first one is outside; the text form packs each length into characters of six bits, the
lowest five of them numbers, from the third length on as the difference to the one two before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

FIRST_CHARACTER = 48  # stands for 0
MORE, NEGATIVE = 0x20, 0x10  # bits: another character follows; of the last one, the sign
FINER = 4  # times finer than pixels, when polygons are drawn


def mask_of(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of one `segmentation` of any kind. size: (H, W) of its picture.

    Raises:
        ValueError: it is of no known kind, or doesn't fit the picture.
    """
    if isinstance(segmentation, Mapping) and "counts" in segmentation:
        own = tuple(segmentation.get("size", size))
        if own != size:
            raise ValueError(
                f"its mask is {own[1]}x{own[0]}, its picture {size[1]}x{size[0]}"
                if len(own) == 2
                else f"its mask has the size {own}"
            )
        counts = segmentation["counts"]
        return decode_runs(unpack(counts) if isinstance(counts, str | bytes) else counts, size)
    if isinstance(segmentation, Sequence) and not isinstance(segmentation, str | bytes):
        return draw_polygons(segmentation, size)
    raise ValueError(f"its mask is neither runs nor polygons: {str(segmentation)[:60]}")


def decode_runs(counts: Sequence[int] | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Lengths of runs, outside and inside by turns, down the columns -> (H, W).

    Raises:
        ValueError: they don't add up to the picture.
    """
    lengths = np.asarray(counts, np.int64)
    height, width = size
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(
            f"the runs of its mask don't add up to the {height * width} pixels of its picture"
        )
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def unpack(text: str | bytes) -> np.ndarray:
    """The lengths of runs, (N,) int64, out of their text form.

    Raises:
        ValueError: it is none.
    """
    data = text.encode() if isinstance(text, str) else text
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - FIRST_CHARACTER
    ends = np.flatnonzero((codes & MORE) == 0)
    if not len(codes) or (codes < 0).any() or (codes > 63).any() or ends[-1:] != len(codes) - 1:
        raise ValueError(f"its mask is no packed runs: {str(text)[:60]}")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)  # within its number
    if place.max() > 11:
        raise ValueError(f"its mask is no packed runs: {str(text)[:60]}")
    numbers = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    signed = (codes[ends] & NEGATIVE) != 0
    numbers -= signed.astype(np.int64) << (5 * (ends - starts + 1))
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def draw_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """All that is inside any of some polygons, each x1, y1, x2, y2, ... in pixels from the upper
    left corner of the picture: pixels of which half or more is.

    Raises:
        ValueError: one of them is no polygon.
    """
    height, width = size
    fine = np.zeros((height * FINER, width * FINER), np.uint8)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise ValueError(f"its mask has something that is no polygon: {str(polygon)[:60]}")
        # OpenCV counts from the middle of the first pixel
        corners = np.rint(points.reshape(-1, 2) * FINER - 0.5).astype(np.int32)
        cv2.fillPoly(fine, [corners], 1)
    parts = fine.reshape(height, FINER, width, FINER).sum((1, 3), dtype=np.uint16)
    return parts >= FINER * FINER // 2


def panoptic_numbers(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of a panoptic PNG -> (H, W) int64, the number of each pixel's segment."""
    red, green, blue = picture.astype(np.int64).transpose(2, 0, 1)
    return red + 256 * green + 65536 * blue
