"""An ONNX graph made ready: sizes pinned, constants computed, and what is one operator in TFLite joined.

    MatMul(x, W) + b            one node with a third input
    Relu, Clip(0, 6), Clip(-1, 1) behind a sum or a product: part of that node (TFLite's fused activation)
    x (1 + erf(x / sqrt 2)) / 2   Gelu, which TFLite has, where it has no Erf

All of it happens on the model that is handed over, in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.passes.pinned import pin_sizes
from edgepack.toolchain.program import terms
from edgepack.toolchain.rewrites._gelu_pattern import join_gelus

if TYPE_CHECKING:
    import onnx_ir as ir

ACTIVATION = "edgepack.tflite.activation"
"""Key in a node's `meta`: the activation behind it that became part of it."""

_ACTIVATED = ("Conv", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Sum", "AveragePool", "MaxPool", "ConvTranspose",
              "BatchNormalization")  # fmt: skip
_BOUNDS = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
_PARAMETERS = 1 << 16  # scales and biases are one number a channel
_FACTORS = 2


def prepare(model: ir.Model, sizes: Mapping[str, int]) -> None:
    """Make a model ready, in place.

    Args:
        model: The graph; weights stay where they are mapped from.
        sizes: Size by name of a dimension; those without one stay open.

    Raises:
        SourceError: The graph contradicts itself, or the sizes.
    """
    clean_up(model, ("initializer-inputs", "constant-nodes"))
    _fill_weights(model)
    _forget_names(model)
    if sizes:
        pin_sizes(model, sizes)
    else:
        clean_up(model)
    graph = model.graph
    join_gelus(graph)
    for node in list(graph):
        if standard(node, "Add"):
            _join_bias(graph, node)
    for node in list(graph):
        found = activation(node)
        if found is not None:
            _join_activation(graph, node, found)
    _drop_unused(graph)


def _forget_names(model: ir.Model) -> None:
    """Leave open what an output calls by a name that no input has: such sizes follow from the graph."""
    import onnx_ir as ir

    names = {
        name
        for value in model.graph.inputs
        for dim in value.shape or ()
        if not isinstance(dim, int)
        for name in terms(dim.value or "")
    }
    for value in model.graph.outputs:
        if value.shape is not None and value.producer() is not None:
            value.shape = ir.Shape(
                dim if isinstance(dim, int) or set(terms(dim.value or "")) <= names else None
                for dim in value.shape
            )


def scalar_or_vector(value: ir.Value | None) -> np.ndarray | None:
    """A constant of one number, or one a channel; None otherwise."""
    return constant(value, limit=_PARAMETERS)


def activation(node: ir.Node) -> str | None:
    """TFLite's name of the activation that a node is, among those that other operators can apply."""
    if standard(node, "Relu"):
        return "RELU"
    if not standard(node, "Clip"):
        return None
    return _BOUNDS.get(bounds(node) or (math.nan, math.nan))


def bounds(node: ir.Node) -> tuple[float, float] | None:
    """Lower and upper bound of a Clip, None when they are computed."""
    found = [node.attributes.get_float("min", -math.inf), node.attributes.get_float("max", math.inf)]
    for index in (1, 2):
        if index < len(node.inputs) and node.inputs[index] is not None:
            number = constant(node.inputs[index])
            if number is None:
                producer = node.inputs[index].producer()  # type: ignore[union-attr]
                if producer is None or not standard(producer, "DequantizeLinear"):
                    return None
                number = _dequantized(producer)
                if number is None:
                    return None
            found[index - 1] = float(number.reshape(-1)[0])
    return found[0], found[1]


def _dequantized(node: ir.Node) -> np.ndarray | None:
    parts = [constant(value) for value in node.inputs]
    if parts[0] is None or parts[1] is None or any(part is None for part in parts):
        return None
    zero = parts[2] if len(parts) > 2 and parts[2] is not None else np.zeros(1)  # noqa: PLR2004 - the zero point
    result: np.ndarray = (parts[0].astype(np.float64) - zero.astype(np.float64)) * parts[1]
    return result


