"""Small helpers that several passes share: walking all graphs of a model, and reading constants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    GraphLike = ir.Graph | ir.Function

_READ_ELEMENTS = 256

RANDOM_OPS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Standard operators whose result is not a function of their inputs."""


def scopes(model: ir.Model) -> Iterator[tuple[GraphLike, int]]:
    """Every graph, subgraph and function body, with its version of the standard operators."""
    version = model.graph.opset_imports.get("", 0)
    for graph in list(model.graphs()):
        yield graph, version
    for function in list(model.functions.values()):
        own = function.opset_imports.get("", version)
        yield function, own
        for graph in list(function.subgraphs()):
            yield graph, own


def standard(node: ir.Node, *op_types: str) -> bool:
    """Whether the node is one of these operators of the standard domain."""
    return node.domain in {"", "ai.onnx"} and (not op_types or node.op_type in op_types)


def constant(value: ir.Value | None, *, limit: int = _READ_ELEMENTS) -> np.ndarray | None:
    """The value of a small constant; None if not constant, above `limit`, or overridable by a caller."""
    import onnx_ir as ir

    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size > limit or tensor.dtype is ir.DataType.STRING:
        return None
    return array(tensor)


def unknown(dim: int | ir.SymbolicDim) -> bool:
    """Whether a dimension has neither a number nor a name."""
    return not isinstance(dim, int) and dim.value is None


def is_open(value: ir.Value) -> bool:
    """Whether something about a node's output is still to be inferred."""
    if not value.name:
        return False
    return value.type is None or value.shape is None or any(unknown(dim) for dim in value.shape)


def static_elements(value: ir.Value) -> int | None:
    """Number of elements, or None while a dimension is unknown."""
    if value.shape is None:
        return None
    count = 1
    for dim in value.shape:
        if not isinstance(dim, int):
            return None
        count *= dim
    return count


def merged(preferred: ir.Shape | None, other: ir.Shape | None) -> ir.Shape | None:
    """What two shapes say together; where both know a dimension, `preferred` wins."""
    import onnx_ir as ir

    if preferred is None or other is None or len(preferred) != len(other):
        return preferred if preferred is not None else other
    return ir.Shape(
        [theirs if unknown(mine) else mine for mine, theirs in zip(preferred, other, strict=True)]
    )


def merge_value_facts(kept: ir.Value, other: ir.Value) -> None:
    """Give `kept` what `other`, which has the same content, knows of type and shape.

    The declared shapes of graph inputs are part of the signature and stay as they are.
    """
    if kept.type is None:
        kept.type = other.type
    if not kept.is_graph_input():
        kept.shape = merged(kept.shape, other.shape)


@contextlib.contextmanager
def substituted(tensors: Mapping[ir.Value, ir.TensorProtocol]) -> Iterator[None]:
    """Hold other tensors in these initializers for a while, for serializing without the weights."""
    originals = {value: value.const_value for value in tensors}
    try:
        for value, tensor in tensors.items():
            value.const_value = tensor
        yield
    finally:
        for value, original in originals.items():
            value.const_value = original
