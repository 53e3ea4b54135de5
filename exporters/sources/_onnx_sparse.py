"""Sparse constants become dense ones.

A sparse tensor of shape (d1, ..., dn) lists its values v_k and their places, either as positions p_k in the
flattened tensor or as n coordinates each; everything else is zero (onnx.proto, SparseTensorProto):

    dense[p_k] = v_k,    p = sum_i c_i * prod_{j>i} d_j

Neither onnx_ir nor the targets know them. They stand among a graph's initializers and in Constant nodes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.opsets import nodes

if TYPE_CHECKING:
    import onnx

_MOST_BYTES = 1 << 30
"""Dense bytes of all sparse constants together: they are held in memory and written into the graph file."""


def densify(model: onnx.ModelProto, where: str) -> int:
    """Replace sparse constants by dense ones, in place; returns how many.

    Raises:
        SourceError: Places outside the tensor, another type than numbers, more than 1 GB dense.
    """
    import onnx

    left = _MOST_BYTES
    count = 0
    graphs = [model.graph]
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                graphs.append(attribute.g)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                graphs.extend(attribute.graphs)
            elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR and node.op_type == "Constant":
                tensor = _dense(attribute.sparse_tensor, left, where)
                left -= len(tensor.raw_data)
                count += 1
                attribute.Clear()
                attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
                attribute.t.CopyFrom(tensor)
    for graph in graphs:
        for sparse in graph.sparse_initializer:
            tensor = _dense(sparse, left, where)
            left -= len(tensor.raw_data)
            count += 1
            graph.initializer.append(tensor)
        del graph.sparse_initializer[:]
    return count


def _dense(sparse: onnx.SparseTensorProto, left: int, where: str) -> onnx.TensorProto:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    name, shape = sparse.values.name, tuple(sparse.dims)
    if onnx.TensorProto.EXTERNAL in {sparse.values.data_location, sparse.indices.data_location}:
        raise SourceError(
            f"The sparse constant '{name}' lies in an external file",
            where=where,
            todo="Save it inside the model, or as a dense constant",
        )
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    elements = math.prod(shape) if min(shape, default=0) >= 0 else -1
    if elements < 0 or values.dtype.kind not in "fiub" or elements * values.itemsize > left:
        raise SourceError(
            f"The sparse constant '{name}' of shape {list(shape)[:8]} cannot be made dense: more than "
            f"{_MOST_BYTES >> 20} MB of sparse constants, or no numbers",
            where=where,
            todo="Store it dense, in external data",
        )
    coordinates = indices.ndim == 2 and indices.shape == (len(values), len(shape))  # noqa: PLR2004 - [values, axes]
    limits = np.array(shape) if coordinates else np.array(elements)
    if (
        indices.dtype != np.int64
        or not (coordinates or indices.shape == values.shape)
        or (indices < 0).any()
        or (indices >= limits).any()
    ):
        raise SourceError(
            f"The sparse constant '{name}' has values at places outside its shape {list(shape)[:8]}",
            where=where,
            todo="Export the model again",
        )
    places = np.ravel_multi_index(tuple(indices.T), shape) if coordinates else indices
    dense = np.zeros(elements, values.dtype)
    dense[places] = values
    return numpy_helper.from_array(dense.reshape(shape), name)
