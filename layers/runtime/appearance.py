"""What things look like: histograms of colours, of a whole thing, of its parts, and around a place.

Axes: H W pixels; colours are Lab of 8 bits, (H, W, 3) uint8.
"""

import cv2
import numpy as np

_SIDE = 12  # steps of each of the three colours
_COLOURS = _SIDE**3
PARTS = 5  # of a thing's box, on each side
_CELL = 12  # pixels between places
_SCARCE = 20.0  # pixels that a part needs before it says much
_BLUR = (0.25, 0.5, 0.25)


def colour_bins(lab: np.ndarray) -> np.ndarray:
    """(H, W) int32: which of the 12 x 12 x 12 colours. Lightness in steps of 21; hues are 13 wide
    around grey, where nearly all of film is."""
    light = lab[..., 0].astype(np.int32) * _SIDE >> 8
    hues = np.clip((lab[..., 1:].astype(np.int32) - 50) // 13, 0, _SIDE - 1)
    return (light * _SIDE + hues[..., 0]) * _SIDE + hues[..., 1]


def blurred(counts: np.ndarray) -> np.ndarray:
    """A histogram with each count shared with its neighbours along every axis."""
    for axis in range(counts.ndim):
        moved = np.moveaxis(counts, axis, 0)
        result = moved * _BLUR[1]
        result[:-1] += moved[1:] * _BLUR[0]
        result[1:] += moved[:-1] * _BLUR[2]
        counts = np.moveaxis(result, 0, axis)
    return np.ascontiguousarray(counts)


def histogram(bins: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(1728,) float32, the share of each colour where there is weight."""
    counts = np.bincount(bins.ravel(), weight.ravel(), _COLOURS).astype(np.float32)
    counts = blurred(counts.reshape((_SIDE,) * 3)).ravel()
    return counts / (counts.sum() + 1e-6)


Box = tuple[int, int, int, int]  # left, top, right, bottom, the last two beyond it


def box_of(mask: np.ndarray) -> Box | None:
    """The box around what is True; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def part_bins(bins: np.ndarray, box: Box) -> np.ndarray:
    """(H, W) int32: which colour in which of the 5 x 5 parts of a thing's box; what lies outside
    counts to the nearest."""
    left, top, right, bottom = box
    rows = np.clip((np.arange(bins.shape[0]) - top) * PARTS // (bottom - top), 0, PARTS - 1)
    columns = np.clip((np.arange(bins.shape[1]) - left) * PARTS // (right - left), 0, PARTS - 1)
    part = rows.astype(np.int32)[:, None] * PARTS + columns.astype(np.int32)
    return part * _COLOURS + bins


def part_histogram(bins: np.ndarray, box: Box, weight: np.ndarray) -> np.ndarray:
    """(25 * 1728,) float32: the shares of colours in each part of a thing's box."""
    size = PARTS * PARTS * _COLOURS
    counts = np.bincount(part_bins(bins, box).ravel(), weight.ravel(), size).astype(np.float32)
    counts = blurred(counts.reshape(PARTS, PARTS, _SIDE, _SIDE, _SIDE))
    counts = counts.reshape(PARTS * PARTS, _COLOURS)
    return (counts / (counts.sum(axis=1, keepdims=True) + _SCARCE)).ravel()


def local_shares(
    bins: np.ndarray,
    bins_before: np.ndarray,
    moved: np.ndarray,
    shares: np.ndarray,
    where: np.ndarray,
) -> np.ndarray:
    """Whose colours are those around each pixel, by who was there before.

    A grid over place and colour, as in Märki et al., Bilateral space video segmentation, 2016.

    Args:
        bins, bins_before: (H, W) colours of this frame and of the one before.
        moved: (H, W, 2) float32, where the pixels of the one before have gone, x before y.
        shares: (K, H, W), how far each of those is of each of K.
        where: (H, W) bool, the pixels of the frame before that count.
    Returns: (K, H, W) float32, above 0, of sum 1.
    """
    height, width = bins.shape
    grid = (height // _CELL + 2, width // _CELL + 2)
    columns, rows = np.moveaxis(moved[where], -1, 0)
    row = np.clip(np.rint(rows / _CELL), 0, grid[0] - 1).astype(np.int32)
    column = np.clip(np.rint(columns / _CELL), 0, grid[1] - 1).astype(np.int32)
    before = (row * grid[1] + column) * _COLOURS + bins_before[where]
    here = np.rint(np.arange(height) / _CELL).astype(np.int32)[:, None] * grid[1]
    here = (here + np.rint(np.arange(width) / _CELL).astype(np.int32)) * _COLOURS + bins
    size = grid[0] * grid[1] * _COLOURS
    found = np.empty(shares.shape, np.float32)
    for index, share in enumerate(shares):
        counts = np.bincount(before, share[where], size).astype(np.float32)
        found[index] = blurred(counts.reshape(*grid, _SIDE, _SIDE, _SIDE)).ravel()[here]
    found += 0.01
    return found / found.sum(axis=0)


def guided(guide: np.ndarray, shares: np.ndarray, *, radius: int = 4) -> np.ndarray:
    """Shares whose edges lie on those of a grey picture: the guided filter of He et al., 2010.

    guide: (H, W) float32, 0 to 255. shares: (K, H, W). Returns: (K, H, W), above 0, of sum 1.
    """
    window = (2 * radius + 1,) * 2
    mean = cv2.blur(guide, window)
    spread = cv2.blur(guide * guide, window) - mean * mean + 25.0
    result = np.empty_like(shares)
    for index, share in enumerate(shares):
        own = cv2.blur(share, window)
        slope = (cv2.blur(guide * share, window) - mean * own) / spread
        level = own - slope * mean
        result[index] = cv2.blur(slope, window) * guide + cv2.blur(level, window)
    result = np.clip(result, 1e-4, 1)
    return result / result.sum(axis=0)
