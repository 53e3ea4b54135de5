"""`additive masks`: what is added to attention's scores by a mask of integers, as products and a bound.

    Where(m != 0, a, b)  =  b + (a - b) min(m m, 1)         for integers m in float

An NPU has no comparison and no truth values, but all of these. A score that may not be seen is b, the smallest number
of the type, which leaves nothing of an integer's range to the others: at most b = -100 is taken, so that a masked
weight is exp(-100 + spread) of the largest instead of 0, spread being the distance of its score from the largest one.
Below a spread of 80 float32 does not see the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites._layouts import is_integer, unlaid
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir

_HIDDEN = -100.0


@rewrite(
    "additive masks",
    why="the NPU has no truth values; what a mask adds to scores is a product of it",
    cures=(Cure("Cast"), Cure("Where")),
)
def additive_masks(model: ir.Model, device: Device) -> int:
    """Rewrite Where with two numbers in front of Softmax, by a mask that was cast; returns how many."""
    del device
    count = 0
    for node in list(model.graph):
        found = _mask(node)
        if found is None:
            continue
        mask, layouts = found
        seen, hidden = (_number(value) or 0.0 for value in node.inputs[1:])
        if hidden < _HIDDEN or seen < _HIDDEN:
            if not _only_scores(node.outputs[0]):
                continue
            seen, hidden = max(seen, _HIDDEN), max(hidden, _HIDDEN)
        new = Build(model.graph, node)
        square = new.op("Mul", [mask, mask], "square")
        known = new.op("Clip", [square, new.number(0.0, "none"), new.number(1.0, "one")], "known")
        share = new.op("Mul", [known, new.number(seen - hidden, "difference")], "share")
        for index, one in enumerate(layouts):
            share = new.op(one.op_type, [share, *one.inputs[1:]], f"layout-{index}", **one.attributes)
        new.finish("Add", [share, new.number(hidden, "hidden")])
        count += 1
    return count


def _mask(node: ir.Node) -> tuple[ir.Value, list[ir.Node]] | None:
    """The float32 mask of integers that decides between two numbers, and what becomes of its layout; None: no such."""
    import onnx_ir as ir

    if not standard(node, "Where") or any(_number(value) is None for value in node.inputs[1:]):
        return None
    truth, layouts = unlaid(node.inputs[0])
    cast = None if truth is None else truth.producer()
    if cast is None or not standard(cast, "Cast"):
        return None
    mask = cast.inputs[0]
    first = unlaid(mask)[0]
    origin = None if first is None else first.producer()
    integers = origin is not None and standard(origin, "Cast") and is_integer(origin.inputs[0])
    return (mask, layouts) if mask is not None and mask.dtype == ir.DataType.FLOAT and integers else None


def _number(value: ir.Value | None) -> float | None:
    """The one number that a constant is made of."""
    found = constant(value, limit=1 << 20)
    return (
        float(found.flat[0]) if found is not None and found.size and (found == found.flat[0]).all() else None
    )


def _only_scores(value: ir.Value) -> bool:
    """Whether a value goes into nothing but sums that a Softmax reads."""
    uses = list(value.uses())
    readers = [use.node for use in uses]
    return bool(readers) and all(
        standard(reader, "Softmax")
        or (
            standard(reader, "Add", "Expand")
            and not value.is_graph_output()
            and _only_scores(reader.outputs[0])
        )
        for reader in readers
    )
