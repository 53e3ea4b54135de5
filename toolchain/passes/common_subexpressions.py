"""`common-subexpressions`: of nodes that compute the same from the same inputs one is kept per graph.

Two nodes are the same if operator, inputs, attributes and the set of outputs that exist are equal.
Left alone are random operators, nodes with subgraphs, operators of other domains (they may hold
state), QuantizeLinear and DequantizeLinear (runtimes want one for every consumer), and nodes whose
result is an output of the graph.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.graphs import RANDOM_OPS, merge_value_facts, scopes, standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.passes.graphs import GraphLike

_KEPT_APART = RANDOM_OPS | {"Constant", "DequantizeLinear", "Dropout", "QuantizeLinear"}


@passes.register("common-subexpressions")
def common_subexpressions(model: ir.Model) -> int:
    """Merge equal nodes; returns how many were dropped."""
    return sum(_merge(graph) for graph, _ in scopes(model))


def _merge(graph: GraphLike) -> int:
    first: dict[Hashable, ir.Node] = {}
    count = 0
    for node in list(graph):
        key = _key(node)
        if key is None:
            continue
        kept = first.setdefault(key, node)
        if kept is node or any(output.is_graph_output() for output in node.outputs):
            continue
        for old, new in zip(node.outputs, kept.outputs, strict=True):
            merge_value_facts(new, old)
            old.replace_all_uses_with(new)
        graph.remove(node, safe=True)
        count += 1
    return count


def _key(node: ir.Node) -> Hashable | None:
    import onnx_ir as ir

    if not standard(node) or node.op_type in _KEPT_APART:
        return None
    attributes = []
    for name in sorted(node.attributes):
        attribute = node.attributes[name]
        if attribute.is_ref():
            value: Hashable = ("ref", attribute.ref_attr_name)
        elif attribute.type in (ir.AttributeType.INT, ir.AttributeType.STRING):
            value = attribute.value
        elif attribute.type is ir.AttributeType.FLOAT:
            value = float(attribute.value).hex()  # NaN equals NaN, and -0.0 is not 0.0
        elif attribute.type in (ir.AttributeType.INTS, ir.AttributeType.STRINGS):
            value = tuple(attribute.value)
        elif attribute.type is ir.AttributeType.FLOATS:
            value = tuple(float(item).hex() for item in attribute.value)
        else:
            return None
        attributes.append((name, attribute.type, value))
    return (
        node.op_type,
        node.overload,
        tuple(id(value) for value in node.inputs),
        tuple(bool(output.name) for output in node.outputs),
        tuple(attributes),
    )
