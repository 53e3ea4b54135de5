"""Sums of squares along the last axis, in the form that an accelerator rounds least."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.rewrites.base import Device
    from edgepack.toolchain.rewrites.building import Build


def sum_of_squares(
    new: Build, u: ir.Value, shape: tuple[int, ...], axes: ir.Value, device: Device
) -> ir.Value:
    """The product u . u for every row, of the shape [..., 1].

    Where the device multiplies activations of this width it is a product of a row and a column, whose accumulator holds
    the exact squares; elsewhere every square is rounded by itself.

    Args:
        new: Puts the nodes into the graph.
        u: The rows.
        shape: Its dimensions.
        axes: The constant [-1].
        device: For which accelerator.
    """
    import numpy as np

    n, rows = shape[-1], math.prod(shape[:-1])
    if not device.wide_products:
        return new.op("ReduceSum", [new.op("Mul", [u, u], "squares"), axes], "total", keepdims=1)
    row = new.op("Reshape", [u, new.number(np.array([rows, 1, n]), "row-shape")], "row")
    column = new.op("Reshape", [u, new.number(np.array([rows, n, 1]), "column-shape")], "column")
    product = new.op("MatMul", [row, column], "product")
    return new.op("Reshape", [product, new.number(np.array([*shape[:-1], 1]), "total-shape")], "total")
