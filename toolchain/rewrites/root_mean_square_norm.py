"""`root mean square norm`: x / sqrt(mean(x^2) + eps) in two steps, so that 1 / sqrt is read where its table is flat.

    p = mean|x| + sqrt(eps),  r = 1 / sqrt(p),  u = x r r,  y = u / sqrt(u . u / n + eps / p^2)

with n the length of the axis, and mean|x| = 2 mean(max(x, 0)) - mean(x). In 16 bits 1 / sqrt is a table with a line for
every 128 steps of its argument, straight in between. Rows of a network differ in size, some a hundredfold; their mean
squares then differ ten thousandfold and share one scale, and small rows lie in the first, steepest line, or are 0. p
differs as the rows do. Whatever r is off by, u . u shows it, and that lies near n in every row, where the table is
flat: p needs to be no more than a guess. Where the device multiplies activations of this width, u . u is a product,
whose accumulator holds exact squares.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.base import Device, rewrite
from edgepack.toolchain.rewrites.building import Build, known_shape, opset
from edgepack.toolchain.rewrites.squares import sum_of_squares

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_AXES_ARE_INPUTS = 18  # of ReduceMean
_WIDE = 16
_SQUARE = 2.0


@rewrite(
    "root mean square norm",
    why="in 16 bits small rows lie where 1/sqrt is steep; divided by their mean size first, all lie where it is flat",
    first=lambda device: device.activation_bits == _WIDE and "RMSNormalization" not in device.has,
)
def root_mean_square_norm(model: ir.Model, device: Device) -> int:
    """Rewrite products of x and 1 / sqrt(mean(x^2) + eps), over the last axis of known length; returns how many."""
    if opset(model) < _AXES_ARE_INPUTS:
        return 0
    count = 0
    for node in list(model.graph):
        found = _norm(node)
        if found is None:
            continue
        x, eps = found
        shape = known_shape(x)
        if shape is None:
            continue
        _rewrite(Build(model.graph, node), x, shape, eps, device)
        count += 1
    return count


def _rewrite(new: Build, x: ir.Value, shape: tuple[int, ...], eps: float, device: Device) -> None:
    import numpy as np

    n, axes = shape[-1], new.number(np.array([-1]), "axes")
    positive = new.op("ReduceMean", [new.op("Relu", [x], "positive"), axes], "positive-mean", keepdims=1)
    twice = new.op("Add", [positive, positive], "twice")
    size = new.op("Sub", [twice, new.op("ReduceMean", [x, axes], "mean", keepdims=1)], "size")
    guess = new.op("Add", [size, new.number(math.sqrt(eps), "least")], "guess")
    r = new.op("Reciprocal", [new.op("Sqrt", [guess], "root")], "first")
    u = new.op("Mul", [new.op("Mul", [x, r], "half"), r], "scaled")
    mean = new.op("Mul", [sum_of_squares(new, u, shape, axes, device), new.number(1 / n, "length")], "square")
    # eps / p^2 = (eps^(1/4) r)^4, which is 1 at most: its factors do not leave 16 bits. A row of zeros needs it.
    part = new.op("Mul", [r, new.number(eps**0.25, "quarter")], "part")
    half = new.op("Mul", [part, part], "part2")
    mean = new.op("Add", [mean, new.op("Mul", [half, half], "share")], "bounded")
    new.finish("Mul", [u, new.op("Reciprocal", [new.op("Sqrt", [mean], "deviation")], "second")])


def _norm(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The x and the eps, where a node is x / sqrt(mean(x^2) + eps)."""
    if not standard(node, "Mul"):
        return None
    for x, inverse in (node.inputs, reversed(node.inputs)):
        root = _made_by(_source(inverse, "Reciprocal"), "Sqrt")
        if x is None or inverse is None or root is None:
            continue
        found = _mean_of_squares(root.inputs[0], x)
        if found is not None:
            return x, found
    return None


def _mean_of_squares(value: ir.Value | None, x: ir.Value) -> float | None:
    """eps, where a value is mean(x^2) + eps over the last axis."""
    total = _made_by(value, "Add")
    for mean, number in [] if total is None else [tuple(total.inputs), tuple(reversed(total.inputs))]:
        eps, reduced = _single(constant(number)), _made_by(mean, "ReduceMean")
        if eps is None or eps <= 0 or reduced is None or not _over_last(reduced, x):
            continue
        square = reduced.inputs[0].producer() if reduced.inputs[0] is not None else None
        if square is None or square.inputs[0] is not x:
            continue
        if standard(square, "Mul") and square.inputs[1] is x:
            return eps
        if standard(square, "Pow") and _single(constant(square.inputs[1])) == _SQUARE:
            return eps
    return None


def _over_last(node: ir.Node, x: ir.Value) -> bool:
    """Whether a mean is over the last axis of x, which it keeps."""
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    rank = 0 if x.shape is None else len(x.shape)
    if axes is None or axes.size != 1 or not node.attributes.get_int("keepdims", 1):
        return False
    return int(axes.reshape(-1)[0]) in {-1, rank - 1}


def _source(value: ir.Value | None, op: str) -> ir.Value | None:
    """What an operator of that name made a value of."""
    node = _made_by(value, op)
    return None if node is None else node.inputs[0]


def _made_by(value: ir.Value | None, op: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and standard(node, op) else None


def _single(array: np.ndarray | None) -> float | None:
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
