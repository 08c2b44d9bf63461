"""What a click is worth: the benchmark's clicks, scores and files.

Axes: H W pixels.
"""

import numpy as np
from PIL import Image

from benchmarks.point import measure, middle_pixel, overlaps, read_truth, table


def test_a_click_is_on_the_object():
    ring = np.zeros((9, 9), bool)
    ring[1:8, 1:8] = True
    ring[2:7, 2:7] = False
    x, y = middle_pixel(ring)
    assert ring[int(y), int(x)]


def test_truth_is_read_by_number_or_as_white(tmp_path):
    numbers = np.array([[0, 1, 2, 3]], np.uint8)
    indexed = Image.fromarray(numbers, "P")
    indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    for name, image in (("a", indexed), ("b", Image.fromarray(numbers // 3 * 255))):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "00000.png")
    assert read_truth(tmp_path / "a", "2+3").tolist() == [[[0, 1, 2, 2]]]
    assert read_truth(tmp_path / "b").tolist() == [[[0, 0, 0, 1]]]


def test_rows_of_one_click_and_two():
    frames, truth = [], np.zeros((4, 48, 64), np.uint8)
    for number in range(4):
        frame = np.full((48, 64, 3), 120, np.uint8)
        place = (slice(10, 26), slice(8 + 3 * number, 24 + 3 * number))
        frame[place], truth[number][place] = (30, 40, 200), 3
        frames.append(frame)
    *_, result = measure(frames, truth, num_clicks=2)
    assert [row["clicks"] for row in result["rows"]] == [1, 2]
    assert all(row["iou"]["3"] == row["mean_iou"] > 0.8 for row in result["rows"])
    assert table(result).splitlines()[0].startswith("| clicks | object 3 | mean |")
    assert overlaps(truth == 3, truth == 3).tolist() == [1, 1, 1, 1]
