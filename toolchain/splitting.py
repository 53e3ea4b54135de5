"""A graph cut in two: what turns tokens into numbers, for the host, and everything else, for the accelerator.

    tokens, masks ──►  lookup  ──►  vectors, masks of floating point  ──►  core  ──►  outputs

An accelerator that multiplies has little to say about integers: a row of a table is found by an address, and a mask is
compared and selected. The processor beside it does that in no time. The host's part is every operator that computes
from integer inputs and constants alone, as long as it moves, selects or adds: it ends where a product, a norm, or
anything else begins that is work. It is cut only where a table is looked up; then masks go the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.program import Case, Signature, TensorSpec, size_of

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_LIGHT = (
    "Add", "And", "Cast", "Concat", "ConstantOfShape", "CumSum", "Equal", "Expand", "Gather", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Mul", "Not", "Or", "Range", "Reshape", "Shape", "Slice",
    "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
)  # fmt: skip
"""What moves, selects or adds."""
_GROWS = ("Expand",)
"""Of these, what makes more of the same: on floating point it is left to the accelerator, for every byte is sent."""
_MATRIX = 2


@dataclass(frozen=True)
class Cut:
    """Where a graph is cut.

    Attributes:
        values: Names of what the host's part gives to the other.
        lookups: How many tables it looks up.
    """

    values: tuple[str, ...]
    lookups: int


def find_cut(model: ir.Model) -> Cut | None:
    """Where the host's part ends; None for a graph that looks up no table by its inputs."""
    graph = model.graph
    host = {value for value in graph.inputs if _is_integer(value)}
    lookups = 0
    for node in graph:
        if not _is_light(node, host):
            continue
        lookups += _is_lookup(node)
        host |= set(node.outputs)
    if not lookups:
        return None
    values = [
        value
        for node in graph
        for value in node.outputs
        if value in host and _is_float(value) and any(use.node.outputs[0] not in host for use in value.uses())
    ]
    return Cut(tuple(str(value.name) for value in values), lookups)


def _is_light(node: ir.Node, host: set[ir.Value]) -> bool:
    given = [value for value in node.inputs if value is not None]
    if not standard(node, *_LIGHT) or not any(value in host for value in given):
        return False
    if node.op_type in _GROWS and _is_float(node.outputs[0]):
        return False
    known = all(value in host or _is_constant(value) for value in given)
    return known and not any(value.is_graph_output() for value in node.outputs)


def _is_lookup(node: ir.Node) -> bool:
    table = node.inputs[0] if node.op_type == "Gather" else None
    if table is None or not _is_constant(table) or not _is_float(table) or table.shape is None:
        return False
    return len(table.shape) >= _MATRIX and node.attributes.get_int("axis", 0) == 0


def _is_constant(value: ir.Value) -> bool:
    if value.is_graph_input():
        return False
    producer = value.producer()
    return value.const_value is not None or (producer is not None and standard(producer, "Constant"))


def _is_integer(value: ir.Value) -> bool:
    import onnx_ir as ir

    return value.dtype in {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL}


def _is_float(value: ir.Value) -> bool:
    import onnx_ir as ir

    return value.dtype is ir.DataType.FLOAT


def host_side(model: ir.Model, cut: Cut) -> None:
    """Leave of a graph what gives the values of a cut, in place."""
    from edgepack.toolchain.passes.clean_up import clean_up

    graph = model.graph
    named = {value.name: value for node in graph for value in node.outputs}
    graph.outputs.clear()
    graph.outputs.extend(named[name] for name in cut.values)
    clean_up(model)
    _drop_inputs(graph)


