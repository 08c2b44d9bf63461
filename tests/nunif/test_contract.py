"""Contracts: states by their names, shapes by the frame's size."""

import pytest
import torch

from nunif.models.contract import Contract, num_cells, part_of
from nunif.models.registry import Model

FRAME = (1, 3, "height", "width")
MEMORY = (1, 23, 2, "cells", 64)
STREAM = Contract(
    inputs={"frames": FRAME, "memory": MEMORY},
    outputs={"output": FRAME, "new_memory": MEMORY},
    multiple=24,
)


def test_an_input_with_a_new_one_of_its_name_is_a_state():
    assert STREAM.names == (("frames", "memory"), ("output", "new_memory"))
    assert (STREAM.given, STREAM.states, STREAM.results) == (("frames",), ("memory",), ("output",))


def test_names_that_only_look_so_are_no_states():
    contract = Contract({"x": FRAME, "new_x": FRAME, "y": FRAME}, {"new_y": FRAME, "y": FRAME})
    assert contract.given == ("x", "new_x") and contract.states == ("y",)
    assert contract.results == ("y",)
    assert Contract({"x": FRAME}, {"new_view": FRAME}).results == ("new_view",)


def test_shapes_follow_from_the_frames_size():
    shapes = STREAM.shapes(360, 640)
    assert shapes["frames"] == shapes["output"] == (1, 3, 360, 640)
    assert shapes["memory"] == shapes["new_memory"] == (1, 23, 2, 1620, 64)
    assert list(shapes) == ["frames", "memory", "output", "new_memory"]


@pytest.mark.parametrize(
    "size, multiple, cells", [((360, 640), 24, 1620), ((24, 24), 24, 4), ((25, 1), 24, 8)]
)
def test_cells_are_counted_of_the_padded_frame(size, multiple, cells):
    assert num_cells(*size, multiple) == cells


def test_parts_of_a_side_are_of_what_is_computed_at_and_rounded_up():
    """As a network has them that halves an odd side again and again: 143 to 72, 36, 18, 9."""
    frame = (1, 3, "height", "width")
    inputs = {
        "frame": frame,
        **{f"r{n}": (1, 4, part_of("height", n), part_of("width", n)) for n in (2, 4, 8, 16)},
    }
    assert inputs["r4"] == (1, 4, "height/4", "width/4")
    whole, small = (Contract(inputs, {"frame": frame}, ratio=ratio) for ratio in (1, 0.4))
    shapes = whole.shapes(143, 255)
    assert [shapes[f"r{n}"][2:] for n in (2, 4, 8, 16)] == [(72, 128), (36, 64), (18, 32), (9, 16)]
    shapes = small.shapes(143, 255)  # computed at 57 x 102
    assert shapes["frame"] == (1, 3, 143, 255)
    assert [shapes[f"r{n}"][2:] for n in (2, 4, 8, 16)] == [(29, 51), (15, 26), (8, 13), (4, 7)]


def test_a_stream_starts_with_zeros():
    start = STREAM.start(24, 48)
    assert list(start) == ["memory"] and start["memory"].shape == (1, 23, 2, 8, 64)
    assert start["memory"].dtype == torch.float32 and not start["memory"].any()


def test_outputs_are_results_and_the_next_state():
    assert STREAM.split({"new_memory": 1, "output": 2}) == ({"output": 2}, {"memory": 1})


def test_windows_and_sizes_are_read_off_the_frame():
    window = Contract({"frames": (1, 12, 3, 40, 56)}, {"output": (1, 12, 3, 40, 56)})
    assert (window.window, window.size) == (12, (40, 56))
    assert (STREAM.window, STREAM.size) == (None, None)
    assert window.states == () and window.start(40, 56) == {}


def test_what_a_model_offers_has_defaults():
    model = Model()
    offered = (model.clip_length, model.any_clip_length, model.size_multiple, model.streams)
    assert offered == (1, False, 1, False)
