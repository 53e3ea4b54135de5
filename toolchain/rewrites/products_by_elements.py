"""`products by elements`: a product of two activations as products of their elements and a sum by constant ones.

    (a b)[.., i, j]  =  sum over k of t[.., i, j, k]  =  (t 1)[.., i, j],    t[.., i, j, k] = a[.., i, k] b[.., k, j]

with 1 the column of ones. An accelerator whose products of matrices take two activations of 8 bits only may multiply
elements of 16 bits, and matrices of 16-bit activations with constant 8-bit weights, which hold ones exactly: both
factors then keep their 16 bits. It multiplies as often as before, one by one instead of in its array, and t is as
large as what is multiplied: that costs time and memory, so that it is done for the form that asks for it (`Device`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites.base import Device, rewrite
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    import onnx_ir as ir

_MATRIX = 2
MOST = 2**22
"""Elements of t: in 16 bits 8 MiB, more than is beside any accelerator of this kind."""


@rewrite(
    "products by elements",
    why="the NPU multiplies two matrices of activations in 8 bits only; their elements, and sums of them, in 16",
    first=lambda device: device.element_products,
)
def products_by_elements(model: ir.Model, device: Device) -> int:
    """Rewrite products of two computed values with known shapes; returns how many."""
    if not device.element_products:
        return 0
    found = [node for node in model.graph if standard(node, "MatMul") and _fits(node)]
    for node in found:
        _rewrite(model.graph, node)
    return len(found)


def _fits(node: ir.Node) -> bool:
    """Whether a product is one of two computed values, whose leading axes are the same or one's are all 1."""
    left, right, out = (known_shape(value) for value in (*node.inputs, *node.outputs))
    if left is None or right is None or out is None or min(len(left), len(right)) < _MATRIX:
        return False
    if any(value is None or value.const_value is not None for value in node.inputs):
        return False
    batch = math.prod(out[:-2])
    if not {math.prod(left[:-2]), math.prod(right[:-2])} <= {1, batch}:
        return False
    return 0 < math.prod(out) * left[-1] <= MOST


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    import numpy as np

    left, right = node.inputs
    shapes = [known_shape(value) for value in (*node.inputs, *node.outputs)]
    a, b, out = (shape for shape in shapes if shape is not None)
    assert left is not None and right is not None  # noqa: S101, PT018 - `_fits` asked for them
    new, (m, k), n = Build(graph, node), a[-2:], b[-1]
    sizes = np.array([math.prod(a[:-2]), m, 1, k])
    rows = new.op("Reshape", [left, new.number(sizes, "row-sizes")], "rows")
    sizes = np.array([math.prod(b[:-2]), 1, n, k])
    columns = new.op("Reshape", [_turned(new, right, len(b)), new.number(sizes, "column-sizes")], "columns")
    elements = new.op("Mul", [rows, columns], "elements")
    sums = new.op("MatMul", [elements, new.number(np.ones((k, 1), np.float32), "ones")], "sums")
    new.finish("Reshape", [sums, new.number(np.array(out), "sizes")])


def _turned(new: Build, value: ir.Value, rank: int) -> ir.Value:
    """A value with its last two axes exchanged: of what a transposition was made of, where that is the same."""
    perm = [*range(rank - 2), rank - 1, rank - 2]
    node = value.producer()
    if node is not None and standard(node, "Transpose") and node.inputs[0] is not None:
        first = node.attributes.get_ints("perm", list(reversed(range(rank))))
        value, perm = node.inputs[0], [first[axis] for axis in perm]
    return value if perm == list(range(rank)) else new.op("Transpose", [value], "turned", perm=perm)
