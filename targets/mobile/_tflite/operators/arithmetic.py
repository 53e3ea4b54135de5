"""Sums, products and comparisons of two tensors, element by element, with broadcasting.

ONNX and TFLite broadcast alike: dimensions are aligned at the end. TFLite's broadcasting kernels end at 4 or 5
dimensions; operands of equal shape may have more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_MAX_BROADCAST = 5
_ARITHMETIC = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV"}
_COMPARISONS = {
    "Equal": "EQUAL", "Less": "LESS", "LessOrEqual": "LESS_EQUAL", "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
}  # fmt: skip
_LOGIC = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Xor": "NOT_EQUAL"}


@operator("Add", "Sub", "Mul", to="ADD, SUB, MUL", integer=BOTH, limits="broadcasting up to 5 dimensions")
def arithmetic(node: Node) -> None:
    """The sum, difference or product of x and y."""
    pair = _pair(node)
    if node.integer:
        for tensor in pair:
            if tensor.quantization is None:
                raise NotInteger("an operand is a float constant")
            if tensor.dtype != node.integer or not tensor.quantization.per_tensor:
                raise NotInteger("a constant operand is of another type, or has a scale a channel")
        if node.integer == "int16" and any(not t.quantization.symmetric for t in pair if t.quantization):
            raise NotInteger("a constant operand has a zero point")
    given: dict[str, Any] = {"potScaleInt16": False} if node.op != "Mul" else {}
    node.finish(_ARITHMETIC[node.op], pair, **given)


@operator("Div", to="DIV", limits="broadcasting up to 5 dimensions; integers are divided as int32")
def divide(node: Node) -> None:
    """The quotient x / y; of integers towards zero, as ONNX does."""
    pair = _pair(node)
    constant = pair[1].small
    if pair[0].dtype == "float32" and constant is not None and constant.size == 1:
        # A product is faster than a quotient; the two differ by one rounding.
        pair[1] = node.constant(np.asarray(1.0 / constant.astype(np.float64), np.float32), "reciprocal")
        node.finish("MUL", pair)
        return
    if pair[0].dtype not in {"float32", "int32"}:
        node.refuse(f"TFLite divides float32 and int32, not {pair[0].dtype}", "Cast the operands to int32")
    node.finish("DIV", pair)


@operator("Sum", "Max", "Min", "Mean", to="ADD, MAXIMUM, MINIMUM, MUL", integer=BOTH,
          limits="quantized: Max and Min, and Sum of two")  # fmt: skip
def many(node: Node) -> None:
    """The sum, maximum, minimum or mean of any number of tensors, taken two at a time."""
    code = {"Sum": "ADD", "Mean": "ADD", "Max": "MAXIMUM", "Min": "MINIMUM"}[node.op]
    given: dict[str, Any] = {"potScaleInt16": False} if code == "ADD" else {}
    parts = [node.x(index) for index in range(node.count)]
    if node.integer:
        parts = _alike(node, parts)
    total = parts[0]
    for index, part in enumerate(parts[1:], 2):
        if index == len(parts) and node.op != "Mean":
            node.finish(code, [total, part], **given)
            return
        total = node.emit(code, [total, part], np.broadcast_shapes(total.shape, part.shape), **given)
    if node.op == "Mean" and len(parts) > 1:
        node.finish("MUL", [total, node.number(1.0 / len(parts))])
    else:
        node.bind(total)


def _alike(node: Node, parts: list[Tensor]) -> list[Tensor]:
    """Quantized operands as the kernels want them: of one scale for a maximum."""
    scale = node.results[0]
    if any(p.dtype != node.integer or p.quantization is None or not p.quantization.per_tensor for p in parts):
        raise NotInteger("an operand is a constant of another type, or has a scale a channel")
    if scale is None or node.op == "Mean" or (node.op == "Sum" and len(parts) > 2):  # noqa: PLR2004 - a pair
        raise NotInteger("it adds more than two tensors")
    # Rounding to a coarser or finer grid keeps the order, so that the largest stays the largest.
    return [node.rescaled(part, scale) for part in parts] if node.op != "Sum" else parts


@operator("Pow", to="POW, SQUARE, SQRT, MUL", limits="float; the exponent may be anything")
def power(node: Node) -> None:
    """The power x^y, with the cheap exponents 2, 3, 0.5 and 1 by name."""
    exponent = node.small(1)
    if exponent is not None and exponent.size == 1 and node.x(0).dtype == "float32":
        number = float(exponent.reshape(-1)[0])
        x = node.x(0)
        if exponent.ndim <= len(x.shape) and number in {2.0, 3.0, 0.5, 1.0}:
            _named_power(node, x, number)
            return
    pair = [node.x(0), node.x(1)]
    if pair[1].dtype != pair[0].dtype:
        pair[1] = node.emit("CAST", [pair[1]], pair[1].shape, dtype=pair[0].dtype,
                            inDataType=pair[1].dtype.upper(), outDataType=pair[0].dtype.upper())  # fmt: skip
    node.finish("POW", pair)


def _named_power(node: Node, x: Tensor, number: float) -> None:
    if number == 1.0:
        node.bind(x)
    elif number == 0.5:  # noqa: PLR2004 - the square root
        node.finish("SQRT", [x])
    elif number == 2.0:  # noqa: PLR2004 - the square
        node.finish("MUL", [x, x])
    else:
        node.finish("MUL", [node.emit("MUL", [x, x], x.shape), x])


@operator(
    *_COMPARISONS,
    to="EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL",
    limits="float32, int32, bool for Equal",
)
def comparison(node: Node) -> None:
    """Whether x = y, x < y, x <= y, x > y, x >= y."""
    node.finish(_COMPARISONS[node.op], _pair(node))


@operator(*_LOGIC, to="LOGICAL_AND, LOGICAL_OR, NOT_EQUAL")
def logic(node: Node) -> None:
    """Both, either, or exactly one of two truths."""
    node.finish(_LOGIC[node.op], _pair(node))


@operator("Mod", to="FLOOR_MOD", limits="fmod=0")
def modulo(node: Node) -> None:
    """The remainder with the divisor's sign."""
    if node.attribute("fmod", 0):
        node.refuse("its remainder has the dividend's sign (fmod=1), TFLite's the divisor's")
    node.finish("FLOOR_MOD", _pair(node))


@operator("Where", to="SELECT_V2")
def where(node: Node) -> None:
    """Either x, where a condition holds, or y."""
    node.finish("SELECT_V2", [node.x(0), node.x(1), node.x(2)])


@operator("PRelu", to="PRELU")
def prelu(node: Node) -> None:
    """Either x, or slope x below zero; ONNX's slope broadcasts to x, TFLite's has one dimension less than x."""
    x, slope = node.x(0), node.x(1)
    rank = len(x.shape)
    shape = (1,) * (rank - len(slope.shape)) + slope.shape
    if shape[0] != 1:
        node.refuse("its slope differs along the first dimension")
    node.finish("PRELU", [x, node.reshaped(slope, shape[1:])])


def _pair(node: Node) -> list[Tensor]:
    """Both operands.

    Raises:
        NotServed: They broadcast over more dimensions than TFLite's kernels do.
    """
    pair = [node.x(0), node.x(1)]
    if pair[0].shape != pair[1].shape and max(len(t.shape) for t in pair) > _MAX_BROADCAST:
        node.refuse(
            f"it broadcasts over {max(len(t.shape) for t in pair)} dimensions, TFLite over {_MAX_BROADCAST}",
            "Reshape the operands to fewer dimensions",
        )
    return pair