def core_side(model: ir.Model, cut: Cut, shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Leave of a graph what computes its outputs from the values of a cut, in place.

    Args:
        model: The graph.
        cut: Where.
        shapes: Of every value of the cut.
    """
    import onnx_ir as ir

    from edgepack.toolchain.passes.clean_up import clean_up

    graph = model.graph
    named = {value.name: value for node in graph for value in node.outputs}
    for name in cut.values:
        old = named[name]
        new = ir.Value(name=name, type=old.type, shape=ir.Shape(shapes[name]))
        old.name = f"{name}/host"
        ir.convenience.replace_all_uses_with(old, new)
        graph.inputs.append(new)
    _measure(model, [value for value in graph.inputs if value.name in cut.values])
    clean_up(model)
    _drop_inputs(graph)


_PARTS_OF_A_SHAPE = 15
"""First version of the operators whose Shape takes a start and an end."""


def _measure(model: ir.Model, given: Sequence[ir.Value]) -> None:
    """Take sizes that are read off the whole's inputs from the values of the cut, where those have all of them.

    Without it an accelerator's part would take token numbers for nothing but their count.
    """
    graph = model.graph
    if graph.opset_imports.get("", 0) < _PARTS_OF_A_SHAPE:
        return
    known: dict[int | str | None, tuple[ir.Value, int]] = {}
    for value in given:
        for axis, dim in enumerate(value.shape or ()):
            known.setdefault(dim if isinstance(dim, int) else dim.value, (value, axis))
    for node in list(graph):
        source = node.inputs[0] if standard(node, "Shape") else None
        if source is None or not source.is_graph_input() or source in given or source.shape is None:
            continue
        first, last = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(source.shape))
        dims = [dim if isinstance(dim, int) else dim.value for dim in source.shape][first:last]
        # A number may stand for different things; a name is the same wherever it is.
        if dims and all(isinstance(dim, str) and dim in known for dim in dims):
            _sizes_of(graph, node, [known[dim] for dim in dims])


def _sizes_of(graph: ir.Graph, node: ir.Node, places: Sequence[tuple[ir.Value, int]]) -> None:
    """Put the sizes of some axes into the place of a Shape."""
    import onnx_ir as ir

    old = node.outputs[0]
    made = [
        ir.node("Shape", [value], {"start": axis, "end": axis + 1}, name=f"{old.name}/size-{index}")
        for index, (value, axis) in enumerate(places)
    ]
    parts = [one.outputs[0] for one in made]
    for one in parts:
        one.name = str(one.producer().name)  # type: ignore[union-attr]
        one.type, one.shape = old.type, ir.Shape([1])
    if len(parts) > 1:
        made.append(ir.node("Concat", parts, {"axis": 0}, name=f"{old.name}/sizes"))
        made[-1].outputs[0].name = f"{old.name}/sizes"
        made[-1].outputs[0].type, made[-1].outputs[0].shape = old.type, old.shape
    graph.insert_before(node, made)
    ir.convenience.replace_all_uses_with(old, made[-1].outputs[0])
    graph.remove(node, safe=True)


def _drop_inputs(graph: ir.Graph) -> None:
    """Take away the inputs that nothing reads."""
    for value in list(graph.inputs):
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)


def spec_of(
    name: str, signature: Signature, cases: Sequence[Case], seen: Sequence[np.ndarray]
) -> TensorSpec | None:
    """What a value inside a graph is: a dimension is a name where it has that name's size in every case.

    Args:
        name: Of the value.
        signature: Of the graph that it is in.
        cases: Calls of different sizes.
        seen: The value in each.

    Returns:
        None where a dimension varies with no name.
    """
    sizes = [_sizes(signature, case) for case in cases]
    dims: list[int | str] = []
    for axis in range(seen[0].ndim):
        lengths = [value.shape[axis] for value in seen]
        names = [
            dim
            for dim in dict.fromkeys(d for spec in signature.inputs for d in spec.shape if isinstance(d, str))
            if [size_of(dim, one) for one in sizes] == lengths
        ]
        varies = len(set(lengths)) > 1
        if not names and varies:
            return None
        # One in every case is a number: an axis that was put in, or a batch that nobody varied.
        dims.append(names[0] if names and (varies or lengths[0] > 1) else lengths[0])
    return TensorSpec(name, str(seen[0].dtype), tuple(dims))


def _sizes(signature: Signature, case: Case) -> dict[str, int]:
    return {
        dim: case.inputs[spec.name].shape[axis]
        for spec in signature.inputs
        for axis, dim in enumerate(spec.shape)
        if isinstance(dim, str)
    }
