"""Moves factors from an activation into the weights that multiply it; the result is the same.

    x W = (x / f) (f W)

The division goes into the scale and bias of the LayerNormalization (or RMSNormalization) that makes x, where
nothing else reads x; anywhere else it is a Mul of its own. Weights are computed when they are asked for, one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_edit import Builder, drop_idle
from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize._onnx_layers import Linear

_NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")


def scale_inputs(graph: ir.Graph, value: ir.Value, group: Sequence[Linear], factors: np.ndarray) -> bool:
    """Divide `value` by `factors` and multiply the weights of its products by them.

    Args:
        graph: Changed in place.
        value: x, float32 [..., K].
        group: All products of x that are to be changed; others go on reading x itself.
        factors: f, positive float32 [K].

    Returns:
        Whether the division went into a normalization.
    """
    nodes = [linear.node for linear in group]
    folded = _fold(graph, value, nodes, factors)
    build = Builder(graph, f"{value.name}/scaled")
    source = value
    if not folded:
        source = build.add("Mul", [value, build.constant(1 / factors, "factor")])
        source.type, source.shape = value.type, value.shape
        first = next(node for node in graph if node in nodes)
        build.insert_before(first)
    for linear in group:
        linear.node.replace_input_with(0, source)
        own = Builder(graph, f"{linear.node.outputs[0].name}/scaled")
        before = linear.node.inputs[1]
        linear.node.replace_input_with(1, own.constant(_scaled(linear, factors), "weight"))
        drop_idle(graph, [None if before is None else before.producer()])
    return folded


def _scaled(linear: Linear, factors: np.ndarray) -> ir.LazyTensor:
    import numpy as np
    import onnx_ir as ir

    tensor = linear.weight
    rows = factors[None, :] if linear.transposed else factors[:, None]
    # A MatMul has no attribute to say so: what a Transpose did for it is done here.
    turned = linear.transposed and linear.node.op_type == "MatMul"
    shape = tensor.shape.numpy()

    def compute() -> ir.TensorProtocol:
        scaled = array(tensor) * rows
        return ir.Tensor(np.ascontiguousarray(scaled.T) if turned else scaled)

    return ir.LazyTensor(compute, dtype=tensor.dtype, shape=ir.Shape(shape[::-1] if turned else shape))


def _fold(graph: ir.Graph, value: ir.Value, nodes: Sequence[ir.Node], factors: np.ndarray) -> bool:
    node = value.producer()
    if node is None or not standard(node, *_NORMS) or value.is_graph_output() or value.index() != 0:
        return False
    if any(user not in nodes or index != 0 for user, index in value.uses()):
        return False
    limit = len(factors)
    found = [constant(given, limit=limit) for given in node.inputs[1:] if given is not None]
    if any(values is None or values.shape != factors.shape for values in found):
        return False
    build = Builder(graph, f"{value.name}/norm")
    for index, values in enumerate(found, 1):
        if values is not None:
            node.replace_input_with(index, build.constant(values / factors, "constant"))
    # No longer what the float model has under this name: whoever compares the two must not take it for that.
    value.name = f"{value.name}/scaled"
    return True
