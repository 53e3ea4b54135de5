"""Rows of tables, places of caches, and the largest of many.

ncnn looks rows of a constant table up by integers (`Embed`). By numbers that were computed it is a product with a
matrix of zeros and ones, which takes every element over exactly (of finite ones):

    gather(x, i)        P x,                P[j, l] = (i_j = l)
    scatter(x, i, u)    (1 - P^T 1) x + P^T u     where no place is written twice
    top k               k times: m = max x, i = the first l with x_l = m, then x_i = -the largest number
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.arithmetic import above, reverse
from edgepack.targets.mobile._ncnn.layers import Tensor, merge
from edgepack.targets.mobile._ncnn.moves import along
from edgepack.targets.mobile._ncnn.translation import Translation, held_as, operator, shape_of

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_LOWEST = -3.4e38
_MOST = 256  # elements of a top k: every one is ten layers


def same_place(t: Translation, places: Tensor, count: int, *, outer: bool) -> Tensor:
    """1 where a place, counted from the end if negative, is l = 0 ... count - 1.

    Args:
        t: The translation.
        places: [n], integers.
        count: Of what they are places.
        outer: [n, count] if False, [count, n] if True.
    """
    import numpy as np

    every = t.constant(np.arange(count), (count, 1) if outer else (1, count))
    column = t.layers.reshape(places, (1, places.size) if outer else (places.size, 1))
    before = t.layers.clip(t.layers.unary("neg", column))
    column = t.layers.binary("add", column, t.layers.binary("mul", before, float(count)))
    apart = t.layers.unary("abs", t.layers.binary("sub", *((every, column) if outer else (column, every))))
    return reverse(t, t.layers.binary("min", apart, 1.0))


def _embed(t: Translation, table: np.ndarray, rows: Tensor) -> Tensor:

    count, width = table.shape
    return t.layers.add(
        "Embed",
        [t.layers.reshape(rows, (rows.size,))],
        [(rows.size, width)],
        {0: width, 1: count, 2: 0, 3: table.size},
        [held_as(table, marked=True)],
    )[0]


def _rows(t: Translation, data: ir.Value | None, shape: tuple[int, int], indices: ir.Value | None) -> Tensor:
    """Rows of a matrix [count, width], by indices that are not constant."""
    table = t.known(data)
    chosen = t.rows(indices) if table is not None else None
    if table is not None and chosen is not None:
        return _embed(t, table.reshape(shape), chosen)
    places = t.number(indices)
    return t.layers.matmul(same_place(t, places, shape[0], outer=False), t.number(data, shape))


@operator("Gather")
def _gather(t: Translation, node: ir.Node) -> list[Tensor]:
    axis, shape = node.attributes.get_int("axis", 0), shape_of(node.inputs[0])
    outer, count, inner = merge(shape, axis)
    known = t.known(node.inputs[1])
    if known is not None:
        return [_fixed(t, node, axis, [int(i) % count for i in known.ravel()])]
    if outer == 1:
        return [_rows(t, node.inputs[0], (count, inner), node.inputs[1])]
    chosen = same_place(t, t.number(node.inputs[1]), count, outer=False)
    x = t.number(node.inputs[0], (outer, count, inner))
    return [t.layers.matmul(t.layers.reshape(chosen, (1, *chosen.shape)), x)]


def _fixed(t: Translation, node: ir.Node, axis: int, places: Sequence[int]) -> Tensor:
    """Elements at constant places: one crop where they follow one another."""
    import numpy as np

    outer, count, inner = merge(shape_of(node.inputs[0]), axis)
    if list(places) == list(range(places[0], places[0] + len(places))):
        x, place = along(t, node.inputs[0], axis)
        return t.layers.crop(x, place, places[0], places[0] + len(places))
    chosen = t.constant(np.eye(count)[list(places)], (1, len(places), count))
    return t.layers.matmul(chosen, t.number(node.inputs[0], (outer, count, inner)))


@operator("GatherND")
def _gather_nd(t: Translation, node: ir.Node) -> list[Tensor]:
    """By one index each, as `Gather` along the first axis."""
    if node.attributes.get_int("batch_dims", 0) or shape_of(node.inputs[1])[-1] != 1:
        raise t.error(node, "looks elements up by several indices each")
    shape = shape_of(node.inputs[0])
    known = t.known(node.inputs[1])
    if known is not None:
        return [_fixed(t, node, 0, [int(i) % shape[0] for i in known.ravel()])]
    return [_rows(t, node.inputs[0], (shape[0], math.prod(shape[1:])), node.inputs[1])]


@operator("GatherElements")
def _gather_elements(t: Translation, node: ir.Node) -> list[Tensor]:
    """Along the last axis: the sum over l of (i = l) x_l."""
    import numpy as np

    shape, wanted = shape_of(node.inputs[0]), shape_of(node.inputs[1])
    axis = node.attributes.get_int("axis", 0) % len(shape)
    outer, count, inner = merge(shape, axis)
    if inner != 1 or shape[:axis] != wanted[:axis]:
        raise t.error(node, "looks elements up along an axis that is not the last")
    places = t.number(node.inputs[1], (outer, wanted[axis], 1))
    before = t.layers.clip(t.layers.unary("neg", places))
    places = t.layers.binary("add", places, t.layers.binary("mul", before, float(count)))
    apart = t.layers.binary("sub", places, t.constant(np.arange(count), (1, 1, count)))
    chosen = reverse(t, t.layers.binary("min", t.layers.unary("abs", apart), 1.0))
    taken = t.layers.binary("mul", chosen, t.number(node.inputs[0], (outer, 1, count)))
    return [t.layers.reduce("sum", taken, 2)]


def _one_axis(t: Translation, indices: ir.Value | None, axis: int) -> Tensor | np.ndarray | None:
    """Places [n] that are the same at every other axis, where that is seen in the graph."""
    import numpy as np

    shape = shape_of(indices)
    known = t.known(indices)
    if known is not None:
        first = np.moveaxis(known, axis, 0).reshape(shape[axis], -1)
        return first[:, 0] if (first == first[:, :1]).all() else None
    if math.prod(shape) == shape[axis]:
        return t.number(indices)
    node = None if indices is None else indices.producer()
    if node is None or node.op_type != "Expand":
        return None
    small = shape_of(node.inputs[0])
    placed = [1] * (len(shape) - len(small)) + list(small)
    return t.number(node.inputs[0]) if placed[axis] == shape[axis] == math.prod(small) else None


@operator("ScatterElements")
def _scatter_elements(t: Translation, node: ir.Node) -> list[Tensor]:
    import numpy as np

    shape, new = shape_of(node.inputs[0]), shape_of(node.inputs[2])
    axis = node.attributes.get_int("axis", 0) % len(shape)
    places = _one_axis(t, node.inputs[1], axis)
    whole = all(a == b for i, (a, b) in enumerate(zip(shape, new, strict=True)) if i != axis)
    if places is None or not whole or node.attributes.get_string("reduction", "none") != "none":
        raise t.error(node, "writes to places that differ from row to row, or adds to what is there")
    outer, count, inner = merge(shape, axis)
    data = t.number(node.inputs[0], (outer, count, inner))
    written = t.number(node.inputs[2], (outer, new[axis], inner))
    if not isinstance(places, np.ndarray):
        put = same_place(t, places, count, outer=True)
        kept = reverse(t, t.layers.reduce("sum", put, 1))
        put, kept = (t.layers.reshape(one, (1, *one.shape)) for one in (put, kept))
    else:
        first = [int(place) % count for place in places]
        if first == list(range(first[0], first[0] + len(first))):
            parts = [written]
            if first[0]:
                parts.insert(0, t.layers.crop(data, 1, 0, first[0]))
            if first[-1] + 1 < count:
                parts.append(t.layers.crop(data, 1, first[-1] + 1, count))
            return [t.layers.concat(parts, 1)]
        matrix = np.eye(count, dtype=np.float32)[:, first]
        put = t.constant(matrix, (1, *matrix.shape))
        kept = t.constant(1 - matrix.max(axis=1, keepdims=True), (1, count, 1))
    return [t.layers.binary("add", t.layers.binary("mul", data, kept), t.layers.matmul(put, written))]


def _largest(t: Translation, x: Tensor, k: int) -> tuple[list[Tensor], list[Tensor]]:
    """The k largest of every row of [rows, n], and their places."""
    import numpy as np

    length = x.shape[1]
    every = t.constant(np.arange(length), (1, length))
    values, places = [], []
    for left in reversed(range(k)):
        largest = t.layers.reduce("max", x, 1)
        below = above(t, largest, x, whole=False)
        far = t.layers.binary("add", t.layers.binary("mul", below, float(length)), every)
        place = t.layers.reduce("min", far, 1)
        values.append(largest)
        places.append(place)
        if left:
            apart = t.layers.unary("abs", t.layers.binary("sub", every, place))
            others = t.layers.binary("min", apart, 1.0)
            gone = t.layers.binary("mul", reverse(t, others), _LOWEST)
            x = t.layers.binary("add", t.layers.binary("mul", x, others), gone)
    return values, places


@operator("TopK", "ArgMax", "ArgMin")
def _top(t: Translation, node: ir.Node) -> list[Tensor]:
    """Of equal ones the first, as ONNX Runtime has it."""
    shape = shape_of(node.inputs[0])
    kind = node.op_type
    axis = node.attributes.get_int("axis", -1 if kind == "TopK" else 0) % len(shape)
    outer, length, inner = merge(shape, axis)
    k = shape_of(node.outputs[0])[axis] if kind == "TopK" else 1
    if k > _MOST or node.attributes.get_int("select_last_index", 0) == 1:
        raise t.error(node, f"is the largest {k} (or the last of equal ones); edgepack writes up to {_MOST}")
    x = t.number(node.inputs[0], (outer, length, inner))
    x = t.layers.reshape(t.layers.permute(x, (0, 2, 1)), (outer * inner, length))
    smallest = kind == "ArgMin" or (kind == "TopK" and not node.attributes.get_int("largest", 1))
    if smallest:
        x = t.layers.unary("neg", x)
    values, places = (t.layers.concat(found, 1) for found in _largest(t, x, k))
    if smallest:
        values = t.layers.unary("neg", values)
    made = []
    for one in (values, places):
        laid = t.layers.reshape(one, (outer, inner, k))
        made.append(t.layers.permute(laid, (0, 2, 1)))
    return made if kind == "TopK" else made[1:]
