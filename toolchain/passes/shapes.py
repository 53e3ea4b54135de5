"""`shapes`: ONNX's own shape inference, run on a copy of the graph that holds no weights.

The copy that goes to the C++ code carries the type and shape of a large weight and a reference that is
never followed, so that it stays small (and under protobuf's 2 GB) whatever the model weighs. What
comes back fills what was unknown: a dimension that has a name keeps it in the graph's inputs and
outputs, and the names that inference invents are not taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.graphs import is_open, substituted, unknown
from edgepack.toolchain.passes.weights import is_large

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_INVENTED = "unk__"


@passes.register("shapes")
def shapes(model: ir.Model) -> int:
    """Infer types and shapes; returns how many values became better known.

    Raises:
        SourceError: The graph's types or shapes contradict one another.
    """
    if not any(is_open(value) for graph in model.graphs() for node in graph for value in node.outputs):
        return 0
    import onnx_ir as ir
    from onnx import shape_inference

    with substituted(_stubs(model)):
        proto = ir.serde.serialize_model(model)
    try:
        inferred = shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=True)
    except shape_inference.InferenceError as error:
        raise SourceError(
            f"The graph's types or shapes contradict one another: {str(error).strip()}",
            todo="Check the file with onnx.checker.check_model(path, full_check=True)",
        ) from error
    return _take_over(model.graph, inferred.graph)


def _stubs(model: ir.Model) -> dict[ir.Value, ir.TensorProtocol]:
    import onnx_ir as ir

    return {
        value: ir.ExternalTensor(
            "weight",
            0,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=value.name or "",
        )
        for graph in model.graphs()
        for value in graph.initializers.values()
        if (tensor := value.const_value) is not None and is_large(tensor)
    }


def _take_over(graph: ir.Graph, proto: onnx.GraphProto) -> int:
    import onnx_ir as ir

    types = {info.name: info.type for info in (*proto.value_info, *proto.output)}
    count = 0
    for node, node_proto in zip(graph, proto.node, strict=True):
        for value in node.outputs:
            if value.name in types and _learn(value, types[value.name]):
                count += 1
        protos = {attribute.name: attribute for attribute in node_proto.attribute}
        for name, attribute in node.attributes.items():
            if attribute.is_ref():
                continue
            if attribute.type is ir.AttributeType.GRAPH:
                count += _take_over(attribute.as_graph(), protos[name].g)
            elif attribute.type is ir.AttributeType.GRAPHS:
                count += sum(
                    _take_over(*pair) for pair in zip(attribute.as_graphs(), protos[name].graphs, strict=True)
                )
    return count


def _learn(value: ir.Value, proto: onnx.TypeProto) -> bool:
    import onnx_ir as ir

    if not proto.HasField("tensor_type") or not proto.tensor_type.elem_type:
        return False
    changed = False
    if value.type is None:
        value.type = ir.TensorType(ir.DataType(proto.tensor_type.elem_type))
        changed = True
    if not proto.tensor_type.HasField("shape"):
        return changed
    new = [
        dim.dim_value
        if dim.HasField("dim_value")
        else (dim.dim_param if dim.dim_param and not dim.dim_param.startswith(_INVENTED) else None)
        for dim in proto.tensor_type.shape.dim
    ]
    if value.shape is None:
        value.shape = ir.Shape(new)
        return True
    if len(value.shape) != len(new):
        return changed
    fixed = value.is_graph_output()
    dims = [
        theirs
        if unknown(mine) or (isinstance(theirs, int) and not isinstance(mine, int) and not fixed)
        else mine
        for mine, theirs in zip(value.shape, new, strict=True)
    ]
    shape = ir.Shape(dims)
    if shape == value.shape:
        return changed
    value.shape = shape
    return True
