"""What stands in an ONNX graph: its operator set, and nothing of the machine that wrote it.

torch writes operator set 18, the oldest that it knows, and raises it to newer ones. Between that
and 17, which programs read that are some years old, there is little: see `to_opset_17`.
"""

from typing import Any

from nunif.errors import UserError

OPSET = 20  # of files of which nobody says otherwise
OLDEST_OF_TORCH = 18

FORMATS = {17: 8, 18: 8, 19: 9, 20: 9}  # of the file ("IR version"), as of the same release
# what set 18 added to operators, each by the value that means what they did before
ADDED_BY_18 = {"Resize": {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}}


def check_opset(opset: int) -> None:
    """
    Raises:
        UserError: the installed onnx does not know the set.
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UserError(
            f"--opset {opset} is not known to onnx {onnx.__version__}: give 17 to {newest}"
        )


def to_opset_17(model: Any) -> None:
    """Say a graph of set 18 in the words of set 17, in place.

    model: of onnx_ir, without functions, its constants worked out.

    Raises:
        UserError: names an operator that there are no words for.
    """
    for node in model.graph.all_nodes():
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
            _take_axes_as_attribute(node)
        for name, value in ADDED_BY_18.get(node.op_type, {}).items():
            if name in node.attributes and node.attributes[name].value == value:
                del node.attributes[name]
        if node.op_type == "Split" and len(node.inputs) == 1:
            node.attributes.pop("num_outputs", None)
        _check_words(node, 17)
        node.version = 17
    model.opset_imports[""] = 17


def _take_axes_as_attribute(node: Any) -> None:
    """They were an attribute, and are an input, which may be worked out, from set 18 on."""
    from onnx_ir import AttrInt64s
    from onnx_ir.convenience import get_const_tensor

    axes = get_const_tensor(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
    if axes is not None:
        node.resize_inputs(1)
        node.attributes["axes"] = AttrInt64s("axes", axes.numpy().tolist())
        node.attributes.pop("noop_with_empty_axes", None)


def _check_words(node: Any, opset: int) -> None:
    """
    Raises:
        UserError: the operator, one of its inputs or one of its attributes is not in the set.
    """
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
        is_known = len(node.inputs) <= schema.max_input and {*node.attributes} <= {
            *schema.attributes
        }
    except onnx.defs.SchemaError:
        is_known = False
    if not is_known:
        raise UserError(
            f"--opset {opset} has no words for the operator {node.op_type} as it is used here: "
            f"give {OLDEST_OF_TORCH} or more"
        )


def fit_format(model: Any) -> None:
    """Let a file have the format of its operator set's time; readers of that time know no newer
    one, and nothing is used here that they don't."""
    model.ir_version = min(model.ir_version, FORMATS.get(model.opset_imports[""], model.ir_version))


def forget_sources(model: Any) -> None:
    """Drop what tells where in which source file a node came from: paths of this machine, and a
    large part of a file."""
    graph = model.graph
    for part in [model, graph, *graph.inputs, *graph.outputs, *graph.initializers.values()]:
        part.metadata_props.clear()
        part.doc_string = None
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None
