"""The native operators once more, as model-local functions of ordinary ONNX operators.

A file that holds them runs in any runtime, in onnx's checker and in its evaluator, with weights of one
bit in the file. A runtime that knows an operator of the same name and domain uses that instead.

BinLinear::

    a = 0 where x < -shift, else 2          uint8, with the zero point 1: -1 and +1
    w = 1 - 2 * bit(weights)                int8, from bits, least significant first
    y = float(MatMulInteger(a, w^T, 1)) * alpha + bias

BinConv::

    y = Conv(-1 where x < -shift, else 1; 1 - 2 * bit(weights)) * alpha + bias

in float32, because integer convolutions are several times slower than these in ONNX Runtime; a float32
holds every sum of fewer than 2^24 ones exactly.

The sums are exact and the two roundings are those of the native kernels, so both give the same bits
(but a runtime may multiply a convolution's weights by alpha beforehand, and then rounds otherwise).
Weights are constant, so a runtime unpacks them once, when it loads the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.runtime.kernels import DOMAIN, VERSION
from edgepack.toolchain.native_operators import function_libraries

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

OPSET = 18  # the oldest with BitwiseAnd


def bin_linear() -> onnx.FunctionProto:
    """`BinLinear(x, weights, alpha, bias, shift)` with the attribute K.

    The shift is not optional here, since a function cannot ask whether it was given: files without one
    give a single zero, of shape [1], which costs four bytes and which the native kernel skips.
    """
    from onnx import TensorProto

    body = [
        *_unpacked([0, -1], axis=1),
        _constant("minus", TensorProto.UINT8, [0]),
        _constant("plus", TensorProto.UINT8, [2]),
        _node("Cast", "signs", "narrow", to=TensorProto.INT8),
        _node("Transpose", "narrow", "w", perm=[1, 0]),
        _node("Neg", "shift", "threshold"),
        _node("Less", "x threshold", "negative"),
        _node("Where", "negative minus plus", "a"),
        _node("MatMulInteger", "a w one_bit", "product"),
        _node("Cast", "product", "dot", to=TensorProto.FLOAT),
        _node("Mul", "dot alpha", "scaled"),
        _node("Add", "scaled bias", "y"),
    ]
    return _function("BinLinear", body, ["K"])


def bin_conv() -> onnx.FunctionProto:
    """`BinConv(x, weights, alpha, bias, shift)` with K, group, strides, dilations and pads; shift as above."""
    from onnx import AttributeProto, TensorProto

    conv = _node("Conv", "a w", "dot")
    for name, kind in (
        ("group", AttributeProto.INT),
        ("strides", AttributeProto.INTS),
        ("dilations", AttributeProto.INTS),
        ("pads", AttributeProto.INTS),
    ):
        conv.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=kind))
    body = [
        *_unpacked([0, 0, 0, -1], axis=3),
        _constant("minus", TensorProto.FLOAT, [-1.0]),
        _constant("plus", TensorProto.FLOAT, [1.0]),
        _constant("per_channel", TensorProto.INT64, [-1, 1, 1], [3]),
        _node("Cast", "signs", "floats", to=TensorProto.FLOAT),
        _node("Transpose", "floats", "w", perm=[0, 3, 1, 2]),
        _node("Neg", "shift", "threshold"),
        _node("Reshape", "threshold per_channel", "limits"),
        _node("Less", "x limits", "negative"),
        _node("Where", "negative minus plus", "a"),
        conv,
        _node("Reshape", "alpha per_channel", "scale"),
        _node("Mul", "dot scale", "scaled"),
        _node("Reshape", "bias per_channel", "offset"),
        _node("Add", "scaled offset", "y"),
    ]
    return _function("BinConv", body, ["K", "group", "strides", "dilations", "pads"])


def _node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node(op, inputs.split(), [output], **attributes)


def _constant(name: str, dtype: int, values: list[Any], shape: Sequence[int] = ()) -> onnx.NodeProto:
    from onnx import helper

    return _node("Constant", "", name, value=helper.make_tensor(name, dtype, shape, values))


def _unpacked(flat: list[int], axis: int) -> list[onnx.NodeProto]:
    """From `weights`, bits packed along its last axis, to `signs`, int32 with K values along it.

    The first K are gathered, because of what a Slice gives to an end that is no constant ONNX's shape inference
    knows no size at all, and so not the size of a convolution's kernel.
    """
    from onnx import AttributeProto, TensorProto, helper

    size = helper.make_node("Constant", [], ["size"])
    size.attribute.append(AttributeProto(name="value_int", ref_attr_name="K", type=AttributeProto.INT))
    return [
        size,
        _constant("places", TensorProto.UINT8, list(range(8)), [8]),
        _constant("one_bit", TensorProto.UINT8, [1]),
        _constant("last", TensorProto.INT64, [-1], [1]),
        _constant("first", TensorProto.INT64, [0]),
        _constant("step", TensorProto.INT64, [1]),
        _constant("flat", TensorProto.INT64, flat, [len(flat)]),
        _constant("one", TensorProto.INT32, [1]),
        _constant("two", TensorProto.INT32, [2]),
        _node("Unsqueeze", "weights last", "bytes"),
        _node("BitShift", "bytes places", "moved", direction="RIGHT"),
        _node("BitwiseAnd", "moved one_bit", "bits"),
        _node("Reshape", "bits flat", "rows"),
        _node("Range", "first size step", "kept"),
        _node("Gather", "rows kept", "filled", axis=axis),
        _node("Cast", "filled", "wide", to=TensorProto.INT32),
        _node("Mul", "wide two", "doubled"),
        _node("Sub", "one doubled", "signs"),
    ]


def _function(name: str, body: list[onnx.NodeProto], attributes: list[str]) -> onnx.FunctionProto:
    from onnx import helper

    return helper.make_function(
        DOMAIN,
        name,
        ["x", "weights", "alpha", "bias", "shift"],
        ["y"],
        body,
        [helper.make_opsetid("", OPSET)],
        attributes=attributes,
    )


FUNCTIONS: dict[str, Callable[[], onnx.FunctionProto]] = {"BinLinear": bin_linear, "BinConv": bin_conv}


@function_libraries.register("kernels")
def add_fallbacks(model: ir.Model) -> int:
    """Give `model` the function of every native operator that it uses, and the domain's version.

    Returns:
        How many functions were added; those that the model has already stay.
    """
    import onnx_ir as ir

    used = {node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN}
    added = 0
    for name in sorted(used & FUNCTIONS.keys()):
        function = ir.serde.deserialize_function(FUNCTIONS[name]())
        if function.identifier() not in model.functions:
            model.functions[function.identifier()] = function
            added += 1
    if used:
        model.graph.opset_imports.setdefault(DOMAIN, VERSION)
    return added
