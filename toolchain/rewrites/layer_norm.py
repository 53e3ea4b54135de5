"""`layer norm`: LayerNormalization in two steps, so that 16 bits with one scale a tensor can hold every one of them.

    d = x - mean(x),  p = mean(max(d, 0)),  u = d / p,  y = d / (p sqrt(u . u + n eps / p^2)) (sqrt(n) gain) + bias

with n the length of the axis. As d has mean 0, p is half its mean absolute value: a first guess at the deviation that
needs no squares. A transformer's residual stream has a few outliers of some hundred times the rest. Squared one by one
they are ten thousand times the rest, and beside them every ordinary square is rounded to 0; and a table of 512 lines,
which 1 / sqrt is in such integers, has all ordinary variances in its first, steepest line. Divided by p, tokens with
outliers and without lie close together. Where the device multiplies activations of this width, u . u is a product,
whose accumulator holds the exact squares; elsewhere the squares stay single.

eps is left out where it is below 1e-8, as in BERT: d in 16 bits cannot show it.
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

_GAINS = 1 << 16
_AXES_ARE_INPUTS = 18  # of ReduceMean
_WIDE = 16
_VISIBLE = 1e-8


@rewrite(
    "layer norm",
    why="in 16 bits an outlier's square leaves no room for the others'; divided by their mean size first, all fit",
    first=lambda device: device.activation_bits == _WIDE and "LayerNormalization" not in device.has,
)
def layer_norm(model: ir.Model, device: Device) -> int:
    """Rewrite LayerNormalization over the last axis, of known shape; returns how many."""
    version, count = opset(model), 0
    for node in list(model.graph):
        if not standard(node, "LayerNormalization") or any(out.uses() for out in node.outputs[1:]):
            continue
        shape, gain = known_shape(node.inputs[0]), constant(node.inputs[1], limit=_GAINS)
        axis = node.attributes.get_int("axis", -1)
        if version < _AXES_ARE_INPUTS or shape is None or gain is None or axis not in {-1, len(shape) - 1}:
            continue
        _rewrite(Build(model.graph, node), node, shape, gain, device)
        count += 1
    return count


def _rewrite(new: Build, node: ir.Node, shape: tuple[int, ...], gain: np.ndarray, device: Device) -> None:
    import numpy as np

    x, n = node.inputs[0], shape[-1]
    axes = new.number(np.array([-1]), "axes")
    d = new.op("Sub", [x, new.op("ReduceMean", [x, axes], "mean", keepdims=1)], "centred")
    p = new.op("ReduceMean", [new.op("Relu", [d], "positive"), axes], "size", keepdims=1)
    first = new.op("Reciprocal", [new.op("Sqrt", [new.op("Mul", [p, p], "size2")], "root")], "first")
    total = sum_of_squares(new, new.op("Mul", [d, first], "scaled"), shape, axes, device)
    eps = float(node.attributes.get_float("epsilon", 1e-5))
    if eps > _VISIBLE:
        share = new.op(
            "Mul", [new.op("Mul", [first, first], "first2"), new.number(n * eps, "epsilon")], "share"
        )
        total = new.op("Add", [total, share], "bounded")
    second = new.op("Reciprocal", [new.op("Sqrt", [total], "deviation")], "second")
    normal = new.op("Mul", [d, new.op("Mul", [first, second], "inverse")], "normal")
    scale = new.number((gain.astype(np.float64) * math.sqrt(n)).astype(np.float32), "gain")
    bias = node.inputs[2] if len(node.inputs) > 2 else None  # noqa: PLR2004 - x, gain, bias
    if bias is None:
        new.finish("Mul", [normal, scale])
    else:
        new.finish("Add", [new.op("Mul", [normal, scale], "times-gain"), bias])
