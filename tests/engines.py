"""Engines made by hand, which takes no time."""

from pathlib import Path

import numpy as np

from inpaint.models.steps import STREAMING


def write_fading_engine(path: Path, size: tuple[int, int]) -> Path:
    """An ONNX file that paints with what it remembers, far out of the range, too, for frames of a
    size (H, W)."""
    import onnx

    shape = [1, 3, *size]
    weights = 9 * np.random.default_rng(1).standard_normal((3, 3, 3, 3), np.float32)
    nodes = [
        onnx.helper.make_node("Mul", ["memory", "half"], ["faded"]),
        onnx.helper.make_node("Add", ["faded", "masked_frames"], ["new_memory"]),
        onnx.helper.make_node("Conv", ["new_memory", "weights"], ["output"], pads=[1] * 4),
    ]
    inputs, outputs = (
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in names]
        for names in STREAMING
    )
    constants = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in (("half", np.float32(0.5)), ("weights", weights))
    ]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path
