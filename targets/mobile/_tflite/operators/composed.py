"""Functions that TFLite does not have by name and that others make up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.base import operator

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_SELU = (1.6732631921768188, 1.0507010221481323)  # the operator's defaults


@operator("IsNaN", to="NOT_EQUAL")
def is_nan(node: Node) -> None:
    """Whether x is not a number: the one thing that differs from itself."""
    node.finish("NOT_EQUAL", [node.x(), node.x()])


@operator("IsInf", to="EQUAL, ABS", limits="of both signs, or of one")
def is_inf(node: Node) -> None:
    """Whether x is infinite."""
    x = node.x()
    signs = (node.attribute("detect_negative", 1), node.attribute("detect_positive", 1))
    if signs == (1, 1):
        x = node.emit("ABS", [x], x.shape)
    if signs == (0, 0):
        node.refuse("it detects neither sign")
    node.finish("EQUAL", [x, node.number(np.inf if signs[1] else -np.inf, "infinity")])


@operator("Selu", "Celu", "ThresholdedRelu", to="ELU, MUL, MAXIMUM, MINIMUM, GREATER, SELECT_V2")
def activation(node: Node) -> None:
    """Either x, or below zero (or a threshold) what the operator's definition says."""
    x = node.x()
    if node.op == "ThresholdedRelu":
        above = node.emit("GREATER", [x, node.number(node.attribute("alpha", 1.0))], x.shape, dtype="bool")
        node.finish("SELECT_V2", [above, x, node.number(0.0, "zero")])
        return
    positive = node.emit("RELU", [x], x.shape)
    if node.op == "Selu":  # gamma max(x, 0) + gamma alpha (exp(min(x, 0)) - 1)
        alpha, gamma = (float(node.attribute(n, d)) for n, d in zip(("alpha", "gamma"), _SELU, strict=True))
        low = _elu_below(node, x)
        low = node.emit("MUL", [low, node.number(alpha * gamma, "alpha")], x.shape)
        node.finish("ADD", [node.emit("MUL", [positive, node.number(gamma, "gamma")], x.shape), low],
                    potScaleInt16=False)  # fmt: skip
        return
    alpha = float(node.attribute("alpha", 1.0))  # max(x, 0) + alpha (exp(min(x, 0) / alpha) - 1)
    low = _elu_below(node, node.emit("MUL", [x, node.number(1.0 / alpha, "reciprocal")], x.shape))
    low = node.emit("MUL", [low, node.number(alpha, "alpha")], x.shape)
    node.finish("ADD", [positive, low], potScaleInt16=False)


def _elu_below(node: Node, x: Tensor) -> Tensor:
    low = node.emit("MINIMUM", [x, node.number(0.0, "zero")], x.shape)
    return node.emit("ELU", [low], x.shape)


@operator("Mish", to="EXP, LOG, ADD, ABS, NEG, RELU, TANH, MUL")
def mish(node: Node) -> None:
    """The product x tanh(log(1 + exp(x))), the logarithm as of Softplus."""
    x = node.x()
    small = node.emit("EXP", [node.emit("NEG", [node.emit("ABS", [x], x.shape)], x.shape)], x.shape)
    more = node.emit(
        "LOG", [node.emit("ADD", [small, node.number(1.0)], x.shape, potScaleInt16=False)], x.shape
    )
    plus = node.emit("ADD", [node.emit("RELU", [x], x.shape), more], x.shape, potScaleInt16=False)
    node.finish("MUL", [x, node.emit("TANH", [plus], x.shape)])


@operator("CastLike", to="CAST", limits="among float32, int32, int16, int8, uint8 and bool")
def cast_like(node: Node) -> None:
    """The numbers in the type of another tensor."""
    x, target = node.x(), node.out_dtype()
    if x.dtype == target:
        node.bind(x)
        return
    node.finish("CAST", [x], inDataType=x.dtype.upper(), outDataType=target.upper())


@operator("Trilu", to="SELECT_V2", limits="a known diagonal and matrices of known size")
def trilu(node: Node) -> None:
    """The upper or lower triangle of matrices, zero elsewhere."""
    x = node.x(0)
    rows, columns = x.shape[-2:]
    if rows < 0 or columns < 0:
        node.refuse("the matrices' size is open", "Give sizes for all named dimensions")
    diagonal = int(node.known(1, "diagonal").reshape(-1)[0]) if node.has(1) else 0
    upper = bool(node.attribute("upper", 1))
    distance = np.arange(columns)[None] - np.arange(rows)[:, None]
    mask = distance >= diagonal if upper else distance <= diagonal
    node.finish("SELECT_V2", [node.constant(mask, "mask"), x, node.constant(np.zeros((), x.dtype), "zero")])


@operator("MeanVarianceNormalization", to="MEAN, SUB, MUL, ADD, SQRT, DIV")
def mean_variance_normalization(node: Node) -> None:
    """The quotient (x - mean) / (sqrt(variance) + 1e-9) over axes."""
    x = node.x()
    axes = sorted(node.axis(axis, len(x.shape)) for axis in node.attribute("axes", [0, 2, 3]))
    kept = tuple(1 if at in axes else n for at, n in enumerate(x.shape))
    where = node.integers(axes, "axes")
    mean = node.emit("MEAN", [x, where], kept, keepDims=True)
    centred = node.emit("SUB", [x, mean], x.shape, potScaleInt16=False)
    variance = node.emit("MEAN", [node.emit("MUL", [centred, centred], x.shape), where], kept, keepDims=True)
    spread = node.emit(
        "ADD", [node.emit("SQRT", [variance], kept), node.number(1e-9)], kept, potScaleInt16=False
    )
    node.finish("DIV", [centred, spread])
