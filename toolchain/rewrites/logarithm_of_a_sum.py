"""`logarithm of a sum`: the logarithm in a soft bound from below, as a quotient and a polynomial.

    softplus(x) = max(x, 0) + log(1 + t),  t = exp(-|x|) in (0, 1]

    log(1 + t)  =  2 atanh(z),  z = t / (2 + t) in (0, 1/3]
                ~  z (a + z^2 (b + z^2 c)),  a = 2.00005188, b = 0.663032, c = 0.46266682

The polynomial is the minimax one of this degree on that interval, fitted for this file: off by 2.5e-6 at most. All are
products and one quotient of numbers of one size, which integers of 16 bits hold well. Softplus as one operator, where
a device has it, is a table of coarser steps: 1 % off where it was tried (the HTP's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir

_POLYNOMIAL = (2.00005188, 0.663032, 0.46266682)


@rewrite(
    "logarithm of a sum",
    why="the NPU's logarithm of this width is wrong or missing; that of 1 + exp(-|x|) is a quotient and a polynomial",
    cures=(Cure("Log"), Cure("LOG")),
    first=lambda device: "Log" in device.lacks,
)
def logarithm_of_a_sum(model: ir.Model, device: Device) -> int:
    """Rewrite log(1 + exp(-|x|)); returns how many."""
    del device
    count = 0
    for node in list(model.graph):
        small = _small(node)
        if small is None:
            continue
        new = Build(model.graph, node)
        z = new.op("Div", [small, new.op("Add", [small, new.number(2.0, "two")], "divisor")], "ratio")
        square = new.op("Mul", [z, z], "square")
        first, second, third = _POLYNOMIAL
        inner = new.op("Mul", [square, new.number(third, "c")], "inner-share")
        inner = new.op("Add", [inner, new.number(second, "b")], "inner")
        outer = new.op("Mul", [square, inner], "outer-share")
        new.finish("Mul", [z, new.op("Add", [outer, new.number(first, "a")], "outer")])
        count += 1
    return count


def _small(node: ir.Node) -> ir.Value | None:
    """The t of a node log(1 + t), if t = exp(-|x|); else None."""
    total = _from(node.inputs[0], "Add") if standard(node, "Log") else None
    if total is None:
        return None
    for one, other in (total.inputs, total.inputs[::-1]):
        known = constant(one)
        if known is None or known.size != 1 or known.item() != 1.0:
            continue
        power = _from(other, "Exp")
        negated = _from(power.inputs[0], "Neg") if power is not None else None
        if negated is not None and _from(negated.inputs[0], "Abs") is not None:
            return other
    return None


def _from(value: ir.Value | None, op: str) -> ir.Node | None:
    """The node that gives a value, if it is this operator."""
    node = None if value is None else value.producer()
    return node if node is not None and standard(node, op) else None
