"""The native operators once more, as model-local functions of ordinary ONNX operators.

A file that holds them runs in any runtime, in onnx's checker and in its evaluator, with weights of one
bit in the file. A runtime that knows an operator of the same name and domain uses that instead.

BinLinear::

    a = 0 where x < -shift, else 2          uint8, with the zero point 1: -1 and +1
    w = 1 - 2 * bit(weights)                int8, from bits, least significant first
    y = float(MatMulInteger(a, w^T, 1)) * alpha + bias

The integers are exact and the two roundings are those of the native kernels, so both give the same
bits. Weights are constant, so a runtime unpacks them once, when it loads the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgepack.runtime.kernels import DOMAIN, VERSION

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

OPSET = 18  # the oldest with BitwiseAnd


def bin_linear() -> onnx.FunctionProto:
    """`BinLinear(x, weights, alpha, bias, shift)` with the attribute K.

    The shift is not optional here, since a function cannot ask whether it was given: files without one
    give a single zero, of shape [1], which costs four bytes and which the native kernel skips.
    """
    from onnx import AttributeProto, helper
    from onnx import TensorProto as T

    def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, inputs.split(), [output], **attributes)

    def constant(name: str, dtype: int, values: list[int], shape: list[int]) -> onnx.NodeProto:
        return node("Constant", "", name, value=helper.make_tensor(name, dtype, shape, values))

    size = helper.make_node("Constant", [], ["K"])
    size.attribute.append(AttributeProto(name="value_int", ref_attr_name="K", type=AttributeProto.INT))
    body = [
        size,
        constant("places", T.UINT8, list(range(8)), [8]),
        constant("one_bit", T.UINT8, [1], []),
        constant("last", T.INT64, [-1], [1]),
        constant("begin", T.INT64, [0], [1]),
        constant("axis", T.INT64, [1], [1]),
        constant("flat", T.INT64, [0, -1], [2]),
        constant("one", T.INT32, [1], []),
        constant("two", T.INT32, [2], []),
        constant("minus", T.UINT8, [0], []),
        constant("plus", T.UINT8, [2], []),
        node("Unsqueeze", "weights last", "bytes"),
        node("BitShift", "bytes places", "moved", direction="RIGHT"),
        node("BitwiseAnd", "moved one_bit", "bits"),
        node("Reshape", "bits flat", "rows"),
        node("Unsqueeze", "K begin", "end"),
        node("Slice", "rows begin end axis", "filled"),
        node("Cast", "filled", "wide", to=T.INT32),
        node("Mul", "wide two", "doubled"),
        node("Sub", "one doubled", "signs"),
        node("Cast", "signs", "narrow", to=T.INT8),
        node("Transpose", "narrow", "w", perm=[1, 0]),
        node("Neg", "shift", "threshold"),
        node("Less", "x threshold", "negative"),
        node("Where", "negative minus plus", "a"),
        node("MatMulInteger", "a w one_bit", "product"),
        node("Cast", "product", "dot", to=T.FLOAT),
        node("Mul", "dot alpha", "scaled"),
        node("Add", "scaled bias", "y"),
    ]
    return helper.make_function(
        DOMAIN,
        "BinLinear",
        ["x", "weights", "alpha", "bias", "shift"],
        ["y"],
        body,
        [helper.make_opsetid("", OPSET)],
        attributes=["K"],
    )


FUNCTIONS: dict[str, Callable[[], onnx.FunctionProto]] = {"BinLinear": bin_linear}


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
