"""Operators that give a tensor other dimensions, or another order of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.base import BOTH, operator

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node


@operator("Reshape", "Flatten", "Squeeze", "Unsqueeze", to="RESHAPE", integer=BOTH, moves=True,
          limits="at most one dimension that is not known beforehand")  # fmt: skip
def reshape(node: Node) -> None:
    """The same numbers in order, under other dimensions."""
    shape = node.out_shape()
    if shape.count(-1) > 1:
        node.refuse("two of the result's dimensions are open", "Give sizes for all named dimensions but one")
    node.bind(node.reshaped(node.x(), shape))


@operator("Transpose", to="TRANSPOSE", integer=BOTH, moves=True, limits="up to 6 dimensions")
def transpose(node: Node) -> None:
    """Dimensions in another order, backwards by default."""
    rank = len(node.shape())
    if rank > 6:  # noqa: PLR2004 - what the kernel has
        node.refuse(f"it has {rank} dimensions, TFLite transposes 6", "Reshape to fewer dimensions")
    node.bind(node.transposed(node.x(), node.attribute("perm", list(range(rank))[::-1])))


@operator("Expand", to="BROADCAST_TO", limits="a known shape of up to 8 dimensions")
def expand(node: Node) -> None:
    """The tensor repeated along dimensions of length 1."""
    x, shape = node.x(), node.out_shape()
    if -1 in shape:
        node.refuse("the result's shape is open", "Give sizes for all named dimensions")
    if x.shape == shape:
        node.bind(x)
        return
    if x.values is not None and node.size(shape) == node.size(x.shape):
        node.bind(node.reshaped(x, shape))
        return
    node.finish("BROADCAST_TO", [x, node.integers(shape, "shape")])


@operator("Shape", to="SHAPE, SLICE")
def shape_of(node: Node) -> None:
    """The dimensions, as numbers."""
    dims = node.shape()
    start, end = node.attribute("start", 0), node.attribute("end", len(dims))
    wanted = dims[slice(start, end)]
    if -1 not in wanted:
        node.bind(node.integers(wanted, "shape"))
        return
    whole = node.emit("SHAPE", [node.x()], (len(dims),), dtype="int32", outType="INT32")
    begin = range(len(dims))[slice(start, end)].start
    node.finish("SLICE", [whole, node.integers([begin], "begin"), node.integers([len(wanted)], "size")])


@operator("Size", to="none", limits="of known dimensions")
def size_of(node: Node) -> None:
    """The number of elements."""
    dims = node.shape()
    if -1 in dims:
        node.refuse("its result is computed while the model runs", "Give sizes for the named dimensions")
    node.bind(node.constant(np.array(node.size(dims), np.int32), "size"))


@operator("ConstantOfShape", to="none", limits="a known shape")
def constant_of_shape(node: Node) -> None:
    """One number, everywhere."""
    shape = node.out_shape()
    if -1 in shape:
        node.refuse("its shape is open", "Give sizes for all named dimensions")
    given = node.attribute("value")
    number = np.zeros(1, np.float32) if given is None else given.numpy().reshape(-1)
    node.bind(node.constant(np.full(shape, number[0]).astype(node.out_dtype()), "filled"))


@operator("Tile", to="TILE", limits="known repeats")
def tile(node: Node) -> None:
    """The tensor laid side by side."""
    repeats = node.known(1, "repeats")
    node.finish("TILE", [node.x(), node.integers(repeats.astype(np.int32), "repeats")])


@operator("DepthToSpace", to="DEPTH_TO_SPACE, RESHAPE, TRANSPOSE", integer=BOTH, moves=True)
def depth_to_space(node: Node) -> None:
    """Channels laid out as blocks of pixels: [n, c b b, h, w] -> [n, c, h b, w b]."""
    x, b = node.x(), int(node.attribute("blocksize"))
    n, c, h, w = x.shape
    if node.attribute("mode", "DCR") == "DCR":
        split, order = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
    node.bind(node.reshaped(node.transposed(node.reshaped(x, split), order), node.out_shape()))


@operator("SpaceToDepth", to="RESHAPE, TRANSPOSE", integer=BOTH, moves=True)
def space_to_depth(node: Node) -> None:
    """Blocks of pixels laid out as channels: [n, c, h b, w b] -> [n, b b c, h, w]."""
    x, b = node.x(), int(node.attribute("blocksize"))
    n, c, h, w = x.shape
    split = node.reshaped(x, (n, c, h // b, b, w // b, b))
    node.bind(node.reshaped(node.transposed(split, (0, 3, 5, 1, 2, 4)), node.out_shape()))
