"""`written rows`: what is written into a tensor along one axis, as a cache is, by arithmetic or put together of pieces.

    one row u at a place p that is computed     y = x + m (u - x),   m[s] = 1 where s = p, else 0
    rows at places p, p + 1, .. that are known  y = [x before p | rows | x behind them]

An accelerator that cannot scatter leaves it to the CPU with all that it takes to do so (numbers into zeros, ones into
zeros, a comparison and a choice) and with the conversions around it, for every cache. m is compared on the CPU, once
for all that are written at the same place; the rest stays where the numbers are. Where m is 0, y is x and nothing adds
up from call to call. In 16 bits only: 8 would round a cache anew at every write. As in ONNX a place lies within x; what
is computed is not negative, nor is it for a TFLite file's own scatter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites._layouts import unlaid
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_WIDE = 16
_INDICES = 1 << 20


@dataclass(frozen=True)
class _Write:
    """One write: into x along an axis, rows at places."""

    node: ir.Node
    x: ir.Value
    rows: ir.Value
    axis: int
    shape: tuple[int, ...]
    count: int


@rewrite(
    "written rows",
    why="the NPU cannot scatter; a row of a cache is chosen by a product, and known rows are put together",
    cures=(Cure("SCATTER_ND"),),
)
def written_rows(model: ir.Model, device: Device) -> int:
    """Rewrite ScatterElements along one axis of known shapes; returns how many."""
    if device.activation_bits != _WIDE:
        return 0
    masks: dict[tuple[ir.Value, int, int, int], ir.Value] = {}
    count = 0
    for node in list(model.graph):
        found = _write(node)
        if found is None:
            continue
        new = Build(model.graph, node)
        known = constant(node.inputs[1], limit=_INDICES)
        if known is not None:
            begin = _begin(known, found)
            if begin is None:
                continue
            _together(new, found, begin)
        else:
            place = _place(node.inputs[1]) if found.count == 1 else None
            if place is None:
                continue
            key = (place, found.axis, found.shape[found.axis], len(found.shape))
            if key not in masks:
                masks[key] = _mask(new, found, place)
            difference = new.op("Sub", [found.rows, found.x], "difference")
            new.finish("Add", [found.x, new.op("Mul", [difference, masks[key]], "change")])
        count += 1
    return count


def _write(node: ir.Node) -> _Write | None:
    """A write of whole rows, of float32 and without reduction."""
    import onnx_ir as ir

    if not standard(node, "ScatterElements") or node.attributes.get_string("reduction", "none") != "none":
        return None
    x, _, rows = node.inputs
    shape, written = known_shape(x), known_shape(rows)
    if x is None or rows is None or shape is None or written is None or x.dtype != ir.DataType.FLOAT:
        return None
    axis = node.attributes.get_int("axis", 0) % len(shape)
    if any(a != b for at, (a, b) in enumerate(zip(shape, written, strict=True)) if at != axis):
        return None  # not all of a row
    # Numbers that differ between the elements of a row would be no single place.
    indices, layouts = unlaid(node.inputs[1])
    small = [indices, *(one.outputs[0] for one in layouts)]
    same = any(math.prod(known_shape(value) or (0,)) == written[axis] for value in small)
    if not same and constant(node.inputs[1], limit=_INDICES) is None:
        return None
    return _Write(node, x, rows, axis, shape, written[axis])


def _place(value: ir.Value | None) -> ir.Value | None:
    """The one number that an index is made of, as early as it is one."""
    first, layouts = unlaid(value)
    values = (first, *(one.outputs[0] for one in layouts))
    return next((one for one in values if one is not None and math.prod(known_shape(one) or (0,)) == 1), None)


def _mask(new: Build, found: _Write, place: ir.Value) -> ir.Value:
    """1 at the place, and 0 elsewhere, along the axis."""
    import numpy as np
    import onnx_ir as ir

    sizes = [found.shape[found.axis] if at == found.axis else 1 for at in range(len(found.shape))]
    whole = place.dtype.numpy() if place.dtype is not None else np.int64
    one = new.op("Reshape", [place, new.number(np.ones(len(sizes), np.int64), "place-shape")], "place")
    one.type = place.type
    numbers = new.number(np.arange(found.shape[found.axis], dtype=whole).reshape(sizes), "numbers")
    here = new.op("Equal", [numbers, one], "here")
    here.type = ir.TensorType(ir.DataType.BOOL)
    return new.op("Cast", [here], "mask", to=int(ir.DataType.FLOAT))


def _begin(known: np.ndarray, found: _Write) -> int | None:
    """The first place of rows that are written one behind the other; None where they are not."""
    import numpy as np

    length = found.shape[found.axis]
    places = np.moveaxis(np.where(known < 0, known + length, known), found.axis, 0).reshape(found.count, -1)
    begin = int(places[0, 0])
    follow = (places == begin + np.arange(found.count)[:, None]).all()
    return begin if follow and begin + found.count <= length else None


def _together(new: Build, found: _Write, begin: int) -> None:
    """What is before the rows, the rows, and what is behind them."""
    pieces = [
        _piece(new, found, 0, begin),
        found.rows,
        _piece(new, found, begin + found.count, found.shape[found.axis]),
    ]
    new.finish("Concat", [piece for piece in pieces if piece is not None], axis=found.axis)


def _piece(new: Build, found: _Write, begin: int, end: int) -> ir.Value | None:
    import numpy as np

    if begin == end:
        return None
    what = f"from-{begin}"
    known = constant(found.x, limit=_INDICES)
    if known is not None:
        return new.number(np.ascontiguousarray(np.take(known, np.arange(begin, end), found.axis)), what)
    numbers = [
        new.number(np.array([n]), f"{what}-{name}")
        for name, n in (("begin", begin), ("end", end), ("axis", found.axis))
    ]
    return new.op("Slice", [found.x, *numbers], what)
