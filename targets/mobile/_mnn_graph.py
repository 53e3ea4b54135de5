"""An ONNX graph in the words in which MNN computes what ONNX says.

What is written otherwise here means the same in ONNX, so that the lowered file is still what ONNX Runtime computes. It
is written otherwise because MNN 3.6.1 converts the left side without a word, and computes something else, or ends the
process (`docs/mnn.md` has the list, `tests/targets/mobile/test_mnn_graph.py` asks the installed one):

    ScatterElements<reduction = "none", axis>  =  ScatterElements<axis>: one attribute is heeded, the first
    Where(c, x, y)                             =  Where(c, x, Expand(y, Shape(x))): a smaller y is read beyond its end
    Max(a, b, c), Min, Sum                     =  Max(Max(a, b), c): the third is not broadcast
    Mean(a, b, ...)                            =  (a + b + ...) / n
    ReduceL1(x, axes)                          =  ReduceSum(|x|, axes): axes that are an input are overlooked
    ReduceL2(x, axes), ReduceSumSquare         =  sqrt(ReduceSum(x x, axes)), ReduceSum(x x, axes)
    ReduceLogSum(x, axes)                      =  log ReduceSum(x, axes)
    ReduceLogSumExp(x, axes)                   =  m + log ReduceSum(exp(x - m), axes), m the finite part of max x
    Cast<bool>(x)                              =  |x| > 0: a fraction becomes an integer first
    Gemm<transA = 1>(a, ...)                   =  Gemm(Transpose(a), ...)
    Pad(x, p, v, axes)                         =  Pad(x, p of every axis, v)
    Split<num_outputs = n>(x)                  =  Split(x, sizes): the last part is as large as the others
    MaxPool, AveragePool, LpPool               =  the same with strides = 1: without them, a division by zero
    ConstantOfShape                            =  the same with value = 0: without it, what the memory holds
    a last Conv of sequences                   =  Reshape(Conv, [0, 0, -1]): it gives out a fourth axis

MNN's Gelu is an approximation, off by up to 5e-4, and its tanh form by 2e-4: good enough where weights have 8 bits.
Where floating point was asked for it is written otherwise (`nearer`):

    Gelu(x)                                    ~  x s(v), off by 3e-5 (`rewrites/gelu.py`)
    Gelu<approximate = "tanh">(x)              =  x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))

That is slower than MNN's own, and faster than with Erf, which MNN computes one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepack.targets.mobile._mnn_wrong import refuse
from edgepack.toolchain.passes.graphs import constant, standard, unknown
from edgepack.toolchain.rewrites.building import Build
from edgepack.toolchain.rewrites.gelu import by_logistic

if TYPE_CHECKING:
    import onnx_ir as ir

_SUMS = {
    "ReduceL1": (("Abs",), ()),
    "ReduceL2": (("Square",), ("Sqrt",)),
    "ReduceSumSquare": (("Square",), ()),
    "ReduceLogSum": ((), ("Log",)),
}
"""What is done before and after a ReduceSum."""
_SEQUENCES = 3  # axes of a batch of sequences with channels


def ready(model: ir.Model, part: str) -> None:
    """Change a graph in place.

    Args:
        model: Any graph.
        part: Its name, for the error.

    Raises:
        TargetError: An operator is in it that MNN converts and computes wrongly, and that is not written otherwise.
    """
    refuse(model, part)
    for node in list(model.graph.all_nodes()):
        mend = _MENDS.get(node.op_type)
        if mend is not None and standard(node, node.op_type):
            mend(node)


def nearer(model: ir.Model) -> int:
    """Write otherwise, in place, what MNN approximates too coarsely for floating point; returns how many."""
    import onnx_ir as ir

    found = [
        node
        for node in model.graph.all_nodes()
        if standard(node, "Gelu") and node.outputs[0].dtype == ir.DataType.FLOAT
    ]
    for node in found:
        _gelu(node)
    return len(found)


def _build(node: ir.Node) -> Build:
    assert node.graph is not None  # noqa: S101 - it was found in one
    return Build(node.graph, node)


def _scatter(node: ir.Node) -> None:
    node.attributes.pop("reduction", None)  # "none": `refuse` let no other pass


def _where(node: ir.Node) -> None:
    _, chosen, other = node.inputs
    assert chosen is not None and other is not None  # noqa: S101, PT018 - required by the operator
    if other.shape is not None:
        dims = tuple(other.shape)
        if all(dim == 1 for dim in dims):
            return
        if chosen.shape is not None and dims == tuple(chosen.shape) and not any(map(unknown, dims)):
            return
    new = _build(node)
    wide = new.op("Expand", [other, _shape(new, chosen)], "other, as wide")
    wide.type = other.type
    node.replace_input_with(2, wide)


def _shape(new: Build, value: ir.Value) -> ir.Value:
    import onnx_ir as ir

    shape = new.op("Shape", [value], "shape")
    shape.type = ir.TensorType(ir.DataType.INT64)
    return shape


def _in_pairs(node: ir.Node) -> None:
    import numpy as np

    *first, last = node.inputs
    mean = node.op_type == "Mean"
    if not first or (len(first) == 1 and not mean):
        return
    new, op = _build(node), "Sum" if mean else node.op_type
    done = first[0]
    for index, value in enumerate(first[1:]):
        done = new.op(op, [done, value], f"of {index + 2}")
    if mean:
        dtype = node.outputs[0].dtype
        share = np.array(1 / len(node.inputs), dtype.numpy() if dtype else np.float32)
        done = new.op(op, [done, last], f"of {len(node.inputs)}")
        new.finish("Mul", [done, new.number(share, "share")])
    else:
        new.finish(op, [done, last])


def _reduce(node: ir.Node) -> None:
    if len(node.inputs) < 2 or node.inputs[1] is None:  # noqa: PLR2004 - axes; where they are an attribute, it is heeded
        return
    new, (value, axes) = _build(node), node.inputs
    keep = node.attributes.get_int("keepdims", 1)
    before, after = _SUMS[node.op_type]
    for op in before:
        value = new.op("Mul", [value, value], "square") if op == "Square" else new.op(op, [value], op.lower())
    if not after:
        new.finish("ReduceSum", [value, axes], keepdims=keep)
        return
    new.finish(after[0], [new.op("ReduceSum", [value, axes], "sum", keepdims=keep)])


def _log_sum_exp(node: ir.Node) -> None:
    import numpy as np

    dtype = node.outputs[0].dtype
    if len(node.inputs) < 2 or node.inputs[1] is None or dtype is None:  # noqa: PLR2004 - axes, as above
        return
    new, (value, axes) = _build(node), node.inputs
    keep = node.attributes.get_int("keepdims", 1)
    limits = np.finfo(dtype.numpy())
    ends = [
        new.number(np.array(end, limits.dtype), what)
        for end, what in ((limits.min, "least"), (limits.max, "most"))
    ]
    largest = new.op("Clip", [new.op("ReduceMax", [value, axes], "largest"), *ends], "largest, finite")
    shifted = new.op("Exp", [new.op("Sub", [value, largest], "shifted")], "powers")
    logarithm = new.op("Log", [new.op("ReduceSum", [shifted, axes], "sum", keepdims=keep)], "logarithm")
    if not keep:
        largest = new.op("Squeeze", [largest, axes], "largest, without axes")
    new.finish("Add", [logarithm, largest])


def _cast(node: ir.Node) -> None:
    import onnx_ir as ir

    value = node.inputs[0]
    assert value is not None  # noqa: S101 - required by the operator
    if node.attributes.get_int("to") != ir.DataType.BOOL.value or value.dtype != ir.DataType.FLOAT:
        return
    new = _build(node)
    size = new.op("Abs", [value], "size")
    size.type = value.type
    new.finish("Greater", [size, new.number(0.0, "nothing")])


def _gelu(node: ir.Node) -> None:
    assert node.graph is not None  # noqa: S101 - it was found in one
    if node.attributes.get_string("approximate", "none") != "tanh":
        by_logistic(node.graph, node)
        return
    value, new = node.inputs[0], _build(node)
    cube = new.op("Mul", [new.op("Mul", [value, value], "square"), value], "cube")
    bent = new.op("Add", [value, new.op("Mul", [cube, new.number(0.044715, "share")], "bend")], "bent")
    steep = new.op("Mul", [bent, new.number(math.sqrt(2 / math.pi), "slope")], "steep")
    step = new.op("Tanh", [steep], "step")
    half = new.op("Mul", [value, new.number(0.5, "half")], "halved")
    new.finish("Mul", [half, new.op("Add", [step, new.number(1.0, "one")], "raised")])


def _gemm(node: ir.Node) -> None:
    if node.attributes.get_int("transA", 0):
        new = _build(node)
        node.replace_input_with(0, new.op("Transpose", [node.inputs[0]], "turned", perm=[1, 0]))
        node.attributes.pop("transA")


def _pad(node: ir.Node) -> None:
    import numpy as np

    if len(node.inputs) <= 3:  # noqa: PLR2004 - value, paddings, what is padded with, axes
        return
    value, sizes, axes = node.inputs[0], constant(node.inputs[1]), constant(node.inputs[3])
    if value is None or value.shape is None or sizes is None or axes is None:
        return
    rank = len(value.shape)
    every = np.zeros((2, rank), np.int64)
    every[:, [int(axis) % rank for axis in axes]] = sizes.reshape(2, -1)
    node.replace_input_with(1, _build(node).number(every.reshape(-1), "every axis"))
    node.resize_inputs(3)


def _split(node: ir.Node) -> None:
    import numpy as np

    count, value = node.attributes.get_int("num_outputs", 0), node.inputs[0]
    if not count or value is None or value.shape is None:
        return
    size = value.shape[node.attributes.get_int("axis", 0)]
    if not isinstance(size, int) or size % count == 0:
        return
    each = -(-size // count)
    sizes = np.array([each] * (count - 1) + [size - each * (count - 1)], np.int64)
    node.attributes.pop("num_outputs")
    node.resize_inputs(2)
    node.replace_input_with(1, _build(node).number(sizes, "sizes"))


def _pool(node: ir.Node) -> None:
    import onnx_ir as ir

    kernel = node.attributes.get_ints("kernel_shape")
    if "strides" not in node.attributes and kernel is not None:
        node.attributes.add(ir.AttrInt64s("strides", [1] * len(kernel)))


def _constant(node: ir.Node) -> None:
    import numpy as np
    import onnx_ir as ir

    if "value" not in node.attributes:
        node.attributes.add(ir.AttrTensor("value", ir.tensor(np.zeros(1, np.float32))))


def _sequences(node: ir.Node) -> None:
    import numpy as np
    import onnx_ir as ir

    old, graph = node.outputs[0], node.graph
    if graph is None or not old.is_graph_output() or old.shape is None or len(old.shape) != _SEQUENCES:
        return
    same = _build(node).number(np.array([0, 0, -1]), "axes")
    name, old.name = old.name, f"{old.name}/four axes"
    made = ir.node("Reshape", [old, same], name=f"{name}/three axes")
    made.outputs[0].name, made.outputs[0].type, made.outputs[0].shape = name, old.type, old.shape
    graph.insert_after(node, made)
    for index, value in enumerate(graph.outputs):
        if value is old:
            graph.outputs[index] = made.outputs[0]


_MENDS: dict[str, Callable[[ir.Node], None]] = {
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Where": _where,
    **dict.fromkeys(("Max", "Min", "Sum", "Mean"), _in_pairs),
    **dict.fromkeys(_SUMS, _reduce),
    "ReduceLogSumExp": _log_sum_exp,
    "Cast": _cast,
    "Gemm": _gemm,
    "Pad": _pad,
    "Split": _split,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    "ConstantOfShape": _constant,
    **dict.fromkeys(("Conv", "ConvTranspose"), _sequences),
}
