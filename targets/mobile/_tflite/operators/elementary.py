"""Functions of one tensor, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite import dtypes
from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator
from edgepack.targets.mobile._tflite.prepare import activation, bounds
from edgepack.targets.mobile._tflite.quantization import Quantization, per_tensor
from edgepack.targets.mobile._tflite.scales import fine_enough

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node

_SAME = {
    "Abs": "ABS", "Neg": "NEG", "Exp": "EXP", "Log": "LOG", "Sqrt": "SQRT", "Floor": "FLOOR", "Ceil": "CEIL",
    "Sin": "SIN", "Cos": "COS", "Not": "LOGICAL_NOT", "Round": "ROUND", "Sign": "SIGN",
}  # fmt: skip
_TANH_SCALES = {"int8": per_tensor(1 / 128), "int16": per_tensor(1 / 32768)}
_LOGISTIC_SCALES = {"int8": per_tensor(1 / 256, -128), "int16": per_tensor(1 / 32768)}


@operator(*_SAME, to="ABS, NEG, EXP, LOG, SQRT, FLOOR, CEIL, SIN, COS, LOGICAL_NOT, ROUND, SIGN",
          limits="float, and for Abs, Neg and Sign int32")  # fmt: skip
def elementary(node: Node) -> None:
    """The function of the same name."""
    node.finish(_SAME[node.op], [node.x()])


@operator("Relu", to="RELU, or fused", integer=BOTH)
def relu(node: Node) -> None:
    """max(x, 0)."""
    node.finish("RELU", [node.x()])


@operator("Clip", to="RELU, RELU6, RELU_N1_TO_1, MAXIMUM, MINIMUM", integer=BOTH, limits="bounds of any kind")
def clip(node: Node) -> None:
    """min(max(x, low), high)."""
    named = activation(node.onnx)
    if named is not None and (node.integer is None or named != "RELU_N1_TO_1"):
        node.finish(named, [node.x()])
        return
    if node.integer:
        raise NotInteger("its bounds are not those of RELU or RELU6")
    x, known = node.x(), bounds(node.onnx)
    if known is not None:
        sides = [(code, number) for code, number in zip(("MAXIMUM", "MINIMUM"), known, strict=True)
                 if np.isfinite(number)]  # fmt: skip
        limits = [(code, node.constant(np.array(number, x.dtype), "bound")) for code, number in sides]
    else:
        limits = [(code, node.x(i)) for i, code in ((1, "MAXIMUM"), (2, "MINIMUM")) if node.has(i)]
    for code, limit in limits[:-1]:
        x = node.emit(code, [x, limit], x.shape)
    if limits:
        node.finish(limits[-1][0], [x, limits[-1][1]])
    else:
        node.bind(x)


@operator("Tanh", to="TANH", integer=BOTH, limits="int8: a result of at least 1/256 a step")
def tanh(node: Node) -> None:
    """Tanh; its integer kernel gives a fixed scale of 1/128 (1/32768 for int16)."""
    _fixed(node, "TANH", _TANH_SCALES)


@operator("Sigmoid", to="LOGISTIC", integer=BOTH, limits="int8: a result of at least 1/512 a step")
def sigmoid(node: Node) -> None:
    """1 / (1 + exp(-x)); its integer kernel gives a fixed scale of 1/256 (1/32768 for int16)."""
    _fixed(node, "LOGISTIC", _LOGISTIC_SCALES)


def _fixed(node: Node, code: str, scales: dict[str, Quantization]) -> None:
    if node.integer is None:
        node.finish(code, [node.x()])
        return
    own = fine_enough(node, scales[node.integer])
    node.bind(node.emit(code, [node.x()], node.out_shape(), dtype=node.integer, quantization=own))


@operator("LeakyRelu", to="LEAKY_RELU", integer=BOTH)
def leaky_relu(node: Node) -> None:
    """Either x, or alpha x below zero."""
    node.finish("LEAKY_RELU", [node.x()], alpha=float(node.attribute("alpha", 0.01)))


@operator("Elu", to="ELU", limits="alpha=1")
def elu(node: Node) -> None:
    """Either x, or exp(x) - 1 below zero."""
    if node.attribute("alpha", 1.0) != 1.0:
        node.refuse(f"its alpha is {node.attribute('alpha')}, TFLite's is 1")
    node.finish("ELU", [node.x()])


@operator("Gelu", to="GELU", integer=("int8",))
def gelu(node: Node) -> None:
    """The product x Phi(x), or its approximation by tanh."""
    node.finish("GELU", [node.x()], approximate=node.attribute("approximate", "none") == "tanh")


@operator("HardSwish", to="HARD_SWISH", integer=("int8",))
def hard_swish(node: Node) -> None:
    """The product x min(max(x + 3, 0), 6) / 6."""
    node.finish("HARD_SWISH", [node.x()])


@operator("HardSigmoid", to="MUL, ADD, MAXIMUM, MINIMUM")
def hard_sigmoid(node: Node) -> None:
    """min(max(alpha x + beta, 0), 1)."""
    x = node.x()
    slope, shift = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    x = node.emit("MUL", [x, node.number(slope, "alpha")], x.shape)
    x = node.emit("ADD", [x, node.number(shift, "beta")], x.shape, fusedActivationFunction="RELU",
                  potScaleInt16=False)  # fmt: skip
    node.finish("MINIMUM", [x, node.number(1.0, "one")])


@operator("Swish", to="LOGISTIC, MUL")
def swish(node: Node) -> None:
    """The product x sigmoid(alpha x)."""
    x = node.x()
    alpha = float(node.attribute("alpha", 1.0))
    inner = x if alpha == 1.0 else node.emit("MUL", [x, node.number(alpha, "alpha")], x.shape)
    node.finish("MUL", [x, node.emit("LOGISTIC", [inner], x.shape)])


@operator("Softplus", to="EXP, LOG, ADD, ABS, NEG, RELU")
def softplus(node: Node) -> None:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x = node.x()
    small = node.emit("EXP", [node.emit("NEG", [node.emit("ABS", [x], x.shape)], x.shape)], x.shape)
    more = node.emit(
        "LOG", [node.emit("ADD", [small, node.number(1.0)], x.shape, potScaleInt16=False)], x.shape
    )
    node.finish("ADD", [node.emit("RELU", [x], x.shape), more], potScaleInt16=False)


@operator("Softsign", to="ABS, ADD, DIV")
def softsign(node: Node) -> None:
    """The quotient x / (1 + |x|)."""
    x = node.x()
    size = node.emit("ADD", [node.emit("ABS", [x], x.shape), node.number(1.0)], x.shape, potScaleInt16=False)
    node.finish("DIV", [x, size])


@operator("Reciprocal", to="DIV, or RSQRT of what Sqrt is taken of")
def reciprocal(node: Node) -> None:
    """1 / x, and 1 / sqrt(x) in one operator."""
    root = node.operand("Sqrt")
    if root is not None:
        node.finish("RSQRT", [root])
    else:
        node.finish("DIV", [node.number(1.0), node.x()])


@operator("Cast", to="CAST", limits="among float32, int32, int16, int8, uint8 and bool")
def cast(node: Node) -> None:
    """The numbers in another type; int64 stays int32, float16 stays float32."""
    x, target = node.x(), node.out_dtype()
    if x.dtype == target:
        node.bind(x)
        return
    if x.values is not None:
        kind = np.dtype(target)
        node.bind(
            node.constant(x.values.derived(lambda a: a.astype(kind), x.shape, ("cast", target), target))
        )
        return
    node.finish("CAST", [x], inDataType=x.dtype.upper(), outDataType=target.upper())


@operator(
    "Identity",
    "Dropout",
    to="none",
    integer=BOTH,
    moves=True,
    limits="Dropout as in inference, without its mask",
)
def identity(node: Node) -> None:
    """The input itself."""
    if node.used(1):
        node.refuse("its mask is read", "Export the model in evaluation mode")
    node.bind(node.x())


@operator("Constant", to="none", limits="tensors and numbers")
def constant(node: Node) -> None:
    """A tensor that is given with the node."""
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int32),
                       ("value_ints", np.int32)):  # fmt: skip
        if node.attribute(name) is not None:
            node.bind(node.constant(np.asarray(node.attribute(name), kind)))
            return
    given = dtypes.values(node.attribute("value")) if node.attribute("value") is not None else None
    if given is None:
        node.refuse("it is sparse, or of strings")
    node.bind(node.constant(given))
