"""Static int8 convolutions of a mixed-precision model, by ONNX Runtime's own placement of pairs.

A convolution's result is rounded as its input is, and what follows it joins in: an operator with an int8 kernel whose
inputs all come from static convolutions, or from operators that joined before it. What comes from a float node, and
is read by other float nodes too, is rounded on a branch of its own, so that those see it as it was.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_bias import mean_shift
from edgepack.quantize._onnx_edit import Builder
from edgepack.quantize._onnx_qdq import INT8_OPS, insert_pairs
from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import onnx
    import onnx_ir as ir

    from edgepack.quantize._onnx_mixed_facts import Facts

COPY = "/static"
"""Ending of the name of a copy that static nodes read."""

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_JOIN = tuple(
    name for name in INT8_OPS if name not in {*_CONVOLUTIONS, "MatMul", "Gemm", "Gather", "Mul", "Softmax"}
)
_BIAS = 2  # index of the bias among the inputs of Conv


def static_nodes(graph: ir.Graph, chosen: Collection[ir.Node]) -> list[ir.Node]:
    """The chosen convolutions and the operators that join them, in graph order."""
    static: set[ir.Node] = set()
    for node in graph:
        if node in chosen:
            static.add(node)
        elif standard(node, *_JOIN):
            sources = [v.producer() for v in node.inputs if v is not None and not is_constant(v)]
            if sources and all(source is not None and source in static for source in sources):
                static.add(node)
    return [node for node in graph if node in static]


def convolution_tensors(graph: ir.Graph) -> list[str]:
    """Names of the tensors that some assignment may round: with every convolution static."""
    chosen = {n for n in graph if standard(n, *_CONVOLUTIONS) and is_constant(n.inputs[1])}
    names: dict[str, None] = {}
    for node in static_nodes(graph, chosen):
        names |= dict.fromkeys(str(v.name) for v in node.inputs if v is not None and not is_constant(v))
        names |= dict.fromkeys(str(v.name) for v in node.outputs if v.name)
    return list(names)


def static_convolutions(model: ir.Model, folder: Path, names: Collection[str], facts: Facts) -> ir.Model:
    """The model with pairs of quantization around the named convolutions, and what joins them.

    Args:
        model: The float model; it is used up.
        folder: Where its data files are.
        names: Of convolutions, unique in the graph.
        facts: Ranges and means.
    """
    import onnx_ir as ir

    graph = model.graph
    chosen = {node for node in graph if node.name in names}
    static = static_nodes(graph, chosen)
    _branch(graph, chosen, set(static))
    for node in chosen:
        _own_constants(graph, node, chosen)
        _correct_bias(graph, node, facts)
    exclude = [str(node.name) for node in graph if node not in set(static)]
    # "Add" among the operators is what makes `insert_pairs` round results as well.
    operators = sorted({"Add", *(node.op_type for node in static)})
    found = {f"{name}{COPY}": span for name, span in facts.ranges.items()} | dict(facts.ranges)
    arm = platform.machine().lower().startswith(("arm", "aarch64"))
    made = insert_pairs(
        _proto(model, folder), found, "int8" if arm else "uint8", exclude, operators=operators
    )
    result = ir.serde.deserialize_model(made)
    result.graph.sort()  # ONNX Runtime's quantizer appends nodes wherever it happens to be
    return result


def _branch(graph: ir.Graph, chosen: Collection[ir.Node], static: Collection[ir.Node]) -> None:
    by_input: dict[ir.Value, list[ir.Node]] = {}
    for node in graph:
        if node in chosen and node.inputs[0] is not None:
            by_input.setdefault(node.inputs[0], []).append(node)
    for value, nodes in by_input.items():
        shared = value.is_graph_output() or any(user not in nodes for user in value.consumers())
        if value.producer() not in static and shared:
            _copy(graph, value, nodes)


def _copy(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    import onnx_ir as ir

    build = Builder(graph, f"{value.name}{COPY}")
    copy = build.add("Identity", [value])
    build.insert_before(next(node for node in graph if node in nodes))
    copy.name, copy.type, copy.shape = f"{value.name}{COPY}", ir.TensorType(ir.DataType.FLOAT), value.shape
    for node in nodes:
        node.replace_input_with(0, copy)


def _own_constants(graph: ir.Graph, node: ir.Node, chosen: Collection[ir.Node]) -> None:
    """Constants that other nodes read as well are copied, since pairs replace them for everybody."""
    for index, value in enumerate(node.inputs):
        if index == 0 or value is None or not is_constant(value) or value.const_value is None:
            continue
        if any(user not in chosen for user in value.consumers()):
            build = Builder(graph, f"{node.outputs[0].name}{COPY}")
            node.replace_input_with(index, build.constant(_copied(value.const_value), f"constant-{index}"))


def _copied(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    import onnx_ir as ir

    def compute() -> ir.TensorProtocol:
        return ir.Tensor(array(tensor))

    return ir.LazyTensor(compute, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()))


def _correct_bias(graph: ir.Graph, node: ir.Node, facts: Facts) -> None:
    """Take the mean error that rounding the weight causes out of the bias (`_onnx_bias`)."""
    import numpy as np

    source, kernel = node.inputs[0], node.inputs[1]
    bias = node.inputs[_BIAS] if len(node.inputs) > _BIAS else None
    if node.op_type != "Conv" or source is None or not (is_constant(kernel) and is_constant(bias)):
        return
    means = facts.means[str(source.name).removesuffix(COPY)]
    values = _array(bias)
    shift = mean_shift(_array(kernel), means, node.attributes.get_int("group", 1))
    corrected = np.broadcast_to(values, np.broadcast_shapes(values.shape, shift.shape)) - shift
    build = Builder(graph, f"{node.outputs[0].name}/corrected")
    node.replace_input_with(_BIAS, build.constant(corrected.astype(values.dtype), "bias"))


def _array(value: ir.Value | None) -> np.ndarray:
    assert value is not None and value.const_value is not None  # noqa: S101, PT018 - asked before
    return array(value.const_value)


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is a constant that no caller can replace."""
    if value is None or value.is_graph_input():
        return False
    return value.is_initializer() and value.const_value is not None


def _proto(model: ir.Model, folder: Path) -> onnx.ModelProto:
    """With weights in memory, and the type of every tensor inferred."""
    import onnx
    import onnx_ir as ir

    proto = ir.serde.serialize_model(model)
    # Inference reads no large weights, and a graph with them would not fit into protobuf above 2 GB.
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    onnx.load_external_data_for_model(proto, str(folder))
    return proto
