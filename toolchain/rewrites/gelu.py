"""`gelu`: GELU by the logistic function s(v) = 1 / (1 + exp(-v)), its argument bounded.

    gelu(x) = x Phi(x) ~ x s(v)    with  v = u (k0 + k1 u^2 + k2 u^4),  u = min(max(x / 4.5, -1), 1)

Phi(x) = s(log(Phi(x) / Phi(-x))), whose argument is an odd function of x: k0, k1 and k2 are its fit over |x| <= 4.5 by
least squares, weighted until the largest error of x s(v) was least: 2.7e-5, and beyond 4.5 a share of 3.3e-6. With two
coefficients no fit is nearer than 2.7e-4, and the tanh form of Hendrycks and Gimpel ("Gaussian Error Linear Units",
2016) is off by 4.7e-4: over the six layers of a sentence encoder that adds up to 0.2 % of the output. The bound changes
nothing that 16 bits can show, and beyond it the polynomial turns back; it also keeps v below 14, so that a step of 16
bits is small beside the slope of s.

An NPU without a 16-bit GELU has these products, sums and the logistic function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites._gelu_pattern import join_gelus
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir

_WIDE = 16
BOUND = 4.5
"""Beyond it, x s(v) is x or 0 but for a share of 3.3e-6."""
COEFFICIENTS = (7.17757096, 6.74427901, -1.29729475)
"""k0, k1, k2."""


@rewrite(
    "gelu",
    why="the NPU has no GELU of this width; it has the logistic function, of an argument that is bounded",
    cures=(Cure("GELU"), Cure("Erf"), Cure("Gelu")),
    first=lambda device: device.activation_bits == _WIDE and "Gelu" not in device.has,
)
def gelu(model: ir.Model, device: Device) -> int:
    """Rewrite Gelu, and the sums and products around Erf that are one; returns how many."""
    del device
    join_gelus(model.graph)
    found = [node for node in model.graph if standard(node, "Gelu")]
    for node in found:
        by_logistic(model.graph, node)
    return len(found)


def by_logistic(graph: ir.Graph, node: ir.Node) -> None:
    """Replace one Gelu by the formula."""
    (x,) = node.inputs
    new = Build(graph, node)
    scaled = new.op("Mul", [x, new.number(1 / BOUND, "scale")], "scaled")
    u = new.op("Clip", [scaled, new.number(-1.0, "low"), new.number(1.0, "high")], "bounded")
    square = new.op("Mul", [u, u], "square")
    k0, k1, k2 = COEFFICIENTS
    bend = new.op("Mul", [square, new.number(k2, "k2")], "bend")
    slope = new.op("Add", [bend, new.number(k1, "k1")], "slope")
    curve = new.op("Mul", [slope, square], "curve")
    factor = new.op("Add", [curve, new.number(k0, "k0")], "factor")
    v = new.op("Mul", [factor, u], "argument")
    new.finish("Mul", [x, new.op("Sigmoid", [v], "logistic")])
