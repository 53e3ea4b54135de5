"""Shapes that are known only when the model runs: vectors of int32 that SHAPE gives, and what is computed of them.

    sizes(x)          (d_0, .., d_n-1)           SHAPE
    part(s, i, k)     (s_i, .., s_i+k-1)         SLICE
    joined(a, 4, b)   (a_0, .., 4, b_0, ..)      CONCATENATION

What of it is known beforehand is a constant. LiteRT computes such chains while it plans memory, where it can: SHAPE,
SLICE and CONCATENATION of what is known then cost a call nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Graph, Tensor


def sizes(graph: Graph, tensor: Tensor) -> Tensor:
    """The dimensions of a tensor as a vector."""
    if -1 not in tensor.shape:
        return graph.integers(tensor.shape, f"{tensor.name}/sizes")
    made = graph.tensor(f"{tensor.name}/sizes", "int32", (len(tensor.shape),))
    graph.add("SHAPE", [tensor], [made], {"outType": "INT32"})
    return made


def part(graph: Graph, vector: Tensor, begin: int, count: int = 1) -> Tensor:
    """`count` numbers of a vector."""
    if (begin, count) == (0, vector.shape[0]):
        return vector
    known = vector.small
    if known is not None:
        return graph.integers(known[begin : begin + count], f"{vector.name}/part")
    made = graph.tensor(f"{vector.name}/part", "int32", (count,))
    graph.add("SLICE", [vector, graph.integers([begin], "begin"), graph.integers([count], "size")], [made])
    return made


def size(graph: Graph, tensor: Tensor, axis: int) -> Tensor:
    """One dimension of a tensor, as a vector of one number."""
    if tensor.shape[axis] >= 0:
        return graph.integers([tensor.shape[axis]], f"{tensor.name}/size")
    return part(graph, sizes(graph, tensor), axis)


def joined(graph: Graph, parts: Sequence[int | Tensor], name: str) -> Tensor:
    """Numbers and vectors one behind the other; a constant where all are known."""
    vectors: list[Tensor] = []
    known: list[int] = []
    for entry in parts:
        if isinstance(entry, int):
            known.append(entry)
            continue
        numbers = entry.small
        if numbers is not None:
            known += [int(n) for n in numbers]
            continue
        if known:
            vectors.append(graph.integers(known, f"{name}/known"))
            known = []
        vectors.append(entry)
    if known or not vectors:
        vectors.append(graph.integers(known, f"{name}/known"))
    if len(vectors) == 1:
        return vectors[0]
    made = graph.tensor(name, "int32", (sum(vector.shape[0] for vector in vectors),))
    graph.add("CONCATENATION", vectors, [made], {"axis": 0, "fusedActivationFunction": "NONE"})
    return made


def like(graph: Graph, tensor: Tensor, shape: Sequence[int], name: str) -> Tensor | None:
    """Dimensions of which the open ones are those of a tensor, in order; None where they cannot be.

    True of what adds, drops, splits and joins known dimensions only.
    """
    axes = [axis for axis, n in enumerate(tensor.shape) if n < 0]
    if len(axes) != sum(n < 0 for n in shape):
        return None
    if len(axes) == 1:  # which follows from the others
        return graph.integers(shape, name)
    following = iter(axes)
    return joined(graph, [size(graph, tensor, next(following)) if n < 0 else n for n in shape], name)
