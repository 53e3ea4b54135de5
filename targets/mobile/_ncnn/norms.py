"""Along axes: sums, means and extremes, softmax, and what is brought to mean 0 and variance 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.layers import Tensor, merge
from edgepack.targets.mobile._ncnn.moves import along, transpose
from edgepack.targets.mobile._ncnn.translation import Translation, held_as, operator, shape_of

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_REDUCTIONS = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "product",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "square sum",
    "ReduceLogSum": "log sum",
    "ReduceLogSumExp": "logsumexp",
}


def _axes(t: Translation, node: ir.Node) -> list[int]:
    rank = len(shape_of(node.inputs[0]))
    given = t.known(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes")
    if given is None or not len(given):
        return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(axis) % rank for axis in given)


@operator(*_REDUCTIONS)
def _reduce(t: Translation, node: ir.Node) -> list[Tensor]:
    axes, shape = _axes(t, node), shape_of(node.inputs[0])
    if not axes:
        return [t.number(node.inputs[0])]
    if len(axes) == axes[-1] - axes[0] + 1:
        outer, length, inner = merge(shape, axes[0], len(axes))
        x = t.number(node.inputs[0])
    else:
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        x = transpose(t, t.number(node.inputs[0]), shape, [*kept, *axes])
        outer, length, inner = (math.prod(shape[axis] for axis in part) for part in (kept, axes, ()))
    laid = (outer, length) if inner == 1 else (outer, length, inner)
    return [t.layers.reduce(_REDUCTIONS[node.op_type], t.layers.reshape(x, laid), 1)]


@operator("Softmax", "LogSoftmax")
def _softmax(t: Translation, node: ir.Node) -> list[Tensor]:
    x, axis = along(t, node.inputs[0], node.attributes.get_int("axis", -1))
    made = t.layers.simple("Softmax", x, p0=axis, p1=1)
    return [made if node.op_type == "Softmax" else t.layers.unary("log", made)]


@operator("LayerNormalization")
def _layer_norm(t: Translation, node: ir.Node) -> list[Tensor]:
    shape = shape_of(node.inputs[0])
    axis = node.attributes.get_int("axis", -1) % len(shape)
    length = math.prod(shape[axis:])
    x = t.number(node.inputs[0], (math.prod(shape[:axis]), length))
    known = [t.known(value) for value in node.inputs[1:]]
    scale = known[0] if known else None
    shift = known[1] if len(known) > 1 else None
    if any(value is not None and one is None for value, one in zip(node.inputs[1:], known, strict=True)):
        raise t.error(node, "has a scale that is computed")
    return [_normed(t, x, node.attributes.get_float("epsilon", 1e-5), scale, shift)]


def _normed(
    t: Translation, x: Tensor, epsilon: float, scale: np.ndarray | None, shift: np.ndarray | None
) -> Tensor:
    """Every row of [rows, n] of mean 0 and variance 1, scaled and shifted along it."""
    import numpy as np

    length = x.shape[1]
    affine = scale is not None or shift is not None
    held = [
        held_as(np.broadcast_to(default if one is None else one.ravel(), (length,)), marked=False)
        for one, default in ((scale, np.ones(1)), (shift, np.zeros(1)))
    ]
    params: dict[int, int | float | Sequence[int]] = {0: length, 1: float(epsilon), 2: int(affine)}
    return t.layers.add("LayerNorm", [x], [x.shape], params, held if affine else [])[0]


@operator("InstanceNormalization", "GroupNormalization")
def _instance_norm(t: Translation, node: ir.Node) -> list[Tensor]:
    shape = shape_of(node.inputs[0])
    batch, channels = shape[:2]
    groups = channels if node.op_type.startswith("I") else node.attributes.get_int("num_groups")
    x = t.number(node.inputs[0], (batch * groups, math.prod(shape[2:]) * channels // groups))
    made = _normed(t, x, node.attributes.get_float("epsilon", 1e-5), None, None)
    return [_by_channel(t, node, made, shape, *(t.known(value) for value in node.inputs[1:3]))]


@operator("BatchNormalization")
def _batch_norm(t: Translation, node: ir.Node) -> list[Tensor]:
    """(x - m) s / sqrt(v + e) + b as x times one number of every channel, and another added."""
    import numpy as np

    known = [t.known(value) for value in node.inputs[1:5]]
    if any(one is None for one in known):
        raise t.error(node, "has statistics that are computed")
    scale, shift, mean, variance = (np.asarray(one, np.float64) for one in known)
    factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    shape = shape_of(node.inputs[0])
    return [_by_channel(t, node, t.number(node.inputs[0]), shape, factor, shift - mean * factor)]


def _by_channel(
    t: Translation,
    node: ir.Node,
    x: Tensor,
    shape: Sequence[int],
    scale: np.ndarray | None,
    shift: np.ndarray | None,
) -> Tensor:
    if scale is None or shift is None:
        raise t.error(node, "has a scale that is computed")
    batch, channels, *size = shape
    laid: tuple[int, ...] = (channels, math.prod(size)) if batch == 1 else (batch, channels, math.prod(size))
    if batch == 1 and len(size) == 2:  # noqa: PLR2004 - a picture, as convolutions have it
        laid = (channels, *size)
    own = 0 if batch == 1 else 1
    column = tuple(channels if place == own else 1 for place in range(len(laid)))
    x = t.layers.reshape(x, laid)
    if not (scale == 1).all():
        x = t.layers.binary("mul", x, t.constant(scale, column))
    return t.layers.binary("add", x, t.constant(shift, column)) if shift.any() else x
