"""`free scale`: a positive divisor in front of a unit vector is none.

    x = s / c,   x / max(|x|, e)  =  s / max(|s|, c e)        for c > 0

A sentence encoder divides a sum over the tokens by their number, and makes the result a unit vector, for which the
number does not matter. It is left out, also of the bound: that makes a difference only where |s| is below e or c e,
e being 1e-12 and the like, which is there against a division by 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites._divisors import bounded, through
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import known_shape

if TYPE_CHECKING:
    import onnx_ir as ir

_TINY = 1e-6


@rewrite(
    "free scale",
    why="a vector that becomes a unit vector needs no division by a positive number before",
    cures=(Cure("Div"),),
)
def free_scale(model: ir.Model, device: Device) -> int:
    """Leave divisions by positive numbers out in front of unit vectors; returns how many."""
    import onnx_ir as ir

    del device
    count = 0
    for node in list(model.graph):
        norm = _norm(node)
        scaled = None if norm is None else node.inputs[0]
        before = None if scaled is None else scaled.producer()
        if (
            norm is None
            or before is None
            or not standard(before, "Div")
            or before.outputs[0].is_graph_output()
        ):
            continue
        if {use.node for use in before.outputs[0].uses()} != {node, norm} or not _scales_whole(before, norm):
            continue
        whole = before.inputs[0]
        assert whole is not None  # noqa: S101 - a quotient has both
        ir.convenience.replace_all_uses_with(before.outputs[0], whole)
        model.graph.remove(before, safe=True)
        count += 1
    return count


def _norm(node: ir.Node) -> ir.Node | None:
    """The ReduceL2 whose bounded result a node divides the same vector by; None where it does something else."""
    if not standard(node, "Div") or node.inputs[0] is None:
        return None
    value, least = bounded(through(node.inputs[1], "Expand"))
    norm = None if value is None else value.producer()
    small = least is not None and least <= _TINY
    if norm is None or not small or not standard(norm, "ReduceL2") or norm.inputs[0] is not node.inputs[0]:
        return None
    return norm


def _scales_whole(division: ir.Node, norm: ir.Node) -> bool:
    """Whether the divisor is positive, and one number along the axes that the norm is taken over."""
    divisor = through(division.inputs[1], "Expand")
    if bounded(divisor)[0] is None:
        return False
    shape, own = known_shape(division.outputs[0]), known_shape(divisor)
    axes = constant(norm.inputs[1]) if len(norm.inputs) > 1 else None
    if shape is None or own is None or axes is None or known_shape(division.inputs[0]) != shape:
        return False
    full = (1,) * (len(shape) - len(own)) + own
    return all(full[int(axis)] == 1 for axis in axes)
