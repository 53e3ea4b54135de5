"""ONNX operators in the words of Core ML's intermediate language (MIL), for the worker that has coremltools.

A translation gets a node, whose inputs are values of the language, and gives the values of its outputs. Shapes are all
known: what ONNX says by Squeeze, Unsqueeze, Flatten and Reshape is one reshape to the shape of the output. Operators'
meanings are ONNX's (https://onnx.ai/onnx/operators), operations' those of coremltools' reference of MIL for iOS 16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder
from coremltools.converters.mil.mil import types


class Untranslated(Exception):  # noqa: N818 - a case, not a fault
    """A case that has no translation, in words."""


class Node:
    """One node of the graph.

    Args:
        node: "name", "op", "outputs", "attributes".
        inputs: Values, None where an optional one is left out.
        shapes: Of every value of the graph, by name.
    """

    def __init__(
        self, node: Mapping[str, Any], inputs: Sequence[Any], shapes: Mapping[str, list[int]]
    ) -> None:
        self.name, self.op, self.inputs = node["name"], node["op"], list(inputs)
        self.attributes = node["attributes"]
        self.outputs = node["outputs"]
        self.shape = [int(size) for size in shapes.get(self.outputs[0], [])]

    def input(self, index: int) -> Any:
        """An input, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> Any:
        """A constant input as an array, None where it is left out."""
        value = self.input(index)
        if value is None:
            return None
        if value.val is None:
            raise self.refuse(f"its input {index} is computed, and Core ML has a constant there")
        return np.asarray(value.val)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> Untranslated:
        """The error for a case that is not translated."""
        return Untranslated(why)


Translation = Callable[[Node], Any]
TRANSLATIONS: dict[str, Translation] = {}


def on(*names: str) -> Callable[[Translation], Translation]:
    """File a translation under the names of its operators."""

    def file(translation: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(names, translation))
        return translation

    return file


def number(like: Any, value: float) -> Any:
    """A number in the type of a value, which operations on two values ask for."""
    return types.nptype_from_builtin(like.dtype)(value)


def floating(value: Any) -> bool:
    """Whether a value is of floats."""
    return value.dtype in {types.fp16, types.fp32}


_UNARY = {
    "Relu": Builder.relu,
    "Sigmoid": Builder.sigmoid,
    "Tanh": Builder.tanh,
    "Erf": Builder.erf,
    "Exp": Builder.exp,
    "Sqrt": Builder.sqrt,
    "Abs": Builder.abs,
    "Floor": Builder.floor,
    "Ceil": Builder.ceil,
    "Round": Builder.round,
    "Sign": Builder.sign,
    "Sin": Builder.sin,
    "Cos": Builder.cos,
    "Softplus": Builder.softplus,
    "Softsign": Builder.softsign,
    "Not": Builder.logical_not,
    "Identity": Builder.identity,
    "Dropout": Builder.identity,
}
_BINARY = {
    "Add": Builder.add,
    "Sub": Builder.sub,
    "Mul": Builder.mul,
    "Pow": Builder.pow,
    "MatMul": Builder.matmul,
    "Equal": Builder.equal,
    "Less": Builder.less,
    "Greater": Builder.greater,
    "LessOrEqual": Builder.less_equal,
    "GreaterOrEqual": Builder.greater_equal,
    "And": Builder.logical_and,
    "Or": Builder.logical_or,
    "Xor": Builder.logical_xor,
}


def _unary(make: Any) -> Translation:
    return lambda n: make(x=n.input(0))


def _binary(make: Any) -> Translation:
    return lambda n: make(x=n.input(0), y=n.input(1))


TRANSLATIONS.update({name: _unary(make) for name, make in _UNARY.items()})
TRANSLATIONS.update({name: _binary(make) for name, make in _BINARY.items()})


@on("Div")
def _div(n: Node) -> Any:
    if not floating(n.input(0)):
        raise n.refuse("the language divides integers downwards, ONNX towards zero")
    return Builder.real_div(x=n.input(0), y=n.input(1))


@on("Reciprocal")
def _reciprocal(n: Node) -> Any:
    return Builder.real_div(x=number(n.input(0), 1), y=n.input(0))


@on("Neg")
def _neg(n: Node) -> Any:
    return Builder.mul(x=n.input(0), y=number(n.input(0), -1))


@on("Log")
def _log(n: Node) -> Any:
    return Builder.log(x=n.input(0), epsilon=number(n.input(0), 0))


@on("Max", "Min")
def _extreme(n: Node) -> Any:
    make = Builder.maximum if n.op == "Max" else Builder.minimum
    result = n.inputs[0]
    for value in n.inputs[1:]:
        result = make(x=result, y=value)
    return result


@on("Sum")
def _sum(n: Node) -> Any:
    result = n.inputs[0]
    for value in n.inputs[1:]:
        result = Builder.add(x=result, y=value)
    return result


@on("Clip")
def _clip(n: Node) -> Any:
    x, low, high = n.input(0), n.constant(1), n.constant(2)
    if low is not None:
        x = Builder.maximum(x=x, y=number(x, low.item()))
    return x if high is None else Builder.minimum(x=x, y=number(x, high.item()))


