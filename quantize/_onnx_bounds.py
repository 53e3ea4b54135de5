"""Ranges of what is bounded: Relu of a tensor that is never positive gives nothing but zeros.

    y = max(x, 0),  range(y) >= range(x) / 16 in 16 bits, / 256 in 8

Every value of y is one of x's steps or the bound, so that steps of y that are 16 times finer already lose nothing. In
8 bits what is bounded is often what a convolution gives, of which no x is ever rounded, and its range is worth more
than an x's (a ReLU6 of -100 to 30 would have been widened to 8): there one step of 8 bits of x is extent enough. A
range without extent, as it was seen, becomes the smallest scale that there is, and the HTP's compiler does not finish
a sum of such a tensor with another (onnxruntime-qnn 2.7.0, v75, 16 bits: "Failed to finalize QNN graph. Memory
allocation related error"); steps of a scan that are softplus of numbers below zero are such a sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

_FINER, _FINER_IN_8_BITS = 16.0, 256.0
_LOWERED = frozenset({"Min"})
_RAISED = frozenset({"Relu", "Clip", "Max"})


def with_extent(
    model: onnx.ModelProto, found: Mapping[str, tuple[Any, Any]], *, wide: bool
) -> dict[str, tuple[Any, Any]]:
    """The ranges with those of what is bounded by constants no smaller than that.

    Args:
        model: The float model with weights in memory, which they were seen in.
        found: Lowest and highest value of every activation, float32 scalars.
        wide: Whether activations have 16 bits.
    """
    import numpy as np

    finer = _FINER if wide else _FINER_IN_8_BITS
    constants = {tensor.name for tensor in model.graph.initializer}
    made = dict(found)
    for node in model.graph.node:
        if node.op_type not in _RAISED | _LOWERED or node.output[0] not in made:
            continue
        computed = [name for name in node.input if name and name not in constants]
        if len(computed) != 1 or computed[0] not in made:
            continue
        low, high = (float(value) for value in made[node.output[0]])
        source = made[computed[0]]
        least = float(source[1] - source[0]) / finer
        if high - low < least:
            low, high = (high - least, high) if node.op_type in _LOWERED else (low, low + least)
            made[node.output[0]] = (np.float32(low).reshape(()), np.float32(high).reshape(()))
    return made
