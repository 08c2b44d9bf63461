"""Who is before whom, by the depth, and where that is read again.

Axes: H W pixels.
"""

import numpy as np

from layers.runtime.order import Order
from scene.layers.folder import people_in_order

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


def test_layers_are_read_in_that_order():
    meta = {"planes": [["A", "A2", "B", "F", "F2"]]}
    told = {**meta, "order": [[[0, [1, 2]], [1, [2, 1]]]]}
    assert [people_in_order(told, 0, frame) for frame in (0, 1)] == [[0, 1], [1, 0]]
    assert people_in_order(meta, 0, 1) == [0, 1]
