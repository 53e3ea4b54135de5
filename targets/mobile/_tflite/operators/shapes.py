"""Operators that give a tensor other dimensions, or another order of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite import run_time
from edgepack.targets.mobile._tflite.base import BOTH, operator
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node


@operator("Reshape", "Flatten", "Squeeze", "Unsqueeze", to="RESHAPE", integer=BOTH, moves=True)
def reshape(node: Node) -> None:
    """The same numbers in order, under other dimensions, which the model may compute."""
    shape = node.out_shape()
    if shape.count(-1) < 2 or node.op in {"Squeeze", "Unsqueeze"}:  # noqa: PLR2004 - one follows from the others
        node.bind(node.reshaped(node.x(), shape))
        return
    x, name = node.x(), f"{node.label}/shape"
    if node.op == "Flatten":
        axis = node.attribute("axis", 1) % len(x.shape)
        front = run_time.part(node.graph, run_time.sizes(node.graph, x), 0, axis)
        product = node.emit("REDUCE_PROD", [front, node.integers([0], "axes")], (1,), keepDims=True)
        target = run_time.joined(node.graph, [product, -1], name)
    else:
        target = _target(node, x, name)
    node.bind(node.emit("RESHAPE", [x, target], shape))


def _target(node: Node, x: Tensor, name: str) -> Tensor:
    """The dimensions that a Reshape asks for, in which 0 stands for the input's own."""
    vector = node.onnx.inputs[1]
    producer = None if vector is None else vector.producer()
    parts = [node.tensor(1)]
    if producer is not None and standard(producer, "Concat"):
        parts = [node.held(value) for value in producer.inputs if value is not None]
    if node.attribute("allowzero", 0) or not any(
        (part.small == 0).any() for part in parts if part.small is not None
    ):
        return node.tensor(1)
    asked: list[int | Tensor] = []
    for part in parts:
        known, start = part.small, sum(1 if isinstance(one, int) else one.shape[0] for one in asked)
        if known is None:
            asked.append(part)
            continue
        for at, n in enumerate(known.reshape(-1), start):
            asked.append(int(n) if n else run_time.size(node.graph, x, at))
    return run_time.joined(node.graph, asked, name)


@operator("Transpose", to="TRANSPOSE", integer=BOTH, moves=True, limits="up to 6 dimensions")
def transpose(node: Node) -> None:
    """Dimensions in another order, backwards by default."""
    rank = len(node.shape())
    if rank > 6:  # noqa: PLR2004 - what the kernel has
        node.refuse(f"it has {rank} dimensions, TFLite transposes 6", "Reshape to fewer dimensions")
    node.bind(node.transposed(node.x(), node.attribute("perm", list(range(rank))[::-1])))


@operator("Expand", to="BROADCAST_TO, BROADCAST_ARGS", limits="a shape of up to 8 dimensions")
def expand(node: Node) -> None:
    """The tensor repeated along dimensions of length 1."""
    x, shape = node.x(), node.out_shape()
    if -1 in shape:
        own = run_time.sizes(node.graph, x)
        target = node.emit("BROADCAST_ARGS", [own, node.tensor(1)], (len(shape),), dtype="int32")
        node.finish("BROADCAST_TO", [x, target])
        return
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
    begin = range(len(dims))[slice(start, end)].start
    node.bind(run_time.part(node.graph, run_time.sizes(node.graph, node.x()), begin, len(wanted)))


@operator("Size", to="SHAPE, REDUCE_PROD")
def size_of(node: Node) -> None:
    """The number of elements."""
    dims = node.shape()
    if -1 in dims:
        node.finish(
            "REDUCE_PROD", [run_time.sizes(node.graph, node.x()), node.integers([0], "axes")], keepDims=False
        )
        return
    node.bind(node.constant(np.array(node.size(dims), np.int32), "size"))


@operator("ConstantOfShape", to="FILL")
def constant_of_shape(node: Node) -> None:
    """One number, everywhere."""
    shape = node.out_shape()
    given = node.attribute("value")
    number = np.zeros(1, np.float32) if given is None else given.numpy().reshape(-1)
    if -1 in shape:
        value = node.constant(np.array(number[0]).astype(node.out_dtype()), "value")
        node.finish("FILL", [node.tensor(0), value])
        return
    node.bind(node.constant(np.full(shape, number[0]).astype(node.out_dtype()), "filled"))


@operator("Tile", to="TILE")
def tile(node: Node) -> None:
    """The tensor laid side by side."""
    node.finish("TILE", [node.x(), node.tensor(1)])


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
