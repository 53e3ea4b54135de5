"""`cache writes`: what is written into a cache by number is chosen by a comparison with all numbers.

    data'[.., c, ..]  =  sum_s [p_s = c] u[.., s, ..]   where any p_s = c,   else data[.., c, ..]

with p the places of the S new slices u along one axis of C slots, the same for all other positions: the scatter that a
decoder writes its keys and values with. One slice needs no sum, and spreads by broadcasting; several are a product with
the 0/1 matrix [p_s = c], whose sums have one term that is not 0. Places that are known and follow one another are cut
out and put together instead.

    [p = c]           a comparison of integers, or 1 - min(|p - c|, 1) for a compiler that lacks it
    where(m, u, x)    as it is, or x + m (u - x) where the device has none

The matrix and the choice are made once for all caches that are written at the same places. The arithmetic in the form
of the comparison is exact for places below 2^24 in float32, and 2^11 in float16; that in the form of the choice leaves
x where m is 0, so that nothing adds up from call to call, and rounds u twice where it is 1. All else is exact for
finite numbers (but for the sign of 0), with places that are not negative and none of them twice.

What a device leaves to the CPU is worth it in 16 bits only: 8 would round a cache anew at every write. So is a product
with the matrix, where two activations of 16 bits are multiplied by one another.

GatherND and ScatterND come under it as well where their numbers count slices of the first axis: such a GatherND is a
Gather.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    import onnx_ir as ir

_NARROW = 8
_KNOWN = 1 << 16
_OPS = ("ScatterElements", "ScatterND", "GatherND")


class _Write(NamedTuple):
    """Slices that replace others along one axis.

    Attributes:
        data: What they are written into.
        updates: The slices, of data's shape but for the axis.
        places: Their numbers; all dimensions but one are 1.
        axis: Which.
        shape: Of data.
        steps: How many slices.
    """

    data: ir.Value
    updates: ir.Value
    places: ir.Value
    axis: int
    shape: tuple[int, ...]
    steps: int


class _Choice(NamedTuple):
    """Where an axis is written, as the device can use it, [C, 1, ..].

    Attributes:
        matrix: float32 [C, S], what goes where.
        written: Truth values, or a number where there is no Where.
    """

    matrix: ir.Value | None
    written: ir.Value


@rewrite(
    "cache writes",
    why="the compiler has no scatter; what is new in a cache is chosen by comparing places with all slots",
    cures=(*map(Cure, _OPS), Cure("SCATTER_ND"), Cure("GATHER_ND")),
    first=lambda device: any(op in device.lacks for op in _OPS),
)
def cache_writes(model: ir.Model, device: Device) -> int:
    """Rewrite scatters along one axis, of known shapes, and lookups of slices; returns how many."""
    made: dict[tuple[ir.Value | None, int, int, int, bool], _Choice] = {}
    forced = any(op in device.lacks for op in _OPS)
    worth_it = forced or device.activation_bits > _NARROW
    count = 0
    for node in list(model.graph):
        if standard(node, "GatherND"):
            count += _look_up(model, node)
            continue
        found = _write(node) if worth_it else None
        if found is None:
            continue
        new = Build(model.graph, node)
        begin = _begin(found)
        if begin is not None:
            _join(new, found, begin)
        elif forced or device.wide_products or found.steps == 1:
            _choose(new, found, device, made)
        else:
            continue
        count += 1
    return count


def _write(node: ir.Node) -> _Write | None:
    """What a scatter writes, where it writes whole slices of one axis by the same numbers everywhere."""
    import onnx_ir as ir

    if not standard(node, "ScatterElements", "ScatterND"):
        return None
    data, index, updates = node.inputs[:3]
    shape, new = known_shape(data), known_shape(updates)
    if data is None or index is None or updates is None or not shape or not new:
        return None
    axis = node.attributes.get_int("axis", 0) % len(shape)
    if node.op_type == "ScatterND":
        places = index if known_shape(index) == (new[0], 1) else None
    else:
        places = _repeated(index, axis) if known_shape(index) == new else None
    whole = new[:axis] + new[axis + 1 :] == shape[:axis] + shape[axis + 1 :]
    summed = data.dtype == ir.DataType.FLOAT or new[axis] == 1  # there is no product of integers to sum with
    alone = node.attributes.get_string("reduction", "none") == "none"
    if places is None or not (whole and new[axis] and summed and alone):
        return None
    return _Write(data, updates, places, axis, shape, new[axis])


def _repeated(index: ir.Value, axis: int) -> ir.Value | None:
    """What an index is made of by repeating it along all axes but one; None where it differs along another."""
    rank = len(index.shape or ())
    value: ir.Value | None = index
    while value is not None:
        shape = known_shape(value)
        if shape is None:
            return None
        if all(dim == 1 or at + rank - len(shape) == axis for at, dim in enumerate(shape)):
            return value
        node = value.producer()
        if node is None or not standard(node, "Expand", "Tile", "Identity"):
            return _constant_line(value, axis)
        before = known_shape(node.inputs[0])
        if before is None or _along(before, axis, rank) != _along(shape, axis, rank):
            return None
        value = node.inputs[0]
    return None


def _along(shape: tuple[int, ...], axis: int, rank: int) -> int:
    """The size of an axis that is counted in `rank` of them, of a shape that may lack the first ones."""
    at = axis - (rank - len(shape))
    return shape[at] if at >= 0 else 1


def _constant_line(value: ir.Value, axis: int) -> ir.Value | None:
    """The numbers along one axis of a constant that does not differ along the others, as a constant."""
    import numpy as np
    import onnx_ir as ir

    known = constant(value, limit=1 << 22)
    if known is None or known.ndim <= axis:
        return None
    line = known[tuple(slice(None) if at == axis else slice(1) for at in range(known.ndim))]
    if not np.array_equal(np.broadcast_to(line, known.shape), known):
        return None
    return ir.Value(
        name=f"{value.name}/line",
        type=value.type,
        shape=ir.Shape(line.shape),
        const_value=ir.Tensor(np.ascontiguousarray(line), name=f"{value.name}/line"),
    )


def _begin(write: _Write) -> int | None:
    """The first of known places that follow one another; None where they are computed, or do not."""
    import numpy as np

    known, capacity = constant(write.places, limit=_KNOWN), write.shape[write.axis]
    if known is None:
        return None
    places = np.where(known < 0, known + capacity, known).ravel()
    first = int(places[0])
    follow = 0 <= first <= capacity - len(places) and (places == np.arange(first, first + len(places))).all()
    return first if follow else None


def _join(new: Build, write: _Write, first: int) -> None:
    """Data up to the first place, the slices, and data behind them."""
    import numpy as np

    capacity, behind = write.shape[write.axis], first + write.steps
    axes = new.number(np.array([write.axis]), "axis")

    known = constant(write.data, limit=_KNOWN)

    def cut(start: int, end: int, what: str) -> ir.Value:
        if known is not None:
            piece = np.take(known, np.arange(start, end), write.axis)
            return new.number(np.ascontiguousarray(piece), what)
        bounds = [new.number(np.array([at]), f"{what}-{name}") for at, name in ((start, "from"), (end, "to"))]
        return new.op("Slice", [write.data, *bounds, axes], what)

    parts = [cut(0, first, "before")] if first else []
    parts.append(write.updates)
    parts += [cut(behind, capacity, "behind")] if behind < capacity else []
    if len(parts) == 1:
        new.finish("Identity", parts)
    else:
        new.finish("Concat", parts, axis=write.axis)


def _choose(
    new: Build,
    write: _Write,
    device: Device,
    made: dict[tuple[ir.Value | None, int, int, int, bool], _Choice],
) -> None:
    """The slices where they belong, data elsewhere."""
    import numpy as np
    import onnx_ir as ir

    chosen = "Where" in device.has or write.data.dtype != ir.DataType.FLOAT
    behind = len(write.shape) - 1 - write.axis
    capacity = write.shape[write.axis]
    key = (write.places, write.steps, capacity, behind, chosen)
    if key not in made:
        made[key] = _choice(new, write, device, behind, chosen=chosen)
    choice = made[key]
    slices: ir.Value = write.updates
    if choice.matrix is not None:
        before, after = math.prod(write.shape[: write.axis]), math.prod(write.shape[write.axis + 1 :])
        plain = behind == 1 or (behind == 0 and write.axis == 0)
        if not plain:
            flat = new.number(np.array([before, write.steps, after]), "flat-shape")
            slices = new.op("Reshape", [slices, flat], "flat")
        elif behind == 0:
            slices = new.op("Reshape", [slices, new.number(np.array([-1, 1]), "column-shape")], "column")
        slices = new.op("MatMul", [choice.matrix, slices], "placed")
        if not plain or behind == 0:
            slices = new.op("Reshape", [slices, new.number(np.array(write.shape), "shape")], "slices")
    if chosen:
        new.finish("Where", [choice.written, slices, write.data])
    elif choice.matrix is None:
        difference = new.op("Sub", [slices, write.data], "difference")
        change = new.op("Mul", [difference, choice.written], "change")
        new.finish("Add", [write.data, change])
    else:  # the product with the matrix is 0 wherever nothing is written already
        replaced = new.op("Mul", [write.data, choice.written], "replaced")
        new.finish("Add", [write.data, new.op("Sub", [slices, replaced], "change")])


def _choice(new: Build, write: _Write, device: Device, behind: int, *, chosen: bool) -> _Choice:
    """The matrix of places, [C, S], and what is written at all, [C, 1, ..] with as many 1 as axes are behind."""
    import numpy as np
    import onnx_ir as ir

    capacity, several = write.shape[write.axis], write.steps > 1
    line = new.number(np.array([1, write.steps]), "places-shape")
    whole, number, truth = (
        ir.TensorType(kind) for kind in (ir.DataType.INT64, ir.DataType.FLOAT, ir.DataType.BOOL)
    )

    def op(name: str, inputs: list[ir.Value], what: str, kind: ir.TensorType, **words: int) -> ir.Value:
        made = new.op(name, inputs, what, **words)
        made.type = kind
        return made

    given = write.places
    if given.const_value is not None:  # also one that stands in no graph yet
        known = np.asarray(given.const_value.numpy(), np.int64).reshape(1, -1)
        places = new.number(np.where(known < 0, known + capacity, known), "places")
    else:
        places = op("Reshape", [given, line], "places", ir.TensorType(given.dtype or ir.DataType.INT64))
        if given.dtype is not None and given.dtype != ir.DataType.INT64:
            places = op("Cast", [places], "wide-places", whole, to=int(ir.DataType.INT64))
    slots = np.arange(capacity)[:, None]
    compares = "Equal" not in device.lacks
    if compares:
        same = op("Equal", [places, new.number(slots, "slots")], "same", truth)
        matrix = op("Cast", [same], "matrix", number, to=int(ir.DataType.FLOAT))
    else:
        real = op("Cast", [places], "real-places", number, to=int(ir.DataType.FLOAT))
        apart = op("Sub", [real, new.number(slots.astype(np.float32), "slots")], "apart", number)
        far = op("Min", [op("Abs", [apart], "distance", number), new.number(1.0, "one")], "far", number)
        matrix = op("Sub", [new.number(1.0, "one-more"), far], "matrix", number)
    column = new.number(np.array([capacity, *[1] * behind]), "written-shape")
    if several:
        axes = new.number(np.array([1]), "matrix-axis")
        total = op("ReduceSum", [matrix, axes], "total", number, keepdims=1)
        share = op("Reshape", [total, column], "share", number)
    else:
        share = op("Reshape", [matrix, column], "share", number)
    if chosen:
        if compares and not several:
            written = op("Reshape", [same, column], "written", truth)
        else:
            written = op("Cast", [share], "written", truth, to=int(ir.DataType.BOOL))
    else:
        written = share
    return _Choice(matrix if several else None, written)


def _look_up(model: ir.Model, node: ir.Node) -> int:
    """A GatherND of slices of the first axis as a Gather; returns 1, or 0 where it is another."""
    import numpy as np
    import onnx_ir as ir

    index = node.inputs[1]
    shape = known_shape(index)
    if index is None or shape is None or len(shape) < 2 or shape[-1] != 1:  # noqa: PLR2004 - [.., 1]
        return 0
    if node.attributes.get_int("batch_dims", 0):
        return 0
    new = Build(model.graph, node)
    flat = new.op("Reshape", [index, new.number(np.array(shape[:-1]), "numbers-shape")], "numbers")
    flat.type = ir.TensorType(index.dtype or ir.DataType.INT64)
    new.finish("Gather", [node.inputs[0], flat], axis=0)
    return 1
