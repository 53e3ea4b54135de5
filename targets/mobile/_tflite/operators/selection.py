"""Operators that take parts of tensors, and put parts together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_MATRIX = 2


@operator("Concat", to="CONCATENATION", integer=BOTH)
def concat(node: Node) -> None:
    """Tensors one behind the other; integer ones are brought to the result's scale first."""
    parts = [node.x(i) for i in range(node.count)]
    scale = node.results[0] if node.integer else None
    if scale is not None:
        if any(p.dtype != node.integer or p.quantization is None for p in parts):
            raise NotInteger("a part is a constant of another type")
        parts = [node.rescaled(part, scale) for part in parts]
    axis = node.axis(node.attribute("axis"), len(node.out_shape()))
    node.finish("CONCATENATION", parts, axis=axis)


@operator("Gather", to="GATHER, EMBEDDING_LOOKUP", integer=BOTH, moves=True,
          limits="constant indices may be negative, computed ones not")  # fmt: skip
def gather(node: Node) -> None:
    """Slices by number along an axis."""
    x = node.x(0)
    axis = node.axis(node.attribute("axis", 0), len(x.shape))
    indices = _indices(node, 1, x.shape[axis])
    count = node.size(indices.shape)
    table = x.values is not None and x.dtype == "float32" and axis == 0 and len(x.shape) == _MATRIX
    if table and indices.values is None and count > 0:
        flat = node.reshaped(indices, (count,))
        rows = node.emit("EMBEDDING_LOOKUP", [flat, x], (count, x.shape[1]), dtype="float32")
        node.bind(node.reshaped(rows, node.out_shape()))
        return
    made = node.emit("GATHER", [x, indices], node.out_shape(), axis=axis)
    node.bind(made)


@operator("GatherND", to="GATHER_ND", limits="batch_dims=0")
def gather_nd(node: Node) -> None:
    """Slices by several numbers."""
    if node.attribute("batch_dims", 0):
        node.refuse("it has batch dimensions")
    node.finish("GATHER_ND", [node.x(0), node.x(1)])


def _indices(node: Node, index: int, size: int) -> Tensor:
    known = node.small(index)
    if known is None:
        return node.x(index)
    return node.integers(np.where(known < 0, known + size, known).astype(np.int32), "indices")


@operator("Slice", to="STRIDED_SLICE, SLICE", integer=BOTH, moves=True, limits="constant bounds")
def slice_(node: Node) -> None:
    """Every n-th element from a start to an end, along any axes; steps may be negative."""
    x, rank = node.x(0), len(node.shape(0))
    starts, ends, axes, steps = _bounds(node, rank)
    begin, end, stride = [0] * rank, list(x.shape), [1] * rank
    open_ends = 0
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        at, size = node.axis(int(axis), rank), x.shape[int(axis) % rank]
        if size < 0:
            if start < 0 or step != 1 or 0 <= stop < 2**31 - 1 or stop < 0:
                node.refuse("it slices an open dimension from its end", "Give sizes for the named dimensions")
            begin[at], open_ends = int(start), open_ends | 1 << at
            continue
        begin[at], end[at], stride[at] = slice(int(start), int(stop), int(step)).indices(size)
    open_ends |= sum(1 << at for at, size in enumerate(x.shape) if size < 0)
    if all(step == 1 for step in stride) and not open_ends:
        sizes = [max(0, stop - start) for start, stop in zip(begin, end, strict=True)]
        if list(x.shape) == sizes:
            node.bind(x)
            return
        if x.values is not None:
            node.bind(_cut(node, x, begin, sizes))
            return
        node.bind(node.emit("SLICE", [x, node.integers(begin, "begin"), node.integers(sizes, "size")], sizes))
        return
    # An end of -1 behind a negative step means the one before the first, which only a mask can say.
    mask = open_ends | sum(1 << at for at in range(rank) if stride[at] < 0 and end[at] < 0)
    parts = [node.integers(v, w) for v, w in ((begin, "begin"), (end, "end"), (stride, "strides"))]
    node.bind(node.emit("STRIDED_SLICE", [x, *parts], node.out_shape(), endMask=mask))


def _cut(node: Node, x: Tensor, begin: list[int], sizes: list[int]) -> Tensor:
    if x.values is None:
        msg = "a computed tensor is not cut here"
        raise ValueError(msg)
    window = tuple(slice(b, b + n) for b, n in zip(begin, sizes, strict=True))
    values = x.values.derived(lambda a: np.ascontiguousarray(a[window]), sizes, ("cut", *begin, *sizes))
    return node.constant(values, "slice", x.quantization)


def _bounds(node: Node, rank: int) -> tuple[list[int], list[int], list[int], list[int]]:
    if node.attribute("starts") is not None:  # operator sets before 10
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes = node.attribute("axes", list(range(len(starts))))
        return starts, ends, axes, [1] * len(starts)
    starts, ends = (node.known(i, "bounds").reshape(-1).tolist() for i in (1, 2))
    axes = node.known(3, "axes").reshape(-1).tolist() if node.has(3) else list(range(len(starts)))
    steps = node.known(4, "steps").reshape(-1).tolist() if node.has(4) else [1] * len(starts)
    del rank
    return starts, ends, axes, steps


