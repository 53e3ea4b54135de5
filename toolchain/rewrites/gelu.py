"""`gelu`: GELU by the logistic function s(v) = 1 / (1 + exp(-v)), its argument bounded.

    gelu(x) ~ x s(v)     with  v = u (4.5 c0 + 4.5^3 c1 u^2),  u = min(max(x / 4.5, -1), 1),
                               c0 = sqrt(8 / pi),  c1 = 0.044715 c0

Without the bound this is the tanh form of Hendrycks and Gimpel ("Gaussian Error Linear Units", 2016), by
tanh(v) = 2 s(2v) - 1, which differs from the exact function by less than 5e-4 everywhere. At |x| = 4.5 the logistic
function is within 1.2e-6 of 0 or 1, so that the bound changes nothing that 16 bits can show; but it keeps v below 14.
Left free, one activation of 25 makes v reach 1100, and a step of 16 bits over that range is an eighth of the whole
slope of s.

An NPU without a 16-bit GELU has these products, sums and the logistic function.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites._gelu_pattern import join_gelus
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir

_WIDE = 16
_BOUND = 4.5
_C0 = math.sqrt(8 / math.pi)
_C1 = 0.044715 * _C0


@rewrite(
    "gelu",
    why="the NPU has no GELU of this width; it has the logistic function, of an argument that is bounded",
    cures=(Cure("GELU"),),
    first=lambda device: device.activation_bits == _WIDE,
)
def gelu(model: ir.Model, device: Device) -> int:
    """Rewrite Gelu, and the sums and products around Erf that are one; returns how many."""
    del device
    join_gelus(model.graph)
    found = [node for node in model.graph if standard(node, "Gelu")]
    for node in found:
        (x,) = node.inputs
        new = Build(model.graph, node)
        scaled = new.op("Mul", [x, new.number(1 / _BOUND, "scale")], "scaled")
        u = new.op("Clip", [scaled, new.number(-1.0, "low"), new.number(1.0, "high")], "bounded")
        square = new.op("Mul", [u, u], "square")
        slope = new.op("Mul", [square, new.number(_BOUND**3 * _C1, "c1")], "slope")
        factor = new.op("Add", [slope, new.number(_BOUND * _C0, "c0")], "factor")
        v = new.op("Mul", [factor, u], "argument")
        new.finish("Mul", [x, new.op("Sigmoid", [v], "logistic")])
    return len(found)
