"""Static int8 matrix products of a mixed-precision model, in QDQ form.

    q = QuantizeLinear(x / f, s, z)                   uint8 (int8 on ARM), s and z from the calibrated range of x / f
    y = DequantizeLinear(q, s, z) DequantizeLinear(W_q, s_W) (+ bias),       W_q = int8(f W), s_W per output

which ONNX Runtime computes in int8. The pair stands on a branch of x: nothing else that reads x sees rounded values,
and the result stays float. On a sentence encoder this kept a cosine of 0.9985, where pairs that replace x for everybody
kept 0.9976. f evens out channels (`_onnx_channels`).
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_edit import Builder
from edgepack.quantize._onnx_weights import quantized

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize._onnx_layers import Linear
    from edgepack.quantize._onnx_mixed_facts import Facts

LEVELED = "/leveled"
"""Ending of the name under which facts of a leveled input x / f are filed."""

_LEVELS = 255


def static_group(graph: ir.Graph, value: ir.Value, group: list[Linear], facts: Facts) -> None:
    """Make the products of one input static, which is rounded once for all of them.

    Args:
        graph: Changed in place.
        value: x.
        group: Products of x, in graph order.
        facts: Ranges and factors.
    """
    name = str(value.name)
    factors = facts.factors.get(name)
    low, high = facts.ranges[name if factors is None else f"{name}{LEVELED}"]
    build = Builder(graph, f"{name}/static")
    source = value
    if factors is not None:
        source = build.add("Mul", [value, build.constant(1 / factors, "level")])
    scale, zero = affine(float(low), float(high), signed=_signed())
    pair = [build.constant(scale, "scale"), build.constant(zero, "zero")]
    rounded = build.add("QuantizeLinear", [source, *pair])
    x = build.add("DequantizeLinear", [rounded, *pair])
    build.insert_before(group[0].node)
    for linear in group:
        _product(graph, linear, x, factors)


def affine(low: float, high: float, *, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of 8 bits for a range, widened to hold 0.

        s = (high - low) / 255,        z = round(-low / s), less 128 when signed

    Returns:
        A float32 scalar and a uint8 (int8 when signed) scalar.
    """
    import numpy as np

    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / _LEVELS) or np.float32(1)
    zero = int(np.clip(np.rint(-low / scale), 0, _LEVELS))
    return np.asarray(scale), np.asarray(zero - 128, np.int8) if signed else np.asarray(zero, np.uint8)


def _signed() -> bool:
    """Processors of ARM multiply int8 by int8 fastest, those of x86 uint8 by int8."""
    return platform.machine().lower().startswith(("arm", "aarch64"))


def _product(graph: ir.Graph, linear: Linear, x: ir.Value, factors: np.ndarray | None) -> None:
    def adjust(values: np.ndarray) -> np.ndarray:
        matrix = linear.oriented(values)
        return matrix if factors is None else matrix * factors[:, None]

    build = Builder(graph, f"{linear.node.outputs[0].name}/static")
    weight, scales = quantized(linear.weight, 1, adjust, "weight")
    operands = [build.constant(weight, "weight"), build.constant(scales, "scale")]
    matrix = build.add("DequantizeLinear", operands, {"axis": 1})
    result = build.add("MatMul", [x, matrix])
    if linear.bias is not None:
        result = build.add("Add", [result, linear.bias])
    build.replace(linear.node, result)