@operator("Split", to="SPLIT, SPLIT_V", integer=BOTH, moves=True, limits="known sizes")
def split(node: Node) -> None:
    """A tensor cut into pieces along an axis."""
    x = node.x(0)
    axis = node.axis(node.attribute("axis", 0), len(x.shape))
    count = len(node.onnx.outputs)
    sizes = [node.out_shape(i)[axis] for i in range(count)]
    if -1 in sizes:
        node.refuse("the size of a piece is open", "Give sizes for the named dimensions")
    made = []
    for index in range(count):
        shape = list(x.shape)
        shape[axis] = sizes[index]
        made.append(
            node.graph.tensor(node.onnx.outputs[index].name or node.op, x.dtype, shape, x.quantization)
        )
    where = node.integers(axis, "axis")
    if len(set(sizes)) == 1:
        node.graph.add("SPLIT", [where, x], made, {"numSplits": count})
    else:
        node.graph.add("SPLIT_V", [x, node.integers(sizes, "sizes"), where], made, {"numSplits": count})
    for index, tensor in enumerate(made):
        if node.used(index):
            node.bind(tensor, index)


@operator("Pad", to="PAD, PADV2, MIRROR_PAD", integer=BOTH, limits="known paddings; constant, reflect")
def pad(node: Node) -> None:
    """A margin around a tensor: of one number, or of what lies inside mirrored."""
    x, rank = node.x(0), len(node.shape(0))
    given = node.attribute("pads")
    flat = given if given is not None else node.known(1, "paddings").reshape(-1).tolist()
    axes = node.known(3, "axes").reshape(-1).tolist() if node.has(3) else list(range(rank))
    paddings = np.zeros((rank, 2), np.int32)
    for place, axis in enumerate(axes):
        paddings[node.axis(int(axis), rank)] = flat[place], flat[place + len(axes)]
    if (paddings < 0).any():
        node.refuse("a padding is negative", "Use Slice to cut")
    mode = node.attribute("mode", "constant")
    margins = node.integers(paddings, "paddings")
    if mode == "reflect":
        node.finish("MIRROR_PAD", [_rescaled(node, x), margins], mode="REFLECT")
        return
    if mode != "constant":
        node.refuse(f"its mode is {mode}; TFLite has constant and reflect")
    number = node.small(2) if node.has(2) else None
    if node.has(2) and number is None:
        node.refuse("the number it pads with is computed while the model runs")
    value = (
        float(number.reshape(-1)[0]) if number is not None and number.size else node.attribute("value", 0.0)
    )
    if value == 0.0:  # which for integers is their zero point
        node.finish("PAD", [_rescaled(node, x), margins])
        return
    if node.integer:
        raise NotInteger("it pads with another number than 0")
    node.finish("PADV2", [x, margins, node.constant(np.array(value, x.dtype), "value")])


def _rescaled(node: Node, x: Tensor) -> Tensor:
    scale = node.results[0] if node.integer else None
    return x if scale is None else node.rescaled(x, scale)


@operator("ArgMax", "ArgMin", to="ARG_MAX, ARG_MIN", limits="the first of equals")
def arg(node: Node) -> None:
    """Where along an axis the largest or smallest element is."""
    if node.attribute("select_last_index", 0):
        node.refuse("of equal elements it takes the last")
    x = node.x(0)
    axis = node.axis(node.attribute("axis", 0), len(x.shape))
    shape = tuple(n for at, n in enumerate(x.shape) if at != axis)
    code = "ARG_MAX" if node.op == "ArgMax" else "ARG_MIN"
    node.finish(code, [x, node.integers(axis, "axis")], shape=shape, outputType="INT32")


@operator("TopK", to="TOPK_V2", limits="the largest, sorted, along the last axis, a known number of them")
def top_k(node: Node) -> None:
    """The largest elements and their places."""
    x = node.x(0)
    if node.axis(node.attribute("axis", -1), len(x.shape)) != len(x.shape) - 1 or not node.attribute(
        "largest", 1
    ):
        node.refuse("it is not for the largest along the last axis", "Transpose, or negate, before it")
    count = node.integers(int(node.known(1, "number").reshape(-1)[0]), "k")
    made = [node.result(0), node.result(1)]
    node.graph.add("TOPK_V2", [x, count], made)
    for index, tensor in enumerate(made):
        if node.used(index):
            node.bind(tensor, index)


@operator("CumSum", to="CUMSUM", limits="a known axis")
def cumsum(node: Node) -> None:
    """Running sums along an axis."""
    axis = node.axis(int(node.known(1, "axis").reshape(-1)[0]), len(node.shape(0)))
    node.finish("CUMSUM", [node.x(0), node.integers(axis, "axis")],
                exclusive=bool(node.attribute("exclusive", 0)), reverse=bool(node.attribute("reverse", 0)))  # fmt: skip


@operator("Range", to="RANGE", limits="known ends")
def range_(node: Node) -> None:
    """Numbers at equal distances."""
    start, limit, delta = (node.known(i, "ends").reshape(()).item() for i in range(3))
    node.bind(node.constant(np.arange(start, limit, delta).astype(node.out_dtype()), "range"))


@operator("OneHot", to="ONE_HOT", limits="a known depth and values; indices not negative")
def one_hot(node: Node) -> None:
    """1 at an index and 0 elsewhere, or two other numbers."""
    depth = int(node.known(1, "depth").reshape(-1)[0])
    low, high = node.known(2, "values").reshape(-1)
    rank = len(node.out_shape())
    axis = node.axis(node.attribute("axis", -1), rank)
    inputs = [node.x(0), node.integers(depth, "depth"), node.constant(np.array(high), "on"),
              node.constant(np.array(low), "off")]  # fmt: skip
    node.finish("ONE_HOT", inputs, axis=-1 if axis == rank - 1 else axis)