@on("LeakyRelu")
def _leaky(n: Node) -> Any:
    return Builder.leaky_relu(x=n.input(0), alpha=number(n.input(0), n.attribute("alpha", 0.01)))


@on("Elu")
def _elu(n: Node) -> Any:
    return Builder.elu(x=n.input(0), alpha=number(n.input(0), n.attribute("alpha", 1.0)))


@on("HardSigmoid")
def _hard_sigmoid(n: Node) -> Any:
    x = n.input(0)
    return Builder.sigmoid_hard(
        x=x, alpha=number(x, n.attribute("alpha", 0.2)), beta=number(x, n.attribute("beta", 0.5))
    )


@on("HardSwish")
def _hard_swish(n: Node) -> Any:
    x = n.input(0)
    return Builder.mul(x=x, y=Builder.sigmoid_hard(x=x, alpha=number(x, 1 / 6), beta=number(x, 0.5)))


@on("Gelu")
def _gelu(n: Node) -> Any:
    near = n.attribute("approximate", "none") == "tanh"
    return Builder.gelu(x=n.input(0), mode="TANH_APPROXIMATION" if near else "EXACT")


@on("Where")
def _where(n: Node) -> Any:
    # coremltools takes a selection's shape from the two choices alone: a mask that decides between two numbers would
    # have none. All three are of one shape here.
    cond, a, b = (spread(n.input(index), n.shape) for index in range(3))
    return Builder.select(cond=cond, a=a, b=b)


_CASTS = {1: "fp32", 10: "fp16", 6: "int32", 7: "int32", 9: "bool"}  # numbers of onnx.TensorProto


@on("Cast")
def _cast(n: Node) -> Any:
    to = n.attribute("to")
    if to not in _CASTS:
        raise n.refuse(f"there is no type for ONNX's data type {to}")
    return Builder.cast(x=n.input(0), dtype=_CASTS[to])


