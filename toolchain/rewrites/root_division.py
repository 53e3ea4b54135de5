"""`root division`: a quotient by a bounded divisor as products with 1 / sqrt, which NPUs have as a table.

    x / max(sqrt(s), e)  =  x / sqrt(max(s, e^2))           for e > 0
    x / max(n, e)        =  x r r,  r = 1 / sqrt(max(n, e))  for e > 0

The first is how unit vectors are made (s a sum of squares, e against zero), the second a mean over a mask. A
broadcast of the divisor is not needed: a product broadcasts by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites._divisors import bounded, through
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build, opset

if TYPE_CHECKING:
    import onnx_ir as ir

_AXES_ARE_INPUTS = 18  # of ReduceL2; of ReduceSum from 13 on


@rewrite(
    "root division",
    why="the NPU has no quotient, square root or broadcast of this width; it has 1/sqrt and products",
    cures=(Cure("DIV"), Cure("SQRT"), Cure("BROADCAST_TO"), Cure("ABS")),
    first=lambda device: device.activation_bits > 8 and "Div" not in device.has,  # noqa: PLR2004 - 8-bit ones are tables
)
def root_division(model: ir.Model, device: Device) -> int:
    """Rewrite quotients by max(n, e); returns how many."""
    del device
    version = opset(model)
    return sum(_rewrite(model.graph, node, version) for node in list(model.graph) if standard(node, "Div"))


def _rewrite(graph: ir.Graph, node: ir.Node, version: int) -> bool:
    x, divisor = node.inputs
    value, least = bounded(through(divisor, "Expand"))
    if value is None or least is None or x is None:
        return False
    producer = value.producer()
    new = Build(graph, node)
    if producer is not None and standard(producer, "Sqrt"):
        square: ir.Value | None = producer.inputs[0]
    elif producer is not None and standard(producer, "ReduceL2") and _given(producer, version):
        source, axes = producer.inputs[0], producer.inputs[1:]
        keep = producer.attributes.get_int("keepdims", 1)
        square = new.op(
            "ReduceSum", [new.op("Mul", [source, source], "squares"), *axes], "square", keepdims=keep
        )
    else:
        square = None
    if square is not None:
        limited = new.op("Max", [square, new.number(least * least, "bound")], "limited")
        new.finish("Mul", [x, new.op("Reciprocal", [new.op("Sqrt", [limited], "root")], "inverse")])
        return True
    limited = new.op("Max", [value, new.number(least, "bound")], "limited")
    inverse = new.op("Reciprocal", [new.op("Sqrt", [limited], "root")], "inverse")
    new.finish("Mul", [x, new.op("Mul", [inverse, inverse], "reciprocal")])
    return True


def _given(node: ir.Node, version: int) -> bool:
    """Whether its axes are an input, as ReduceSum wants them."""
    return version >= _AXES_ARE_INPUTS and len(node.inputs) > 1 and node.inputs[1] is not None
