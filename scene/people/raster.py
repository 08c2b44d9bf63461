"""Triangles to samples: a z-buffer in whole numbers, exact and so the same in every order.

A corner is rounded to a sixteenth of a sample and its inverse depth to a 22-bit number. From there
all is exact: a sample is covered where its middle lies in a triangle or on its edge, the triangle
with the largest inverse depth there (rounded down) is seen, and of equal ones the first.

Axes: N triangles, S seen samples. Samples are counted from the top left; the middle of the first
lies at (.5, .5).
"""

from dataclasses import dataclass

import numpy as np

GRID = 16  # places of a corner in a sample
HALF = GRID // 2
DEPTHS = 1 << 22  # steps of the inverse depth
MAX_TRIANGLES = 1 << 20
FAR = 1 << 40  # no sample
FARTHEST = 1 << 15  # samples out of sight that a corner may lie; what is farther out is left out


@dataclass(frozen=True)
class Seen:
    """The samples that show a triangle, row by row.

    rows, columns: (S,). triangles: (S,) numbers of those seen. depths: (S,) inverse depth, in the
    unit of what came in.
    """

    rows: np.ndarray
    columns: np.ndarray
    triangles: np.ndarray
    depths: np.ndarray


def snap(corners: np.ndarray) -> np.ndarray:
    """Positions in samples to whole sixteenths of one, int64."""
    return np.rint(corners * GRID).astype(np.int64)


def rasterize(
    corners: np.ndarray, inverse_depths: np.ndarray, size: tuple[int, int], *, nearest: float
) -> Seen:
    """What is seen of some triangles, of either side.

    Args:
        corners: (N, 3, 2) x and y in samples.
        inverse_depths: (N, 3), more than 0 and at most `nearest`.
        size: rows and columns of the picture, in samples.
    """
    assert len(corners) < MAX_TRIANGLES
    points = snap(corners)
    steps = np.rint(inverse_depths * (DEPTHS / nearest)).astype(np.int64)
    edges, area = _edges_of(points)
    usable = (area != 0) & (np.abs(corners).max(axis=(1, 2), initial=0) < FARTHEST)
    runs = _runs_of(points, edges, size, np.flatnonzero(usable))
    top, left, height, width = _bounds_of(runs)
    buffer = np.zeros(height * width, np.int64)
    place, depth, triangle = _fill_runs(runs, edges, area, steps, (top, left, width))
    # the first triangle has the largest number here
    np.maximum.at(buffer, place, depth * MAX_TRIANGLES + (MAX_TRIANGLES - 1 - triangle))
    seen = np.flatnonzero(buffer)
    value = buffer[seen]
    rows, columns = np.divmod(seen, max(1, width))
    return Seen(
        rows + top,
        columns + left,
        MAX_TRIANGLES - 1 - value % MAX_TRIANGLES,
        (value // MAX_TRIANGLES) * (nearest / DEPTHS),
    )


def _edges_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The line opposite to each corner, a x + b y + c, not negative inside: (3 = a b c, 3 lines,
    N), and twice the area, 0 for none: (N,)."""
    x, y = points.transpose(2, 1, 0)  # (3 corners, N) each
    after, last = [1, 2, 0], [2, 0, 1]
    c = x[after] * y[last] - y[after] * x[last]
    edges = np.stack([y[after] - y[last], x[last] - x[after], c])
    area = c[0] + c[1] + c[2]
    edges *= np.where(area < 0, -1, 1)
    return edges, np.abs(area)


@dataclass(frozen=True)
class _Runs:
    """Successive samples of one row and one triangle: all (R,)."""

    triangles: np.ndarray
    rows: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray


def _runs_of(
    points: np.ndarray, edges: np.ndarray, size: tuple[int, int], numbers: np.ndarray
) -> _Runs:
    """The runs of these triangles in the picture."""
    y = points[numbers, :, 1].T  # (3 corners, n)
    lowest, highest = np.minimum.reduce(y), np.maximum.reduce(y)
    # rows whose middles lie between the lowest and the highest corner
    top = np.maximum(0, -((HALF - lowest) // GRID))
    bottom = np.minimum(size[0] - 1, (highest - HALF) // GRID)
    count = np.maximum(0, bottom - top + 1)
    which, along = expand(count)
    rows, triangles = top[which] + along, numbers[which]
    middle = GRID * rows + HALF
    first = np.zeros_like(rows)
    last = np.full_like(rows, size[1] - 1)
    for line in range(3):
        a, b, c = (edges[i, line][triangles] for i in range(3))
        # a (16 i + 8) + rest >= 0 for the sample i of the row
        rest = b * middle + c + HALF * a
        bound = rest // (GRID * np.maximum(1, np.abs(a)))
        first = np.maximum(first, np.where(a > 0, -bound, np.where((a == 0) & (rest < 0), FAR, 0)))
        last = np.where(a < 0, np.minimum(last, bound), last)
    some = last >= first
    return _Runs(triangles[some], rows[some], first[some], (last - first + 1)[some])


def expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[2, 0, 3] -> which [0, 0, 2, 2, 2], along [0, 1, 0, 1, 2]."""
    ends = np.cumsum(counts)
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(ends - counts, counts)


def _bounds_of(runs: _Runs) -> tuple[int, int, int, int]:
    """Top, left, height and width of what the runs cover."""
    if not len(runs.rows):
        return 0, 0, 0, 0
    top, left = int(runs.rows.min()), int(runs.firsts.min())
    right = int((runs.firsts + runs.counts).max())
    return top, left, int(runs.rows.max()) + 1 - top, right - left


def _fill_runs(
    runs: _Runs,
    edges: np.ndarray,
    area: np.ndarray,
    steps: np.ndarray,
    bounds: tuple[int, int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every sample of every run its place in the buffer, inverse depth and triangle."""
    top, left, width = bounds
    n = runs.triangles
    x, y = GRID * runs.firsts + HALF, GRID * runs.rows + HALF
    start, slope = np.zeros_like(x), np.zeros_like(x)
    for line in range(3):
        a, b, c = (edges[i, line][n] for i in range(3))
        step = steps[n, line]
        # the weights of the corners; their sum is the area
        start += (a * x + b * y + c) * step
        slope += GRID * a * step
    which, along = expand(runs.counts)
    depth = (start[which] + along * slope[which]) // area[n][which]
    place = ((runs.rows - top) * width + runs.firsts - left)[which] + along
    return place, depth, n[which]


def interpolate(seen: Seen, corners: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Values of the corners (N, 3, K), linear in the picture, at the seen samples: K of (S,).

    corners: as `rasterize` got them.
    """
    points = snap(corners) / GRID
    origin, e1, e2 = points[:, 0], points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    area = np.where(area == 0, 1, area)
    n = seen.triangles
    x, y = seen.columns + 0.5, seen.rows + 0.5
    result = []
    for k in range(values.shape[2]):
        base, d1, d2 = values[:, 0, k], values[:, 1, k] - values[:, 0, k], values[:, 2, k]
        d2 = d2 - base
        across = (d1 * e2[:, 1] - d2 * e1[:, 1]) / area
        down = (d2 * e1[:, 0] - d1 * e2[:, 0]) / area
        constant = base - across * origin[:, 0] - down * origin[:, 1]
        result.append(constant[n] + across[n] * x + down[n] * y)
    return result
