"""Where a program is to generate: around people, but not on what stands before them.

Axes: h w pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from layers.options_films import MaskShape

_HALF = 127  # of an alpha: more is somebody
_SQUARE = np.ones((7, 7), np.uint8)
_BLOCK = 8  # pixels for which one of a network's picture stands


def region(alphas: Sequence[np.ndarray], shape: MaskShape, size: tuple[int, int]) -> np.ndarray:
    """Where people are generated anew: each one's mask, grown by 9 pixels, and where `shape` asks
    for it all cells of its box that it touches. As Wan-Animate's own preparation does it
    (wan/modules/animate/preprocess), but each person has a box of its own.

    Args: alphas: of each person, (h, w) uint8. size: (h, w). Returns: (h, w) bool.
    """
    whole = np.zeros(size, bool)
    for alpha in alphas:
        person = (alpha > _HALF).astype(np.uint8)
        if person.any():
            grown = cv2.dilate(person, _SQUARE, iterations=3) > 0
            whole |= grown if shape.cells is None else _cells(grown, *shape.cells)
    return whole


def _cells(mask: np.ndarray, across: int, down: int) -> np.ndarray:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    row_edges = _edges(rows, down)
    column_edges = _edges(columns, across)
    filled = np.zeros_like(mask)
    for top, bottom in zip(row_edges, row_edges[1:]):
        for left, right in zip(column_edges, column_edges[1:]):
            filled[top:bottom, left:right] = mask[top:bottom, left:right].any()
    return filled


def _edges(places: np.ndarray, parts: int) -> list[int]:
    """Where the parts of an axis begin, and the last one ends."""
    first, stop = int(places[0]), int(places[-1]) + 1
    edges = np.linspace(first, stop, min(parts, stop - first) + 1)
    return [int(edge) for edge in np.rint(edges)]


def whole_blocks(mask: np.ndarray) -> np.ndarray:
    """A mask grown to whole blocks of 8x8 pixels: of each a network sees one pixel, the upper left
    one, and what it takes for kept must not be painted over."""
    height, width = mask.shape
    blocks = mask.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).any(axis=(1, 3))
    return blocks.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)


def without(mask: np.ndarray, occluder: np.ndarray | None) -> np.ndarray:
    """A mask without what stands before it. occluder: (h, w) uint8 alpha."""
    return mask if occluder is None else mask & (occluder <= _HALF)
