"""`kept bounds`: Relu and Clip of a sum or product with a constant as operators that stay.

    Relu(x o c)  =  Max(x o c, 0),    Clip(x o c, l, h)  =  Min(Max(x o c, l), h),    o one of + - * /

A quantizer writes a Relu or Clip down as a range that ends where the bound is, and leaves no node for it. A compiler
that works constants into one another then drops the operator with that range, and the bound with it: of
Relu(x - 1) + 1 it makes x, which is a count that a quotient divides by, and of Relu(x + 0), the end of a norm whose
bias is zero, x again. Bounds of convolutions and matrix products are parts of those, and are not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.base import Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir

_FOLDED = ("Add", "Sub", "Mul", "Div")
_ENDS = 3
"""Inputs of a Clip that has both of its bounds."""


@rewrite(
    "kept bounds",
    why="the NPU's compiler drops a Relu or Clip together with a sum or product that it works into another one",
    first=lambda device: device.drops_bounds,
)
def kept_bounds(model: ir.Model, device: Device) -> int:
    """Rewrite Relu and Clip behind arithmetic with constants; returns how many."""
    del device
    count = 0
    for node in list(model.graph):
        ends = _bounds(node)
        source = node.inputs[0].producer() if ends is not None and node.inputs[0] is not None else None
        if ends is None or source is None or not any(standard(source, op) for op in _FOLDED):
            continue
        known = [array for value in source.inputs if (array := constant(value)) is not None]
        # Integers, as the ends of an index, are computed as they are.
        if len(known) != 1 or known[0].dtype.name != "float32":
            continue
        steps = [(op, end) for op, end in zip(("Max", "Min"), ends, strict=True) if end is not None]
        if not steps:
            continue
        new = Build(model.graph, node)
        value = node.inputs[0]
        for op, end in steps[:-1]:
            value = new.op(op, [value, new.number(end, f"{op}-bound")], op)
        op, end = steps[-1]
        new.finish(op, [value, new.number(end, f"{op}-bound")])
        count += 1
    return count


def _bounds(node: ir.Node) -> tuple[float | None, float | None] | None:
    """Lower and upper end of what a node gives, None where there is none; None of a node that is no such bound."""
    if standard(node, "Relu"):
        return 0.0, None
    if not standard(node, "Clip"):
        return None
    ends: list[float | None] = []
    for value in (*node.inputs[1:], None, None)[: _ENDS - 1]:
        known = constant(value)
        if value is not None and known is None:
            return None
        ends.append(None if known is None else float(known.item()))
    return ends[0], ends[1]
