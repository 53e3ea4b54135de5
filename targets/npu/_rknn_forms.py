"""The forms in which rknn-toolkit2 (2.5.0) knows what the NPU has, or without which its optimizer never ends.

    x (1 / s)    becomes    x / s
    x + x        becomes    2 x

The NPU divides x by s, and has a root mean square norm, x / sqrt(mean(x^2) + eps), as one layer, exNorm. Of 1 / s the
toolkit makes a division of one by s, which is the CPU's, and which hides that norm from it. A sum of a product with
itself it takes for a product and its bias and writes the product into its own inputs; the circle is then sorted for
ever. Both new forms are at least as exact: a quotient is rounded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir


def known_forms(model: ir.Model) -> None:
    """Write both, in place, wherever they stand."""
    quotients(model)
    doubles(model)


def quotients(model: ir.Model) -> int:
    """Divide where a reciprocal is only multiplied by; returns how many products became quotients."""
    count = 0
    for node in list(model.graph):
        if not standard(node, "Reciprocal") or node.outputs[0].is_graph_output():
            continue
        inverse, divisor = node.outputs[0], node.inputs[0]
        uses = [use.node for use in inverse.uses()]
        if not uses or not all(standard(use, "Mul") and use.inputs[0] is not use.inputs[1] for use in uses):
            continue
        for use in uses:
            first, second = use.inputs
            other = first if second is inverse else second
            Build(model.graph, use).finish("Div", [other, divisor])
            count += 1
        model.graph.remove(node, safe=True)
    return count


def doubles(model: ir.Model) -> int:
    """Multiply by two where a tensor of floating-point numbers is added to itself; returns how many sums there were."""
    count = 0
    for node in list(model.graph):
        if not standard(node, "Add") or node.inputs[0] is not node.inputs[1] or node.inputs[0] is None:
            continue
        value = node.inputs[0]
        if value.dtype is None or value.dtype.name != "FLOAT":
            continue
        new = Build(model.graph, node)
        new.finish("Mul", [value, new.number(2.0, "two")])
        count += 1
    return count
