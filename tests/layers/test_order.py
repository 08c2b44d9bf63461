"""Who is before whom, by the depth, and where that is read again.

Axes: H W pixels.
"""

import numpy as np

from layers.runtime.order import Order
from nunif.image import encode_grey, encode_rgb
from scene.layer_folder import plane_path, read_layers, shot_folder

H, W = 96, 160
LEFT, RIGHT = np.s_[20:80, 20:50], np.s_[20:80, 100:130]


def seen(order, frames, *, start=0, people=(LEFT, RIGHT)):
    """Frame by frame the disparities of people, None: not there."""
    for number, levels in enumerate(frames, start):
        disparity, alphas = np.zeros((H, W), np.float32), []
        for place, level in zip(people, levels):
            alpha = np.zeros((H, W), np.uint8)
            if level is not None:
                alpha[place], disparity[place] = 255, level
            alphas.append(alpha)
        order.see(number, alphas, disparity)


def test_the_order_changes_when_it_was_reversed_for_long():
    order = Order()
    order.start_shot()
    seen(order, [(0.5, None), (0.5, 0.6)])
    assert order.changes == [[(0, [1]), (1, [2, 1])]]
    seen(order, [(0.63, 0.6)] * 20, start=2)  # nearer, but not by enough
    seen(order, [(0.7, 0.6)] * 4 + [(0.6, 0.6)], start=22)  # not for long enough
    assert len(order.changes[0]) == 2
    seen(order, [(0.7, 0.6)] * 3 + [(None, 0.6)] + [(0.7, 0.6)] * 4, start=27)
    assert order.changes[0][2:] == [(32, [1, 2])]
    order.start_shot()
    seen(order, [(0.2, 0.3)], start=35)
    assert order.changes[1] == [(35, [2, 1])]


def test_layers_are_read_in_that_order(tmp_path):
    shot = shot_folder(tmp_path, 0)
    shot.mkdir()
    for frame in range(2):
        for letters, level in (("A", 10), ("A2", 20)):
            plane_path(shot, frame, letters).write_bytes(encode_grey(np.full((8, 8), level, "u1")))
        for letters in ("F", "F2", "B"):
            plane_path(shot, frame, letters).write_bytes(encode_rgb(np.zeros((8, 8, 3), np.uint8)))
    meta = {"shots": [[0, 1]], "planes": [["A", "A2", "B", "F", "F2"]]}
    for order, expected in (
        ([[[0, [1, 2]], [1, [2, 1]]]], [[10, 20], [20, 10]]),
        (None, [[10, 20]] * 2),
    ):
        told = meta if order is None else {**meta, "order": order}
        found = [
            [int(cover.alpha[0, 0]) for cover in x.covers] for x in read_layers(tmp_path, told)
        ]
        assert found == expected
