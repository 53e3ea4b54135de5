"""Weights and biases of layers, in the layout and the integers that TFLite's kernels want.

With integers: weights of int8 (or int4) and zero point 0; biases of int32, or int64 beside 16-bit activations, in the
scale of the sums that they are added to,

    b = real bias / (scale_x scale_w).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.base import NotInteger
from edgepack.targets.mobile._tflite.graph import Tensor, Values
from edgepack.targets.mobile._tflite.quantization import Quantization

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node

_ALLOWED = ("int8", "int4")


def weights(node: Node, index: int, order: Sequence[int], *, out_axis: int) -> Tensor:
    """A constant weight with its dimensions in another order.

    Args:
        node: Whose weight.
        index: Which input.
        order: The dimensions' order.
        out_axis: Where the output channels are afterwards: the only axis that scales may follow.

    Raises:
        NotInteger: The node is computed with integers and the weight is not of TFLite's form.
    """
    tensor = node.x(index)
    if node.integer:
        _check(tensor, order, out_axis)
    return node.transposed(tensor, order)


def _check(tensor: Tensor, order: Sequence[int], out_axis: int) -> None:
    q = tensor.quantization
    if q is None:
        raise NotInteger("the weight is not quantized")
    if tensor.dtype not in _ALLOWED:
        raise NotInteger(f"the weight is {tensor.dtype}, and TFLite's kernels take int8 or int4")
    if not q.symmetric:
        raise NotInteger("the weight has a zero point, and TFLite's kernels take symmetric weights")
    if not q.per_tensor and list(order).index(q.axis) != out_axis:
        raise NotInteger("the weight's scales do not follow the output channels")


def bias(node: Node, index: int, x: Tensor, kernel: Tensor, outputs: int) -> Tensor:
    """A constant bias as [outputs].

    Raises:
        NotInteger: The node is computed with integers and the bias is computed too.
    """
    tensor = node.x(index)
    if node.integer is None:
        return node.reshaped(_spread(node, tensor, outputs), (outputs,))
    if tensor.values is None or x.quantization is None or kernel.quantization is None:
        raise NotInteger("the bias is computed")
    scales = x.quantization.scales * kernel.quantization.scales
    scales = np.asarray(scales, np.float32)
    wide = "int64" if node.integer == "int16" else "int32"
    quantization = Quantization(scales, np.zeros(len(scales), np.int64), 0)
    own, values = tensor.quantization, tensor.values
    kind = np.dtype(wide)

    def integers() -> np.ndarray:
        raw = values.read().reshape(-1)
        if own is not None and own.symmetric and np.allclose(own.scales, scales, rtol=1e-5):
            return np.broadcast_to(raw, (outputs,)).astype(kind)
        real = raw.astype(np.float64) if own is None else _real(own, raw)
        limits = np.iinfo(np.int32)
        rounded = np.clip(np.rint(real / scales.astype(np.float64)), limits.min, limits.max)
        return np.broadcast_to(rounded, (outputs,)).astype(kind)

    return node.constant(Values((outputs,), wide, integers), "bias", quantization)


def no_bias(node: Node, x: Tensor, kernel: Tensor, outputs: int) -> Tensor:
    """Zeros: TFLite's convolutions always add a bias."""
    if node.integer is None:
        return node.constant(np.zeros(outputs, np.float32), "bias")
    return integer_bias(node, np.zeros(outputs), x, kernel)


def integer_bias(node: Node, real: np.ndarray, x: Tensor, kernel: Tensor) -> Tensor:
    """Numbers that are known now, one an output channel, in the integers of the sums that they are added to.

    Raises:
        NotInteger: An operand is not quantized.
    """
    if x.quantization is None or kernel.quantization is None:
        raise NotInteger("an operand is not quantized")
    scales = np.asarray(x.quantization.scales * kernel.quantization.scales, np.float32)
    kind, limits = np.int64 if node.integer == "int16" else np.int32, np.iinfo(np.int32)
    rounded = np.clip(np.rint(real / scales.astype(np.float64)), limits.min, limits.max).astype(kind)
    return node.constant(rounded, "bias", Quantization(scales, np.zeros(len(scales), np.int64)))


def _real(q: Quantization, raw: np.ndarray) -> np.ndarray:
    real: np.ndarray = (raw.astype(np.float64) - q.zero_points) * q.scales.astype(np.float64)
    return real


def _spread(node: Node, tensor: Tensor, outputs: int) -> Tensor:
    """A bias of one number, once for each output."""
    if node.size(tensor.shape) == outputs or tensor.values is None:
        return tensor
    values = tensor.values
    return node.constant(
        values.derived(
            lambda a: np.full(outputs, a.reshape(-1)[0], a.dtype), (outputs,), ("spread", outputs)
        ),
        "bias",
    )
