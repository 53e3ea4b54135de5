"""`bounded sums`: a bound between two sums with constants as one above both.

    max(x + a, 0) + b  =  max(x + (a + b), b)

With a = -b, as in a count of at least one, the right side is one operator. A compiler that adds a and b up, as if
nothing stood between them, makes x + (a + b) of the left one: a quantizer writes a Relu down as a range that begins
with zero, and no node is left for it. Quotients by such a count divided by zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.base import Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir


@rewrite(
    "bounded sums",
    why="the NPU's compiler adds up the constants on both sides of a Relu as if it were not there",
    first=lambda device: device.merges_sums,
)
def bounded_sums(model: ir.Model, device: Device) -> int:
    """Rewrite sums with a constant of a Relu of such a sum; returns how many."""
    del device
    count = 0
    for node in list(model.graph):
        outer = _with_number(node)
        if outer is None:
            continue
        bounded = outer[0].producer()
        inside = bounded.inputs[0] if bounded is not None and standard(bounded, "Relu") else None
        inner = _with_number(inside.producer()) if inside is not None else None
        if inner is None:
            continue
        (_, above), (x, below) = outer, inner
        new = Build(model.graph, node)
        moved = x if below + above == 0 else new.op("Add", [x, new.number(below + above, "both")], "moved")
        new.finish("Max", [moved, new.number(above, "bound")])
        count += 1
    return count


def _with_number(node: ir.Node | None) -> tuple[ir.Value, float] | None:
    """What is summed, and the number that is added to it, of x + c, c + x and x - c; None of anything else."""
    if node is None or not (standard(node, "Add") or standard(node, "Sub")):
        return None
    first, second = node.inputs
    for value, other in ((first, second), (second, first))[: 2 if node.op_type == "Add" else 1]:
        known = constant(other)
        if value is not None and known is not None and known.size == 1 and known.dtype.kind == "f":
            return value, float(known.item()) * (1 if node.op_type == "Add" else -1)
    return None