def _fill_weights(model: ir.Model) -> None:
    """Weights that a ConstantOfShape makes become initializers, which are computed when they are written."""
    import onnx_ir as ir

    for node in list(model.graph):
        if not standard(node, "ConstantOfShape") or node.outputs[0].is_graph_output():
            continue
        dims = constant(node.inputs[0])
        given = node.attributes.get("value")
        if dims is None:
            continue
        number = np.zeros(1, np.float32) if given is None else given.as_tensor().numpy().reshape(-1)
        shape, value = [int(n) for n in dims], node.outputs[0]
        dtype = ir.DataType.FLOAT if given is None else given.as_tensor().dtype
        filled = _filled(number, shape, dtype, value.name or "")
        new = ir.Value(
            name=f"{value.name}/filled", type=ir.TensorType(dtype), shape=ir.Shape(shape), const_value=filled
        )
        model.graph.register_initializer(new)
        ir.convenience.replace_all_uses_with(value, new)
        model.graph.remove(node, safe=True)


def _filled(number: np.ndarray, shape: list[int], dtype: ir.DataType, name: str) -> ir.TensorProtocol:
    import onnx_ir as ir

    if math.prod(shape) <= _PARAMETERS:  # other passes look into it
        return ir.Tensor(np.full(shape, number[0], number.dtype), dtype=dtype, name=name)
    return ir.LazyTensor(
        lambda: ir.Tensor(np.full(shape, number[0], number.dtype), dtype=dtype, name=name),
        dtype=dtype,
        shape=ir.Shape(shape),
        name=name,
    )


def _only_use(value: ir.Value) -> ir.Node | None:
    uses = value.uses()
    return next(iter(uses)).node if len(uses) == 1 and not value.is_graph_output() else None


def _join_bias(graph: ir.Graph, add: ir.Node) -> None:
    for index in (0, 1):
        product, bias = add.inputs[index], add.inputs[1 - index]
        if product is None or bias is None:
            continue
        node = product.producer()
        if node is None or not standard(node, "MatMul") or len(node.inputs) > _FACTORS:
            continue
        if _only_use(product) is not add:
            continue
        weight, number = node.inputs[1], scalar_or_vector(bias)
        if weight is None or weight.const_value is None or weight.is_graph_input() or number is None:
            continue
        if weight.shape is None or len(weight.shape) != 2 or number.shape[-1:] != (weight.shape[1],):  # noqa: PLR2004
            continue
        if number.size != number.shape[-1] or number.ndim > len(product.shape or ()):
            continue
        _merge(graph, node, add, [*node.inputs, bias])
        return


def _merge(graph: ir.Graph, node: ir.Node, last: ir.Node, inputs: list[ir.Value | None]) -> ir.Node:
    """Put one node, of `node`'s operator, in place of `node` and `last`, which is all that reads it."""
    import onnx_ir as ir

    old = last.outputs[0]
    name, kind, shape = old.name, old.type, old.shape
    made = ir.Node(
        node.domain,
        node.op_type,
        inputs,
        list(node.attributes.values()),
        outputs=[ir.Value(name=name, type=kind, shape=shape)],
        name=node.name,
    )
    made.meta.update(node.meta)
    graph.insert_after(last, made)
    ir.convenience.replace_all_uses_with(old, made.outputs[0], replace_graph_outputs=True)
    graph.remove([last], safe=True)
    if not node.outputs[0].uses():
        graph.remove([node], safe=True)
    return made


def _join_activation(graph: ir.Graph, node: ir.Node, kind: str) -> None:
    value = node.inputs[0]
    producer = None if value is None else value.producer()
    if producer is None or not standard(producer, *_ACTIVATED) or ACTIVATION in producer.meta:
        return
    if value is None or _only_use(value) is not node or len(producer.outputs) != 1:
        return
    made = _merge(graph, producer, node, list(producer.inputs))
    made.meta[ACTIVATION] = kind


def _drop_unused(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove([node], safe=True)
