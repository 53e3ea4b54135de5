"""What the functions of the native operators are put together from: lists of nodes, each with its own names.

    weights       -> signs, kept, places, one_bit     bits packed along the last axis, as int32 +1 and -1
    x [, shift]   -> a                                linear: uint8, 0 for -1 and 2 for +1; conv: float32
    sums or dot   -> y                                floats by alpha and bias, or bits by low and high

With d the sum of a channel, its bit is 1, for -1, where d lies in the interval from low to high on a circle::

    low <= d and d < high     where low <= high
    low <= d or  d < high     where low > high          both: the majority of low <= d, d < high and low > high

Bits are packed by a product with powers of two, which asks neither for the rank of its input nor for padding: bit n
belongs to byte n div 8 with the weight 2^(n mod 8). Sizes come from operators whose result's shape is known without
their values, so that shape inference knows every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepack.runtime.kernels import DOMAIN

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the oldest with BitwiseAnd
FLOAT, UINT8, INT8, INT32, INT64, BOOL = 1, 2, 3, 6, 7, 9  # of onnx.TensorProto


def name_of(operator: str, *, bits_in: bool, bits_out: bool) -> str:
    """The operator's name in one of its four forms."""
    forms = {(False, True): "Pack", (True, True): "Bits", (True, False): "Unpack"}
    return operator + forms.get((bits_in, bits_out), "")


def function(
    operator: str, body: list[onnx.NodeProto], attributes: list[str], *, bits_in: bool, bits_out: bool
) -> onnx.FunctionProto:
    """The whole."""
    from onnx import helper

    inputs = ["x", "weights", *(("low", "high") if bits_out else ("alpha", "bias"))]
    return helper.make_function(
        DOMAIN,
        name_of(operator, bits_in=bits_in, bits_out=bits_out),
        inputs if bits_in else [*inputs, "shift"],
        ["y"],
        body,
        [helper.make_opsetid("", OPSET)],
        attributes=attributes,
    )


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """With the inputs' names between spaces."""
    from onnx import helper

    return helper.make_node(op, inputs.split(), [output], **attributes)


def constant(name: str, dtype: int, values: list[Any], shape: Sequence[int] = ()) -> onnx.NodeProto:
    """A Constant of that name."""
    from onnx import helper

    return node("Constant", "", name, value=helper.make_tensor(name, dtype, shape, values))


def attribute(name: str) -> onnx.NodeProto:
    """The value of an integer attribute of the operator, under the attribute's name with a line behind."""
    from onnx import AttributeProto

    made = node("Constant", "", f"{name}_")
    made.attribute.append(AttributeProto(name="value_int", ref_attr_name=name, type=AttributeProto.INT))
    return made


def conv(inputs: str, output: str, window: Sequence[str]) -> onnx.NodeProto:
    """A Conv with the operator's own group and lists."""
    from onnx import AttributeProto

    made = node("Conv", inputs, output)
    for name in window:
        kind = AttributeProto.INT if name == "group" else AttributeProto.INTS
        made.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=kind))
    return made


def weights(flat: list[int], axis: int) -> list[onnx.NodeProto]:
    """From `weights`, bits packed along its last axis, to `signs`, int32 with K values along it.

    The first K are gathered, because of what a Slice gives to an end that is no constant ONNX's shape inference
    knows no size at all, and so not the size of a convolution's kernel.
    """
    return [
        attribute("K"),
        constant("places", UINT8, list(range(8)), [8]),
        constant("one_bit", UINT8, [1]),
        constant("last", INT64, [-1], [1]),
        constant("first", INT64, [0]),
        constant("step", INT64, [1]),
        constant("flat", INT64, flat, [len(flat)]),
        constant("one", INT32, [1]),
        constant("two", INT32, [2]),
        node("Unsqueeze", "weights last", "bytes"),
        node("BitShift", "bytes places", "moved", direction="RIGHT"),
        node("BitwiseAnd", "moved one_bit", "bits"),
        node("Reshape", "bits flat", "rows"),
        node("Range", "first K_ step", "kept"),
        node("Gather", "rows kept", "filled", axis=axis),
        node("Cast", "filled", "wide", to=INT32),
        node("Mul", "wide two", "doubled"),
        node("Sub", "one doubled", "signs"),
    ]


def linear_weights() -> list[onnx.NodeProto]:
    """`signs` to `w` [K, N] for MatMulInteger, and what bits are in its first factor."""
    return [
        constant("minus", UINT8, [0]),
        constant("plus", UINT8, [2]),
        node("Cast", "signs", "narrow", to=INT8),
        node("Transpose", "narrow", "w", perm=[1, 0]),
    ]


def conv_weights() -> list[onnx.NodeProto]:
    """`signs` to `w` for Conv, and what bits are in an image."""
    return [
        constant("minus", FLOAT, [-1.0]),
        constant("plus", FLOAT, [1.0]),
        constant("per_channel", INT64, [-1, 1, 1], [3]),
        node("Cast", "signs", "floats", to=FLOAT),
        node("Transpose", "floats", "w", perm=[0, 3, 1, 2]),
    ]


def signs_of_floats() -> list[onnx.NodeProto]:
    """`x` and `shift` to `a`, along the last axis."""
    return [
        node("Neg", "shift", "threshold"),
        node("Less", "x threshold", "negative"),
        node("Where", "negative minus plus", "a"),
    ]


def signs_of_images() -> list[onnx.NodeProto]:
    """`x` and `shift` to `a`, along the channels."""
    return [
        node("Neg", "shift", "threshold"),
        node("Reshape", "threshold per_channel", "limits"),
        node("Less", "x limits", "negative"),
        node("Where", "negative minus plus", "a"),
    ]


