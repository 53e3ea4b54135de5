"""An ONNX graph in the operators that pnnx and ncnn have: masks as numbers, and tables that pnnx can try.

ncnn computes with floating point, and with integers only where rows are looked up. So an integer or logical input that
nothing looks rows up by enters as float32, in which integers up to 2^24 are exact, and what follows is arithmetic:

    bool(i)           min(|i|, 1)               i an integer
    i == k            1 - min(|i - k|, 1)
    not a             1 - a                     a in {0, 1}
    a and b, a or b   a b, max(a, b)
    where(a, x, y)    a x + (1 - a) y           an infinite constant is the largest float32 here

What follows from numbers that are not integers (a comparison of two scores) stays as it is, and ncnn refuses it.

pnnx forgets which axis a sum, a mean or a norm goes along when it is one, and keeps it when there are two: such an
operator gets a second axis, of size 1, beside the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    import onnx_ir as ir

_ROWS = 10
_MOVES = (
    "Slice",
    "Unsqueeze",
    "Squeeze",
    "Reshape",
    "Flatten",
    "Transpose",
    "Expand",
    "Identity",
    "Concat",
)
"""Operators whose first input (of Concat: all inputs) comes out as it went in."""
_LOGIC = ("Not", "And", "Or", "Equal")
_REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceLogSumExp")


def ready(graph: ir.Graph) -> None:
    """Change a graph in place; inputs that became float32 have that type afterwards.

    Args:
        graph: In floating point, of fixed shapes.
    """
    for value in list(graph.inputs):
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)
    _number_masks(graph)
    for node in list(graph):
        if standard(node, "Gather") and node.attributes.get_int("axis", 0) == 0:
            node.attributes.pop("axis", None)  # pnnx knows the lookup of rows by the operator without it
        elif standard(node, *_REDUCTIONS):
            _reduce_two(graph, node)
    lengthen_tables(graph)


def lengthen_tables(graph: ir.Graph) -> None:
    """Give tables that are looked up in by computed indices rows of zeros, up to `_ROWS`.

    pnnx tries a graph with integers of its own, 0 to 9, to learn shapes, and crashes where a table (of BERT's two kinds
    of tokens) has no such row. No index that was legal reaches the new ones.
    """
    import numpy as np
    import onnx_ir as ir

    for node in list(graph):
        table = node.inputs[0] if node.op_type == "Gather" else None
        axis = node.attributes.get("axis")
        if table is None or table.const_value is None or (axis is not None and axis.as_int() != 0):
            continue
        indices = node.inputs[1]
        count = next(iter(table.const_value.shape.numpy()), 0)
        if indices is None or indices.const_value is not None or not 0 < count < _ROWS:
            continue
        rows = table.const_value.numpy()
        longer = np.zeros((_ROWS, *rows.shape[1:]), rows.dtype)
        longer[: len(rows)] = rows
        made = ir.Value(
            name=f"{table.name}/longer", const_value=ir.tensor(longer, name=f"{table.name}/longer")
        )
        made.shape, made.type = ir.Shape(longer.shape), table.type
        graph.initializers.setdefault(made.name or "", made)
        node.replace_input_with(0, graph.initializers[made.name or ""])


def _reduce_two(graph: ir.Graph, node: ir.Node) -> None:
    """Along one axis: reshape [..., n, ...] to [..., n, 1, ...], and reduce both.

    A norm that something is divided by is left alone: pnnx knows both together as one layer.
    """
    import numpy as np

    given = constant(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes")
    shape, made = known_shape(node.inputs[0]), known_shape(node.outputs[0])
    axes = [] if given is None else [int(axis) for axis in given]
    if len(axes) != 1 or shape is None or made is None:
        return
    if node.op_type == "ReduceL2" and all(standard(use.node, "Clip") for use in node.outputs[0].uses()):
        return
    axis = axes[0] % len(shape)
    new = Build(graph, node)
    longer = new.number(np.array([*shape[: axis + 1], 1, *shape[axis + 1 :]]), "longer shape")
    both = new.number(np.array([axis, axis + 1]), "axes")
    wide = new.op("Reshape", [node.inputs[0], longer], "longer")
    if len(node.inputs) > 1:
        done = new.op(node.op_type, [wide, both], "reduced", keepdims=0)
    else:
        done = new.op(node.op_type, [wide], "reduced", keepdims=0, axes=[axis, axis + 1])
    if node.attributes.get_int("keepdims", 1):
        new.finish("Reshape", [done, new.number(np.array(made), "shape")])
    else:
        new.finish("Identity", [done])


def _number_masks(graph: ir.Graph) -> None:
    """Integers that are only a mask become numbers, and so what is computed of them."""
    import onnx_ir as ir

    found = _carried(graph)
    for value in found:
        if value.is_graph_input():
            value.type = ir.TensorType(ir.DataType.FLOAT)
    carried = {value.name for value in found}  # the values themselves are replaced one after the other
    for node in list(graph):
        if standard(node, "Where") and _name(node.inputs[0]) in carried:
            _choose(graph, node)
        elif standard(node, "Cast") and _name(node.inputs[0]) in carried:
            _cast(graph, node)
        elif node.outputs[0].name in carried:
            if standard(node, *_LOGIC):
                _decide(graph, node)
            else:
                _follow(graph, node)


def _name(value: ir.Value | None) -> str | None:
    return None if value is None else value.name


def _carried(graph: ir.Graph) -> set[ir.Value]:
    """Integer and logical values, from inputs on, all of whose uses can do with a float32 in their place."""
    import onnx_ir as ir

    whole = {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.UINT8, ir.DataType.INT8}
    found = {value for value in graph.inputs if value.dtype in whole}
    for node in graph:  # forwards: whatever is moved, compared or made logical of them
        known = [
            value is not None and (value in found or constant(value) is not None) for value in node.inputs
        ]
        if not any(value in found for value in node.inputs):
            continue
        if (
            (
                standard(node, *_MOVES)
                and (all(known) if node.op_type == "Concat" else node.inputs[0] in found)
            )
            or (standard(node, *_LOGIC) and all(known))
            or (standard(node, "Cast") and node.outputs[0].dtype in whole)
        ):
            found.add(node.outputs[0])
    while (
        True
    ):  # backwards: a value that something else reads as an integer stays one, and what it was made of
        kept = {value for value in found if not value.is_graph_output() and _free(value, found)}
        kept = {
            value
            for value in kept
            if value.is_graph_input()
            or all(v in kept or (v is not None and constant(v) is not None) for v in _read(value.producer()))
        }
        if kept == found:
            return found
        found = kept


def _read(node: ir.Node | None) -> Sequence[ir.Value | None]:
    """The inputs of an operator that become numbers when its result does."""
    if node is None:
        return ()
    return node.inputs if standard(node, "Concat", *_LOGIC) else node.inputs[:1]


def _free(value: ir.Value, found: set[ir.Value]) -> bool:
    """Whether everything that reads a value takes it as a number."""
    for node, index in value.uses():
        if standard(node, "Where") and index == 0 and _float(node.outputs[0]):
            continue
        if standard(node, "Cast") and (_float(node.outputs[0]) or node.outputs[0] in found):
            continue
        if node.outputs[0] in found and (index == 0 or standard(node, "Concat", *_LOGIC)):
            continue
        return False
    return bool(value.uses())


def _float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _cast(graph: ir.Graph, node: ir.Node) -> None:
    """To a number: nothing is left to do. To a logical value: min(|x|, 1)."""
    import onnx_ir as ir

    logical = node.outputs[0].dtype is ir.DataType.BOOL
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    new = Build(graph, node)
    if logical:
        new.finish("Min", [new.op("Abs", node.inputs[:1], "size"), new.number(1.0, "one")])
    else:
        new.finish("Identity", node.inputs[:1])


def _decide(graph: ir.Graph, node: ir.Node) -> None:
    import onnx_ir as ir

    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    new = Build(graph, node)
    one = new.number(1.0, "one")
    inputs = [_number(new, value, f"operand {index}") for index, value in enumerate(node.inputs)]
    if node.op_type == "And":
        new.finish("Mul", inputs)
    elif node.op_type == "Or":
        new.finish("Max", inputs)
    elif node.op_type == "Not":
        new.finish("Sub", [one, *inputs])
    else:
        apart = new.op("Abs", [new.op("Sub", inputs, "difference")], "distance")
        new.finish("Sub", [one, new.op("Min", [apart, one], "differs")])


def _choose(graph: ir.Graph, node: ir.Node) -> None:
    """A x + (1 - a) y, without the terms that are 0."""
    new = Build(graph, node)
    mask = node.inputs[0]
    terms = []
    for value, label in zip(node.inputs[1:], ("chosen", "other"), strict=True):
        known = None if value is None else constant(value)
        if known is not None and not known.any():
            continue
        number = _number(new, value, f"{label} value")
        share = mask if label == "chosen" else new.op("Sub", [new.number(1.0, "one"), mask], "otherwise")
        terms.append([share, number])
    if len(terms) == 2:  # noqa: PLR2004 - both values
        new.finish("Add", [new.op("Mul", term, f"part {index}") for index, term in enumerate(terms)])
    else:
        new.finish("Mul", terms[0] if terms else [mask, new.number(0.0, "zero")])


def _number(new: Build, value: ir.Value | None, what: str) -> ir.Value | None:
    """A value, or its copy in float32 where it is a constant of another kind or infinite."""
    import numpy as np

    known = None if value is None else constant(value)
    if known is None or (known.dtype == np.float32 and np.isfinite(known).all()):
        return value
    largest = np.finfo(np.float32).max
    return new.number(np.clip(known.astype(np.float32), -largest, largest), what)


def _follow(graph: ir.Graph, node: ir.Node) -> None:
    """An operator that moves numbers, of float32 now; what Concat takes of constants too."""
    import onnx_ir as ir

    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    if standard(node, "Concat"):
        new = Build(graph, node)
        for index, value in enumerate(node.inputs):
            node.replace_input_with(index, _number(new, value, f"operand {index}"))
