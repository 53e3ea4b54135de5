"""Operators that take parts of tensors, and put parts together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite import run_time
from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator
from edgepack.targets.mobile._tflite.node import SIZES

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_MATRIX = 2
_ENDLESS = 2**31 - 1
"""A bound that says "as far as it goes"; larger ones do too."""


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
    indices = _indices(node, 1, x, axis)
    count = node.size(indices.shape)
    table = x.values is not None and x.dtype == "float32" and axis == 0 and len(x.shape) == _MATRIX
    if table and indices.values is None and count:
        flat = node.reshaped(indices, (count,))
        rows = node.emit("EMBEDDING_LOOKUP", [flat, x], (count, x.shape[1]), dtype="float32")
        shape = node.out_shape()
        if shape.count(-1) > 1:
            wanted: list[int | Tensor] = [run_time.sizes(node.graph, indices), x.shape[1]]
            target = run_time.joined(node.graph, wanted, f"{node.label}/shape")
            node.bind(node.emit("RESHAPE", [rows, target], shape))
            return
        node.bind(node.reshaped(rows, shape))
        return
    made = node.emit("GATHER", [x, indices], node.out_shape(), axis=axis)
    node.bind(made)


@operator("GatherND", to="GATHER_ND", limits="batch_dims=0")
def gather_nd(node: Node) -> None:
    """Slices by several numbers."""
    if node.attribute("batch_dims", 0):
        node.refuse("it has batch dimensions")
    node.finish("GATHER_ND", [node.x(0), node.x(1)])


def _indices(node: Node, index: int, x: Tensor, axis: int) -> Tensor:
    known, size = node.small(index), x.shape[axis]
    if known is None:
        return node.x(index)
    if size >= 0 or (known >= 0).all():
        return node.integers(np.where(known < 0, known + size, known).astype(np.int32), "indices")
    if known.size > 1:
        node.refuse("it counts several indices from the end of an open dimension", SIZES)
    last = run_time.size(node.graph, x, axis)
    counted = node.emit(
        "ADD", [last, node.integers(known.reshape(1), "from the end")], (1,), potScaleInt16=False
    )
    return node.reshaped(counted, known.shape)


@operator("Slice", to="STRIDED_SLICE, SLICE", integer=BOTH, moves=True, limits="known axes and steps")
def slice_(node: Node) -> None:
    """Every n-th element from a start to an end, along any axes; steps may be negative."""
    x, rank = node.x(0), len(node.shape(0))
    axes, steps = _axes(node)
    starts, ends = (_bounds(node, name, place) for name, place in (("starts", 1), ("ends", 2)))
    begin: list[int | Tensor] = [0] * rank
    end: list[int | Tensor] = [max(n, 0) for n in x.shape]
    stride = [1] * rank
    whole = sum(1 << at for at, size in enumerate(x.shape) if size < 0)
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = node.axis(int(axis), rank)
        size, stride[at] = x.shape[at], int(step)
        if isinstance(start, int) and isinstance(stop, int) and size >= 0:
            begin[at], end[at], stride[at] = slice(start, stop, step).indices(size)
            if step < 0 and end[at] == -1:  # the one before the first, which only a mask can say
                whole |= 1 << at
            continue
        begin[at], end[at] = _narrow(start), _narrow(stop)
        endless = isinstance(stop, int) and (stop >= _ENDLESS if step > 0 else stop <= -_ENDLESS)
        whole = whole | 1 << at if endless else whole & ~(1 << at)
    known_begin = [n for n in begin if isinstance(n, int)]
    known_end = [n for n in end if isinstance(n, int)]
    plain = all(step == 1 for step in stride)
    if plain and known_begin == [0] * rank and _is_whole(x, known_end, whole):
        node.bind(x)
        return
    if plain and not whole and -1 not in x.shape and len(known_begin) == len(known_end) == rank:
        sizes = [max(0, stop - start) for start, stop in zip(known_begin, known_end, strict=True)]
        if x.values is not None:
            node.bind(_cut(node, x, known_begin, sizes))
            return
        bounds = [node.integers(known_begin, "begin"), node.integers(sizes, "size")]
        node.bind(node.emit("SLICE", [x, *bounds], sizes))
        return
    parts = [
        run_time.joined(node.graph, begin, f"{node.label}/begin"),
        run_time.joined(node.graph, end, f"{node.label}/end"),
        node.integers(stride, "strides"),
    ]
    node.bind(node.emit("STRIDED_SLICE", [x, *parts], node.out_shape(), endMask=whole))


def _is_whole(x: Tensor, end: list[int], mask: int) -> bool:
    """Whether a slice from 0 ends where the tensor does, in every dimension."""
    return len(end) == len(x.shape) and all(
        mask >> at & 1 or (size >= 0 and end[at] == size) for at, size in enumerate(x.shape)
    )


def _narrow(bound: int | Tensor) -> int | Tensor:
    return min(max(bound, -_ENDLESS), _ENDLESS) if isinstance(bound, int) else bound


def _cut(node: Node, x: Tensor, begin: list[int], sizes: list[int]) -> Tensor:
    if x.values is None:
        msg = "a computed tensor is not cut here"
        raise ValueError(msg)
    window = tuple(slice(b, b + n) for b, n in zip(begin, sizes, strict=True))
    values = x.values.derived(lambda a: np.ascontiguousarray(a[window]), sizes, ("cut", *begin, *sizes))
    return node.constant(values, "slice", x.quantization)


def _bounds(node: Node, name: str, place: int) -> list[int | Tensor]:
    """Starts or ends of a slice, one an axis: numbers, or vectors of one number that the model computes."""
    if node.attribute("starts") is not None:  # operator sets before 10
        return list(node.attribute(name))
    known = node.small(place)
    if known is not None:
        return [int(n) for n in known.reshape(-1)]
    vector = node.tensor(place)
    return [run_time.part(node.graph, vector, at) for at in range(vector.shape[0])]


def _axes(node: Node) -> tuple[list[int], list[int]]:
    """Axes of a slice, and their steps."""
    if node.attribute("starts") is not None:
        count = len(node.attribute("starts"))
        return node.attribute("axes", list(range(count))), [1] * count
    count = node.tensor(1).shape[0]
    axes = node.known(3, "axes").reshape(-1).tolist() if node.has(3) else list(range(count))
    steps = node.known(4, "steps").reshape(-1).tolist() if node.has(4) else [1] * count
    return axes, steps


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


@operator("Range", to="RANGE")
def range_(node: Node) -> None:
    """Numbers at equal distances, whose ends the model may compute."""
    ends = [node.small(i) for i in range(3)]
    if any(end is None for end in ends):
        node.finish("RANGE", [node.reshaped(node.tensor(i), ()) for i in range(3)])
        return
    start, limit, delta = (end.reshape(()).item() for end in ends if end is not None)
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
