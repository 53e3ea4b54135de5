"""A graph in the form in which nncase (2.11.0) loads it, in one file.

    Max(a, b, c)                         becomes    Max(Max(a, b), c)        its importer reads the first two only
    Reshape(x, s), allowzero             becomes    Reshape(x, s)            the attribute ends its process
    Flatten(x)                           becomes    Reshape(x, s)            it ends its process too, in some graphs
    Transpose(x) of [1, 32, 4, 32]       becomes    Reshape, Transpose of [32, 4, 32], Reshape; of more axes, several
    Slice(x) of [-3:], of everything     becomes    Slice(x) of [6:9], x     of two in a row it loses the second's end
    Tile(x)                              becomes    Concat(x, x)             two of its rules end the process
    Relu(a + b), of three axes           becomes    Max(a + b, 0)            it finds no program for the two in one
    1 / x                                becomes    a quotient               it has no Reciprocal
    tanh(x)                              becomes    2 sigmoid(2x) - 1        the KPU's own is 0.035 too small at 0.4
    LayerNormalization(x, g, b)          becomes    d (mean(d^2) + e)^-1/2 g + b,  d = x - mean(x)
    RMSNormalization(x, g)               becomes    x (mean(x^2) + e)^-1/2 g
    ReduceMean(x), of an image           becomes    GlobalAveragePool(x)     the KPU's pooling; the mean is the CPU's
    Gelu(x)                              becomes    x (erf(x / sqrt(2)) + 1) 1/2    it knows the KPU's by this form
    Mish, Swish, ...                     become     what ONNX defines them by

Of four axes, two of them as long as one another, nncase takes one for the other, and computes something else; of three
it does not. Of a norm written so, the CPU computes a power of one number a row; of a quotient it would compute every
element.

Nothing is approximated. An operator that its importer does not have is refused here, by name: nncase only ends.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.targets.npu._k230_moves import flat, plain_reshapes, plain_slices, tiles
from edgepack.targets.npu._k230_transposes import short_transposes
from edgepack.targets.npu._older_onnx import older
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.building import Build, known_shape, opset
from edgepack.toolchain.vendors.k230 import DISTRIBUTION

if TYPE_CHECKING:
    import onnx_ir as ir

NEWEST_OPSET = 19
"""The importer tells operator sets apart up to 18; of 19 it reads what 18 had."""
LACKS = (
    "CastLike", "CenterCropPad", "DynamicQuantizeLinear", "Gelu", "GroupNormalization", "GroupQueryAttention",
    "MeanVarianceNormalization", "Mish", "Shrink", "Swish", "ThresholdedRelu",
)  # fmt: skip
"""Operators that it does not know and that can be said in others."""
KNOWN = frozenset((
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "AveragePool", "BatchNormalization",
    "Cast", "Ceil", "Celu", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "Cosh",
    "CumSum", "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Einsum", "Elu", "Equal", "Erf", "Exp",
    "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "InstanceNormalization", "LRN", "LSTM", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
    "LpNormalization", "MatMul", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "Not", "OneHot", "Or", "PRelu",
    "Pad", "Pow", "QLinearConv", "QLinearMatmul", "QuantizeLinear", "RandomNormal", "RandomNormalLike",
    "RandomUniform", "RandomUniformLike", "Range", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
    "Resize", "ReverseSequence", "Round", "ScatterND", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Sinh", "Size",
    "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh",
    "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where",
))  # fmt: skip
"""What its importer has: src/Nncase.Importer/Onnx/OnnxImporter.cs of nncase v2.11.0."""
_NORMS = ("LayerNormalization", "RMSNormalization")
_AXES_BY_INPUT = 18
"""Operator set from which ReduceMean takes its axes as an input."""
_IMAGE = 4
_PAIRED = ("Max", "Min")
_PAIR = 2


def loadable(model: ir.Model, part: str) -> ir.Model:
    """The model in the form that nncase loads; `model` may be changed.

    Raises:
        TargetError: An operator cannot be said in an operator set that nncase loads, or a shape has a zero in it.
    """
    from edgepack.toolchain.passes.clean_up import clean_up

    clean_up(model)  # which infers shapes
    norms(model)
    gelus(model)
    model = older(model, part, NEWEST_OPSET, DISTRIBUTION, LACKS)
    pairs(model)
    tiles(model)
    plain_slices(model)
    rectified_sums(model)
    reciprocals(model)
    tangents(model)
    image_means(model)
    short_transposes(model)
    flat(model)
    plain_reshapes(model, part)
    return model


def refuse_unknown(model: ir.Model, part: str) -> None:
    """Raise TargetError, with their names, if nncase does not know some of the operators."""
    unknown = sorted(
        {node.op_type for node in model.graph.all_nodes() if not standard(node) or node.op_type not in KNOWN}
    )
    if unknown:
        raise TargetError(
            f"{DISTRIBUTION} has no {', '.join(unknown)}",
            where=f"part {part}",
            todo="Replace them in the model by operators that it has, or use another target",
        )


def norms(model: ir.Model) -> int:
    """Write layer norms and root mean square norms by products, sums, means and a power; returns how many."""
    import numpy as np

    count = 0
    by_input = opset(model) >= _AXES_BY_INPUT
    for node in list(model.graph):
        shape = known_shape(node.inputs[0]) if standard(node, *_NORMS) else None
        if shape is None or any(output.uses() for output in node.outputs[1:]):
            continue
        x, scale, bias = (*node.inputs, None)[:3]
        axis = node.attributes.get_int("axis", -1)
        axes = list(range(axis % len(shape), len(shape)))
        new = Build(model.graph, node)

        def mean(value: ir.Value | None, what: str, new: Build = new, axes: list[int] = axes) -> ir.Value:
            if by_input:
                return new.op(
                    "ReduceMean", [value, new.number(np.asarray(axes), f"{what}_axes")], what, keepdims=1
                )
            return new.op("ReduceMean", [value], what, keepdims=1, axes=axes)

        layer = standard(node, "LayerNormalization")
        gap = new.op("Sub", [x, mean(x, "mean")], "gap") if layer else x
        power = mean(new.op("Mul", [gap, gap], "squares"), "power")
        floor = new.number(float(node.attributes.get_float("epsilon", 1e-5)), "epsilon")
        inverse = new.op(
            "Pow", [new.op("Add", [power, floor], "above_zero"), new.number(-0.5, "exponent")], "inverse"
        )
        steps = [("Mul", inverse), *([("Mul", scale)] if scale else []), *([("Add", bias)] if bias else [])]
        value = gap
        for index, (op, other) in enumerate(steps[:-1]):
            value = new.op(op, [value, other], f"step_{index}")
        new.finish(steps[-1][0], [value, steps[-1][1]])
        count += 1
    return count


def gelus(model: ir.Model) -> int:
    """Write exact GELUs in the form that nncase knows; returns how many. The others are left to their definition."""
    count = 0
    for node in list(model.graph):
        if not standard(node, "Gelu") or node.attributes.get_string("approximate", "none") != "none":
            continue
        x, new = node.inputs[0], Build(model.graph, node)
        error = new.op("Erf", [new.op("Div", [x, new.number(math.sqrt(2), "root")], "quotient")], "error")
        twice = new.op("Mul", [x, new.op("Add", [error, new.number(1.0, "one")], "above_zero")], "twice")
        new.finish("Mul", [twice, new.number(0.5, "half")])
        count += 1
    return count


def reciprocals(model: ir.Model) -> int:
    """Write reciprocals as quotients; returns how many."""
    found = [node for node in model.graph if standard(node, "Reciprocal")]
    for node in found:
        new = Build(model.graph, node)
        new.finish("Div", [new.number(1.0, "one"), node.inputs[0]])
    return len(found)


def rectified_sums(model: ir.Model) -> int:
    """Write a Relu behind a sum of two tensors of fewer than four axes as a maximum, in place; returns how many."""
    import onnx_ir as ir

    count = 0
    for node in list(model.graph):
        if not standard(node, "Relu"):
            continue
        value = node.inputs[0]
        shape = known_shape(value)
        if (
            value is None
            or shape is None
            or len(shape) >= _IMAGE
            or value.dtype != ir.DataType.FLOAT
            or not _is_sum(value)
        ):
            continue
        new = Build(model.graph, node)
        new.finish("Max", [value, new.number(0.0, "zero")])
        count += 1
    return count


def _is_sum(value: ir.Value | None) -> bool:
    """Whether a value is a sum or difference of two tensors; constants that are added on the way change nothing."""
    while value is not None and (node := value.producer()) is not None and standard(node, "Add", "Sub"):
        computed = [source for source in node.inputs if constant(source) is None]
        if len(computed) > 1:
            return True
        value = computed[0] if computed else None
    return False


def tangents(model: ir.Model) -> int:
    """Write hyperbolic tangents by the logistic function, of which the KPU has a nearer table; returns how many."""
    import onnx_ir as ir

    count = 0
    for node in list(model.graph):
        if not standard(node, "Tanh") or node.inputs[0] is None or node.inputs[0].dtype != ir.DataType.FLOAT:
            continue
        new = Build(model.graph, node)
        two, one = new.number(2.0, "two"), new.number(1.0, "one")
        logistic = new.op("Sigmoid", [new.op("Mul", [node.inputs[0], two], "twice")], "logistic")
        new.finish("Sub", [new.op("Mul", [logistic, two], "doubled"), one])
        count += 1
    return count


def image_means(model: ir.Model) -> int:
    """Write means over both axes of an image as a pooling, in front of a Reshape if they go; returns how many."""
    import numpy as np

    count = 0
    for node in list(model.graph):
        shape = known_shape(node.inputs[0]) if standard(node, "ReduceMean") else None
        if shape is None or len(shape) != _IMAGE or _axes(node, len(shape)) != {2, 3}:
            continue
        new = Build(model.graph, node)
        if node.attributes.get_int("keepdims", 1):
            new.finish("GlobalAveragePool", [node.inputs[0]])
        else:
            pooled = new.op("GlobalAveragePool", [node.inputs[0]], "pooled")
            new.finish("Reshape", [pooled, new.number(np.asarray(shape[:2]), "shape")])
        count += 1
    return count


def _axes(node: ir.Node, rank: int) -> set[int] | None:
    """The axes of a reduction, counted from the first; None where they are not known."""
    by_input = node.inputs[1] if len(node.inputs) > 1 else None
    axes = constant(by_input) if by_input is not None else node.attributes.get_ints("axes", [])
    return None if axes is None else {int(axis) % rank for axis in axes}


def pairs(model: ir.Model) -> int:
    """Write maxima and minima of more or fewer than two tensors as such of two; returns how many nodes changed."""
    import onnx_ir

    count = 0
    for node in list(model.graph):
        if not standard(node, *_PAIRED) or len(node.inputs) == _PAIR:
            continue
        first, *others = node.inputs
        count += 1
        if not others and first is not None:
            onnx_ir.convenience.replace_all_uses_with(node.outputs[0], first, replace_graph_outputs=True)
            model.graph.remove(node, safe=True)
            continue
        new = Build(model.graph, node)
        for index, other in enumerate(others[:-1]):
            first = new.op(node.op_type, [first, other], f"pair_{index}")
        new.finish(node.op_type, [first, others[-1]])
    return count


def one_file(source: Path, path: Path) -> None:
    """Write a model with its weights in one file and with inputs and outputs under numbers: names may hold anything.

    Raises:
        TargetError: It is larger than one file can be, 2 GiB.
    """
    import onnx_ir

    model = onnx_ir.external_data.load_to_model(onnx_ir.load(source))
    for side, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        for index, value in enumerate(values):
            value.name = f"{side}_{index}"
    try:
        onnx_ir.save(model, path)
    except ValueError as error:
        raise TargetError(
            f"{DISTRIBUTION} loads models of one file, which holds 2 GiB at most",
            where=source.name,
            todo="Use another target",
        ) from error