@on("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(n: Node) -> Any:
    return Builder.reshape(x=n.input(0), shape=n.shape)


@on("Transpose")
def _transpose(n: Node) -> Any:
    return Builder.transpose(x=n.input(0), perm=n.attribute("perm", list(range(n.input(0).rank))[::-1]))


def spread(x: Any, shape: Sequence[int]) -> Any:
    """A value repeated to a shape that it can be broadcast to."""
    if x.val is not None:
        same = np.broadcast_to(np.asarray(x.val), shape)
        return x if list(x.shape) == list(shape) else Builder.const(val=np.ascontiguousarray(same))
    sizes = [1] * (len(shape) - x.rank) + list(x.shape)
    wide = Builder.reshape(x=x, shape=sizes) if len(sizes) != x.rank else x
    reps = [size // have for size, have in zip(shape, sizes, strict=True)]
    return Builder.tile(x=wide, reps=reps) if any(rep != 1 for rep in reps) else wide


@on("Expand")
def _expand(n: Node) -> Any:
    return Builder.identity(x=spread(n.input(0), n.shape))


@on("Concat")
def _concat(n: Node) -> Any:
    return Builder.concat(values=n.inputs, axis=n.attribute("axis"))


@on("Split")
def _split(n: Node) -> Any:
    axis, sizes = n.attribute("axis", 0), n.constant(1)
    if sizes is None:
        return Builder.split(x=n.input(0), num_splits=len(n.outputs), axis=axis)
    return Builder.split(x=n.input(0), split_sizes=[int(size) for size in sizes], axis=axis)


@on("Slice")
def _slice(n: Node) -> Any:
    x = n.input(0)
    starts, ends, axes, steps = (n.constant(index) for index in (1, 2, 3, 4))
    axes = range(len(starts)) if axes is None else [int(axis) % x.rank for axis in axes]
    steps = [1] * len(starts) if steps is None else [int(step) for step in steps]
    begin, end, stride = [0] * x.rank, list(x.shape), [1] * x.rank
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise n.refuse("a slice that goes backwards")
        first, last, _ = slice(int(start), int(stop), step).indices(x.shape[axis])
        begin[axis], end[axis], stride[axis] = first, last, step
    return Builder.slice_by_index(x=x, begin=begin, end=end, stride=stride)


@on("Gather")
def _gather(n: Node) -> Any:
    return Builder.gather(x=n.input(0), indices=n.input(1), axis=n.attribute("axis", 0))


@on("Pad")
def _pad(n: Node) -> Any:
    x, pads, value = n.input(0), n.constant(1), n.constant(2)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        n.attribute("mode", "constant")
    )
    if mode is None or n.input(3) is not None:
        raise n.refuse("padding of that kind")
    interleaved = [int(size) for pair in zip(pads[: x.rank], pads[x.rank :], strict=True) for size in pair]
    return Builder.pad(
        x=x, pad=interleaved, mode=mode, constant_val=number(x, 0 if value is None else value.item())
    )


@on("Softmax")
def _softmax(n: Node) -> Any:
    return Builder.softmax(x=n.input(0), axis=n.attribute("axis", -1))


@on("LogSoftmax")
def _log_softmax(n: Node) -> Any:
    shifted = Builder.sub(
        x=n.input(0), y=Builder.reduce_max(x=n.input(0), axes=[n.attribute("axis", -1)], keep_dims=True)
    )
    total = Builder.reduce_log_sum_exp(x=shifted, axes=[n.attribute("axis", -1)], keep_dims=True)
    return Builder.sub(x=shifted, y=total)


_REDUCTIONS = {
    "ReduceMean": Builder.reduce_mean, "ReduceSum": Builder.reduce_sum, "ReduceMax": Builder.reduce_max,
    "ReduceMin": Builder.reduce_min, "ReduceProd": Builder.reduce_prod, "ReduceL2": Builder.reduce_l2_norm,
}  # fmt: skip


def _reduction(make: Any) -> Translation:
    def reduce(n: Node) -> Any:
        given = n.constant(1)
        axes = n.attribute("axes") if given is None else [int(axis) for axis in given]
        if not axes:
            if n.attribute("noop_with_empty_axes", 0):
                return Builder.identity(x=n.input(0))
            axes = list(range(n.input(0).rank))
        return Builder.reshape(x=make(x=n.input(0), axes=axes, keep_dims=True), shape=n.shape or [1])

    return reduce


TRANSLATIONS.update({name: _reduction(make) for name, make in _REDUCTIONS.items()})


@on("ArgMax")
def _argmax(n: Node) -> Any:
    return Builder.reduce_argmax(
        x=n.input(0), axis=n.attribute("axis", 0), keep_dims=bool(n.attribute("keepdims", 1))
    )


@on("Gemm")
def _gemm(n: Node) -> Any:
    product = Builder.matmul(
        x=n.input(0),
        y=n.input(1),
        transpose_x=bool(n.attribute("transA", 0)),
        transpose_y=bool(n.attribute("transB", 0)),
    )
    alpha, beta = n.attribute("alpha", 1.0), n.attribute("beta", 1.0)
    if alpha != 1:
        product = Builder.mul(x=product, y=number(product, alpha))
    bias = n.input(2)
    if bias is None:
        return product
    return Builder.add(x=product, y=bias if beta == 1 else Builder.mul(x=bias, y=number(bias, beta)))


def _window(n: Node, spatial: int) -> dict[str, Any]:
    """Strides and padding of a window; ONNX has all beginnings before all ends, MIL the two of each dimension."""
    kind = n.attribute("auto_pad", "NOTSET")
    pads = n.attribute("pads", [0] * 2 * spatial)
    words: dict[str, Any] = {"strides": n.attribute("strides", [1] * spatial)}
    if kind in {"SAME_UPPER", "SAME_LOWER"}:
        return {**words, "pad_type": "same" if kind == "SAME_UPPER" else "same_lower"}
    pads = [0] * 2 * spatial if kind == "VALID" else pads
    pairs = zip(pads[:spatial], pads[spatial:], strict=True)
    return {**words, "pad_type": "custom", "pad": [size for pair in pairs for size in pair]}


@on("Conv")
def _conv(n: Node) -> Any:
    spatial = n.input(0).rank - 2
    bias = {} if n.input(2) is None else {"bias": n.input(2)}
    return Builder.conv(
        x=n.input(0),
        weight=n.input(1),
        dilations=n.attribute("dilations", [1] * spatial),
        groups=n.attribute("group", 1),
        **_window(n, spatial),
        **bias,
    )


@on("MaxPool", "AveragePool")
def _pool(n: Node) -> Any:
    kernel = n.attribute("kernel_shape")
    spatial = len(kernel)
    if any(size != 1 for size in n.attribute("dilations", [1] * spatial)) or len(n.outputs) > 1:
        raise n.refuse("a pooling with dilations, or with indices")
    words = {**_window(n, spatial), "kernel_sizes": kernel, "ceil_mode": bool(n.attribute("ceil_mode", 0))}
    if n.op == "MaxPool":
        return Builder.max_pool(x=n.input(0), **words)
    without = not n.attribute("count_include_pad", 0)
    return Builder.avg_pool(x=n.input(0), exclude_padding_from_average=without, **words)


@on("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(n: Node) -> Any:
    make = Builder.reduce_mean if n.op == "GlobalAveragePool" else Builder.reduce_max
    return make(x=n.input(0), axes=list(range(2, n.input(0).rank)), keep_dims=True)


@on("LayerNormalization")
def _layer_norm(n: Node) -> Any:
    x, axis = n.input(0), n.attribute("axis", -1)
    gamma, beta = n.constant(1), n.constant(2)
    return Builder.layer_norm(
        x=x,
        axes=list(range(axis % x.rank, x.rank)),
        gamma=gamma,
        beta=np.zeros_like(gamma) if beta is None else beta,
        epsilon=number(x, n.attribute("epsilon", 1e-5)),
    )


@on("BatchNormalization")
def _batch_norm(n: Node) -> Any:
    x = n.input(0)
    gamma, beta, mean, variance = (n.constant(index) for index in (1, 2, 3, 4))
    epsilon = number(x, n.attribute("epsilon", 1e-5))
    return Builder.batch_norm(x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon)
