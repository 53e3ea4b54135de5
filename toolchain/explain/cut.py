"""Cuts a few nodes out of an ONNX graph as a model of their own: constants stay, what is computed becomes an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import onnx_ir as ir

_ROWS = 16
"""Rows that are kept of a table: which rows are looked up says nothing of where a lookup runs."""


def node_called(model: ir.Model, name: str) -> ir.Node | None:
    """The node that an operator of a compiled file was made of, by that operator's name.

    Converters name what they make of a node after its result: "mask_float_quantized", "embedding/gather". The longest
    name of a value that the operator's name begins with is it. Others keep the node's own name, "node_erf", or put the
    operator's before it, "Erf:node_erf".
    """
    own = {node.name: node for node in model.graph if node.name}
    for known in (name, name.partition(":")[2]):
        if known in own:
            return own[known]
    found: tuple[int, ir.Node | None] = (0, None)
    for node in model.graph:
        for value in node.outputs:
            known = value.name or ""
            rest = name[len(known) :]
            exact = name.startswith(known) and (not rest or rest[0] in "/;_")
            if known and exact and len(known) > found[0]:
                found = (len(known), node)
    return found[1]


def around(node: ir.Node, *, before: int, after: int) -> list[ir.Node]:
    """A node, those that compute its inputs and those that read its results, so many steps far; in graph order."""
    chosen = {node}
    edge = {node}
    for _ in range(before):
        edge = {p for one in edge for v in one.inputs if v is not None and (p := v.producer()) is not None}
        chosen |= edge
    edge = {node}
    for _ in range(after):
        edge = {use.node for one in edge for value in one.outputs for use in value.uses()}
        chosen |= edge
    graph = node.graph
    return [one for one in graph if one in chosen] if graph is not None else [node]


def cut(model: ir.Model, nodes: Sequence[ir.Node]) -> ir.Model | None:
    """A model of these nodes alone; None where the type or shape of an input is not known.

    Args:
        model: Where they stand; it stays as it is.
        nodes: In graph order.
    """
    import onnx_ir as ir

    made = {value for node in nodes for value in node.outputs}
    values: dict[ir.Value, ir.Value] = {}
    inputs: list[ir.Value] = []
    constants: list[ir.Value] = []
    for node in nodes:
        for index, value in enumerate(node.inputs):
            if value is None or value in made or value in values:
                continue
            copy = _copied(value, table=index == 0 and standard(node, "Gather"))
            if copy is None:
                return None
            values[value] = copy
            (inputs if copy.const_value is None else constants).append(copy)
    copies = []
    for node in nodes:
        one = ir.Node(
            node.domain,
            node.op_type,
            [None if value is None else values[value] for value in node.inputs],
            list(node.attributes.values()),
            outputs=[ir.Value(name=v.name, type=v.type, shape=v.shape) for v in node.outputs],
            name=node.name,
        )
        values.update(zip(node.outputs, one.outputs, strict=True))
        copies.append(one)
    inside = {value for node in nodes for value in node.inputs if value is not None}
    outputs = [values[value] for node in nodes for value in node.outputs if _leaves(value, nodes, inside)]
    graph = ir.Graph(inputs, outputs, nodes=copies, initializers=constants, name="smallest",
                     opset_imports=dict(model.graph.opset_imports))  # fmt: skip
    return ir.Model(graph, ir_version=model.ir_version, producer_name="edgepack")


def _leaves(value: ir.Value, nodes: Sequence[ir.Node], inside: set[ir.Value]) -> bool:
    """Whether a result is read by none of the nodes, or by others too, and is known well enough to be an output."""
    if not value.name or value.type is None or value.shape is None:
        return False
    return (
        value not in inside or value.is_graph_output() or any(use.node not in nodes for use in value.uses())
    )


def _copied(value: ir.Value, *, table: bool) -> ir.Value | None:
    import onnx_ir as ir

    tensor = None if value.is_graph_input() else value.const_value
    if tensor is not None:
        values = array(tensor)
        if table and values.ndim > 1:
            values = values[:_ROWS]
        stored = ir.Tensor(values.copy(), dtype=tensor.dtype, name=value.name)
        return ir.Value(
            name=value.name,
            type=ir.TensorType(stored.dtype),
            shape=ir.Shape(stored.shape.numpy()),
            const_value=stored,
        )
    if value.dtype is None or value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return ir.Value(name=value.name, type=ir.TensorType(value.dtype), shape=value.shape)
