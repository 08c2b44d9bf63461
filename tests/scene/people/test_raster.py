"""The z-buffer, against a loop over all samples and triangles in Python's own whole numbers."""

import numpy as np

from scene.people.raster import DEPTHS, GRID, interpolate, rasterize

NEAREST = 2.0


def brute_force(corners, inverse_depths, size):
    """(row, column, triangle, depth in steps) of all that is seen."""
    points = [[[round(value * GRID) for value in p] for p in tri] for tri in corners.tolist()]
    steps = [[round(d * DEPTHS / NEAREST) for d in tri] for tri in inverse_depths.tolist()]
    found = []
    for row in range(size[0]):
        for column in range(size[1]):
            best, winner = -1, None
            for number, (triangle, depth) in enumerate(zip(points, steps)):
                seen = depth_at(triangle, depth, column, row)
                if seen is not None and seen > best:
                    best, winner = seen, number
            if winner is not None:
                found.append((row, column, winner, best))
    return found


def depth_at(triangle, depth, column, row):
    x, y = GRID * column + GRID // 2, GRID * row + GRID // 2
    weights = []
    for i in range(3):
        (x1, y1), (x2, y2) = triangle[(i + 1) % 3], triangle[(i + 2) % 3]
        weights.append((x1 - x) * (y2 - y) - (y1 - y) * (x2 - x))
    area = sum(weights)
    sign = -1 if area < 0 else 1
    if area == 0 or any(sign * weight < 0 for weight in weights):
        return None
    return sum(w * d for w, d in zip(weights, depth)) * sign // abs(area)


def seen_of(corners, inverse_depths, size):
    seen = rasterize(corners, inverse_depths, size, nearest=NEAREST)
    steps = np.rint(seen.depths * DEPTHS / NEAREST).astype(int)
    return list(zip(*(a.tolist() for a in (seen.rows, seen.columns, seen.triangles, steps))))


def check(corners, inverse_depths, size=(17, 23)):
    expected = brute_force(corners, inverse_depths, size)
    assert seen_of(corners, inverse_depths, size) == expected
    return expected


def test_random_triangles_in_and_out_of_the_picture():
    rng = np.random.default_rng(1)
    middles = rng.uniform(-6, 28, (60, 1, 2))
    corners = middles + rng.normal(0, 4, (60, 3, 2))
    found = check(corners, rng.uniform(0.01, NEAREST, (60, 3)))
    assert len({triangle for _, _, triangle, _ in found}) > 20


def test_ties_shared_edges_and_corners_in_the_middle_of_samples():
    rng = np.random.default_rng(2)
    # a sheet of patches whose corners are middles and borders of samples
    grid = np.stack(np.meshgrid(np.arange(0, 20, 2.5), np.arange(0, 16, 2.5)), axis=-1)
    depth = rng.uniform(0.5, 1, grid.shape[:2])
    corners, depths = [], []
    for i in range(grid.shape[0] - 1):
        for j in range(grid.shape[1] - 1):
            for way in ([(0, 0), (0, 1), (1, 1)], [(0, 0), (1, 1), (1, 0)]):
                places = [(i + a, j + b) for a, b in way]
                corners.append([grid[place] for place in places])
                depths.append([depth[place] for place in places])
    sheet, sheet_depths = np.array(corners), np.array(depths)
    found = check(sheet, sheet_depths)
    # without a hole or an overlap
    assert [place[:2] for place in found] == list(np.ndindex(15, 18))
    # the same sheet again behind it, and turned over: the first one is seen
    twice = (
        np.concatenate([sheet, sheet[:, ::-1]]),
        np.concatenate([sheet_depths, sheet_depths[:, ::-1]]),
    )
    assert check(*twice) == found


def test_lines_and_points_are_not_seen():
    corners = np.array([[[1, 1], [9, 9], [5, 5]], [[4, 4], [4, 4], [4, 4]]], float)
    assert check(corners, np.ones((2, 3))) == []
    assert seen_of(np.zeros((0, 3, 2)), np.zeros((0, 3)), (4, 4)) == []


def test_the_middle_of_a_sample_decides():
    corners = np.array([[[0.5, 0.5], [2.5, 0.5], [0.5, 2.5]]])
    places = [(row, column) for row, column, _, _ in seen_of(corners, np.ones((1, 3)), (4, 4))]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]


def test_values_are_linear_in_the_picture():
    corners = np.array([[[0, 0], [12, 0], [0, 12]]], float)
    seen = rasterize(corners, np.ones((1, 3)), (12, 12), nearest=NEAREST)
    values = corners[..., [0, 1]] * 2 + 1
    x, y = interpolate(seen, corners, values)
    assert np.allclose(x, 2 * (seen.columns + 0.5) + 1) and np.allclose(y, 2 * seen.rows + 2)
