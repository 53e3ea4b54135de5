"""Finds GELU where an exporter has written it out: x / 2 (1 + erf(x / sqrt 2)), whichever product is taken first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard

if TYPE_CHECKING:
    import onnx_ir as ir

_TOLERANCE = 1e-3


def join_gelus(graph: ir.Graph) -> int:
    """Put one Gelu in the place of each; returns how many."""
    found = [node for node in graph if standard(node, "Erf")]
    return sum(_join_gelu(graph, node) for node in found)


def _only_use(value: ir.Value) -> ir.Node | None:
    uses = value.uses()
    return next(iter(uses)).node if len(uses) == 1 and not value.is_graph_output() else None


def _join_gelu(graph: ir.Graph, erf: ir.Node) -> bool:
    """Gelu(x) = x/2 (1 + erf(x / sqrt 2)), whichever of its products is taken first."""
    x = _scaled(erf.inputs[0], math.sqrt(0.5))
    plus = _only_use(erf.outputs[0])
    if x is None or plus is None or not standard(plus, "Add") or not _other_is(plus, erf.outputs[0], 1.0):
        return False
    # (1 + erf) is multiplied by x and by 1/2, in either order, or by x/2.
    product = _only_use(plus.outputs[0])
    if product is None or not standard(product, "Mul"):
        return False
    other = next((v for v in product.inputs if v is not plus.outputs[0]), None)
    if other is x:
        last = _only_use(product.outputs[0])
        if last is None or not _is_half(last, product.outputs[0]):
            return False
    elif _scaled(other, 0.5) is x:
        last = product
    elif _other_is(product, plus.outputs[0], 0.5):
        last = _only_use(product.outputs[0])
        if last is None or not standard(last, "Mul") or x not in last.inputs:
            return False
    else:
        return False
    _replace(graph, last, x)
    return True


def _replace(graph: ir.Graph, last: ir.Node, x: ir.Value) -> None:
    import onnx_ir as ir

    old = last.outputs[0]
    made = ir.Node(
        "", "Gelu", [x], outputs=[ir.Value(name=old.name, type=old.type, shape=old.shape)], name=last.name
    )
    graph.insert_after(last, made)
    ir.convenience.replace_all_uses_with(old, made.outputs[0], replace_graph_outputs=True)
    graph.remove([last], safe=True)


def _is_half(node: ir.Node, value: ir.Value) -> bool:
    if standard(node, "Mul"):
        return _other_is(node, value, 0.5)
    return standard(node, "Div") and node.inputs[0] is value and _other_is(node, value, 2.0)


def _other_is(node: ir.Node, value: ir.Value, number: float) -> bool:
    others = [other for other in node.inputs if other is not value]
    found = constant(others[0]) if len(others) == 1 else None
    return found is not None and found.size == 1 and abs(float(found.reshape(-1)[0]) - number) < _TOLERANCE


def _scaled(value: ir.Value | None, factor: float) -> ir.Value | None:
    """What x is when a value is x times a factor, written as a product or a quotient."""
    node = None if value is None else value.producer()
    if node is None or not standard(node, "Mul", "Div"):
        return None
    for index in (0, 1) if node.op_type == "Mul" else (0,):
        number = constant(node.inputs[1 - index])
        if number is None or number.size != 1:
            continue
        own = float(number.reshape(-1)[0])
        own = own if node.op_type == "Mul" else 1.0 / own if own else math.inf
        if abs(own - factor) < _TOLERANCE:
            return node.inputs[index]
    return None
