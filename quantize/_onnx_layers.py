"""Finds what dynamic quantization can change in a graph: matrix products with, and lookups in, a constant."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.quantize._keep import stays_float
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

MIN_ELEMENTS = 4096
"""Weights below this stay float: quantizing the input would cost more than the product saves."""
FEWEST_ELEMENTS = 16
"""The same in a graph that has no larger one: there a small product is all that int8 can be tried on, and whether it
gains anything is measured."""


@dataclass(frozen=True, eq=False)
class Linear:
    """y = x W (+ bias), W constant of shape [inputs, outputs] once transposed where the node says so.

    Attributes:
        node: The MatMul or Gemm.
        input: x, float32.
        weight: W as it is stored.
        transposed: Whether it is stored as [outputs, inputs]: for a Gemm that says so, and behind a Transpose, as
            the output layer of a language model is that shares its matrix with the embedding.
        alpha: Factor of the product (Gemm), 1 for MatMul.
        bias: C of a Gemm whose beta is 1, or None.
    """

    node: ir.Node
    input: ir.Value
    weight: ir.TensorProtocol
    transposed: bool
    alpha: float
    bias: ir.Value | None

    @property
    def inputs(self) -> int:
        """Length of a row of x."""
        return int(self.weight.shape.numpy()[1 if self.transposed else 0])

    @property
    def outputs(self) -> int:
        """Length of a row of y."""
        return int(self.weight.shape.numpy()[0 if self.transposed else 1])

    def oriented(self, values: np.ndarray) -> np.ndarray:
        """The weight's array as [inputs, outputs], alpha included."""
        import numpy as np

        matrix = values.T if self.transposed else values
        return np.ascontiguousarray(matrix if self.alpha == 1 else matrix * np.float32(self.alpha))


@dataclass(frozen=True, eq=False)
class Lookup:
    """Gather of rows of a constant table [rows, width]."""

    node: ir.Node
    value: ir.Value
    table: ir.TensorProtocol
    indices: ir.Value


def linears(graph: ir.Graph, kept: Collection[str] = ()) -> dict[ir.Value, list[Linear]]:
    """MatMul and Gemm nodes with a large constant float32 matrix, those with the same input together.

    Those that compute a tensor named in `kept` are left out. Where no matrix is large, all are taken that have at
    least `FEWEST_ELEMENTS`.
    """
    return _linears(graph, kept, MIN_ELEMENTS) or _linears(graph, kept, FEWEST_ELEMENTS)


def _linears(graph: ir.Graph, kept: Collection[str], least: int) -> dict[ir.Value, list[Linear]]:
    groups: dict[ir.Value, list[Linear]] = {}
    for node in graph:
        found = None if stays_float(node, kept) else _linear(node, least)
        if found is not None:
            groups.setdefault(found.input, []).append(found)
    return groups


def required_linears(graph: ir.Graph, part: str, kept: Collection[str] = ()) -> dict[ir.Value, list[Linear]]:
    """The same, for a quantizer that has nothing to do without them.

    Raises:
        TargetError: There is none.
    """
    groups = linears(graph, kept)
    if not groups:
        raise TargetError(
            "There is no matrix product with a large constant float32 matrix to quantize",
            where=f"part {part}",
            todo="Use --precision fp32 for this target",
        )
    return groups


def lookups(graph: ir.Graph, kept: Collection[str] = ()) -> Iterator[Lookup]:
    """Gather nodes over rows of a large constant float32 matrix that nothing but such nodes uses.

    Those that compute a tensor named in `kept` are left out.
    """
    for node in graph:
        found = None if stays_float(node, kept) else _lookup(node)
        if found is None:
            continue
        if all(_lookup(user) is not None for user in found.value.consumers()):
            yield found


def large_matrix(value: ir.Value | None, least: int = MIN_ELEMENTS) -> ir.TensorProtocol | None:
    """The tensor of a constant float32 matrix of at least so many elements, else None."""
    import onnx_ir as ir

    if value is None or value.is_graph_input() or not value.is_initializer() or value.const_value is None:
        return None
    tensor = value.const_value
    fits = tensor.dtype is ir.DataType.FLOAT and len(tensor.shape) == 2 and tensor.size >= least  # noqa: PLR2004
    return tensor if fits else None


def _linear(node: ir.Node, least: int) -> Linear | None:
    if not standard(node, "MatMul", "Gemm"):
        return None
    source, matrix = node.inputs[0], node.inputs[1]
    turned = _turned(matrix) if node.op_type == "MatMul" else None
    tensor = large_matrix(matrix if turned is None else turned, least)
    if source is None or source.is_initializer() or tensor is None:
        return None
    if node.op_type == "MatMul":
        return Linear(node, source, tensor, transposed=turned is not None, alpha=1.0, bias=None)
    bias = node.inputs[2] if len(node.inputs) > 2 else None  # noqa: PLR2004
    beta = node.attributes.get_float("beta", 1.0)
    if node.attributes.get_int("transA", 0) or (bias is not None and beta != 1):
        return None
    transposed = bool(node.attributes.get_int("transB", 0))
    return Linear(node, source, tensor, transposed, node.attributes.get_float("alpha", 1.0), bias)


def _turned(matrix: ir.Value | None) -> ir.Value | None:
    """What a matrix is the transpose of."""
    node = None if matrix is None else matrix.producer()
    if node is None or not standard(node, "Transpose") or matrix is None or matrix.is_graph_output():
        return None
    source = node.inputs[0]
    axes = node.attributes.get_ints("perm", [1, 0])
    return source if source is not None and list(axes) == [1, 0] else None


def _lookup(node: ir.Node) -> Lookup | None:
    if not standard(node, "Gather") or node.attributes.get_int("axis", 0) != 0:
        return None
    table, indices = node.inputs
    tensor = large_matrix(table)
    if tensor is None or indices is None or table is None or table.is_graph_output():
        return None
    return Lookup(node, table, tensor, indices)
