"""Products of matrices: FULLY_CONNECTED where one of them is a weight, BATCH_MATMUL where both are computed.

    MatMul  y = x W + b,   W [in, out];   Gemm  y = alpha op(A) op(B) + beta C
    FULLY_CONNECTED        y = x V^T + b, V [out, in]

TFLite's integer kernels want the weight's zero point to be 0, and the bias in the scale of the products it is added
to, scale_x scale_W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator
from edgepack.targets.mobile._tflite.weights import bias, weights

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_MAX_BATCHED = 5


@operator("MatMul", to="FULLY_CONNECTED, BATCH_MATMUL", integer=BOTH,
          limits="16-bit weights, and weights with zero points, in float")  # fmt: skip
def matmul(node: Node) -> None:
    """The product x W, of matrices or stacks of them."""
    if node.values(1) is not None and len(node.shape(1)) == 2:  # noqa: PLR2004 - a matrix
        _dense(node, node.x(0), transposed=False, added=2)
        return
    a, b = node.x(0), node.x(1)
    _same_kind(node, (a, b))
    if max(len(a.shape), len(b.shape)) > _MAX_BATCHED:
        node.refuse(f"it has more than {_MAX_BATCHED} dimensions", "Reshape the operands to fewer dimensions")
    if len(a.shape) > 1 and len(b.shape) > 1:
        node.finish("BATCH_MATMUL", [a, b], adjX=False, adjY=False)
        return
    rows = node.reshaped(a, (1, *a.shape)) if len(a.shape) == 1 else a
    columns = node.reshaped(b, (*b.shape, 1)) if len(b.shape) == 1 else b
    shape = (*np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2]), rows.shape[-2], columns.shape[-1])
    node.finish("BATCH_MATMUL", [rows, columns], shape=shape, adjX=False, adjY=False)


@operator("Gemm", to="FULLY_CONNECTED, BATCH_MATMUL, MUL, ADD", integer=BOTH)
def gemm(node: Node) -> None:
    """The sum alpha op(A) op(B) + beta C."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    a = node.x(0)
    if node.attribute("transA", 0):
        a = node.transposed(a, (1, 0))
    row = not node.has(2) or node.shape(2)[:-1].count(1) == len(node.shape(2)[:-1])
    if alpha == beta == 1.0 and node.values(1) is not None and row and (not node.has(2) or node.small(2) is not None
                                                                        or node.values(2) is not None):  # fmt: skip
        _dense(node, a, transposed=bool(node.attribute("transB", 0)), added=2)
        return
    if node.integer:
        raise NotInteger("alpha or beta is not 1, or the second matrix is computed")
    product = node.emit("BATCH_MATMUL", [a, node.x(1)], node.out_shape(), adjX=False,
                        adjY=bool(node.attribute("transB", 0)))  # fmt: skip
    if alpha != 1.0:
        product = node.emit("MUL", [product, node.number(alpha, "alpha")], product.shape)
    if not node.has(2):
        node.bind(product)
        return
    more = node.x(2)
    if beta != 1.0:
        more = node.emit("MUL", [more, node.number(beta, "beta")], more.shape)
    node.finish("ADD", [product, more], potScaleInt16=False)


def _dense(node: Node, x: Tensor, *, transposed: bool, added: int) -> None:
    """A layer with a weight [in, out], or [out, in] when `transposed`."""
    order = (0, 1) if transposed else (1, 0)
    kernel = weights(node, 1, order, out_axis=0)
    outputs = kernel.shape[0]
    inputs: list[Tensor | None] = [x, kernel]
    given: dict[str, Any] = {}
    if node.has(added):
        inputs.append(bias(node, added, x, kernel, outputs))
    if node.integer == "int16":
        given["quantizedBiasType"] = "INT64"
        if len(inputs) == 2:  # noqa: PLR2004 - the 16-bit kernel reads its type from a bias
            given.pop("quantizedBiasType")
    node.finish("FULLY_CONNECTED", inputs, keepNumDims=len(x.shape) > 2 or len(x.shape) == 1, **given)  # noqa: PLR2004


def _same_kind(node: Node, pair: tuple[Tensor, Tensor]) -> None:
    if node.integer and any(t.dtype != node.integer or t.quantization is None or not t.quantization.per_tensor
                            for t in pair):  # fmt: skip
        raise NotInteger("an operand is a constant of another type, or has a scale a channel")
