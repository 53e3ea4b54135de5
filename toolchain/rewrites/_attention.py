"""Finds attention in a graph of known shapes, and computes it piece by piece.

    softmax(q k^T / sqrt(d) + mask) v,    q [..., heads, queries, d]

Every head and every query has its own rows of scores: any piece along one of these axes is computed from the same piece
of q (along heads: of k and v too), and the pieces lie side by side in the result. Nothing is added in another order, so
that floating point gives the same numbers.

A piece of a value is taken as early as it can be: the columns of a projection's weights rather than of its product, so
that each head's product is a tensor of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.passes.weights import array
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

HEADS, QUERIES = -3, -2
"""The axes, from the end, along which attention falls into pieces."""
_BETWEEN = ("Add", "Sub", "Mul", "Div", "Identity")
_MATRIX, _LEAST_RANK = 2, 3


@dataclass(frozen=True)
class Attention:
    """One of a graph.

    Attributes:
        scores: The product of queries and keys.
        between: What happens to the scores before the softmax, in order.
        softmax: Over the keys.
        product: Of the weights with the values.
        shape: Of the scores, [..., heads, queries, keys].
    """

    scores: ir.Node
    between: tuple[ir.Node, ...]
    softmax: ir.Node
    product: ir.Node
    shape: tuple[int, ...]


def find_attention(graph: ir.Graph) -> list[Attention]:
    """Those whose shapes are known and whose scores nothing else reads."""
    found = [_around(node) for node in graph if standard(node, "Softmax")]
    return [one for one in found if one is not None]


def _around(softmax: ir.Node) -> Attention | None:
    shape = known_shape(softmax.inputs[0])
    product = _reader(softmax.outputs[0])
    if shape is None or len(shape) < _LEAST_RANK or product is None or not standard(product, "MatMul"):
        return None
    if softmax.attributes.get_int("axis", -1) not in {-1, len(shape) - 1}:
        return None
    if product.inputs[0] is not softmax.outputs[0] or known_shape(product.outputs[0]) is None:
        return None
    path = _to_scores(softmax.inputs[0], shape)
    return None if path is None else Attention(path[0], path[1:], softmax, product, shape)


def _to_scores(value: ir.Value | None, shape: tuple[int, ...]) -> tuple[ir.Node, ...] | None:
    """The product that scores come from, and what happens to them since; None where a value is no scores."""
    node = None if value is None else value.producer()
    if value is None or node is None or known_shape(value) != shape or not _alone(value):
        return None
    if standard(node, "MatMul"):
        return (node,) if all(known_shape(given) for given in node.inputs) else None
    if not standard(node, *_BETWEEN):
        return None
    found = (_to_scores(given, shape) for given in node.inputs)
    path = next((one for one in found if one is not None), None)  # another input is a mask
    return None if path is None else (*path, node)


def _alone(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _reader(value: ir.Value) -> ir.Node | None:
    return next(iter(value.uses())).node if _alone(value) else None


def split(graph: ir.Graph, one: Attention, axis: int, pieces: Sequence[tuple[int, int]]) -> None:
    """Compute attention in pieces along an axis, in place.

    Args:
        graph: Where it stands.
        one: The attention.
        axis: HEADS or QUERIES.
        pieces: Begin and end of each, which together are the whole axis.
    """
    new = Build(graph, one.product)
    results = []
    for begin, end in pieces:
        cut = _Piece(new, axis, begin, end)
        query, key = one.scores.inputs
        value = one.product.inputs[1]
        moved = [cut.of(query), cut.of(key) if axis == HEADS else key]
        now = new.op("MatMul", moved, f"scores-{begin}")
        before = one.scores.outputs[0]
        for node in one.between:
            inputs = [now if v is before else cut.of(v) for v in node.inputs]
            before = node.outputs[0]
            now = new.op(node.op_type, inputs, f"{node.op_type.lower()}-{before.name}-{begin}")
        weights = new.op("Softmax", [now], f"weights-{begin}", axis=-1)
        results.append(
            new.op("MatMul", [weights, cut.of(value) if axis == HEADS else value], f"piece-{begin}")
        )
    shape = known_shape(one.product.outputs[0])
    assert shape is not None  # noqa: S101 - `find_attention` asked for it
    new.finish("Concat", results, axis=len(shape) + axis)


class _Piece:
    """Takes the same piece of several values.

    Args:
        new: Where nodes are put.
        axis: From the end.
        begin: First index.
        end: The one after the last.
    """

    def __init__(self, new: Build, axis: int, begin: int, end: int) -> None:
        self._new, self._axis, self._begin, self._end = new, axis, begin, end

    def of(self, value: ir.Value | None) -> ir.Value | None:
        """The piece of a value; the value itself where it is the same for every piece."""
        shape = known_shape(value)
        if value is None or shape is None or len(shape) < -self._axis or shape[self._axis] == 1:
            return value
        return self._cut(value, len(shape) + self._axis, self._begin, self._end)

    def _cut(self, value: ir.Value, axis: int, begin: int, end: int) -> ir.Value:
        """A piece along an axis from the beginning, taken of what the value is computed from where that can be."""
        import numpy as np

        shape, node = known_shape(value), value.producer()
        assert shape is not None  # noqa: S101 - asked before
        what = f"{value.name}-{axis}-{begin}"
        stored = None if value.is_graph_input() else value.const_value
        if stored is not None:
            taken = np.take(array(stored), np.arange(begin, end), axis)
            return self._new.number(np.ascontiguousarray(taken), what)
        earlier = None if node is None else self._earlier(node, shape, axis, begin, end, what)
        if earlier is not None:
            return earlier
        numbers = [
            self._new.number(np.array([n]), f"{what}-{name}")
            for name, n in (("from", begin), ("to", end), ("along", axis))
        ]
        return self._new.op("Slice", [value, *numbers], what)

    def _earlier(
        self, node: ir.Node, shape: tuple[int, ...], axis: int, begin: int, end: int, what: str
    ) -> ir.Value | None:
        """The same operator on a piece of its inputs; None where that is not the same."""
        if standard(node, "Reshape"):
            return self._reshape(node, shape, axis, begin, end, what)
        if standard(node, "Add", "Mul", "Div"):
            return self._elementwise(node, shape, axis, begin, end, what)
        moved: list[ir.Value] = []
        given: dict[str, list[int]] = {}
        first = node.inputs[0] if node.inputs else None
        if standard(node, "Transpose") and first is not None and known_shape(first) is not None:
            perm = list(node.attributes.get_ints("perm", list(reversed(range(len(shape))))))
            moved, given = [self._cut(first, perm[axis], begin, end)], {"perm": perm}
        if standard(node, "MatMul") and first is not None and axis == len(shape) - 1:
            matrix = node.inputs[1]
            if (
                matrix is not None
                and matrix.const_value is not None
                and len(known_shape(matrix) or ()) == _MATRIX
            ):
                moved = [first, self._cut(matrix, 1, begin, end)]
        return self._new.op(node.op_type, moved, what, **given) if moved else None

    def _reshape(
        self, node: ir.Node, shape: tuple[int, ...], axis: int, begin: int, end: int, what: str
    ) -> ir.Value | None:
        """[..., heads d] seen as [..., heads, d]: a piece of the heads is one of the last axis before."""
        import numpy as np

        given = known_shape(node.inputs[0])
        if given is None or node.inputs[0] is None or axis != len(shape) - 2 or given[:-1] != shape[:-2]:
            return None
        d = shape[-1]
        piece = self._cut(node.inputs[0], len(given) - 1, begin * d, end * d)
        sizes = np.array([*shape[:axis], end - begin, d])
        return self._new.op("Reshape", [piece, self._new.number(sizes, f"{what}-shape")], what)

    def _elementwise(
        self, node: ir.Node, shape: tuple[int, ...], axis: int, begin: int, end: int, what: str
    ) -> ir.Value | None:
        """A bias or a factor that is constant; anything else may be large, and is not computed twice."""
        inputs: list[ir.Value] = []
        constants = 0
        for value in node.inputs:
            own = known_shape(value)
            if value is None or own is None:
                return None
            constants += value.const_value is not None
            at = axis - (len(shape) - len(own))
            inputs.append(value if at < 0 or own[at] == 1 else self._cut(value, at, begin, end))
        return self._new.op(node.op_type, inputs, what) if constants else None


def blocks(length: int, count: int) -> list[tuple[int, int]]:
    """`count` pieces of nearly equal length."""
    ends = [length * index // count for index in range(count + 1)]
    return list(pairwise(ends))


def score_bytes(shape: Sequence[int], bits: int) -> int:
    """Bytes of the scores."""
    return math.prod(shape) * bits // 8
