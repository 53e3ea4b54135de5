"""Operators that move elements and compute nothing, in the forms in which nncase (2.11.0) loads them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.building import Build, known_shape
from edgepack.toolchain.vendors.k230 import DISTRIBUTION

if TYPE_CHECKING:
    import onnx_ir as ir


def flat(model: ir.Model) -> int:
    """Write Flatten as the Reshape that it is where the shape is known; returns how often."""
    import numpy as np

    count = 0
    for node in list(model.graph):
        shape = known_shape(node.inputs[0]) if standard(node, "Flatten") else None
        if shape is None:
            continue
        axis = node.attributes.get_int("axis", 1)
        axis = axis + len(shape) if axis < 0 else axis
        new = Build(model.graph, node)
        rows = [math.prod(shape[:axis]), math.prod(shape[axis:])]
        new.finish("Reshape", [node.inputs[0], new.number(np.asarray(rows), "shape")])
        count += 1
    return count


def plain_reshapes(model: ir.Model, part: str) -> int:
    """Take the attribute `allowzero` away, in place, where it says nothing; returns how often.

    Raises:
        TargetError: A dimension of size zero is asked for.
    """
    count = 0
    for node in model.graph:
        if not standard(node, "Reshape") or not node.attributes.get_int("allowzero", 0):
            continue
        shape = constant(node.inputs[1])
        if shape is None or not shape.all():
            raise TargetError(
                f"{DISTRIBUTION} knows no Reshape to a dimension of size zero",
                where=f"part {part}, {node.name}",
                todo="Export the model with dimensions above zero",
            )
        del node.attributes["allowzero"]
        count += 1
    return count


def tiles(model: ir.Model) -> int:
    """Write repetitions along axes as concatenations, in place; returns how many."""
    count = 0
    for node in list(model.graph):
        value, times = node.inputs[0] if node.inputs else None, None
        if standard(node, "Tile"):
            times = constant(node.inputs[1])
        if value is None or times is None or not times.all():
            continue
        count += 1
        along = [axis for axis, often in enumerate(times) if often > 1]
        if not along:
            _leave_out(model, node)
            continue
        new = Build(model.graph, node)
        for axis in along[:-1]:
            value = new.op("Concat", [value] * int(times[axis]), f"along_{axis}", axis=axis)
        new.finish("Concat", [value] * int(times[along[-1]]), axis=along[-1])
    return count


def plain_slices(model: ir.Model) -> int:
    """Count the bounds of slices from the front, in place, and leave out slices of everything; returns how many."""
    import numpy as np

    count = 0
    for node in list(model.graph):
        shape = known_shape(node.inputs[0]) if standard(node, "Slice") else None
        given = [None if value is None else constant(value) for value in node.inputs[1:]]
        if shape is None or any(value is None for value in given):
            continue
        begins, ends, *rest = (np.asarray(value).ravel().tolist() for value in given)
        axes = rest[0] if rest else list(range(len(begins)))
        if any(step != 1 for step in rest[1]) if len(rest) > 1 else False:
            continue
        long = [shape[axis] for axis in axes]
        begins, ends = (
            [_from_front(a, size) for a, size in zip(side, long, strict=True)] for side in (begins, ends)
        )
        count += 1
        if all(a == 0 and b == size for a, b, size in zip(begins, ends, long, strict=True)):
            _leave_out(model, node)
            continue
        new = Build(model.graph, node)
        names = ("begins", "ends", "axes")
        inputs = [
            new.number(np.asarray(values), name)
            for name, values in zip(names, (begins, ends, axes), strict=True)
        ]
        new.finish("Slice", [node.inputs[0], *inputs])
    return count


def _from_front(place: int, size: int) -> int:
    return min(max(place + size if place < 0 else place, 0), size)


def _leave_out(model: ir.Model, node: ir.Node) -> None:
    """Take away a node that gives what it takes."""
    import onnx_ir

    source = node.inputs[0]
    assert source is not None  # noqa: S101 - its shape, or that it has one, was looked at
    onnx_ir.convenience.replace_all_uses_with(node.outputs[0], source, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)