def rows_of_bits() -> list[onnx.NodeProto]:
    """`x` [..., ceil(K / 8)] to `a` [..., K]."""
    return [
        constant("eight", INT64, [8], [1]),
        node("Shape", "x", "before", start=0, end=-1),
        node("Shape", "x", "in_bytes", start=-1),
        node("Mul", "in_bytes eight", "in_bits"),
        node("Concat", "before in_bits", "in_rows", axis=0),
        node("Unsqueeze", "x last", "x_bytes"),
        node("BitShift", "x_bytes places", "x_moved", direction="RIGHT"),
        node("BitwiseAnd", "x_moved one_bit", "x_bits"),
        node("Reshape", "x_bits in_rows", "x_rows"),
        node("Gather", "x_rows kept", "x_kept", axis=-1),
        node("Cast", "x_kept", "negative", to=BOOL),
        node("Where", "negative minus plus", "a"),
    ]


def images_of_bits() -> list[onnx.NodeProto]:
    """`x` [batch, ceil(C / 8), height, width] to `a` [batch, C, height, width]."""
    return [
        attribute("group"),
        constant("eight", INT64, [8], [1]),
        constant("behind_bytes", INT64, [2], [1]),
        constant("deep", UINT8, list(range(8)), [8, 1, 1]),
        node("Shape", "x", "before", start=0, end=1),
        node("Shape", "x", "in_bytes", start=1, end=2),
        node("Shape", "x", "image", start=2),
        node("Mul", "in_bytes eight", "in_bits"),
        node("Concat", "before in_bits image", "in_planes", axis=0),
        node("Unsqueeze", "x behind_bytes", "x_bytes"),
        node("BitShift", "x_bytes deep", "x_moved", direction="RIGHT"),
        node("BitwiseAnd", "x_moved one_bit", "x_bits"),
        node("Reshape", "x_bits in_planes", "x_planes"),
        node("Mul", "K_ group_", "channels"),
        node("Range", "first channels step", "in_channels"),
        node("Gather", "x_planes in_channels", "x_kept", axis=1),
        node("Cast", "x_kept", "negative", to=BOOL),
        node("Where", "negative minus plus", "a"),
    ]


def linear_floats() -> list[onnx.NodeProto]:
    """`sums` to `y`, two roundings."""
    return [
        node("Cast", "sums", "dot", to=FLOAT),
        node("Mul", "dot alpha", "scaled"),
        node("Add", "scaled bias", "y"),
    ]


def conv_floats() -> list[onnx.NodeProto]:
    """`dot` to `y`, two roundings."""
    return [
        node("Reshape", "alpha per_channel", "scale"),
        node("Mul", "dot scale", "scaled"),
        node("Reshape", "bias per_channel", "offset"),
        node("Add", "scaled offset", "y"),
    ]


def linear_bits() -> list[onnx.NodeProto]:
    """`sums` to `y`, bytes along the last axis."""
    return [
        *_inside("sums", "low", "high"),
        *_powers(),
        node("Cast", "inside", "out_bits", to=UINT8),
        node("MatMulInteger", "out_bits powers", "out_sums"),
        node("Cast", "out_sums", "y", to=UINT8),
    ]


def conv_bits() -> list[onnx.NodeProto]:
    """`dot` to `y`, bytes along the channels."""
    return [
        node("Cast", "dot", "sums", to=INT32),
        node("Reshape", "low per_channel", "lows"),
        node("Reshape", "high per_channel", "highs"),
        *_inside("sums", "lows", "highs"),
        *_powers(),
        constant("pixel", INT64, [2, 3], [2]),
        node("Cast", "powers", "float_powers", to=FLOAT),
        node("Transpose", "float_powers", "flat_kernel", perm=[1, 0]),
        node("Unsqueeze", "flat_kernel pixel", "kernel"),
        node("Cast", "inside", "out_bits", to=FLOAT),
        node("Conv", "out_bits kernel", "out_sums"),
        node("Cast", "out_sums", "y", to=UINT8),
    ]


def _inside(sums: str, low: str, high: str) -> list[onnx.NodeProto]:
    """The majority of three."""
    return [
        node("GreaterOrEqual", f"{sums} {low}", "from_low"),
        node("Less", f"{sums} {high}", "to_high"),
        node("Greater", f"{low} {high}", "around"),
        node("And", "from_low to_high", "both"),
        node("Or", "from_low to_high", "either"),
        node("And", "around either", "outside"),
        node("Or", "both outside", "inside"),
    ]


def _powers() -> list[onnx.NodeProto]:
    """`powers` uint8 [N, ceil(N / 8)]: 2^(n mod 8) in column n div 8, else 0."""
    return [
        constant("bits_of_byte", INT64, [8]),
        constant("begin", INT64, [0], [1]),
        constant("end", INT64, [2**31 - 1], [1]),
        constant("along", INT64, [0], [1]),
        constant("stride", INT64, [8], [1]),
        node("Equal", "low low", "each"),
        node("Cast", "each", "ones", to=INT64),
        node("CumSum", "ones first", "numbers", exclusive=1),
        node("Slice", "numbers begin end along stride", "starts"),
        node("Mod", "numbers bits_of_byte", "in_byte"),
        node("Sub", "numbers in_byte", "own"),
        node("Unsqueeze", "own last", "own_column"),
        node("Equal", "own_column starts", "same"),
        node("Cast", "same", "same_bits", to=UINT8),
        node("Unsqueeze", "in_byte last", "in_byte_column"),
        node("Cast", "in_byte_column", "exponents", to=UINT8),
        node("BitShift", "same_bits exponents", "powers", direction="LEFT"),
    ]
