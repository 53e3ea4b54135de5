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

In a chain of layers activations are bits, in three further forms of each operator::

    Pack     floats in, bits out        BinLinearPack, BinConvPack       (x, weights, low, high, shift)
    Bits     bits in, bits out          BinLinearBits, BinConvBits       (x, weights, low, high)
    Unpack   bits in, floats out        BinLinearUnpack, BinConvUnpack   (x, weights, alpha, bias)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from edgepack.runtime.kernels import DOMAIN, VERSION
from edgepack.runtime.kernels import _function_bodies as bodies
from edgepack.toolchain.native_operators import function_libraries

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

OPSET = bodies.OPSET
WINDOW = ("group", "strides", "dilations", "pads")


def bin_linear(*, bits_in: bool = False, bits_out: bool = False) -> onnx.FunctionProto:
    """`BinLinear(x, weights, alpha, bias, shift)` with the attribute K, or one of its forms.

    The shift is not optional here, since a function cannot ask whether it was given: files without one
    give a single zero, of shape [1], which costs four bytes and which the native kernel skips.
    """
    body = [
        *bodies.weights([0, -1], axis=1),
        *bodies.linear_weights(),
        *(bodies.rows_of_bits() if bits_in else bodies.signs_of_floats()),
        bodies.node("MatMulInteger", "a w one_bit", "sums"),
        *(bodies.linear_bits() if bits_out else bodies.linear_floats()),
    ]
    return bodies.function("BinLinear", body, ["K"], bits_in=bits_in, bits_out=bits_out)


def bin_conv(*, bits_in: bool = False, bits_out: bool = False) -> onnx.FunctionProto:
    """`BinConv(x, weights, alpha, bias, shift)` with K, group, strides, dilations and pads, or one of its forms.

    The shift is as above.
    """
    body = [
        *bodies.weights([0, 0, 0, -1], axis=3),
        *bodies.conv_weights(),
        *(bodies.images_of_bits() if bits_in else bodies.signs_of_images()),
        bodies.conv("a w", "dot", WINDOW),
        *(bodies.conv_bits() if bits_out else bodies.conv_floats()),
    ]
    return bodies.function("BinConv", body, ["K", *WINDOW], bits_in=bits_in, bits_out=bits_out)


FUNCTIONS: dict[str, Callable[[], onnx.FunctionProto]] = {
    bodies.name_of(name, bits_in=bits_in, bits_out=bits_out): partial(
        made, bits_in=bits_in, bits_out=bits_out
    )
    for name, made in (("BinLinear", bin_linear), ("BinConv", bin_conv))
    for bits_in in (False, True)
    for bits_out in (False, True)
}


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
