"""Softmax, and what brings tensors to mean 0 and variance 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator
from edgepack.targets.mobile._tflite.quantization import Quantization, per_tensor
from edgepack.targets.mobile._tflite.scales import fine_enough
from edgepack.targets.mobile._tflite.weights import integer_bias

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_SOFTMAX_SCALES = {"int8": per_tensor(1 / 256, -128), "int16": per_tensor(1 / 32768)}
_LOG_SOFTMAX_SCALES = {"int8": per_tensor(16 / 256, 127)}
_WIDEST_BIAS = 2.0**30  # of the 32 bits of the sums
_AXIS_PER_DIMENSION = 13  # the operator set from which Softmax is along one axis


@operator("Softmax", to="SOFTMAX", integer=BOTH, limits="int8: a result of at least 1/512 a step")
def softmax(node: Node) -> None:
    """exp(x) / sum exp(x) along an axis; its integer kernel gives a fixed scale of 1/256 (1/32768 for int16)."""
    _softmax(node, "SOFTMAX", _SOFTMAX_SCALES, beta=1.0)


@operator("LogSoftmax", to="LOG_SOFTMAX", integer=("int8",), limits="int8: a result of at least 1/32 a step")
def log_softmax(node: Node) -> None:
    """The logarithm x - log(sum exp(x)) along an axis; its integer kernel gives a fixed scale of 1/16."""
    _softmax(node, "LOG_SOFTMAX", _LOG_SOFTMAX_SCALES)


def _softmax(node: Node, code: str, scales: dict[str, Quantization], **given: float) -> None:
    x, rank = node.x(), len(node.shape())
    made = None if node.integer is None else fine_enough(node, scales[node.integer])
    if node.opset < _AXIS_PER_DIMENSION:  # along all dimensions from the axis on, taken as one
        axis = node.axis(node.attribute("axis", 1), rank)
        rows, columns = node.size(x.shape[:axis]), node.size(x.shape[axis:])
        flat = x if axis == rank - 1 else node.reshaped(x, (rows, columns))
        result = node.emit(code, [flat], flat.shape, dtype=x.dtype, quantization=made, **given)
        node.bind(node.reshaped(result, x.shape))
        return
    axis = node.axis(node.attribute("axis", -1), rank)
    order = [at for at in range(rank) if at != axis] + [axis]
    turned = node.transposed(x, order)
    result = node.emit(code, [turned], turned.shape, dtype=x.dtype, quantization=made, **given)
    node.bind(node.transposed(result, [order.index(at) for at in range(rank)]))


@operator("LayerNormalization", to="MEAN, SUB, MUL, ADD, RSQRT",
          limits="its outputs Mean and InvStdDev are computed too")  # fmt: skip
def layer_normalization(node: Node) -> None:
    """(x - mean) / sqrt(variance + epsilon) scale + bias, over the last axes."""
    x, rank = node.x(0), len(node.shape(0))
    first = node.axis(node.attribute("axis", -1), rank)
    mean, gain, centred = _statistics(node, x, list(range(first, rank)), node.attribute("epsilon", 1e-5))
    normal = node.emit("MUL", [centred, gain], x.shape)
    if node.has(2):
        scaled = node.emit("MUL", [normal, node.x(1)], x.shape)
        node.finish("ADD", [scaled, node.x(2)], potScaleInt16=False)
    else:
        node.finish("MUL", [normal, node.x(1)])
    for index, tensor in ((1, mean), (2, gain)):
        if node.used(index):
            node.bind(tensor, index)


@operator("RMSNormalization", to="MUL, MEAN, ADD, RSQRT")
def rms_normalization(node: Node) -> None:
    """The quotient x / sqrt(mean(x^2) + epsilon) scale, over the last axes."""
    x, rank = node.x(0), len(node.shape(0))
    axes = list(range(node.axis(node.attribute("axis", -1), rank), rank))
    gain = _gain(node, node.emit("MUL", [x, x], x.shape), axes, node.attribute("epsilon", 1e-5))
    node.finish("MUL", [node.emit("MUL", [x, gain], x.shape), node.x(1)])


@operator("InstanceNormalization", to="MEAN, SUB, MUL, ADD, RSQRT")
def instance_normalization(node: Node) -> None:
    """Mean 0 and variance 1 over the positions of each channel of [N, C, ...], then scale and bias a channel."""
    x, rank = node.x(0), len(node.shape(0))
    _, gain, centred = _statistics(node, x, list(range(2, rank)), node.attribute("epsilon", 1e-5))
    column = (x.shape[1], *[1] * (rank - 2))
    scale, bias = (node.reshaped(node.x(i), column) for i in (1, 2))
    normal = node.emit("MUL", [centred, gain], x.shape)
    node.finish("ADD", [node.emit("MUL", [normal, scale], x.shape), bias], potScaleInt16=False)


@operator(
    "GroupNormalization",
    to="RESHAPE, MEAN, SUB, MUL, ADD, RSQRT",
    limits="from operator set 21 on: a scale a channel",
)
def group_normalization(node: Node) -> None:
    """Mean 0 and variance 1 over groups of channels of [N, C, ...], then scale and bias a channel."""
    x, groups = node.x(0), int(node.attribute("num_groups"))
    n, c, *places = x.shape
    if node.shape(1) != (c,):
        node.refuse("its scale is one a group", "Export with operator set 21 or later")
    grouped = node.reshaped(x, (n, groups, node.size((c // groups, *places))))
    _, gain, centred = _statistics(node, grouped, [2], node.attribute("epsilon", 1e-5))
    normal = node.reshaped(node.emit("MUL", [centred, gain], grouped.shape), x.shape)
    column = (c, *[1] * len(places))
    scale, bias = (node.reshaped(node.x(i), column) for i in (1, 2))
    node.finish("ADD", [node.emit("MUL", [normal, scale], x.shape), bias], potScaleInt16=False)


@operator("BatchNormalization", to="MUL, ADD; with integers DEPTHWISE_CONV_2D", integer=BOTH,
          limits="in inference; behind a convolution it is part of it; integers of images [N, C, H, W]")  # fmt: skip
def batch_normalization(node: Node) -> None:
    """The line g x + h with g = scale / sqrt(variance + epsilon) and h = bias - g mean, a number a channel."""
    if node.attribute("training_mode", 0):
        node.refuse("it is in training mode", "Export the model in evaluation mode")
    x = node.x(0)
    scale, bias, mean, variance = (node.known(i, "parameters").astype(np.float64) for i in range(1, 5))
    gain = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    if node.integer:
        _scaled_channels(node, x, gain, bias - gain * mean)
        return
    column = (len(gain), *[1] * (len(x.shape) - 2))
    slope, shift = (
        node.constant(np.asarray(v, np.float32).reshape(column), what)
        for v, what in ((gain, "gain"), (bias - gain * mean, "shift"))
    )
    node.finish("ADD", [node.emit("MUL", [x, slope], x.shape), shift], potScaleInt16=False)


def _scaled_channels(node: Node, x: Tensor, gain: np.ndarray, shift: np.ndarray) -> None:
    """The line g x + h as a depthwise convolution of one place: one weight a channel, with a scale of its own.

    The weight is +-127 and its scale |g| / 127, which is exact, so that the sum is rounded once. Where g is so small
    beside h that the bias h / (scale_x scale) would leave 32 bits, the scale is as large as the bias needs.
    """
    if len(x.shape) != 4 or x.quantization is None:  # noqa: PLR2004 - [N, C, H, W]
        raise NotInteger("its input is not an image [N, C, H, W]")
    image, channels = node.transposed(x, (0, 2, 3, 1)), len(gain)
    scales = np.maximum(np.abs(gain) / 127, np.abs(shift) / (x.quantization.scale * _WIDEST_BIAS))
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    line = np.rint(gain / scales).astype(np.int8).reshape(1, 1, 1, channels)
    kernel = node.constant(line, "gain", Quantization(scales, np.zeros(channels, np.int64), 3))
    made = node.graph.tensor(f"{node.label}/line", x.dtype, image.shape, node.results[0])
    given = {"padding": "VALID", "strideH": 1, "strideW": 1, "depthMultiplier": 1, "dilationHFactor": 1,
             "dilationWFactor": 1}  # fmt: skip
    added = integer_bias(node, shift, image, kernel)
    node.graph.add("DEPTHWISE_CONV_2D", [image, kernel, added], [made], given | node.fused())
    node.bind(node.transposed(made, (0, 3, 1, 2)))


@operator("LpNormalization", to="MUL, SUM, SQRT, DIV", limits="p=2")
def lp_normalization(node: Node) -> None:
    """The unit vectors x / sqrt(sum x^2) along an axis."""
    x = node.x()
    if node.attribute("p", 2) != 2:  # noqa: PLR2004 - the Euclidean norm
        node.refuse("its norm is not the Euclidean one")
    axis = node.axis(node.attribute("axis", -1), len(x.shape))
    kept = tuple(1 if at == axis else n for at, n in enumerate(x.shape))
    total = node.emit(
        "SUM", [node.emit("MUL", [x, x], x.shape), node.integers([axis], "axes")], kept, keepDims=True
    )
    node.finish("DIV", [x, node.emit("SQRT", [total], kept)])


@operator("LRN", to="LOCAL_RESPONSE_NORMALIZATION, TRANSPOSE", limits="an odd size")
def lrn(node: Node) -> None:
    """The quotient x / (k + alpha / n sum x^2)^beta, the sum over n channels; TFLite's alpha is alpha / n."""
    size = int(node.attribute("size"))
    if size % 2 == 0 or len(node.shape()) != 4:  # noqa: PLR2004 - [N, C, H, W]
        node.refuse("its size is even, or its input is not [N, C, H, W]")
    x = node.transposed(node.x(), (0, 2, 3, 1))
    made = node.emit(
        "LOCAL_RESPONSE_NORMALIZATION", [x], x.shape, radius=(size - 1) // 2, bias=float(node.attribute("bias", 1.0)),
        alpha=float(node.attribute("alpha", 1e-4)) / size, beta=float(node.attribute("beta", 0.75)),
    )  # fmt: skip
    node.bind(node.transposed(made, (0, 3, 1, 2)))


def _statistics(node: Node, x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, 1 / sqrt(variance + epsilon), and x - mean."""
    kept = tuple(1 if at in axes else n for at, n in enumerate(x.shape))
    mean = node.emit("MEAN", [x, node.integers(axes, "axes")], kept, keepDims=True)
    centred = node.emit("SUB", [x, mean], x.shape, potScaleInt16=False)
    return mean, _gain(node, node.emit("MUL", [centred, centred], x.shape), axes, epsilon), centred


def _gain(node: Node, squares: Tensor, axes: list[int], epsilon: float) -> Tensor:
    kept = tuple(1 if at in axes else n for at, n in enumerate(squares.shape))
    variance = node.emit("MEAN", [squares, node.integers(axes, "axes")], kept, keepDims=True)
    more = node.emit("ADD", [variance, node.number(epsilon, "epsilon")], kept, potScaleInt16=False)
    return node.emit("RSQRT", [more], kept)
