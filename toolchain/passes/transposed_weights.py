"""`transposed-weights`: Transpose of a weight becomes a weight of its own.

Exporters write a linear layer as MatMul(x, Transpose(W)); quantizers and kernels want the constant.
The transposed weight is a recipe, not an array: it is computed one tensor at a time when the model is
written. A weight that is used otherwise as well (an embedding table tied to the output layer) is left
alone, for the file would hold it twice. Weights small enough for constant folding are left to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import FOLD_ELEMENTS, passes
from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.passes.weights import SOURCE, array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_STRIP = 128


@passes.register("transposed-weights")
def transposed_weights(model: ir.Model) -> int:
    """Turn Transpose nodes over weights into weights; returns how many."""
    return sum(_fold(graph, node) for graph in list(model.graphs()) for node in list(graph))


def _fold(graph: ir.Graph, node: ir.Node) -> bool:
    import onnx_ir as ir

    if not standard(node, "Transpose") or len(node.inputs) != 1:
        return False
    source, result = node.inputs[0], node.outputs[0]
    if source is None or not source.is_initializer() or source.is_graph_input() or source.is_graph_output():
        return False
    tensor = source.const_value
    order = node.attributes.get("perm")
    if (
        tensor is None
        or tensor.size <= FOLD_ELEMENTS
        or tensor.dtype is ir.DataType.STRING
        or tensor.dtype.bitwidth % 8
        or result.is_graph_output()
        or len(source.consumers()) > 1
        or (order is not None and order.is_ref())
    ):
        return False
    shape = tensor.shape.numpy()
    axes = tuple(order.as_ints()) if order is not None else tuple(reversed(range(len(shape))))
    weight = ir.Value(
        name=result.name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape([shape[axis] for axis in axes]),
        const_value=_lazily(tensor, axes, result.name or ""),
    )
    graph.register_initializer(weight)
    result.replace_all_uses_with(weight)
    graph.remove(node, safe=True)
    return True


def _lazily(tensor: ir.TensorProtocol, axes: tuple[int, ...], name: str) -> ir.LazyTensor:
    import onnx_ir as ir

    def compute() -> ir.TensorProtocol:
        return ir.Tensor(_transpose(array(tensor), axes), dtype=tensor.dtype)

    shape = tensor.shape.numpy()
    lazy = ir.LazyTensor(
        compute, dtype=tensor.dtype, shape=ir.Shape([shape[axis] for axis in axes]), name=name
    )
    lazy.meta[SOURCE] = tensor
    return lazy


def _transpose(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    if axes != (1, 0):
        return np.ascontiguousarray(values.transpose(axes))
    # Strip by strip: rows of a strip stay in the cache while its columns are written.
    result = np.empty(values.shape[::-1], dtype=values.dtype)
    for start in range(0, values.shape[0], _STRIP):
        result[:, start : start + _STRIP] = values[start : start + _STRIP].T
    return result
