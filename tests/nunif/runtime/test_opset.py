"""Graphs of operator set 18 said in the words of set 17: what comes out is the same, and what can't
be said is named."""

import numpy as np
import pytest

from nunif.errors import UserError
from nunif.runtime.opset import fit_format, forget_sources, to_opset_17

onnx = pytest.importorskip("onnx", reason="the export needs the package onnx")
ort = pytest.importorskip("onnxruntime", reason="ONNX files need the package onnxruntime")
ir = pytest.importorskip("onnx_ir", reason="the export needs the package onnxscript")

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
RESIZED = [1.0, 1.0, 2.0, 2.0]


def node(kind, inputs=(), **attributes):
    return onnx.helper.make_node(kind, ["x", *inputs], ["y"], **attributes)


def model(*nodes, constants=None, inputs=()):
    """From x, (1, 4, 6, 8), to y, by operator set 18."""
    value = onnx.helper.make_tensor_value_info
    stored = [
        onnx.numpy_helper.from_array(
            np.array(v, np.float32 if name == "scales" else np.int64), name
        )
        for name, v in (constants or {}).items()
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [value("x", FLOAT, [1, 4, 6, 8]), *(value(name, INT64, [1]) for name in inputs)],
        [value("y", FLOAT, [None] * 4)],
        stored,
    )
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )


def lowered(proto):
    """It lies in the oldest file format that has the set, too: older programs read no newer one."""
    graph = ir.from_proto(proto)
    to_opset_17(graph)
    fit_format(graph)
    result = ir.to_proto(graph)
    assert result.ir_version == 8
    assert [(o.domain, o.version) for o in result.opset_import] == [("", 17)]
    onnx.checker.check_model(result, full_check=True)
    return result


def outputs(proto):
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 8), dtype=np.float32)
    return session.run(None, {"x": x})


CASES = {
    "largest over an axis": (node("ReduceMax", ["axes"]), dict(axes=[1])),
    "mean over two": (node("ReduceMean", ["axes"]), dict(axes=[-2, -1])),
    "mean over all": (node("ReduceMean"), {}),
    "sum": (node("ReduceSum", ["axes"]), dict(axes=[2])),  # had them as an input all the time
    "enlarge": (
        node(
            "Resize", ["", "scales"], mode="linear", antialias=0,
            keep_aspect_ratio_policy="stretch",
        ),
        dict(scales=RESIZED),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_same_comes_out_by_the_older_words(case):
    operator, constants = CASES[case]
    before = model(operator, constants=constants)
    for found, expected in zip(outputs(lowered(before)), outputs(before)):
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


def test_equal_parts_are_split_as_before():
    parts = onnx.helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2)
    joined = onnx.helper.make_node("Concat", ["b", "a"], ["y"], axis=1)
    before = model(parts, joined)
    np.testing.assert_array_equal(outputs(lowered(before))[0], outputs(before)[0])


@pytest.mark.parametrize(
    "operator, more, named",
    [
        (node("Mish"), {}, "Mish"),  # came with set 18
        (node("ReduceMax", ["axes"]), dict(inputs=["axes"]), "ReduceMax"),  # that are worked out
        (
            node("Resize", ["", "scales"], mode="linear", antialias=1),
            dict(constants=dict(scales=RESIZED)),
            "Resize",
        ),
        (
            node("ReduceMax", noop_with_empty_axes=1),
            {},
            "ReduceMax",
        ),
    ],
)
def test_what_can_not_be_said_is_named(operator, more, named):
    with pytest.raises(
        UserError,
        match=f"--opset 17 has no words for the operator {named} as it is used here: give 18",
    ):
        lowered(model(operator, **more))


def test_where_nodes_came_from_is_dropped_and_the_rest_stays():
    operator = node("Relu", name="n", doc_string="/home/someone/model.py:3")
    proto = model(operator)
    proto.doc_string = proto.graph.doc_string = "/home/someone"
    entry = proto.graph.node[0].metadata_props.add()
    entry.key, entry.value = "stack_trace", 'File "/home/someone/model.py", line 3'
    graph = ir.from_proto(proto)
    forget_sources(graph)
    result = ir.to_proto(graph)
    assert b"someone" not in result.SerializeToString()
    np.testing.assert_array_equal(outputs(result)[0], outputs(proto)[0])
