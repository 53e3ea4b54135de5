"""Integers that change their scale, by the operator whose kernel does it exactly.

    q' = round(r (q - z)) + z',   r = s / s'

QUANTIZE says this in one operator, but the kernel that LiteRT's delegate for processors has for it multiplies by
round(256 r) / 256 (XNNPACK, `src/configs/unary-elementwise-config.c`, the conversions of qs8 to qs8). For |q - z| up to
255 that is off by half a step at r near 1, and by more below. Concatenations feel it most, all of whose operands get
one scale: of random networks 2 to 6 % of their elements came out one step away, and a network of nine of them one
behind the other magnifies that. MUL by the number 1 rounds r (q - z) once, from float32 in the delegate and from 31
bits elsewhere, and an NPU has it as well.
"""

from __future__ import annotations

import numpy as np

from edgepack.targets.mobile._tflite.graph import Graph, Operator, held
from edgepack.targets.mobile._tflite.quantization import per_tensor

_FRACTION = 256
"""What the delegate's kernel for QUANTIZE counts a ratio of scales in."""


def exact_rescaling(graph: Graph) -> int:
    """Make a product with 1 of every QUANTIZE from int8 to int8 that would be off, in place; returns how many."""
    found = [operator for operator in graph.operators if _rounds_its_ratio(operator)]
    for operator in found:
        one = graph.constant(held(np.ones((), np.int8)), f"{operator.outputs[0].name}/one", per_tensor(1.0))
        operator.code, operator.inputs = "MUL", [operator.inputs[0], one]
    return len(found)


def _rounds_its_ratio(operator: Operator) -> bool:
    if operator.code != "QUANTIZE" or operator.inputs[0] is None:
        return False
    source, made = operator.inputs[0], operator.outputs[0]
    if (
        (source.dtype, made.dtype) != ("int8", "int8")
        or source.quantization is None
        or made.quantization is None
    ):
        return False
    counted = _FRACTION * source.quantization.scale / made.quantization.scale
    return counted != round(counted)
